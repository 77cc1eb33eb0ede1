"""A forecast: what a load will be over a horizon, with intervals, and the peak that capacity must hold. Pure: the seed is given.

Rules: the model is the one that proved itself in the backtest; if none beats the seasonal naive forecast, that is what you get,
and the result says so. Growth that history cannot know (a launch, a new customer) is added as events, explicitly. A horizon of
more than twice the history is refused unless forced. Capacity that is ordered now arrives after the lead time: the peak is that
of the horizon after it, and the peak until then is given beside it.

Source: Site Reliability Engineering, ch. 18 (organic and inorganic demand, lead time); Hyndman and Athanasopoulos, Forecasting:
Principles and Practice, 3rd ed., §5.5 (intervals from simulated paths).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from statistics import NormalDist

import numpy as np

from loggos.base.errors import InputError
from loggos.base.limits import FORECAST_SIMULATED_MAX
from loggos.planner.forecast.backtest import Backtest, Score, backtest
from loggos.planner.forecast.history import History, history_of
from loggos.planner.forecast.models import NAIVE, Generator, Training, training_of
from loggos.planner.forecast.seasons import level_shifts, note_shifts, seasons_of, without_shifts
from loggos.planner.observe.findings import Finding, Kind, Ledger, Severity, duration_text, time_text
from loggos.planner.types import Estimate, Floats, Series

PATHS = 1_000
_PATHS_MIN = 100
_BEYOND = 2.0  # horizons longer than this many histories are refused


@dataclass(frozen=True, slots=True)
class Event:
    """Growth that history cannot know: from `at_s` on, the load is `factor` times what it would be.

    `factor` may be an Estimate: then paths differ in it. `ramp_s`: how long it takes to grow in; `until_s`: when it is over.
    """

    name: str
    at_s: float
    factor: float | Estimate
    ramp_s: float = 0.0
    until_s: float = math.inf


@dataclass(frozen=True, slots=True)
class Peak:
    """The highest value over a span. `hold`: what capacity must hold to suffice over the whole span with probability
    `percentile`, with the interval that comes from the number of paths; `range`: the median peak and its prediction interval;
    `at_s`: when it is likeliest."""

    percentile: float
    hold: Estimate
    range: Estimate
    at_s: float


@dataclass(frozen=True, slots=True)
class Forecast:
    """`median`, and for each of the levels a lower and an upper series; `paths`: simulated futures, count × steps.

    `model`: which was used; `beats_naive`: whether any did; `scores`: how all did in the backtest over `tested_s`; `peak`: of the
    horizon after the lead time; `peak_until_arrival`: before it (None without a lead time).
    """

    median: Series
    intervals: dict[float, tuple[Series, Series]]
    peak: Peak
    peak_until_arrival: Peak | None
    model: str
    beats_naive: bool
    scores: tuple[Score, ...]
    seasons_s: tuple[float, ...]
    tested_s: float
    findings: tuple[Finding, ...]
    paths: Floats = field(repr=False)

    def quantile(self, q: float) -> Series:
        """The value that is not exceeded at each time with probability q. InputError: q outside 0 to 1."""
        if not 0 <= q <= 1:
            raise InputError(f"a quantile of {q}; it must lie between 0 and 1")
        return _series(self.median, f"quantile {q:g}", np.quantile(self.paths, q, axis=0))

    def exceeded(self, capacity: float) -> Series:
        """The probability that the load has exceeded a capacity by each time; never falls."""
        so_far = np.maximum.accumulate(self.paths, axis=1)
        return _series(self.median, f"exceeds {capacity:g}", (so_far > capacity).mean(axis=0), "1")

    def runs_out_s(self, capacity: float, risk: float = 0.05) -> float | None:
        """When the probability that the load has exceeded a capacity passes `risk`; None: not within the horizon. Order that much
        earlier as delivery takes."""
        over = np.flatnonzero(self.exceeded(capacity).values > risk)
        return float(self.median.times_s[int(over[0])]) if len(over) else None

    def summary(self) -> str:
        """One line: the model, how it was tested, the peak."""
        score = next((score for score in self.scores if score.model == self.model), None)
        tested = f"MASE {score.mase:.2f} over {score.origins} origins" if score else "not tested"
        naive = next((score for score in self.scores if score.model == NAIVE), None)
        bar = f", seasonal naive {naive.mase:.2f}" if naive and self.model != NAIVE else ""
        return (
            f"{self.median.name}: {self.model} ({tested}{bar}); peak {self.peak.range} {self.median.unit}, "
            f"hold {self.peak.hold} for {self.peak.percentile:.0%}"
        )


def forecast(
    series: Series,
    horizon_s: float,
    *,
    seed: int,
    lead_s: float = 0.0,
    events: Sequence[Event] = (),
    seasons: Sequence[str | float] | None = None,
    levels: Sequence[float] = (0.8, 0.95),
    percentile: float = 0.95,
    paths: int = PATHS,
    allow_negative: bool = False,
    force: bool = False,
) -> Forecast:
    """Forecast a regular series over a lead time and the horizon after it.

    `seasons`: "hour", "day", "week" or seconds; None to detect. `percentile`: with what probability the peak's `hold` is to
    suffice. `paths`: futures simulated; fewer where they would not fit into memory. `force`: beyond twice the history.
    InputError: a history that cannot be used (see history.history_of), or an impossible horizon, level, percentile or event.
    """
    _check(horizon_s, lead_s, levels, percentile, paths)
    ledger = Ledger()
    history = history_of(series, ledger, allow_negative)
    steps, lead = _steps(history, horizon_s, lead_s, ledger, force)
    _check_events(events, history, steps, ledger)
    periods = seasons_of(history, seasons, ledger)
    history = _levelled(history, periods, ledger)
    rng = np.random.default_rng(seed)
    tested = backtest(history, periods, steps, rng)
    _note_backtest(tested, history, steps, ledger)
    training = training_of(history.values, periods)
    _note_training(training, history, ledger)
    count = max(_PATHS_MIN, min(paths, FORECAST_SIMULATED_MAX // steps))
    median, futures = _futures(tested, training, steps, count, rng)
    if not allow_negative:
        median, futures = np.maximum(median, 0.0), np.maximum(futures, 0.0)
    times = history.start_s + history.step_s * (len(history.values) + np.arange(steps, dtype=np.float64))
    for event in events:
        growth = _growth(event, times, count, rng)
        futures *= growth
        median = median * np.median(growth, axis=0)
    return _result(series, times, median, futures, lead, levels, percentile, tested, periods, history, ledger)


def _check(horizon_s: float, lead_s: float, levels: Sequence[float], percentile: float, paths: int) -> None:
    if not (math.isfinite(horizon_s) and horizon_s > 0 and math.isfinite(lead_s) and lead_s >= 0):
        raise InputError(f"a horizon of {horizon_s} s after a lead time of {lead_s} s; one must be above 0, the other not below")
    for level in (*levels, percentile):
        if not 0 < level < 1:
            raise InputError(f"a level of {level}; levels and the percentile lie between 0 and 1, such as 0.95")
    if paths < _PATHS_MIN:
        raise InputError(f"{paths} paths; an interval needs {_PATHS_MIN} at least")


def _steps(history: History, horizon_s: float, lead_s: float, ledger: Ledger, force: bool) -> tuple[int, int]:
    """How many steps to forecast, and how many of them are the lead time."""
    lead = math.ceil(lead_s / history.step_s - 1e-9)
    wanted = lead_s + horizon_s
    size = len(history.values)
    if wanted / history.step_s > FORECAST_SIMULATED_MAX / _PATHS_MIN:
        raise InputError(
            f"{duration_text(wanted)} are too many steps of {duration_text(history.step_s)}; resample to a coarser step"
        )
    steps = lead + max(1, math.ceil(horizon_s / history.step_s - 1e-9))
    have = duration_text(size * history.step_s)
    if steps > _BEYOND * size:
        if not force:
            raise InputError(
                f"{duration_text(wanted)} ahead of {have} of history: beyond twice the history nothing can be tested; "
                "measure longer, shorten the horizon, or force it"
            )
        what = f"{duration_text(wanted)} ahead of {have} of history, by force: the intervals are guesses"
        ledger.add(Kind.HORIZON, Severity.SERIOUS, what)
    return steps, lead


def _check_events(events: Sequence[Event], history: History, steps: int, ledger: Ledger) -> None:
    end_s, last_s = history.time_s(len(history.values) - 1), history.time_s(len(history.values) + steps)
    for event in events:
        factors = event.factor if isinstance(event.factor, Estimate) else (event.factor,)
        if not all(math.isfinite(factor) and factor > 0 for factor in factors[:3]) or not 0 <= event.ramp_s < math.inf:
            raise InputError(f"event {event.name}: a factor of {event.factor}; it must be more than 0: 1.2 for a fifth more")
        if isinstance(event.factor, Estimate) and not event.factor.low <= event.factor.value <= event.factor.high:
            raise InputError(f"event {event.name}: its factor {event.factor} lies outside its own interval")
        if event.at_s <= end_s:
            raise InputError(
                f"event {event.name} at {time_text(event.at_s)} is not after the history, which ends at {time_text(end_s)}: "
                "what it did is in the history already"
            )
        if event.until_s <= event.at_s:
            raise InputError(f"event {event.name} ends at {time_text(event.until_s)}, before it begins")
        if event.at_s > last_s:
            what = f"event {event.name} is after the horizon and changes nothing"
            ledger.add(Kind.EVENT, Severity.WARNING, what, time_text(event.at_s), "lengthen the horizon")
        else:
            what = f"event {event.name} multiplies the load by {event.factor}, as given; nothing in the history supports it"
            ledger.add(Kind.EVENT, Severity.NOTE, what, time_text(event.at_s))


def _growth(event: Event, times: Floats, count: int, rng: Generator) -> Floats:
    """What the load is multiplied by: paths × steps, or 1 × steps for a factor without an interval."""
    if isinstance(event.factor, Estimate):
        reach = NormalDist().inv_cdf((1 + min(event.factor.level, 0.999)) / 2)
        spread = (math.log(event.factor.high) - math.log(event.factor.low)) / (2 * reach)
        factor = event.factor.value * np.exp(spread * rng.standard_normal((count, 1)))
    else:
        factor = np.full((1, 1), float(event.factor))
    share = (
        np.clip((times - event.at_s) / event.ramp_s, 0.0, 1.0) if event.ramp_s > 0 else (times >= event.at_s).astype(np.float64)
    )
    growth: Floats = 1.0 + (factor - 1.0) * (share * (times < event.until_s))[None, :]
    return growth


def _levelled(history: History, periods: tuple[int, ...], ledger: Ledger) -> History:
    """The history as if it had always had today's level: no model can know a step before it comes, so none is judged on that."""
    shifts = level_shifts(history.values, periods)
    note_shifts(history, shifts, ledger)
    return replace(history, values=without_shifts(history.values, shifts))


