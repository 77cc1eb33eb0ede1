"""What planners want, against Prometheus' worked examples and against laws."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loggos.base.errors import InputError
from loggos.planner.observe.derive import (
    arrival_rate,
    bucket_quantile,
    bucket_squared_variation,
    histogram_quantile,
    in_flight,
    mean_latency,
    squared_variation,
    squared_variation_of,
    utilisation,
)
from loggos.planner.observe.findings import Kind
from loggos.planner.types import Series

INF = math.inf
POSITIVE = ([0.1, 0.2, 1.0, INF], [50.0, 70.0, 110.0, 120.0])
NEGATIVE = ([-0.2, -0.1, 0.3, INF], [10.0, 20.0, 20.0, 30.0])
SECOND = ([0.0, 2.0, 4.0, 6.0, INF], [0.0, 10.0, 20.0, 30.0, 30.0])
SUMMED = ([0.1, 0.2, INF], [100.0, 190.0, 250.0])

# Prometheus, promql/promqltest/testdata/histograms.test, classic histograms at 50 minutes.
QUANTILES = [
    (POSITIVE, 0.0, 0.0), (POSITIVE, 0.2, 0.048), (POSITIVE, 0.5, 0.15), (POSITIVE, 0.8, 0.72), (POSITIVE, 1.0, 1.0),
    (NEGATIVE, 0.0, -0.2), (NEGATIVE, 0.2, -0.2), (NEGATIVE, 0.5, -0.15), (NEGATIVE, 0.8, 0.3), (NEGATIVE, 1.0, 0.3),
    (SECOND, 1 / 6, 1.0), (SECOND, 0.5, 3.0), (SECOND, 5 / 6, 5.0),
    (SUMMED, 0.3, 0.075), (SUMMED, 0.5, 0.1277777777777778),
    (([0.1, 0.2, INF], [10.0, 30.0, 40.0]), 0.3, 0.11), (([0.1, 0.2, INF], [70.0, 110.0, 150.0]), 0.5, 0.1125),
]  # fmt: skip


def at(times: list[float], values: list[float], name: str = "c", **labels: str) -> Series:
    return Series(name, "s", np.array(times, dtype=np.float64), np.array(values, dtype=np.float64), labels)


@pytest.mark.parametrize(("histogram", "q", "expected"), QUANTILES)
def test_quantiles_are_those_of_prometheus(histogram: tuple[list[float], list[float]], q: float, expected: float) -> None:
    estimate = bucket_quantile(q, *histogram)
    assert estimate is not None and estimate.value == pytest.approx(expected, rel=1e-12)
    assert estimate.low <= estimate.value <= estimate.high and estimate.level == 1.0


def test_above_the_last_bound_nothing_is_known_but_that() -> None:
    estimate = bucket_quantile(0.99, *POSITIVE)
    assert estimate == (1.0, 1.0, INF, 1.0)
    assert bucket_quantile(0.5, [1.0, INF], [0.0, 0.0]) is None


@pytest.mark.parametrize(
    ("q", "bounds", "counts", "says"),
    [
        (1.5, [1.0, INF], [1.0, 2.0], "between 0 and 1"),
        (0.5, [1.0, 2.0], [1.0, 2.0], "Inf"),
        (0.5, [2.0, 1.0, INF], [1.0, 2.0, 3.0], "must grow"),
        (0.5, [1.0, 2.0, INF], [2.0, 1.0, 3.0], "must not fall"),
        (0.5, [1.0, INF], [math.nan, 3.0], "must not fall"),
    ],
)
def test_what_is_no_histogram_is_refused(q: float, bounds: list[float], counts: list[float], says: str) -> None:
    with pytest.raises(InputError, match=says):
        bucket_quantile(q, bounds, counts)


@given(st.lists(st.floats(0.001, 50.0), min_size=1, max_size=60), st.floats(0, 1))
def test_the_bucket_holds_the_true_quantile(values: list[float], q: float) -> None:
    bounds = [0.01, 0.1, 0.5, 1.0, 5.0, 10.0, INF]
    estimate = bucket_quantile(q, bounds, [float(sum(v <= bound for v in values)) for bound in bounds])
    true = sorted(values)[max(0, math.ceil(q * len(values) - 1e-9) - 1)]
    assert estimate is not None
    if q * len(values) > 1e-6:
        assert estimate.low <= true <= estimate.high


def test_quantiles_over_time_sum_instances_and_survive_a_restart() -> None:
    times = [0.0, 60.0, 120.0]
    buckets = [
        at(times, [0, 50, 5], "lat_bucket", le="0.1", host="a"),
        at(times, [0, 100, 10], "lat_bucket", le="+Inf", host="a"),
        at(times, [0, 50, 100], "lat_bucket", le="0.1", host="b"),
        at(times, [0, 50, 105], "lat_bucket", le="+Inf", host="b"),
    ]
    found = histogram_quantile(0.5, buckets)
    assert found.value.times_s.tolist() == [60.0, 120.0]
    assert found.value.values[0] == pytest.approx(0.1 * 75 / 100)
    assert found.value.values[1] == pytest.approx(0.1 * 32.5 / 55)  # host a restarted: 5 of 10, and b grew 50 of 55
    assert found.high.values.tolist() == [0.1, 0.1] and found.value.name == "lat quantile 0.5"
    assert [f.kind for f in found.findings] == [Kind.RESET]
    top = histogram_quantile(0.99, buckets)
    assert math.isinf(top.high.values[0]) and any(f.kind is Kind.BUCKETS for f in top.findings)


def test_buckets_that_do_not_fit_are_refused() -> None:
    with pytest.raises(InputError, match="has no bound le"):
        histogram_quantile(0.5, [at([0, 1], [0, 1])])
    with pytest.raises(InputError, match="no bucket le"):
        histogram_quantile(0.5, [at([0, 1], [0, 1], le="1")])
    with pytest.raises(InputError, match="share no two scrapes"):
        histogram_quantile(0.5, [at([0, 1], [0, 1], le="1"), at([5, 6], [0, 1], le="+Inf")])


def test_rates_obey_the_operational_laws() -> None:
    times = [float(60 * i) for i in range(11)]
    requests = at(times, [600.0 * i for i in range(11)])
    latency = at(times, [120.0 * i for i in range(11)])
    assert arrival_rate(requests).series.values == pytest.approx(10.0)
    assert mean_latency(latency, requests).series.values == pytest.approx(0.2)
    assert in_flight(latency).series.values == pytest.approx(10.0 * 0.2)  # Little's law
    assert utilisation(at(times, [90.0 * i for i in range(11)]), 2).series.values == pytest.approx(0.75)


def test_idle_steps_have_no_mean_and_impossible_utilisation_is_said() -> None:
    mean = mean_latency(at([0, 1, 2], [0, 1, 1]), at([0, 1, 2], [0, 4, 4]))
    assert mean.series.values.tolist() == [0.25] and [f.kind for f in mean.findings] == [Kind.MISSING]
    busy = utilisation(at([0, 1, 2], [0, 3, 6]), 2)
    assert [f.kind for f in busy.findings] == [Kind.SATURATED]
    with pytest.raises(InputError, match="0 servers"):
        utilisation(at([0, 1], [0, 1]), 0)


def test_variation_from_moments_agrees_with_values() -> None:
    values = np.random.default_rng(1).exponential(2.0, 4_000)
    exact = squared_variation(len(values), float(values.sum()), float((values**2).sum()))
    estimate = squared_variation_of(values)
    assert exact == pytest.approx(estimate.value) and estimate.low < 1.0 < estimate.high
    bounds = [0.25 * 1.5**i for i in range(12)] + [INF]
    held = bucket_squared_variation(bounds, [float((values <= b).sum()) for b in bounds], float(values.sum()))
    assert held.low < exact < held.high and held.value == pytest.approx(exact, rel=0.2)


def test_the_interval_of_variation_covers() -> None:
    rng = np.random.default_rng(2)
    hits = 0
    for _ in range(300):
        estimate = squared_variation_of(rng.gamma(2.0, 1.0, 400))
        hits += estimate.low <= 0.5 <= estimate.high
    assert 0.91 <= hits / 300 <= 0.98


def test_variation_of_nothing_is_refused() -> None:
    for wrong in (np.ones(5), np.array([-1.0] * 20), np.zeros(20)):
        with pytest.raises(InputError):
            squared_variation_of(wrong)
    with pytest.raises(InputError, match="less than"):
        squared_variation(10, 100.0, 10.0)
    assert squared_variation_of(np.full(20, 3.0)) == (0.0, 0.0, 0.0, 0.95)
