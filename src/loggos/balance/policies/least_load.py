"""Policies that compare load: power of d choices, and least request.

Power of d choices draws d end points and takes the less loaded: nearly as good as knowing everyone, and balancers that share
servers do not all run to the same one. With weights, end points are drawn in proportion to them and compared by load per weight.
Least request looks at everyone, and takes one of the least loaded by chance.

Load is what this balancer has on its way (`local`), or what the backend says of itself (`reported`), corrected by what this
balancer sent and got back since. A report fades towards the local count, so that an end point that was busy once is tried again.

Sources: Mitzenmacher 2001 (the supermarket model); Envoy's least request balancer (active_request_bias, weights over load).
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from math import exp
from typing import Generic

from loggos.balance.policies.checks import above, one_of
from loggos.balance.policies.sampling import check_choices, cumulative_weights, draw_some
from loggos.balance.policies.views import AnyLoad, Ledger, Load, Views
from loggos.balance.types import Dice, Endpoint, Policy, Report

View = tuple[list[AnyLoad], list[float] | None]


class PowerOfChoices(Policy, Generic[AnyLoad]):
    """Draws `d` end points, takes the one of the least cost per weight. What a cost is, is told by those who inherit."""

    def __init__(self, dice: Dice, ledger: Ledger[AnyLoad], d: int) -> None:
        check_choices(d)
        self._dice = dice
        self._d = d
        self._ledger = ledger
        self._views: Views[View[AnyLoad]] = Views(self._view)

    @abstractmethod
    def _cost(self, load: AnyLoad, now_s: float) -> float:
        """What a request costs that goes there now; more than 0 wherever end points of unequal weight are compared."""

    def update(self, endpoints: Sequence[Endpoint], now_s: float) -> None:
        self._ledger.update(endpoints)
        self._views.clear()

    def pick(self, now_s: float, among: Sequence[Endpoint], key: bytes | None = None) -> Endpoint | None:
        if not among:
            return None
        loads, cumulative = self._views.of(among)
        best, least = -1, float("inf")
        for place in self._draw(among, cumulative):
            cost = self._cost(loads[place], now_s)
            if cumulative is not None:
                cost /= among[place].weight
            if cost < least or best < 0:
                best, least = place, cost
        return among[best]

    def started(self, name: str, now_s: float) -> None:
        self._ledger.started(name)

    def finished(self, name: str, now_s: float, latency_s: float, ok: bool, report: Report | None = None) -> None:
        self._ledger.finished(name)

    def _draw(self, among: Sequence[Endpoint], cumulative: list[float] | None) -> Sequence[int]:
        return draw_some(self._dice, len(among), self._d, cumulative)

    def _view(self, among: Sequence[Endpoint]) -> View[AnyLoad]:
        return [self._ledger[endpoint.name] for endpoint in among], cumulative_weights(among) if among else None


class ReportedLoad(Load):
    """A load with what the backend said last, and what this balancer sent less what it got back since."""

    __slots__ = ("reported", "reported_at_s", "sent_since")

    def __init__(self) -> None:
        super().__init__()
        self.reported = 0
        self.reported_at_s = float("-inf")
        self.sent_since = 0

    def told(self, report: Report, now_s: float) -> None:
        self.reported, self.reported_at_s, self.sent_since = report.in_flight, now_s, 0

    def estimate(self, now_s: float, fade_s: float) -> float:
        """Requests that the backend has now: what it said and what was sent since, never less than this balancer's own."""
        own = self.in_flight
        said = self.reported + self.sent_since
        if said <= own:
            return own
        return own + (said - own) * exp(min(0.0, self.reported_at_s - now_s) / fade_s)


