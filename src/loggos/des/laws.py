"""How long things last: laws of non-negative random durations, each with its mean and its squared coefficient of variation.

A law is a value; `sampler(dice)` gives the function that draws. Everything is drawn from `dice.random()` alone, so that any
source of uniform numbers will do, a recorded or an antithetic one as well.
Sources: Law, Simulation Modeling and Analysis (5th ed.), chapter 8; Tijms, A First Course in Stochastic Models (2003), appendix B
(two-moment fits); Marsaglia and Tsang, A simple method for generating gamma variables (2000).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from loggos.base.errors import InputError
from loggos.des.dice import Dice

Draw: TypeAlias = Callable[[], float]


@dataclass(frozen=True, slots=True)
class Law:
    """A law of durations. `cv2`: variance over squared mean; infinite where the variance is."""

    name: str
    mean_s: float
    cv2: float
    sampler: Callable[[Dice], Draw]


def deterministic(mean_s: float) -> Law:
    """Always the same."""
    _positive("mean", mean_s)
    return Law("deterministic", mean_s, 0.0, lambda _dice: lambda: mean_s)


def exponential(mean_s: float) -> Law:
    """Without memory: cv² = 1."""
    _positive("mean", mean_s)

    def sampler(dice: Dice) -> Draw:
        uniform, log = dice.random, math.log
        return lambda: -mean_s * log(1.0 - uniform())

    return Law("exponential", mean_s, 1.0, sampler)


def erlang(mean_s: float, phases: int) -> Law:
    """The sum of `phases` ≥ 1 equal exponentials: cv² = 1 / phases."""
    _positive("mean", mean_s)
    if not 1 <= phases <= 256:  # beyond it the product of uniform numbers could underflow
        raise InputError(f"an Erlang law of {phases} phases: from 1 to 256; beyond it take gamma, or deterministic")

    def sampler(dice: Dice) -> Draw:
        uniform, log, scale = dice.random, math.log, -mean_s / phases
        counted = range(phases)

        def draw() -> float:
            product = 1.0
            for _ in counted:
                product *= 1.0 - uniform()
            return scale * log(product)

        return draw

    return Law(f"Erlang-{phases}", mean_s, 1.0 / phases, sampler)


def hyperexponential(mean_s: float, cv2: float) -> Law:
    """One of two exponentials, with balanced means: cv² ≥ 1."""
    _positive("mean", mean_s)
    if not 1.0 <= cv2 < math.inf:
        raise InputError(f"a hyperexponential law with cv² {cv2}: it is at least 1 and finite; below 1 take gamma or Erlang")
    often = 0.5 * (1.0 + math.sqrt((cv2 - 1.0) / (cv2 + 1.0)))
    short_s, long_s = mean_s / (2.0 * often), mean_s / (2.0 * (1.0 - often))

    def sampler(dice: Dice) -> Draw:
        uniform, log = dice.random, math.log
        return lambda: (-short_s if uniform() < often else -long_s) * log(1.0 - uniform())

    return Law("hyperexponential", mean_s, cv2, sampler)


def gamma(mean_s: float, cv2: float) -> Law:
    """Any cv² > 0 with one smooth density; its shape is 1 / cv²."""
    _positive("mean", mean_s)
    _positive("cv²", cv2)
    shape = 1.0 / cv2
    raised = shape if shape >= 1.0 else shape + 1.0
    d = raised - 1.0 / 3.0
    c = 1.0 / math.sqrt(9.0 * d)
    scale_s = mean_s * cv2

    def sampler(dice: Dice) -> Draw:
        uniform, normal = dice.random, _normal(dice)

        def draw() -> float:
            value = 0.0
            while value == 0.0:  # accepted with a probability over 0.95 each time
                x = normal()
                v = (1.0 + c * x) ** 3
                if v > 0.0 and math.log(1.0 - uniform()) < 0.5 * x * x + d - d * v + d * math.log(v):
                    value = d * v
            if shape < 1.0:
                value *= (1.0 - uniform()) ** cv2
            return value * scale_s

        return draw

    return Law("gamma", mean_s, cv2, sampler)


def lognormal(mean_s: float, cv2: float) -> Law:
    """Its logarithm is normal: long, but with every moment."""
    _positive("mean", mean_s)
    _positive("cv²", cv2)
    sigma = math.sqrt(math.log1p(cv2))
    mu = math.log(mean_s) - 0.5 * sigma * sigma

    def sampler(dice: Dice) -> Draw:
        normal, exp = _normal(dice), math.exp
        return lambda: exp(mu + sigma * normal())

    return Law("lognormal", mean_s, cv2, sampler)


def bounded_pareto(low_s: float, high_s: float, shape: float) -> Law:
    """Heavy-tailed between two bounds: P(> x) falls as x^-shape."""
    _positive("lower bound", low_s)
    _positive("shape", shape)
    if not low_s < high_s < math.inf:
        raise InputError(f"a bounded Pareto law from {low_s} s to {high_s} s: the upper bound is above the lower one, and finite")
    rest = 1.0 - math.pow(low_s / high_s, shape)

    def moment(k: float) -> float:
        whole = shape * math.pow(low_s, shape) / rest
        if math.isclose(k, shape):
            return whole * math.log(high_s / low_s)
        return whole * (math.pow(low_s, k - shape) - math.pow(high_s, k - shape)) / (shape - k)

    def sampler(dice: Dice) -> Draw:
        uniform, power = dice.random, -1.0 / shape
        return lambda: low_s * math.pow(1.0 - uniform() * rest, power)

    mean_s = moment(1.0)
    return Law("bounded Pareto", mean_s, moment(2.0) / mean_s**2 - 1.0, sampler)


def recorded(durations_s: Sequence[float]) -> Law:
    """Drawn from what was measured, each value as likely as any other.

    Raises InputError for none at all, and for one that is negative or no number, with its place.
    """
    values = tuple(durations_s)
    if not values:
        raise InputError("no recorded durations: give at least one")
    for place, value in enumerate(values):
        if not 0.0 <= value < math.inf:
            raise InputError(f"recorded duration {value} at place {place}: a duration is finite and not negative")
    mean_s = math.fsum(values) / len(values)
    if mean_s == 0.0:
        raise InputError("all recorded durations are 0: nothing can be simulated with them; was the unit cut off?")
    variance = math.fsum((value - mean_s) ** 2 for value in values) / len(values)

    def sampler(dice: Dice) -> Draw:
        uniform, count = dice.random, len(values)
        return lambda: values[int(uniform() * count)]

    return Law("recorded", mean_s, variance / mean_s**2, sampler)


def fitted(mean_s: float, cv2: float) -> Law:
    """The usual law with these two moments: deterministic, gamma below 1, exponential at 1, hyperexponential above."""
    if not 0.0 <= cv2 < math.inf:
        raise InputError(f"a law with cv² {cv2}: it is finite and not negative")
    if cv2 == 0.0:
        return deterministic(mean_s)
    if cv2 < 1.0:
        return gamma(mean_s, cv2)
    return exponential(mean_s) if cv2 == 1.0 else hyperexponential(mean_s, cv2)


def _normal(dice: Dice) -> Draw:
    """Standard normal numbers, two at a time (Box and Muller)."""
    uniform = dice.random
    spare: list[float] = []

    def draw() -> float:
        if spare:
            return spare.pop()
        radius = math.sqrt(-2.0 * math.log(1.0 - uniform()))
        angle = math.tau * uniform()
        spare.append(radius * math.sin(angle))
        return radius * math.cos(angle)

    return draw


def _positive(what: str, value: float) -> None:
    if not 0.0 < value < math.inf:
        raise InputError(f"{what} {value}: it is above 0 and finite")
