"""SimWorld and SimHost: a whole simulated site from one seed.

    with SimWorld(seed) as world:
        one = world.host("one", "10.0.0.1")
        one.start(main)                      # main(ports) runs inside the host
        world.run(scenario())                # the scenario runs outside all hosts

Rules: all randomness comes from named streams of the seed; the scenario (world code) touches hosts only through SimHost and
SimNetwork; a supervised task that dies of an error stops its host, as on a real node, and is kept in `world.failures`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from time import perf_counter as _real_seconds
from types import TracebackType
from typing import Any, Final, NamedTuple, TypeVar

from loggos.base.ports import Clock, Disk, Entropy, Network, ProtocolFactory, Spawner, World
from loggos.sim.bootstrap import Interposition
from loggos.sim.disk import Platter, SimDisk
from loggos.sim.life import HostClock, Life, current_life, world_context
from loggos.sim.loop import START_S, SimLoop
from loggos.sim.network import SimNetwork, SimServer
from loggos.sim.trace import Draws, Trace

EPOCH_MS: Final = 1_700_000_000_000
Result = TypeVar("Result")
Main = Callable[[World], Coroutine[Any, Any, None]]


class Failure(NamedTuple):
    """A supervised task that died of an error."""

    at_s: float
    host: str
    task: str
    error: BaseException


class SimEntropy:
    """ports.Entropy, drawn from the seed."""

    def __init__(self, draws: Draws) -> None:
        self._draws = draws

    def token(self, size_bytes: int) -> bytes:
        return self._draws.randbytes(size_bytes)

    def below(self, bound: int) -> int:
        return self._draws.randrange(bound)


class SimPorts:
    """ports.World of one life; also its own Network and Spawner."""

    def __init__(self, host: SimHost, life: Life) -> None:
        self.clock: Clock = life.clock
        self.entropy: Entropy = SimEntropy(host.draws)
        self.disk: Disk = SimDisk(host.platter, life)
        self.network: Network = _LifeNetwork(host.world.network, life)
        self.spawner: Spawner = _LifeSpawner(host, life)
        self._loop = host.world.loop

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        return self._loop

    def descriptors(self) -> tuple[int, int] | None:
        return None


class _LifeNetwork:
    def __init__(self, network: SimNetwork, life: Life) -> None:
        self._network, self._life = network, life

    async def listen(self, host: str, port: int, factory: ProtocolFactory) -> SimServer:
        if self._life.dead:
            await self._network.loop.create_future()  # the end: a dead life waits for ever
        return self._network.listen(self._life, host, port, factory)

    async def resolve(self, host: str) -> Sequence[str]:
        return [host]  # `connect` knows names as well

    async def connect(self, host: str, port: int, factory: ProtocolFactory) -> tuple[asyncio.Transport, asyncio.BaseProtocol]:
        return await self._network.connect(self._life, host, port, factory)

    async def listen_local(self, path: str, factory: ProtocolFactory) -> SimServer:
        if self._life.dead:
            await self._network.loop.create_future()  # the end: a dead life waits for ever
        return self._network.listen_local(self._life, path, factory)

    async def connect_local(self, path: str, factory: ProtocolFactory) -> tuple[asyncio.Transport, asyncio.BaseProtocol]:
        return await self._network.connect_local(self._life, path, factory)


class _LifeSpawner:
    def __init__(self, host: SimHost, life: Life) -> None:
        self._host, self._life = host, life
        self._tasks: dict[asyncio.Task[None], None] = {}  # the loop holds its tasks weakly

    def spawn(self, coroutine: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        task = self._host.world.loop.create_task(coroutine, name=name, context=self._life.context())
        self._tasks[task] = None
        task.add_done_callback(self._ended, context=self._host.world.context)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.pop(task, None)
        error = None if task.cancelled() else task.exception()
        if error is not None and not self._life.dead:
            self._host.task_failed(task.get_name(), error)


class SimHost:
    """One machine: an address, a disk, clocks, and at most one running process (life)."""

    def __init__(self, world: SimWorld, name: str, address: str) -> None:
        self.world, self.name, self.address = world, name, address
        self.draws = world.draws(f"host/{name}")
        self.platter = Platter(name, world.loop, world.trace, world.draws(f"disk/{name}"), world.context)
        self.clock = HostClock(world.loop.time, EPOCH_MS)
        self.on_failure: Callable[[str, BaseException], None] | None = None
        self.stops_on_callback_error = True  # False: a host of third-party clients, which may be careless
        self._life: Life | None = None
        self._ports: SimPorts | None = None

    @property
    def is_running(self) -> bool:
        return self._life is not None

    @property
    def is_paused(self) -> bool:
        return self._life is not None and self._life.paused

    def ports(self) -> World:
        """The ports of the current life."""
        assert self._ports is not None, f"host {self.name} is not running"
        return self._ports

    # --- life and death ---

    def start(self, main: Main, name: str = "main") -> asyncio.Task[None]:
        """Run `main(ports)` as a supervised task of this host; begins a life if there is none (a restart has the same disk)."""
        if self._life is None:
            self._begin()
        assert self._ports is not None
        return self._ports.spawner.spawn(main(self._ports), f"{self.name}/{name}")

    def _begin(self) -> None:
        self._life = Life(self.name, self.world.next_life(), self.clock)
        self._ports = SimPorts(self, self._life)
        self.world.network.set_up(self.name, True)
        self._note("started", f"life {self._life.number}")

    def crash(self, lose_unsynced: bool = False, silent: bool = False) -> None:
        """Kill the process: nothing of it runs again, not even `finally`. Its connections are reset for the others (`silent`:
        they just get no answer any more). The page cache survives unless `lose_unsynced`."""
        if self._life is not None:
            self.world.trace.fault(self.world.loop.time(), self.name, "crash")
            self._end(silent)
        if lose_unsynced:
            self.platter.lose_power()

    def power_cut(self, survival: str | None = None) -> None:
        """The machine is off until the next start; unsynced writes are kept, dropped or torn (`survival`: see disk.SURVIVALS)."""
        self.world.trace.fault(self.world.loop.time(), self.name, "power cut")
        if self._life is not None:
            self._end(silent=True)
        self.world.network.set_up(self.name, False)
        self.platter.lose_power(survival)

    def wipe(self) -> None:
        """The data directory is lost. The host must be down."""
        assert self._life is None, f"crash {self.name} before wiping its disk"
        self.world.trace.fault(self.world.loop.time(), self.name, "wipe")
        self.platter.wipe()

    def _end(self, silent: bool) -> None:
        life = self._life
        assert life is not None
        life.dead = True
        life.held.clear()
        self._life = self._ports = None
        self.platter.life_ended(life)
        self.world.network.host_died(life, silent)
        self.world.loop.bury(life)
        self._note("ended", f"life {life.number}")

    def task_failed(self, task: str, error: BaseException) -> None:
        """A supervised task died: the node stops, loudly."""
        if self._life is None:
            return  # it is down already: what a dead life still says does not count
        self.world.failures.append(Failure(self.world.loop.time(), self.name, task, error))
        self._note("task failed", f"{task}: {error!r}")
        self._end(silent=False)
        if self.on_failure is not None:
            self.on_failure(task, error)

    # --- lesser evils ---

    def pause(self) -> None:
        """As SIGSTOP: nothing of this host runs; its machine still takes bytes."""
        if self._life is not None and not self._life.paused:
            self.world.trace.fault(self.world.loop.time(), self.name, "pause")
            self._life.paused = True

    def resume(self) -> None:
        if self._life is not None and self._life.paused:
            self._note("resumed")
            self.world.loop.release(self._life)

    def clock_jump(self, milliseconds: int) -> None:
        """The wall clock jumps; the monotonic one does not."""
        self.world.trace.fault(self.world.loop.time(), self.name, "clock jump", f"{milliseconds} ms")
        self.clock.jump(milliseconds)

    def clock_drift(self, rate: float) -> None:
        """All clocks and new timers of this host run `rate` times as fast as true time."""
        if rate != 1.0:
            self.world.trace.fault(self.world.loop.time(), self.name, "clock drift", f"{rate:.4f}")
        self.clock.drift(rate)

    def _note(self, label: str, detail: str = "") -> None:
        self.world.trace.event(self.world.loop.time(), self.name, label, detail)


class SimWorld:
    """Everything there is. Enter it (`with`) before running; one world at a time per process.

    `record`: keep readable lines in `trace.lines`. `adopt`: third-party packages with names of their own for `time` functions.
    """

    def __init__(self, seed: int, record: bool = False, adopt: Sequence[str] = ()) -> None:
        self.seed = seed
        self.trace = Trace(record)
        self.loop = SimLoop(self.trace)
        self.context = world_context()
        self.network = SimNetwork(self.loop, self.trace, self.draws("network"), self.context)
        self.loop.fabric = self.network
        self.loop.on_callback_error = self._callback_failed
        self.clock = HostClock(self.loop.time, EPOCH_MS)
        self.hosts: dict[str, SimHost] = {}
        self.failures: list[Failure] = []
        self.wall_s = 0.0
        self._lives = 0
        self._interposition = Interposition(self.loop, self.draws("third parties"), self.clock, adopt)

    def __enter__(self) -> SimWorld:
        self._interposition.enter()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            for host in self.hosts.values():
                if host._life is not None:
                    host._life.dead = True
            self.loop.finish()
        finally:
            self._interposition.leave()

    def draws(self, name: str) -> Draws:
        """A stream of randomness of its own: drawing from it changes no other."""
        return Draws(self.trace, self.seed, name)

    def host(self, name: str, address: str | None = None) -> SimHost:
        """Add a machine; addresses default to 10.0.0.1, 10.0.0.2, …"""
        address = address or f"10.0.0.{len(self.hosts) + 1}"
        self.network.add_host(name, address)
        self.hosts[name] = SimHost(self, name, address)
        return self.hosts[name]

    def _callback_failed(self, life: Life, error: BaseException) -> None:
        """A callback raised: on a node that is as bad as a task that died."""
        host = self.hosts[life.host]
        if host.stops_on_callback_error and not life.dead:
            host.task_failed("callback", error)

    def next_life(self) -> int:
        self._lives += 1
        return self._lives

    def run(self, scenario: Coroutine[Any, Any, Result], limit_s: float = 3_600.0) -> Result:
        """Run the scenario, outside all hosts, to its end. SimDeadlockError, SimTimeoutError."""
        began = _real_seconds()
        self.loop.limit = self.loop.time() + limit_s
        task = self.loop.create_task(scenario, name="scenario", context=self.context.copy())
        try:
            result: Result = self.loop.run_until_complete(task)
            return result
        finally:
            self.wall_s += _real_seconds() - began

    def probe(self, name: str) -> None:
        """A rare path was reached."""
        self.trace.probe(name)

    @property
    def simulated_s(self) -> float:
        return self.loop.time() - START_S

    def digest(self) -> str:
        """The hash of all that happened."""
        return self.trace.digest()

    def current_host(self) -> str | None:
        """The host whose code is running now; None for the scenario's own."""
        life = current_life.get()
        return life.host if life is not None else None
