"""How many nodes there are below a path: few at once, many bit by bit, and what goes on meanwhile."""

from __future__ import annotations

import asyncio
from itertools import pairwise

import pytest

from loggos.base.errors import OverloadedError
from loggos.base.ids import NodeId
from loggos.base.limits import CENSUS_PAUSE_MS, CENSUS_SLICE_NODES, CENSUS_WAITING_MAX
from loggos.coordination.census import Census, Total
from loggos.coordination.machine import CoordinationMachine
from loggos.coordination.service import ServiceOptions
from loggos.coordination.zookeeper import codec
from loggos.coordination.zookeeper.codec import INT32, encode_buffer
from tests.coordination import kit
from tests.coordination.fake_log import FakeCell
from tests.coordination.raw_client import RawClient, Reply, in_loop, settle

DEADLINE_S = 20.0


def count_request(client: RawClient, path: bytes) -> bytes:
    return client.request(codec.OP_GET_ALL_CHILDREN_NUMBER, encode_buffer(path))


async def grow(client: RawClient, path: bytes, count: int) -> None:
    for first in range(0, count, 1_000):
        await client.do(*[client.create(b"%s/%d" % (path, n)) for n in range(first, min(first + 1_000, count))])


async def until_answered(client: RawClient, count: int) -> list[Reply]:
    found: list[Reply] = []
    async with asyncio.timeout(DEADLINE_S):
        while len(found) < count:
            await asyncio.sleep(0.001)
            found += [reply for reply in client.received() if isinstance(reply, Reply)]
    return found


@in_loop
async def test_any_number_is_answered_in_order_with_what_was_asked_before_and_after() -> None:
    cell = FakeCell().start()
    client, other = await RawClient(cell).connect(), await RawClient(cell).connect()
    await client.do(client.create(b"/many"), client.create(b"/few"), client.create(b"/few/x"))
    await grow(client, b"/many", 2 * CENSUS_SLICE_NODES + 10)
    first = client.xid + 1
    client.send(
        client.create(b"/many/own")
        + count_request(client, b"/many")
        + client.exists(b"/many/own")
        + client.set(b"/few", b"after")
        + count_request(client, b"/few")
        + count_request(client, b"/nowhere")
    )
    await settle()
    assert [reply.xid for reply in client.received()] == [first], "nothing overtakes the count"
    replies = await other.do(count_request(other, b"/few"), other.set(b"/few", b"x"))
    assert [reply.error for reply in replies if isinstance(reply, Reply)] == [0, 0], "nobody else waits"
    counted, exists, _, few, nowhere = await until_answered(client, 5)
    assert [reply.xid for reply in (counted, exists, few, nowhere)] == [first + 1, first + 2, first + 4, first + 5]
    assert counted.body == INT32.pack(2 * CENSUS_SLICE_NODES + 11)
    assert exists.error == 0 and few.body == INT32.pack(1) and nowhere.error == codec.NO_NODE
    assert client.connection.outstanding == 0 and client.connection.syncs == 0 and not client.closed


@in_loop
async def test_who_goes_meanwhile_is_not_answered_and_does_not_hold_up_the_next() -> None:
    cell = FakeCell().start()
    client, gone = await RawClient(cell).connect(), await RawClient(cell).connect()
    await client.do(client.create(b"/many"))
    await grow(client, b"/many", CENSUS_SLICE_NODES + 10)
    gone.send(count_request(gone, b"/many"))
    client.send(count_request(client, b"/many"))
    gone.lose()
    (counted,) = await until_answered(client, 1)
    assert counted.body == INT32.pack(CENSUS_SLICE_NODES + 10) and not gone.connection.out


@in_loop
async def test_what_goes_meanwhile_does_not_count() -> None:
    driver = kit.Driver()
    client = driver.client()
    names = [b"/a", *[b"/a/%d" % n for n in range(20)]]
    for name in names:
        client.made(kit.create(name))
    found: asyncio.Future[Total] = asyncio.get_running_loop().create_future()
    census = Census(driver.machine, slice_nodes=5)
    assert census.ask(b"/a", found.set_result, lambda: True) is None
    for name in reversed(names):
        assert client.code(kit.delete(name)) == 0
    assert await found == Total(0, 0)


