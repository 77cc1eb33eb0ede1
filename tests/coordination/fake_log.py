"""A log without consensus, for tests of the coordination service: several nodes, one order, each applied when the test says so.

`FakeCell` holds the order; each node has a real machine and a `FakeLog`. By default entries are applied on every node soon after
they are proposed; a held node applies only by `step`. Time is the test's own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from loggos.base.errors import OverloadedError
from loggos.base.ids import NO_NODE, Index, NodeId, Stamps
from loggos.base.ports import Follower, ProtocolFactory
from loggos.coordination.machine import CoordinationMachine
from loggos.coordination.service import CoordinationService, ServiceOptions
from loggos.coordination.zookeeper.server import ZooKeeperDoor
from loggos.node.levels import NEWEST_LEVEL

WALL_MS = 1_700_000_000_000


class FakeClock:
    """Stands still unless told otherwise."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def monotonic(self) -> float:
        return self.now_s

    def wall_ms(self) -> int:
        return WALL_MS + int(self.now_s * 1000)


class FakeEntropy:
    """Counts."""

    def __init__(self) -> None:
        self.drawn = 0

    def token(self, size_bytes: int) -> bytes:
        self.drawn += 1
        return self.drawn.to_bytes(size_bytes, "big")

    def below(self, bound: int) -> int:
        self.drawn += 1
        return self.drawn % bound


