"""Operational laws and bounds: what must hold of any system that was measured, and what no system can exceed.

Nothing is fitted and no distribution is assumed for the laws and the asymptotic bounds; the balanced-job bounds assume a product
form network of single servers. Demands are seconds of service at a station per completed request, all visits together.
Source: Lazowska, Zahorjan, Graham, Sevcik, Quantitative System Performance (1984), ch. 3 (laws) and ch. 5 (bounds); Denning and
Buzen, The Operational Analysis of Queueing Network Models (1978).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from loggos.base.errors import InputError
from loggos.planner.maths import checks
from loggos.planner.types import Floats


def utilisation(throughput_per_s: float, service_s: float, servers: int = 1) -> float:
    """Utilisation law, U = X S / c: the share of time each server is busy."""
    checks.count("servers", servers)
    return checks.not_negative("throughput_per_s", throughput_per_s) * checks.not_negative("service_s", service_s) / servers


def in_system(throughput_per_s: float, response_s: float) -> float:
    """Little's law, N = X R: the mean number inside."""
    return checks.not_negative("throughput_per_s", throughput_per_s) * checks.not_negative("response_s", response_s)


def response(in_system: float, throughput_per_s: float) -> float:
    """Little's law, R = N / X, in seconds."""
    return checks.not_negative("in_system", in_system) / checks.positive("throughput_per_s", throughput_per_s)


def station_throughput(throughput_per_s: float, visits: float) -> float:
    """Forced flow law, X_k = X V_k: completions of a station per second."""
    return checks.not_negative("throughput_per_s", throughput_per_s) * checks.not_negative("visits", visits)


def interactive_response(users: float, throughput_per_s: float, think_s: float) -> float:
    """Response time law, R = N / X - Z, in seconds. InputError if the measurements contradict each other (N < X Z)."""
    answer = checks.not_negative("users", users) / checks.positive("throughput_per_s", throughput_per_s)
    answer -= checks.not_negative("think_s", think_s)
    if answer < 0:
        raise InputError(
            f"{users:g} users who think {think_s:g} s cannot complete {throughput_per_s:g} requests a second:"
            f" at most {users / think_s:g}; measure users, throughput and think time over the same interval"
        )
    return answer


def service_demand(utilisation: float, throughput_per_s: float, servers: int = 1) -> float:
    """Seconds of service per completed request, D = U c / X, from a measured utilisation (0 to 1, mean of the servers)."""
    checks.count("servers", servers)
    return checks.probability("utilisation", utilisation) * servers / checks.positive("throughput_per_s", throughput_per_s)


def headroom(nodes: int, lost: int, utilisation_max: float) -> float:
    """The utilisation that `nodes` equal nodes may have, so that the rest stay within `utilisation_max` when `lost` of them fail.

    The load of the lost nodes spreads evenly: U (n) / (n - f) <= U_max.
    """
    checks.count("nodes", nodes)
    checks.count("lost", lost, at_least=0)
    checks.probability("utilisation_max", utilisation_max)
    if lost >= nodes:
        raise InputError(f"losing {lost} of {nodes} nodes leaves none: at least {lost + 1} nodes are needed")
    return utilisation_max * (nodes - lost) / nodes


class Bottleneck(NamedTuple):
    """The station that saturates first. `throughput_per_s_max`: what it lets through. `population`: N*, see `bottleneck`."""

    station: int
    demand_s: float
    throughput_per_s_max: float
    population: float


def bottleneck(demands_s: Sequence[float] | Floats, think_s: float = 0.0, servers: Sequence[int] | None = None) -> Bottleneck:
    """Where the system saturates: the largest demand per server, D_max.

    Its `population` N* = (D + Z) / D_max is where the two asymptotes meet: with more users than that, some must wait.
    """
    demands, per_server = _demands(demands_s, servers)
    station = int(per_server.argmax())
    largest = float(per_server[station])
    if largest <= 0:
        raise InputError("every demand is 0: measure the seconds of service a request takes at each station")
    think_s = checks.not_negative("think_s", think_s)
    return Bottleneck(station, largest, 1 / largest, (float(demands.sum()) + think_s) / largest)


