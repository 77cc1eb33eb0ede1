"""Chance: shares as the weights say, different places in every draw."""

from __future__ import annotations

from collections import Counter
from math import sqrt
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loggos.balance.policies.sampling import cumulative_weights, draw_some

from .helpers import made, servers, tally


def far(count: int, picks: int, share: float) -> float:
    """How many standard deviations a count is from its mean."""
    return abs(count - picks * share) / sqrt(picks * share * (1 - share))


@pytest.mark.parametrize("name", ["random", "weighted_random"])
def test_everybody_has_the_same_chance(name: str) -> None:
    among = servers(10)
    counts = tally(made(name, among), among, 20_000)
    assert max(far(counts[endpoint.name], 20_000, 0.1) for endpoint in among) < 4


@given(weights=st.lists(st.floats(0.1, 10), min_size=2, max_size=8), seed=st.integers(0, 9))
def test_weighted_shares_converge(weights: list[float], seed: int) -> None:
    among = servers(len(weights), weights)
    counts = tally(made("weighted_random", among, seed), among, 4_000)
    for endpoint in among:
        assert far(counts[endpoint.name], 4_000, endpoint.weight / sum(weights)) < 5


def test_random_ignores_weights() -> None:
    among = servers(2, (100, 1))
    assert far(tally(made("random", among), among, 4_000)["s0"], 4_000, 0.5) < 4


@given(count=st.integers(1, 20), wanted=st.integers(1, 24), seed=st.integers(0, 99), weighted=st.booleans())
def test_places_of_a_draw_differ(count: int, wanted: int, seed: int, weighted: bool) -> None:
    among = servers(count, (3,) if weighted else ())
    places = draw_some(Random(seed), count, wanted, cumulative_weights(among))
    assert len(set(places)) == len(places) == min(wanted, count)
    assert all(0 <= place < count for place in places)


def test_pairs_are_uniform_and_ordered_by_chance() -> None:
    dice = Random(5)
    pairs = Counter(tuple(draw_some(dice, 4, 2, None)) for _ in range(12_000))
    assert len(pairs) == 12
    assert all(first != second for first, second in pairs)
    assert all(far(count, 12_000, 1 / 12) < 4 for count in pairs.values())


def test_a_draw_ends_where_one_server_has_nearly_all_weight() -> None:
    among = servers(3, (1e12, 1e-6, 1e-6))
    places = draw_some(Random(1), 3, 2, cumulative_weights(among))
    assert list(places) == [0]
