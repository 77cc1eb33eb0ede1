"""Peak EWMA: latency rises at once, falls slowly, and silence is not speed."""

from __future__ import annotations

from math import e, exp

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loggos.balance.policies.peak_ewma import PeakEwma, PeakLoad
from loggos.balance.types import Policy

from .helpers import chosen, made, servers, tally


def answer(policy: Policy, name: str, latency_s: float, at_s: float, ok: bool = True) -> None:
    policy.started(name, at_s - latency_s)
    policy.finished(name, at_s, latency_s, ok)


def test_the_average_jumps_up_and_decays_down() -> None:
    load = PeakLoad()
    load.sample(1.0, 0.0, 10.0)
    assert load.latency_s == 1.0
    load.sample(3.0, 0.0, 10.0)
    assert load.latency_s == 3.0
    load.sample(1.0, 10.0, 10.0)
    assert load.latency_s == pytest.approx(1 + 2 / e)


def test_cost_is_latency_times_requests() -> None:
    among = servers(2)
    policy = made("peak_ewma", among, tau_s=1e6)
    answer(policy, "s0", 0.10, 1.0)
    answer(policy, "s1", 0.25, 1.0)
    for _ in range(2):  # 0.1, then 0.2, both under 0.25
        assert chosen(policy, among, now_s=1.0) == "s0"
        policy.started("s0", 1.0)
    assert chosen(policy, among, now_s=1.0) == "s1"  # 0.3


def test_a_stuck_server_never_looks_fast() -> None:
    among = servers(2)
    policy = made("peak_ewma", among, tau_s=1.0)
    answer(policy, "s0", 0.01, 1.0)
    answer(policy, "s1", 0.02, 1.0)
    policy.started("s0", 1.0)  # and no answer
    for second in range(2, 60):
        assert chosen(policy, among, now_s=float(second)) == "s1"
        answer(policy, "s1", 0.02, second + 0.5)
    policy.finished("s0", 60.0, 59.0, True)
    assert chosen(policy, among, now_s=60.1) == "s1"
    assert chosen(policy, among, now_s=60.0 + 59) == "s1" or exp(-59) * 59 < exp(-59.5) * 0.02


def test_it_is_the_oldest_request_that_counts() -> None:
    policy = made("peak_ewma", servers(1), tau_s=1.0)
    assert isinstance(policy, PeakEwma)
    load = policy._ledger["s0"]
    for sent_s in (0.0, 1.0, 2.0):
        policy.started("s0", sent_s)
    policy.finished("s0", 3.0, 2.0, True)  # the one sent at 1.0
    assert load.sent_s == [0.0, 2.0]
    assert policy._cost(load, 10.0) == 10.0 * 3
    policy.finished("s0", 10.0, 10.0, True)
    assert load.sent_s == [2.0]


@given(st.lists(st.tuples(st.floats(0, 100), st.integers(0, 20)), min_size=1, max_size=60))
def test_every_answer_forgets_the_request_it_is_for(turns: list[tuple[float, int]]) -> None:
    load = PeakLoad()
    sent: list[float] = []
    now_s = 0.0
    for gap_s, which in turns:
        now_s += gap_s
        if which < len(sent):
            start_s = sent.pop(which)
            load.forget(now_s - (now_s - start_s))
        else:
            sent.append(now_s)
            load.sent_s.append(now_s)
        assert load.sent_s == pytest.approx(sent, abs=1e-9)


def test_quick_failures_are_not_speed() -> None:
    among = servers(2)
    policy = made("peak_ewma", among)
    answer(policy, "s0", 0.20, 1.0)
    answer(policy, "s1", 0.15, 1.0)
    for second in range(2, 40):
        answer(policy, "s0", 0.001, float(second), ok=False)
    answer(policy, "s1", 0.15, 40.0)
    assert tally_at(policy, 40.0) == {"s1": 20}


def tally_at(policy: Policy, now_s: float) -> dict[str, int]:
    names = [chosen(policy, servers(2), now_s=now_s) for _ in range(20)]
    return {name: names.count(name) for name in dict.fromkeys(names)}


def test_an_untried_server_gets_one_request_and_no_second_before_it_answers() -> None:
    among = servers(2)
    policy = made("peak_ewma", among)
    answer(policy, "s0", 5.0, 5.0)
    assert chosen(policy, among, now_s=5.0) == "s1"
    policy.started("s1", 5.0)
    assert tally(policy, among, 20) == {"s0": 20}


def test_with_weights_cost_is_per_weight() -> None:
    among = servers(2, (3, 1))
    policy = made("peak_ewma", among)
    answer(policy, "s0", 0.2, 1.0)
    answer(policy, "s1", 0.1, 1.0)
    assert tally(policy, among, 20)["s0"] == 20
