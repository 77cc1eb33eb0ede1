"""Availability by dynamic programming against all states, one by one."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loggos.base.errors import InputError
from loggos.planner.maths import availability
from loggos.planner.maths.availability import Group

shares = st.floats(0, 1)


def enumerated(needed: int, spread: list[tuple[float, list[float]]]) -> float:
    """Every state of every zone and of every node in it, one by one."""
    zones, nodes = [zone for zone, _ in spread], [node for _, inside in spread for node in inside]
    home = [place for place, (_, inside) in enumerate(spread) for _ in inside]
    total = 0.0
    for state in itertools.product((False, True), repeat=len(zones) + len(nodes)):
        zones_up, nodes_up = state[: len(zones)], state[len(zones) :]
        if sum(is_up and zones_up[place] for is_up, place in zip(nodes_up, home, strict=True)) >= needed:
            total += math.prod(share if is_up else 1 - share for is_up, share in zip(state, zones + nodes, strict=True))
    return total


@given(st.lists(shares, min_size=1, max_size=8), st.data())
def test_k_of_n_is_the_sum_over_all_states(nodes: list[float], data: st.DataObject) -> None:
    needed = data.draw(st.integers(0, len(nodes)))
    total = 0.0
    for state in itertools.product((False, True), repeat=len(nodes)):
        if sum(state) >= needed:
            total += math.prod(node if is_up else 1 - node for is_up, node in zip(state, nodes, strict=True))
    assert availability.k_of_n(needed, nodes) == pytest.approx(total, abs=1e-12)


@given(st.lists(st.tuples(shares, st.lists(shares, min_size=1, max_size=3)), min_size=1, max_size=3), st.data())
@settings(max_examples=25)
def test_zones_are_the_sum_over_all_states(spread: list[tuple[float, list[float]]], data: st.DataObject) -> None:
    members = [Group(zone, tuple(nodes)) for zone, nodes in spread]
    size = sum(len(nodes) for _, nodes in spread)
    needed = data.draw(st.integers(1, size))
    assert availability.k_of_n(needed, members) == pytest.approx(enumerated(needed, spread), abs=1e-12)
    assert availability.majority(members) == pytest.approx(enumerated(size // 2 + 1, spread), abs=1e-12)


@given(st.integers(1, 200), st.floats(0.01, 0.99))
def test_equal_nodes_are_binomial(nodes: int, node: float) -> None:
    expected = [math.comb(nodes, up) * node**up * (1 - node) ** (nodes - up) for up in range(nodes + 1)]
    assert np.allclose(availability.up_distribution([node] * nodes), expected, rtol=1e-9, atol=1e-280)


@given(st.integers(1, 4), st.floats(0.5, 0.999), st.floats(0.5, 0.9999))
def test_more_voters_and_better_zones_help(half: int, node: float, zone: float) -> None:
    few, more = availability.majority([node] * (2 * half - 1)), availability.majority([node] * (2 * half + 1))
    assert more >= few - 1e-12
    spread = [1] * (2 * half + 1)
    poorer, better = (availability.majority(availability.zones(spread, node, share)) for share in (zone, 1.0))
    assert poorer <= better + 1e-12


def test_three_voters_by_hand() -> None:
    assert availability.majority([0.99] * 3) == pytest.approx(0.999702)
    assert availability.unavailability(2, [0.99] * 3) == pytest.approx(3 * 0.99 * 0.01**2 + 0.01**3, rel=1e-12)


def test_two_zones_cannot_outlive_the_larger_and_three_can() -> None:
    """Five voters as 3 + 2 are down whenever the zone of three is; as 2 + 2 + 1 they outlive any one zone."""
    two, three = (availability.majority(availability.zones(spread, 1.0, 0.999)) for spread in ((3, 2), (2, 2, 1)))
    assert two == pytest.approx(0.999)
    assert 1 - three == pytest.approx(3 * 0.999 * 0.001**2 + 0.001**3)


def test_regions_hold_zones() -> None:
    region = Group(0.99, availability.zones([1, 1], 0.9, 0.95))
    here = 0.95 * 0.9
    assert availability.k_of_n(1, [region]) == pytest.approx(0.99 * (1 - (1 - here) ** 2))
    assert availability.k_of_n(2, [region]) == pytest.approx(0.99 * here**2)


def test_small_unavailability_keeps_its_digits() -> None:
    """1 - availability would be lost in rounding: fewer than 5 of 9 up, at 0.99999 each."""
    down = sum(math.comb(9, up) * 0.99999**up * (1 - 0.99999) ** (9 - up) for up in range(5))
    assert availability.unavailability(5, [0.99999] * 9) == pytest.approx(down, rel=1e-9)


def test_chains_and_years() -> None:
    assert availability.series(0.99, 0.999) == pytest.approx(0.98901)
    assert availability.parallel(0.99, 0.9) == pytest.approx(0.999)
    assert availability.downtime_s_per_year(0.9999) == pytest.approx(3155.76)
    assert availability.steady_state(999, 1) == 0.999


def test_outages_of_one_node_and_of_a_quorum() -> None:
    one = availability.k_of_n_outages(1, 1, mttf_s=990, mttr_s=10)
    assert one == pytest.approx((0.99, 990, 10, availability.SECONDS_PER_YEAR / 1000))
    # 2 of 3, as a birth-death chain with failure rate f and repair rate r per node
    quorum, f, r = availability.k_of_n_outages(2, 3, mttf_s=1000, mttr_s=10), 1 / 1000, 1 / 10
    assert quorum.mean_up_s == pytest.approx((1 + r / (3 * f)) / (2 * f))
    assert quorum.mean_down_s == pytest.approx((1 + f / (3 * r)) / (2 * r))
    assert quorum.availability == pytest.approx(availability.majority([100 / 101] * 3))
    assert quorum.outages_per_year == pytest.approx(availability.SECONDS_PER_YEAR / (quorum.mean_up_s + quorum.mean_down_s))


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(InputError, match="4 nodes are needed and there are 3: add nodes or need fewer"):
        availability.k_of_n(4, [0.9] * 3)
    with pytest.raises(InputError, match=r"availability of a node is 99.9: a probability lies between 0 and 1"):
        availability.majority([99.9] * 3)
    with pytest.raises(InputError, match="a group without nodes"):
        availability.majority([])
    with pytest.raises(InputError, match="mttf_s is 0"):
        availability.steady_state(0, 1)
    with pytest.raises(InputError, match="more than the 10,000"):
        availability.majority([0.9] * 10_001)
