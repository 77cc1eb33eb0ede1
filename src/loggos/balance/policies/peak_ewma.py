"""Peak EWMA: latency that rises at once and falls slowly, times the requests on their way.

The cost of an end point is its latency × (its requests on their way + 1). Latency is a moving average that jumps to a sample
above it and decays with time constant tau towards samples below it, so one slow answer counts at once. Two things besides:
- The age of the oldest request on its way counts as latency. A server that is stuck gives no samples; its average would decay to
  0 and attract load. Its oldest request cannot.
- A request that failed never lowers the average: a server that refuses quickly is not a fast server.
An end point not tried yet costs nothing until one request is on its way to it, and much from then on to the first answer.
Choose tau well above the time between two requests of one balancer to one server; the average is noise otherwise.

Source: Finagle, `PeakEwma` load balancer (cost, decay, penalty). The age of the oldest request is ours.
"""

from __future__ import annotations

from bisect import bisect_left
from math import exp
from typing import Final

from loggos.balance.policies.checks import above
from loggos.balance.policies.least_load import PowerOfChoices
from loggos.balance.policies.views import Ledger, Load
from loggos.balance.types import Dice, Report

UNTRIED_S: Final = 1e6  # latency assumed of an end point whose first answer is still awaited: it gets no second request meanwhile


class PeakLoad(Load):
    """The latency of one end point, and when each of its requests on their way was sent."""

    __slots__ = ("at_s", "latency_s", "sent_s")

    def __init__(self) -> None:
        super().__init__()
        self.latency_s = -1.0  # the average as of `at_s`; below 0: nothing is known
        self.at_s = 0.0
        self.sent_s: list[float] = []  # ascending

    def sample(self, latency_s: float, now_s: float, tau_s: float) -> None:
        if latency_s >= self.latency_s:
            self.latency_s = latency_s
        else:
            kept = exp(min(0.0, self.at_s - now_s) / tau_s)
            self.latency_s = self.latency_s * kept + latency_s * (1 - kept)
        self.at_s = now_s

    def forget(self, sent_s: float) -> None:
        """The request that was sent then is over: the nearest one, since the time went through a subtraction."""
        place = bisect_left(self.sent_s, sent_s)
        if place == len(self.sent_s) or (place > 0 and sent_s - self.sent_s[place - 1] < self.sent_s[place] - sent_s):
            place -= 1
        del self.sent_s[place]


class PeakEwma(PowerOfChoices[PeakLoad]):
    """The lowest of `d` costs.

    tau_s    time constant of the decay, in seconds
    """

    def __init__(self, dice: Dice, *, tau_s: float = 10.0, d: int = 2) -> None:
        above("tau_s", tau_s, 0)
        super().__init__(dice, Ledger(PeakLoad), d)
        self._tau_s = tau_s

    def started(self, name: str, now_s: float) -> None:
        sent_s = self._ledger.started(name).sent_s
        if sent_s and now_s < sent_s[-1]:
            now_s = sent_s[-1]  # a clock that went back
        sent_s.append(now_s)

    def finished(self, name: str, now_s: float, latency_s: float, ok: bool, report: Report | None = None) -> None:
        load = self._ledger.finished(name)
        load.forget(now_s - latency_s)
        assert len(load.sent_s) == load.in_flight
        load.sample(latency_s if ok else max(latency_s, load.latency_s), now_s, self._tau_s)

    def _cost(self, load: PeakLoad, now_s: float) -> float:
        outstanding = load.in_flight
        if load.latency_s < 0:
            return UNTRIED_S * outstanding
        latency_s = load.latency_s * exp(min(0.0, load.at_s - now_s) / self._tau_s)
        if outstanding:
            latency_s = max(latency_s, now_s - load.sent_s[0])
        return latency_s * (outstanding + 1)
