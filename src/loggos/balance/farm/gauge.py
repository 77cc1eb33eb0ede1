"""What a simulated server knows of its own load: requests in flight, and the latency that one must expect that arrives now.

The estimate is that of the middleware's meter, with samples that do not age: the median of the last latencies of requests that
found as many others in flight as there are now, or the nearest number that has any (of two, the busier one). It is kept in order
as samples come, because a farm asks for it a million times. A test holds the two against each other.
Source: Wydrowski et al., "Load is not what you should balance: Introducing Prequal" (NSDI 2024), section 4.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import deque
from typing import Any, Protocol

from loggos.balance.types import Report
from loggos.base.limits import METER_LEVELS_MAX, METER_SAMPLES_MAX


class Meter(Protocol):
    """What a server measures its load with. A ticket belongs to the meter; `finished` takes it back exactly once."""

    def started(self, now_s: float) -> Any:
        """A request has arrived."""
        ...

    def finished(self, ticket: Any, now_s: float) -> None:
        """It has been answered, or has failed."""
        ...

    def report(self, now_s: float) -> Report:
        """The load now."""
        ...


class _Level:
    """The last latencies under one number of requests in flight, and their median."""

    __slots__ = ("in_order", "latest", "median_s")

    def __init__(self) -> None:
        self.latest: deque[float] = deque()
        self.in_order: list[float] = []
        self.median_s = 0.0

    def add(self, latency_s: float) -> None:
        in_order = self.in_order
        if len(in_order) == METER_SAMPLES_MAX:
            del in_order[bisect_left(in_order, self.latest.popleft())]
        self.latest.append(latency_s)
        insort(in_order, latency_s)
        middle = len(in_order) // 2
        self.median_s = in_order[middle] if len(in_order) % 2 else (in_order[middle - 1] + in_order[middle]) / 2


class Gauge:
    """A `Meter` for simulated servers."""

    __slots__ = ("_in_flight", "_levels")

    def __init__(self) -> None:
        self._in_flight = 0
        self._levels: dict[int, _Level] = {}

    def started(self, now_s: float) -> tuple[int, float]:
        level = self._in_flight
        self._in_flight = level + 1
        return level, now_s

    def finished(self, ticket: tuple[int, float], now_s: float) -> None:
        assert self._in_flight > 0, "a request ended that never started"
        self._in_flight -= 1
        number, started_s = ticket
        number = min(number, METER_LEVELS_MAX)
        level = self._levels.get(number)
        if level is None:
            level = self._levels[number] = _Level()
        level.add(now_s - started_s)

    def report(self, now_s: float) -> Report:
        in_flight, levels = self._in_flight, self._levels
        level = levels.get(in_flight)
        if level is None:
            if not levels:
                return Report(in_flight, 0.0)
            level = levels[min(levels, key=lambda number: (abs(number - in_flight), -number))]
        return Report(in_flight, level.median_s)
