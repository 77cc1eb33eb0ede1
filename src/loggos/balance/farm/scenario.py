"""What a farm simulates: a value, checked when it is made.

Latencies are told in mean service times; seconds matter where a policy has times of its own (an age of probes, a decay). So the
law of the work says how long a mean request is on a server of speed 1: 0.1 s, unless another law is given.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from itertools import pairwise
from typing import Final

from loggos.balance.types import Endpoint
from loggos.base.errors import InputError
from loggos.base.limits import FARM_BALANCERS_MAX, FARM_SERVERS_MAX
from loggos.des.laws import Law, exponential

WORK: Final = exponential(0.1)  # of a request, on a server of speed 1


@dataclass(frozen=True, slots=True)
class Server:
    """A server: `workers` of `speed` each, first come first served, or all requests at once if `is_sharing`."""

    name: str
    speed: float = 1.0
    weight: float = 1.0
    zone: str = ""
    workers: int = 1
    is_sharing: bool = False

    def __post_init__(self) -> None:
        if not 0.0 < self.speed < math.inf or not 0.0 < self.weight < math.inf:
            raise InputError(f"server {self.name}: speed {self.speed} and weight {self.weight} are above 0 and finite")
        if self.workers < 1:
            raise InputError(f"server {self.name}: {self.workers} workers; give at least one")

    @property
    def capacity(self) -> float:
        """Seconds of work a second."""
        return self.speed * self.workers

    @property
    def endpoint(self) -> Endpoint:
        return Endpoint(self.name, self.weight, self.zone)


class Kind(Enum):
    """How a server fails."""

    DIES = "dies"  # what it has is lost and answered with an error; it refuses all else, until it returns, empty
    STALLS = "stalls"  # it takes requests and does nothing; then goes on
    SLOWS = "slows"  # it works at a part of its speed


@dataclass(frozen=True, slots=True)
class Failure:
    """A failure of one server, from `at_s` up to `until_s`. `factor`: what is left of the speed of one that slows."""

    server: str
    kind: Kind
    at_s: float
    until_s: float = math.inf
    factor: float = 0.1

    def __post_init__(self) -> None:
        if not 0.0 <= self.at_s < self.until_s:
            raise InputError(f"failure of {self.server}: from {self.at_s} s until {self.until_s} s; it ends after it began")
        if not 0.0 < self.factor < math.inf:
            raise InputError(f"failure of {self.server}: factor {self.factor} is above 0; a server of speed 0 stalls")


def zone_failure(
    servers: Sequence[Server], zone: str, kind: Kind, at_s: float, until_s: float = math.inf, factor: float = 0.1
) -> tuple[Failure, ...]:
    """All servers of a zone fail together. InputError: there is none in it."""
    failures = tuple(Failure(server.name, kind, at_s, until_s, factor) for server in servers if server.zone == zone)
    if not failures:
        raise InputError(f"failure of zone {zone!r}: no server is in it; there is {sorted({server.zone for server in servers})}")
    return failures


@dataclass(frozen=True, slots=True)
class Recording:
    """Arrivals as recorded, in seconds, and the work of each; without the works, they are drawn from the scenario's law."""

    arrivals_s: tuple[float, ...]
    works_s: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if not self.arrivals_s:
            raise InputError("a recording without arrivals: give at least one")
        if self.works_s and len(self.works_s) != len(self.arrivals_s):
            raise InputError(f"a recording of {len(self.arrivals_s)} arrivals and {len(self.works_s)} works: give one for each")
        for place, work_s in enumerate(self.works_s):
            if not 0.0 <= work_s < math.inf:
                raise InputError(f"recorded work {work_s} at place {place}: it is finite and not negative")


