"""When things arrive: rates, gaps, batches, recordings; and a kernel fed with them."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator
from itertools import islice, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loggos.base.errors import InputError
from loggos.des import arrivals, laws
from loggos.des.kernel import Kernel
from loggos.des.statistics import sectioned


def test_poisson_arrivals_come_at_their_rate_with_exponential_gaps() -> None:
    times = list(islice(arrivals.poisson(5.0, random.Random(1)), 40_000))
    gaps = [later - earlier for earlier, later in pairwise(times)]
    mean, squares = sectioned(gaps, confidence=0.999), sectioned([gap * gap for gap in gaps], confidence=0.999)
    assert mean.low <= 0.2 <= mean.high and squares.low <= 0.08 <= squares.high


def test_renewal_arrivals_have_gaps_of_their_law() -> None:
    times = list(islice(arrivals.renewal(laws.deterministic(0.5), random.Random(1)), 4))
    assert times == [0.5, 1.0, 1.5, 2.0]


def test_batches_come_at_one_time() -> None:
    sizes = iter([2, 0, 3])
    assert list(arrivals.batches([1.0, 2.0, 3.0], sizes.__next__)) == [1.0, 1.0, 3.0, 3.0, 3.0]


def test_a_recording_is_replayed_from_0_at_any_speed() -> None:
    assert list(arrivals.recorded([100.0, 101.0, 101.0, 104.0])) == [0.0, 1.0, 1.0, 4.0]
    assert list(arrivals.recorded([100.0, 101.0, 101.0, 104.0], speed_up=2.0)) == [0.0, 0.5, 0.5, 2.0]
    assert list(arrivals.recorded([])) == []


def test_rates_by_parts_hold_in_their_parts_and_come_again() -> None:
    times = list(islice(arrivals.piecewise([(0.0, 1.0), (10.0, 4.0), (15.0, 0.0)], random.Random(1), period_s=20.0), 30_000))
    cycles = times[-1] / 20.0
    for start_s, end_s, rate in ((0.0, 10.0, 1.0), (10.0, 15.0, 4.0), (15.0, 20.0, 0.0)):
        expected = cycles * rate * (end_s - start_s)
        counted = sum(start_s <= time_s % 20.0 < end_s for time_s in times)
        assert abs(counted - expected) <= 4.0 * math.sqrt(expected)


def test_rates_that_end_in_0_end() -> None:
    times = list(arrivals.piecewise([(0.0, 2.0), (50.0, 0.0)], random.Random(1)))
    assert times and times[-1] < 50.0 and abs(len(times) - 100) < 40


def test_a_rate_that_changes_smoothly_is_followed() -> None:
    rate: Callable[[float], float] = lambda time_s: 10.0 * (1.0 + math.sin(time_s))
    times = list(islice(arrivals.thinned(rate, 20.0, random.Random(1)), 20_000))
    rising = sum(math.sin(time_s) > 0.0 for time_s in times) / len(times)
    assert abs(rising - (0.5 + 1.0 / math.pi)) < 0.01  # the share of the rate that falls into half a period


@given(st.lists(st.floats(0, 10), max_size=20).map(sorted))
def test_a_kernel_is_fed_each_arrival_at_its_time(times: list[float]) -> None:
    kernel, seen = Kernel(), list[tuple[float, float]]()
    arrivals.feed(kernel, times, lambda time_s: seen.append((time_s, kernel.now_s)))
    assert kernel.pending <= 1
    kernel.run()
    assert seen == [(time_s, time_s) for time_s in times]


@pytest.mark.parametrize(
    ("make", "what"),
    [
        (lambda: arrivals.poisson(0.0, random.Random(1)), "a rate of 0.0"),
        (lambda: arrivals.batches([1.0], lambda: -1), "a batch of -1"),
        (lambda: arrivals.recorded([1.0, math.nan]), "nan at place 1"),
        (lambda: arrivals.recorded([1.0, 5.0, 2.0]), "place 2 is 3 s before"),
        (lambda: arrivals.recorded([1.0], speed_up=0.0), "speed_up 0.0"),
        (lambda: arrivals.thinned(lambda _: 3.0, 2.0, random.Random(1)), "a rate of 3.0"),
        (lambda: arrivals.piecewise([], random.Random(1)), "starts at 0"),
        (lambda: arrivals.piecewise([(1.0, 2.0)], random.Random(1)), "starts at 0"),
        (lambda: arrivals.piecewise([(0.0, 2.0), (3.0, 1.0), (3.0, 2.0)], random.Random(1)), "the starts"),
        (lambda: arrivals.piecewise([(0.0, 2.0), (3.0, 1.0)], random.Random(1), period_s=3.0), "the period"),
        (lambda: arrivals.piecewise([(0.0, 2.0), (3.0, -1.0)], random.Random(1)), "not negative"),
        (lambda: arrivals.piecewise([(0.0, 0.0)], random.Random(1)), "a rate of 0.0"),
    ],
)
def test_what_cannot_arrive_is_refused(make: Callable[[], Iterator[float]], what: str) -> None:
    with pytest.raises(InputError, match=what):
        next(make())
