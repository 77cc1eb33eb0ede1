"""When things arrive: iterators of times in seconds, never decreasing. Endless, unless recorded.

`feed` hands them to a kernel one at a time, so an endless one costs no memory. Cut them with `itertools.islice` or `takewhile`.
Source of the thinning: Lewis and Shedler, Simulation of nonhomogeneous Poisson processes by thinning (1979).
"""

from __future__ import annotations

import itertools
import math
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence

from loggos.base.errors import InputError
from loggos.des.dice import Dice
from loggos.des.kernel import Kernel
from loggos.des.laws import Law, exponential


def poisson(rate_per_s: float, dice: Dice) -> Iterator[float]:
    """Arrivals without memory at a constant rate."""
    if not 0.0 < rate_per_s < math.inf:
        raise InputError(f"a rate of {rate_per_s} arrivals a second: it is above 0 and finite")
    return renewal(exponential(1.0 / rate_per_s), dice)


def renewal(gaps: Law, dice: Dice) -> Iterator[float]:
    """Arrivals whose gaps are independent and of one law."""
    return _accumulated(gaps.sampler(dice))


def batches(times: Iterable[float], size: Callable[[], int]) -> Iterator[float]:
    """Every arrival becomes `size()` ≥ 0 arrivals at the same time."""
    for time_s in times:
        count = size()
        if count < 0:
            raise InputError(f"a batch of {count} arrivals at {time_s:g} s: a size is not negative")
        for _ in range(count):
            yield time_s


def recorded(times_s: Sequence[float], *, speed_up: float = 1.0) -> Iterator[float]:
    """Arrivals as they were recorded, with the first at 0; `speed_up` 2.0: in half the time.

    Raises InputError where a time is no number or before its predecessor, with its place.
    """
    if not 0.0 < speed_up < math.inf:
        raise InputError(f"speed_up {speed_up}: it is above 0 and finite")
    for place, time_s in enumerate(times_s):
        if not math.isfinite(time_s):
            raise InputError(f"recorded arrival {time_s} at place {place}: a time is a finite number of seconds")
        if place and time_s < times_s[place - 1]:
            raise InputError(
                f"recorded arrival at place {place} is {times_s[place - 1] - time_s:g} s before its predecessor: "
                "the clock was set back, or several recordings were joined; sort them, or cut at the gap"
            )
    first_s = times_s[0] if times_s else 0.0
    return ((time_s - first_s) / speed_up for time_s in times_s)


def thinned(rate_per_s: Callable[[float], float], rate_max_per_s: float, dice: Dice) -> Iterator[float]:
    """A Poisson process whose rate changes with time, from one at its highest rate of which some arrivals are left out."""
    return _thinned(poisson(rate_max_per_s, dice), rate_per_s, rate_max_per_s, dice)


def piecewise(rates: Sequence[tuple[float, float]], dice: Dice, *, period_s: float = math.inf) -> Iterator[float]:
    """A Poisson process of constant rates by parts: `(from_s, rate_per_s)`, the first from 0; again after every `period_s`.

    It ends where the last rate is 0 and there is no period. Raises InputError for parts out of order and negative rates.
    """
    starts = [start_s for start_s, _ in rates]
    if not rates or starts[0] != 0.0:
        raise InputError("rates by parts: the first part starts at 0 s")
    if any(later <= earlier for earlier, later in itertools.pairwise(starts)) or not starts[-1] < period_s:
        raise InputError(f"rates by parts: the starts {starts} rise, and lie within the period, {period_s} s")
    if min(rate for _, rate in rates) < 0.0:
        raise InputError("rates by parts: a rate is not negative")
    highest = max(rate for _, rate in rates)
    end_s = starts[-1] if rates[-1][1] == 0.0 and period_s == math.inf else math.inf

    def rate_per_s(time_s: float) -> float:
        within_s = time_s % period_s if period_s < math.inf else time_s
        return rates[bisect_right(starts, within_s) - 1][1]

    candidates = itertools.takewhile(lambda time_s: time_s < end_s, poisson(highest, dice))
    return _thinned(candidates, rate_per_s, highest, dice)


def feed(kernel: Kernel, times: Iterable[float], action: Callable[[float], object]) -> None:
    """Calls `action(time)` at each of the times; the next is drawn when one is due."""
    source = iter(times)

    def arrive(time_s: float) -> None:
        later_s = next(source, None)
        if later_s is not None:
            kernel.at(later_s, arrive, later_s)
        action(time_s)

    first_s = next(source, None)
    if first_s is not None:
        kernel.at(first_s, arrive, first_s)


def _accumulated(gap: Callable[[], float]) -> Iterator[float]:
    time_s = 0.0
    while True:
        time_s += gap()
        yield time_s


def _thinned(
    candidates: Iterable[float], rate_per_s: Callable[[float], float], rate_max_per_s: float, dice: Dice
) -> Iterator[float]:
    uniform = dice.random
    for time_s in candidates:
        rate = rate_per_s(time_s)
        if not 0.0 <= rate <= rate_max_per_s:
            raise InputError(f"a rate of {rate} a second at {time_s:g} s: it lies between 0 and the maximum, {rate_max_per_s}")
        if uniform() * rate_max_per_s < rate:
            yield time_s