def _futures(tested: Backtest, training: Training, steps: int, count: int, rng: Generator) -> tuple[Floats, Floats]:
    """The chosen model on all of the history; the naive one if it cannot be fitted there."""
    score = tested.score(tested.chosen)
    fitted = tested.fits[tested.chosen](training) or tested.fits[NAIVE](training)
    assert fitted is not None, "the naive model always fits"
    median, futures = fitted.median(steps), fitted.paths(steps, count, rng)
    if score is not None:
        futures -= median
        futures *= score.spread
        futures += median
    return median, futures


def _note_backtest(tested: Backtest, history: History, steps: int, ledger: Ledger) -> None:
    if not tested.scores:
        what = "the history is too short to test any model: the seasonal naive forecast is used, its intervals are untested"
        ledger.add(Kind.MODEL, Severity.SERIOUS, what, advice="measure at least twice as long")
        return
    if tested.chosen == NAIVE:
        what = "no model beats the seasonal naive forecast on the past: the last season is repeated, without a trend"
        ledger.add(Kind.MODEL, Severity.NOTE, what, advice="planned growth is added as events")
    if tested.stretch_steps < steps:
        span, ahead = duration_text(tested.stretch_steps * history.step_s), duration_text(steps * history.step_s)
        what = f"models were tested {span} ahead, the forecast goes {ahead} ahead: beyond, its intervals are untested"
        ledger.add(Kind.HORIZON, Severity.WARNING, what, advice="shorten the horizon, or measure longer")


