"""One balancer: end points, their health, filters, a policy and guards in one pure object. What a pool calls.

Life of a request:
1. `may_send`: a Refusal if it should not be sent at all (over the limit, too late).
2. `choose` an end point, then `started`. Ask for the reports that `probes_wanted` names, give answers to `probed`.
3. `finished` exactly once, whatever became of it.
4. It failed: `may_retry`, then again from 2 with `avoid` = the end points tried, and `again=True`.
   It is late: after `hedge_delay_s`, `may_hedge`, and a second copy the same way.

Rules:
- Not thread-safe: its owner calls it from one thread, or under a lock. Times are seconds of one monotonic clock.
- Filters are asked only when something changed or is due. In between a pick costs a comparison and the policy.
- Order of filters: marks and outliers, under the panic threshold; then breakers; then slow start; then the zone.
Must not know: event loops, sockets, requests.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from enum import Enum
from math import inf, isfinite

from loggos.balance.filters.breakers import Breakers
from loggos.balance.filters.filter import Chain, Filter
from loggos.balance.filters.health import Health, Panic
from loggos.balance.filters.outliers import OutlierEjection
from loggos.balance.filters.slow_start import SlowStart
from loggos.balance.filters.zone import Part, ZoneAware
from loggos.balance.guards.budget import RetryBudget
from loggos.balance.guards.concurrency import Limit
from loggos.balance.guards.deadline import Deadline
from loggos.balance.guards.hedging import Hedging
from loggos.balance.policies.quantile import WindowQuantile
from loggos.balance.types import Dice, Endpoint, Policy, Report
from loggos.base import limits
from loggos.base.errors import ConfigError


class Refusal(Enum):
    """Why a request should not be sent."""

    OVER_LIMIT = "as many requests are on their way as the concurrency limit allows"
    TOO_LATE = "the deadline is over, or nearer than most answers take"


class Balancer:
    """Decides for one client of one service. What is not given is not done: without guards everything may be sent once."""

    def __init__(
        self,
        policy: Policy,
        dice: Dice,
        *,
        panic_below: float = 0.5,
        outliers: OutlierEjection | None = None,
        breakers: Breakers | None = None,
        slow_start: SlowStart | None = None,
        zones: ZoneAware | None = None,
        retries: RetryBudget | None = None,
        hedging: Hedging | None = None,
        limit: Limit | None = None,
    ) -> None:
        self._policy, self._dice = policy, dice
        self._health = Health()
        self._panic = Panic([self._health, *_given(outliers)], below=panic_below)
        self._filters = Chain([self._panic, *_given(breakers), *_given(slow_start)])
        self._zones = zones
        self._retries, self._hedging, self._limit = retries, hedging, limit
        self._endpoints: tuple[Endpoint, ...] = ()
        self._through: tuple[Endpoint, ...] = ()
        self._parts: tuple[Part, ...] = ()
        self._stale_at_s = -inf
        self._in_flight = 0
        self._latencies = WindowQuantile(limits.LATENCIES_KEPT)

    # --- end points --------------------------------------------------------------------------------------------------------

    def update(self, endpoints: Sequence[Endpoint], now_s: float) -> None:
        """These are the end points from now on; what is known of those that stay is kept. ConfigError: two of
        one name, or more than the policy has room for; those before stay."""
        check_endpoints(endpoints)
        self._policy.update(endpoints, now_s)
        self._endpoints = tuple(endpoints)
        self._filters.update(self._endpoints, now_s)
        if self._zones is not None:
            self._zones.update(self._endpoints)
        self._stale_at_s = -inf

    def mark(self, name: str, well: bool) -> None:
        """The owner's verdict on an end point (a health check, a drain). Everybody is well until marked."""
        if self._health.mark(name, well):
            self._stale_at_s = -inf

    def parts(self, now_s: float) -> tuple[Part, ...]:
        """Who may be chosen now, and for which share of the requests."""
        if now_s >= self._stale_at_s:
            self._through = through = self._filters.apply(self._endpoints, now_s)
            parts = (Part(1.0, through),) if self._zones is None else self._zones.split(through)
            if parts != self._parts:  # the same tuples while they are equal: the policy keeps its tables
                self._parts = parts
            self._stale_at_s = self._filters.changes_at_s()
        return self._parts

    @property
    def panicking(self) -> bool:
        """Whether health was ignored at the last look, since too few are well."""
        return self._panic.panicking

    @property
    def in_flight(self) -> int:
        """Requests on their way."""
        return self._in_flight

    # --- a request ---------------------------------------------------------------------------------------------------------

    def may_send(self, now_s: float, deadline: Deadline | None = None) -> Refusal | None:
        """Why a request should not be sent now; None: it may."""
        if deadline is not None and not deadline.leaves(self._usual_s(), now_s):
            return Refusal.TOO_LATE
        if self._limit is not None and not self._limit.allows(self._in_flight):
            return Refusal.OVER_LIMIT
        return None

    def choose(self, now_s: float, key: bytes | None = None, avoid: Collection[str] = ()) -> Endpoint | None:
        """Who gets it; not one of `avoid` if there is anybody else. None: there is nobody."""
        among = self._among(now_s)
        chosen = self._policy.pick(now_s, among, key)
        if chosen is None or chosen.name not in avoid:
            return chosen
        others = [endpoint for endpoint in among if endpoint.name not in avoid]
        if not others:  # the whole zone was tried
            others = [endpoint for endpoint in self._through if endpoint.name not in avoid]
        return self._policy.pick(now_s, others, key) or chosen

    def started(self, name: str, now_s: float, *, again: bool = False) -> None:
        """It was sent. `again`: it is a retry or a second copy."""
        self._in_flight += 1
        self._policy.started(name, now_s)
        if self._filters.started(name, now_s):
            self._stale_at_s = -inf
        if not again:
            for guard in (self._retries, self._hedging):
                if guard is not None:
                    guard.request(now_s)

    def finished(self, name: str, now_s: float, latency_s: float, ok: bool | None, report: Report | None = None) -> None:
        """It ended `latency_s` after `started`, well or not; `ok` None: it was given up (the other copy won, the caller left),
        which is no failure of the server. `report`: what the backend said of its load with the answer."""
        assert self._in_flight > 0, f"a request to {name} finished that was not started"
        assert isfinite(latency_s) and latency_s >= 0
        if self._limit is not None and ok is not None:
            self._limit.finished(now_s, latency_s, ok, self._in_flight)
        self._in_flight -= 1
        self._policy.finished(name, now_s, latency_s, bool(ok), report)
        if self._filters.finished(name, now_s, latency_s, ok):
            self._stale_at_s = -inf
        if ok:
            self._latencies.add(latency_s)
            if self._hedging is not None:
                self._hedging.answered(latency_s)

    def probes_wanted(self, now_s: float) -> Sequence[str]:
        """End points to ask for a Report now; once after each `choose`."""
        return self._policy.probes_wanted(now_s)

    def probed(self, name: str, now_s: float, report: Report) -> None:
        """One of them answered."""
        self._policy.probed(name, now_s, report)

    # --- the same request once more ----------------------------------------------------------------------------------------

    def may_retry(self, now_s: float, deadline: Deadline | None = None) -> bool:
        """Takes a retry from the budget. False, also without a budget: do not send it again."""
        return self._retries is not None and self.may_send(now_s, deadline) is None and self._retries.take(now_s)

    def hedge_delay_s(self) -> float | None:
        """After how long without an answer to send a second copy; None: send none."""
        return None if self._hedging is None else self._hedging.delay_s()

    def may_hedge(self, now_s: float, deadline: Deadline | None = None) -> bool:
        """Takes a second copy from the budget. False: send none."""
        return self._hedging is not None and self.may_send(now_s, deadline) is None and self._hedging.take(now_s)

    def _among(self, now_s: float) -> tuple[Endpoint, ...]:
        parts = self.parts(now_s)
        if len(parts) == 1:
            return parts[0].endpoints
        point = self._dice.random()
        for part in parts:
            point -= part.share
            if point < 0:
                return part.endpoints
        return parts[-1].endpoints

    def _usual_s(self) -> float:
        """What half of the answers took at the most; 0 before there was any."""
        return self._latencies.quantile(0.5) if self._latencies else 0.0


def check_endpoints(endpoints: Sequence[Endpoint]) -> None:
    """ConfigError: two end points of one name, or a weight that is not a finite number above 0."""
    seen: dict[str, None] = {}
    for endpoint in endpoints:
        if endpoint.name in seen:
            raise ConfigError(f"end point {endpoint.name!r} is there twice: give each its own name, or one the weight of both")
        if not (isfinite(endpoint.weight) and endpoint.weight > 0):
            raise ConfigError(
                f"end point {endpoint.name!r} has weight {endpoint.weight!r}: give a number above 0; leave it out to drain it"
            )
        seen[endpoint.name] = None


def _given(one: Filter | None) -> list[Filter]:
    return [] if one is None else [one]
