"""Forecasts of loads whose truth is known: error against naive, coverage, peaks, events, lead time, refusals."""

from __future__ import annotations

import math
import tracemalloc

import numpy as np
import pytest

from loggos.base.errors import InputError
from loggos.planner.forecast.forecast import Event, Forecast, forecast, peak_of
from loggos.planner.forecast.models import NAIVE
from loggos.planner.observe.findings import Kind
from loggos.planner.types import Estimate, Floats
from tests.planner.forecast.loads import DAY_S, HOUR_S, START_S, WEEK_S, hourly, series

WEEKS = 8
HISTORY, AHEAD = WEEKS * 168, 168


def ahead_of(values: Floats, hours: int = AHEAD, **options: object) -> Forecast:
    return forecast(series(values), hours * HOUR_S, seed=1, paths=300, **options)  # type: ignore[arg-type]


def kinds(made: Forecast) -> set[Kind]:
    return {finding.kind for finding in made.findings}


@pytest.fixture(scope="module")
def trend() -> Forecast:
    return ahead_of(hourly(1, HISTORY, trend=1.0))


LOADS: dict[str, dict[str, float]] = {
    "trend": {"trend": 1.0},
    "growth": {"growth": 1.0},
    "shift": {"trend": 0.3, "shift": 0.5},
    "outliers": {"trend": 1.0, "spikes": 0.003},
}


@pytest.mark.parametrize("name", LOADS)
def test_trends_are_followed_better_than_naive_and_covered(name: str) -> None:
    naive_error = error = 0.0
    covered: list[list[float]] = [[], []]
    for seed in (1, 2):
        values = hourly(seed, HISTORY + AHEAD, **LOADS[name])
        made, came = ahead_of(values[:HISTORY]), values[HISTORY:]
        assert made.beats_naive and made.seasons_s == (DAY_S, WEEK_S)
        naive_error += float(np.abs(came - values[HISTORY - 168 : HISTORY]).mean())
        error += float(np.abs(came - made.median.values).mean())
        for found, level in zip(covered, (0.8, 0.95), strict=True):
            low, high = made.intervals[level]
            found.append(float(((came >= low.values) & (came <= high.values)).mean()))
        if name == "shift":
            [shift] = [finding for finding in made.findings if finding.kind is Kind.LEVEL_SHIFT]
            assert "events" in shift.advice
    assert error < 0.9 * naive_error
    assert 0.70 <= float(np.mean(covered[0])) <= 0.92 and 0.90 <= float(np.mean(covered[1])) <= 0.998


@pytest.mark.full
@pytest.mark.timeout(3_600)
@pytest.mark.parametrize("name", LOADS)
def test_coverage_over_many_seeds(name: str) -> None:
    inside: list[list[float]] = [[], []]
    held = []
    for seed in range(20):
        values = hourly(100 + seed, 12 * 168 + 336, memory=0.3, **LOADS[name])
        made, came = ahead_of(values[:-336], 336), values[-336:]
        for found, level in zip(inside, (0.8, 0.95), strict=True):
            low, high = made.intervals[level]
            found.append(float(((came >= low.values) & (came <= high.values)).mean()))
        held.append(float(came.max()) <= made.peak.hold.value)
    assert 0.75 <= float(np.mean(inside[0])) <= 0.86 and 0.92 <= float(np.mean(inside[1])) <= 0.975
    assert np.mean(held) >= 0.8


@pytest.mark.full
@pytest.mark.timeout(600)
def test_a_year_of_hours_fits_in_memory() -> None:
    tracemalloc.start()
    made = forecast(series(hourly(1, 8_760, trend=0.5, spikes=0.002)), 90 * DAY_S, seed=1, lead_s=30 * DAY_S)
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert made.paths.shape == (1_000, 120 * 24) and made.beats_naive
    assert peak_bytes < 256 << 20


def test_noise_around_a_level_is_forecast_by_nothing_fancy() -> None:
    """A random walk has no better forecast than its last value."""
    walk = 1_000.0 + np.cumsum(np.random.default_rng(3).normal(0.0, 5.0, 500))
    made = ahead_of(walk, 24)
    assert made.seasons_s == ()
    assert abs(made.median.values - walk[-1]).max() < 30.0
    reach = made.intervals[0.95][1].values - made.intervals[0.95][0].values
    assert reach[-1] > 2 * reach[0]


