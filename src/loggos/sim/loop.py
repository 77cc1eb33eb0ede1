"""The simulator's event loop: asyncio's own BaseEventLoop with a virtual clock instead of a selector.

Rules:
- Time stands still while callbacks run and jumps to the next timer when nothing is ready. Equal timers run in the order they
  were made.
- Each callback belongs to the life in its context (life.py): dropped if that is dead, held back while it is paused.
- Tasks and futures are hashed by a per-loop counter, so sets of them have one order. The garbage collector runs at fixed
  virtual times.
- No threads, no sockets, no signals: what would need them raises a clear error. Connections go to the simulated network.

CPython's `asyncio/base_events.py` (3.11) is the specification; `_run_once` is the only private method replaced.
"""

from __future__ import annotations

import asyncio
import gc
import heapq
import socket
from collections.abc import Callable, Coroutine, Generator, Sequence
from contextvars import Context, copy_context
from typing import TYPE_CHECKING, Any, Final, NoReturn

from loggos.sim.life import Life, current_life
from loggos.sim.trace import Trace

if TYPE_CHECKING:
    from loggos.sim.network import SimNetwork

Callback = Callable[..., object]
START_S: Final = 1000.0  # the virtual clock's start: not 0, which some clients take for "never"
_COLLECT_EVERY_S: Final = 10.0
_CANCELLED_KEPT: Final = 200  # cancelled timers kept before the heap is cleaned


class SimError(RuntimeError):
    """The simulated program asked for something that the simulator does not offer, or cannot go on."""


class SimDeadlockError(SimError):
    """Nothing is ready and no timer is set: the awaited thing can never happen."""


class SimTimeoutError(SimError):
    """The run went beyond its limit of virtual time."""


class SimHandle(asyncio.TimerHandle):
    """A callback that knows its life and its serial number. Sets asyncio's own slots here: there is one per callback."""

    __slots__ = ("life", "serial")
    _scheduled: bool  # it lies in the heap
    _when: float
    _callback: Callback
    _args: Sequence[Any]
    _loop: SimLoop
    _context: Context
    _source_traceback: None
    _repr: None

    def __init__(
        self, when: float, callback: Callback, args: Sequence[Any], loop: SimLoop, context: Context | None, serial: int
    ) -> None:
        if context is None:
            context = copy_context()
        self._when, self._callback, self._args, self._loop, self._context = when, callback, args, loop, context
        self._scheduled = self._cancelled = False
        self._source_traceback = self._repr = None
        self.life: Life | None = context.get(current_life)
        self.serial = serial


class SimFuture(asyncio.Future[Any]):
    """A future hashed by a counter."""

    def __init__(self, loop: SimLoop, serial: int) -> None:
        self.serial = serial
        super().__init__(loop=loop)

    def __hash__(self) -> int:
        return self.serial


class SimTask(asyncio.Task[Any]):
    """A task hashed by a counter, which knows its life."""

    def __init__(
        self, coroutine: Coroutine[Any, Any, Any], loop: SimLoop, serial: int, name: str | None, context: Context | None
    ) -> None:
        self.serial = serial
        self.life = (context.get(current_life) if context is not None else current_life.get()) or None
        super().__init__(coroutine, loop=loop, name=name or f"task-{serial}", context=context)

    def __hash__(self) -> int:
        return self.serial


