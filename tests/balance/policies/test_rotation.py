"""Taking turns: fair to one request, nginx's order to the letter, nobody starved by changes of the view."""

from __future__ import annotations

from collections import Counter
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from .helpers import chosen, made, servers, tally


@given(count=st.integers(1, 12), picks=st.integers(0, 60), seed=st.integers(0, 9))
def test_round_robin_is_fair_to_one_request(count: int, picks: int, seed: int) -> None:
    among = servers(count)
    counts = tally(made("round_robin", among, seed), among, picks)
    each = [counts[endpoint.name] for endpoint in among]
    assert max(each) - min(each) <= 1


def test_balancers_that_start_together_begin_at_different_servers() -> None:
    among = servers(10)
    first = Counter(chosen(made("round_robin", among, seed), among) for seed in range(200))
    assert len(first) == 10
    assert max(first.values()) < 60


def test_round_robin_goes_on_where_it_was_in_another_view() -> None:
    among = servers(6)
    policy = made("round_robin", among)
    last = chosen(policy, among)
    place = int(last[1:])
    narrowed = tuple(endpoint for endpoint in among if endpoint.name != last)
    assert chosen(policy, narrowed) == f"s{(place + 1) % 6}"
    assert chosen(policy, narrowed[::2]) in {f"s{(place + 2) % 6}", f"s{(place + 3) % 6}"}


def test_each_view_has_its_own_turn_whichever_object_it_is() -> None:
    among = servers(6)
    even, odd = among[::2], among[1::2]
    policy = made("round_robin", among)
    counts = Counter(chosen(policy, view) for _ in range(9) for view in (even, odd, list(even), tuple(iter(odd))))
    assert {counts[endpoint.name] for endpoint in among} == {6}
    for _ in range(2):
        taken = [chosen(policy, view) for view in (even, list(even), even)]
        assert sorted(taken) == ["s0", "s2", "s4"]


def test_round_robin_goes_on_where_it_was_when_that_server_left() -> None:
    among = servers(6)
    policy = made("round_robin", among)
    while chosen(policy, among) != "s2":
        pass
    rest = tuple(endpoint for endpoint in among if endpoint.name != "s2")
    policy.update(rest, 1.0)
    assert [chosen(policy, rest) for _ in range(5)] == ["s3", "s4", "s5", "s0", "s1"]
    policy.update(among, 2.0)
    assert chosen(policy, among) == "s2"


@given(seed=st.integers(0, 999))
def test_flapping_servers_starve_nobody(seed: int) -> None:
    dice = Random(seed)
    flips = [dice.randrange(6) for _ in range(200)]
    among = servers(6)
    policy = made("round_robin", among)
    waited = Counter[str]()
    for out in flips:
        view = tuple(endpoint for place, endpoint in enumerate(among) if place != out)
        name = chosen(policy, view)
        for endpoint in view:
            waited[endpoint.name] = 0 if endpoint.name == name else waited[endpoint.name] + 1
    assert max(waited.values()) <= 6 * 5


def test_smooth_weighted_round_robin_in_nginx_order() -> None:
    among = servers(3, (5, 1, 1))
    policy = made("smooth_weighted_round_robin", among)
    order = "".join("abc"[int(chosen(policy, among)[1:])] for _ in range(14))
    assert order == "aabacaaaabacaa"


@given(weights=st.lists(st.integers(1, 9), min_size=1, max_size=7))
def test_one_period_gives_each_its_weight_and_never_a_burst(weights: list[int]) -> None:
    among = servers(len(weights), weights)
    policy = made("smooth_weighted_round_robin", among)
    total = sum(weights)
    for period in range(2):
        counts = tally(policy, among, total)
        assert [counts[endpoint.name] for endpoint in among] == weights, period
    for number in range(1, total + 1):
        counts[chosen(policy, among)] += 1
        for endpoint in among:
            due = number * endpoint.weight / total
            assert abs(counts[endpoint.name] - endpoint.weight - due) < len(weights)


def test_credits_outlive_a_change_of_the_view() -> None:
    among = servers(3, (5, 1, 1))
    policy = made("smooth_weighted_round_robin", among)
    order = [chosen(policy, tuple(iter(among))) for _ in range(7)]  # an equal view that is another object each time
    assert order == ["s0", "s0", "s1", "s0", "s2", "s0", "s0"]
