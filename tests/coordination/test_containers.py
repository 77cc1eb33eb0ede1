"""Containers: nodes that the cell deletes some time after their last child, as Apache ZooKeeper 3.8 has them."""

from __future__ import annotations

import struct

import pytest

from loggos.base.ids import NO_NODE as NOBODY_LEADS
from loggos.base.ids import NodeId
from loggos.base.limits import (
    CONTAINER_CHECK_MS,
    CONTAINERS_REAPED_PER_CHECK_MAX,
    CONTAINERS_REAPED_PER_TICK_MAX,
    HEARTBEAT_MS,
)
from loggos.coordination.commands import REAP, ReapItem, encode_reap
from loggos.coordination.containers import Containers
from loggos.coordination.machine import CoordinationMachine
from loggos.coordination.service import ServiceOptions
from loggos.coordination.tree import CONTAINER
from loggos.coordination.zookeeper import codec
from loggos.coordination.zookeeper.codec import INT32, encode_buffer
from tests.coordination.fake_log import FakeCell
from tests.coordination.kit import (
    Acl,
    Client,
    Driver,
    check,
    close,
    create,
    create2,
    create_container,
    delete,
    parse_stat,
    parse_string,
    set_acl,
    set_data,
)
from tests.coordination.raw_client import OPEN, Event, RawClient, in_loop, settle

OK, MARSHALLING, UNIMPLEMENTED, BAD_ARGUMENTS, NO_NODE, NOT_EMPTY = 0, -5, -6, -8, -101, -111
CREATED, DELETED = 1, 2
CHECK_S = CONTAINER_CHECK_MS / 1000


@pytest.fixture
def driver() -> Driver:
    return Driver()


@pytest.fixture
def client(driver: Driver) -> Client:
    return driver.client()


def is_container(driver: Driver, path: bytes) -> bool:
    return driver.machine.tree.nodes[path].owner == CONTAINER


def emptied(driver: Driver, client: Client, path: bytes) -> int:
    """A container whose child has come and gone; its pzxid."""
    client.run(create_container(path), create(path + b"/x"), delete(path + b"/x"))
    return driver.index


# --- what a request makes ----------------------------------------------------------------------------------------------


def test_a_container_is_answered_as_create2_and_shown_as_persistent(driver: Driver, client: Client) -> None:
    reply = client.ask(create_container(b"/c", b"xy"))
    path, rest = parse_string(reply.body)
    stat = parse_stat(rest)
    assert path == b"/c" and stat == driver.stat_of(b"/c") and (stat.owner, stat.data_length) == (0, 2)
    assert is_container(driver, b"/c") and driver.kinds() == [(CREATED, b"/c")]
    assert client.stat(set_data(b"/c", b"xyz")).owner == client.stat(set_data(b"/c", b"", 1)).owner == 0
    assert client.stat(check(b"/c", 2)).owner == client.stat(set_acl(b"/c", (Acl(31, b"world", b"anyone"),))).owner == 0


def test_the_request_alone_says_what_is_a_container(driver: Driver, client: Client) -> None:
    for flags in range(4):
        made = client.ask(create_container(b"/c%d-" % flags, flags=flags))
        assert is_container(driver, parse_string(made.body)[0]), flags
    for kind in (create, create2):
        path = b"/" + kind.__name__.encode()
        assert client.code(kind(path, flags=4)) == OK and driver.machine.tree.nodes[path].owner == 0
    assert driver.machine.sessions[client.session].ephemerals == {}, "not even where the flags say ephemeral"
    for flags, code in ((5, UNIMPLEMENTED), (6, UNIMPLEMENTED), (7, BAD_ARGUMENTS), (-1, BAD_ARGUMENTS)):
        assert client.code(create_container(b"/x", flags=flags)) == client.code(create(b"/x", flags=flags)) == code


def test_in_a_multi_the_flags_say_it(driver: Driver, client: Client) -> None:
    kinds = (create, create2, create_container)
    results = client.multi(*[kind(b"/f%d" % n, flags=4) for n, kind in enumerate(kinds)])
    assert [(opcode, result[0]) for opcode, result in results] == [(15, b"/f0"), (15, b"/f1"), (15, b"/f2")]
    assert all(result[1].owner == 0 for _, result in results) and all(is_container(driver, b"/f%d" % n) for n in range(3))
    assert client.multi(create_container(b"/p", flags=0), create_container(b"/e", flags=1)) == [(1, b"/p"), (1, b"/e")]
    assert not is_container(driver, b"/p") and list(driver.machine.sessions[client.session].ephemerals) == [b"/e"]


