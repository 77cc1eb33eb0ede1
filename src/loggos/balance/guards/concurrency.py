"""How many requests may be on their way at once, learnt from what they take: too many only wait in queues.

- `AimdLimit`: one more for each good answer while the limit is nearly used, a tenth less for each failure or late answer.
- `GradientLimit`: latency without queues is measured first, and again every `every_s`, by lowering the limit to `least` for
  `quiet_samples` answers. From then on the limit is multiplied, window by window, by that latency over the present one, plus a
  square root of it for a short queue. A long overload cannot teach it that queues are normal, as it does limits that follow an
  average; the price is a short dip now and then.

While less than half of a limit is used it does not grow: latency says nothing about it then.

Sources: AIMD as in Netflix concurrency-limits (AIMDLimit: decrease 0.9); Envoy, "Adaptive concurrency", gradient controller
(buffer 25 %, windows of 100 ms, minRTT from 50 requests every 60 s at concurrency 3, gradient 0.5 to 2, headroom a square root).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from math import inf, sqrt

from loggos.balance.policies.checks import above, at_least, whole, within
from loggos.base import limits


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
    def finished(self, now_s: float, latency_s: float, ok: bool, in_flight: int) -> None:
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

    def finished(self, now_s: float, latency_s: float, ok: bool, in_flight: int) -> None:
        if not ok or latency_s > self._late_s:
            self._set(int(self._limit * self._decrease))
        elif in_flight * 2 >= self._limit:
            self._set(self._limit + 1)


class GradientLimit(Limit):
    """Follows the ratio of latency without queues to present latency, both medians.

    initial        where it begins once the first latency without queues is known
    least          the limit while that is measured
    buffer         latency may be this share longer before the limit falls
    window_s, samples_min   a window ends after this time, with this many answers at least
    every_s, quiet_samples  how often latency without queues is measured, and from how many answers
    """

    def __init__(
        self,
        *,
        initial: int = 20,
        least: int = 3,
        most: int = 1_000,
        buffer: float = 0.25,
        window_s: float = 0.1,
        samples_min: int = 5,
        every_s: float = 60.0,
        quiet_samples: int = 50,
    ) -> None:
        at_least("buffer", buffer, 0)
        above("window_s", window_s, 0)
        whole("samples_min", samples_min, 1, limits.LATENCIES_KEPT)
        above("every_s", every_s, window_s)
        whole("quiet_samples", quiet_samples, 1, limits.LATENCIES_KEPT)
        super().__init__(initial, least, most)
        self._buffer, self._window_s, self._samples_min = buffer, window_s, samples_min
        self._every_s, self._quiet_samples = every_s, quiet_samples
        self._samples: list[float] = []
        self._window_ends_s = inf
        self._quiet_s = 0.0  # latency without queues; 0: not known yet
        self._measures_at_s = inf
        self._measuring_since_s = -inf  # inf: not measuring
        self._resumes_at = float(initial)
        self._limit = float(least)

    def finished(self, now_s: float, latency_s: float, ok: bool, in_flight: int) -> None:
        if not ok and latency_s <= self._quiet_s:
            return  # a quick refusal says nothing of queues; a time-out does
        if self._measuring_since_s < inf:
            self._measure(now_s, latency_s)
        elif now_s >= self._measures_at_s:
            self._resumes_at, self._limit = self._limit, float(self._least)
            self._measuring_since_s = now_s
            self._samples.clear()
        else:
            self._follow(now_s, latency_s, in_flight)

    def _measure(self, now_s: float, latency_s: float) -> None:
        """Takes answers to requests that were sent since the limit was lowered."""
        if now_s - latency_s < self._measuring_since_s:
            return
        self._samples.append(latency_s)
        if len(self._samples) >= self._quiet_samples:
            self._quiet_s = max(_median(self._samples), 1e-9)
            self._samples.clear()
            self._limit = self._resumes_at
            self._measuring_since_s = inf
            self._measures_at_s = now_s + self._every_s
            self._window_ends_s = now_s + self._window_s

    def _follow(self, now_s: float, latency_s: float, in_flight: int) -> None:
        if len(self._samples) < limits.LATENCIES_KEPT:
            self._samples.append(latency_s)
        if now_s < self._window_ends_s or len(self._samples) < self._samples_min:
            return
        present_s = max(_median(self._samples), 1e-9)
        self._samples.clear()
        self._window_ends_s = now_s + self._window_s
        followed = self._limit * max(0.5, min(2.0, self._quiet_s * (1 + self._buffer) / present_s))
        followed += sqrt(followed)
        if followed < self._limit or in_flight * 2 >= self._limit:
            self._set(followed)


def _median(values: list[float]) -> float:
    return sorted(values)[len(values) // 2]
