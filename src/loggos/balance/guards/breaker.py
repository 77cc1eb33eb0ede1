"""The circuit breaker: who fails too often is left alone for a while, then tried with a few requests.

    CLOSED     → OPEN       the last `window` requests hold `share` failures or more, and there were `requests_min` at least
    OPEN       → HALF_OPEN  at the first question after `open_s` (doubled with each opening in a row, up to `longest_s`)
    HALF_OPEN  → CLOSED     all of `trials` requests succeeded
    HALF_OPEN  → OPEN       one failed

Half open, no more than `trials` requests are let through. A request that was sent before the breaker opened and ends later says
nothing about the server of today: it is no trial. A trial that was given up frees its place.

Sources: Nygard, "Release It!", chapter 5; states and names as in resilience4j's CircuitBreaker.
"""

from __future__ import annotations

from collections import deque
from enum import Enum
from math import inf

from loggos.balance.policies.checks import above, at_least, whole, within


class State(Enum):
    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half open"


class Breaker:
    """One circuit breaker. Ask `allows`, tell `started` and `finished`."""

    def __init__(
        self,
        *,
        window: int = 20,
        requests_min: int = 10,
        share: float = 0.5,
        open_s: float = 5.0,
        longest_s: float = 60.0,
        trials: int = 3,
    ) -> None:
        whole("window", window, 1)
        whole("requests_min", requests_min, 1, window)
        above("share", share, 0)
        within("share", share, 0, 1)
        above("open_s", open_s, 0)
        at_least("longest_s", longest_s, open_s)
        whole("trials", trials, 1)
        self._requests_min, self._share, self._trials = requests_min, share, trials
        self._open_s, self._longest_s = open_s, longest_s
        self._results: deque[bool] = deque(maxlen=window)
        self._failures = 0
        self._openings = 0  # in a row
        self._trial_from_s = inf  # requests sent from here on are trials
        self._trials_started = self._trials_passed = 0
        self.state = State.CLOSED
        self.opens_until_s = -inf  # while OPEN: when it may be tried again

    def allows(self, now_s: float) -> bool:
        """Whether a request may be sent now. An open breaker whose time is over turns half open."""
        if self.state is State.OPEN and now_s >= self.opens_until_s:
            self.state = State.HALF_OPEN
            self._trials_started = self._trials_passed = 0
        if self.state is State.HALF_OPEN:
            return self._trials_started < self._trials
        return self.state is State.CLOSED

    def started(self, now_s: float) -> bool:
        """A request was sent. True: `allows` may say something else now."""
        if self.state is not State.HALF_OPEN:
            return False
        self._trials_started += 1
        return True

    def finished(self, now_s: float, latency_s: float, ok: bool | None) -> bool:
        """It ended, `latency_s` after it was sent; `ok` None: it was given up, which says nothing. True: `allows` may say
        something else now."""
        if self.state is State.CLOSED:
            return ok is not None and self._count(now_s, ok)
        if self.state is State.OPEN or now_s - latency_s < self._trial_from_s:
            return False
        if ok is None:
            self._trials_started -= 1
        elif not ok:
            self._open(now_s)
        else:
            self._trials_passed += 1
            if self._trials_passed >= self._trials:
                self._close()
        return True

    def _count(self, now_s: float, ok: bool) -> bool:
        results = self._results
        if len(results) == results.maxlen:
            self._failures -= not results[0]
        results.append(ok)
        self._failures += not ok
        if ok or len(results) < self._requests_min or self._failures < self._share * len(results):
            return False
        self._open(now_s)
        return True

    def _open(self, now_s: float) -> None:
        stays_s = min(self._open_s * 2**self._openings, self._longest_s)
        self._openings = min(self._openings + 1, 64)
        self.state = State.OPEN
        self.opens_until_s = now_s + stays_s
        # Between any request sent before and any sent after: half way, so that no rounding of a subtraction confuses them.
        self._trial_from_s = now_s + stays_s / 2

    def _close(self) -> None:
        self.state = State.CLOSED
        self._openings = 0
        self._results.clear()
        self._failures = 0
