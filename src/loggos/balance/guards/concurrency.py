"""How many requests may be on their way at once, learnt from what they take: too many only wait in queues.

- `AimdLimit`: one more for each good answer while the limit is nearly used, a tenth less for each failure or late answer.
- `GradientLimit`: the limit follows the ratio of long-term to present latency, with room for a short queue (`queue`); it needs no
  latency to be named. While less than half of the limit is used it stays, since latency says nothing about it then.

Source: Netflix concurrency-limits, AIMDLimit and Gradient2Limit (its defaults: long window 600, smoothing 0.2, tolerance 1.5,
queue 4, gradient from 0.5 to 1).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Final

from loggos.balance.policies.checks import above, at_least, whole, within
from loggos.base import limits

WARM_UP: Final = 10  # samples whose plain mean starts the long-term latency
DRIFT: Final = 0.95  # long-term latency that is twice the present one comes down by this factor a sample: an overload is over


class Limit(ABC):
    """A bound on requests on their way."""

    def __init__(self, initial: int, least: int, most: int) -> None:
        whole("least", least, 1)
        whole("most", most, least, limits.CONCURRENCY_MAX)
        whole("initial", initial, least, most)
        self._least, self._most = least, most
        self._limit = float(initial)

    @property
    def limit(self) -> int:
        """Requests that may be on their way now."""
        return int(self._limit)

    def allows(self, in_flight: int) -> bool:
        """Whether one more may be sent beside those on their way."""
        return in_flight < int(self._limit)

    @abstractmethod
    def finished(self, latency_s: float, ok: bool, in_flight: int) -> None:
        """A request ended; `in_flight`: how many were on their way with it."""

    def _set(self, limit: float) -> None:
        self._limit = min(max(limit, float(self._least)), float(self._most))


class AimdLimit(Limit):
    """Additive increase, multiplicative decrease. `late_s`: an answer later than this counts as a failure."""

    def __init__(self, *, late_s: float, initial: int = 20, least: int = 1, most: int = 1_000, decrease: float = 0.9) -> None:
        above("late_s", late_s, 0)
        within("decrease", decrease, 0.5, 0.99)
        super().__init__(initial, least, most)
        self._late_s, self._decrease = late_s, decrease

    def finished(self, latency_s: float, ok: bool, in_flight: int) -> None:
        if not ok or latency_s > self._late_s:
            self._set(int(self._limit * self._decrease))
        elif in_flight * 2 >= self._limit:
            self._set(self._limit + 1)


class GradientLimit(Limit):
    """Follows the gradient of latency. A failure counts if it was slow (a time-out); a quick refusal says nothing of queues."""

    def __init__(
        self,
        *,
        initial: int = 20,
        least: int = 1,
        most: int = 1_000,
        queue: int = 4,
        tolerance: float = 1.5,
        smoothing: float = 0.2,
        window: int = 600,
    ) -> None:
        whole("queue", queue, 0)
        at_least("tolerance", tolerance, 1)
        above("smoothing", smoothing, 0)
        within("smoothing", smoothing, 0, 1)
        whole("window", window, WARM_UP)
        super().__init__(initial, least, most)
        self._queue, self._tolerance, self._smoothing, self._window = queue, tolerance, smoothing, window
        self._long_s = 0.0
        self._samples = 0

    def finished(self, latency_s: float, ok: bool, in_flight: int) -> None:
        if not ok and latency_s <= self._long_s:
            return
        latency_s = max(latency_s, 1e-9)
        self._learn(latency_s)
        if in_flight * 2 < self._limit:
            return
        gradient = max(0.5, min(1.0, self._tolerance * self._long_s / latency_s))
        wanted = self._limit * gradient + self._queue
        self._set(self._limit * (1 - self._smoothing) + wanted * self._smoothing)

    def _learn(self, latency_s: float) -> None:
        self._samples += 1
        if self._samples <= WARM_UP:
            self._long_s += (latency_s - self._long_s) / self._samples
        else:
            self._long_s += (latency_s - self._long_s) * 2 / (self._window + 1)
        if self._long_s > 2 * latency_s:
            self._long_s *= DRIFT
