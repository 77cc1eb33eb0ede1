"""Service demands of several classes of requests, from the utilisation of a station and the throughput of each class.

The utilisation law says U c = background + sum of X_r D_r; demands and background are not negative, so it is a regression with
bounds, and what comes out feeds maths/mva.py. Classes must rise and fall differently, or nothing tells them apart.
Source: Lazowska et al., Quantitative System Performance, ch. 12 (parameters from measurements); Lawson and Hanson, Solving
Least Squares Problems (1974), ch. 23.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy import optimize

from loggos.base.errors import InputError
from loggos.planner.fit.fit import RANGE_FACTOR, SIGNAL_MIN
from loggos.planner.fit.regress import margin
from loggos.planner.maths import checks
from loggos.planner.types import Estimate, Floats

CONDITION_MAX: Final = 1e3  # of the throughputs, each scaled to length 1: beyond it the demands cannot be told apart


@dataclass(frozen=True, slots=True, eq=False)
class Demands:
    """Seconds of service a request of each class takes at one station, and the busy servers that no request accounts for."""

    demands_s: dict[str, Estimate]
    background: Estimate
    servers: int
    r_squared: float
    residual_standard_error: float
    degrees_of_freedom: int
    covariance: Floats
    throughput_max: dict[str, float]

    def predict(self, throughput_per_s: Mapping[str, float], force: bool = False) -> Estimate:
        """The utilisation one more measurement would show: a prediction interval. Above 1: it cannot be carried.

        InputError if a class is missing or beyond twice its largest measured throughput, unless `force`d.
        """
        _same_names(list(self.demands_s), list(throughput_per_s))
        for name, rate in throughput_per_s.items():
            checks.not_negative(f"throughput of {name}", rate)
            largest = RANGE_FACTOR * self.throughput_max[name]
            if rate > largest and not force:
                raise InputError(
                    f"{name} at {rate:g} a second is out of range: measured up to {self.throughput_max[name]:g}, the fit holds"
                    f" up to {largest:g}; measure at {rate / RANGE_FACTOR:g} or more, or force the answer"
                )
        row = np.array([1.0, *(throughput_per_s[name] for name in self.demands_s)])
        values = np.array([self.background.value, *(demand.value for demand in self.demands_s.values())])
        busy = float(row @ values)
        spread = math.sqrt(self.residual_standard_error**2 + float(row @ self.covariance @ row))
        reach = margin(self.background.level, self.degrees_of_freedom) * spread
        return Estimate(
            busy / self.servers, max(0.0, busy - reach) / self.servers, (busy + reach) / self.servers, self.background.level
        )


def fit_demands(throughputs_per_s: Mapping[str, Floats], utilisation: Floats, servers: int = 1, level: float = 0.95) -> Demands:
    """Demands of each class at a station; `utilisation` (0 to 1, mean of its servers) and throughputs of the same intervals.

    InputError for too few intervals, for classes that rise and fall together, for noise larger than signal.
    """
    names = list(throughputs_per_s)
    checks.count("servers", servers)
    busy = servers * _column("utilisation", utilisation, utilisation.size)
    if (utilisation > 1).any():
        place = int(np.flatnonzero(utilisation > 1)[0])
        raise InputError(f"utilisation {utilisation[place]:g} in interval {place + 1}: give shares of time, 0 to 1, not per cent")
    table = np.column_stack([np.ones(busy.size), *(_column(name, throughputs_per_s[name], busy.size) for name in names)])
    freedom = busy.size - table.shape[1]
    if not names or freedom < 1:
        raise InputError(f"{busy.size} intervals are too few for {len(names)} classes: measure {len(names) + 2} or more")
    inverse = _inverse(table, names)
    values, missed = optimize.nnls(table, busy)
    variance = missed**2 / freedom
    spread = float(((busy - busy.mean()) ** 2).sum())
    explained = 1 - missed**2 / spread if spread > 0 else 0.0
    if spread == 0 or 1 - variance / (spread / (busy.size - 1)) < SIGNAL_MIN:
        raise InputError(
            f"noise is larger than signal: throughputs explain {max(0.0, explained):.0%} of the variation of utilisation; measure"
            " longer intervals, at loads further apart"
        )
    reach = margin(level, freedom) * np.sqrt(variance * np.diag(inverse))
    estimates = [Estimate(float(v), max(0.0, float(v - w)), float(v + w), level) for v, w in zip(values, reach, strict=True)]
    return Demands(
        demands_s=dict(zip(names, estimates[1:], strict=True)),
        background=estimates[0],
        servers=servers,
        r_squared=explained,
        residual_standard_error=math.sqrt(variance),
        degrees_of_freedom=freedom,
        covariance=variance * inverse,
        throughput_max={name: float(throughputs_per_s[name].max()) for name in names},
    )


def _column(name: str, values: Floats, size: int) -> Floats:
    if values.size != size:
        raise InputError(f"{name} has {values.size} values and utilisation {size}: give one of each for every interval")
    return checks.vector(name, values)


def _inverse(table: Floats, names: list[str]) -> Floats:
    """(X'X)^-1, or the classes that cannot be told apart."""
    lengths = np.linalg.norm(table, axis=0)
    for name, length in zip(names, lengths[1:], strict=True):
        if length == 0:
            raise InputError(f"{name} has no throughput in any interval: leave it out, or measure while it runs")
    _, values, right = np.linalg.svd(table / lengths, full_matrices=False)
    if values[-1] * CONDITION_MAX < values[0]:
        labels = ["the background", *names]
        alike = sorted(np.argsort(-np.abs(right[-1]))[:2])
        raise InputError(
            f"{labels[alike[0]]} and {labels[alike[1]]} cannot be told apart, they rise and fall together: measure intervals in"
            " which their shares differ, and some at low load"
        )
    inverse: Floats = (right.T / values**2) @ right / np.outer(lengths, lengths)
    return inverse


def _same_names(wanted: list[str], given: list[str]) -> None:
    for name in wanted:
        if name not in given:
            raise InputError(f"throughput of {name} is missing: give one for each of {', '.join(wanted)}")
    for name in given:
        if name not in wanted:
            raise InputError(f"{name} is no class of this fit: it knows {', '.join(wanted)}")
