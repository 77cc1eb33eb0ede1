"""The supermarket model: one balancer that sees everything, very many equal servers, Poisson arrivals, exponential work.

Each request goes to the shortest of d queues drawn by chance. With ever more servers, the share of them that have k requests
or more comes to rest at λ^((d^k - 1) / (d - 1)), and a request takes T_d = Σ_i λ^((d^i - d) / (d - 1)) service times: the theory
that a policy of d choices is held against. The loop here is the farm's, without what this model has not (other balancers,
unequal servers, failures, probes): where queues are first come first served, a request's end is known when it arrives.

Starting empty, heavy load takes long to build up: `equilibrium` starts at the theory's fixed point instead, where the policy of
the theory stays, and any other one leaves at once.
Sources: Mitzenmacher, The power of two choices in randomized load balancing (2001); Vvedenskaya, Dobrushin, Karpelevich (1996).
"""

from __future__ import annotations

import heapq
import math
from array import array

from loggos.balance.types import Dice, Endpoint, Policy
from loggos.base.errors import InputError
from loggos.base.limits import FARM_SERVERS_MAX

SMALLEST_TERM = 1e-12


def tail(load: float, d: int, at_least: int) -> float:
    """The share of servers with `at_least` requests or more, at the fixed point. InputError unless 0 < load < 1 and d ≥ 1."""
    _check(load, d)
    exponent = at_least if d == 1 else (d**at_least - 1) // (d - 1)
    return math.exp(exponent * math.log(load)) if exponent < 1e9 else 0.0


def theory(load: float, d: int) -> float:
    """The mean time of a request in service times. InputError unless 0 < load < 1 and d ≥ 1."""
    _check(load, d)
    if d == 1:
        return 1.0 / (1.0 - load)
    total, step = 0.0, 1
    while (share := tail(load, d, step)) > SMALLEST_TERM:
        total += share
        step += 1
    return total / load


def supermarket(
    policy: Policy, *, servers: int, load: float, requests: int, arrivals: Dice, works: Dice, equilibrium: int = 0
) -> array[float]:
    """The time that each request takes, in service times, in the order of arrival.

    policy       any policy that needs no reports
    arrivals     chance for the arrivals; `works`: for the work
    equilibrium  start at the fixed point of so many choices; 0: start empty
    """
    _check(load, max(equilibrium, 1))
    if not 1 <= servers <= FARM_SERVERS_MAX or requests < 1:
        raise InputError(f"{servers} servers and {requests} requests: from 1 to {FARM_SERVERS_MAX}, and at least one")
    endpoints = tuple(Endpoint(f"s{number}") for number in range(servers))
    place_of = {endpoint.name: place for place, endpoint in enumerate(endpoints)}
    policy.update(endpoints, 0.0)
    free_at, ends = [0.0] * servers, []
    if equilibrium:
        ends = _fill(policy, endpoints, _fixed_point(servers, load, equilibrium), works, free_at)
    times, now = array("d"), 0.0
    pick, started, finished, arrival, work = policy.pick, policy.started, policy.finished, arrivals.random, works.random
    push, pop, log, gap = heapq.heappush, heapq.heappop, math.log, -1.0 / (load * servers)
    for _ in range(requests):
        now += gap * log(1.0 - arrival())
        while ends and ends[0][0] <= now:
            end, place, time = pop(ends)
            finished(endpoints[place].name, end, time, True)
        endpoint = pick(now, endpoints)
        assert endpoint is not None, "a policy chose none of the servers"
        started(endpoint.name, now)
        place = place_of[endpoint.name]
        free = free_at[place]
        free_at[place] = end = (free if free > now else now) - log(1.0 - work())
        push(ends, (end, place, end - now))
        times.append(end - now)
    return times


def _fixed_point(servers: int, load: float, d: int) -> list[int]:
    """How many requests each server has, the longest queue first: the shares of `tail`, rounded to whole servers."""
    queues = [0] * servers
    length = 1
    while (holders := round(tail(load, d, length) * servers)) > 0:
        for place in range(holders):
            queues[place] = length
        length += 1
    return queues


def _fill(
    policy: Policy, endpoints: tuple[Endpoint, ...], queues: list[int], works: Dice, free_at: list[float]
) -> list[tuple[float, int, float]]:
    """Gives every server its requests at time 0; their ends, as a heap."""
    ends = []
    for place, length in enumerate(queues):
        for _ in range(length):
            policy.started(endpoints[place].name, 0.0)
            free_at[place] -= math.log(1.0 - works.random())
            ends.append((free_at[place], place, free_at[place]))
    heapq.heapify(ends)
    return ends


def _check(load: float, d: int) -> None:
    if not 0.0 < load < 1.0:
        raise InputError(f"load {load}: the supermarket model comes to rest between 0 and 1 only")
    if d < 1:
        raise InputError(f"{d} choices: at least one")
