"""The retry budget: a share of the requests and a few per second, whatever is asked."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loggos.balance.guards.budget import RetryBudget
from loggos.base.errors import ConfigError


def test_a_share_of_the_requests_may_be_sent_again() -> None:
    budget = RetryBudget(share=0.2, per_s_min=0.0)
    for number in range(100):
        budget.request(number / 100)
    assert [budget.take(1.0) for _ in range(25)] == [True] * 20 + [False] * 5


def test_quiet_clients_may_send_a_few_again() -> None:
    budget = RetryBudget(share=0.2, per_s_min=0.5, window_s=10.0)
    assert [budget.take(1e6) for _ in range(7)] == [True] * 5 + [False] * 2
    assert not budget.take(1e6 + 8.9)
    assert budget.take(1e6 + 10.0)


def test_what_is_older_than_the_window_counts_no_more() -> None:
    budget = RetryBudget(share=1.0, per_s_min=0.0, window_s=10.0)
    budget.request(0.5)
    assert budget.left(9.9) == 1
    assert budget.left(10.0) == 0
    assert not budget.take(10.0)


@given(
    share=st.floats(0, 1),
    per_s=st.floats(0, 2),
    events=st.lists(st.tuples(st.booleans(), st.floats(0, 3)), max_size=200),
)
def test_never_more_than_the_budget_in_any_window(share: float, per_s: float, events: list[tuple[bool, float]]) -> None:
    """Exact windows here, slices there: 10 s of retries against the requests of those 10 s and the slice before."""
    budget = RetryBudget(share=share, per_s_min=per_s, window_s=10.0)
    requests: list[float] = []
    retries: list[float] = []
    now_s = 0.0
    for again, gap_s in events:
        now_s += gap_s
        if not again:
            budget.request(now_s)
            requests.append(now_s)
        elif budget.take(now_s):
            retries.append(now_s)
            window = [at for at in retries if at > now_s - 9.0]
            seen = [at for at in requests if at >= now_s - 10.0]
            assert len(window) <= share * len(seen) + per_s * 10 + 1e-9


def test_shares_are_checked() -> None:
    with pytest.raises(ConfigError, match="share"):
        RetryBudget(share=-0.1)
    with pytest.raises(ConfigError, match="window_s"):
        RetryBudget(window_s=0.0)
