"""Sessions: attach, generations, sequences, expiry (rules 11 to 13)."""

from __future__ import annotations

import struct

import pytest

from loggos.base.ids import SessionId
from loggos.coordination.commands import ATTACH_HEADER, EXPIRE_HEADER, REQUESTS_HEADER, encode_requests
from tests.coordination.kit import PASSWORD, Client, Driver, auth, close, create, frame, parse_reply, set_data

MOVED, EXPIRED, MARSHALLING, UNIMPLEMENTED = -118, -112, -5, -6


@pytest.fixture
def driver() -> Driver:
    return Driver()


@pytest.fixture
def client(driver: Driver) -> Client:
    return driver.client()


def test_a_new_session_is_named_by_index_and_node(driver: Driver) -> None:
    outcome = driver.attach(timeout_ms=9000, node=3)
    assert outcome.codes == [0] and outcome.refused == 0
    assert outcome.attached == (3, 99, 1 << 8 | 3, 1, 9000, PASSWORD, True)
    assert driver.attach(node=3).attached[2] == 2 << 8 | 3  # type: ignore[index]
    session = driver.machine.sessions[SessionId(1 << 8 | 3)]
    assert (session.node, session.timeout_ms, session.last_seen, session.sequence) == (3, 9000, 1, 0)


def test_attaching_again_opens_a_generation_and_forgets_what_was_proved(driver: Driver, client: Client) -> None:
    client.code(auth(b"digest", b"me:h"))
    client.made(create(b"/e", flags=1))
    outcome = driver.attach(client.session, timeout_ms=5000, address="10.9.9.9", node=2)
    assert outcome.codes == [0] and outcome.attached == (2, 99, client.session, 2, 5000, PASSWORD, False)
    session = driver.machine.sessions[client.session]
    assert session.identities == ((b"ip", b"10.9.9.9"),) and session.address == b"10.9.9.9"
    assert (session.sequence, session.last_seen, session.timeout_ms, session.node) == (0, driver.index, 5000, 2)
    assert list(session.ephemerals) == [b"/e"]
    old = client.run(create(b"/late"))
    assert (old.codes, old.refused, old.replies) == ([], MOVED, None)
    assert Client(driver, client.session, 2).code(create(b"/now")) == 0
    newer = Client(driver, client.session, 3).run(create(b"/future"))
    assert (newer.codes, newer.refused) == ([], MOVED)
    assert b"/late" not in driver.machine.tree.nodes and b"/future" not in driver.machine.tree.nodes


@pytest.mark.parametrize("password", [b"x" * 16, bytes(16), PASSWORD[:15] + b"!"])
def test_a_wrong_password_attaches_nothing(driver: Driver, client: Client, password: bytes) -> None:
    index, digest = driver.index, driver.machine.digest()
    outcome = driver.attach(client.session, password=password)
    assert outcome.codes == [] and outcome.attached == (1, 99, 0, 0, 0, bytes(16), False)
    assert driver.index == index and driver.machine.digest() == digest


def test_an_unknown_session_attaches_nothing(driver: Driver) -> None:
    outcome = driver.attach(12345)
    assert outcome.codes == [] and outcome.attached is not None and outcome.attached.session == 0
    assert driver.machine.sessions == {}


def test_requests_of_an_unknown_session_are_refused(driver: Driver) -> None:
    outcome = Client(driver, SessionId(777), 1).run(create(b"/a"))
    assert (outcome.codes, outcome.refused, outcome.session, outcome.first_sequence) == ([], EXPIRED, 777, 1)


def test_a_gap_is_refused_and_so_is_sequence_zero(driver: Driver, client: Client) -> None:
    client.made(create(b"/a"))
    for first in (3, 100, 0, -5):
        outcome = driver.apply(encode_requests(client.session, 1, first, [frame(1, create(b"/b"))]))
        assert (outcome.codes, outcome.refused) == ([], MOVED), first
    assert b"/b" not in driver.machine.tree.nodes and driver.machine.sessions[client.session].sequence == 1


