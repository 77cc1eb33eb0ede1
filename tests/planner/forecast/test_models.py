"""Each model against what is known of it: formulas, a library's own forecast, and recovery of a known truth."""

from __future__ import annotations

import numpy as np
import pytest
from statsmodels.tsa.exponential_smoothing.ets import ETSModel

from loggos.planner.forecast.models import (
    MODELS,
    Smoothing,
    TheilSen,
    drawn_blocks,
    fit_seasonal_naive,
    fit_smoothing,
    fit_smoothing_multiplicative,
    fit_theil_sen,
    fit_theil_sen_log,
    training_of,
)
from tests.planner.forecast.loads import hourly


def test_blocks_stay_together() -> None:
    source = np.arange(100.0)
    drawn = drawn_blocks(source, 10, 25, 50, np.random.default_rng(1))
    assert drawn.shape == (50, 25)
    steps = np.diff(drawn, axis=1)
    assert np.all(steps[:, [i for i in range(24) if i not in (9, 19)]] == 1.0)
    assert drawn_blocks(np.ones(3), 10, 7, 2, np.random.default_rng(1)).shape == (2, 7)


def test_seasonal_naive_repeats_and_its_variance_grows_by_the_season() -> None:
    values = np.tile([1.0, 5.0, 3.0], 200) + np.random.default_rng(1).normal(0.0, 1.0, 600)
    fitted = fit_seasonal_naive(training_of(values, (3,)))
    assert fitted is not None
    assert fitted.median(7).tolist() == [*values[-3:], *values[-3:], values[-3]]
    paths = fitted.paths(12, 4_000, np.random.default_rng(2))
    once = (values[3:] - values[:-3]).var()  # about 2; k of them are added up k seasons ahead
    assert paths.var(axis=0)[[0, 3, 6, 9]] == pytest.approx([once, 2 * once, 3 * once, 4 * once], rel=0.08)


def test_theil_sen_finds_the_slope_through_outliers() -> None:
    rng = np.random.default_rng(3)
    values = 1_000.0 + 0.5 * np.arange(1_000) + rng.normal(0.0, 20.0, 1_000)
    values[rng.random(1_000) < 0.2] += 3_000.0
    fitted = fit_theil_sen(training_of(values, ()))
    assert isinstance(fitted, TheilSen)
    assert abs(fitted.slope - 0.5) < 4 * fitted.slope_error < 0.2
    assert fitted.median(100)[-1] == pytest.approx(1_000 + 0.5 * 1_099, rel=0.02)


def test_theil_sen_of_logarithms_finds_growth_in_percent() -> None:
    values = hourly(4, 8_760, growth=0.5)
    fitted = fit_theil_sen_log(training_of(values, (24, 168)))
    assert isinstance(fitted, TheilSen)
    assert fitted.slope * 8_760 == pytest.approx(0.5, abs=0.02)
    truth = hourly(4, 8_760 + 672, growth=0.5, noise=0.0)[8_760:]
    assert np.abs(fitted.median(672) / truth - 1).mean() < 0.02


@pytest.mark.parametrize("kind", ["add", "mul"])
def test_smoothing_forecasts_what_the_library_forecasts(kind: str) -> None:
    values = hourly(5, 8 * 168, noise=0.02)
    fit = fit_smoothing if kind == "add" else fit_smoothing_multiplicative
    training = training_of(values, (24, 168))
    fitted = fit(training)
    assert isinstance(fitted, Smoothing)
    scale = float(np.median(training.clean))
    model = ETSModel(
        training.clean / scale, error=kind, trend="add", damped_trend=True, seasonal=kind, seasonal_periods=168,
        initialization_method="heuristic",
    )  # fmt: skip
    library = model.smooth(np.array([fitted.alpha, fitted.beta, fitted.gamma, fitted.phi]))
    assert np.allclose(fitted.median(400), library.forecast(400) * scale, rtol=1e-9)
    assert library.llf > model.fit(disp=False).llf - 10.0  # of about 2,500: the same fit
    theirs = np.asarray(library.simulate(48, repetitions=4_000, anchor="end", rng=np.random.default_rng(1))) * scale
    ours = fitted.paths(48, 4_000, np.random.default_rng(2))
    assert ours.std(axis=0)[[0, 23, 47]] == pytest.approx(theirs.std(axis=1)[[0, 23, 47]], rel=0.12)


def test_loads_that_reach_zero_have_no_multiplicative_model() -> None:
    values = np.maximum(hourly(6, 1_000) - 1_000.0, 0.0)
    training = training_of(values, (24,))
    assert fit_theil_sen_log(training) is None and fit_smoothing_multiplicative(training) is None
    assert fit_theil_sen(training) is not None and fit_smoothing(training) is not None


@pytest.mark.parametrize("periods", [(), (24,), (24, 168)])
def test_every_model_gives_finite_paths_around_its_median(periods: tuple[int, ...]) -> None:
    seasonal = {"days": 0.3 * (24 in periods), "weeks": 0.15 * (168 in periods)}
    training = training_of(hourly(7, 1_344, spikes=0.005, **seasonal), periods)
    for name, fit in (("naive", fit_seasonal_naive), *MODELS):
        fitted = fit(training)
        assert fitted is not None, name
        paths = fitted.paths(200, 400, np.random.default_rng(1))
        assert paths.shape == (400, 200) and np.isfinite(paths).all(), name
        low, high = np.quantile(paths, [0.2, 0.8], axis=0)
        median = fitted.median(200)
        assert ((median >= low - 1e-9) & (median <= high + 1e-9)).mean() > 0.95, name


def test_outliers_are_set_aside_and_come_again_in_paths() -> None:
    values = hourly(8, 1_344, spikes=0.0, noise=0.02)
    values[[300, 700, 1_100]] += 5_000.0
    training = training_of(values, (24, 168))
    assert np.flatnonzero(training.spikes > 1_000).tolist() == [300, 700, 1_100]
    assert training.clean.max() < 2_000
    fitted = fit_theil_sen(training)
    assert fitted is not None
    paths = fitted.paths(336, 400, np.random.default_rng(1))
    assert 0.3 < (paths.max(axis=1) > 4_000).mean() < 0.9  # 3 in 1,344 hours: in 336 hours none with probability 0.47
