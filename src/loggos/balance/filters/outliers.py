"""Outlier ejection: an end point that fails while others do not is left out for a while.

Two signs: `consecutive` failures in a row, at once; and, every `interval_s`, a share of successes below mean - k × standard
deviation of all end points that had `requests_min` requests in the interval, if there are `hosts_min` of them.
An end point is out for `base_s` × the number of times it was ejected, `longest_s` at most; an interval without ejection takes one
time off that number. Never more than `share_max` of all end points are out (rounded down), however bad they are.

Source: Envoy, "Outlier detection" (consecutive_5xx, success_rate_stdev_factor, base_ejection_time, max_ejection_percent).
"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf, sqrt

from loggos.balance.filters.filter import Filter
from loggos.balance.policies.checks import above, at_least, whole, within
from loggos.balance.types import Endpoint


class _Record:
    """How one end point did."""

    __slots__ = ("ejected_until_s", "ejections", "failures_in_a_row", "requests", "successes")

    def __init__(self) -> None:
        self.failures_in_a_row = 0
        self.requests = 0  # in this interval
        self.successes = 0
        self.ejections = 0  # the multiplier of the next ejection, less one
        self.ejected_until_s = -inf  # -inf: not ejected


class OutlierEjection(Filter):
    """Leaves out who fails more than others. Times in seconds."""

    def __init__(
        self,
        *,
        consecutive: int = 5,
        interval_s: float = 10.0,
        base_s: float = 30.0,
        longest_s: float = 300.0,
        share_max: float = 0.5,
        deviations: float = 1.9,
        requests_min: int = 100,
        hosts_min: int = 5,
    ) -> None:
        whole("consecutive", consecutive, 1)
        above("interval_s", interval_s, 0)
        above("base_s", base_s, 0)
        at_least("longest_s", longest_s, base_s)
        within("share_max", share_max, 0, 1)
        above("deviations", deviations, 0)
        whole("requests_min", requests_min, 1)
        whole("hosts_min", hosts_min, 2)
        self._consecutive, self._interval_s = consecutive, interval_s
        self._base_s, self._longest_s, self._share_max = base_s, longest_s, share_max
        self._deviations, self._requests_min, self._hosts_min = deviations, requests_min, hosts_min
        self._records: dict[str, _Record] = {}
        self._sweep_at_s = -inf

    def ejected(self) -> tuple[str, ...]:
        """Who is out."""
        return tuple(name for name, record in self._records.items() if record.ejected_until_s > -inf)

    def update(self, endpoints: Sequence[Endpoint], now_s: float) -> None:
        self._records = {endpoint.name: self._records.get(endpoint.name) or _Record() for endpoint in endpoints}
        out = sorted((self._records[name].ejected_until_s, name) for name in self.ejected())
        for _, name in out[: max(0, len(out) - self._places())]:  # fewer end points: those back soonest are back now
            _return(self._records[name])

    def apply(self, endpoints: Sequence[Endpoint], now_s: float) -> tuple[Endpoint, ...]:
        for record in self._records.values():
            if -inf < record.ejected_until_s <= now_s:
                _return(record)
        if now_s >= self._sweep_at_s:
            self._sweep(now_s)
        return tuple(endpoint for endpoint in endpoints if self._records[endpoint.name].ejected_until_s == -inf)

    def changes_at_s(self) -> float:
        returns = (record.ejected_until_s for record in self._records.values() if record.ejected_until_s > -inf)
        return min(self._sweep_at_s, min(returns, default=inf))

    def finished(self, name: str, now_s: float, latency_s: float, ok: bool | None) -> bool:
        record = self._records.get(name)
        if record is None or ok is None:
            return False
        record.requests += 1
        if ok:
            record.successes += 1
            record.failures_in_a_row = 0
            return False
        record.failures_in_a_row += 1
        return record.failures_in_a_row >= self._consecutive and self._eject(record, now_s)

    def _places(self) -> int:
        """How many may be out."""
        return int(self._share_max * len(self._records))

    def _eject(self, record: _Record, now_s: float) -> bool:
        if record.ejected_until_s > -inf or len(self.ejected()) >= self._places():
            return False
        record.ejections += 1
        record.ejected_until_s = now_s + min(self._base_s * record.ejections, self._longest_s)
        return True

    def _sweep(self, now_s: float) -> None:
        """The end of an interval: judge success rates, forgive, and begin to count anew."""
        first = self._sweep_at_s == -inf
        self._sweep_at_s = now_s + self._interval_s
        if first:
            return
        for record in self._records.values():
            if record.ejected_until_s == -inf:
                record.ejections = max(0, record.ejections - 1)
        for record in self._below_the_others():
            self._eject(record, now_s)
        for record in self._records.values():
            record.requests = record.successes = 0

    def _below_the_others(self) -> list[_Record]:
        """Whose success rate is below mean - k × deviation; the worst first."""
        judged = [record for record in self._records.values() if record.requests >= self._requests_min]
        if len(judged) < self._hosts_min:
            return []
        rates = [record.successes / record.requests for record in judged]
        mean = sum(rates) / len(rates)
        deviation = sqrt(sum((rate - mean) ** 2 for rate in rates) / len(rates))
        bound = mean - self._deviations * deviation
        below = [(rate, place) for place, rate in enumerate(rates) if rate < bound]
        return [judged[place] for _, place in sorted(below)]


def _return(record: _Record) -> None:
    record.ejected_until_s = -inf
    record.failures_in_a_row = 0
