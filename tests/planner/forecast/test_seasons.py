"""Seasons and shifts of level that are there are found; ones that are not, are not."""

from __future__ import annotations

import numpy as np
import pytest

from loggos.base.errors import InputError
from loggos.planner.forecast.history import history_of
from loggos.planner.forecast.seasons import level_shifts, moving_average, phase_levels, phase_medians, seasons_of, without_shifts
from loggos.planner.observe.findings import Kind, Ledger
from loggos.planner.types import Floats
from tests.planner.forecast.loads import hourly, series


def found(values: Floats, step_s: float = 3_600.0) -> tuple[int, ...]:
    return seasons_of(history_of(series(values, step_s), Ledger(), allow_negative=True), None, Ledger())


@pytest.mark.parametrize("seed", range(5))
def test_days_and_weeks_are_found_and_only_where_they_are(seed: int) -> None:
    assert found(hourly(seed, 2_016)) == (24, 168)
    assert found(hourly(seed, 2_016, weeks=0.0)) == (24,)
    assert found(hourly(seed, 2_016, days=0.0)) == (168,)
    assert found(hourly(seed, 2_016, trend=1.0, spikes=0.01, noise=0.1)) == (24, 168)


@pytest.mark.parametrize("seed", range(20))
def test_noise_has_no_seasons(seed: int) -> None:
    rng = np.random.default_rng(seed)
    assert found(rng.normal(100.0, 1.0, 1_000)) == ()
    assert found(np.cumsum(rng.normal(0.0, 1.0, 1_000))) == ()


def test_daily_points_have_weeks_and_minutes_have_hours() -> None:
    weeks = np.tile([9.0, 9, 9, 9, 9, 4, 4], 20) + np.random.default_rng(1).normal(0, 0.5, 140)
    assert found(weeks, 86_400.0) == (7,)
    hours = np.tile(np.r_[np.full(10, 5.0), np.zeros(50)], 30) + np.random.default_rng(1).normal(20, 1, 1_800)
    assert found(hours, 60.0) == (60,)


def test_a_season_that_is_too_long_to_see_is_said() -> None:
    ledger = Ledger()
    assert seasons_of(history_of(series(hourly(1, 14 * 24)), Ledger()), None, ledger) == (24,)
    [finding] = ledger.findings()
    assert finding.kind is Kind.SEASON and "14 d are too short to show whether load follows the week" in finding.what


def test_named_seasons_are_taken_or_refused() -> None:
    history = history_of(series(hourly(1, 14 * 24)), Ledger())
    assert seasons_of(history, ["week", "day"], Ledger()) == (24, 168)
    assert seasons_of(history, [12 * 3_600.0], Ledger()) == (12,)
    assert seasons_of(history, [], Ledger()) == ()
    for wrong, says in [("moon", "no season 'moon'"), (5_000.0, "is not 2 to"), (10 * 86_400.0, "do not hold two seasons")]:
        with pytest.raises(InputError, match=says):
            seasons_of(history, [wrong], Ledger())  # type: ignore[list-item]


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("shift", [0.5, -0.3])
def test_a_shift_is_found_at_its_place_and_size(seed: int, shift: float) -> None:
    values = hourly(seed, 4_032, trend=0.2, shift=shift, spikes=0.002)
    [step] = level_shifts(values, (24, 168))
    assert abs(step.at - 0.55 * 4_032) <= 24
    assert step.size == pytest.approx(1_000 * shift, rel=0.15)
    assert level_shifts(without_shifts(values, [step]), (24, 168)) == ()


@pytest.mark.parametrize("seed", range(5))
def test_growth_noise_and_outliers_are_no_shifts(seed: int) -> None:
    for options in ({"trend": 1.0}, {"growth": 1.0}, {"memory": 0.9, "noise": 0.1}, {"spikes": 0.01}):
        assert level_shifts(hourly(seed, 4_032, **options), (24, 168)) == ()
    kink = np.maximum(np.arange(4_032) - 2_000, 0) * 0.2 + 1_000 + np.random.default_rng(seed).normal(0, 10, 4_032)
    assert level_shifts(kink, ()) == ()


def test_too_few_blocks_show_no_shift() -> None:
    assert level_shifts(np.r_[np.zeros(5), np.ones(5)], ()) == ()


def test_averages_and_phases() -> None:
    line = np.arange(20.0)
    assert np.allclose(moving_average(line, 5)[2:-2], line[2:-2])
    assert moving_average(line, 1).tolist() == [9.5] * 20
    assert phase_medians(np.tile([1.0, 2.0, 6.0], 5), 3).tolist() == [-1.0, 0.0, 4.0]
    assert phase_levels(np.r_[3.0, np.tile([1.0, 2.0, 3.0], 6), 1.0, 50.0, -9.0], 3).tolist() == [1.0, -1.0, 0.0]
    assert phase_medians(np.array([1.0, 2.0, 6.0, 3.0]), 3).tolist() == [0.0, 0.0, 4.0]
