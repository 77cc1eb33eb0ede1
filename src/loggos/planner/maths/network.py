"""What every analysis of a network of stations takes and gives: checked arguments in, a `Solution` out.

Rows are classes of requests, columns stations. A demand is the seconds of service that one request of a class takes at a station,
all visits together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from loggos.base.errors import InputError
from loggos.planner.maths import checks
from loggos.planner.types import Floats

DELAY: Final = 0  # the number of servers of a station where nobody queues


@dataclass(frozen=True, slots=True)
class Solution:
    """A network in its steady state. Rows are classes, columns stations; times in seconds per request, all visits together.

    `response_s` leaves out think time. `utilisation` is the share of time each server is busy with the class; of a delay
    station, the mean number there.
    """

    throughput_per_s: Floats
    response_s: Floats
    residence_s: Floats
    in_station: Floats
    utilisation: Floats


def solution(throughput: Floats, residence: Floats, demands: Floats, counts: Floats) -> Solution:
    """A solution from throughputs and residence times; the rest follows by Little's law and the utilisation law."""
    rates = throughput[:, None]
    busy = rates * demands / np.maximum(counts, 1)
    return Solution(throughput, residence.sum(axis=1), residence, rates * residence, busy)


def closed_arguments(
    demands_s: Sequence[Sequence[float]] | Floats,
    populations: Sequence[float],
    think_s: Sequence[float] | None,
    servers: Sequence[int] | None,
    whole: bool = True,
) -> tuple[Floats, Floats, Floats, Floats]:
    """Demands, populations, think times and server counts as arrays that fit each other."""
    demands = checks.matrix("demands_s", demands_s)
    classes = demands.shape[0]
    thinking = checks.vector("think_s", think_s) if think_s is not None else np.zeros(classes)
    if len(populations) != classes or thinking.size != classes:
        raise InputError(
            f"{classes} rows of demands, {len(populations)} populations and {thinking.size} think times: give one for each class"
        )
    people = checks.vector("populations", populations)
    if whole:
        people = np.array([checks.count("population", number, 0) for number in populations])
    some_work(demands, thinking)
    return demands, people, thinking, server_counts(demands.shape[1], servers)


def server_counts(stations: int, servers: Sequence[int] | None) -> Floats:
    if servers is None:
        return np.ones(stations)
    if len(servers) != stations:
        raise InputError(f"{stations} stations and {len(servers)} numbers of servers: give one for each station")
    return np.array([checks.count("servers", count, DELAY) for count in servers], dtype=np.float64)


def some_work(demands: Floats, thinking: Floats) -> None:
    for row, idle in enumerate(demands.sum(axis=1) + thinking <= 0):
        if idle:
            raise InputError(f"class {row + 1} has no demand and no think time, so nothing bounds its throughput: measure it")
