"""Hedging: the delay is the quantile that was seen, the copies stay within their share; and the quantile itself."""

from __future__ import annotations

from math import ceil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loggos.balance.guards.hedging import Hedging
from loggos.balance.policies.quantile import WindowQuantile
from loggos.base.errors import ConfigError


def test_no_delay_before_enough_was_seen() -> None:
    hedging = Hedging(samples_min=3)
    for latency_s in (0.1, 0.2):
        hedging.answered(latency_s)
    assert hedging.delay_s() is None
    hedging.answered(0.3)
    assert hedging.delay_s() == 0.3


def test_the_delay_is_the_quantile_and_not_too_short() -> None:
    hedging = Hedging(quantile=0.95, delay_min_s=0.02)
    for number in range(1, 101):
        hedging.answered(number / 1000)
    assert hedging.delay_s() == 0.095
    quick = Hedging(delay_min_s=0.02)
    for _ in range(100):
        quick.answered(0.001)
    assert quick.delay_s() == 0.02


def test_copies_stay_within_their_share() -> None:
    hedging = Hedging(share=0.05, per_s_min=0.0)
    assert not hedging.take(0.0)
    for _ in range(200):
        hedging.request(0.0)
    assert sum(hedging.take(0.0) for _ in range(100)) == 10


@given(values=st.lists(st.floats(0, 10), min_size=1, max_size=60), size=st.integers(1, 20), share=st.floats(0, 1))
def test_the_quantile_is_the_nearest_rank_of_the_last_values(values: list[float], size: int, share: float) -> None:
    window = WindowQuantile(size)
    for value in values:
        window.add(value)
    last = sorted(values[-size:])
    assert len(window) == len(last)
    assert window.quantile(share) == last[max(0, ceil(share * len(last)) - 1)]


def test_quantiles_are_checked() -> None:
    with pytest.raises(ConfigError, match="quantile"):
        Hedging(quantile=95)
