"""What every part of capacity planning speaks of: numbers with their intervals, and series of measurements.

Pure values over numpy.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


class Estimate(NamedTuple):
    """A number that was inferred: never without the interval that holds it with probability `level`."""

    value: float
    low: float
    high: float
    level: float = 0.95

    def __str__(self) -> str:
        return f"{self.value:,.4g} [{self.low:,.4g}, {self.high:,.4g}]"


@dataclass(frozen=True, slots=True)
class Series:
    """One measured quantity over time. `times_s`: seconds since the epoch, strictly increasing; `values` of the same length."""

    name: str
    unit: str
    times_s: Floats
    values: Floats
    labels: dict[str, str] = field(default_factory=dict)
    source: str = ""  # the file or address it came from, for messages