class FakeSpawner:
    """Starts nothing: tests call `tick` themselves. With `live`, starts tasks."""

    def __init__(self, live: bool = False) -> None:
        self.live = live
        self.tasks: list[asyncio.Task[None]] = []

    def spawn(self, coroutine: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        if not self.live:
            coroutine.close()
            coroutine = _nothing()
        task = asyncio.get_running_loop().create_task(coroutine, name=name)
        self.tasks.append(task)
        return task


async def _nothing() -> None:
    return


class LoopNetwork:
    """The Network port on the running loop, for tests that use real sockets."""

    async def listen(self, host: str, port: int, factory: ProtocolFactory) -> Any:
        server = await asyncio.get_running_loop().create_server(factory, host, port)
        return LoopServer(server)

    async def connect(self, host: str, port: int, factory: ProtocolFactory) -> tuple[asyncio.Transport, asyncio.BaseProtocol]:
        return await asyncio.get_running_loop().create_connection(factory, host, port)  # type: ignore[return-value]


class LoopServer:
    def __init__(self, server: asyncio.Server) -> None:
        self._server = server
        self.port: int = server.sockets[0].getsockname()[1]

    def close(self) -> None:
        self._server.close()


class FakeLog:
    """One node's view of the cell's order."""

    def __init__(self, cell: FakeCell, node: NodeId) -> None:
        self.cell, self.node = cell, node
        self.machine = CoordinationMachine()
        self.follower: Follower | None = None
        self.index = Index(0)
        self.applied = 0  # entries
        self.held = False
        self.full = False
        self.plain = True  # as the registry does it: the machine's short way while nobody must be told all
        self.plainly = 0  # how many were applied so
        self.barriers: list[Callable[[Index | None], None]] = []
        self.hold_barriers = False
        self.barriers_asked = 0
        self.forgotten: set[int] = set()  # entries of this node whose fate it was told it does not know

    @property
    def leader(self) -> NodeId:
        return self.cell.leader

    @property
    def level(self) -> int:
        return NEWEST_LEVEL

    @property
    def cell_ms(self) -> int:
        return self.cell.cell_ms()

    def propose(self, machine: int, command: bytes) -> None:
        if self.full:
            raise OverloadedError("full")
        self.cell.append(self.node, command)

    def follow(self, machine: int, follower: Follower) -> None:
        self.follower = follower

    def tell(self, node: NodeId, machine: int, note: bytes) -> None:
        follower = self.cell.logs[node].follower
        assert follower is not None
        follower.peer_note(self.node, note)

    def read_barrier(self, done: Callable[[Index | None], None]) -> None:
        self.barriers_asked += 1
        if self.hold_barriers:
            self.barriers.append(done)
        else:
            asyncio.get_running_loop().call_soon(lambda: (self.step(), done(self.index)))

    def release_barriers(self, ok: bool = True) -> None:
        barriers, self.barriers = self.barriers, []
        for done in barriers:
            done(self.index if ok else None)

    def step(self, count: int | None = None, batch: bool = True) -> None:
        """Apply up to `count` entries (None: all there are) as one batch, or each as its own."""
        assert self.follower is not None
        end = len(self.cell.entries) if count is None else min(self.applied + count, len(self.cell.entries))
        if self.applied == end:
            return
        while self.applied < end:
            origin, command, stamps = self.cell.entries[self.applied]
            mine = origin == self.node and self.applied not in self.forgotten
            self.applied += 1
            if not (self.plain and not self.follower.needs_all() and self._apply_plain(command, stamps, mine)):
                answer = mine and self.follower.wants(command)
                outcome = self.machine.apply(Index(self.index + 1), stamps, command, answer)
                self.index = Index(self.index + len(outcome.codes))
                self.follower.applied(self.index, command, outcome)
            if not batch:
                self.follower.batch_done(self.index)
        if batch:
            self.follower.batch_done(self.index)

    def _apply_plain(self, command: bytes, stamps: Stamps, mine: bool) -> bool:
        assert self.follower is not None
        index = Index(self.index + 1)
        plain = self.machine.apply_plain(command, 0, len(command), index, stamps)
        if plain is None:
            return False
        self.plainly += 1
        self.index = index
        if mine:
            self.follower.applied_plainly(index, plain)
        return True

    def interrupt(self) -> None:
        """This node learns that it does not know the fate of what it proposed and has not applied."""
        assert self.follower is not None
        self.forgotten.update(range(self.applied, len(self.cell.entries)))
        self.follower.interrupted()


class FakeCell:
    """Nodes 1..count with one order of entries; node 1 leads."""

    def __init__(
        self,
        count: int = 1,
        *,
        options: ServiceOptions | None = None,
        auto: bool = True,
        live_ticks: bool = False,
        clock: Any = None,
        service: type[CoordinationService] = CoordinationService,
    ) -> None:
        self.clock = clock or FakeClock()
        self.entries: list[tuple[NodeId, bytes, Stamps]] = []
        self.leader = NodeId(1)
        self.auto = auto
        self._scheduled = False
        self.spawner = FakeSpawner(live_ticks)
        self.entropy = FakeEntropy()
        self.logs = {NodeId(n): FakeLog(self, NodeId(n)) for n in range(1, count + 1)}
        self.services = {
            node: service(log, log.machine, self.clock, self.entropy, self.spawner, node=node, options=options)
            for node, log in self.logs.items()
        }
        self.doors = {node: ZooKeeperDoor(s) for node, s in self.services.items()}

    def start(self) -> FakeCell:
        for service in self.services.values():
            service.start()
        return self

    def stop(self) -> None:
        for door in self.doors.values():
            door.close()
        for service in self.services.values():
            service.stop()

    def cell_ms(self) -> int:
        return int(self.clock.monotonic() * 1000)

    def append(self, origin: NodeId, command: bytes) -> None:
        self.entries.append((origin, command, Stamps(self.clock.wall_ms(), self.cell_ms(), NEWEST_LEVEL)))
        if self.auto and not self._scheduled:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._apply_all)

    def _apply_all(self) -> None:
        self._scheduled = False
        for log in self.logs.values():
            if not log.held:
                log.step()

    def lead(self, node: NodeId) -> None:
        """Another node leads (0: none), and all know."""
        self.leader = node
        for own, service in self.services.items():
            service.leader_changed(node, node != NO_NODE and node == own)

    def advance(self, seconds: float, step_s: float = 0.05) -> None:
        """Let time pass, tick by tick."""
        for _ in range(round(seconds / step_s)):
            self.clock.now_s += step_s
            for service in self.services.values():
                service.tick()