class PowerOfTwoChoices(PowerOfChoices[ReportedLoad]):
    """Power of `d` choices, 2 unless said otherwise.

    load     "local": requests of this balancer on their way; "reported": the backend's own count, corrected (above)
    fade_s   the time in which a report fades to 1/e of what it says beyond the local count
    probe    with reported load: draw the end points of the next pick at once and ask for their reports
    """

    def __init__(self, dice: Dice, *, d: int = 2, load: str = "local", fade_s: float = 10.0, probe: bool = False) -> None:
        one_of("load", load, ("local", "reported"))
        above("fade_s", fade_s, 0)
        super().__init__(dice, Ledger(ReportedLoad), d)
        self._reported = load == "reported"
        self._probe = probe and self._reported
        self._fade_s = fade_s
        self._last: Sequence[Endpoint] = ()
        self._ahead: Sequence[int] = ()

    def update(self, endpoints: Sequence[Endpoint], now_s: float) -> None:
        super().update(endpoints, now_s)
        self._last = self._ahead = ()

    def started(self, name: str, now_s: float) -> None:
        self._ledger.started(name).sent_since += 1

    def finished(self, name: str, now_s: float, latency_s: float, ok: bool, report: Report | None = None) -> None:
        load = self._ledger.finished(name)
        load.sent_since -= 1
        if report is not None:
            load.told(report, now_s)

    def probes_wanted(self, now_s: float) -> Sequence[str]:
        if not (self._probe and self._last):
            return ()
        self._ahead = draw_some(self._dice, len(self._last), self._d, self._views.of(self._last)[1])
        return [self._last[place].name for place in self._ahead]

    def probed(self, name: str, now_s: float, report: Report) -> None:
        if name in self._ledger:
            self._ledger[name].told(report, now_s)

    def _cost(self, load: ReportedLoad, now_s: float) -> float:
        return (load.estimate(now_s, self._fade_s) if self._reported else load.in_flight) + 1

    def _draw(self, among: Sequence[Endpoint], cumulative: list[float] | None) -> Sequence[int]:
        if not self._probe:
            return super()._draw(among, cumulative)
        ahead = self._ahead if among is self._last else ()
        self._last, self._ahead = among, ()
        return ahead or super()._draw(among, cumulative)


class LeastRequest(Policy):
    """The greatest weight / (requests on their way + 1) ** bias; ties are broken by chance. O(n) a pick.

    bias     how much load counts against weight (Envoy's active_request_bias): 1 is load in proportion to weight
    """

    def __init__(self, dice: Dice, *, bias: float = 1.0) -> None:
        above("bias", bias, 0)
        self._dice = dice
        self._bias = bias
        self._ledger = Ledger(Load)
        self._views: Views[View[Load]] = Views(self._view)

    def update(self, endpoints: Sequence[Endpoint], now_s: float) -> None:
        self._ledger.update(endpoints)
        self._views.clear()

    def pick(self, now_s: float, among: Sequence[Endpoint], key: bytes | None = None) -> Endpoint | None:
        if not among:
            return None
        loads, divisors = self._views.of(among)
        costs: list[float]
        if divisors is None:
            costs = [load.in_flight for load in loads]
        else:
            costs = [(load.in_flight + 1) / divisor for load, divisor in zip(loads, divisors, strict=True)]
        return among[self._least(costs)]

    def started(self, name: str, now_s: float) -> None:
        self._ledger.started(name)

    def finished(self, name: str, now_s: float, latency_s: float, ok: bool, report: Report | None = None) -> None:
        self._ledger.finished(name)

    def _least(self, costs: list[float]) -> int:
        """A place of the least cost, each with the same chance."""
        least = min(costs)
        ties = costs.count(least)
        place = costs.index(least)
        for _ in range(int(self._dice.random() * ties) if ties > 1 else 0):
            place = costs.index(least, place + 1)
        return place

    def _view(self, among: Sequence[Endpoint]) -> View[Load]:
        """Loads, and what to divide them by. (n + 1) ** bias / weight is least where (n + 1) / weight ** (1 / bias) is."""
        loads = [self._ledger[endpoint.name] for endpoint in among]
        if not among or cumulative_weights(among) is None:
            return loads, None
        return loads, [endpoint.weight ** (1 / self._bias) for endpoint in among]
