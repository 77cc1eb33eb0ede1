"""What can be fitted to pairs of load and value: each model a curve with bounded parameters, and where to start looking.

Throughput against users, threads or nodes: `USL`, `AMDAHL`, `LINEAR`, `POWER`. Response time against arrivals per second:
`queue_response` (M/M/c), `general_response` (G/G/c by Allen and Cunneen). Utilisation against throughput: `demand`.
Source: maths/usl.py, maths/queues.py, maths/laws.py, and what they name.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np

from loggos.base.errors import InputError
from loggos.planner.fit.points import Points
from loggos.planner.maths import checks, usl
from loggos.planner.types import Floats


@dataclass(frozen=True, slots=True)
class Model:
    """A curve of one variable. `curve(loads, parameters)`, `starts(points)`: guesses, `low` and `high(points)`: bounds.

    `ends(parameters)` is the load at which the curve has no value any more (saturation), inf for most.
    """

    name: str
    words: str
    parameters: tuple[str, ...]
    curve: Callable[[Floats, Floats], Floats]
    starts: Callable[[Points], list[Floats]]
    low: tuple[float, ...]
    high: Callable[[Points], tuple[float, ...]]
    ends: Callable[[Floats], float] = lambda parameters: float("inf")


def _usl_starts(points: Points) -> list[Floats]:
    rate = _slope(points)
    return [np.array([alpha, beta, rate]) for alpha, beta in ((0.01, 1e-4), (0.1, 1e-3), (1e-3, 1e-6), (0.5, 0.01))]


def _slope(points: Points) -> float:
    """The steepest rise from zero to a measured point: above 0, so that a search can start there."""
    above = points.load > 0
    return max(float((points.value[above] / points.load[above]).max(initial=0.0)), 1e-12)


def _line_starts(points: Points) -> list[Floats]:
    return [np.array([float(points.value.mean()), _slope(points)])]


def _free(points: Points) -> tuple[float, ...]:
    return (np.inf, np.inf)


USL: Final = Model(
    "usl",
    "the universal scalability law: contention (alpha) levels throughput off, coherency (beta) bends it down",
    ("alpha", "beta", "gamma"),
    lambda loads, p: usl.curve(loads, p[0], p[1], p[2]),
    _usl_starts,
    (0.0, 0.0, 0.0),
    lambda points: (1.0, 1.0, np.inf),
)
AMDAHL: Final = Model(
    "amdahl",
    "Amdahl's law: contention (alpha) levels throughput off",
    ("alpha", "gamma"),
    lambda loads, p: usl.curve(loads, p[0], 0.0, p[1]),
    lambda points: [start[[0, 2]] for start in _usl_starts(points)],
    (0.0, 0.0),
    lambda points: (1.0, np.inf),
)
LINEAR: Final = Model(
    "linear",
    "a straight line: every unit of load adds the same",
    ("intercept", "slope"),
    lambda loads, p: p[0] + p[1] * loads,
    _line_starts,
    (-np.inf, -np.inf),
    _free,
)
POWER: Final = Model(
    "power",
    "a power law: every doubling of load multiplies by the same",
    ("scale", "exponent"),
    lambda loads, p: p[0] * loads ** p[1],
    lambda points: [np.array([_slope(points), exponent]) for exponent in (1.0, 0.5)],
    (0.0, 0.0),
    _free,
)


def demand(servers: int = 1) -> Model:
    """Utilisation (0 to 1, mean of the servers) against throughput: a demand per request, on top of a constant background."""
    checks.count("servers", servers)
    return Model(
        f"demand on {servers}" if servers > 1 else "demand",
        "the utilisation law: every request takes the same seconds of service, on top of a constant background",
        ("background", "demand_s"),
        lambda loads, p: p[0] + p[1] * loads / servers,
        lambda points: [np.array([0.01, _slope(points) * servers])],
        (0.0, 0.0),
        _free,
        lambda p: servers * (1 - p[0]) / p[1] if p[1] > 0 else float("inf"),
    )


def queue_response(servers: int = 1) -> Model:
    """Mean response time (seconds) against arrivals per second: M/M/c with a fitted service time."""
    checks.count("servers", servers)
    return Model(
        f"M/M/{servers}",
        f"a queue with {servers} server{'s' if servers > 1 else ''}, Poisson arrivals and exponential service",
        ("service_s",),
        lambda loads, p: _response(loads, p[0], servers, 1.0),
        lambda points: [start[:1] for start in _queue_starts(points, servers)],
        (0.0,),
        lambda points: (_longest_service(points, servers),),
        lambda p: servers / p[0] if p[0] > 0 else float("inf"),
    )


def general_response(servers: int = 1) -> Model:
    """As `queue_response`, G/G/c by Allen and Cunneen: `variability` is (cv2 of arrivals + cv2 of service) / 2, 1 for M/M/c."""
    checks.count("servers", servers)
    return Model(
        f"G/G/{servers}",
        f"a queue with {servers} server{'s' if servers > 1 else ''}, arrivals and service as variable as measured",
        ("service_s", "variability"),
        lambda loads, p: _response(loads, p[0], servers, p[1]),
        lambda points: _queue_starts(points, servers),
        (0.0, 0.0),
        lambda points: (_longest_service(points, servers), np.inf),
        lambda p: servers / p[0] if p[0] > 0 else float("inf"),
    )


def _response(loads: Floats, service_s: float, servers: int, variability: float) -> Floats:
    """Mean response times; inf at saturation and beyond."""
    offered = loads * service_s
    blocked = np.ones_like(offered)
    for busy in range(1, servers + 1):  # Erlang's recursion, as in maths/queues.py, for all loads at once
        blocked = offered * blocked / (busy + offered * blocked)
    free = np.where(offered < servers, servers - offered, np.nan)
    waits = blocked / (1 - offered / servers * (1 - blocked))
    return np.where(offered < servers, service_s * (1 + variability * waits / free), np.inf)


def _queue_starts(points: Points, servers: int) -> list[Floats]:
    shortest = float(points.value.min())
    longest = _longest_service(points, servers)
    return [np.array([max(min(shortest * part, longest * 0.99), 1e-12), 1.0]) for part in (1.0, 0.5)]


def _longest_service(points: Points, servers: int) -> float:
    """The service time that would saturate at the largest measured load: it must be shorter, since that load was carried."""
    largest = float(points.load.max())
    if largest <= 0:
        raise InputError(f"{points.where}every load is 0: measure under load, in arrivals per second")
    return servers / largest * (1 - 1e-9)
