"""Mean value analysis: networks of stations with several classes of requests, closed (users), open (arrivals) and mixed.

A demand is the seconds of service that one request of a class takes at a station, all visits together. Stations queue (first
come first served with equal exponential service, or processor sharing with any) or delay (no queue). Closed exact analysis of
stations with several servers is by normalisation constants (convolution.py); the approximations take such a station apart into a
queue of demand D/m and a delay of D (m-1)/m (Seidmann), which is exact at no load and at saturation.
Source: Reiser and Lavenberg (1980); Lazowska et al., Quantitative System Performance, ch. 6 to 8; Bard (1979) and Schweitzer
(1979); Seidmann, Schweitzer, Shalev-Oren (1987).
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np

from loggos.base.errors import InputError
from loggos.base.limits import PLANNER_MVA_STEPS_MAX, PLANNER_SWEEPS_MAX
from loggos.planner.maths import checks, convolution, network
from loggos.planner.maths.network import DELAY, Solution, solution
from loggos.planner.maths.queues import mmc
from loggos.planner.types import Floats

TOLERANCE: Final = 1e-10  # of numbers in stations, between the sweeps of an approximate analysis


def closed(
    demands_s: Sequence[float] | Floats, population: int, think_s: float = 0.0, servers: Sequence[int] | None = None
) -> Solution:
    """One class of `population` users who think `think_s` between requests; exact. `servers` of each station; DELAY: no queue."""
    return deque(_growing(demands_s, population, think_s, servers), maxlen=1)[0]


def curve(
    demands_s: Sequence[float] | Floats, population: int, think_s: float = 0.0, servers: Sequence[int] | None = None
) -> list[Solution]:
    """As `closed`, for every population from 1 up to `population`; exact."""
    return list(_growing(demands_s, population, think_s, servers))


def closed_classes(
    demands_s: Sequence[Sequence[float]] | Floats,
    populations: Sequence[int],
    think_s: Sequence[float] | None = None,
    servers: Sequence[int] | None = None,
) -> Solution:
    """Several closed classes; exact. Steps grow with the product of the populations: `schweitzer` where that is too many.

    Source: Lazowska, section 7.4.2.
    """
    demands, people, thinking, counts = network.closed_arguments(demands_s, populations, think_s, servers)
    if (counts > 1).any():
        return convolution.solve(demands, people, thinking, counts)
    _affordable(math.prod(number + 1 for number in people) * demands.size)
    shape = tuple(number + 1 for number in people)
    inside = np.zeros((*shape, demands.shape[1]))  # the number at each station, for each population vector
    queues = counts == 1
    for vector in np.ndindex(shape):
        residence, throughput = _arrive(demands, thinking, vector, inside, queues)
        inside[vector] = throughput @ residence
    return solution(throughput, residence, demands, counts)


def schweitzer(
    demands_s: Sequence[Sequence[float]] | Floats,
    populations: Sequence[float],
    think_s: Sequence[float] | None = None,
    servers: Sequence[int] | None = None,
) -> Solution:
    """Several closed classes, approximately, at a cost that does not grow with the populations.

    Throughputs are within 8 % of exact for one class, or for eight customers of each or more; half of them within 2 %. A handful
    of customers of several classes may be off by a quarter: there `closed_classes` costs nothing.
    An arrival of class r sees N_s customers of each other class s and (N_r - 1)/N_r of its own (Bard and Schweitzer). Populations
    need not be whole. Stations with several servers by Seidmann. Source: Lazowska, section 7.4.2.
    """
    demands, people, thinking, counts = network.closed_arguments(demands_s, populations, think_s, servers, whole=False)
    queueing, delaying = _seidmann(demands, counts)
    active = people > 0
    own = np.where(active, (people - 1) / np.where(active, people, 1), 0.0)
    inside = people[:, None] * np.where(active[:, None], 1 / demands.shape[1], 0.0) * np.ones_like(demands)
    for _ in range(PLANNER_SWEEPS_MAX):
        total = inside.sum(axis=0)
        residence = queueing * (1 + np.maximum(0.0, total + (own - 1)[:, None] * inside)) + delaying
        cycle = np.where(active, thinking + residence.sum(axis=1), 1.0)
        throughput = people / cycle
        moved = throughput[:, None] * (residence - delaying)
        change = float(np.abs(moved - inside).max())
        inside = moved
        if change <= TOLERANCE * max(1.0, float(people.max())):
            return solution(throughput, residence, demands, counts)
    raise InputError(
        f"the approximate analysis has not settled after {PLANNER_SWEEPS_MAX:,} sweeps: demands of {demands.min():g} to"
        f" {demands.max():g} s are too far apart; leave out stations whose demand is negligible"
    )


def open_classes(
    demands_s: Sequence[Sequence[float]] | Floats, arrivals_per_s: Sequence[float], servers: Sequence[int] | None = None
) -> Solution:
    """Several open classes: each station on its own, as all arrivals of a product form network see it.

    Exact where each has one server or none; with several servers exact if the classes' service times there are equal (M/M/c), an
    approximation if not. Source: Lazowska, section 7.4.1.
    """
    demands = checks.matrix("demands_s", demands_s)
    arrivals = checks.vector("arrivals_per_s", arrivals_per_s)
    counts = network.server_counts(demands.shape[1], servers)
    if arrivals.size != demands.shape[0]:
        raise InputError(f"{demands.shape[0]} rows of demands and {arrivals.size} arrival rates: give one for each class")
    return solution(arrivals, demands * _open_stretch(demands, arrivals, counts), demands, counts)


def mixed(
    demands_s: Sequence[Sequence[float]] | Floats,
    arrivals_per_s: Sequence[float],
    populations: Sequence[int],
    think_s: Sequence[float] | None = None,
    delays: Sequence[bool] | None = None,
) -> Solution:
    """Open classes (the first rows of demands, one for each arrival rate) and closed ones (the others) together; exact.

    Stations have one server, or none (`delays`). Closed classes see stations slowed by the open load; open ones see the closed
    ones' queues. Source: Lazowska, section 7.4.3.
    """
    demands = checks.matrix("demands_s", demands_s)
    arrivals = checks.vector("arrivals_per_s", arrivals_per_s)
    openly, closedly = demands[: arrivals.size], demands[arrivals.size :]
    if closedly.shape[0] != len(populations) or not len(populations):
        raise InputError(f"{demands.shape[0]} rows of demands for {arrivals.size} open and {len(populations)} closed classes")
    counts = network.server_counts(demands.shape[1], [DELAY if delay else 1 for delay in delays] if delays is not None else None)
    queues = counts == 1
    free = np.where(queues, 1 / _open_stretch(openly, arrivals, counts), 1.0)
    inner = closed_classes(closedly / free, populations, think_s, [int(count) for count in counts])
    ahead = np.where(queues, inner.in_station.sum(axis=0), 0.0)
    residence = np.vstack([openly * (1 + ahead) / free, inner.residence_s])
    return solution(np.concatenate([arrivals, inner.throughput_per_s]), residence, demands, counts)


def _growing(
    demands_s: Sequence[float] | Floats, population: int, think_s: float, servers: Sequence[int] | None
) -> Iterator[Solution]:
    """One class, for each population in turn. Source: Lazowska, section 6.4.2."""
    demands = checks.vector("demands_s", demands_s)
    counts = network.server_counts(demands.size, servers)
    users = checks.count("population", population)
    think_s = checks.not_negative("think_s", think_s)
    network.some_work(demands[None, :], np.array([think_s]))
    if (counts > 1).any():
        yield from convolution.solve_single(demands, users, think_s, counts)
        return
    _affordable(users * demands.size)
    queues, inside = counts == 1, np.zeros(demands.size)
    for number in range(1, users + 1):
        residence = demands * (1 + inside * queues)
        throughput = number / (think_s + residence.sum())
        inside = throughput * residence
        yield solution(np.array([throughput]), residence[None, :], demands[None, :], counts)


def _arrive(demands: Floats, thinking: Floats, vector: tuple[int, ...], inside: Floats, queues: Floats) -> tuple[Floats, Floats]:
    """Residence times and throughputs for one population vector: an arrival sees the network without itself."""
    residence, throughput = np.zeros_like(demands), np.zeros(len(vector))
    for index, number in enumerate(vector):
        if number == 0:
            continue
        without = (*vector[:index], number - 1, *vector[index + 1 :])
        residence[index] = demands[index] * (1 + inside[without] * queues)
        throughput[index] = number / (thinking[index] + residence[index].sum())
    return residence, throughput


def _open_stretch(demands: Floats, arrivals: Floats, counts: Floats) -> Floats:
    """How many times its demand a request spends at each station: 1 / (1 - U) for a single server."""
    stretch = np.ones(demands.shape[1])
    offered = arrivals @ demands
    for station, count in enumerate(counts):
        if count != DELAY:
            try:
                stretch[station] = mmc(float(offered[station]), 1.0, int(count)).response_s
            except InputError as error:
                raise InputError(f"station {station + 1}: {error}, or fewer arrivals") from error
    return stretch


def _seidmann(demands: Floats, counts: Floats) -> tuple[Floats, Floats]:
    """Demands at single servers, and times of plain delay."""
    queueing = np.where(counts == DELAY, 0.0, demands / np.maximum(counts, 1))
    return queueing, demands - queueing


def _affordable(steps: int) -> None:
    if steps > PLANNER_MVA_STEPS_MAX:
        raise InputError(
            f"an exact analysis takes {steps:,} steps (population vectors times stations), more than {PLANNER_MVA_STEPS_MAX:,}:"
            " use schweitzer, or fewer classes"
        )
