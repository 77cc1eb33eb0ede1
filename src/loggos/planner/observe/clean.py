"""Cleaning of series: counters to rates, clock trouble, regular grids, filling. Pure; series in, series and findings out.

Rules: nothing is repaired in silence. A value below the one before means that a counter was reset and began again at 0, so the
increase is the new value (what was counted between the last sample before the reset and the reset is lost). A rate belongs to the
end of its interval. Over a gap there is no rate unless asked for: the counter may have been reset in it any number of times.

`prometheus_rate` gives what PromQL's rate() gives, extrapolation to the window's edges included; `counter_rate` gives what was
counted, and adds up. Source: Prometheus, "Querying functions" rate() and increase(), promql/functions.go extrapolatedRate (3.x:
windows are open on the left).
"""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

import numpy as np

from loggos.base.errors import InputError
from loggos.base.limits import OBSERVE_GRID_POINTS_MAX
from loggos.planner.observe.findings import Finding, Kind, Ledger, Observation, Severity, described, duration_text, time_text
from loggos.planner.observe.gather import GAP_STEPS, Duplicates, ordered
from loggos.planner.types import Floats, Series

Rule = Literal["mean", "max", "min", "sum", "last", "first", "count"]
Fill = Literal["previous", "linear", "zero"]

_EXTRAPOLATION_STEPS = 1.1  # a window's edge nearer than this many mean steps is reached; Prometheus' own number
_RULES = ("mean", "max", "min", "sum", "last", "first", "count")


class Cleaned(NamedTuple):
    """A series and what was found and done on the way."""

    series: Series
    findings: tuple[Finding, ...]


def series_of(
    name: str, unit: str, times_s: Floats, values: Floats, labels: dict[str, str] | None = None, duplicates: Duplicates = "last"
) -> Cleaned:
    """A series of raw points in any order: sorted, one value per time, only finite ones. InputError: nothing is left."""
    if len(times_s) != len(values):
        raise InputError(f"{name}: {len(times_s):,} times and {len(values):,} values; every value needs its time")
    ledger = Ledger()
    times, raw = np.asarray(times_s, dtype=np.float64), np.asarray(values, dtype=np.float64)
    finite = np.isfinite(times) & np.isfinite(raw)
    if not finite.all():
        what = f"{name}: {int((~finite).sum()):,} of {len(raw):,} points are not finite: left out"
        ledger.add(Kind.MISSING, Severity.WARNING, what)
    if not finite.any():
        raise InputError(f"{name}: no point has a finite value; check the query or the column")
    times, raw = ordered(name, times[finite], raw[finite], ledger, duplicates=duplicates)
    return Cleaned(Series(name, unit, times, raw, dict(labels or {})), ledger.findings())


