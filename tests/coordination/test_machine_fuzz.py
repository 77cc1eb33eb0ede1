"""Any bytes are answered with codes, the same by every machine, with and without replies; nothing is half done."""

from __future__ import annotations

import struct

from hypothesis import given, settings
from hypothesis import strategies as st

from loggos.base.ids import SessionId, Stamps
from loggos.coordination.commands import encode_requests
from loggos.coordination.machine import CoordinationMachine
from loggos.node.levels import NEWEST_LEVEL
from tests.coordination import kit
from tests.coordination.kit import Driver, create, frame, parse_reply
from tests.coordination.test_machine_model import operations, request

STAMPS = Stamps(5, 5, NEWEST_LEVEL)
OPCODES = st.sampled_from([1, 2, 5, 7, 13, 14, 15, 19, 21, 100, -11, 3, 0, -1, 2**31 - 1])


def small(length: int) -> bytes:
    return struct.pack(">i", length)


# bodies that look like requests: lengths that nearly fit, and pieces that do
pieces = st.one_of(
    st.integers(-3, 40).map(small),
    st.sampled_from([small(2**31 - 1), small(-(2**31)), kit.string(b"/a"), kit.string(b"/"), kit.acl_bytes(kit.OPEN)]),
    st.sampled_from(
        [struct.pack(">i?i", opcode, False, -1) for opcode in (1, 2, 5, 13, 15, 19)] + [struct.pack(">i?i", -1, True, -1)]
    ),
    st.binary(max_size=12),
)
bodies = st.lists(pieces, max_size=8).map(b"".join)
wild = st.builds(lambda opcode, body: frame(7, (opcode, body)), OPCODES, bodies)
tame = operations.map(lambda operation: frame(8, request(operation)))


@st.composite
def bent(draw: st.DrawFn) -> bytes:
    """A good request with one byte changed, or cut, behind a length that is true."""
    opcode, body = request(draw(operations))
    at = draw(st.integers(0, len(body)))
    body = body[:at] if draw(st.booleans()) else body[:at] + draw(st.binary(max_size=2)) + body[at + 1 :]
    return frame(9, (opcode, body))


def machines() -> tuple[CoordinationMachine, CoordinationMachine, SessionId]:
    drivers = [Driver(), Driver()]
    clients = [driver.client() for driver in drivers]
    for client in clients:
        client.run(create(b"/a", b"x"))
    return drivers[0].machine, drivers[1].machine, clients[0].session


def answers_agree(frames: list[bytes]) -> None:
    loud, silent, session = machines()
    command = encode_requests(session, 1, 2, frames)
    outcome, other = (m.apply(100, STAMPS, command, answer) for m, answer in ((loud, True), (silent, False)))
    assert outcome.refused == 0 and len(outcome.codes) == len(frames)
    assert (outcome.codes, outcome.events, outcome.ended) == (other.codes, other.events, other.ended)
    assert loud.digest() == silent.digest()
    assert outcome.replies is not None and len(outcome.replies) == len(frames)
    for position, reply in enumerate(outcome.replies):
        assert parse_reply(reply).zxid == 100 + position
    copy = CoordinationMachine()
    copy.restore(loud.snapshot())
    assert copy.digest() == loud.digest()


@settings(max_examples=200)
@given(st.lists(st.one_of(wild, tame, bent()), min_size=1, max_size=6))
def test_any_requests_are_answered_alike_by_all(frames: list[bytes]) -> None:
    answers_agree(frames)


@given(st.lists(st.binary(min_size=12, max_size=60), min_size=1, max_size=4))
def test_any_bytes_as_frames_are_answered_alike_by_all(frames: list[bytes]) -> None:
    answers_agree(frames)


@settings(max_examples=200)
@given(st.one_of(st.binary(max_size=80), st.builds(lambda k, b: bytes([k]) + b, st.integers(0, 5), st.binary(max_size=80))))
def test_any_bytes_as_a_command_never_raise(command: bytes) -> None:
    loud, silent, _ = machines()
    outcome, other = loud.apply(100, STAMPS, command, True), silent.apply(100, STAMPS, command, False)
    assert (outcome.codes, outcome.refused, outcome.attached) == (other.codes, other.refused, other.attached)
    assert loud.digest() == silent.digest()


@given(st.integers(0, 200), st.integers(1, 4), st.lists(tame, min_size=1, max_size=4))
def test_a_requests_command_that_is_cut_never_raises(cut: int, first: int, frames: list[bytes]) -> None:
    loud, silent, session = machines()
    command = encode_requests(session, 1, first, frames)
    command = command[: max(0, len(command) - cut)]
    outcome, other = loud.apply(100, STAMPS, command, True), silent.apply(100, STAMPS, command, False)
    assert (outcome.codes, outcome.refused) == (other.codes, other.refused)
    assert outcome.replies is None or len(outcome.replies) == len(outcome.codes)
    assert loud.digest() == silent.digest()
