"""What was measured: pairs of load and value. Refused at once if no model can be fitted to them, with what to measure next.

A value is what a load brought about: a throughput, a response time, a utilisation. All are rates, times or shares, so none is
negative. `ordered` points were measured one after another in time and are never judged by their own past.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from loggos.base.errors import InputError
from loggos.planner.types import Floats, Series


@dataclass(frozen=True, slots=True, eq=False)
class Points:
    """Measured pairs. `source`: the file or address they came from, for messages. InputError if they are no measurements."""

    load: Floats
    value: Floats
    load_name: str = "load"
    value_name: str = "throughput_per_s"
    ordered: bool = False
    source: str = ""

    def __post_init__(self) -> None:
        if self.load.ndim != 1 or self.load.shape != self.value.shape:
            raise InputError(f"{self.where}{self.load.size} loads and {self.value.size} values: give one value for each load")
        for place, (load, value) in enumerate(zip(self.load, self.value, strict=True)):
            for name, number in ((self.load_name, load), (self.value_name, value)):
                if not np.isfinite(number):
                    raise InputError(
                        f"{self.where}point {place + 1}: {name} is {number}: leave the point out or measure it again"
                    )
                if number < 0:
                    raise InputError(
                        f"{self.where}point {place + 1}: {name} is {number:g}, below 0: if it is a rate of a counter, the"
                        " counter was reset; leave the point out or measure it again"
                    )

    def __len__(self) -> int:
        return int(self.load.size)

    @property
    def where(self) -> str:
        return f"{self.source}: " if self.source else ""

    def only(self, rows: Sequence[int] | Floats) -> Points:
        """The same measurements, fewer of them."""
        chosen = np.asarray(rows, dtype=np.intp)
        return Points(self.load[chosen], self.value[chosen], self.load_name, self.value_name, self.ordered, self.source)


def points(load: Sequence[float] | Floats, value: Sequence[float] | Floats, value_name: str = "throughput_per_s") -> Points:
    """Points from two lists of numbers, such as a load test yields."""
    return Points(np.asarray(load, dtype=np.float64), np.asarray(value, dtype=np.float64), value_name=value_name)


def of_series(load: Series, value: Series) -> Points:
    """Points from two series, at the times that both have; ordered in time. InputError if they share none."""
    _, here, there = np.intersect1d(load.times_s, value.times_s, assume_unique=True, return_indices=True)
    source = load.source if load.source == value.source else f"{load.source} and {value.source}"
    if not here.size:
        raise InputError(
            f"{source}: {load.name} and {value.name} have no time in common: sample both at the same times, or resample them"
        )
    return Points(load.values[here], value.values[there], load.name, value.name, ordered=True, source=source)


def rate(counter: Series) -> Series:
    """Increase per second of a counter, at the end of each step. InputError, with the time, if it ever decreases."""
    steps = np.diff(counter.values)
    if steps.size == 0:
        raise InputError(f"{counter.source or counter.name}: a rate needs two samples of a counter or more; measure longer")
    if not np.isfinite(counter.values).all():
        place = int(np.flatnonzero(~np.isfinite(counter.values))[0])
        raise InputError(f"{counter.source or counter.name}: sample {place + 1} is {counter.values[place]}: leave it out")
    if (steps < 0).any():
        place = int(np.flatnonzero(steps < 0)[0])
        raise InputError(
            f"{counter.source or counter.name}: counter {counter.name} falls from {counter.values[place]:g} to"
            f" {counter.values[place + 1]:g} at {counter.times_s[place + 1]:.0f} s: it was reset; measure between resets, or give"
            " rates instead of the counter"
        )
    gaps = np.diff(counter.times_s)
    if (gaps <= 0).any():
        place = int(np.flatnonzero(gaps <= 0)[0])
        raise InputError(
            f"{counter.source or counter.name}: the clock goes from {counter.times_s[place]:.0f} s to"
            f" {counter.times_s[place + 1]:.0f} s: sort the samples and leave out repeated ones"
        )
    return Series(counter.name, f"{counter.unit}/s", counter.times_s[1:], steps / gaps, counter.labels, counter.source)
