"""The universal scalability law: throughput against load, with contention (alpha), coherency (beta) and the rate of one (gamma).

    X(N) = gamma N / (1 + alpha (N - 1) + beta N (N - 1))

N is the number of users, threads, nodes or processors, at most; X is requests per second. beta = 0 is Amdahl's law, which levels
off; beta > 0 has a peak, after which more load yields less. For what has no queueing model.
Source: Gunther, Guerrilla Capacity Planning (2007), ch. 4 to 6; his names there are sigma, kappa, X(1).
"""

from __future__ import annotations

import math
from typing import NamedTuple

from loggos.planner.maths import checks
from loggos.planner.types import Floats


class Peak(NamedTuple):
    """A place on the curve: this load gives this throughput."""

    load: float
    throughput_per_s: float


def usl(load: float, alpha: float, beta: float, gamma: float) -> float:
    """Throughput at one load, per second. Load and parameters must not be negative."""
    for name, value in (("load", load), ("alpha", alpha), ("beta", beta), ("gamma", gamma)):
        checks.not_negative(name, value)
    return gamma * load / (1 + alpha * (load - 1) + beta * load * (load - 1))


def curve(loads: Floats, alpha: float, beta: float, gamma: float) -> Floats:
    """Throughput at many loads; unchecked, for fitting."""
    answer: Floats = gamma * loads / (1 + alpha * (loads - 1) + beta * loads * (loads - 1))
    return answer


def peak(alpha: float, beta: float, gamma: float) -> Peak:
    """Where throughput is largest: N = sqrt((1 - alpha) / beta). Without coherency it only nears its limit (load inf)."""
    limited = limit(alpha, gamma)
    if beta == 0:
        return Peak(math.inf, limited)
    load = math.sqrt(max(0.0, 1 - alpha) / checks.positive("beta", beta))
    return Peak(load, usl(load, alpha, beta, gamma))


def limit(alpha: float, gamma: float) -> float:
    """What contention alone would let through, gamma / alpha (Amdahl's asymptote), per second; inf without contention."""
    checks.not_negative("alpha", alpha)
    checks.not_negative("gamma", gamma)
    return gamma / alpha if alpha > 0 else math.inf


def optimal(alpha: float, beta: float, gamma: float) -> Peak:
    """Where Amdahl's asymptote meets linear growth: N = 1 / alpha. Beyond it, added load yields little."""
    checks.not_negative("alpha", alpha)
    if alpha == 0:
        return peak(alpha, beta, gamma)
    return Peak(1 / alpha, usl(1 / alpha, alpha, beta, gamma))
