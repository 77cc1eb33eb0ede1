"""Chance, weighted or not: one end point, or a few different ones. A draw costs O(log n) with weights and O(1) without.

Uniform places come from `int(dice.random() * n)`: its bias is under n / 2**53, and it costs a quarter of `randrange`.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate

from loggos.balance.policies.checks import whole
from loggos.balance.policies.views import Views
from loggos.balance.types import Dice, Endpoint, Policy
from loggos.base import limits


def cumulative_weights(among: Sequence[Endpoint]) -> list[float] | None:
    """Running sums of the weights; None if all weights are the same, so that a uniform draw does."""
    first = among[0].weight
    if all(endpoint.weight == first for endpoint in among):
        return None
    return list(accumulate(endpoint.weight for endpoint in among))


def draw_one(dice: Dice, count: int, cumulative: list[float] | None) -> int:
    """A place in 0 … count - 1, in proportion to the weights."""
    if cumulative is None:
        return int(dice.random() * count)
    return min(bisect_right(cumulative, dice.random() * cumulative[-1]), count - 1)


def draw_some(dice: Dice, count: int, wanted: int, cumulative: list[float] | None) -> Sequence[int]:
    """`wanted` different places in random order, or all if there are no more than that.

    With weights: drawn again where a place came twice, SAMPLE_TRIES_MAX times at the most, so that a view in which one end point
    has nearly all weight gives fewer than `wanted` and not a long loop.
    """
    if wanted >= count:
        start = draw_one(dice, count, None)
        return [*range(start, count), *range(start)]
    first = draw_one(dice, count, cumulative)
    if wanted == 1:
        return (first,)
    if wanted == 2 and cumulative is None:
        second = int(dice.random() * (count - 1))
        return (first, second + (second >= first))
    places = [first]
    for _ in range(wanted * limits.SAMPLE_TRIES_MAX):
        place = draw_one(dice, count, cumulative)
        if place not in places:
            places.append(place)
            if len(places) == wanted:
                break
    return places


class Random(Policy):
    """Anyone, weights ignored: what every other policy is measured against."""

    def __init__(self, dice: Dice) -> None:
        self._dice = dice

    def update(self, endpoints: Sequence[Endpoint], now_s: float) -> None:
        pass

    def pick(self, now_s: float, among: Sequence[Endpoint], key: bytes | None = None) -> Endpoint | None:
        return among[int(self._dice.random() * len(among))] if among else None


class WeightedRandom(Policy):
    """Anyone, in proportion to the weights."""

    def __init__(self, dice: Dice) -> None:
        self._dice = dice
        self._cumulative = Views(cumulative_weights)

    def update(self, endpoints: Sequence[Endpoint], now_s: float) -> None:
        self._cumulative.clear()

    def pick(self, now_s: float, among: Sequence[Endpoint], key: bytes | None = None) -> Endpoint | None:
        if not among:
            return None
        return among[draw_one(self._dice, len(among), self._cumulative.of(among))]


def check_choices(d: int) -> None:
    """ConfigError unless `d` is a sensible number of choices."""
    whole("d", d, 1, limits.CHOICES_MAX)
