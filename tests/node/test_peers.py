"""The mesh after a peer was away: connections that are dead without a sign are dialled anew."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from loggos.base.ids import Incarnation, NodeId
from loggos.base.ports import ProtocolFactory, World
from loggos.node.peers import Link, Mesh
from loggos.node.wire import PROTOCOL, Hello, Standing, Type
from loggos.sim.world import SimWorld
from tests.node.kit import PEER_PORT, Cell, CellNode, SimSite, in_simulation, until


def site_of(cell: Cell) -> SimSite:
    assert isinstance(cell.site, SimSite)
    return cell.site


async def settled(cell: Cell) -> tuple[CellNode, CellNode]:
    """A leader and a follower whose connections are no longer young."""
    cell.start()
    leader = await cell.until_led()
    await cell.propose(leader.number, b"a=1")
    await cell.until_equal()
    await asyncio.sleep(2)
    return leader, next(node for node in cell.running() if node is not leader)


def link(node: CellNode, peer: CellNode) -> Link:
    assert node.member is not None
    return node.member.mesh.links[NodeId(peer.number)]


@pytest.mark.parametrize("away_s", [3.3, 5.0, 8.0])
def test_after_a_power_loss_a_voter_hears_the_leader_at_once(away_s: float) -> None:
    """The survivors' connections to its old life do not break: TCP backs off, and would try again too late."""

    async def scenario(cell: Cell) -> None:
        model = site_of(cell).world.network.model
        model.retransmit_max_s, model.break_after_s = 120.0, 900.0
        leader, follower = await settled(cell)
        host = site_of(cell).hosts[follower.number]
        before = link(leader, follower).transport
        host.power_cut()
        follower.member = None
        await asyncio.sleep(away_s)
        assert link(leader, follower).transport is before, "nothing told the leader of the loss"
        cell.start(follower.number)
        await until(lambda: follower.runs)
        began = asyncio.get_running_loop().time()
        await until(lambda: follower.replica.leader == leader.number, 1.0)
        assert asyncio.get_running_loop().time() - began < 0.5
        await cell.until_equal()
        assert link(leader, follower).transport is not before

    in_simulation(scenario)


def test_when_one_way_breaks_both_are_dialled_anew_once() -> None:
    async def scenario(cell: Cell) -> None:
        leader, follower = await settled(cell)
        one, other = link(follower, leader), link(leader, follower)
        before = other.transport
        assert one.transport is not None
        transport = one.transport
        await cell.site.on(follower.number, lambda: transport.abort())
        await until(lambda: one.transport not in (None, transport) and other.transport not in (None, before))
        after = one.transport, other.transport
        await cell.until_led()
        await asyncio.sleep(5)
        assert (one.transport, other.transport) == after, "they come to rest"

    in_simulation(scenario)


def test_a_young_connection_is_kept() -> None:
    async def scenario(cell: Cell) -> None:
        leader, follower = await settled(cell)
        one, other = link(follower, leader), link(leader, follower)

        async def breaks() -> None:
            before = one.transport
            assert before is not None
            await cell.site.on(follower.number, lambda: before.abort())
            await until(lambda: one.transport not in (None, before))

        await breaks()
        await until(lambda: other.transport is not None)
        young = other.transport
        await breaks()
        await asyncio.sleep(0.2)
        assert other.transport is young
        await cell.until_equal()

    in_simulation(scenario)


def connected(cell: Cell, node: CellNode) -> bool:
    """Both ways to and from every other node stand."""
    others = [NodeId(number) for number in cell.nodes if number != node.number]
    return node.runs and all(node.replica.mesh.is_up(other) for other in others)


async def seconds_until_connected(cell: Cell, node: CellNode, limit_s: float) -> float:
    began = asyncio.get_running_loop().time()
    await until(lambda: connected(cell, node), limit_s)
    return asyncio.get_running_loop().time() - began


@pytest.mark.parametrize("away_s", [15.0, 30.0, 70.0])
def test_after_a_partition_that_swallows_packets_all_are_connected_within_a_dial(away_s: float) -> None:
    """The system repeats the first packet of a connection after 1, 2, 4, 8, … s: nobody may wait for that."""

    async def scenario(cell: Cell) -> None:
        network = site_of(cell).world.network
        network.model.break_after_s = 5.0
        _, follower = await settled(cell)
        network.isolate(f"n{follower.number}")
        await asyncio.sleep(away_s)
        assert not connected(cell, follower)
        network.heal()
        assert await seconds_until_connected(cell, follower, 40.0) < 1.5
        await cell.until_equal()

    in_simulation(scenario)


@pytest.mark.parametrize("away_s", [37.0, 37.3, 37.6, 37.9])
def test_a_machine_that_is_back_is_dialled_as_soon_as_it_is_heard(away_s: float) -> None:
    """Whatever attempt to dial it is under way: the packet that it waits for is lost."""

    async def scenario(cell: Cell) -> None:
        site_of(cell).world.network.model.break_after_s = 5.0
        _, follower = await settled(cell)
        site_of(cell).hosts[follower.number].power_cut()
        follower.member = None
        await asyncio.sleep(away_s)
        cell.start(follower.number)
        await until(lambda: follower.runs)
        assert await seconds_until_connected(cell, follower, 40.0) < 0.1
        await cell.until_equal()

    in_simulation(scenario)


class Owner:
    """Counts what it loses."""

    lost = 0

    def peer_hello(self, node: NodeId, hello: Hello) -> None:
        raise AssertionError("nobody dials it")

    def peer_frame(self, node: NodeId, incarnation: Incarnation, kind: Type, body: bytes) -> None:
        raise AssertionError("nobody dials it")

    def peer_foreign(self, node: NodeId) -> None:
        raise AssertionError("nobody dials it")

    def peer_lost(self, node: NodeId) -> None:
        self.lost += 1


class GivenUp:
    """A network whose first connection is made, and given up in the same turn, without a word to its protocol: as uvloop does it
    when a deadline falls into that turn."""

    def __init__(self, world: World) -> None:
        self._network = world.network
        self.attempts = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._network, name)

    async def connect(self, host: str, port: int, factory: ProtocolFactory) -> Any:
        self.attempts += 1
        if self.attempts > 1:
            return await self._network.connect(host, port, factory)
        transport, _ = await self._network.connect(host, port, asyncio.Protocol)
        factory().connection_made(transport)
        raise TimeoutError


def test_a_connection_given_up_as_it_was_made_is_not_used() -> None:
    hello = Hello(PROTOCOL, "kit", 1, 7, Standing.ESTABLISHED, [1, 2], 0)
    with SimWorld(1) as world:
        one, two, owner = world.host("one"), world.host("two"), Owner()

        async def serve(ports: World) -> None:
            await ports.network.listen("", PEER_PORT, asyncio.Protocol)

        async def dial(ports: World) -> None:
            network = ports.network = GivenUp(ports)
            addresses = {NodeId(1): (one.address, PEER_PORT), NodeId(2): (two.address, PEER_PORT)}
            mesh = Mesh(ports, owner, hello, addresses, print, print)
            await mesh.start("", PEER_PORT)
            link = mesh.links[NodeId(2)]
            await until(lambda: network.attempts == 2, 1)
            assert owner.lost == 1, "it is known as soon as it is given up"
            await until(lambda: link.transport is not None, 1)
            assert owner.lost == 1

        async def scenario() -> None:
            await two.start(serve)
            await one.start(dial)

        world.run(scenario())
        assert not world.failures
