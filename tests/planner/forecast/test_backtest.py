"""The backtest judges fairly: no model sees what it is judged on, naive is the bar, and coverage is what it says."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loggos.base.limits import FORECAST_ORIGINS_MAX
from loggos.planner.forecast.backtest import backtest, origins_of
from loggos.planner.forecast.history import History, history_of
from loggos.planner.forecast.models import NAIVE, Fitted, Generator, Training
from loggos.planner.observe.findings import Ledger
from loggos.planner.types import Floats
from tests.planner.forecast.loads import hourly, series


@dataclass(frozen=True)
class Flat:
    """Forecasts one number, with normal noise of known spread."""

    value: float
    spread: float

    def median(self, steps: int) -> Floats:
        return np.full(steps, self.value)

    def paths(self, steps: int, count: int, rng: Generator) -> Floats:
        return self.value + self.spread * rng.standard_normal((count, steps))


def noise(seed: int, size: int = 600) -> History:
    return history_of(series(np.random.default_rng(seed).normal(100.0, 5.0, size)), Ledger())


@given(st.integers(12, 20_000), st.integers(1, 2_016), st.integers(1, 20_000))
def test_origins_leave_room_on_both_sides(size: int, season: int, steps: int) -> None:
    origins, stretch = origins_of(size, season, steps)
    assert len(origins) <= FORECAST_ORIGINS_MAX and list(origins) == sorted(set(origins))
    for origin in origins:
        assert origin >= 3 * season and origin >= size // 2 - 1 and origin + stretch <= size
    assert not origins or (1 <= stretch <= steps and origins[-1] + stretch == size)


def test_a_model_sees_what_came_before_and_nothing_else() -> None:
    history = noise(1)
    seen: list[Floats] = []

    def spy(training: Training) -> Fitted:
        seen.append(training.raw)
        return Flat(100.0, 5.0)

    tested = backtest(history, (), 50, np.random.default_rng(1), [("spy", spy)])
    origins, stretch = origins_of(600, 1, 50)
    assert [len(window) for window in seen] == list(origins) and stretch == tested.stretch_steps == 50
    assert all(np.array_equal(window, history.values[: len(window)]) for window in seen)


@pytest.mark.parametrize(("spread", "expected"), [(5.0, (0.8, 0.95)), (2.5, (0.478, 0.673)), (10.0, (0.990, 0.9999))])
def test_coverage_is_that_of_the_interval_and_spread_mends_it(spread: float, expected: tuple[float, float]) -> None:
    """Normal noise of 5 judged by intervals of 5, half and twice as wide: the normal distribution says what they cover."""
    tested = backtest(noise(2, 4_000), (), 200, np.random.default_rng(1), [("flat", lambda training: Flat(100.0, spread))])
    score = tested.score("flat")
    assert score is not None and score.coverage == pytest.approx(expected, abs=0.04)
    assert score.spread == pytest.approx(5.0 / spread, rel=0.08)


def test_the_true_mean_beats_naive_and_is_chosen() -> None:
    tested = backtest(noise(3), (), 50, np.random.default_rng(1), [("flat", lambda training: Flat(100.0, 5.0))])
    naive, flat = tested.score(NAIVE), tested.score("flat")
    assert tested.chosen == "flat" and naive is not None and flat is not None
    assert flat.mase < naive.mase and flat.wins > flat.origins / 2


def test_nothing_better_means_naive() -> None:
    tested = backtest(noise(4), (), 50, np.random.default_rng(1), [("wrong", lambda training: Flat(500.0, 5.0))])
    assert tested.chosen == NAIVE and [score.model for score in tested.scores] == [NAIVE, "wrong"]


def test_being_as_good_as_naive_is_not_enough() -> None:
    last = [("copy", lambda training: Flat(float(training.raw[-1]), 5.0))]
    assert backtest(noise(5), (), 50, np.random.default_rng(1), last).chosen == NAIVE


def test_models_that_cannot_be_fitted_or_explode_are_left_out() -> None:
    models = [("none", lambda training: None), ("explodes", lambda training: Flat(float("inf"), 1.0))]
    tested = backtest(noise(6), (), 50, np.random.default_rng(1), models)
    assert [score.model for score in tested.scores] == [NAIVE]


def test_mase_of_naive_one_season_ahead_is_about_one() -> None:
    history = history_of(series(hourly(7, 2_016, noise=0.05)), Ledger())
    score = backtest(history, (24, 168), 168, np.random.default_rng(1), []).score(NAIVE)
    assert score is not None and score.mase == pytest.approx(1.0, abs=0.05)


def test_values_that_were_filled_in_are_not_judged_on() -> None:
    values = np.random.default_rng(8).normal(100.0, 5.0, 600)
    history = history_of(series(values), Ledger())
    spoiled, measured = values.copy(), np.ones(600, dtype=bool)
    spoiled[400:440], measured[400:440] = 1e6, False
    models = [("flat", lambda training: Flat(100.0, 5.0))]
    bad = History("x", "", history.start_s, history.step_s, spoiled, measured)
    score = backtest(bad, (), 50, np.random.default_rng(1), models).score("flat")
    assert score is not None and score.coverage[1] > 0.9


def test_too_short_to_test_is_naive_untested() -> None:
    history = history_of(series(np.r_[np.arange(12.0), 3.0]), Ledger())
    tested = backtest(history, (6,), 5, np.random.default_rng(1))
    assert tested.chosen == NAIVE and tested.scores == () and tested.stretch_steps == 0