class SimLoop(asyncio.BaseEventLoop):
    """See the module. `fabric` is the simulated network; `limit` the virtual time beyond which a run is given up."""

    def __init__(self, trace: Trace) -> None:
        super().__init__()
        self.trace = trace
        self.fabric: SimNetwork | None = None
        self.limit = float("inf")
        self.errors: list[dict[str, Any]] = []  # what was left to the loop's exception handler: callbacks, tasks nobody awaited
        self.on_callback_error: Callable[[Life, BaseException], None] | None = None
        self._now = START_S
        self._timers: list[tuple[float, int, SimHandle]] = []
        self._cancelled = 0
        self._serial = 0
        self._collect_at = START_S + _COLLECT_EVERY_S
        self._finished = False  # the world is closed: whatever still stirs is ignored
        self._generator_lives: dict[int, Life | None] = {}
        self._buried: list[object] = []  # tasks and generators of dead lives: kept, so that their `finally` does not run
        self._ready: Any

    # --- time ---

    def time(self) -> float:
        return self._now

    def advance(self, seconds: float) -> None:
        """A callback burns `seconds` of virtual time while nothing else runs."""
        assert seconds >= 0, seconds
        self._now += seconds

    def next_serial(self) -> int:
        self._serial += 1
        return self._serial

    # --- scheduling ---

    def call_soon(  # type: ignore[override]
        self, callback: Callback, *args: Any, context: Context | None = None
    ) -> SimHandle:
        handle = SimHandle(self._now, callback, args, self, context, self.next_serial())
        if not self._finished:
            self._ready.append(handle)
        return handle

    def call_soon_threadsafe(  # type: ignore[override]
        self, callback: Callback, *args: Any, context: Context | None = None
    ) -> SimHandle:
        return self.call_soon(callback, *args, context=context)

    def call_later(  # type: ignore[override]
        self, delay: float, callback: Callback, *args: Any, context: Context | None = None
    ) -> SimHandle:
        life = current_life.get() if context is None else context.get(current_life)
        if life is not None:
            delay /= life.clock.rate
        return self.call_at(self._now + delay, callback, *args, context=context)

    def call_at(  # type: ignore[override]
        self, when: float, callback: Callback, *args: Any, context: Context | None = None
    ) -> SimHandle:
        handle = SimHandle(when, callback, args, self, context, self.next_serial())
        if not self._finished:
            heapq.heappush(self._timers, (when, handle.serial, handle))
            handle._scheduled = True
        return handle

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        if not handle._scheduled:  # type: ignore[attr-defined]
            return
        self._cancelled += 1
        if self._cancelled > _CANCELLED_KEPT and self._cancelled * 2 > len(self._timers):
            self._timers = [timer for timer in self._timers if not timer[2].cancelled()]
            heapq.heapify(self._timers)
            self._cancelled = 0

    def _run_once(self) -> None:
        """One turn: advance the clock if nothing is ready, then run what is ready now."""
        ready = self._ready
        if not ready and not self._stopping:  # type: ignore[attr-defined]
            self._advance_to_next_timer()
        timers, now = self._timers, self._now
        while timers and timers[0][0] <= now:
            handle = heapq.heappop(timers)[2]
            handle._scheduled = False
            if handle.cancelled():
                self._cancelled -= 1
            else:
                ready.append(handle)
        step = self.trace.step
        for _ in range(len(ready)):
            handle = ready.popleft()
            if handle.cancelled():
                continue
            life = handle.life
            if life is None:
                step(self._now, handle.serial, 0)
            elif life.dead:
                continue
            elif life.paused:
                life.held.append(handle)
                continue
            else:
                step(self._now, handle.serial, life.number)
            handle._run()

    def _advance_to_next_timer(self) -> None:
        timers = self._timers
        while timers and timers[0][2].cancelled():
            heapq.heappop(timers)[2]._scheduled = False
            self._cancelled -= 1
        if not timers:
            raise SimDeadlockError("nothing is ready and no timer is set: the awaited thing can never happen")
        self._now = max(self._now, timers[0][0])
        if self._now > self.limit:
            raise SimTimeoutError(f"the run went beyond its limit of virtual time ({self.limit - START_S:.0f} s)")
        self.trace.second(self._now)
        if self._now >= self._collect_at:
            self._collect_at = self._now + _COLLECT_EVERY_S
            gc.collect()

    def release(self, life: Life) -> None:
        """A paused life goes on: what was held back runs first, in its order."""
        life.paused = False
        held, life.held = life.held, []
        self._ready.extendleft(reversed(held))

    # --- tasks, futures, generators ---

    def create_future(self) -> asyncio.Future[Any]:
        return SimFuture(self, self.next_serial())

    def create_task(  # type: ignore[override]
        self,
        coro: Coroutine[Any, Any, Any] | Generator[Any, None, Any],
        *,
        name: str | None = None,
        context: Context | None = None,
    ) -> SimTask:
        assert isinstance(coro, Coroutine) or hasattr(coro, "send"), coro
        return SimTask(coro, self, self.next_serial(), name, context)  # type: ignore[arg-type]

    def bury(self, life: Life | None) -> None:
        """The life is over: keep its suspended tasks as they are. None: every task that is left."""
        tasks = [task for task in asyncio.all_tasks(self) if isinstance(task, SimTask) and (life is None or task.life is life)]
        for task in sorted(tasks, key=lambda task: task.serial):
            task._log_destroy_pending = False  # type: ignore[attr-defined]
            self._buried.append(task)

    def _asyncgen_firstiter_hook(self, agen: Any) -> None:
        self._generator_lives[id(agen)] = current_life.get()  # identity only; overwritten when an address is used again
        super()._asyncgen_firstiter_hook(agen)  # type: ignore[misc]

    def _asyncgen_finalizer_hook(self, agen: Any) -> None:
        life = self._generator_lives.pop(id(agen), None)
        if self._finished or (life is not None and life.dead):
            self._buried.append(agen)
            return
        context = life.context() if life is not None else None
        self.call_soon(self.create_task, agen.aclose(), context=context)

    def finish(self) -> None:
        """The end of the world: nothing is scheduled any more; suspended coroutines are closed with their effects ignored."""
        self._finished = True
        self.bury(None)
        self._ready.clear()
        self._timers.clear()
        buried, self._buried = self._buried, []
        for item in buried:
            if isinstance(item, SimTask):
                _close_quietly(item.get_coro())
        self._ready.clear()
        self.close()

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        if not self._finished:
            super().call_exception_handler(context)

    def default_exception_handler(self, context: dict[str, Any]) -> None:
        error, handle = context.get("exception"), context.get("handle")
        self.errors.append(context)
        self.trace.event(self._now, "world", "loop error", type(error).__name__)
        if isinstance(handle, SimHandle) and handle.life is not None and isinstance(error, BaseException):
            assert self.on_callback_error is not None
            self.on_callback_error(handle.life, error)

    # --- what the simulator has no use for ---

    def _process_events(self, event_list: Any) -> None:
        raise SimError("the simulated loop has no selector")

    def _write_to_self(self) -> None:
        return

    def run_in_executor(self, executor: Any, func: Callback, *args: Any) -> NoReturn:  # type: ignore[override]
        name = getattr(func, "__qualname__", "?")
        raise SimError(f"run_in_executor({name}): the simulated world has no threads; use the ports")

    async def create_datagram_endpoint(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise SimError("datagrams are not simulated")

    async def getaddrinfo(self, host: Any, port: Any, *, family: int = 0, type: int = 0, proto: int = 0, flags: int = 0) -> Any:
        address = self._network().resolve(host, current_life.get())
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, int(port or 0)))]

    async def getnameinfo(self, sockaddr: Any, flags: int = 0) -> tuple[str, str]:
        return str(sockaddr[0]), str(sockaddr[1])

    # --- connections ---

    def _network(self) -> SimNetwork:
        assert self.fabric is not None, "the world connects the loop to its network"
        return self.fabric

    async def create_connection(  # type: ignore[override]
        self, protocol_factory: Callable[[], asyncio.BaseProtocol], host: Any = None, port: Any = None, **options: Any
    ) -> tuple[asyncio.Transport, asyncio.BaseProtocol]:
        _refuse_options(options)
        return await self._network().connect(_running_life(), str(host), int(port), protocol_factory)

    async def create_server(
        self, protocol_factory: Callable[[], asyncio.BaseProtocol], host: Any = None, port: Any = None, **options: Any
    ) -> Any:
        _refuse_options(options)
        if isinstance(host, list | tuple):
            host = host[0] if host else None
        return self._network().listen(_running_life(), str(host or "0.0.0.0"), int(port or 0), protocol_factory)


def _running_life() -> Life:
    life = current_life.get()
    if life is None:
        raise SimError("only code that runs inside a host has a network: start it with SimHost.start")
    return life


def _refuse_options(options: dict[str, Any]) -> None:
    for name in ("ssl", "sock"):
        if options.get(name):
            raise SimError(f"{name}= is not simulated")


def _close_quietly(coroutine: Any) -> None:
    """Close a coroutine that nobody will ever resume; whatever it does or raises no longer matters."""
    try:
        coroutine.close()
    except BaseException:
        return
