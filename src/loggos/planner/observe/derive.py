"""What a planner wants from what services export: arrival rates, utilisation, concurrency, latency, variation. Pure.

Rules: everything is computed per step between scrapes, from increases of counters, so that resets do no harm. A quantile from
histogram buckets is known no better than its bucket: the value is interpolated as Prometheus does, the interval is the bucket.

Source: Prometheus, "Querying functions", histogram_quantile(), promql/quantile.go bucketQuantile; Little's law and the
utilisation law, Lazowska et al., Quantitative System Performance, ch. 3.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from loggos.base.errors import InputError
from loggos.planner.observe.clean import Cleaned, counter_rate, increases
from loggos.planner.observe.exposition import metric_value
from loggos.planner.observe.findings import Finding, Kind, Ledger, Severity, described, time_text
from loggos.planner.types import Estimate, Floats, Series

_Z = 1.959964  # of the normal distribution, for 95 %


class Quantiles(NamedTuple):
    """A quantile over time: interpolated `value`, and the bucket's edges `low` and `high` (inf: above the last bound)."""

    value: Series
    low: Series
    high: Series
    findings: tuple[Finding, ...]


def arrival_rate(requests: Series) -> Cleaned:
    """Requests per second over each step, from a counter of requests."""
    rate, findings = counter_rate(requests)
    return Cleaned(Series("arrival rate", "1/s", rate.times_s, rate.values, rate.labels, rate.source), findings)


def utilisation(busy_seconds: Series, servers: float = 1.0) -> Cleaned:
    """The busy share of each of `servers` (cores, workers), from a counter of busy seconds: the utilisation law's U = B / T.

    InputError: no servers. A finding where the servers seem busy for more than all of the time.
    """
    if not (math.isfinite(servers) and servers > 0):
        raise InputError(f"{servers} servers; utilisation needs more than 0: count cores or workers")
    rate, findings = counter_rate(busy_seconds)
    ledger = Ledger()
    ledger.extend(findings)
    values = rate.values / servers
    above = np.flatnonzero(values > 1.02)
    if len(above):
        first = time_text(float(rate.times_s[int(above[0])]))
        what = (
            f"{described(rate.name, rate.labels)}: busy for more than all of the time in {len(above):,} step(s), first at {first}"
        )
        advice = f"are there more than {servers:g} servers, or is the counter not in seconds?"
        ledger.add(Kind.SATURATED, Severity.SERIOUS, what, advice=advice)
    return Cleaned(Series("utilisation", "1", rate.times_s, values, rate.labels, rate.source), ledger.findings())


def in_flight(latency_sum: Series) -> Cleaned:
    """The mean number of requests in the system, from a counter of summed latency in seconds: Little's law, as seen at the end of
    requests. Steps should be long against the latency."""
    rate, findings = counter_rate(latency_sum)
    return Cleaned(Series("in flight", "1", rate.times_s, rate.values, rate.labels, rate.source), findings)


def mean_latency(latency_sum: Series, requests: Series) -> Cleaned:
    """Mean latency over each step, from the counters of summed latency and of requests (a histogram's _sum and _count).

    Steps without a request have no mean, and are left out. InputError: the counters share no two times.
    """
    total, found_total = increases(latency_sum)
    count, found_count = increases(requests)
    times, at_total, at_count = np.intersect1d(total.times_s, count.times_s, return_indices=True)
    if not len(times):
        raise InputError(f"{latency_sum.name} and {requests.name} share no two scrapes; take both from the same scrapes")
    counts, totals = count.values[at_count], total.values[at_total]
    served = counts > 0
    ledger = Ledger()
    ledger.extend((*found_total, *found_count))
    if not served.all():
        what = f"{int((~served).sum()):,} of {len(times):,} steps had no request: no mean there"
        ledger.add(Kind.MISSING, Severity.NOTE, what)
    values = totals[served] / counts[served]
    series = Series("mean latency", latency_sum.unit or "s", times[served], values, latency_sum.labels, latency_sum.source)
    return Cleaned(series, ledger.findings())