class Bounds(NamedTuple):
    """No system with these demands leaves these bounds. Throughput per second, response in seconds; inf: not bounded."""

    throughput_low: float
    throughput_high: float
    response_low: float
    response_high: float


def asymptotic_closed(
    demands_s: Sequence[float] | Floats, population: int, think_s: float = 0.0, servers: Sequence[int] | None = None
) -> Bounds:
    """Bounds for `population` users who think `think_s` between requests. At worst each waits behind all others everywhere.

    Source: Lazowska, section 5.2; several servers at a station divide its D_max only.
    """
    demands, per_server = _demands(demands_s, servers)
    users = checks.count("population", population)
    think_s = checks.not_negative("think_s", think_s)
    total, largest = float(demands.sum()), float(per_server.max())
    return _closed(users, think_s, low=max(total, users * largest - think_s), high=users * total, largest=largest)


def balanced_closed(demands_s: Sequence[float] | Floats, population: int, think_s: float = 0.0) -> Bounds:
    """Tighter bounds for product form networks of single servers: a balanced system is the best, one of D_max's the worst.

    Source: Lazowska, section 5.4 (Zahorjan et al. 1982).
    """
    demands, _ = _demands(demands_s, None)
    users = checks.count("population", population)
    think_s = checks.not_negative("think_s", think_s)
    total, largest, mean = float(demands.sum()), float(demands.max()), float(demands.mean())
    if total <= 0:
        raise InputError("every demand is 0: measure the seconds of service a request takes at each station")
    best = total + (users - 1) * mean / (1 + think_s / total)
    worst = total + (users - 1) * largest / (1 + think_s / (users * total))
    return _closed(users, think_s, low=max(best, users * largest - think_s), high=worst, largest=largest)


def asymptotic_open(demands_s: Sequence[float] | Floats, arrival_per_s: float, servers: Sequence[int] | None = None) -> Bounds:
    """Bounds for an open system: R >= D, and nothing from above. InputError at or beyond saturation."""
    demands, per_server = _demands(demands_s, servers)
    _stable(per_server, arrival_per_s)
    return Bounds(arrival_per_s, arrival_per_s, float(demands.sum()), math.inf)


def balanced_open(demands_s: Sequence[float] | Floats, arrival_per_s: float) -> Bounds:
    """Bounds for open product form networks of single servers: D / (1 - X D_avg) <= R <= D / (1 - X D_max).

    Source: Lazowska, section 5.4. InputError at or beyond saturation.
    """
    demands, _ = _demands(demands_s, None)
    _stable(demands, arrival_per_s)
    total, largest, mean = float(demands.sum()), float(demands.max()), float(demands.mean())
    return Bounds(arrival_per_s, arrival_per_s, total / (1 - arrival_per_s * mean), total / (1 - arrival_per_s * largest))


def _closed(users: int, think_s: float, low: float, high: float, largest: float) -> Bounds:
    """Response bounds to throughput bounds, by the response time law."""
    assert 0 <= low <= high * (1 + 1e-12), (low, high)
    fastest = users / (low + think_s) if low + think_s > 0 else math.inf
    slowest = users / (high + think_s) if high + think_s > 0 else math.inf
    return Bounds(slowest, min(fastest, 1 / largest if largest > 0 else math.inf), low, max(low, high))


def _stable(per_server: Floats, arrival_per_s: float) -> None:
    checks.not_negative("arrival_per_s", arrival_per_s)
    station = int(per_server.argmax())
    busy = arrival_per_s * float(per_server[station])
    if busy >= 1:
        raise InputError(
            f"{arrival_per_s:g} requests a second keep station {station + 1} at {busy:.4g} utilisation, so it never catches up:"
            f" it takes less than {1 / float(per_server[station]):g} a second; lower its demand or add servers"
        )


def _demands(demands_s: Sequence[float] | Floats, servers: Sequence[int] | None) -> tuple[Floats, Floats]:
    """Demands, and demands per server."""
    demands = checks.vector("demands_s", demands_s)
    if servers is None:
        return demands, demands
    if len(servers) != demands.size:
        raise InputError(f"{demands.size} demands and {len(servers)} numbers of servers: give one for each station")
    return demands, demands / checks.vector("servers", list(servers), above_zero=True)
