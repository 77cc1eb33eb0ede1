"""What the tests of the pool share: a policy that keeps books, a clock that is moved by hand, a loop in virtual time."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, TypeVar

from loggos.balance import Pool
from loggos.balance.types import Endpoint, Policy, Report
from loggos.sim.world import SimWorld

T = TypeVar("T")


class Books(Policy):
    """Round robin that asserts what a pool owes to a policy: started and finished in pairs, never from two threads at once."""

    def __init__(self, spin: int = 0) -> None:
        """`spin`: turns of a loop that every call takes, so that threads have time to meet inside."""
        self._spin = spin
        self.open: dict[str, int] = {}
        self.finishes: list[tuple[str, bool, Report | None]] = []
        self.started_count = 0
        self.probe_answers: list[tuple[str, Report]] = []
        self.wants: Sequence[str] = ()
        self.keys: list[bytes | None] = []
        self._turn = 0
        self._inside = threading.Lock()

    def update(self, endpoints: Sequence[Endpoint], now_s: float) -> None:
        self._alone(lambda: None)

    def pick(self, now_s: float, among: Sequence[Endpoint], key: bytes | None = None) -> Endpoint | None:
        self.keys.append(key)
        return self._alone(lambda: self._next(among))

    def started(self, name: str, now_s: float) -> None:
        self.started_count += 1
        self._alone(lambda: self.open.__setitem__(name, self.open.get(name, 0) + 1))

    def finished(self, name: str, now_s: float, latency_s: float, ok: bool, report: Report | None = None) -> None:
        assert self.open.get(name, 0) > 0, f"{name} finished without a start"
        assert latency_s >= 0
        self._alone(lambda: self.open.__setitem__(name, self.open[name] - 1))
        self.finishes.append((name, ok, report))

    def probes_wanted(self, now_s: float) -> Sequence[str]:
        return self.wants

    def probed(self, name: str, now_s: float, report: Report) -> None:
        self.probe_answers.append((name, report))

    @property
    def balanced(self) -> bool:
        """Nothing is open, and everything that started finished."""
        return not any(self.open.values()) and len(self.finishes) == self.started_count

    def _next(self, among: Sequence[Endpoint]) -> Endpoint | None:
        self._turn += 1
        return among[self._turn % len(among)] if among else None

    def _alone(self, act: Callable[[], T]) -> T:
        assert self._inside.acquire(blocking=False), "two threads are in the policy"
        try:
            for _ in range(self._spin):
                pass
            return act()
        finally:
            self._inside.release()


class Clock:
    """Time that is moved by hand."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def virtual(scenario: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Runs a scenario in virtual time: waiting costs nothing, and is exact."""
    with SimWorld(1) as world:
        return world.run(scenario())


def pool_of(*names: str, policy: Policy | str = "round_robin", **arguments: Any) -> Pool:
    """A pool in the time of the running loop."""
    return Pool([Endpoint(name) for name in names], policy, clock=asyncio.get_running_loop().time, seed=1, **arguments)


def elapsed(since_s: float) -> float:
    """Virtual seconds."""
    return round(asyncio.get_running_loop().time() - since_s, 6)


def answers(**by_name: Callable[[], Awaitable[str]]) -> Callable[[Endpoint], Awaitable[str]]:
    """A function to call with end points: each has its own behaviour."""

    def send(endpoint: Endpoint) -> Awaitable[str]:
        return by_name[endpoint.name]()

    return send


def after(delay_s: float, result: str) -> Callable[[], Awaitable[str]]:
    async def act() -> str:
        await asyncio.sleep(delay_s)
        return result

    return act


def fails(error: BaseException, delay_s: float = 0.0) -> Callable[[], Awaitable[str]]:
    async def act() -> str:
        await asyncio.sleep(delay_s)
        raise error

    return act