def bucket_quantile(q: float, bounds: Sequence[float], cumulative: Sequence[float]) -> Estimate | None:
    """A quantile from cumulative buckets (upper bounds, counts at or below them): interpolated, with its bucket as a certain
    interval (level 1). None: no observations, or no bucket but +Inf.

    Falls the quantile above the last finite bound, the value is that bound, and `high` is infinite. InputError: q outside 0 to 1,
    no +Inf bucket, bounds that are not in order, counts that fall.
    """
    if not 0 <= q <= 1:
        raise InputError(f"a quantile of {q}; it must lie between 0 and 1")
    edges, counts = np.asarray(bounds, dtype=np.float64), np.asarray(cumulative, dtype=np.float64)
    if len(edges) != len(counts) or not len(edges) or edges[-1] != math.inf:
        raise InputError('the last bucket must be le="+Inf", with a count for each bound; select all buckets of the histogram')
    if np.isnan(edges).any() or (np.diff(edges) <= 0).any() or (np.diff(counts) < 0).any() or not (counts >= 0).all():
        raise InputError("bucket bounds must grow, and cumulative counts must not fall; are two histograms mixed up?")
    total = float(counts[-1])
    if total == 0 or len(edges) < 2:
        return None
    rank = q * total
    b = int(np.searchsorted(counts[:-1], rank, side="left"))
    if b == len(edges) - 1:
        last = float(edges[-2])
        return Estimate(last, last, math.inf, 1.0)
    high = float(edges[b])
    if b == 0 and high <= 0:
        return Estimate(high, -math.inf, high, 1.0)
    low, below = (0.0, 0.0) if b == 0 else (float(edges[b - 1]), float(counts[b - 1]))
    inside = float(counts[b]) - below
    value = low + (high - low) * ((rank - below) / inside) if inside > 0 else low
    return Estimate(value, low, high, 1.0)


def histogram_quantile(q: float, buckets: Sequence[Series]) -> Quantiles:
    """A quantile over each step between scrapes, from the counters of a histogram's buckets (series with the label `le`).

    Series with the same bound (of several instances) are summed. Only times that all buckets share count. InputError: a series
    without `le`, no shared times, a missing +Inf.
    """
    ledger = Ledger()
    bounds, times, cumulative = _bucket_increases(buckets, ledger)
    found: list[tuple[float, Estimate]] = []
    for i in range(len(times)):
        counts = np.maximum.accumulate(cumulative[:, i])
        if (counts > cumulative[:, i] * (1 + 1e-9) + 1e-9).any():
            what = "bucket counts fall towards larger bounds: raised to the one before"
            ledger.add(Kind.BUCKETS, Severity.WARNING, what, time_text(float(times[i])), "the scrape was not taken at one moment")
        estimate = bucket_quantile(q, bounds, [float(count) for count in counts])
        if estimate is not None:
            found.append((float(times[i]), estimate))
    if len(found) < len(times):
        what = f"{len(times) - len(found):,} of {len(times):,} steps had no observation: no quantile there"
        ledger.add(Kind.MISSING, Severity.NOTE, what)
    if open_above := sum(math.isinf(estimate.high) for _, estimate in found):
        what = f"in {open_above:,} of {len(found):,} steps the quantile lies above the last bound, {bounds[-2]:g}"
        ledger.add(Kind.BUCKETS, Severity.SERIOUS, what, advice="it is at least that; add larger buckets to the histogram")
    at = np.array([time_s for time_s, _ in found])
    unit, labels = buckets[0].unit, {key: value for key, value in buckets[0].labels.items() if key != "le"}
    name = f"{buckets[0].name.removesuffix('_bucket')} quantile {q:g}"
    value, low, high = (
        Series(name, unit, at, np.array([float(estimate[i]) for _, estimate in found]), labels, buckets[0].source)
        for i in range(3)
    )
    return Quantiles(value, low, high, ledger.findings())