def test_repeats_are_skipped_and_take_no_index(driver: Driver, client: Client) -> None:
    frames = [frame(1, create(b"/s-", flags=2)), frame(2, create(b"/s-", flags=2)), frame(3, create(b"/s-", flags=2))]
    driver.apply(encode_requests(client.session, 1, 1, frames[:2]))
    seen = driver.machine.sessions[client.session].last_seen
    again = driver.apply(encode_requests(client.session, 1, 1, frames[:2]))
    assert (again.codes, list(again.events), again.replies, again.refused) == ([], [], [], 0)
    assert driver.machine.sessions[client.session].last_seen == seen
    overlap = driver.apply(encode_requests(client.session, 1, 2, frames[1:]))
    assert overlap.codes == [0] and overlap.first_sequence == 3
    assert driver.machine.sessions[client.session].last_seen == driver.index
    assert overlap.replies is not None and [parse_reply(reply).xid for reply in overlap.replies] == [3]
    assert overlap.events[0].position == 0
    names = [path for path in driver.machine.tree.nodes if path.startswith(b"/s-")]
    assert names == [b"/s-0000000000", b"/s-0000000001", b"/s-0000000002"]
    assert driver.machine.sessions[client.session].sequence == 3


def test_every_command_moves_last_seen_to_its_last_index(driver: Driver, client: Client) -> None:
    client.run(create(b"/a"), set_data(b"/no"), set_data(b"/a"))
    assert driver.machine.sessions[client.session].last_seen == driver.index == 4


def test_closing_ends_the_session_and_what_follows_in_the_run(driver: Driver, client: Client) -> None:
    outcome = client.run(create(b"/e", flags=1), close(), create(b"/late"), set_data(b"/"))
    assert outcome.codes == [0, 0, EXPIRED, EXPIRED] and outcome.ended == [client.session]
    assert outcome.replies is not None and [parse_reply(reply).error for reply in outcome.replies] == outcome.codes
    assert client.session not in driver.machine.sessions and b"/late" not in driver.machine.tree.nodes
    assert [(event.position, event.kind, event.path) for event in outcome.events] == [(0, 1, b"/e"), (1, 2, b"/e")]
    assert client.run(create(b"/x")).refused == EXPIRED
    assert driver.attach(client.session).attached[2] == 0  # type: ignore[index]


def test_expiry_needs_the_session_to_have_been_silent(driver: Driver, client: Client) -> None:
    client.made(create(b"/e", flags=1))
    seen = driver.machine.sessions[client.session].last_seen
    client.stat(set_data(b"/e"))
    index = driver.index
    outcome = driver.expire((client.session, seen))
    assert (outcome.codes, outcome.ended, outcome.events) == ([], [], []) and driver.index == index
    driver.attach(client.session)
    assert driver.expire((client.session, index)).codes == [], "an attach is a sign of life too"
    outcome = driver.expire((client.session, driver.index))
    assert (outcome.codes, outcome.ended) == ([0], [client.session])
    assert driver.kinds() == [(2, b"/e")] and driver.stat_of(b"/").pzxid == driver.index


def test_one_expire_ends_several_sessions_each_at_its_own_index(driver: Driver) -> None:
    clients = [driver.client() for _ in range(4)]
    for number, client in enumerate(clients):
        client.made(create(b"/e%d" % number, flags=1))
    seen = [driver.machine.sessions[client.session].last_seen for client in clients]
    items = [
        (clients[2].session, seen[2]),
        (clients[1].session, 1),
        (999, 1),
        (clients[0].session, seen[0]),
        (clients[2].session, 0),
    ]
    first = driver.index + 1
    outcome = driver.expire(*items)
    assert outcome.codes == [0, 0] and outcome.ended == [clients[2].session, clients[0].session]
    assert [event[:4] for event in outcome.events] == [(0, 2, b"/e2", first), (1, 2, b"/e0", first + 1)]
    assert sorted(driver.machine.sessions) == sorted([clients[1].session, clients[3].session])


def test_headers_that_are_cut_short_or_lie_are_refused(driver: Driver, client: Client) -> None:
    digest = driver.machine.digest()
    for header in (REQUESTS_HEADER, ATTACH_HEADER, EXPIRE_HEADER):
        kind = {REQUESTS_HEADER: 1, ATTACH_HEADER: 2, EXPIRE_HEADER: 3}[header]
        for size in range(1, header.size):
            assert driver.apply(bytes([kind]) + bytes(size - 1)).refused in (MARSHALLING, UNIMPLEMENTED)
    assert driver.apply(b"").refused == UNIMPLEMENTED
    assert driver.apply(b"\x09rest").refused == UNIMPLEMENTED
    lying = struct.pack(">BqqqI", 1, client.session, 1, 1, 2**32 - 1) + frame(1, create(b"/a"))
    outcome = driver.apply(lying)
    assert (outcome.codes, outcome.refused) == ([], MARSHALLING)
    assert driver.apply(EXPIRE_HEADER.pack(3, 2**32 - 1) + bytes(16)).refused == MARSHALLING
    assert driver.machine.digest() == digest
