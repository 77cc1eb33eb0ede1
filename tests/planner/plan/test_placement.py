"""Partitions over nodes and zones: apart, even, and moved no more than they must be."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loggos.base.errors import InputError
from loggos.planner.plan.placement import Placement, per_zone_max, place, regrow


def spread(zones: int, nodes: int) -> list[int]:
    return [node % zones for node in range(nodes)]


def assert_apart(placement: Placement, here: list[int]) -> None:
    """Replicas on different nodes, and no more of a partition in a zone than must be."""
    sizes = list(Counter(placement.zone_of[node] for node in here).values())
    most = per_zone_max(placement.replicas.shape[1], sizes)
    for row in placement.replicas.tolist():
        assert len(dict.fromkeys(row)) == len(row)
        assert max(Counter(placement.zone_of[node] for node in row).values()) <= most
        assert all(node in here for node in row)


def assert_even_in_zones(placement: Placement, here: list[int], slack: int = 1) -> None:
    for zone in range(max(placement.zone_of) + 1):
        counts = [placement.per_node[node] for node in here if placement.zone_of[node] == zone]
        assert not counts or max(counts) - min(counts) <= slack


@given(st.integers(1, 300), st.integers(1, 5), st.lists(st.integers(1, 6), min_size=1, max_size=6))
def test_a_fresh_placement(partitions: int, replication: int, sizes: list[int]) -> None:
    zone_of = [zone for zone, size in enumerate(sizes) for _ in range(size)]
    if len(zone_of) < replication:
        with pytest.raises(InputError, match="add nodes"):
            place(partitions, replication, zone_of)
        return
    placed = place(partitions, replication, zone_of)
    assert placed.replicas.shape == (partitions, replication)
    assert_apart(placed, list(range(len(zone_of))))
    most = per_zone_max(replication, sizes)
    assert_even_in_zones(placed, list(range(len(zone_of))), slack=1 if most == 1 else 1 + partitions)
    assert placed.replicas.tolist() == place(partitions, replication, zone_of).replicas.tolist()


@given(st.integers(1, 400), st.integers(1, 3), st.integers(1, 4), st.integers(3, 12))
def test_equal_zones_are_even_over_all_nodes(partitions: int, replication: int, zones: int, each: int) -> None:
    placed = place(partitions, replication, spread(zones, zones * each))
    assert placed.per_node.max() - placed.per_node.min() <= 1 + (zones < replication)


@given(st.integers(1, 200), st.integers(1, 3), st.integers(3, 5), st.integers(1, 4), st.integers(0, 6))
def test_growth_moves_only_what_the_new_shares_take(partitions: int, replication: int, zones: int, each: int, more: int) -> None:
    before = place(partitions, replication, spread(zones, zones * each))
    after, moved = regrow(before, spread(zones, zones * (each + more)))
    nodes = list(range(zones * (each + more)))
    assert_apart(after, nodes)
    assert_even_in_zones(after, nodes)
    given_up = np.maximum(0, np.pad(before.per_node, (0, zones * more)) - after.per_node)
    assert moved == given_up.sum()
    stay = sum(len(set(old) & set(new)) for old, new in zip(before.replicas.tolist(), after.replicas.tolist(), strict=True))
    assert stay == partitions * replication - moved
    # no placement with shares that are even within one takes fewer: each node gives up what is above the higher of the two
    ceiling = -(-partitions * replication // len(nodes))
    assert moved <= np.maximum(0, before.per_node - ceiling + 1).sum()


@given(st.integers(1, 120), st.integers(1, 3), st.integers(2, 5), st.data())
def test_nodes_that_go_are_emptied(partitions: int, replication: int, each: int, data: st.DataObject) -> None:
    before = place(partitions, replication, spread(3, 3 * each))
    gone = [3 * data.draw(st.integers(0, each - 1)) + zone for zone in range(3)]
    after, moved = regrow(before, spread(3, 3 * each), gone)
    here = [node for node in range(3 * each) if node not in gone]
    assert_apart(after, here)
    assert_even_in_zones(after, here)
    assert moved == before.per_node[gone].sum() + np.maximum(0, before.per_node[here] - after.per_node[here]).sum()


def test_a_third_zone_takes_the_replicas_that_stood_too_close() -> None:
    before = place(90, 3, [0, 0, 0, 1, 1, 1])
    after, moved = regrow(before, [0, 0, 0, 1, 1, 1, 2, 2, 2])
    assert_apart(after, list(range(9)))
    assert moved == 90


def test_leaders_are_even() -> None:
    placed = place(10_000, 3, spread(3, 60))
    assert placed.leaders.max() - placed.leaders.min() <= 2


def test_two_nodes_share_few_partitions() -> None:
    """A node that fails is rebuilt from many others."""
    placed = place(3_000, 3, spread(3, 30))
    mates = Counter(node for row in placed.replicas.tolist() if 0 in row for node in row if node != 0)
    assert len(mates) >= 15
