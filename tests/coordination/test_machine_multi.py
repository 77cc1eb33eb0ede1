"""Multi: all or nothing under one index, and the layout of its results."""

from __future__ import annotations

import struct

import pytest

from loggos.base import limits
from tests.coordination.kit import (
    Acl,
    Client,
    Driver,
    Request,
    check,
    create,
    create2,
    create_container,
    delete,
    multi,
    parse_multi,
    parse_reply,
    set_acl,
    set_data,
)

ERROR = -1
CREATED, DELETED, CHANGED = 1, 2, 3


@pytest.fixture
def driver() -> Driver:
    return Driver()


@pytest.fixture
def client(driver: Driver) -> Client:
    client = driver.client()
    client.made(create(b"/a", b"a"))
    client.made(create(b"/a/kid", flags=1))
    return client


def test_results_have_their_types_and_one_index(driver: Driver, client: Client) -> None:
    results = client.multi(
        create(b"/b", b"1"),
        create2(b"/b/c", b"22"),
        set_data(b"/b", b"333"),
        check(b"/b", 1),
        delete(b"/b/c"),
        delete(b"/a/kid", 0),
    )
    z = driver.index
    assert [kind for kind, _ in results] == [1, 1, 5, 13, 2, 2], "a create2 is answered as a create"
    assert results[0][1] == b"/b" and results[1][1] == b"/b/c"
    assert results[3][1] is None and results[4][1] is None
    assert results[2][1] == driver.stat_of(b"/b")._replace(cversion=1, children=1)  # as it was at that point
    events = [(CREATED, b"/b"), (CREATED, b"/b/c"), (CHANGED, b"/b"), (DELETED, b"/b/c"), (DELETED, b"/a/kid")]
    assert driver.kinds() == events and {event.index for event in driver.events} == {z}
    assert {event.position for event in driver.events} == {0}
    assert driver.stat_of(b"/b").cversion == 2


FAILURES: list[tuple[Request, int]] = [
    (check(b"/a", 7), -103),
    (create(b"/a"), -110),
    (create(b"/none/x"), -101),
    (delete(b"/a"), -111),
    (set_data(b"/none"), -101),
    (create(b"/x", flags=7), -8),
    (create_container(b"/none/x"), -101),
    ((21, create(b"/x")[1] + bytes(8)), -6),
    (create(b"/x/", flags=0), -101),
    (create(b"/x", acl=()), -114),
]


@pytest.mark.parametrize(("failing", "code"), FAILURES)
def test_a_failed_multi_changes_nothing_and_tells_which_part(driver: Driver, client: Client, failing: Request, code: int) -> None:
    before, children = driver.machine.digest(), dict(driver.machine.tree.nodes[b"/a"].children or {})
    index = driver.index
    parts = [
        create(b"/n-", flags=3),
        delete(b"/a/kid"),
        set_data(b"/a", b"changed"),
        create(b"/a/kid", b"again"),
        set_data(b"/a/kid", b"more"),
        create_container(b"/room"),
        create(b"/room/guest"),
        delete(b"/room/guest"),
        delete(b"/room"),
        set_data(b"/", b"root"),
    ]
    outcome = client.run(multi(*parts, failing, create(b"/later"), set_data(b"/a")))
    assert outcome.codes == [code] and outcome.events == [] and outcome.ended == []
    assert outcome.replies is not None
    reply = parse_reply(outcome.replies[0])
    assert reply.error == 0, "a failed multi is answered without error in the head"
    assert parse_multi(reply.body) == [(ERROR, 0)] * len(parts) + [(ERROR, code), (ERROR, -2), (ERROR, -2)]
    session = driver.machine.sessions[client.session]
    assert list(session.ephemerals) == [b"/a/kid"]
    session.sequence, session.last_seen = session.sequence - 1, index
    assert driver.machine.digest() == before
    assert driver.machine.tree.nodes[b"/a"].children == children
    assert driver.machine.tree.undo is None and not driver.machine.tree.emptied
    kids = driver.machine.tree.nodes[b"/a"].children
    assert kids is not None and kids.listing_bytes == 7


def test_a_failed_sequential_create_gives_its_number_back(driver: Driver, client: Client) -> None:
    client.multi(create(b"/n-", flags=2), check(b"/none"))
    assert client.made(create(b"/n-", flags=2)) == b"/n-0000000001"  # /a was the first
    results = client.multi(create(b"/n-", flags=2), create(b"/n-", flags=2))
    assert results == [(1, b"/n-0000000002"), (1, b"/n-0000000003")]


def test_the_empty_multi(client: Client) -> None:
    assert client.multi() == []


def test_permissions_hold_inside_a_multi(driver: Driver, client: Client) -> None:
    client.stat(set_acl(b"/a", (Acl(1, b"world", b"anyone"),)))
    assert client.multi(create(b"/b"), set_data(b"/a")) == [(ERROR, 0), (ERROR, -102)]
    assert client.multi(delete(b"/a/kid"), create(b"/b")) == [(ERROR, -102), (ERROR, -2)]
    assert client.multi(check(b"/a", 0)) == [(13, None)]


@pytest.mark.parametrize("opcode", [3, 4, 7, 14, 20, 100, -11, 555])
def test_what_cannot_be_part_of_a_multi_makes_all_of_it_unreadable(driver: Driver, client: Client, opcode: int) -> None:
    body = set_acl(b"/a", (Acl(31, b"world", b"anyone"),))[1]
    reply = client.ask(multi(create(b"/b"), (opcode, body)))
    assert reply.error == -5 and b"/b" not in driver.machine.tree.nodes and driver.events == []


@pytest.mark.parametrize("flags", [5, 6])
def test_a_ttl_flag_without_a_ttl_makes_a_multi_unreadable(driver: Driver, client: Client, flags: int) -> None:
    assert client.code(multi(create(b"/b"), create(b"/x", flags=flags))) == -5
    assert b"/b" not in driver.machine.tree.nodes and driver.events == [] and driver.machine.tree.undo is None
    assert client.multi(check(b"/none"), create(b"/x", flags=flags)) == [(ERROR, -101), (ERROR, -2)], "where it gets that far"


def test_a_multi_that_ends_too_early_is_marshalling(driver: Driver, client: Client) -> None:
    opcode, body = multi(create(b"/b"), set_data(b"/b"))
    for cut in range(len(body)):
        assert client.code((opcode, body[:cut])) == -5
    assert b"/b" not in driver.machine.tree.nodes


def test_a_multi_has_a_bounded_number_of_parts(driver: Driver, client: Client) -> None:
    part = check(b"/")
    assert len(client.multi(*[part] * limits.MULTI_OPERATIONS_MAX)) == limits.MULTI_OPERATIONS_MAX
    assert client.code(multi(*[part] * (limits.MULTI_OPERATIONS_MAX + 1))) == -8


def test_changes_of_a_multi_are_seen_by_its_later_parts_and_gone_after_a_failure(driver: Driver, client: Client) -> None:
    assert [kind for kind, _ in client.multi(delete(b"/a/kid"), delete(b"/a"), create(b"/a", b"new"), check(b"/a", 0))] == [
        2,
        2,
        1,
        13,
    ]
    assert driver.stat_of(b"/a").czxid == driver.index
    assert driver.machine.sessions[client.session].ephemerals == {}
    opcode, body = multi(delete(b"/a"))
    assert struct.unpack_from(">i", body)[0] == 2 and client.code((opcode, body)) == 0
    assert b"/a" not in driver.machine.tree.nodes
