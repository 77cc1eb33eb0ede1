"""Cleaning against Prometheus' own worked examples, and against what is known of counters, clocks and grids."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loggos.base.errors import InputError
from loggos.planner.observe.clean import (
    counter_rate,
    counter_resets,
    filled,
    increases,
    present,
    prometheus_increase,
    prometheus_rate,
    regular,
    series_of,
)
from loggos.planner.observe.findings import Kind, Observation, Severity
from loggos.planner.types import Series

MINUTE = 60.0


def every(step_s: float, values: list[float], start_s: float = 0.0) -> Series:
    return Series("c", "", start_s + step_s * np.arange(len(values), dtype=np.float64), np.array(values, dtype=np.float64))


def ramp(start: float, step: float, count: int) -> list[float]:
    """Prometheus' "a+bxn": n + 1 values."""
    return [start + step * i for i in range(count + 1)]


# Prometheus, promql/promqltest/testdata/functions.test: "Tests for increase()", "Tests for rate()" (3.x). 5 minutes apart.
INCREASES = [
    (ramp(0, 10, 10), 50, 50, 100.0),
    (ramp(0, 18, 5) + ramp(0, 18, 5), 50, 50, 160.0),
    (ramp(10, 10, 10), 50, 50, 100.0),
    (ramp(1, 10, 10), 50, 50, 100.0),
    (ramp(0, 10, 10), 100, 50, 100.0),
    (ramp(0, 18, 5) + ramp(0, 18, 5), 100, 50, 162.0),
    (ramp(10, 10, 10), 100, 50, 105.0),
    (ramp(1, 10, 10), 100, 50, 101.0),
    ([0, 1, 2, 3, 2, 3, 4], 30, 30, 7.0),
]
RATES = [
    (ramp(0, 27, 4) + ramp(0, 27, 5), 50, 50, 0.08),
    ([*ramp(0, 10, 9), 0, 10], 6, 50, 0.0),
    (ramp(0, 80, 10), 50, 50, 0.26666666666666666),
    (ramp(0, 10, 10), 10, 45, 0.03333333333333333),
    (ramp(0, 20, 10), 10, 45, 0.06666666666666667),
]


@pytest.mark.parametrize(("values", "window_min", "at_min", "expected"), INCREASES)
def test_prometheus_increase(values: list[float], window_min: float, at_min: float, expected: float) -> None:
    assert prometheus_increase(every(5 * MINUTE, values), window_min * MINUTE, at_min * MINUTE) == pytest.approx(
        expected, rel=1e-12
    )


@pytest.mark.parametrize(("values", "window_min", "at_min", "expected"), RATES)
def test_prometheus_rate(values: list[float], window_min: float, at_min: float, expected: float) -> None:
    assert prometheus_rate(every(5 * MINUTE, values), window_min * MINUTE, at_min * MINUTE) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(("start", "expected"), [(0, 0.5), (60, 0.55), (120, 0.6), (180, 0.6), (300, 0.6)])
def test_prometheus_rate_is_not_extrapolated_past_zero(start: float, expected: float) -> None:
    """testcounter_zero_cutoff_total: 4 minutes apart, rate over 20 minutes at 10 minutes."""
    assert prometheus_rate(every(4 * MINUTE, ramp(start, 240, 10)), 20 * MINUTE, 10 * MINUTE) == pytest.approx(expected)


def test_one_point_in_the_window_gives_no_rate() -> None:
    assert prometheus_rate(every(5 * MINUTE, [*ramp(0, 10, 9), 0, 10]), 5 * MINUTE, 50 * MINUTE) is None


def test_a_reset_counts_from_zero_and_is_said_with_its_time() -> None:
    rate, findings = counter_rate(every(10.0, [100, 150, 5, 25], start_s=1.7e9))
    assert rate.values.tolist() == [5.0, 0.5, 2.0] and rate.unit == "1/s"
    [reset] = findings
    assert reset.kind is Kind.RESET and reset.where == "2023-11-14T22:13:40Z" and "150 to 5" in reset.what


def test_many_resets_are_counted_through_every_step() -> None:
    saws = every(10.0, [*ramp(0, 1, 19), *ramp(0, 1, 19)] * 5)  # nine resets
    for findings in (increases(saws).findings, counter_rate(saws).findings):
        assert [f.what for f in findings if f.kind is Kind.RESET][5:] == ["and 4 more: counter reset"]


def test_resets_are_seen_in_counters_only_and_in_all_of_them() -> None:
    points = every(10.0, [100, 150, 5, 25], start_s=1.7e9)
    named = {name: Series(name, "", points.times_s, points.values) for name in ("a_total", "told", "gauge")}
    single = Series("b_total", "", points.times_s[:1], points.values[:1])
    below = Series("c_total", "", points.times_s, -points.values)
    found = Observation((*named.values(), single, below), (), {"told": "counter", "gauge": "gauge"})
    first, second, negative = counter_resets(found)
    assert first == increases(named["a_total"]).findings[0] and second.what.startswith("told fell from 150 to 5: it was reset")
    assert negative.kind is Kind.NEGATIVE and "c_total is -150" in negative.what
    assert counter_resets(Observation((named["gauge"],), (), {"gauge": "gauge"})) == ()


def test_a_gauge_taken_for_a_counter_is_suspected() -> None:
    _, findings = increases(every(10.0, [5, 3, 6, 2, 7, 1, 8, 2, 9, 1]))
    assert any(f.severity is Severity.SERIOUS and "is it a counter" in f.what for f in findings)


