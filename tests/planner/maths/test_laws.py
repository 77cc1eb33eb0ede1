"""Operational laws, and bounds that hold whatever the network: exact analysis never leaves them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loggos.base.errors import InputError
from loggos.planner.maths import laws, mva

demands = st.lists(st.floats(0.001, 10), min_size=1, max_size=5)
populations = st.integers(1, 40)
thinking = st.one_of(st.just(0.0), st.floats(0.01, 100))
SLACK = 1 + 1e-9


def inside(bounds: laws.Bounds, throughput: float, response: float) -> bool:
    return (
        bounds.throughput_low <= throughput * SLACK
        and throughput <= bounds.throughput_high * SLACK
        and bounds.response_low <= response * SLACK
        and response <= bounds.response_high * SLACK
    )


@given(demands, populations, thinking)
def test_bounds_hold_exact_closed_analysis(demands_s: list[float], population: int, think_s: float) -> None:
    exact = mva.closed(demands_s, population, think_s)
    throughput, response = float(exact.throughput_per_s[0]), float(exact.response_s[0])
    wide = laws.asymptotic_closed(demands_s, population, think_s)
    tight = laws.balanced_closed(demands_s, population, think_s)
    assert inside(wide, throughput, response)
    assert inside(tight, throughput, response)
    assert tight.throughput_low >= wide.throughput_low / SLACK and tight.throughput_high <= wide.throughput_high * SLACK


@given(st.lists(st.tuples(st.floats(0.01, 5), st.integers(0, 4)), min_size=1, max_size=3), st.integers(1, 12), thinking)
def test_asymptotic_bounds_hold_stations_with_several_servers(
    stations: list[tuple[float, int]], population: int, think_s: float
) -> None:
    demands_s, servers = [demand for demand, _ in stations], [max(1, count) for _, count in stations]
    exact = mva.closed(demands_s, population, think_s, servers)
    bounds = laws.asymptotic_closed(demands_s, population, think_s, servers)
    assert inside(bounds, float(exact.throughput_per_s[0]), float(exact.response_s[0]))


@given(demands, st.floats(0.01, 0.99))
def test_bounds_hold_exact_open_analysis(demands_s: list[float], busiest: float) -> None:
    arrival = busiest / max(demands_s)
    exact = mva.open_classes([demands_s], [arrival])
    for bounds in (laws.asymptotic_open(demands_s, arrival), laws.balanced_open(demands_s, arrival)):
        assert inside(bounds, arrival, float(exact.response_s[0]))


def test_a_balanced_system_meets_its_bounds() -> None:
    bounds = laws.balanced_closed([0.2, 0.2, 0.2], 10)
    assert bounds.throughput_low == pytest.approx(bounds.throughput_high)
    assert mva.closed([0.2, 0.2, 0.2], 10).throughput_per_s[0] == pytest.approx(bounds.throughput_low)


def test_the_bottleneck_is_where_a_server_has_most_to_do() -> None:
    found = laws.bottleneck([2.0, 3.0, 1.0], think_s=4, servers=[1, 2, 1])
    assert found == laws.Bottleneck(station=0, demand_s=2.0, throughput_per_s_max=0.5, population=5.0)


def test_laws_are_each_others_inverse() -> None:
    demand = laws.service_demand(0.6, 30, servers=4)
    assert laws.utilisation(30, demand, servers=4) == pytest.approx(0.6)
    assert laws.response(laws.in_system(30, 0.2), 30) == pytest.approx(0.2)
    assert laws.interactive_response(100, 20, think_s=3) == pytest.approx(2)
    assert laws.station_throughput(20, 2.5) == 50


def test_contradicting_measurements_are_refused() -> None:
    with pytest.raises(InputError, match="10 users who think 5 s cannot complete 3 requests a second: at most 2; measure"):
        laws.interactive_response(10, 3, think_s=5)
    with pytest.raises(InputError, match="losing 3 of 3 nodes leaves none: at least 4 nodes are needed"):
        laws.headroom(3, 3, 0.8)
    with pytest.raises(InputError, match=r"station 2 at 1\.5 utilisation, so it never catches up: it takes less than 2 a second"):
        laws.balanced_open([0.1, 0.5], 3)
    with pytest.raises(InputError, match="demands_s, number 2, is -1"):
        laws.bottleneck([1.0, -1.0])
    with pytest.raises(InputError, match="every demand is 0"):
        laws.bottleneck(np.zeros(3))
