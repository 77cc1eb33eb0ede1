"""The circuit breaker: every transition of its table, and no others."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loggos.balance.guards.breaker import Breaker, State
from loggos.base.errors import ConfigError

LEGAL = {
    (State.CLOSED, State.OPEN),
    (State.OPEN, State.HALF_OPEN),
    (State.HALF_OPEN, State.CLOSED),
    (State.HALF_OPEN, State.OPEN),
}


def send(breaker: Breaker, now_s: float, oks: list[bool]) -> None:
    for ok in oks:
        assert breaker.allows(now_s)
        breaker.started(now_s)
        breaker.finished(now_s, 0.0, ok)


def state(breaker: Breaker) -> State:
    """Through a call: type checkers take an attribute that was compared for constant."""
    return breaker.state


def opened(**options: float) -> Breaker:
    """Open from 0 to 5."""
    breaker = Breaker(open_s=5.0, **options)  # type: ignore[arg-type]
    send(breaker, 0.0, [False] * 10)
    assert state(breaker) is State.OPEN
    return breaker


def test_it_opens_at_the_share_of_failures_and_not_before_enough_requests() -> None:
    breaker = Breaker(window=20, requests_min=10, share=0.5)
    send(breaker, 0.0, [False] * 9)
    assert state(breaker) is State.CLOSED
    send(breaker, 0.0, [False])
    assert state(breaker) is State.OPEN
    mixed = Breaker(window=20, requests_min=10, share=0.5)
    send(mixed, 0.0, [True] * 11 + [False] * 9)
    assert state(mixed) is State.CLOSED
    send(mixed, 0.0, [False])  # the first success left the window: 10 of 20
    assert state(mixed) is State.OPEN


def test_failures_that_left_the_window_count_no_more() -> None:
    breaker = Breaker(window=20, requests_min=10, share=0.5)
    send(breaker, 0.0, [False] * 4 + [True] * 20 + [False] * 9)
    assert state(breaker) is State.CLOSED


def test_open_refuses_until_its_time() -> None:
    breaker = opened()
    assert not breaker.allows(4.999)
    assert breaker.opens_until_s == 5.0
    assert breaker.allows(5.0)
    assert state(breaker) is State.HALF_OPEN


def test_half_open_lets_a_few_through_and_closes_when_all_were_good() -> None:
    breaker = opened(trials=3)
    for _ in range(3):
        assert breaker.allows(5.0)
        assert breaker.started(5.0)
    assert not breaker.allows(5.0)
    for expected in (State.HALF_OPEN, State.HALF_OPEN, State.CLOSED):
        breaker.finished(6.0, 1.0, True)
        assert state(breaker) is expected
    send(breaker, 6.0, [False] * 9)
    assert state(breaker) is State.CLOSED  # it begins to count anew


def test_one_bad_trial_opens_it_for_twice_as_long() -> None:
    breaker = opened(longest_s=15.0)
    now_s = 5.0
    for stays_s in (10.0, 15.0, 15.0):
        send(breaker, now_s, [True, False])
        assert state(breaker) is State.OPEN
        assert breaker.opens_until_s == now_s + stays_s
        now_s += stays_s
    send(breaker, now_s, [True] * 3)
    send(breaker, now_s, [False] * 10)
    assert breaker.opens_until_s == now_s + 5.0


def test_answers_to_requests_from_before_are_no_trials() -> None:
    breaker = opened(trials=1)
    assert breaker.allows(5.0)
    breaker.started(5.0)
    assert not breaker.finished(5.5, 5.6, False)
    assert not breaker.finished(5.5, 5.6, True)
    assert state(breaker) is State.HALF_OPEN
    assert breaker.finished(6.0, 1.0, True)
    assert state(breaker) is State.CLOSED


def test_a_trial_that_was_given_up_frees_its_place() -> None:
    breaker = opened(trials=1)
    assert breaker.allows(5.0)
    breaker.started(5.0)
    assert not breaker.allows(5.1)
    assert breaker.finished(5.2, 0.2, None)
    assert breaker.allows(5.2)
    assert state(breaker) is State.HALF_OPEN


def test_what_was_given_up_is_no_failure() -> None:
    breaker = Breaker(requests_min=1, window=1)
    assert not breaker.finished(0.0, 0.1, None)
    assert state(breaker) is State.CLOSED


@given(
    trials=st.integers(1, 4),
    events=st.lists(
        st.tuples(st.sampled_from(["ask", "ask", "ok", "fail", "drop"]), st.integers(0, 9), st.floats(0, 4)), max_size=150
    ),
)
def test_only_legal_transitions_and_never_more_trials_than_allowed(trials: int, events: list[tuple[str, int, float]]) -> None:
    breaker = Breaker(window=4, requests_min=2, open_s=3.0, longest_s=6.0, trials=trials)
    out: list[float] = []
    half_open_since_s = now_s = 0.0
    for what, place, gap_s in events:
        now_s += gap_s
        before = breaker.state
        if what == "ask":
            if breaker.allows(now_s):
                assert state(breaker) is not State.OPEN
                breaker.started(now_s)
                out.append(now_s)
        elif out:
            sent_s = out.pop(place % len(out))
            breaker.finished(now_s, now_s - sent_s, {"ok": True, "fail": False, "drop": None}[what])
        after = breaker.state
        assert before is after or (before, after) in LEGAL
        if before is not after and after is State.HALF_OPEN:
            half_open_since_s = now_s
        if after is State.HALF_OPEN:
            assert sum(sent_s >= half_open_since_s for sent_s in out) <= trials


def test_counts_are_checked() -> None:
    for options in ({"requests_min": 21}, {"share": 0.0}, {"trials": 0}, {"open_s": 0.0}, {"longest_s": 1.0}):
        with pytest.raises(ConfigError):
            Breaker(**options)