def _note_training(training: Training, history: History, ledger: Ledger) -> None:
    spikes = np.flatnonzero(training.spikes != 0.0)
    if len(spikes):
        worst = int(np.abs(training.spikes).argmax())
        what = f"{len(spikes):,} of {len(training.raw):,} values are outliers, the largest {training.raw[worst]:,.4g}"
        advice = "they do not move the trend, and may come again in the peak; if they were faults, take them out"
        ledger.add(Kind.OUTLIER, Severity.NOTE, what, time_text(history.time_s(worst)), advice)
    if history.step_s >= 300:
        what = f"each value stands for {duration_text(history.step_s)}: peaks within are not seen"
        ledger.add(Kind.RESAMPLED, Severity.NOTE, what, advice="resample by max, or leave headroom for bursts")


def peak_of(paths: Floats, times: Floats, percentile: float, level: float = 0.95) -> Peak:
    """The peak of simulated futures. The interval of `hold` is that of an order statistic of so many paths, at `level`."""
    peaks = np.sort(paths.max(axis=1))
    count = len(peaks)
    reach = NormalDist().inv_cdf((1 + level) / 2) * math.sqrt(count * percentile * (1 - percentile))
    low, high = max(0, math.floor(count * percentile - reach)), min(count - 1, math.ceil(count * percentile + reach))
    hold = Estimate(float(np.quantile(peaks, percentile)), float(peaks[low]), float(peaks[high]), level)
    outer = np.quantile(peaks, [0.5, (1 - level) / 2, (1 + level) / 2])
    when = np.bincount(paths.argmax(axis=1), minlength=len(times))
    return Peak(
        percentile, hold, Estimate(float(outer[0]), float(outer[1]), float(outer[2]), level), float(times[int(when.argmax())])
    )


def _series(like: Series, what: str, values: Floats, unit: str | None = None) -> Series:
    return Series(f"{like.name} {what}", like.unit if unit is None else unit, like.times_s, values, like.labels, like.source)


def _result(
    series: Series,
    times: Floats,
    median: Floats,
    futures: Floats,
    lead: int,
    levels: Sequence[float],
    percentile: float,
    tested: Backtest,
    periods: tuple[int, ...],
    history: History,
    ledger: Ledger,
) -> Forecast:
    middle = Series(series.name, series.unit, times, median, series.labels, series.source)
    intervals = {}
    for level in levels:
        low, high = np.quantile(futures, [(1 - level) / 2, (1 + level) / 2], axis=0)
        intervals[level] = (_series(middle, f"low {level:.0%}", low), _series(middle, f"high {level:.0%}", high))
    return Forecast(
        middle,
        intervals,
        peak_of(futures[:, lead:], times[lead:], percentile),
        peak_of(futures[:, :lead], times[:lead], percentile) if lead else None,
        tested.chosen,
        tested.chosen != NAIVE,
        tested.scores,
        tuple(period * history.step_s for period in periods),
        tested.stretch_steps * history.step_s,
        ledger.findings(),
        futures,
    )