def increases(series: Series) -> Cleaned:
    """What a counter grew by between its points, at the later of each two; resets as Prometheus takes them.

    InputError: fewer than two points, or values below 0 (a counter has none).
    """
    ledger = Ledger()
    name = described(series.name, series.labels)
    if len(series.values) < 2:
        raise InputError(f"{name}: {len(series.values)} point(s); a rate needs two scrapes at least")
    if (lowest := float(series.values.min())) < 0:
        at = time_text(float(series.times_s[int(series.values.argmin())]))
        raise InputError(
            f"{name} is {lowest:g} at {at}; a counter is never below 0: is it a gauge? Then use its values as they are"
        )
    steps = np.diff(series.values)
    resets = np.flatnonzero(steps < 0)
    for i in resets:
        what = f"{name} fell from {series.values[i]:,.6g} to {series.values[i + 1]:,.6g}: it was reset, and counted on from 0"
        advice = "what was counted just before the reset is lost: the rate there is a little low"
        ledger.add(Kind.RESET, Severity.NOTE, what, time_text(float(series.times_s[i + 1])), advice)
    if len(resets) > max(3, len(steps) // 10):
        what = f"{name} falls in {len(resets):,} of {len(steps):,} steps: is it a counter?"
        ledger.add(
            Kind.RESET,
            Severity.SERIOUS,
            what,
            advice="several processes behind one series, or a gauge: add a label, or use its values",
        )
    grown = np.where(steps < 0, series.values[1:], steps)
    return Cleaned(Series(series.name, series.unit, series.times_s[1:], grown, series.labels, series.source), ledger.findings())


def counter_resets(found: Observation) -> tuple[Finding, ...]:
    """Where the counters among what was observed were reset, as `increases` says it. A value that no counter has is a finding,
    too: whoever only looks at the data can go on."""
    ledger = Ledger()
    for series in found.series:
        if found.is_counter(series) and len(series.values) > 1:  # a single scrape tells nothing of resets
            try:
                ledger.extend(increases(series).findings)
            except InputError as error:
                ledger.add(Kind.NEGATIVE, Severity.WARNING, str(error))
    return ledger.findings()


def counter_rate(series: Series, *, across_gaps: bool = False) -> Cleaned:
    """A counter's rate per second over each step, at its end; no extrapolation. Steps longer than 1.5 usual ones are left out and
    reported, or kept as averages with `across_gaps`. Errors as in `increases`."""
    grown, findings = increases(series)
    ledger = Ledger()
    ledger.extend(findings)
    lengths = np.diff(series.times_s)
    rates = grown.values / lengths
    usual = float(np.median(lengths))
    long = lengths > GAP_STEPS * usual
    name = described(series.name, series.labels)
    for i in np.flatnonzero(long):
        done = "the rate is an average over it" if across_gaps else "no rate is given over it"
        what = f"{name}: {duration_text(float(lengths[i]))} without a scrape, usually {duration_text(usual)}: {done}"
        ledger.add(Kind.GAP, Severity.WARNING, what, time_text(float(series.times_s[i])))
    keep = np.ones(len(rates), dtype=bool) if across_gaps else ~long
    unit = f"{series.unit}/s" if series.unit else "1/s"
    rate = Series(series.name, unit, grown.times_s[keep], rates[keep], series.labels, series.source)
    return Cleaned(rate, ledger.findings())


def prometheus_rate(series: Series, window_s: float, at_s: float) -> float | None:
    """PromQL's rate(counter[window]) at a time: per second, extrapolated to the window's edges. None: fewer than two points."""
    increase = prometheus_increase(series, window_s, at_s)
    return None if increase is None else increase / window_s


def prometheus_increase(series: Series, window_s: float, at_s: float) -> float | None:
    """PromQL's increase(counter[window]) at a time. InputError: a window that is not above 0."""
    if not (math.isfinite(window_s) and window_s > 0):
        raise InputError(f"a window of {window_s} s; it must be more than 0")
    start_s = at_s - window_s
    inside = (series.times_s > start_s) & (series.times_s <= at_s)
    times, values = series.times_s[inside], series.values[inside]
    if len(times) < 2:
        return None
    steps = np.diff(values)
    grown = float(np.where(steps < 0, values[1:], steps).sum())
    sampled_s = float(times[-1] - times[0])
    mean_step_s = sampled_s / (len(times) - 1)
    before_s, after_s = float(times[0]) - start_s, at_s - float(times[-1])
    if before_s >= _EXTRAPOLATION_STEPS * mean_step_s:
        before_s = mean_step_s / 2
    if after_s >= _EXTRAPOLATION_STEPS * mean_step_s:
        after_s = mean_step_s / 2
    if grown > 0 and values[0] >= 0:  # never back to before the counter was 0
        before_s = min(before_s, sampled_s * float(values[0]) / grown)
    return grown * (sampled_s + before_s + after_s) / sampled_s


def regular(series: Series, step_s: float, rule: Rule = "mean") -> Cleaned:
    """A series on a regular grid: at each multiple of the step, the mean (max, min, sum, last, first, count) of the points in the
    step that begins there. Steps without a point are NaN, and counted in a finding; `filled` fills them.

    InputError: no such step or rule, no points, or a grid larger than the limit.
    """
    name = described(series.name, series.labels)
    if not (math.isfinite(step_s) and step_s > 0):
        raise InputError(f"a step of {step_s} s; it must be more than 0")
    if rule not in _RULES:
        raise InputError(f"there is no rule {rule!r}; take one of {', '.join(_RULES)}")
    if not len(series.values):
        raise InputError(f"{name} has no points; check the query or the column")
    low, high = math.floor(series.times_s[0] / step_s), math.floor(series.times_s[-1] / step_s)
    size = high - low + 1
    if size > OBSERVE_GRID_POINTS_MAX:
        span = duration_text(float(series.times_s[-1] - series.times_s[0]))
        raise InputError(
            f"{name}: {span} in steps of {duration_text(step_s)} is {size:,} points; is a time wrong? Else take a coarser step"
        )
    places = np.clip(np.floor(series.times_s / step_s).astype(np.int64) - low, 0, size - 1)
    starts = np.flatnonzero(np.concatenate(([True], np.diff(places) > 0)))
    grid = np.full(size, np.nan)
    grid[places[starts]] = _reduced(series.values, starts, rule)
    ledger = Ledger()
    if len(starts) < len(series.values):
        what = f"{name}: {len(series.values):,} points became {size:,} steps of {duration_text(step_s)}, the {rule} of each"
        ledger.add(Kind.RESAMPLED, Severity.NOTE, what)
    if len(starts) < size:
        missing = np.flatnonzero(np.isnan(grid))
        severity = Severity.SERIOUS if len(missing) > 0.2 * size else Severity.WARNING
        first = time_text(float((low + missing[0]) * step_s))
        what = f"{name}: {len(missing):,} of {size:,} steps of {duration_text(step_s)} have no point, the first at {first}"
        ledger.add(Kind.MISSING, severity, what, advice="fill them explicitly, take a coarser step, or use a part without gaps")
    times = (low + np.arange(size, dtype=np.float64)) * step_s
    return Cleaned(Series(series.name, series.unit, times, grid, series.labels, series.source), ledger.findings())


def _reduced(values: Floats, starts: np.ndarray[tuple[int, ...], np.dtype[np.int64]], rule: Rule) -> Floats:
    counts = np.diff(np.append(starts, len(values))).astype(np.float64)
    reduced: Floats
    match rule:
        case "max":
            reduced = np.maximum.reduceat(values, starts)
        case "min":
            reduced = np.minimum.reduceat(values, starts)
        case "last":
            reduced = values[np.append(starts[1:], len(values)) - 1]
        case "first":
            reduced = values[starts]
        case "count":
            reduced = counts
        case "sum":
            reduced = np.add.reduceat(values, starts)
        case _:
            reduced = np.add.reduceat(values, starts) / counts
    return reduced


def filled(series: Series, how: Fill, longest_s: float) -> Cleaned:
    """A regular series with its missing steps (NaN) filled, but only in gaps of at most `longest_s`: by the previous value, on a
    line to the next, or with 0 (right for counts of events that were not reported because there were none).

    InputError: no such way to fill.
    """
    if how not in ("previous", "linear", "zero"):
        raise InputError(f"there is no way {how!r} to fill; take previous, linear or zero")
    missing = np.isnan(series.values)
    edges = np.diff(np.concatenate(([False], missing, [False])).astype(np.int8))
    ledger = Ledger()
    values = series.values.copy()
    step_s = float(np.median(np.diff(series.times_s))) if len(values) > 1 else 0.0
    count = 0
    for first, end in zip(np.flatnonzero(edges == 1), np.flatnonzero(edges == -1), strict=True):
        length_s = float(end - first) * step_s
        inside = first > 0 and (end < len(values) or how != "linear")
        if length_s > longest_s or (how != "zero" and not inside):
            why = f"longer than {duration_text(longest_s)}" if length_s > longest_s else "nothing stands before or after it"
            what = f"a gap of {duration_text(length_s)} is left open: {why}"
            ledger.add(Kind.GAP, Severity.WARNING, what, time_text(float(series.times_s[first])))
            continue
        count += int(end - first)
        if how == "linear":
            values[first:end] = np.linspace(values[first - 1], values[end], int(end - first) + 2)[1:-1]
        else:
            values[first:end] = 0.0 if how == "zero" else values[first - 1]
    if count:
        name = described(series.name, series.labels)
        what = f"{name}: {count:,} of {len(values):,} steps were filled ({how}); they were not measured"
        ledger.add(Kind.FILLED, Severity.WARNING if count > 0.05 * len(values) else Severity.NOTE, what)
    return Cleaned(Series(series.name, series.unit, series.times_s, values, series.labels, series.source), ledger.findings())


def present(series: Series) -> Series:
    """The points of a series that have a value."""
    there = np.isfinite(series.values)
    return Series(series.name, series.unit, series.times_s[there], series.values[there], series.labels, series.source)
