"""Subsetting: equal shares for numbered clients, little movement for named ones, and never nobody."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loggos.balance.policies.subset import Subsetting, deterministic_subset, rendezvous_subset
from loggos.balance.types import Endpoint, Report
from loggos.base.errors import ConfigError

from .helpers import chosen, made, servers


@given(count=st.integers(1, 40), size=st.integers(1, 12), rounds=st.integers(1, 4))
def test_numbered_clients_load_everybody_alike(count: int, size: int, rounds: int) -> None:
    among = servers(count)
    clients = rounds * (count // size) if size < count else rounds
    loads: Counter[str] = Counter()
    for client in range(clients):
        subset = deterministic_subset(among, client, size)
        assert len(subset) == len(set(subset)) == min(size, count)
        loads.update(endpoint.name for endpoint in subset)
    # each round serves everybody once, or leaves out the remainder
    assert max(loads.values()) <= rounds
    if count % size == 0 or size >= count:
        assert min(loads[endpoint.name] for endpoint in among) == rounds


def test_clients_of_one_round_share_nothing_and_rounds_differ() -> None:
    among = servers(12)
    first = [deterministic_subset(among, client, 3) for client in range(4)]
    assert sorted(endpoint.name for subset in first for endpoint in subset) == sorted(endpoint.name for endpoint in among)
    assert {deterministic_subset(among, client, 3) for client in range(4, 8)} != set(first)


@given(count=st.integers(2, 30), size=st.integers(1, 8), gone=st.integers(0, 29), client=st.integers(0, 50))
def test_for_named_clients_a_change_moves_one_at_the_most(count: int, size: int, gone: int, client: int) -> None:
    among = servers(count)
    left = among[gone % count]
    rest = tuple(endpoint for endpoint in among if endpoint != left)
    before = rendezvous_subset(among, f"client {client}", size)
    after = rendezvous_subset(rest, f"client {client}", size)
    assert len(after) == min(size, count - 1)
    assert set(before) - {left} <= set(after)


def test_named_clients_prefer_heavy_end_points() -> None:
    among = servers(20, (5, 5))
    loads = Counter(endpoint.name for client in range(300) for endpoint in rendezvous_subset(among, f"c{client}", 4))
    assert min(loads["s0"], loads["s1"]) > 2 * max(loads[endpoint.name] for endpoint in among[2:])


def test_a_policy_in_a_subset_chooses_there_and_elsewhere_only_if_it_must() -> None:
    among = servers(10)
    mine = rendezvous_subset(among, "me", 3)
    policy = Subsetting(made("p2c", among, load="reported", probe=True), lambda endpoints: rendezvous_subset(endpoints, "me", 3))
    policy.update(among, 0.0)
    names = {chosen(policy, among) for _ in range(100)}
    assert names == {endpoint.name for endpoint in mine}
    assert set(policy.probes_wanted(0.0)) <= names
    policy.probed(mine[0].name, 0.0, Report(50, 1.0))
    policy.started(mine[1].name, 0.0)
    assert chosen(policy, mine[:2]) == mine[1].name
    policy.finished(mine[1].name, 1.0, 1.0, True)
    others = tuple(endpoint for endpoint in among if endpoint not in mine)
    assert chosen(policy, others)
    assert policy.pick(0.0, ()) is None


def test_sizes_and_numbers_are_checked() -> None:
    with pytest.raises(ConfigError, match="size"):
        rendezvous_subset([Endpoint("a")], "me", 0)
    with pytest.raises(ConfigError, match="client"):
        deterministic_subset([Endpoint("a")], -1, 1)