def test_it_may_have_children_of_every_kind_and_outlives_its_maker(driver: Driver, client: Client) -> None:
    client.run(create_container(b"/c"), create_container(b"/c/c"), create(b"/c/e", flags=1), create(b"/c/s-", flags=3))
    assert sorted(driver.machine.sessions[client.session].ephemerals) == [b"/c/e", b"/c/s-0000000002"]
    client.run(close())
    assert driver.machine.tree.nodes[b"/c"].children == {b"/c/c": None} and is_container(driver, b"/c/c")
    assert driver.client().code(delete(b"/c/c")) == OK, "anyone may delete it as any node"
    assert list(driver.machine.tree.emptied) == [b"/c"]


# --- when it may go --------------------------------------------------------------------------------------------------


def test_one_that_was_left_empty_goes_like_a_deleted_node(driver: Driver, client: Client) -> None:
    pzxid = emptied(driver, client, b"/c")
    root = driver.stat_of(b"/")
    outcome = driver.reap((b"/c", pzxid))
    assert outcome.codes == [OK] and outcome.replies is None and driver.index == pzxid + 1
    assert driver.kinds() == [(DELETED, b"/c")] and driver.events[0].index == driver.index
    assert driver.stat_of(b"/") == root._replace(cversion=root.cversion + 1, children=1, pzxid=driver.index)
    assert b"/c" not in driver.machine.tree.nodes and not driver.machine.tree.emptied


def test_each_that_goes_takes_an_index_and_one_that_stays_takes_none(driver: Driver, client: Client) -> None:
    seen = {path: emptied(driver, client, path) for path in (b"/a", b"/b", b"/c")}
    client.run(create(b"/b/again"))
    outcome = driver.reap(*seen.items(), (b"/a", seen[b"/a"]))
    assert outcome.codes == [OK, OK] and [event.path for event in outcome.events] == [b"/a", b"/c"]
    assert [(event.position, event.index) for event in outcome.events] == [(0, driver.index - 1), (1, driver.index)]


def test_what_may_not_go_stays(driver: Driver, client: Client) -> None:
    used, plain = emptied(driver, client, b"/used"), emptied(driver, client, b"/again")
    client.run(create(b"/used/x"), create(b"/again/x"), delete(b"/again/x"), create_container(b"/new"), create(b"/plain"))
    client.run(create(b"/plain/x"), delete(b"/plain/x"), create(b"/e", flags=1))
    digest = driver.machine.digest()
    stats = {path: driver.stat_of(path).pzxid for path in (b"/new", b"/plain", b"/e", b"/", b"/used", b"/zookeeper")}
    assert driver.reap((b"/used", used), (b"/again", plain), *stats.items(), (b"/nothing", 1)).codes == []
    assert driver.machine.digest() == digest and driver.events == []
    again = driver.stat_of(b"/again").pzxid
    assert driver.reap((b"/again", again)).codes == [OK], "as it is now it may"


def test_one_that_was_made_anew_is_another(driver: Driver, client: Client) -> None:
    pzxid = emptied(driver, client, b"/c")
    client.run(delete(b"/c"), create_container(b"/c"))
    assert not driver.machine.tree.emptied and driver.reap((b"/c", pzxid), (b"/c", driver.index)).codes == []


def test_a_failed_multi_leaves_the_empty_ones_as_they_were(driver: Driver, client: Client) -> None:
    pzxid = emptied(driver, client, b"/a")
    emptied(driver, client, b"/b")
    client.run(create_container(b"/new"), create_container(b"/used"), create(b"/used/x"))
    parts = [delete(b"/a"), create(b"/b/y"), create(b"/new/x"), delete(b"/new/x"), delete(b"/used/x"), delete(b"/used")]
    assert client.multi(*parts, check(b"/nothing"))[-1] == (-1, NO_NODE)
    assert sorted(driver.machine.tree.emptied) == [b"/a", b"/b"]
    assert driver.reap((b"/a", pzxid), (b"/new", driver.stat_of(b"/new").pzxid)).codes == [OK]


def test_the_outer_one_is_left_empty_by_the_inner(driver: Driver, client: Client) -> None:
    client.run(create_container(b"/o"))
    pzxid = emptied(driver, client, b"/o/i")
    assert driver.reap((b"/o/i", pzxid)).codes == [OK] and list(driver.machine.tree.emptied) == [b"/o"]
    assert driver.reap((b"/o", driver.index)).codes == [OK]


