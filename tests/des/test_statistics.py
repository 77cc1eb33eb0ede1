"""Quantiles, intervals, Student's t and the end of a warm-up."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from loggos.base.errors import InputError
from loggos.des.statistics import Estimate, mean, over_runs, quantile, quantile_of, sectioned, student_t, warm_up


@pytest.mark.parametrize("freedom", [*range(1, 31), 60, 120, 1000])
@pytest.mark.parametrize("confidence", [0.5, 0.9, 0.95, 0.999])
def test_students_t(freedom: int, confidence: float) -> None:
    assert student_t(confidence, freedom) == pytest.approx(stats.t.ppf((1.0 + confidence) / 2.0, freedom), rel=1e-9)


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=50), st.floats(0, 1))
def test_quantiles(values: list[float], share: float) -> None:
    expected = float(np.quantile(values, share))
    assert quantile(sorted(values), share) == pytest.approx(expected, rel=1e-9, abs=1e-6)
    assert quantile_of(share)(values) == quantile(sorted(values), share)


def test_an_interval_over_runs() -> None:
    estimate = over_runs([10.0, 12.0, 14.0])
    assert estimate == pytest.approx((12.0, 12.0 - 4.302653 * 2.0 / math.sqrt(3.0), 12.0 + 4.302653 * 2.0 / math.sqrt(3.0)))
    assert str(Estimate(12.0, 7.0, 17.0)) == "12 ± 5" and str(Estimate(23456.7, 23106.7, 23806.7)) == "23457 ± 350"
    with pytest.raises(InputError, match="at least two"):
        over_runs([1.0])


@pytest.mark.parametrize("share", [0.5, 0.95])
def test_intervals_of_a_run_hold_the_truth_as_often_as_they_say(share: float) -> None:
    """A process whose values depend on the one before, uniform from 0 to 10: in 200 runs the truth is in about 95 %."""
    held = means = 0
    for seed in range(200):
        dice, values, level = random.Random(seed), list[float](), 0.0
        for _ in range(2_000):
            level = dice.uniform(-1.0, 1.0) if dice.random() < 0.2 else level  # constant for five values on average
            values.append(5.0 + 5.0 * level)
        estimate = sectioned(values, quantile_of(share))
        held += estimate.low <= 10.0 * share <= estimate.high
        average = sectioned(values)
        means += average.low <= 5.0 <= average.high
    assert 176 <= held <= 200 and 180 <= means <= 199


def test_a_run_that_is_too_short_has_no_interval() -> None:
    with pytest.raises(InputError, match="run for longer"):
        sectioned([1.0] * 30)


def test_the_warm_up_ends_where_the_level_is_reached() -> None:
    dice = random.Random(1)
    values = [10.0 * (1.0 - math.exp(-number / 100.0)) + dice.gauss(0.0, 0.5) for number in range(4_000)]
    cut = warm_up(values)
    assert 200 <= cut <= 800
    assert abs(mean(values[cut:]) - 10.0) < 0.05 < abs(mean(values) - 10.0)
    assert warm_up([dice.gauss(0.0, 1.0) for _ in range(4_000)]) <= 2_000
    assert warm_up([1.0, 2.0]) == 0
