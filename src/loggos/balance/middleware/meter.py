"""A server's own load: requests in flight, and the latency that a request must expect that arrives now.

Every request is tagged with the number of others in flight when it arrived. When it ends, its latency is filed under that number.
The estimate is the median of what was filed recently under the present number of requests in flight, or under the nearest number
that has recent samples: it moves with the load at once, where an average over time would lag behind it.

Rules: pure, time is an argument (seconds of one monotonic clock); not thread-safe, its owner holds a lock where threads share it;
memory is bounded (METER_LEVELS_MAX × METER_SAMPLES_MAX).
Source: Wydrowski et al., "Load is not what you should balance: Introducing Prequal" (NSDI 2024), section 4.
"""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

from loggos.balance.types import Report
from loggos.base.limits import METER_LEVELS_MAX, METER_SAMPLES_MAX, METER_WINDOW_S


class Ticket(NamedTuple):
    """One request in flight."""

    level: int  # others in flight when it arrived
    started_s: float


class Sample(NamedTuple):
    """One request that ended."""

    ended_s: float
    latency_s: float


class LoadMeter:
    """`started` and `finished` around every request; `report` at any time."""

    def __init__(self, *, window_s: float = METER_WINDOW_S, samples: int = METER_SAMPLES_MAX) -> None:
        assert window_s > 0 and samples > 0
        self._window_s = window_s
        self._samples = samples
        self._levels: dict[int, deque[Sample]] = {}
        self._in_flight = 0
        self._latest: Sample | None = None

    @property
    def in_flight(self) -> int:
        return self._in_flight

    def started(self, now_s: float) -> Ticket:
        """A request has arrived. Hand the ticket to `finished` exactly once."""
        ticket = Ticket(min(self._in_flight, METER_LEVELS_MAX), now_s)
        self._in_flight += 1
        return ticket

    def finished(self, ticket: Ticket, now_s: float) -> None:
        """It has been answered, or has failed."""
        assert self._in_flight > 0, "a request ended that never started"
        self._in_flight -= 1
        self._latest = Sample(now_s, now_s - ticket.started_s)
        level = self._levels.get(ticket.level)
        if level is None:
            level = self._levels[ticket.level] = deque(maxlen=self._samples)
        level.append(self._latest)

    def report(self, now_s: float, *, besides: int = 0) -> Report:
        """The load now, without `besides` of the requests in flight (1: the one whose answer carries the report).

        `latency_s` is 0.0 until a first request has ended.
        """
        in_flight = max(self._in_flight - besides, 0)
        return Report(in_flight, self._latency_s(in_flight, now_s))

    def _latency_s(self, in_flight: int, now_s: float) -> float:
        oldest_s = now_s - self._window_s
        for number in [number for number, level in self._levels.items() if level[-1].ended_s < oldest_s]:
            del self._levels[number]
        if not self._levels:
            return self._latest.latency_s if self._latest is not None else 0.0
        nearest = min(self._levels, key=lambda number: (abs(number - in_flight), -number))  # of two, the busier one
        recent = sorted(sample.latency_s for sample in self._levels[nearest] if sample.ended_s >= oldest_s)
        middle = len(recent) // 2
        return recent[middle] if len(recent) % 2 else (recent[middle - 1] + recent[middle]) / 2