@pytest.mark.parametrize("cut", [1, 2, 6, 12, 14])
def test_a_reap_that_is_cut_is_refused_whole(driver: Driver, client: Client, cut: int) -> None:
    pzxid = emptied(driver, client, b"/c")
    command = encode_reap([ReapItem(b"/c", pzxid), ReapItem(b"/d", pzxid)])
    for bad in (command[:-cut], struct.pack(">BI", REAP, 2**32 - 1) + command[5:]):
        outcome = driver.apply(bad)
        assert (outcome.codes, outcome.refused) == ([], MARSHALLING)
    assert b"/c" in driver.machine.tree.nodes


def test_a_snapshot_keeps_what_is_a_container_and_which_are_empty(driver: Driver, client: Client) -> None:
    pzxid = emptied(driver, client, b"/empty")
    client.run(create_container(b"/new"), create_container(b"/used"), create(b"/used/x"), create(b"/used/y"), delete(b"/used/y"))
    copy = CoordinationMachine()
    copy.restore(list(driver.machine.snapshot()))
    assert copy.digest() == driver.machine.digest() and list(copy.tree.emptied) == [b"/empty"]
    containers = [path for path, node in copy.tree.nodes.items() if node.owner == CONTAINER]
    assert sorted(containers) == [b"/empty", b"/new", b"/used"]
    driver.machine = copy
    assert driver.reap((b"/empty", pzxid)).codes == [OK]


def test_a_digest_knows_a_container_from_another_node() -> None:
    digests = []
    for kind in (create, create_container):
        driver = Driver()
        client = driver.client()
        client.code(kind(b"/c", flags=0))
        digests.append(driver.machine.digest())
    assert digests[0] != digests[1]


# --- who looks, and when ----------------------------------------------------------------------------------------------


def container(client: RawClient, path: bytes) -> bytes:
    return client.request(codec.OP_CREATE_CONTAINER, encode_buffer(path) + encode_buffer(b"") + OPEN + INT32.pack(4))


async def left_empty(client: RawClient, path: bytes) -> None:
    await client.do(container(client, path), client.create(path + b"/x"), client.delete(path + b"/x"))


def keep(cell: FakeCell, seconds: float) -> None:
    """Let time pass, but for sessions, which nothing here is about."""
    cell.clock.now_s += seconds
    for service in cell.services.values():
        service.containers.tick(int(cell.clock.now_s * 1000), service.liveness.leading)


@in_loop
async def test_the_leader_has_it_deleted_at_the_second_look_and_watchers_are_told() -> None:
    cell = FakeCell(2).start()
    client, watcher = await RawClient(cell, 1).connect(), await RawClient(cell, 2).connect()
    keep(cell, 0)  # it looks as soon as it leads
    await left_empty(client, b"/c")
    await watcher.do(watcher.exists(b"/c", watch=True), watcher.children(b"/", watch=True))
    keep(cell, CHECK_S)
    keep(cell, CHECK_S - 0.001)
    await settle()
    assert b"/c" in cell.logs[NodeId(1)].machine.tree.nodes and watcher.received() == []
    keep(cell, 0.001)
    await settle()
    assert all(b"/c" not in log.machine.tree.nodes for log in cell.logs.values())
    events = [(event.kind, event.path) for event in watcher.received() if isinstance(event, Event)]
    assert events == [(codec.EVENT_DELETED, b"/c"), (codec.EVENT_CHILDREN_CHANGED, b"/")]
    assert cell.services[NodeId(1)].metrics()["reaps_proposed"] == 1 and cell.services[NodeId(2)].metrics()["reaps_proposed"] == 0


@in_loop
async def test_one_that_was_used_between_two_looks_waits_for_two_more() -> None:
    cell = FakeCell(1).start()
    client = await RawClient(cell).connect()
    await left_empty(client, b"/c")
    keep(cell, 0)
    await client.do(client.create(b"/c/y"), client.delete(b"/c/y"))
    keep(cell, CHECK_S)
    await settle()
    assert b"/c" in cell.logs[NodeId(1)].machine.tree.nodes
    keep(cell, CHECK_S)
    await settle()
    assert b"/c" not in cell.logs[NodeId(1)].machine.tree.nodes


@in_loop
async def test_a_child_that_comes_before_the_proposal_is_applied_saves_it() -> None:
    cell = FakeCell(1, auto=False).start()
    log = cell.logs[NodeId(1)]
    client = RawClient(cell)
    client.send(client.hello())
    log.step()
    client.greeting()
    for frame in (container(client, b"/c"), client.create(b"/c/x"), client.delete(b"/c/x")):
        await client.do(frame)
        log.step()
    client.received()
    keep(cell, 0)
    await client.do(client.create(b"/c/again"))
    entries = len(cell.entries)
    keep(cell, CHECK_S)
    assert len(cell.entries) == entries + 1, "proposed: the child is not applied yet"
    log.step()
    assert b"/c/again" in log.machine.tree.nodes and log.machine.tree.nodes[b"/c"].children == {b"/c/again": None}


