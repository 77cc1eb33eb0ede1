"""A breaker for each end point: who fails is left out, tried with a few requests, and taken back."""

from __future__ import annotations

import pytest

from loggos.balance.filters.breakers import Breakers
from loggos.balance.guards.breaker import Breaker, State

from .test_health import names, servers


def broken() -> Breakers:
    """Of three, s1 is open until 5."""
    filter_ = Breakers(lambda: Breaker(window=4, requests_min=4, open_s=5.0, trials=2))
    filter_.update(servers(3), 0.0)
    for number in range(4):
        assert not filter_.started("s1", 0.0)
        assert filter_.finished("s1", 0.0, 0.0, False) == (number == 3)
    return filter_


def test_an_open_breaker_leaves_its_end_point_out_until_its_time() -> None:
    filter_ = broken()
    assert names(filter_.apply(servers(3), 1.0)) == ["s0", "s2"]
    assert filter_.changes_at_s() == 5.0
    assert names(filter_.apply(servers(3), 5.0)) == ["s0", "s1", "s2"]
    assert filter_.state("s1") is State.HALF_OPEN
    assert filter_.changes_at_s() == float("inf")


def test_half_open_takes_a_few_requests_and_no_more() -> None:
    filter_ = broken()
    filter_.apply(servers(3), 5.0)
    for expected in (["s0", "s1", "s2"], ["s0", "s2"]):
        assert filter_.started("s1", 5.0)
        assert names(filter_.apply(servers(3), 5.0)) == expected
    for _ in range(2):
        assert filter_.finished("s1", 5.1, 0.1, True)
    assert filter_.state("s1") is State.CLOSED
    assert len(filter_.apply(servers(3), 5.1)) == 3


def test_a_breaker_goes_with_its_end_point() -> None:
    filter_ = broken()
    filter_.update(servers(1), 1.0)
    filter_.update(servers(3), 2.0)
    assert len(filter_.apply(servers(3), 2.0)) == 3
    assert not filter_.finished("gone", 2.0, 0.1, False)
    assert not filter_.started("gone", 2.0)
    with pytest.raises(KeyError):
        filter_.state("gone")
