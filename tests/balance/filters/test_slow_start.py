"""Slow start: weights of the new grow from a little to all."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loggos.balance.filters.slow_start import SlowStart
from loggos.balance.types import Endpoint
from loggos.base.errors import ConfigError

from .test_health import servers

OLD = Endpoint("old", 2.0)
NEW = Endpoint("new", 4.0)


def grown(filter_: SlowStart, now_s: float) -> float:
    return filter_.apply((OLD, NEW), now_s)[1].weight


def test_the_first_end_points_are_warm() -> None:
    assert SlowStart(10.0).apply(servers(3), 5.0) == servers(3)


def test_weight_grows_in_a_straight_line_from_a_tenth() -> None:
    filter_ = SlowStart(10.0)
    filter_.apply((OLD,), 0.0)
    assert [grown(filter_, 100.0 + age) for age in (0, 0.5, 2.5, 5, 7.5, 10, 99)] == pytest.approx([0.4, 0.4, 1, 2, 3, 4, 4])
    assert filter_.apply((OLD, NEW), 105.0)[0] is OLD


def test_aggression_makes_it_quicker_at_first() -> None:
    filter_ = SlowStart(10.0, aggression=2.0)
    filter_.apply((OLD,), 0.0)
    assert [grown(filter_, age) for age in (0.0, 2.5, 10.0)] == pytest.approx([0.4, 2.0, 4.0])


def test_who_was_away_starts_again() -> None:
    filter_ = SlowStart(10.0)
    for now_s in (0.0, 1.0):
        assert grown(filter_, now_s) == 4.0
    filter_.apply((OLD,), 2.0)
    assert grown(filter_, 3.0) == pytest.approx(0.4)


def test_it_is_asked_again_while_somebody_is_young() -> None:
    filter_ = SlowStart(10.0, steps=20)
    filter_.apply((OLD,), 0.0)
    assert filter_.changes_at_s() == float("inf")
    filter_.apply((OLD, NEW), 1.0)
    assert filter_.changes_at_s() == 1.5
    filter_.apply((OLD, NEW), 11.0)
    assert filter_.changes_at_s() == float("inf")


@given(ages=st.lists(st.floats(0, 30), min_size=2, max_size=20), aggression=st.floats(0.3, 4), least=st.floats(0.01, 1))
def test_weight_never_falls_and_never_exceeds_its_own(ages: list[float], aggression: float, least: float) -> None:
    filter_ = SlowStart(20.0, aggression=aggression, least=least)
    filter_.apply((OLD,), 0.0)
    filter_.apply((OLD, NEW), 0.0)
    weights = [grown(filter_, age) for age in sorted(ages)]
    assert weights == sorted(weights)
    assert least * 4.0 <= weights[0] * (1 + 1e-12)
    assert weights[-1] <= 4.0


def test_times_are_checked() -> None:
    with pytest.raises(ConfigError, match="window_s"):
        SlowStart(0.0)
    with pytest.raises(ConfigError, match="least"):
        SlowStart(1.0, least=0.0)
