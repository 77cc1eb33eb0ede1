"""What a simulation showed, and how sure it is.

- Quantiles are exact: of all values, by linear interpolation between order statistics (Hyndman and Fan's type 7).
- Values of one run depend on each other. They are cut into sections long enough to be nearly independent; the spread of the
  statistic over the sections gives its interval (batch means, for quantiles and ratios alike). Independent runs: `over_runs`.
- What an empty system shows at first is cut off: by a given share, or where MSER-5 says.
Sources: Law, Simulation Modeling and Analysis (5th ed.), chapter 9; Asmussen and Glynn, Stochastic Simulation (2007), III.5, IV.5
(sectioning); White, An effective truncation heuristic for bias reduction in simulation output (1997); Abramowitz and Stegun 26.7.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

from loggos.base.errors import InputError

CONFIDENCE = 0.95
SECTIONS = 20  # few enough to be long, many enough that Student's t is near 2
MSER_GROUP = 5


class Estimate(NamedTuple):
    """A value and the interval that holds the true one with the confidence asked for."""

    value: float
    low: float
    high: float

    @property
    def half_width(self) -> float:
        return (self.high - self.low) / 2.0

    def __str__(self) -> str:
        value = f"{self.value:.4g}" if abs(self.value) < 1e4 else f"{self.value:.0f}"
        return f"{value} ± {self.half_width:.2g}" if self.half_width < 100.0 else f"{value} ± {self.half_width:.0f}"


def mean(values: Sequence[float]) -> float:
    """The arithmetic mean of at least one value."""
    return math.fsum(values) / len(values)


def quantile(ordered: Sequence[float], share: float) -> float:
    """The value below which `share` (0 to 1) of `ordered` lies; `ordered` is sorted, with at least one value."""
    assert ordered and 0.0 <= share <= 1.0
    place = share * (len(ordered) - 1)
    below = int(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (place - below) * (ordered[above] - ordered[below])


def quantile_of(share: float) -> Callable[[Sequence[float]], float]:
    """The statistic for `sectioned`: that quantile of values in any order."""
    return lambda values: quantile(sorted(values), share)


def over_runs(values: Sequence[float], confidence: float = CONFIDENCE) -> Estimate:
    """The mean of independent results, one per run, with Student's interval.

    Raises InputError for fewer than two: one run has no spread.
    """
    if len(values) < 2:
        raise InputError(f"{len(values)} run(s): an interval needs at least two; run it again with other seeds")
    middle = mean(values)
    half = _half_width(values, middle, confidence)
    return Estimate(middle, middle - half, middle + half)


def sectioned(
    values: Sequence[float],
    statistic: Callable[[Sequence[float]], float] = mean,
    *,
    sections: int = SECTIONS,
    confidence: float = CONFIDENCE,
) -> Estimate:
    """A statistic of one run's values, in their order in time, with the interval that its spread over `sections` parts gives.

    Raises InputError for fewer than two values per section.
    """
    length = len(values) // sections
    if sections < 2 or length < 2:
        raise InputError(f"{len(values)} values in {sections} sections: give at least two of each; run for longer")
    whole = statistic(values)
    parts = [statistic(values[start * length : (start + 1) * length]) for start in range(sections)]
    half = _half_width(parts, whole, confidence)
    return Estimate(whole, whole - half, whole + half)


def warm_up(values: Sequence[float]) -> int:
    """How many of the first values to leave out: MSER-5, never more than half.

    The truncation with the least standard error of the mean of what remains, over means of five values.
    """
    groups = [mean(values[start : start + MSER_GROUP]) for start in range(0, len(values) - MSER_GROUP + 1, MSER_GROUP)]
    best, least = 0, math.inf
    total = squares = 0.0
    for place in range(len(groups) - 1, -1, -1):
        total += groups[place]
        squares += groups[place] * groups[place]
        remaining = len(groups) - place
        error = (squares - total * total / remaining) / (remaining * remaining)
        if place <= len(groups) // 2 and error <= least:
            best, least = place, error
    return best * MSER_GROUP


def student_t(confidence: float, freedom: int) -> float:
    """The t with P(|T| ≤ t) = confidence, T of Student's law with `freedom` ≥ 1 degrees of freedom."""
    assert 0.0 < confidence < 1.0 and freedom >= 1
    low, high = 0.0, 1.0
    while _within(high, freedom) < confidence:
        low, high = high, 2.0 * high
    for _ in range(80):
        middle = (low + high) / 2.0
        if _within(middle, freedom) < confidence:
            low = middle
        else:
            high = middle
    return (low + high) / 2.0


def _within(t: float, freedom: int) -> float:
    """P(|T| ≤ t): the finite sums of Abramowitz and Stegun 26.7.3 and 26.7.4."""
    angle = math.atan2(t, math.sqrt(freedom))
    cosine2 = math.cos(angle) ** 2
    is_odd = freedom % 2
    term = math.cos(angle) if is_odd else 1.0
    total = 0.0
    for step in range(1 + is_odd, freedom, 2):
        total += term
        term *= cosine2 * step / (step + 1)
    if is_odd:
        return (angle + math.sin(angle) * total) * 2.0 / math.pi
    return math.sin(angle) * total


def _half_width(parts: Sequence[float], middle: float, confidence: float) -> float:
    """Student's half width around `middle`, from parts that are independent."""
    count = len(parts)
    variance = math.fsum((part - middle) ** 2 for part in parts) / (count - 1)
    return student_t(confidence, count - 1) * math.sqrt(variance / count)
