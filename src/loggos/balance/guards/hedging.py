"""Hedging: a second copy of a request that is later than most, to another end point; the first answer counts.

The delay is a quantile of the latencies seen lately, so about 1 - quantile of the requests are late enough; the budget bounds the
copies when suddenly all are. Only for requests that may be done twice. There is no delay, so no hedging, before `samples_min`
latencies were seen.

Source: Dean, Barroso, "The tail at scale", CACM 2013, "Hedged requests".
"""

from __future__ import annotations

from loggos.balance.guards.budget import RetryBudget
from loggos.balance.policies.checks import at_least, whole, within
from loggos.balance.policies.quantile import WindowQuantile
from loggos.base import limits


class Hedging:
    """When to send a second copy, and whether.

    quantile      of the latencies of answers that were good
    share         copies per request, at the most; `per_s_min` per second are allowed besides
    delay_min_s   no copy is sent earlier
    """

    def __init__(
        self,
        *,
        quantile: float = 0.95,
        share: float = 0.05,
        per_s_min: float = 1.0,
        samples_min: int = 100,
        delay_min_s: float = 0.001,
    ) -> None:
        within("quantile", quantile, 0, 1)
        whole("samples_min", samples_min, 1, limits.LATENCIES_KEPT)
        at_least("delay_min_s", delay_min_s, 0)
        self._quantile, self._samples_min, self._delay_min_s = quantile, samples_min, delay_min_s
        self._latencies = WindowQuantile(limits.LATENCIES_KEPT)
        self._budget = RetryBudget(share=share, per_s_min=per_s_min)

    def request(self, now_s: float) -> None:
        """A request was sent for the first time."""
        self._budget.request(now_s)

    def answered(self, latency_s: float) -> None:
        """A good answer came."""
        self._latencies.add(latency_s)

    def delay_s(self) -> float | None:
        """How long to wait for an answer before the copy is sent; None: not known yet, send none."""
        if len(self._latencies) < self._samples_min:
            return None
        return max(self._delay_min_s, self._latencies.quantile(self._quantile))

    def take(self, now_s: float) -> bool:
        """Takes one copy from the budget. False: send none."""
        return self._budget.take(now_s)
