"""Adaptive concurrency: down when it hurts, up when there is room, still when nobody asks; near the knee of a server."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loggos.balance.guards.concurrency import AimdLimit, GradientLimit, Limit
from loggos.base.errors import ConfigError


def test_additive_increase_while_it_is_used() -> None:
    limit = AimdLimit(late_s=1.0, initial=10)
    limit.finished(0.0, 0.1, True, 4)
    assert limit.limit == 10
    limit.finished(0.0, 0.1, True, 5)
    assert limit.limit == 11
    assert limit.allows(10)
    assert not limit.allows(11)


@pytest.mark.parametrize(("latency_s", "ok"), [(0.1, False), (1.1, True)])
def test_multiplicative_decrease_by_failures_and_late_answers(latency_s: float, ok: bool) -> None:
    limit = AimdLimit(late_s=1.0, initial=100, least=50)
    for expected in (90, 81, 72, 64, 57, 51, 50, 50):
        limit.finished(0.0, latency_s, ok, 100)
        assert limit.limit == expected


def gradient(**options: float) -> GradientLimit:
    """Knows at 1.0 that latency without queues is 0.1."""
    limit = GradientLimit(**{"quiet_samples": 5, "samples_min": 1, "every_s": 60.0, **options})  # type: ignore[arg-type]
    for number in range(1, 6):
        assert limit.limit == 3
        limit.finished(number / 5, 0.1, True, 3)
    return limit


def test_it_begins_low_until_it_knows_latency_without_queues() -> None:
    assert gradient(initial=20).limit == 20


def test_good_latency_raises_the_limit_while_it_is_used() -> None:
    limit = gradient(initial=20, buffer=0.0)
    limit.finished(1.05, 0.1, True, 20)  # the window is not over
    assert limit.limit == 20
    limit.finished(1.1, 0.1, True, 10)
    assert limit.limit == 24  # 20 + sqrt(20)
    limit.finished(1.3, 0.1, True, 11)
    assert limit.limit == 24  # less than half of it was used


def test_longer_latency_lowers_it_and_by_half_at_the_most() -> None:
    limit = gradient(initial=100, buffer=0.0)
    limit.finished(2.0, 0.2, True, 1)
    assert limit.limit == 57  # 50 + sqrt(50)
    limit.finished(3.0, 90.0, False, 1)  # a time-out
    assert limit.limit == 33  # 28.5 + sqrt(28.5), of 57.07


def test_quick_refusals_say_nothing() -> None:
    limit = gradient(initial=20)
    for number in range(50):
        limit.finished(2.0 + number, 0.001, False, 20)
    assert limit.limit == 20


def test_latency_without_queues_is_measured_again_and_old_requests_do_not_count() -> None:
    limit = gradient(initial=20, buffer=0.0)
    limit.finished(61.0, 0.1, True, 20)
    assert limit.limit == 3
    for _ in range(10):
        limit.finished(61.1, 5.0, True, 20)  # sent before
    for number in range(5):
        assert limit.limit == 3
        limit.finished(62.0 + number, 0.4, True, 3)
    assert limit.limit == 20
    limit.finished(67.0, 0.4, True, 20)
    assert limit.limit == 24  # 0.4 is normal now


def served(limit: Limit, rounds: int) -> float:
    """A server with room for 10 at 0.1 s each, kept as busy as allowed; the mean limit of the last half."""
    seen: list[int] = []
    now_s = 0.0
    for number in range(rounds):
        in_flight = limit.limit
        latency_s = 0.1 * max(1.0, in_flight / 10)
        now_s += latency_s
        limit.finished(now_s, latency_s, True, in_flight)
        if number > rounds / 2:
            seen.append(limit.limit)
    return sum(seen) / len(seen)


def test_limits_settle_near_the_knee_of_a_server_and_stay_there() -> None:
    assert 10 <= served(AimdLimit(late_s=0.15, initial=100), 2_000) <= 16
    assert 10 <= served(GradientLimit(initial=100), 2_000) <= 18
    assert 10 <= served(GradientLimit(initial=100), 40_000) <= 18


@given(samples=st.lists(st.tuples(st.floats(0, 10), st.booleans(), st.integers(1, 60)), max_size=100), aimd=st.booleans())
def test_limits_stay_in_their_bounds(samples: list[tuple[float, bool, int]], aimd: bool) -> None:
    limit: Limit = AimdLimit(late_s=1.0, initial=5, least=2, most=30) if aimd else gradient(initial=5, most=30)
    for number, (latency_s, ok, in_flight) in enumerate(samples):
        limit.finished(2.0 + number, latency_s, ok, in_flight)
        assert 2 <= limit.limit <= 30


def test_bounds_are_checked() -> None:
    with pytest.raises(ConfigError, match="initial"):
        GradientLimit(initial=2_000)
    with pytest.raises(ConfigError, match="late_s"):
        AimdLimit(late_s=0.0)
