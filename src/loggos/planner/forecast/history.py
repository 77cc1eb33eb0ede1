"""A series made fit to forecast: on a regular grid, complete, long enough, never negative; or an InputError that says what to do.

Rules: times may jitter by a quarter of a step, no more: who resamples must choose the rule (mean or max), so we do not. Missing
steps are filled only up to a fifth of all, from the same time of the nearest days or weeks, and reported; no model is judged on
them. A load that never changes is refused: it says nothing of how it will vary. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from loggos.base.errors import InputError
from loggos.base.limits import FORECAST_POINTS_MAX
from loggos.planner.observe.findings import Kind, Ledger, Severity, described, duration_text, time_text
from loggos.planner.types import Floats, Series

POINTS_MIN = 12
MISSING_SHARE_MAX = 0.2
JITTER_STEPS_MAX = 0.25
DAY_S, WEEK_S = 86_400.0, 604_800.0


@dataclass(frozen=True, slots=True)
class History:
    """A complete regular series. `measured`: False where a value was filled in."""

    name: str
    unit: str
    start_s: float
    step_s: float
    values: Floats
    measured: NDArray[np.bool_]

    def time_s(self, index: float) -> float:
        """The time of a step; of the future too."""
        return self.start_s + index * self.step_s


def history_of(series: Series, ledger: Ledger, allow_negative: bool = False) -> History:
    """The history to forecast from. InputError: too short, uneven, negative, constant, full of holes, larger than the limit."""
    name = described(series.name, series.labels)
    there = np.isfinite(series.values) & np.isfinite(series.times_s)
    times, values = series.times_s[there], series.values[there]
    if len(values) < POINTS_MIN:
        raise InputError(
            f"{name} has {len(values)} point(s) with a value; a forecast needs {POINTS_MIN} at least, "
            "and two weeks of hours to know days and weeks: measure longer"
        )
    steps = np.diff(times)
    if (steps <= 0).any():
        at = time_text(float(times[int(np.argmax(steps <= 0))]))
        raise InputError(f"{name}: times do not increase after {at}; put it in order first (observe.clean.series_of)")
    _check_values(name, times, values, allow_negative)
    step_s = float(np.median(steps))
    span_s = float(times[-1] - times[0])
    step_s = span_s / round(span_s / step_s)
    places = np.round((times - times[0]) / step_s)
    size = int(places[-1]) + 1
    if size > FORECAST_POINTS_MAX:
        raise InputError(
            f"{name} spans {size:,} steps of {duration_text(step_s)}; resample to hours first, with the rule max or mean"
        )
    off = np.abs((times - times[0]) / step_s - places)
    if off.max() > JITTER_STEPS_MAX or (np.diff(places) == 0).any():
        at = time_text(float(times[int(off.argmax())]))
        raise InputError(
            f"{name} is unevenly sampled: usually {duration_text(step_s)} apart, but off by {off.max():.0%} of a step at {at}; "
            "resample it first (observe.clean.regular), with the rule that suits: mean for a level, max for a peak"
        )
    grid = np.full(size, np.nan)
    grid[places.astype(np.int64)] = values
    measured = np.isfinite(grid)
    if (missing := size - int(measured.sum())) > MISSING_SHARE_MAX * size:
        raise InputError(f"{name}: {missing:,} of {size:,} steps have no value; take a coarser step, or the part without gaps")
    if missing:
        grid = _completed(grid, step_s)
        what = f"{name}: {missing:,} of {size:,} steps have no value: filled from the same time of near days, and not judged on"
        ledger.add(Kind.FILLED, Severity.WARNING if missing > 0.05 * size else Severity.NOTE, what)
    return History(series.name, series.unit, float(times[0]), step_s, grid, measured)


def _check_values(name: str, times: Floats, values: Floats, allow_negative: bool) -> None:
    lowest = int(values.argmin())
    if values[lowest] < 0 and not allow_negative:
        raise InputError(
            f"{name} is {values[lowest]:,.6g} at {time_text(float(times[lowest]))}; a load is never below 0: "
            "was a counter taken as it is? Use its rate (observe.clean.counter_rate), or allow negative values"
        )
    if values.max() == values.min():
        raise InputError(
            f"{name} is {values[0]:,.6g} in all {len(values):,} points: nothing shows how it varies, so no interval can be "
            "given; is the metric stuck or capped? Measure where the load changes, or plan with the number itself"
        )


def _completed(grid: Floats, step_s: float) -> Floats:
    """Missing steps from the same time a week or a day before and after, whichever is there; on a line where none is."""
    done = grid.copy()
    for span_s in (WEEK_S, DAY_S):
        period = round(span_s / step_s)
        if period < 2 or abs(period * step_s - span_s) > 1e-6 * span_s or len(grid) < 2 * period:
            continue
        before, after = np.full(len(grid), np.nan), np.full(len(grid), np.nan)
        before[period:], after[:-period] = grid[:-period], grid[period:]
        both = np.where(np.isnan(before), after, np.where(np.isnan(after), before, (before + after) / 2))
        done = np.where(np.isnan(done), both, done)
    left = np.isnan(done)
    if left.any():
        places = np.arange(len(done), dtype=np.float64)
        done[left] = np.interp(places[left], places[~left], done[~left])
    return done