@in_loop
async def test_too_many_counts_are_refused_and_small_ones_are_not() -> None:
    machine = CoordinationMachine()
    driver = kit.Driver(machine)
    client = driver.client()
    for name in (b"/a", b"/a/b", b"/a/c", b"/d"):
        client.made(kit.create(name, b"xx"))
    census = Census(machine, slice_nodes=2)
    assert census.ask(b"/d", lambda _: None, lambda: True) == Total(1, 4)
    found: list[Total] = []
    for _ in range(CENSUS_WAITING_MAX):
        assert census.ask(b"/a", found.append, lambda: len(found) < 3) is None
    with pytest.raises(OverloadedError, match="ask again later"):
        census.ask(b"/a", found.append, lambda: True)
    assert census.ask(b"/d", found.append, lambda: True) == Total(1, 4)
    assert census.whole() == Total(0, 0), "not known yet"
    last: asyncio.Future[Total] = asyncio.get_running_loop().create_future()
    told: list[Total] = []
    census = Census(machine, slice_nodes=2)
    for _ in range(5):
        assert census.ask(b"/a", told.append, lambda: len(told) < 3) is None
    census.whole()
    assert census.ask(b"/a", last.set_result, lambda: True) is None
    assert await last == Total(3, 2 + 4 + 4 + 6)
    nodes = machine.tree.nodes
    assert census.whole() == Total(len(nodes), sum(len(path) + len(node.data or b"") for path, node in nodes.items()))
    assert told == [Total(3, 2 + 4 + 4 + 6)] * 3


@in_loop
async def test_the_members_are_read_from_the_node_that_zookeeper_keeps_them_in() -> None:
    cell = FakeCell(options=ServiceOptions(members=b"server.1=h:1:1:participant\nversion=0")).start()
    client = await RawClient(cell).connect()
    path = b"/zookeeper/config"
    data, exists, refused = await client.do(client.get(path), client.exists(path), client.set(path, b"x"))
    assert isinstance(data, Reply) and isinstance(exists, Reply) and isinstance(refused, Reply)
    members = cell.services[1].options.members
    assert data.body[4 : 4 + len(members)] == members and INT32.unpack_from(data.body)[0] == len(members)
    stat = kit.parse_stat(data.body[4 + len(members) :])
    assert stat == kit.parse_stat(exists.body) and stat.data_length == len(members) and stat.version == 0
    assert refused.error == codec.NO_AUTH and not cell.logs[1].machine.tree.nodes[path].data


class Timed(Census):
    """Knows when it took its turns."""

    def __init__(self, machine: CoordinationMachine) -> None:
        super().__init__(machine)
        self.turns_s: list[float] = []

    def _turn(self) -> None:
        self.turns_s.append(asyncio.get_running_loop().time())
        super()._turn()


@in_loop
async def test_counts_that_begin_as_others_end_take_no_larger_share_of_the_loop() -> None:
    cell = FakeCell().start()
    client = await RawClient(cell).connect()
    await client.do(client.create(b"/many"))
    await grow(client, b"/many", 3 * CENSUS_SLICE_NODES)
    census, ended = Timed(cell.logs[NodeId(1)].machine), asyncio.Event()
    left = 12

    def done(total: Total) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            ended.set()
        elif left > 0:
            assert census.ask(b"/many", done, lambda: True) is None

    assert census.ask(b"/many", done, lambda: True) is None
    async with asyncio.timeout(DEADLINE_S):
        await ended.wait()
    gaps_s = [after - before for before, after in pairwise(census.turns_s)]
    assert min(gaps_s) > CENSUS_PAUSE_MS / 1000 - 0.001, "one turn at a time, each after a pause"