def test_a_negative_counter_and_a_single_point_are_refused() -> None:
    with pytest.raises(InputError, match="a counter is never below 0"):
        counter_rate(every(10.0, [1, -2, 3]))
    with pytest.raises(InputError, match="two scrapes at least"):
        counter_rate(every(10.0, [1]))


def test_no_rate_is_given_over_a_gap_unless_asked_for() -> None:
    times = np.array([0, 10, 20, 30, 100, 110, 120], dtype=np.float64) + 1.7e9
    counter = Series("c", "", times, (times - 1.7e9) * 3)
    rate, findings = counter_rate(counter)
    assert rate.values.tolist() == [3.0] * 5 and 1.7e9 + 100 not in rate.times_s
    assert [f.kind for f in findings] == [Kind.GAP] and findings[0].where == "2023-11-14T22:13:50Z"
    assert counter_rate(counter, across_gaps=True).series.values.tolist() == [3.0] * 6


@given(st.lists(st.integers(0, 1000), min_size=2, max_size=30), st.lists(st.booleans(), min_size=30, max_size=30))
def test_what_a_counter_counted_is_found_again_whatever_resets(counts: list[int], restarts: list[bool]) -> None:
    """Increases of a process that is restarted just after a scrape: nothing is lost, so the sums agree."""
    shown, level = [0.0], 0.0
    lost_nothing = 0
    for count, restart in zip(counts, restarts, strict=False):
        if restart and count < level:  # a restart that shows: the new value is below the old one
            level = 0.0
        level += count
        shown.append(level)
        lost_nothing += count
    grown, _ = increases(every(1.0, shown))
    assert grown.values.sum() == pytest.approx(lost_nothing)


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("mean", [1.5, 3.0]),
        ("max", [2, 3]),
        ("min", [1, 3]),
        ("sum", [3, 3]),
        ("last", [2, 3]),
        ("first", [1, 3]),
        ("count", [2, 1]),
    ],
)
def test_a_grid_follows_its_rule(rule: str, expected: list[float]) -> None:
    series = Series("x", "", np.array([61.0, 119.0, 180.0]), np.array([1.0, 2.0, 3.0]))
    grid, findings = regular(series, 60.0, rule)  # type: ignore[arg-type]
    assert grid.times_s.tolist() == [60.0, 120.0, 180.0]
    assert grid.values[[0, 2]].tolist() == expected and np.isnan(grid.values[1])
    assert [f.kind for f in findings][-1] is Kind.MISSING


def test_only_gaps_that_are_short_enough_are_filled() -> None:
    nan = float("nan")
    series = every(60.0, [nan, 1, nan, 3, nan, nan, nan, 7, nan])
    linear, findings = filled(series, "linear", 120.0)
    assert linear.values[:4].tolist()[1:] == [1, 2, 3] and np.isnan(linear.values[[0, 4, 5, 6, 8]]).all()
    assert [f.kind for f in findings] == [Kind.GAP, Kind.GAP, Kind.GAP, Kind.FILLED]
    previous = filled(series, "previous", 200.0).series.values
    assert previous[1:].tolist() == [1, 1, 3, 3, 3, 3, 7, 7] and np.isnan(previous[0])
    assert filled(series, "zero", 200.0).series.values.tolist() == [0, 1, 0, 3, 0, 0, 0, 7, 0]
    assert present(series).values.tolist() == [1, 3, 7]


def test_impossible_grids_are_refused() -> None:
    with pytest.raises(InputError, match="is a time wrong"):
        regular(Series("x", "", np.array([0.0, 1e15]), np.array([1.0, 2.0])), 1.0)
    with pytest.raises(InputError, match="it must be more than 0"):
        regular(every(1.0, [1, 2]), 0.0)
    with pytest.raises(InputError, match="no rule"):
        regular(every(1.0, [1, 2]), 1.0, "median")  # type: ignore[arg-type]


def test_raw_points_are_put_in_order() -> None:
    times, values = np.array([3.0, 1.0, 2.0, 2.0, np.nan]), np.array([30.0, 10.0, 20.0, 21.0, 5.0])
    series, findings = series_of("x", "1/s", times, values)
    assert series.times_s.tolist() == [1, 2, 3] and series.values.tolist() == [10, 21, 30]
    assert {f.kind for f in findings} == {Kind.MISSING, Kind.OUT_OF_ORDER, Kind.DUPLICATE}


@given(st.lists(st.tuples(st.floats(0, 1e5), st.floats(-1e6, 1e6)), min_size=1, max_size=50), st.floats(0.5, 1e4))
def test_a_grid_keeps_the_sum_and_every_mean_lies_within(points: list[tuple[float, float]], step_s: float) -> None:
    times, values = np.array([p[0] for p in points]), np.array([p[1] for p in points])
    series = series_of("x", "", times, values, duplicates="mean").series
    total = regular(series, step_s, "sum").series.values
    assert np.nansum(total) == pytest.approx(series.values.sum(), rel=1e-9, abs=1e-6)
    grid = regular(series, step_s, "mean").series
    assert np.allclose(np.diff(grid.times_s), step_s, rtol=1e-6)
    assert np.nanmin(grid.values) >= series.values.min() - 1e-6 and np.nanmax(grid.values) <= series.values.max() + 1e-6
