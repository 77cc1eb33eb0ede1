"""One station: how long requests wait, how many are there, how many servers it takes.

Arrivals are Poisson unless said otherwise; rates per second, times in seconds, cv2 the squared coefficient of variation
(variance over squared mean: 0 constant, 1 exponential). Every result obeys Little's law. What has no steady state is refused.
Source: Gross, Shortle, Thompson, Harris, Fundamentals of Queueing Theory (4th ed.), ch. 2 (Markovian queues); Allen, Probability,
Statistics and Queueing Theory (2nd ed.), ch. 5 (Allen-Cunneen); Halfin and Whitt (1981) for square-root staffing.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from loggos.base.errors import InputError
from loggos.base.limits import PLANNER_QUEUE_CAPACITY_MAX, PLANNER_SERVERS_MAX
from loggos.planner.maths import checks

_NORMAL = NormalDist()


@dataclass(frozen=True, slots=True)
class Queue:
    """A station in its steady state.

    `wait_s` and `response_s` are means over the requests that are let in; `in_queue` and `in_system` means over time.
    `throughput_per_s` is what is let in; `wait_probability` the share of it that finds every server busy; `loss_probability`
    the share of arrivals turned away; `empty_probability` None where it is not known.
    """

    arrival_per_s: float
    service_s: float
    servers: int
    throughput_per_s: float
    utilisation: float
    wait_s: float
    response_s: float
    in_queue: float
    in_system: float
    wait_probability: float
    loss_probability: float = 0.0
    empty_probability: float | None = None


def erlang_b(offered_load: float, servers: int) -> float:
    """The share of arrivals lost by M/G/c/c; `offered_load` is arrival times service, in erlangs. Any load will do.

    Recursion B(k) = a B(k-1) / (k + a B(k-1)), which only adds and multiplies positive numbers.
    """
    load = checks.not_negative("offered_load", offered_load)
    blocked = 1.0
    for busy in range(1, checks.count("servers", servers, 0, PLANNER_SERVERS_MAX) + 1):
        blocked = load * blocked / (busy + load * blocked)
    return blocked


def erlang_c(offered_load: float, servers: int) -> float:
    """The share of arrivals that wait in M/M/c. InputError unless `offered_load` (erlangs) is below the number of servers."""
    checks.not_negative("offered_load", offered_load)
    _stable(offered_load, checks.count("servers", servers, 1, PLANNER_SERVERS_MAX))
    return _erlang_c(erlang_b(offered_load, servers), offered_load / servers)


def mm1(arrival_per_s: float, service_s: float) -> Queue:
    """One server, exponential service: R = S / (1 - rho)."""
    return mmc(arrival_per_s, service_s, 1)


def mmc(arrival_per_s: float, service_s: float, servers: int) -> Queue:
    """M/M/c, first come first served: W = C(c, a) S / (c - a)."""
    load = _offered(arrival_per_s, service_s)
    waits = erlang_c(load, servers)
    wait_s = waits * service_s / (servers - load)
    return _lossless(arrival_per_s, service_s, servers, waits, wait_s, _empty(waits, load, servers))


def mmck(arrival_per_s: float, service_s: float, servers: int, capacity: int) -> Queue:
    """M/M/c/K: at most `capacity` requests inside, waiting or served; others are turned away. Any load has a steady state.

    `wait_s` and `response_s` are those of the requests let in.
    """
    load = _offered(arrival_per_s, service_s)
    checks.count("servers", servers, 1, PLANNER_SERVERS_MAX)
    checks.count("capacity", capacity, 1, PLANNER_QUEUE_CAPACITY_MAX)
    if capacity < servers:
        raise InputError(f"capacity {capacity} is less than the {servers} servers: it counts waiting and served requests alike")
    inside = np.arange(capacity + 1)
    # p(n) = p(n-1) a / min(n, c), by logarithms, so that no load and no capacity overflows
    steps = _log(load) - np.log(np.minimum(inside[1:], servers))
    logs = np.concatenate(([0.0], np.cumsum(steps)))
    shares = np.exp(logs - logs.max())
    shares /= shares.sum()
    lost = float(shares[-1])
    accepted = arrival_per_s * (1 - lost)
    in_queue = float(np.maximum(inside - servers, 0) @ shares)
    busy = float(np.minimum(inside, servers) @ shares)
    wait_s = in_queue / accepted if accepted > 0 else 0.0
    return Queue(
        arrival_per_s=arrival_per_s,
        service_s=service_s,
        servers=servers,
        throughput_per_s=accepted,
        utilisation=busy / servers,
        wait_s=wait_s,
        response_s=wait_s + service_s,
        in_queue=in_queue,
        in_system=in_queue + busy,
        wait_probability=min(1.0, float(shares[servers:-1].sum() / shares[:-1].sum())) if accepted > 0 else 0.0,
        loss_probability=lost,
        empty_probability=float(shares[0]),
    )


def ggc(arrival_per_s: float, service_s: float, servers: int, arrival_cv2: float = 1.0, service_cv2: float = 1.0) -> Queue:
    """G/G/c by Allen and Cunneen: the wait of M/M/c times (arrival_cv2 + service_cv2) / 2. An approximation.

    Exact for M/M/c and M/G/1. Otherwise its wait is off, against simulation, by a few per cent with up to 3 servers at
    utilisations of 0.8 to 0.9; the more servers and the less load, the more too long with service_cv2 of 4 (+14 % at 10 servers
    and 0.8, +38 % at 0.6) and the more too short with arrival_cv2 of 4 (-26 % at 10 servers and 0.8). Waits are then short beside
    the service time. `wait_probability` is that of M/M/c.
    """
    variability = (checks.not_negative("arrival_cv2", arrival_cv2) + checks.not_negative("service_cv2", service_cv2)) / 2
    plain = mmc(arrival_per_s, service_s, servers)
    return _lossless(arrival_per_s, service_s, servers, plain.wait_probability, plain.wait_s * variability, None)


def mg1_ps(arrival_per_s: float, service_s: float) -> Queue:
    """One processor shared by all requests inside: R = S / (1 - rho), whatever the distribution of service.

    Nobody waits; `wait_s` is the time lost by sharing. Source: Kleinrock, Queueing Systems vol. II, ch. 4.
    """
    plain = mmc(arrival_per_s, service_s, 1)
    return _lossless(arrival_per_s, service_s, 1, plain.utilisation, plain.wait_s, plain.empty_probability)


def wait_tail(arrival_per_s: float, service_s: float, servers: int, wait_s: float) -> float:
    """M/M/c: the share of requests that wait longer than `wait_s`: C exp(-(c mu - lambda) t)."""
    load = _offered(arrival_per_s, service_s)
    return erlang_c(load, servers) * math.exp(-(servers - load) / service_s * checks.not_negative("wait_s", wait_s))


def response_tail(arrival_per_s: float, service_s: float, servers: int, response_s: float) -> float:
    """M/M/c: the share of requests whose response takes longer than `response_s`.

    Those that wait (share C) take the sum of two exponentials, of rates mu and c mu - lambda; the others one of rate mu.
    """
    load = _offered(arrival_per_s, service_s)
    return _response_tail(erlang_c(load, servers), load, servers, checks.not_negative("response_s", response_s) / service_s)


def wait_quantile(arrival_per_s: float, service_s: float, servers: int, quantile: float) -> float:
    """M/M/c: the wait in seconds that a share `quantile` of the requests does not exceed; 0 if so many do not wait at all."""
    load = _offered(arrival_per_s, service_s)
    return _wait_quantile(erlang_c(load, servers), load, servers, checks.quantile("quantile", quantile)) * service_s


def response_quantile(arrival_per_s: float, service_s: float, servers: int, quantile: float) -> float:
    """M/M/c: the response time in seconds that a share `quantile` of the requests does not exceed; by bisection of the tail."""
    load = _offered(arrival_per_s, service_s)
    waits = erlang_c(load, servers)
    beyond = 1 - checks.quantile("quantile", quantile)
    # a response is a wait and a service: it exceeds the sum of their (1 - beyond/2) quantiles with probability <= beyond
    low, high = 0.0, _wait_quantile(waits, load, servers, 1 - beyond / 2) - math.log(beyond / 2)
    while high - low > 1e-13 * high:
        middle = (low + high) / 2
        if middle in (low, high):
            break
        low, high = (middle, high) if _response_tail(waits, load, servers, middle) > beyond else (low, middle)
    return high * service_s


def servers_for(
    arrival_per_s: float,
    service_s: float,
    *,
    wait_s: float | None = None,
    response_s: float | None = None,
    quantile: float | None = None,
    utilisation_max: float = 1.0,
) -> int:
    """The fewest servers of M/M/c that keep the mean (or, if given, the `quantile`) of wait or response within the objective.

    With neither objective: the fewest within `utilisation_max`. InputError if no number of servers can do it.
    """
    load = _offered(arrival_per_s, service_s)
    checks.probability("utilisation_max", utilisation_max)
    if wait_s is not None and response_s is not None:
        raise InputError("wait_s and response_s are both given: give one objective, or take the larger of two answers")
    meets = _objective(load, service_s, wait_s, response_s, quantile)
    blocked = 1.0
    for servers in range(1, PLANNER_SERVERS_MAX + 1):
        blocked = load * blocked / (servers + load * blocked)
        if servers > load and load <= utilisation_max * servers and meets(_erlang_c(blocked, load / servers), servers):
            return servers
    raise InputError(
        f"{load:,.6g} servers are busy at all times, and {PLANNER_SERVERS_MAX:,} do not meet the objective within"
        f" {utilisation_max:g} utilisation: relax it, or split the load"
    )


def sqrt_staffing(offered_load: float, quality: float) -> int:
    """Servers by the square-root rule, ceil(a + Q sqrt(a)); `offered_load` a in erlangs. At least as many as are stable."""
    load = checks.not_negative("offered_load", offered_load)
    checks.not_negative("quality", quality)
    return max(math.floor(load) + 1, math.ceil(load + quality * math.sqrt(load)))


def halfin_whitt(quality: float) -> float:
    """The share of requests that wait under the square-root rule, as the load grows: 1 / (1 + Q Phi(Q) / phi(Q))."""
    checks.positive("quality", quality)
    return 1 / (1 + quality * _NORMAL.cdf(quality) / _NORMAL.pdf(quality)) if quality < 30 else 0.0


def quality_for(wait_probability: float) -> float:
    """The Q of the square-root rule for which that share of requests waits; the inverse of `halfin_whitt`, by bisection."""
    checks.quantile("wait_probability", wait_probability)
    low, high = 0.0, 30.0
    while high - low > 1e-12:
        middle = (low + high) / 2
        low, high = (middle, high) if halfin_whitt(middle) > wait_probability else (low, middle)
    return high


def _objective(
    load: float, service_s: float, wait_s: float | None, response_s: float | None, quantile: float | None
) -> Callable[[float, int], bool]:
    """Whether a wait probability and a number of servers meet the objective; refuses what no number of servers can meet."""
    if quantile is not None:
        checks.quantile("quantile", quantile)
    if wait_s is not None:
        wait = checks.not_negative("wait_s", wait_s) / service_s
        if quantile is not None:
            return lambda waits, servers: _wait_quantile(waits, load, servers, quantile) <= wait
        if wait == 0:
            raise InputError("wait_s is 0: some request waits with any number of servers; give a mean above 0, or a quantile")
        return lambda waits, servers: waits / (servers - load) <= wait
    if response_s is None:
        return lambda waits, servers: True
    response = checks.positive("response_s", response_s) / service_s
    least = 1.0 if quantile is None else -math.log1p(-quantile)
    if response <= least:
        what = "the mean" if quantile is None else f"the {quantile:g} quantile"
        raise InputError(
            f"response_s {response_s:g} cannot be met: {what} is {least * service_s:.4g} s with no load at all;"
            " shorten the service time or relax the objective"
        )
    if quantile is None:
        return lambda waits, servers: 1 + waits / (servers - load) <= response
    return lambda waits, servers: _response_tail(waits, load, servers, response) <= 1 - quantile


def _offered(arrival_per_s: float, service_s: float) -> float:
    return checks.not_negative("arrival_per_s", arrival_per_s) * checks.positive("service_s", service_s)


def _stable(load: float, servers: int) -> None:
    if load >= servers:
        who = "1 server" if servers == 1 else f"{servers} servers"
        verb = "never catches up" if servers == 1 else "never catch up"
        needed = math.floor(load) + 1
        raise InputError(f"{who} at {load / servers:.4g} utilisation {verb}: at least {needed} are needed")


def _erlang_c(blocked: float, utilisation: float) -> float:
    return blocked / (1 - utilisation * (1 - blocked))


def _empty(waits: float, load: float, servers: int) -> float:
    """The share of time nobody is there: C (1 - rho) c! / a^c; as with servers without number where hardly anyone waits."""
    if waits < 1e-290:
        return math.exp(-load)
    return math.exp(math.log(waits) + math.log1p(-load / servers) + math.lgamma(servers + 1) - servers * math.log(load))


def _wait_quantile(waits: float, load: float, servers: int, quantile: float) -> float:
    """In service times."""
    return max(0.0, _log(waits) - math.log1p(-quantile)) / (servers - load)


def _response_tail(waits: float, load: float, servers: int, response: float) -> float:
    """In service times. The waiting ones take the sum of exponentials of rates 1 and c - a, written so that no digits are lost
    when these are close or the time is long."""
    slow, fast = sorted((1.0, servers - load))
    gap = (fast - slow) * response
    stretch = response if gap < 1e-12 else -math.expm1(-gap) / (fast - slow)
    waited = math.exp(-slow * response) * (1 + slow * stretch)
    return (1 - waits) * math.exp(-response) + waits * waited


def _lossless(arrival_per_s: float, service_s: float, servers: int, waits: float, wait_s: float, empty: float | None) -> Queue:
    """A result in which all that arrives is served; the numbers inside by Little's law."""
    response_s = wait_s + service_s
    return Queue(
        arrival_per_s=arrival_per_s,
        service_s=service_s,
        servers=servers,
        throughput_per_s=arrival_per_s,
        utilisation=arrival_per_s * service_s / servers,
        wait_s=wait_s,
        response_s=response_s,
        in_queue=arrival_per_s * wait_s,
        in_system=arrival_per_s * response_s,
        wait_probability=waits,
        empty_probability=empty,
    )


def _log(value: float) -> float:
    return math.log(value) if value > 0 else -math.inf
