"""Comparing load: who is less busy is chosen, by the counts of this balancer or by what backends say."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loggos.balance.types import Policy, Report

from .helpers import chosen, made, servers, tally


def busy(policy: Policy, name: str, requests: int, now_s: float = 0.0) -> None:
    for _ in range(requests):
        policy.started(name, now_s)


@pytest.mark.parametrize("name", ["p2c", "least_request"])
def test_the_less_busy_one_of_two_is_chosen_always(name: str) -> None:
    among = servers(2)
    policy = made(name, among)
    busy(policy, "s0", 2)
    busy(policy, "s1", 1)
    assert tally(policy, among, 50) == {"s1": 50}
    policy.finished("s0", 1.0, 1.0, True)
    policy.finished("s0", 1.0, 1.0, False)
    assert tally(policy, among, 50) == {"s0": 50}


@pytest.mark.parametrize("name", ["p2c", "least_request"])
def test_ties_are_broken_by_chance(name: str) -> None:
    among = servers(4)
    counts = tally(made(name, among), among, 4_000)
    assert min(counts.values()) > 850
    assert len(counts) == 4


@given(sent=st.lists(st.integers(0, 5), min_size=2, max_size=8))
def test_least_request_looks_at_everybody(sent: list[int]) -> None:
    among = servers(len(sent))
    policy = made("least_request", among)
    for place, count in enumerate(sent):
        busy(policy, f"s{place}", count)
    for _ in range(5):
        assert sent[int(chosen(policy, among)[1:])] == min(sent)


def test_the_busiest_of_n_is_never_chosen_by_two_choices() -> None:
    among = servers(10)
    policy = made("p2c", among)
    busy(policy, "s3", 1)
    counts = tally(policy, among, 2_000)
    assert "s3" not in counts
    assert len(counts) == 9


def test_one_choice_is_random() -> None:
    among = servers(2)
    policy = made("p2c", among, d=1)
    busy(policy, "s0", 5)
    assert 850 < tally(policy, among, 2_000)["s0"] < 1_150


def test_more_choices_than_servers_are_a_full_scan() -> None:
    among = servers(5)
    policy = made("p2c", among, d=9)
    for name in ("s0", "s1", "s3", "s4"):
        busy(policy, name, 1)
    assert tally(policy, among, 100) == {"s2": 100}


@pytest.mark.parametrize("name", ["p2c", "least_request"])
def test_kept_load_is_in_proportion_to_weight(name: str) -> None:
    among = servers(3, (4, 2, 1))
    policy = made(name, among)
    counts = Counter[str]()
    for _ in range(700):
        endpoint = chosen(policy, among)
        policy.started(endpoint, 0.0)
        counts[endpoint] += 1
    assert counts["s0"] == pytest.approx(400, abs=3 if name == "least_request" else 15)
    assert counts["s1"] == pytest.approx(200, abs=3 if name == "least_request" else 15)


def test_bias_decides_how_much_load_counts_against_weight() -> None:
    among = servers(2, (4, 1))
    for bias, first_four in ((1.0, ["s0"] * 3), (2.0, ["s0"])):
        policy = made("least_request", among, bias=bias)
        order: list[str] = []
        while not order or order[-1] == "s0":
            order.append(chosen(policy, among))
            policy.started(order[-1], 0.0)
            if order.count("s0") == len(first_four):
                break
        assert order == first_four
        policy.started("s0", 0.0)  # beyond its share now: 4 / 5 < 1, and 4 / 3 ** 2 < 1
        assert chosen(policy, among) == "s1"


def test_what_left_with_requests_comes_back_with_them() -> None:
    among = servers(2)
    policy = made("p2c", among)
    busy(policy, "s0", 3)
    policy.update(among[1:], 1.0)
    policy.finished("s0", 2.0, 2.0, True)
    policy.update(among, 3.0)
    busy(policy, "s1", 1)
    assert tally(policy, among, 20) == {"s1": 20}
    policy.finished("s0", 4.0, 4.0, True)
    policy.finished("s0", 4.0, 4.0, True)
    assert tally(policy, among, 20) == {"s0": 20}


def test_reports_outweigh_the_local_counts() -> None:
    among = servers(2)
    policy = made("p2c", among, load="reported")
    busy(policy, "s0", 1)
    policy.finished("s0", 0.0, 0.1, True, Report(7, 0.1))
    busy(policy, "s1", 3)
    assert tally(policy, among, 20) == {"s1": 20}
    policy.probed("s0", 0.0, Report(1, 0.1))
    assert tally(policy, among, 20) == {"s0": 20}
    busy(policy, "s0", 3)  # sent since: 1 + 3
    assert tally(policy, among, 20) == {"s1": 20}


def test_what_came_back_without_a_report_counts_no_more() -> None:
    among = servers(2)
    policy = made("p2c", among, load="reported")
    policy.probed("s0", 0.0, Report(2, 0.1))
    busy(policy, "s0", 2)
    busy(policy, "s1", 3)
    assert tally(policy, among, 20) == {"s1": 20}  # 4 and 3
    for _ in range(2):
        policy.finished("s0", 0.0, 0.0, True)
    assert tally(policy, among, 20) == {"s0": 20}  # 2 and 3


def test_a_report_is_never_less_than_what_this_balancer_has_there() -> None:
    among = servers(2)
    policy = made("p2c", among, load="reported")
    busy(policy, "s0", 3)
    policy.probed("s0", 0.0, Report(0, 0.1))  # made before they arrived
    busy(policy, "s1", 1)
    assert tally(policy, among, 20) == {"s1": 20}


def test_a_report_fades() -> None:
    among = servers(2)
    policy = made("p2c", among, load="reported", fade_s=1.0)
    policy.probed("s0", 0.0, Report(100, 0.1))
    busy(policy, "s1", 2)
    assert chosen(policy, among, now_s=3.9) == "s1"  # 100 e**-3.9 = 2.02
    assert chosen(policy, among, now_s=4.0) == "s0"  # 100 e**-4 = 1.83


def test_probes_are_asked_of_those_that_are_compared_next() -> None:
    among = servers(20)
    policy = made("p2c", among, load="reported", probe=True)
    chosen(policy, among)
    for turn in range(50):
        first, second = policy.probes_wanted(float(turn))
        policy.probed(first, float(turn), Report(9, 0.1))
        policy.probed(second, float(turn), Report(5, 0.1))
        assert chosen(policy, among, now_s=float(turn)) == second


def test_a_request_that_was_not_started_cannot_finish() -> None:
    policy = made("p2c", servers(2))
    with pytest.raises(AssertionError, match="s1 finished that was not started"):
        policy.finished("s1", 0.0, 0.1, True)
