"""The retry budget: retries are a share of the requests, plus a few per second so that quiet clients can retry at all.

Retries per request (three each, say) multiply the load exactly when servers are overloaded; a budget adds `share` at the most. At
every grant: retries in the last `window_s` <= share × requests in the last `window_s` + per_s_min × window_s. The window moves in
tenths of itself.

Source: Finagle, RetryBudget (percentCanRetry 0.2, minRetriesPerSec 10, ttl 10 s); Linkerd has the same.
"""

from __future__ import annotations

from math import floor
from typing import Final

from loggos.balance.policies.checks import above, at_least

SLICES: Final = 10


class WindowCount:
    """How many there were in the last `window_s`, in slices of a tenth."""

    def __init__(self, window_s: float) -> None:
        self._slice_s = window_s / SLICES
        self._counts = [0] * SLICES
        self._total = 0
        self._slice = 0

    def add(self, now_s: float) -> None:
        self._advance(now_s)
        self._counts[self._slice % SLICES] += 1
        self._total += 1

    def total(self, now_s: float) -> int:
        self._advance(now_s)
        return self._total

    def _advance(self, now_s: float) -> None:
        current = floor(now_s / self._slice_s)
        if current <= self._slice:
            return  # the same slice, or a clock that went back
        for passed in range(min(current - self._slice, SLICES)):
            place = (current - passed) % SLICES
            self._total -= self._counts[place]
            self._counts[place] = 0
        self._slice = current


class RetryBudget:
    """What may be sent again.

    share        retries per request
    per_s_min    retries per second that are allowed besides
    window_s     over which both are counted
    """

    def __init__(self, *, share: float = 0.2, per_s_min: float = 10.0, window_s: float = 10.0) -> None:
        at_least("share", share, 0)
        at_least("per_s_min", per_s_min, 0)
        above("window_s", window_s, 0)
        self._share = share
        self._reserve = per_s_min * window_s
        self._requests = WindowCount(window_s)
        self._retries = WindowCount(window_s)

    def request(self, now_s: float) -> None:
        """A request was sent for the first time."""
        self._requests.add(now_s)

    def left(self, now_s: float) -> float:
        """Retries that would be granted now."""
        return max(0.0, self._share * self._requests.total(now_s) + self._reserve - self._retries.total(now_s))

    def take(self, now_s: float) -> bool:
        """Takes one retry. False: there is none, do not send again."""
        if self.left(now_s) < 1:
            return False
        self._retries.add(now_s)
        return True
