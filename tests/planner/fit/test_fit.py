"""Fitting: the truth is found again within its interval, the right model is chosen, and what cannot be fitted is refused."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loggos.base.errors import InputError
from loggos.planner.fit import models
from loggos.planner.fit.fit import Fit, fit, held_back_error, usl_peak
from loggos.planner.fit.models import AMDAHL, LINEAR, POWER, USL, Model
from loggos.planner.fit.points import Points, points
from loggos.planner.maths import queues
from loggos.planner.types import Floats

LOADS = np.array([1, 2, 4, 8, 12, 16, 24, 32, 48, 64, 96, 128], dtype=np.float64)


def noisy(model: Model, truth: list[float], loads: Floats, spread: float, seed: int, relative: bool = True) -> Points:
    chance = np.random.default_rng(seed)
    exact = model.curve(loads, np.array(truth))
    noise = chance.normal(0, spread, loads.size)
    return points(loads, exact * (1 + noise) if relative else np.maximum(0, exact + noise))


@given(st.floats(0.001, 0.3), st.floats(1e-5, 1e-3), st.floats(1, 1e5))
@settings(max_examples=25)
def test_exact_points_of_the_scalability_law_give_it_back(alpha: float, beta: float, gamma: float) -> None:
    fitted = fit(USL, noisy(USL, [alpha, beta, gamma], LOADS, 0, 0))
    found = [estimate.value for estimate in fitted.parameters.values()]
    assert np.allclose(found, [alpha, beta, gamma], rtol=1e-4)
    assert fitted.r_squared == pytest.approx(1)


CASES: list[tuple[Model, list[float], Floats, float]] = [
    (USL, [0.03, 2e-4, 100.0], LOADS, 30.0),
    (AMDAHL, [0.03, 100.0], LOADS, 30.0),
    (LINEAR, [5.0, 2.0], LOADS, 8.0),
    (POWER, [10.0, 0.6], LOADS, 4.0),
    (models.queue_response(4), [0.1], np.linspace(4, 38, 12), 0.01),
    (models.general_response(4), [0.1, 2.0], np.linspace(4, 38, 12), 0.01),
    (models.demand(4), [0.05, 0.1], np.linspace(4, 36, 12), 0.02),
]


@pytest.mark.parametrize(("model", "truth", "loads", "spread"), CASES, ids=lambda case: getattr(case, "name", ""))
def test_intervals_hold_the_truth_as_often_as_they_say(model: Model, truth: list[float], loads: Floats, spread: float) -> None:
    """Of 40 experiments, 95 % intervals (parameters, one more measurement) hold 38 on average, 33 or fewer 3 times in 1,000."""
    runs = 40
    held = np.zeros(len(truth) + 1)
    for seed in range(runs):
        fitted = fit(model, noisy(model, truth, loads, spread, seed, relative=False))
        for place, (value, estimate) in enumerate(zip(truth, fitted.parameters.values(), strict=True)):
            held[place] += estimate.low <= value <= estimate.high
        load = float(loads[5]) * 1.1
        again = float(model.curve(np.array([load]), np.array(truth))[0]) + np.random.default_rng(10_000 + seed).normal(0, spread)
        held[-1] += fitted.predict(load).low <= again <= fitted.predict(load).high
    assert (held > 33).all(), held


@pytest.mark.parametrize(
    ("truth", "parameters"), [(USL, [0.03, 4e-4, 100.0]), (AMDAHL, [0.05, 100.0]), (LINEAR, [60.0, 9.0]), (POWER, [30.0, 0.5])]
)
def test_the_model_that_made_the_points_is_chosen(truth: Model, parameters: list[float]) -> None:
    fitted = fit([LINEAR, POWER, AMDAHL, USL], noisy(truth, parameters, LOADS, 0.005, 4))
    assert fitted.model is truth, fitted.words
    assert fitted.words.startswith(f"{truth.name} is {truth.words}. It was fitted to 12 points; when some were held back")
    assert [rival.held_back_error for rival in fitted.rivals] == sorted(rival.held_back_error for rival in fitted.rivals)
    assert fitted.held_back_error <= min(rival.held_back_error for rival in fitted.rivals) * 1.01


def test_the_number_of_servers_is_found_from_response_times() -> None:
    arrivals = np.linspace(2, 19, 12)
    chance = np.random.default_rng(3)
    times = np.array([queues.mmc(arrival, 0.2, 4).response_s for arrival in arrivals]) * chance.normal(1, 0.01, 12)
    measured = points(arrivals, times, "response_s")
    fitted = fit([models.queue_response(servers) for servers in (1, 2, 4, 8)], measured, relative=True)
    assert fitted.model.name == "M/M/4"
    assert fitted.parameters["service_s"].low <= 0.2 <= fitted.parameters["service_s"].high
    assert fitted.valid_range[1] == pytest.approx(20, rel=0.02), "saturation ends it before twice the largest load does"
    assert "It saturates at" in fitted.words
    with pytest.raises(InputError, match=r"M/M/4 saturates at .* it cannot carry 25"):
        fitted.predict(25, force=True)


def test_variability_is_found_from_response_times() -> None:
    arrivals = np.linspace(2, 9.5, 10)
    times = np.array([queues.ggc(arrival, 0.1, 1, 1.0, 4.0).response_s for arrival in arrivals])
    fitted = fit([models.queue_response(), models.general_response()], points(arrivals, times, "response_s"), relative=True)
    assert fitted.model.name == "G/G/1"
    assert fitted.parameters["variability"].value == pytest.approx(2.5, rel=1e-4)
    service_cv2 = fitted.derive(lambda p: 2 * float(p[1]) - 1)
    assert service_cv2.value == pytest.approx(4, rel=1e-3)


def test_the_demand_is_found_from_utilisation() -> None:
    rates = np.linspace(5, 70, 8)
    fitted = fit(models.demand(servers=4), points(rates, 0.02 + rates * 0.05 / 4, "utilisation"))
    assert fitted.parameters["demand_s"].value == pytest.approx(0.05)
    assert fitted.parameters["background"].value == pytest.approx(0.02)
    assert fitted.predict(75).value == pytest.approx(0.02 + 75 * 0.05 / 4)
    with pytest.raises(InputError, match=r"demand on 4 saturates at 78\.4"):
        fitted.predict(80)


def test_a_prediction_is_wider_than_a_mean_and_wider_further_out() -> None:
    fitted = fit(USL, noisy(USL, [0.03, 2e-4, 100.0], LOADS, 0.02, 1))
    inside, outside = fitted.predict(60), fitted.predict(250)
    mean = fitted.mean(60)
    assert inside.low < mean.low < mean.value == inside.value < mean.high < inside.high
    assert outside.high - outside.low > inside.high - inside.low
    assert fit(USL, fitted.points, level=0.5).predict(60).high < inside.high
    assert fitted.predict(0).low == 0.0


def test_next_to_saturation_nothing_is_sure() -> None:
    arrivals = np.linspace(2, 9, 10)
    chance = np.random.default_rng(8).normal(1, 0.02, 10)
    times = np.array([queues.mm1(arrival, 0.1).response_s for arrival in arrivals]) * chance
    fitted = fit(models.queue_response(), points(arrivals, times, "response_s"), relative=True)
    near = fitted.valid_range[1] * (1 - 1e-9)
    assert fitted.predict(near).high == np.inf and fitted.predict(near).low == 0.0
    assert fitted.parameters["service_s"].high <= 1 / 9, "a load of 9 was carried"


def test_the_peak_has_an_interval_that_holds_it() -> None:
    load, throughput = usl_peak(fit(USL, noisy(USL, [0.03, 4e-4, 100.0], LOADS, 0.01, 2)))
    assert load.low < ((1 - 0.03) / 4e-4) ** 0.5 < load.high < 2 * load.low
    assert throughput.low < throughput.value < throughput.high < 1.2 * throughput.low
    with pytest.raises(InputError, match="linear has no peak"):
        usl_peak(fit(LINEAR, points([1, 2, 3, 4], [1, 2, 3, 4.1])))


def test_ordered_points_are_judged_by_what_came_after_them() -> None:
    """A system that slows down with time: its past predicts it badly, while its neighbours hide it."""
    loads = np.tile([10.0, 20, 30, 40], 6)
    rates = loads * np.linspace(1, 0.5, loads.size)
    shuffled = Points(loads, rates)
    in_time = Points(loads, rates, ordered=True)
    assert held_back_error(LINEAR, in_time) > 1.3 * held_back_error(LINEAR, shuffled)
    assert "each was predicted from those before it" in fit(LINEAR, in_time).words


def test_a_fit_of_relative_errors_counts_small_values_as_much_as_large_ones() -> None:
    measured = noisy(POWER, [1.0, 2.0], LOADS, 0.05, 5)
    relative, absolute = fit(POWER, measured, relative=True), fit(POWER, measured)
    miss: Callable[[Fit], float] = lambda fitted: float(np.abs(fitted.values(LOADS) / LOADS**2 - 1).max())
    assert miss(relative) < miss(absolute)
    assert relative.residual_standard_error == pytest.approx(0.05, rel=0.5)
    assert relative.predict(2).high - relative.predict(2).low < 0.5 * (absolute.predict(2).high - absolute.predict(2).low)


@pytest.mark.parametrize(
    ("load", "value", "words"),
    [
        ([1, 2, 3], [1, 2, 3], "3 points at 3 loads are too few for usl: measure 4 points or more, at 3 different loads or more"),
        ([1, 1, 2, 2, 2], [1, 1.1, 2, 2.1, 2.2], "5 points at 2 loads are too few for usl"),
        ([], [], "0 points at 0 loads are too few"),
        ([5] * 6, [1, 2, 3, 4, 5, 6], "load is 5 at all 6 points: measure at other loads too"),
        ([1, 2, 3, 4, 5], [7, 7, 7, 7, 7], "throughput_per_s is 7 at every load from 1 to 5: measure at loads low enough"),
        (
            [1, 2, 3, 4, 5, 6, 7, 8],
            [5, 1, 6, 2, 5, 1, 6, 2],
            "noise is larger than signal for usl: it explains 0% of the variation",
        ),
    ],
)
def test_what_cannot_be_fitted_is_refused_with_what_to_measure(load: list[float], value: list[float], words: str) -> None:
    with pytest.raises(InputError) as caught:
        fit(USL, points(load, value))
    assert words in str(caught.value) and "measure" in str(caught.value)


def test_a_model_that_fails_leaves_the_others() -> None:
    fitted = fit([USL, LINEAR], points([1, 2, 3], [1, 2.1, 2.9]))
    assert fitted.model is LINEAR
    assert "usl could not be fitted: 3 points at 3 loads are too few for usl" in fitted.words
    with pytest.raises(InputError, match="no model to fit"):
        fit([], fitted.points)


def test_points_that_leave_a_parameter_open_are_refused() -> None:
    """Response times of an idle system say nothing of its variability."""
    arrivals = np.array([0.0, 0.0, 1e-12, 1e-12, 2e-12])
    with pytest.raises(InputError, match="do not determine variability of G/G/1"):
        fit(models.general_response(), points(arrivals, [0.1, 0.11, 0.1, 0.1, 0.12], "response_s"))
