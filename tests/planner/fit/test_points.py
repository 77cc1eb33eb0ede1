"""Measurements that are none are refused, with their place and what to do."""

from __future__ import annotations

import math

import numpy as np
import pytest

from loggos.base.errors import InputError
from loggos.planner.fit.points import Points, of_series, points, rate
from loggos.planner.types import Series


def series(values: list[float], times_s: list[float] | None = None, source: str = "load.csv") -> Series:
    times = times_s if times_s is not None else [60.0 * place for place in range(len(values))]
    return Series("requests_total", "requests", np.array(times), np.array(values, dtype=np.float64), {}, source)


@pytest.mark.parametrize(
    ("load", "value", "words"),
    [
        ([1, 2], [1, math.nan], "point 2: throughput_per_s is nan: leave the point out or measure it again"),
        ([1, math.inf], [1, 2], "point 2: load is inf"),
        ([1, 2], [1, -3], "point 2: throughput_per_s is -3, below 0: if it is a rate of a counter, the counter was reset"),
        ([1, 2, 3], [1, 2], "3 loads and 2 values"),
    ],
)
def test_no_measurements(load: list[float], value: list[float], words: str) -> None:
    with pytest.raises(InputError) as caught:
        points(load, value)
    assert words in str(caught.value)


def test_messages_name_the_source() -> None:
    with pytest.raises(InputError, match=r"^run\.csv: point 1"):
        Points(np.array([-1.0]), np.array([1.0]), source="run.csv")


def test_series_are_joined_at_the_times_they_share() -> None:
    joined = of_series(series([1, 2, 3], [0, 60, 120]), series([20, 30, 40], [60, 120, 180]))
    assert joined.load.tolist() == [2, 3] and joined.value.tolist() == [20, 30]
    assert joined.ordered and joined.source == "load.csv"
    with pytest.raises(InputError, match=r"load\.csv and x\.csv: .* have no time in common: sample both at the same times"):
        of_series(series([1, 2], [0, 60]), series([1, 2], [30, 90], "x.csv"))


def test_a_counter_becomes_a_rate() -> None:
    grown = rate(series([0, 60, 180]))
    assert grown.values.tolist() == [1, 2] and grown.times_s.tolist() == [60, 120] and grown.unit == "requests/s"


@pytest.mark.parametrize(
    ("values", "times_s", "words"),
    [
        (
            [0, 60, 10],
            None,
            "load.csv: counter requests_total falls from 60 to 10 at 120 s: it was reset; measure between resets",
        ),
        ([0, 60, 120], [0, 60, 60], "the clock goes from 60 s to 60 s"),
        ([0, math.nan, 120], None, "sample 2 is nan"),
        ([5], None, "a rate needs two samples"),
    ],
)
def test_a_counter_that_is_none(values: list[float], times_s: list[float] | None, words: str) -> None:
    with pytest.raises(InputError) as caught:
        rate(series(values, times_s))
    assert words in str(caught.value)
