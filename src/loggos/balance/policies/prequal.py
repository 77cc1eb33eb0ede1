"""Prequal: probes of requests in flight and latency, asked ahead of need, kept in a small pool and used more than once.

Each pick asks `probes` random end points for a Report; answers join a pool of `pool` (the oldest makes room). A pick looks only
at the pool, so no request waits for a probe. The rule is hot-cold lexicographic: a probe is hot if its requests in flight exceed
the `q_rif` quantile of what was reported lately. Of cold ones the one of the lowest latency is chosen; if all are hot, the one of
the fewest requests in flight.
- A chosen probe stays, with one request in flight more, if probes come in more slowly than they are needed (`_reuse`, the paper's
  b_reuse). None is used that is older than `age_s`.
- After each pick `remove` probes go, by turns the worst (the hottest; else the slowest) and the oldest: without that the pool
  would fill with the end points nobody wants.
- A newer answer of an end point replaces the older one. Reports that come with answers count as probes if `use_reports`: for
  pools that cannot probe.
- With fewer than `pool_min` usable probes a random end point is chosen.

Source: Wydrowski, Kleinberg, Rumble, Archer, "Load is not what you should balance: Introducing Prequal", NSDI 2024, section 4.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from typing import Final

from loggos.balance.policies.checks import above, at_least, whole, within
from loggos.balance.policies.quantile import WindowQuantile
from loggos.balance.policies.sampling import draw_some
from loggos.balance.policies.views import Views
from loggos.balance.types import Dice, Endpoint, Policy, Report
from loggos.base import limits

USES_MAX: Final = 16.0  # of a probe, however slowly others come in: used without end it sends everyone to who was idle once
POOL_SHARE: Final = 0.25  # of few end points the pool is to hold this share, not `pool`: a probe of everyone would be an old one


class _Probe:
    """One answer in the pool."""

    __slots__ = ("at_s", "in_flight", "latency_s", "name", "uses_left")

    def __init__(self, name: str, report: Report, at_s: float, uses: float) -> None:
        self.name = name
        self.in_flight = report.in_flight
        self.latency_s = report.latency_s
        self.at_s = at_s
        self.uses_left = uses


class Prequal(Policy):
    """Hot-cold lexicographic choice from a pool of probes.

    probes, remove   per pick; fractions are carried over to later picks
    pool, pool_min   probes kept at most; probes needed for a choice that is not random
    q_rif            quantile above which a probe is hot: 0 looks at requests in flight alone, 1 at latency alone
    age_s            probes older than this are not used: many times the latency of a request, and of the time between two picks
    slack            the paper's δ (1 there): probes are used (1 + slack) times as often as they must. Fresh ones choose better: 0
    """

    def __init__(
        self,
        dice: Dice,
        *,
        probes: float = 3.0,
        remove: float = 1.0,
        pool: int = 16,
        pool_min: int = 1,
        q_rif: float = 0.84,
        age_s: float = 1.0,
        slack: float = 0.0,
        use_reports: bool = False,
    ) -> None:
        within("probes", probes, 0, limits.PROBES_PER_PICK_MAX)
        at_least("remove", remove, 0)
        whole("pool", pool, 1, limits.PROBE_POOL_MAX)
        whole("pool_min", pool_min, 1, pool)
        within("q_rif", q_rif, 0, 1)
        above("age_s", age_s, 0)
        at_least("slack", slack, 0)
        self._dice = dice
        self._rates = (probes, remove if probes > 0 else 0.0)  # reports alone come one per pick: each is used or replaced
        self._pool_max, self._pool_min = pool, pool_min
        self._q_rif, self._age_s, self._slack, self._use_reports = q_rif, age_s, slack, use_reports
        self._endpoints: Sequence[Endpoint] = ()
        self._names: dict[str, None] = {}
        self._pool: list[_Probe] = []  # oldest first
        self._seen = WindowQuantile(limits.PROBE_REPORTS_KEPT)
        self._by_name = Views(lambda among: {endpoint.name: endpoint for endpoint in among})
        self._probes_due = self._removals_due = 0.0
        self._worst_next = True
        self._uses = 1.0

    def update(self, endpoints: Sequence[Endpoint], now_s: float) -> None:
        self._endpoints = tuple(endpoints)
        self._names = dict.fromkeys(endpoint.name for endpoint in endpoints)
        self._pool = [probe for probe in self._pool if probe.name in self._names]
        self._by_name.clear()
        self._uses = self._reuse(len(endpoints))

    def pick(self, now_s: float, among: Sequence[Endpoint], key: bytes | None = None) -> Endpoint | None:
        if not among:
            return None
        self._expire(now_s)
        by_name = self._by_name.of(among)
        chosen, usable = self._choose(by_name)
        if chosen is None or usable < self._pool_min:
            endpoint = among[int(self._dice.random() * len(among))]
        else:
            endpoint = by_name[chosen.name]
            chosen.uses_left -= 1
            if chosen.uses_left <= 0:
                self._pool.remove(chosen)
        self._remove_some()
        self._probes_due = min(self._probes_due + self._rates[0], limits.PROBES_PER_PICK_MAX)
        return endpoint

    def started(self, name: str, now_s: float) -> None:
        for probe in self._pool:
            if probe.name == name:
                probe.in_flight += 1

    def finished(self, name: str, now_s: float, latency_s: float, ok: bool, report: Report | None = None) -> None:
        if self._use_reports and report is not None:
            self.probed(name, now_s, report)

    def probes_wanted(self, now_s: float) -> Sequence[str]:
        wanted = min(int(self._probes_due), len(self._endpoints))
        self._probes_due -= int(self._probes_due)
        if wanted == 0:
            return ()
        return [self._endpoints[place].name for place in draw_some(self._dice, len(self._endpoints), wanted, None)[:wanted]]

    def probed(self, name: str, now_s: float, report: Report) -> None:
        if name not in self._names:
            return
        self._seen.add(report.in_flight)
        for place, probe in enumerate(self._pool):
            if probe.name == name:
                del self._pool[place]
                break
        if len(self._pool) >= self._pool_max:
            del self._pool[0]
        self._pool.append(_Probe(name, report, now_s, self._rounded(self._uses)))

    def _choose(self, by_name: dict[str, Endpoint]) -> tuple[_Probe | None, int]:
        """The best probe of those that may be chosen, and how many there are of them."""
        hot_above = self._hot_above()
        best: _Probe | None = None
        best_cost = (True, inf)
        usable = 0
        for probe in reversed(self._pool):  # of equals the newest
            if probe.name not in by_name:
                continue
            usable += 1
            cost = (True, float(probe.in_flight)) if probe.in_flight > hot_above else (False, probe.latency_s)
            if best is None or cost < best_cost:
                best, best_cost = probe, cost
        return best, usable

    def _hot_above(self) -> float:
        if self._q_rif >= 1:
            return inf
        if self._q_rif <= 0:
            return -1.0
        return self._seen.quantile(self._q_rif) if self._seen else inf

    def _expire(self, now_s: float) -> None:
        pool = self._pool
        while pool and now_s - pool[0].at_s > self._age_s:
            del pool[0]

    def _remove_some(self) -> None:
        self._removals_due += self._rates[1]
        while self._removals_due >= 1 and self._pool:
            self._removals_due -= 1
            self._pool.remove(self._worst() if self._worst_next else self._pool[0])
            self._worst_next = not self._worst_next
        self._removals_due = min(self._removals_due, 1.0)

    def _worst(self) -> _Probe:
        hot_above = self._hot_above()
        return max(
            self._pool,
            key=lambda probe: (True, float(probe.in_flight)) if probe.in_flight > hot_above else (False, probe.latency_s),
        )

    def _reuse(self, replicas: int) -> float:
        """How often a probe may be used, so that as many come in as go with `wanted` of them in the pool: of `probes` answers a
        pick the share (1 - wanted / replicas) is of end points that are not in it, and reports come one a pick. Once at least."""
        if not replicas:
            return 1.0
        probes, remove = self._rates
        wanted = min(self._pool_max, replicas * POOL_SHARE)
        net = (1 - wanted / replicas) * probes + self._use_reports - remove
        return min(max(1.0, (1 + self._slack) / net), USES_MAX) if net > 0 else USES_MAX

    def _rounded(self, uses: float) -> float:
        """A whole number of uses whose mean is `uses`."""
        whole_uses = int(uses)
        return whole_uses + (self._dice.random() < uses - whole_uses)
