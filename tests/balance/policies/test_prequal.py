"""Prequal: hot and cold, a pool that stays small and fresh, probes that are not wasted."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loggos.balance.policies.prequal import Prequal
from loggos.balance.types import Endpoint, Report

from .helpers import chosen, servers, tally


def prequal(among: tuple[Endpoint, ...], **options: float) -> Prequal:
    """Without removal unless asked for, so that tests see the whole pool."""
    policy = Prequal(Random(1), **{"remove": 0.0, "probes": 0.0, **options})  # type: ignore[arg-type]
    policy.update(among, 0.0)
    return policy


def pool(policy: Prequal) -> list[tuple[str, int]]:
    return [(probe.name, probe.in_flight) for probe in policy._pool]


def test_of_cold_probes_the_quickest_is_chosen() -> None:
    among = servers(4)
    policy = prequal(among)
    for name, in_flight, latency_s in (("s0", 9, 0.1), ("s1", 2, 0.4), ("s2", 1, 0.3), ("s3", 2, 0.5)):
        policy.probed(name, 0.0, Report(in_flight, latency_s))
    # the 0.84 quantile of 9 2 1 2 is 9: nobody is above it, and s0 is the quickest
    assert chosen(policy, among) == "s0"
    for _ in range(9):
        policy.probed("s1", 0.0, Report(2, 0.4))
    # now it is 2: s0 is hot
    policy.probed("s0", 0.0, Report(9, 0.1))
    assert chosen(policy, among) == "s2"


def test_if_all_are_hot_the_fewest_requests_win() -> None:
    among = servers(3)
    policy = prequal(among, q_rif=0.5)
    for _ in range(9):
        policy.probed("s0", 0.0, Report(0, 0.1))
    policy.update(among[1:], 0.0)
    policy.probed("s1", 0.0, Report(3, 0.1))
    policy.probed("s2", 0.0, Report(2, 0.9))
    assert chosen(policy, among[1:]) == "s2"


@pytest.mark.parametrize(("q_rif", "expected"), [(0.0, "s1"), (1.0, "s0")])
def test_the_ends_of_the_quantile_are_load_alone_and_latency_alone(q_rif: float, expected: str) -> None:
    among = servers(2)
    policy = prequal(among, q_rif=q_rif)
    policy.probed("s0", 0.0, Report(8, 0.1))
    policy.probed("s1", 0.0, Report(1, 0.2))
    assert chosen(policy, among) == expected


def test_a_used_probe_counts_the_request_and_goes() -> None:
    among = servers(2)
    often = prequal(among)  # no probes come in
    often.probed("s0", 0.0, Report(1, 0.1))
    for sent in range(3):
        assert pool(often) == [("s0", 1 + sent)]
        assert chosen(often, among) == "s0"
        often.started("s0", 0.0)
    once = prequal(among, probes=3.0)
    once.probed("s0", 0.0, Report(1, 0.1))
    assert chosen(once, among) == "s0"
    assert pool(once) == []


def test_uses_are_whole_numbers_with_the_mean_that_is_needed() -> None:
    among = servers(100)
    policy = prequal(among, probes=1.5, remove=0.5)  # 1 / (0.84 × 1.5 - 0.5) = 1.316
    uses: list[float] = []
    for number in range(4_000):
        policy.probed(f"s{number % 100}", 0.0, Report(0, 0.1))
        uses.append(policy._pool[-1].uses_left)
    assert set(uses) == {1, 2}
    assert sum(uses) / len(uses) == pytest.approx(1 / 0.76, abs=0.03)


def test_with_slack_as_the_paper_has_it() -> None:
    among = servers(100)
    policy = prequal(among, probes=3.0, remove=1.0, slack=1.0)
    assert policy._uses == pytest.approx(2 / (0.84 * 3 - 1))


def test_old_probes_are_not_used() -> None:
    among = servers(4)
    policy = prequal(among, age_s=1.0)
    policy.probed("s0", 0.0, Report(0, 0.1))
    assert chosen(policy, among, now_s=1.0) == "s0"
    assert {chosen(policy, among, now_s=1.1) for _ in range(50)} == {"s0", "s1", "s2", "s3"}


def test_the_oldest_makes_room_and_a_newer_answer_replaces_the_older() -> None:
    policy = prequal(servers(5), pool=3)
    for number in range(4):
        policy.probed(f"s{number}", 0.0, Report(number, 0.1))
    assert pool(policy) == [("s1", 1), ("s2", 2), ("s3", 3)]
    policy.probed("s2", 0.0, Report(7, 0.1))
    assert pool(policy) == [("s1", 1), ("s3", 3), ("s2", 7)]


def test_worst_and_oldest_are_removed_by_turns() -> None:
    among = servers(6)
    policy = prequal(among, remove=1.0, probes=0.01, q_rif=0.5)
    for name, in_flight, latency_s in (("s0", 1, 0.2), ("s1", 9, 0.1), ("s2", 1, 0.9), ("s3", 1, 0.1), ("s4", 1, 0.3)):
        policy.probed(name, 0.0, Report(in_flight, latency_s))
    left: list[list[str]] = []
    for _ in range(4):
        policy.pick(0.0, among)
        left.append([name for name, _ in pool(policy)])
    assert left == [["s0", "s2", "s3", "s4"], ["s2", "s3", "s4"], ["s3", "s4"], ["s4"]]


def test_fractions_of_probes_and_removals_are_carried_over() -> None:
    among = servers(10)
    policy = prequal(among, probes=1.5)
    asked = []
    for _ in range(6):
        policy.pick(0.0, among)
        asked.append(len(policy.probes_wanted(0.0)))
    assert asked == [1, 2, 1, 2, 1, 2]
    assert policy.probes_wanted(0.0) == ()


def test_probes_go_to_everybody_even_to_those_not_let_through() -> None:
    among = servers(5)
    policy = prequal(among, probes=3.0)
    asked: list[str] = []
    for _ in range(200):
        policy.pick(0.0, among[:1])
        wanted = policy.probes_wanted(0.0)
        assert len(set(wanted)) == len(wanted) == 3
        asked += wanted
    assert all(90 < asked.count(endpoint.name) < 150 for endpoint in among)


def test_an_empty_pool_means_a_random_choice() -> None:
    among = servers(4)
    counts = tally(prequal(among), among, 4_000)
    assert len(counts) == 4
    assert min(counts.values()) > 850


def test_too_few_probes_mean_a_random_choice() -> None:
    among = servers(4)
    policy = prequal(among, pool_min=2)
    policy.probed("s0", 0.0, Report(0, 0.1))
    assert len(tally(policy, among, 100)) == 4
    policy.probed("s1", 0.0, Report(0, 0.2))
    assert tally(policy, among, 10) == {"s0": 10}


def test_probes_of_those_not_let_through_are_kept_for_later() -> None:
    among = servers(3)
    policy = prequal(among)
    policy.probed("s0", 0.0, Report(0, 0.1))
    policy.probed("s1", 0.0, Report(0, 0.2))
    assert chosen(policy, among[1:]) == "s1"
    assert chosen(policy, among) == "s0"


def test_probes_of_those_that_left_are_forgotten() -> None:
    among = servers(3)
    policy = prequal(among)
    policy.probed("s0", 0.0, Report(0, 0.1))
    policy.probed("s1", 0.0, Report(0, 0.2))
    policy.update(among[1:], 0.0)
    policy.probed("s0", 0.0, Report(0, 0.1))
    policy.update(among, 0.0)
    assert pool(policy) == [("s1", 0)]


def test_where_answers_are_the_only_probes_each_is_used_once() -> None:
    assert prequal(servers(10), use_reports=True)._uses == 1.0
    assert prequal(servers(10))._uses == 16.0


def test_answers_are_probes_if_wished() -> None:
    among = servers(2)
    for use_reports, expected in ((False, []), (True, [("s0", 4)])):
        policy = prequal(among, use_reports=use_reports)
        policy.started("s0", 0.0)
        policy.finished("s0", 0.0, 0.1, True, Report(4, 0.1))
        assert pool(policy) == expected


@given(steps=st.lists(st.tuples(st.integers(0, 9), st.integers(0, 40), st.floats(0, 5)), max_size=80))
def test_the_pool_is_bounded_ordered_by_age_and_holds_each_once(steps: list[tuple[int, int, float]]) -> None:
    among = servers(10)
    policy = prequal(among, probes=3.0, remove=1.0, pool=4)
    now_s = 0.0
    for place, in_flight, gap_s in steps:
        now_s += gap_s / 10
        policy.probed(f"s{place}", now_s, Report(in_flight, gap_s))
        if in_flight % 3 == 0:
            policy.pick(now_s, among)
        names = [probe.name for probe in policy._pool]
        ages = [probe.at_s for probe in policy._pool]
        assert len(names) == len(set(names)) <= 4
        assert ages == sorted(ages)