@dataclass(frozen=True, slots=True)
class Scenario:
    """A farm and its load.

    load             offered work over the capacity of all servers, in a Poisson process; 1 and more is allowed, and grows
    work             the law of the work of a request
    requests         how many arrive; the first `warm_up` of them are not counted
    recording        replaces load and requests
    probe_delay_s    from asking for a report to having it; the server looks at its load halfway
    probe_work_s     what answering a probe costs the server, in its queue
    timeout_s        a balancer gives a try up after so long; the server does not learn of it
    noticed_after_s  so long after it died or stalled a server is marked down, so long after it returned it is marked well
    tries            how often a request is sent at most; again only where its balancer has a budget for it
    keys             how many different keys requests have, equally likely, for policies that hash; 0: none
    """

    servers: tuple[Server, ...]
    balancers: int = 1
    load: float = 0.7
    work: Law = WORK
    requests: int = 100_000
    warm_up: int = 10_000
    recording: Recording | None = None
    probe_delay_s: float = 0.0
    probe_work_s: float = 0.0
    timeout_s: float = math.inf
    noticed_after_s: float = math.inf
    tries: int = 1
    keys: int = 0
    failures: tuple[Failure, ...] = ()

    def __post_init__(self) -> None:
        names = [server.name for server in self.servers]
        if not 1 <= len(names) <= FARM_SERVERS_MAX or not 1 <= self.balancers <= FARM_BALANCERS_MAX:
            raise InputError(
                f"a farm of {len(names)} servers and {self.balancers} balancers: "
                f"from 1 to {FARM_SERVERS_MAX}, and from 1 to {FARM_BALANCERS_MAX}"
            )
        if len(dict.fromkeys(names)) < len(names):
            twice = next(name for place, name in enumerate(names) if name in names[:place])
            raise InputError(f"two servers are called {twice}: give each its own name")
        if not 0.0 < self.load < math.inf:
            raise InputError(f"load {self.load}: offered work over capacity is above 0, and finite")
        if not 0 <= self.warm_up < self.arrivals:
            raise InputError(f"{self.arrivals} requests, {self.warm_up} of them to warm up: leave some to be counted")
        for what, value in (("probe_delay_s", self.probe_delay_s), ("probe_work_s", self.probe_work_s), ("keys", self.keys)):
            if not 0.0 <= value < math.inf:
                raise InputError(f"{what} {value}: it is finite and not negative")
        if self.tries < 1:
            raise InputError(f"tries {self.tries}: a request is sent once at least")
        if not self.timeout_s > 0.0 or not self.noticed_after_s >= 0.0:
            raise InputError(f"timeout_s {self.timeout_s} is above 0, noticed_after_s {self.noticed_after_s} is not negative")
        self._check_failures(names)

    def _check_failures(self, names: Sequence[str]) -> None:
        for failure in self.failures:
            if failure.server not in names:
                raise InputError(f"failure of {failure.server}: no server is called so")
        in_order = sorted(self.failures, key=lambda failure: (failure.server, failure.at_s))
        for earlier, later in pairwise(in_order):
            if earlier.server == later.server and later.at_s < earlier.until_s:
                raise InputError(f"server {later.server} fails at {later.at_s} s, while it has failed until {earlier.until_s} s")

    @property
    def arrivals(self) -> int:
        """How many requests arrive."""
        return self.requests if self.recording is None else len(self.recording.arrivals_s)

    @property
    def capacity(self) -> float:
        """Seconds of work a second, of all servers."""
        return math.fsum(server.capacity for server in self.servers)

    @property
    def rate_per_s(self) -> float:
        """Requests a second that make the load."""
        return self.load * self.capacity / self.work.mean_s


def equal_servers(count: int, speed: float = 1.0, first: int = 0) -> tuple[Server, ...]:
    """`count` servers of one speed, s0, s1, …"""
    return tuple(Server(f"s{number}", speed) for number in range(first, first + count))


def unequal_servers(*, oracle_weights: bool = False) -> tuple[Server, ...]:
    """15 servers of speed 1.0 and 5 of 0.4, as old and new machines stand side by side; weighted by speed, or all alike."""
    servers = equal_servers(15) + equal_servers(5, 0.4, first=15)
    if not oracle_weights:
        return servers
    return tuple(Server(server.name, server.speed, weight=server.speed) for server in servers)
