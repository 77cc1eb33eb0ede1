"""The short way of a lone setData gives what the general way gives: outcome, replies and state, for whatever bytes come."""

from __future__ import annotations

import struct

from hypothesis import given, settings
from hypothesis import strategies as st

from loggos.base.ids import Index, NodeId, SessionId, Stamps
from loggos.coordination.commands import Outcome, encode_attach, encode_requests
from loggos.coordination.machine import CoordinationMachine, Plain, encode_stat_reply
from loggos.coordination.zookeeper.codec import INT32, OP_CREATE, OP_SET_DATA, encode_buffer
from loggos.node.levels import NEWEST_LEVEL

OPEN, READ_ONLY = (31, 1)  # permissions of the world
PATHS = [b"/open", b"/closed", b"/none", b"", b"/", b"/open/"]

NINE = Stamps(9, 9, NEWEST_LEVEL)


class GeneralWay(CoordinationMachine):
    def apply_plain(self, batch: bytes, at: int, end: int, index: Index, stamps: Stamps) -> Plain | None:
        return None


def frame(opcode: int, body: bytes, xid: int = 7) -> bytes:
    return struct.pack(">iii", 8 + len(body), xid, opcode) + body


def create(path: bytes, permissions: int) -> bytes:
    acl = struct.pack(">ii", 1, permissions) + encode_buffer(b"world") + encode_buffer(b"anyone")
    return frame(OP_CREATE, encode_buffer(path) + encode_buffer(b"old") + acl + INT32.pack(0))


def prepared(kind: type[CoordinationMachine]) -> tuple[CoordinationMachine, SessionId]:
    """A machine with one session that has made two znodes; its next index is 4."""
    machine = kind()
    attach = encode_attach(SessionId(0), NodeId(1), 1, 10_000, bytes(16), "10.0.0.1")
    attached = machine.apply(1, Stamps(5, 5, NEWEST_LEVEL), attach, True).attached
    assert attached is not None
    frames = [create(b"/open", OPEN), create(b"/closed", READ_ONLY)]
    assert machine.apply(2, Stamps(6, 6, NEWEST_LEVEL), encode_requests(attached.session, 1, 1, frames), True).codes == [0, 0]
    return machine, attached.session


def seen(outcome: Outcome) -> list[object]:
    return [list(value) if isinstance(value := getattr(outcome, name), tuple) else value for name in Outcome.__slots__]


def both_ways(command: bytes, answer: bool) -> Outcome:
    """AssertionError where they differ."""
    (short, _), (general, _) = prepared(CoordinationMachine), prepared(GeneralWay)
    outcome = short.apply(4, NINE, command, answer)
    assert seen(outcome) == seen(general.apply(4, NINE, command, answer))
    assert short.digest() == general.digest()
    return outcome


SESSION = prepared(CoordinationMachine)[1]


@settings(max_examples=300)
@given(
    st.sampled_from(PATHS), st.binary(max_size=20), st.sampled_from([-1, 0, 1, -2]), st.sampled_from([0, 1, 2]),
    st.sampled_from([0, 2, 3, 4]), st.booleans(),
)  # fmt: skip
def test_well_formed_requests(path: bytes, data: bytes, version: int, generation: int, sequence: int, answer: bool) -> None:
    body = encode_buffer(path) + encode_buffer(data) + INT32.pack(version)
    both_ways(encode_requests(SESSION, generation, sequence, [frame(OP_SET_DATA, body)]), answer)


@settings(max_examples=300)
@given(st.integers(0, 200), st.integers(0, 255), st.integers(0, 3), st.booleans())
def test_bytes_that_were_changed(at: int, value: int, cut: int, answer: bool) -> None:
    body = encode_buffer(b"/open") + encode_buffer(b"new") + INT32.pack(-1)
    command = bytearray(encode_requests(SESSION, 1, 3, [frame(OP_SET_DATA, body)]))
    command[at % len(command)] = value
    both_ways(bytes(command[: len(command) - cut]), answer)


def test_null_data_and_a_tail_behind_the_version() -> None:
    null = encode_buffer(b"/open") + INT32.pack(-1) + INT32.pack(-1)
    tail = encode_buffer(b"/open") + encode_buffer(b"new") + INT32.pack(-1) + b"tail"
    for body in (null, tail):
        both_ways(encode_requests(SESSION, 1, 3, [frame(OP_SET_DATA, body)]), True)


def test_every_path_with_a_good_request() -> None:
    """Of the nodes that are there only the one that is open to the world goes the short way."""
    for path in PATHS:
        body = encode_buffer(path) + encode_buffer(b"new") + INT32.pack(-1)
        command = encode_requests(SESSION, 1, 3, [frame(OP_SET_DATA, body)])
        both_ways(command, True)
        machine, _ = prepared(CoordinationMachine)
        plain = machine.apply_plain(command, 0, len(command), Index(4), NINE)
        assert (plain is not None) == (path in (b"/open", b"/")), path


def test_the_short_way_is_taken() -> None:
    body = encode_buffer(b"/open") + encode_buffer(b"new") + INT32.pack(-1)
    command = encode_requests(SESSION, 1, 3, [frame(OP_SET_DATA, body)])
    machine, session = prepared(CoordinationMachine)
    plain = machine.apply_plain(b"before" + command + b"behind", 6, 6 + len(command), Index(4), NINE)
    assert plain is not None
    mark, found, xid, path, node = plain
    assert (mark, found, xid, path, node) == (1, machine.sessions[session], 7, b"/open", machine.tree.nodes[b"/open"])
    assert both_ways(command, True).replies == [encode_stat_reply(xid, 4, node)]


@settings(max_examples=300)
@given(st.sampled_from(PATHS), st.binary(max_size=9), st.integers(0, 200), st.integers(0, 255), st.binary(max_size=9))
def test_where_it_gives_nothing_it_has_done_nothing(path: bytes, data: bytes, at: int, value: int, behind: bytes) -> None:
    """Nor does it read what stands around the command in its batch."""
    body = encode_buffer(path) + encode_buffer(data) + INT32.pack(-1)
    command = bytearray(encode_requests(SESSION, 1, 3, [frame(OP_SET_DATA, body)]))
    command[at % len(command)] = value
    machine, _ = prepared(CoordinationMachine)
    before = machine.digest()
    plain = machine.apply_plain(b"!" + bytes(command) + behind, 1, 1 + len(command), Index(4), NINE)
    other, _ = prepared(CoordinationMachine)
    codes = other.apply(4, NINE, bytes(command), False).codes
    assert machine.digest() == (before if plain is None else other.digest())
    assert plain is None or codes == [0]