def test_where_nothing_beats_naive_that_is_used_and_said() -> None:
    again = np.tile(hourly(4, 168, noise=0.2), 8)  # the same week, to the digit
    made = ahead_of(again)
    assert made.model == NAIVE and not made.beats_naive
    assert np.array_equal(made.median.values, again[-168:])
    assert any("no model beats the seasonal naive" in finding.what for finding in made.findings)
    assert NAIVE in made.summary()


def test_the_same_seed_gives_the_same_forecast(trend: Forecast) -> None:
    again = ahead_of(hourly(1, HISTORY, trend=1.0))
    assert np.array_equal(again.paths, trend.paths) and again.peak == trend.peak
    other = forecast(series(hourly(1, HISTORY, trend=1.0)), AHEAD * HOUR_S, seed=2, paths=300)
    assert not np.array_equal(other.paths, trend.paths)


def test_times_go_on_where_the_history_ends(trend: Forecast) -> None:
    assert trend.median.times_s[0] == START_S + HISTORY * HOUR_S and len(trend.median.times_s) == AHEAD
    assert np.all(np.diff(trend.median.times_s) == HOUR_S)
    assert (trend.median.name, trend.median.unit, trend.median.source) == ("load", "1/s", "load.csv")


def test_intervals_nest_and_quantiles_grow(trend: Forecast) -> None:
    narrow, wide = trend.intervals[0.8], trend.intervals[0.95]
    assert np.all(wide[0].values <= narrow[0].values) and np.all(narrow[1].values <= wide[1].values)
    assert np.all(trend.quantile(0.5).values <= trend.quantile(0.9).values)
    assert narrow[1].name == "load high 80%"


def test_the_peak_is_that_of_the_paths(trend: Forecast) -> None:
    peaks = trend.paths.max(axis=1)
    assert trend.peak.hold.value == pytest.approx(float(np.quantile(peaks, 0.95)))
    assert trend.peak.hold.low <= trend.peak.hold.value <= trend.peak.hold.high
    assert trend.peak.range.low < trend.peak.range.value < trend.peak.hold.value
    assert float((peaks <= trend.peak.hold.value).mean()) == pytest.approx(0.95, abs=0.005)
    assert trend.median.times_s[0] <= trend.peak.at_s <= trend.median.times_s[-1]
    assert trend.peak_until_arrival is None


def test_the_interval_of_the_peak_covers_the_true_percentile() -> None:
    """Of uniform paths of two steps the peak's 90 % quantile is the root of 0.9."""
    hits = 0
    for seed in range(200):
        paths = np.random.default_rng(seed).random((400, 2))
        found = peak_of(paths, np.array([1.0, 2.0]), 0.9)
        hits += found.hold.low <= math.sqrt(0.9) <= found.hold.high
    assert 0.91 <= hits / 200 <= 0.99


def test_when_capacity_runs_out(trend: Forecast) -> None:
    chance = trend.exceeded(trend.peak.hold.value)
    assert np.all(np.diff(chance.values) >= 0) and chance.values[-1] == pytest.approx(0.05, abs=0.01)
    assert trend.runs_out_s(float(trend.paths.max())) is None
    assert trend.runs_out_s(0.0) == trend.median.times_s[0]
    early, late = trend.runs_out_s(1_250.0, 0.05), trend.runs_out_s(1_250.0, 0.5)
    assert early is not None and (late is None or early <= late)


# --- events and lead time -------------------------------------------------------------------------------------------------


def test_an_event_multiplies_what_comes_after_it(trend: Forecast) -> None:
    at = START_S + (HISTORY + 48) * HOUR_S
    made = ahead_of(hourly(1, HISTORY, trend=1.0), events=[Event("launch", at, 1.5)])
    assert np.array_equal(made.median.values[:48], trend.median.values[:48])
    assert made.median.values[48:] == pytest.approx(1.5 * trend.median.values[48:])
    assert made.paths[:, 48:] == pytest.approx(1.5 * trend.paths[:, 48:])
    [note] = [finding for finding in made.findings if finding.kind is Kind.EVENT]
    assert "launch" in note.what and note.where == "2024-01-11T00:00:00Z"


