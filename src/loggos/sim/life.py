"""A life of a host: from a start to the next crash. Every callback carries in its context the life it belongs to.

Rules: what belongs to a dead life never runs again, not even `finally`; what belongs to a paused life is held back, in order,
until it is resumed. Callbacks without a life belong to the world itself (wires, platters, the scenario) and always run.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import Context, ContextVar, copy_context
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from loggos.sim.loop import SimHandle


class HostClock:
    """One machine's clocks: ports.Clock. The wall may jump, both may drift; the monotonic one never goes back."""

    def __init__(self, time: Callable[[], float], epoch_ms: int) -> None:
        self._now = time
        self._epoch_ms = epoch_ms
        self.rate = 1.0
        self._since = self._now()
        self._base = self._since
        self._jumped_ms = 0

    def monotonic(self) -> float:
        return self._base + (self._now() - self._since) * self.rate

    def wall_ms(self) -> int:
        return self._epoch_ms + self._jumped_ms + int(self.monotonic() * 1000)

    def jump(self, milliseconds: int) -> None:
        self._jumped_ms += milliseconds

    def drift(self, rate: float) -> None:
        """From now on this clock runs `rate` times as fast as true time."""
        assert rate > 0, rate
        self._base, self._since = self.monotonic(), self._now()
        self.rate = rate


class Life:
    """One life. `number` is unique in the world and small: it is what the trace hashes."""

    __slots__ = ("clock", "dead", "held", "host", "number", "paused")

    def __init__(self, host: str, number: int, clock: HostClock) -> None:
        self.host = host
        self.number = number
        self.clock = clock
        self.dead = False
        self.paused = False
        self.held: list[SimHandle] = []

    def context(self) -> Context:
        """A fresh context that belongs to this life."""
        context = copy_context()
        context.run(current_life.set, self)
        return context


current_life: ContextVar[Life | None] = ContextVar("current_life", default=None)


def world_context() -> Context:
    """A fresh context that belongs to no host."""
    context = copy_context()
    context.run(current_life.set, None)
    return context
