"""What a pool knows and decides, without I/O: members, health, leases. Everything under one lock, held for microseconds.

Rules:
- Every lease that is taken is given back exactly once, whatever happens to it: the policy hears `started` and `finished` in
  pairs.
- Time comes from the clock that was handed in, chance from the dice: two cores with the same calls decide alike.
- Errors say what happened, to which pool, and what to do.
Must not know: event loops, sockets.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from loggos.balance.guards.budget import RetryBudget
from loggos.balance.guards.hedging import Hedging
from loggos.balance.pool.errors import NoEndpointError, PoolClosedError
from loggos.balance.types import Endpoint, Policy, Report


@dataclass(slots=True)
class Tally:
    """What became of the requests to one end point since it joined."""

    in_flight: int = 0
    succeeded: int = 0
    failed: int = 0


@dataclass(slots=True)
class Grant:
    """One request: to whom it goes, and since when. `over` once it was given back."""

    endpoint: Endpoint
    started_s: float
    tally: Tally
    over: bool = False


@dataclass(slots=True)
class Health:
    """The verdict of active checks on one end point; well until it failed."""

    well: bool = True
    in_a_row: int = 0  # answers that contradict the verdict
    why: str = ""


@dataclass(frozen=True, slots=True)
class EndpointStatus:
    """One end point as the pool sees it now."""

    endpoint: Endpoint
    in_flight: int
    succeeded: int
    failed: int
    well: bool
    why: str


class Core:
    """Thread-safe. `policy` is called under the lock only."""

    def __init__(
        self, name: str, policy: Policy, clock: Callable[[], float], *, budget: RetryBudget, hedging: Hedging
    ) -> None:
        self.name = name
        self.clock = clock
        self._policy = policy
        self._budget = budget
        self._hedging = hedging
        self._lock = threading.Lock()
        self._endpoints: tuple[Endpoint, ...] = ()
        self._open: tuple[Endpoint, ...] = ()
        self._tallies: dict[str, Tally] = {}
        self._health: dict[str, Health] = {}
        self._abandoned: deque[Grant] = deque()
        self._closed = False

    # --- members -------------------------------------------------------------------------------------------------------

    def replace(self, endpoints: Sequence[Endpoint]) -> None:
        """These are the members from now on; what is known of those that stay is kept."""
        with self._lock:
            self._endpoints = tuple(endpoints)
            here = {endpoint.name: None for endpoint in endpoints}
            self._tallies = {name: self._tallies.get(name) or Tally() for name in here}
            self._health = {name: self._health.get(name) or Health() for name in here}
            self._policy.update(self._endpoints, self.clock())
            self._look_again()

    def members(self) -> tuple[Endpoint, ...]:
        with self._lock:
            return self._endpoints

    def answered(self, name: str, why: str | None, *, rise: int, fall: int) -> bool:
        """What an active check found; `why` not None: it failed. True: the verdict changed."""
        with self._lock:
            health = self._health.get(name)
            if health is None:
                return False  # it left while it was asked
            well = why is None
            health.why = why or ""
            health.in_a_row = 0 if well == health.well else health.in_a_row + 1
            if well == health.well or health.in_a_row < (rise if well else fall):
                return False
            health.well, health.in_a_row = well, 0
            self._look_again()
            return True

    def _look_again(self) -> None:
        self._open = tuple(endpoint for endpoint in self._endpoints if self._health[endpoint.name].well)

    # --- requests ------------------------------------------------------------------------------------------------------

    def take(self, key: bytes | None, avoid: Collection[str] = ()) -> Grant:
        """An end point for one request; not one of `avoid` if there is any other. NoEndpointError, PoolClosedError."""
        with self._lock:
            if self._closed:
                raise PoolClosedError(f"pool {self.name} is closed: no request can be sent through it; make a new pool")
            now_s = self.clock()
            while self._abandoned:
                self._settle(self._abandoned.popleft(), now_s, True, None)
            among = self._open
            if avoid:
                among = tuple(endpoint for endpoint in among if endpoint.name not in avoid) or self._open
            endpoint = self._policy.pick(now_s, among, key)
            if endpoint is None:
                raise NoEndpointError(self._why_none())
            self._policy.started(endpoint.name, now_s)
            tally = self._tallies[endpoint.name]
            tally.in_flight += 1
            return Grant(endpoint, now_s, tally)

    def give_back(self, grant: Grant, ok: bool, report: Report | None) -> None:
        """The request is over."""
        with self._lock:
            self._settle(grant, self.clock(), ok, report)

    def abandon(self, grant: Grant) -> None:
        """The garbage collector found an open lease. It may run anywhere, also while the lock is held: the next `take` gives the
        grant back."""
        self._abandoned.append(grant)

    def _settle(self, grant: Grant, now_s: float, ok: bool, report: Report | None) -> None:
        assert not grant.over, f"a lease of {grant.endpoint.name} was given back twice"
        grant.over = True
        self._policy.finished(grant.endpoint.name, now_s, max(now_s - grant.started_s, 0.0), ok, report)
        grant.tally.in_flight -= 1
        if ok:
            self._hedging.answered(now_s - grant.started_s)
            grant.tally.succeeded += 1
        else:
            grant.tally.failed += 1

    def probes_wanted(self) -> list[Endpoint]:
        """Whom to ask for a report now; once after each `take`."""
        with self._lock:
            wanted = self._policy.probes_wanted(self.clock())
            by_name = {endpoint.name: endpoint for endpoint in self._endpoints} if wanted else {}
            return [by_name[name] for name in wanted if name in by_name]

    def probed(self, name: str, report: Report) -> None:
        with self._lock:
            self._policy.probed(name, self.clock(), report)

    # --- calls ---------------------------------------------------------------------------------------------------------

    def call_begins(self) -> None:
        """One call, however often it will be tried: it earns its share of a retry and of a hedge."""
        with self._lock:
            now_s = self.clock()
            self._budget.request(now_s)
            self._hedging.request(now_s)

    def may_retry(self) -> bool:
        """Takes one retry from the budget. False: there is none."""
        with self._lock:
            return self._budget.take(self.clock())

    def may_hedge(self) -> bool:
        """Takes one hedge from its budget. False: there is none."""
        with self._lock:
            return self._hedging.take(self.clock())

    def hedge_delay_s(self) -> float | None:
        """After how long most answers would have come; None: too few were seen."""
        with self._lock:
            return self._hedging.delay_s()

    # --- life ----------------------------------------------------------------------------------------------------------

    def close(self) -> None:
        with self._lock:
            self._closed = True

    @property
    def closed(self) -> bool:
        return self._closed

    def status(self) -> list[EndpointStatus]:
        with self._lock:
            return [self._status(endpoint, self._tallies, self._health) for endpoint in self._endpoints]

    @staticmethod
    def _status(endpoint: Endpoint, tallies: Mapping[str, Tally], healths: Mapping[str, Health]) -> EndpointStatus:
        tally, health = tallies[endpoint.name], healths[endpoint.name]
        return EndpointStatus(endpoint, tally.in_flight, tally.succeeded, tally.failed, health.well, health.why)

    def _why_none(self) -> str:
        if not self._endpoints:
            return f"pool {self.name} has no end points: its source named none; start a server, or look at the source"
        ill = [f"{e.name} ({self._health[e.name].why})" for e in self._endpoints if not self._health[e.name].well]
        shown = ", ".join(ill[:3]) + (f" and {len(ill) - 3} more" if len(ill) > 3 else "")
        return f"pool {self.name}: none of {len(self._endpoints)} end points can be used now: unhealthy: {shown or 'none'}"
