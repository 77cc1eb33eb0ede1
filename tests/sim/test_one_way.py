"""A cut one way, from a follower to its leader: the follower's clients move, and nobody's session ends."""

from __future__ import annotations

import asyncio
from functools import partial

import pytest

from loggos.app.build import Parts
from loggos.app.simulation.client import Disconnected, History, SessionEnded, SimClient
from loggos.app.simulation.cluster import SimCluster
from loggos.app.simulation.recorder import LogRecorder
from loggos.base.ports import World
from loggos.check.history import Request
from loggos.sim.world import SimWorld
from tests.node.kit import until

CLIENTS = 8
TIMEOUT_MS = 4_000  # the shortest session that the default configuration allows
CUT_S = 10.0


class Play:
    """A cell, and clients of one follower that ping every third of their timeout."""

    def __init__(self, world: SimWorld) -> None:
        self.world = world
        self.cluster = SimCluster(world, 3, Parts(), LogRecorder(world.loop.time))
        self.history = History()
        self.leader = self.victim = 0
        self.connected = self.moved = self.ended = 0
        self.is_over = False
        self.write_ended_s = -1.0
        self.cut_at_s = 0.0

    async def client(self, number: int, ports: World) -> None:
        client = SimClient(number, self.cluster.addresses, TIMEOUT_MS, self.history, self.world.loop.time, ports.spawner)
        await client.connect(self.victim - 1)
        assert client.timeout_ms == TIMEOUT_MS
        await asyncio.sleep(number / CLIENTS * TIMEOUT_MS / 3_000)  # their pings are out of step
        self.connected += 1
        server = self.victim - 1
        while not self.is_over:
            try:
                client.ping()
                await self.until_disconnected(client, self.world.loop.time() + TIMEOUT_MS / 3_000)
                if not client.connected:
                    server += 1
                    await client.connect(server)
                    self.moved += 1
            except Disconnected:
                await asyncio.sleep(0.05)
            except SessionEnded:
                self.ended += 1
                return

    async def until_disconnected(self, client: SimClient, due_s: float) -> None:
        await until(lambda: not client.connected or self.world.loop.time() >= due_s)

    async def writer(self, ports: World) -> None:
        client = SimClient(99, self.cluster.addresses, TIMEOUT_MS, self.history, self.world.loop.time, ports.spawner)
        await client.connect(self.victim - 1)
        self.connected += 1
        await until(lambda: self.cut_at_s)
        with pytest.raises(Disconnected):
            await client.do(Request("create", "/a", b"1"), 30)
        self.write_ended_s = self.world.loop.time() - self.cut_at_s

    async def scenario(self) -> None:
        cluster, world = self.cluster, self.world
        for host in cluster.hosts:
            cluster.start(host)
        await until(cluster.converged)
        led = cluster.leader()
        assert led is not None
        self.leader = cluster.hosts.index(led) + 1
        self.victim = self.leader % 3 + 1
        for number in range(CLIENTS):
            world.host(f"c{number}").start(partial(self.client, number), "client")
        world.host("w").start(self.writer, "writer")
        await until(lambda: self.connected > CLIENTS)
        ballot = cluster.nodes[led.name].status()["ballot"]
        world.network.cut(f"n{self.victim}", led.name)
        self.cut_at_s = world.loop.time()
        await asyncio.sleep(CUT_S)
        assert cluster.nodes[led.name].status()["ballot"] == ballot, "the cell was not disturbed"
        assert self.moved >= CLIENTS and not cluster.nodes[f"n{self.victim}"].serves
        world.network.heal()
        await asyncio.sleep(2 * TIMEOUT_MS / 1000)
        assert cluster.nodes[f"n{self.victim}"].serves
        status = cluster.nodes[led.name].status()
        assert status["chosen"] >= status["slot"] > 1, "what is true now, not at the last change of leadership"
        self.is_over = True


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_clients_of_a_follower_that_the_leader_does_not_hear_keep_their_sessions(seed: int) -> None:
    with SimWorld(seed) as world:
        play = Play(world)
        world.run(play.scenario(), limit_s=200)
        assert not play.ended and 0 < play.write_ended_s < 3
        assert not world.failures