def test_events_may_ramp_end_and_be_uncertain(trend: Forecast) -> None:
    begin = START_S + HISTORY * HOUR_S
    values = hourly(1, HISTORY, trend=1.0)
    ramp = ahead_of(values, events=[Event("ramp", begin, 2.0, ramp_s=100 * HOUR_S, until_s=begin + 120 * HOUR_S)])
    share = ramp.median.values / trend.median.values
    assert share[[0, 50, 100, 119, 120]] == pytest.approx([1.0, 1.5, 2.0, 2.0, 1.0])
    unsure = ahead_of(values, events=[Event("unsure", begin, Estimate(2.0, 1.0, 4.0))])
    factor = unsure.paths[:, 30] / trend.paths[:, 30]
    assert np.quantile(factor, [0.025, 0.975]) == pytest.approx([1.0, 4.0], rel=0.25)


def test_events_that_cannot_be_are_refused() -> None:
    values = hourly(1, HISTORY)
    end = START_S + HISTORY * HOUR_S
    for event, says in [
        (Event("past", START_S, 2.0), "is not after the history.*in the history already"),
        (Event("zero", end, 0.0), "a factor of 0.0; it must be more than 0"),
        (Event("odd", end, Estimate(5.0, 1.0, 2.0)), "outside its own interval"),
        (Event("short", end, 2.0, until_s=end - 1), "before it begins"),
    ]:
        with pytest.raises(InputError, match=says):
            ahead_of(values, events=[event])
    late = ahead_of(values, events=[Event("late", end + 1e9, 2.0)])
    assert any("after the horizon" in finding.what for finding in late.findings)


def test_the_lead_time_moves_the_peak() -> None:
    values = hourly(5, HISTORY, trend=3.0)
    made = ahead_of(values, 72, lead_s=96 * HOUR_S)
    assert len(made.median.values) == 168 and made.peak_until_arrival is not None
    arrival = START_S + (HISTORY + 96) * HOUR_S
    assert made.peak_until_arrival.at_s < arrival <= made.peak.at_s
    assert made.peak.hold.value == pytest.approx(float(np.quantile(made.paths[:, 96:].max(axis=1), 0.95)))


# --- bad input ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"hours": 0}, "a horizon of 0.0 s"),
        ({"hours": math.inf}, "a horizon of inf s"),
        ({"lead_s": -1.0}, "a lead time of -1.0 s"),
        ({"levels": (95.0,)}, "a level of 95.0"),
        ({"percentile": 1.0}, "a level of 1.0"),
        ({"hours": 10_000}, "beyond twice the history nothing can be tested"),
        ({"hours": 10**9}, "too many steps"),
        ({"seasons": ["moon"]}, "no season 'moon'"),
    ],
)
def test_impossible_wishes_are_refused(options: dict[str, object], says: str) -> None:
    with pytest.raises(InputError, match=says):
        ahead_of(hourly(1, 400), **options)  # type: ignore[arg-type]


def test_far_horizons_are_forced_and_said() -> None:
    made = ahead_of(hourly(1, 200), 500, force=True)
    assert any(f.kind is Kind.HORIZON and "by force" in f.what for f in made.findings) and len(made.median.values) == 500


def test_a_short_history_is_naive_untested_and_says_so() -> None:
    made = ahead_of(np.r_[np.arange(13.0), 3.0], 3, seasons=[6 * HOUR_S])
    assert made.model == NAIVE and made.scores == () and made.tested_s == 0
    assert any(f.kind is Kind.MODEL and "too short to test" in f.what for f in made.findings)


def test_a_horizon_beyond_what_was_tested_is_said() -> None:
    made = ahead_of(hourly(6, 28 * 24), 28 * 24)
    assert Kind.HORIZON in kinds(made) and made.tested_s < 28 * 24 * HOUR_S


def test_outliers_are_said_and_loads_never_go_below_zero() -> None:
    values = np.maximum(hourly(7, HISTORY, noise=0.3, days=0.8) - 600.0, 0.0)
    values[500] = 20_000.0
    made = ahead_of(values)
    assert Kind.OUTLIER in kinds(made) and made.paths.min() >= 0.0 and made.median.values.min() >= 0.0
    below = ahead_of(hourly(7, HISTORY) - 1_000.0, allow_negative=True)
    assert below.paths.min() < 0.0


def test_holes_up_to_a_fifth_are_bridged_and_said() -> None:
    values = hourly(8, HISTORY, trend=1.0)
    values[np.random.default_rng(1).random(HISTORY) < 0.1] = np.nan
    made = ahead_of(values)
    assert Kind.FILLED in kinds(made) and made.beats_naive