def _bucket_increases(buckets: Sequence[Series], ledger: Ledger) -> tuple[list[float], Floats, Floats]:
    """Bounds in order, times, and what each bucket grew by at each time (bounds × times)."""
    if not buckets:
        raise InputError("no buckets; select the series of a histogram that end in _bucket")
    grown: dict[float, list[Series]] = {}
    for bucket in buckets:
        bound = metric_value(bucket.labels.get("le", ""))
        if bound is None or math.isnan(bound):
            raise InputError(f"{described(bucket.name, bucket.labels)} has no bound le; select the series that end in _bucket")
        series, findings = increases(bucket)
        ledger.extend(finding for finding in findings if bound == math.inf)  # all buckets are reset together: said once
        grown.setdefault(bound, []).append(series)
    if math.inf not in grown:
        raise InputError(f'{buckets[0].name} has no bucket le="+Inf"; select all buckets of the histogram')
    bounds = sorted(grown)
    times = grown[bounds[0]][0].times_s
    for bound in bounds:
        for series in grown[bound]:
            times = np.intersect1d(times, series.times_s, assume_unique=True)
    if not len(times):
        raise InputError(f"the buckets of {buckets[0].name} share no two scrapes; take all from the same scrapes")
    rows = [sum((s.values[np.searchsorted(s.times_s, times)] for s in grown[b]), np.zeros(len(times))) for b in bounds]
    return bounds, times, np.array(rows)


def squared_variation(count: float, total: float, total_of_squares: float) -> float:
    """The squared coefficient of variation, variance / mean², from moments. InputError: fewer than two, a mean of 0, sums that
    no values have."""
    if count < 2 or total <= 0:
        raise InputError(f"{count:g} values that sum to {total:g}; variation needs at least two, and a mean above 0")
    mean = total / count
    variance = (total_of_squares - count * mean * mean) / (count - 1)
    if variance < -1e-9 * mean * mean * count:
        raise InputError(
            f"a sum of squares of {total_of_squares:g} is less than {count * mean * mean:g}, which {count:g} values have at least"
        )
    return max(0.0, variance) / (mean * mean)


def squared_variation_of(samples: Floats) -> Estimate:
    """The same from single values (service times, gaps between arrivals), with its 95 % interval by the delta method on its
    logarithm. InputError: fewer than 10 values, a negative one, or all 0."""
    values = np.asarray(samples, dtype=np.float64)
    if len(values) < 10 or not np.isfinite(values).all() or (values < 0).any():
        raise InputError(f"{len(values)} values; variation needs at least 10, all finite and none below 0: measure longer")
    mean = float(values.mean())
    if mean == 0:
        raise InputError("all values are 0; variation needs a mean above 0: is the clock too coarse?")
    scaled = values / mean
    deviation = scaled - 1.0
    value = float((deviation**2).sum() / (len(values) - 1))
    if value == 0:
        return Estimate(0.0, 0.0, 0.0)
    influence = deviation**2 - value - 2 * value * deviation
    error = math.sqrt(float((influence**2).mean()) / len(values)) / value
    return Estimate(value, value * math.exp(-_Z * error), value * math.exp(_Z * error))


def bucket_squared_variation(bounds: Sequence[float], cumulative: Sequence[float], total: float) -> Estimate:
    """The same from a histogram with its sum: values spread evenly in their buckets for the value, all at the lower or all at the
    upper bounds for the interval (certain: level 1; `high` is infinite when values lie above the last bound).

    InputError: as in bucket_quantile, fewer than two observations, or a bucket with values at or below 0.
    """
    bucket_quantile(0.5, bounds, cumulative)
    counts = np.diff(np.concatenate(([0.0], np.asarray(cumulative, dtype=np.float64))))
    edges = np.asarray(bounds, dtype=np.float64)
    observed = float(counts.sum())
    if observed < 2 or total <= 0 or (edges[0] <= 0 and counts[0] > 0):
        raise InputError(f"{observed:g} values that sum to {total:g}; variation needs two values at least, all above 0")
    lower = np.concatenate(([0.0], np.maximum(edges[:-1], 0.0)))
    held = counts > 0
    a, b, share = lower[held], edges[held], counts[held] / observed
    mean = total / observed
    tops = np.where(np.isinf(b), a, b)
    least, middle = float((share * a * a).sum()), float((share * (a * a + a * tops + tops * tops) / 3).sum())
    most = math.inf if np.isinf(b).any() else float((share * b * b).sum())
    low, value, high = (max(0.0, square / mean**2 - 1.0) for square in (least, middle, most))
    return Estimate(value, low, high, 1.0)