@in_loop
async def test_a_follower_and_a_new_leader_delete_nothing_that_they_have_not_seen_empty_twice() -> None:
    cell = FakeCell(2).start()
    client = await RawClient(cell, 1).connect()
    await left_empty(client, b"/c")
    keep(cell, 0)
    entries = len(cell.entries)
    cell.lead(NodeId(2))
    keep(cell, CHECK_S)
    cell.lead(NOBODY_LEADS)
    keep(cell, CHECK_S)
    cell.lead(NodeId(1))
    keep(cell, CHECK_S)
    assert len(cell.entries) == entries
    keep(cell, CHECK_S)
    assert len(cell.entries) == entries + 1


@in_loop
async def test_the_options_say_how_often_it_looks() -> None:
    cell = FakeCell(1, options=ServiceOptions(container_check_ms=200)).start()
    client = await RawClient(cell).connect()
    await left_empty(client, b"/c")
    cell.advance(0.5)
    await settle()
    assert b"/c" not in cell.logs[NodeId(1)].machine.tree.nodes


@in_loop
async def test_a_multitude_goes_in_bounded_commands_tick_by_tick_and_waits_for_a_full_log() -> None:
    cell = FakeCell(1, auto=False).start()
    log = cell.logs[NodeId(1)]
    driver = Driver(log.machine)
    client = driver.client()
    count = CONTAINERS_REAPED_PER_CHECK_MAX + 5
    for number in range(count):
        client.run(create_container(b"/c%05d" % number), create(b"/c%05d/x" % number), delete(b"/c%05d/x" % number))
    containers = Containers(log, log.machine)
    now_ms, entries = 0, len(cell.entries)
    containers.tick(now_ms, True)
    now_ms += CONTAINER_CHECK_MS
    log.full = True
    containers.tick(now_ms, True)
    now_ms += CONTAINER_CHECK_MS
    containers.tick(now_ms, True)
    assert len(cell.entries) == entries and containers.reaps_proposed == 0
    log.full = False
    ticks = -(-CONTAINERS_REAPED_PER_CHECK_MAX // CONTAINERS_REAPED_PER_TICK_MAX)
    for _ in range(ticks + 10):
        now_ms += HEARTBEAT_MS
        containers.tick(now_ms, True)
    commands = [command for _, command, _ in cell.entries[entries:]]
    assert len(commands) == ticks and containers.reaps_proposed == CONTAINERS_REAPED_PER_CHECK_MAX
    assert sum(len(driver.apply(command).codes) for command in commands) == CONTAINERS_REAPED_PER_CHECK_MAX
    assert len(log.machine.tree.emptied) == 5, "the rest is seen at the next looks"
    for _ in range(2):
        now_ms += CONTAINER_CHECK_MS
        containers.tick(now_ms, True)
    assert len(driver.apply(cell.entries[-1][1]).codes) == 5 and not log.machine.tree.emptied


# --- on the wire -----------------------------------------------------------------------------------------------------


@in_loop
async def test_containers_through_the_door() -> None:
    cell = FakeCell(1).start()
    client = await RawClient(cell).connect()
    made, again, child = await client.do(container(client, b"/c"), container(client, b"/c"), client.create(b"/c/e", flags=1))
    assert not isinstance(made, Event) and parse_string(made.body)[0] == b"/c" and len(made.body) == 6 + codec.STAT.size
    assert [reply.error for reply in (made, again, child) if not isinstance(reply, Event)] == [0, -110, 0]
    (stat,) = await client.do(client.exists(b"/c"))
    assert not isinstance(stat, Event) and parse_stat(stat.body).owner == 0
    (owned,) = await client.do(client.request(codec.OP_GET_EPHEMERALS, encode_buffer(b"/")))
    assert not isinstance(owned, Event) and owned.body == b"\0\0\0\1\0\0\0\4/c/e"
    (refused,) = await client.do(client.request(codec.OP_DELETE_CONTAINER, b"/c"))
    assert not isinstance(refused, Event) and refused.error == UNIMPLEMENTED
    (kept,) = await client.do(client.delete(b"/c"))
    assert not isinstance(kept, Event) and kept.error == NOT_EMPTY
