"""What every formula demands of its arguments, checked in one place, refused in one tone.

Each function gives the value back, or raises InputError that names it and says what is expected.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from loggos.base.errors import InputError
from loggos.planner.types import Floats


def positive(name: str, value: float) -> float:
    if not (math.isfinite(value) and value > 0):
        raise InputError(f"{name} is {value:g}: give a finite number above 0")
    return float(value)


def not_negative(name: str, value: float) -> float:
    if not (math.isfinite(value) and value >= 0):
        raise InputError(f"{name} is {value:g}: give a finite number, 0 or above")
    return float(value)


def probability(name: str, value: float) -> float:
    if not 0 <= value <= 1:
        raise InputError(f"{name} is {value:g}: a probability lies between 0 and 1")
    return float(value)


def quantile(name: str, value: float) -> float:
    if not 0 < value < 1:
        raise InputError(f"{name} is {value:g}: a quantile lies between 0 and 1, both excluded (0.99: all but 1 in 100)")
    return float(value)


def count(name: str, value: float, at_least: int = 1, at_most: int | None = None) -> int:
    if value != int(value) or value < at_least:
        raise InputError(f"{name} is {value:g}: give a whole number, at least {at_least}")
    if at_most is not None and value > at_most:
        raise InputError(f"{name} is {value:,}: more than the {at_most:,} that can be computed")
    return int(value)


def vector(name: str, values: Sequence[float] | Floats, above_zero: bool = False) -> Floats:
    """A non-empty array of finite numbers, none negative (or all positive)."""
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or array.size == 0:
        raise InputError(f"{name}: give a non-empty list of numbers")
    for place, value in enumerate(array):
        (positive if above_zero else not_negative)(f"{name}, number {place + 1},", float(value))
    return array


def matrix(name: str, values: Sequence[Sequence[float]] | Floats) -> Floats:
    """A non-empty rectangle of finite numbers, none negative: a row for each class, a column for each station."""
    rows = [vector(f"{name}, row {place + 1}", row) for place, row in enumerate(values)]
    if not rows or any(row.size != rows[0].size for row in rows):
        raise InputError(f"{name}: give at least one row, and all rows of one length")
    return np.array(rows)
