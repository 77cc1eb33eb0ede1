"""A cluster in the simulator under a client that is not ours: aiozk, unmodified, with its own recipes for locks and counters.

Three hosts take one lock in turns and raise one counter under it, while the leader is killed twice.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

import aiozk
import aiozk.exc

from loggos.app.build import Parts
from loggos.app.simulation.cluster import SimCluster
from loggos.app.simulation.recorder import LogRecorder
from loggos.base.ports import World
from loggos.sim.world import SimHost, SimWorld

ROUNDS = 6
WORKERS = 3
SESSION_S = 8
ACQUIRE_S = 20
LOCK, COUNTER = "/lock", "/counter"


@dataclass(slots=True)
class Played:
    """What was seen. `holds`: (from, to, worker, sequence number of its node) of every time the lock was held."""

    digest: str = ""
    holds: list[tuple[float, float, str, int]] = field(default_factory=list)
    sure: int = 0  # increments that were acknowledged
    unsure: int = 0  # those whose connection broke
    value: int = -1
    failures: list[str] = field(default_factory=list)
    leaders: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)


class Locker:
    """One worker. aiozk tells of a request that was under way when its connection broke; then this one begins a new session."""

    def __init__(self, servers: str, name: str, played: Played) -> None:
        self.servers, self.name, self.played = servers, name, played

    async def main(self, ports: World) -> None:
        done = 0
        while done < ROUNDS:
            zookeeper = aiozk.ZKClient(self.servers, session_timeout=SESSION_S)
            await zookeeper.start()
            with suppress(aiozk.exc.TimeoutError, aiozk.exc.ConnectError, aiozk.exc.SessionLost):
                await self.prepare(zookeeper)
                while done < ROUNDS:
                    await self.round(ports, zookeeper)
                    done += 1
                    await asyncio.sleep(0.3)
            with suppress(TimeoutError):  # it waits for the server that died
                await zookeeper.close()

    async def prepare(self, zookeeper: aiozk.ZKClient) -> None:
        with suppress(aiozk.exc.NodeExists):
            await zookeeper.create(COUNTER, b"0")

    async def round(self, ports: World, zookeeper: aiozk.ZKClient) -> None:
        """Take the lock, hold it for a while, raise the counter, give it back."""
        lock = zookeeper.recipes.Lock(LOCK)
        await lock.acquire(timeout=ACQUIRE_S)
        sequence = int(lock.owned_paths["lock"][-10:])
        began = ports.loop.time()
        counter = zookeeper.recipes.Counter(COUNTER, 0)
        await counter.start()
        await asyncio.sleep(0.2)
        self.played.unsure += 1
        await counter.set_value(counter.value + 1, force=False)
        self.played.unsure -= 1
        self.played.sure += 1
        self.played.holds.append((began, ports.loop.time(), self.name, sequence))
        await lock.release()


def play(seed: int) -> Played:
    """One run."""
    logging.getLogger("aiozk").setLevel(logging.CRITICAL)
    played = Played()
    with SimWorld(seed, adopt=["aiozk"]) as world:
        cluster = SimCluster(world, 3, Parts(), LogRecorder(world.loop.time))
        servers = ",".join(f"{host}:{port}" for host, port in cluster.addresses)
        hosts = [world.host(f"aiozk{number}") for number in range(1, WORKERS + 1)]
        world.run(_scenario(world, cluster, hosts, servers, played), limit_s=600)
        cluster.judge_stops()
    tree = next(iter(cluster.nodes.values())).machine.tree.nodes
    played.value = int(tree[COUNTER.encode()].data)
    played.left = [path.decode() for path in tree if path.startswith(LOCK.encode() + b"/")]
    played.failures = [*map(str, cluster.violations), *map(str, cluster.recorder.differences), *cluster.stops]
    played.digest = world.digest()
    return played


async def _scenario(world: SimWorld, cluster: SimCluster, hosts: list[SimHost], servers: str, played: Played) -> None:
    for host in cluster.hosts:
        cluster.start(host)
    await _until(cluster.converged)
    running = []
    for host in hosts:
        host.stops_on_callback_error = False
        running.append(host.start(Locker(servers, host.name, played).main, "locker"))
    for holds in (3, 9):
        await _until(lambda holds=holds: len(played.holds) >= holds)  # type: ignore[misc]
        leader = _leader(cluster)
        played.leaders.append(leader.name)
        leader.crash()
        await asyncio.sleep(3)
        cluster.start(leader)
    await asyncio.gather(*running)
    await _until(cluster.converged)
    cluster.compare_states()


async def _until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110 - what it waits for happens inside other hosts
        await asyncio.sleep(0.05)


def _leader(cluster: SimCluster) -> SimHost:
    replica = next(node.member.replica for node in cluster.running() if node.member.replica is not None)
    return cluster.hosts[replica.leader - 1]
