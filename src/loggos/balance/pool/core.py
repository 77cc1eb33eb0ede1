"""What a pool knows and decides, without I/O: a `Balancer` under one lock that is held for microseconds, and the books about it.

Rules:
- Every grant is settled exactly once, whatever happens to its request: the balancer hears `started` and `finished` in pairs.
- Time comes from the clock that was handed in, chance from the balancer's dice: two cores with the same calls decide alike.
- Errors say what happened, to which pool, and what to do.
Must not know: event loops, sockets, how end points are chosen.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from loggos.balance.balancer import Balancer, Refusal
from loggos.balance.guards.deadline import Deadline
from loggos.balance.pool.errors import DeadlineExceededError, LimitedError, NoEndpointError, PoolClosedError
from loggos.balance.types import Endpoint, Report

NAMED_IN_ERRORS = 3  # end points that an error names; the rest is counted


@dataclass(slots=True)
class Tally:
    """What became of the requests to one end point since it joined, and the verdict of active checks on it."""

    in_flight: int = 0
    succeeded: int = 0
    failed: int = 0
    given_up: int = 0
    well: bool = True  # until checks have said otherwise
    contradictions: int = 0  # answers of checks in a row that contradict `well`
    why: str = ""  # what the last check found wrong


@dataclass(slots=True)
class Grant:
    """One request: where it goes, and since when. `over` once it was settled."""

    endpoint: Endpoint
    started_s: float
    tally: Tally
    over: bool = False


@dataclass(frozen=True, slots=True)
class EndpointStatus:
    """One end point as the pool sees it now."""

    endpoint: Endpoint
    in_flight: int  # requests on their way
    succeeded: int
    failed: int
    given_up: int  # cancelled, or another copy won: no verdict
    usable: bool  # it may be chosen now: neither unhealthy nor ejected nor behind an open breaker
    why: str  # what its last health check found wrong; "": nothing


class Core:
    """Thread-safe. The balancer is called under the lock only."""

    def __init__(self, name: str, balancer: Balancer, clock: Callable[[], float]) -> None:
        self.name = name
        self.clock = clock
        self._balancer = balancer
        self._lock = threading.Lock()
        self._endpoints: tuple[Endpoint, ...] = ()
        self._by_name: dict[str, Endpoint] = {}
        self._tallies: dict[str, Tally] = {}
        self._abandoned: deque[Grant] = deque()
        self._closed = False

    # --- members -----------------------------------------------------------------------------------------------------------

    def replace(self, endpoints: Sequence[Endpoint]) -> None:
        """These are the members from now on; what is known of those that stay is kept."""
        with self._lock:
            self._endpoints = tuple(endpoints)
            self._by_name = {endpoint.name: endpoint for endpoint in endpoints}
            self._tallies = {name: self._tallies.get(name) or Tally() for name in self._by_name}
            self._balancer.update(self._endpoints, self.clock())

    def members(self) -> tuple[Endpoint, ...]:
        with self._lock:
            return self._endpoints

    def checked(self, name: str, why: str | None, *, rise: int, fall: int) -> bool:
        """What an active check found; `why` not None: it failed. True: the verdict changed."""
        with self._lock:
            tally = self._tallies.get(name)
            if tally is None:
                return False  # it left while it was asked
            well = why is None
            tally.why = why or ""
            tally.contradictions = 0 if well == tally.well else tally.contradictions + 1
            if tally.contradictions < (rise if well else fall):
                return False
            tally.well, tally.contradictions = well, 0
            self._balancer.mark(name, well)
            return True

    # --- requests ----------------------------------------------------------------------------------------------------------

    def take(
        self, key: bytes | None, avoid: Collection[str] = (), deadline: Deadline | None = None, *, again: bool = False
    ) -> Grant:
        """An end point for one request; not one of `avoid` if there is any other. `again`: it was sent before.

        NoEndpointError, LimitedError, DeadlineExceededError, PoolClosedError.
        """
        with self._lock:
            if self._closed:
                raise PoolClosedError(f"pool {self.name} is closed, no request can be sent through it: make a new pool")
            now_s = self.clock()
            while self._abandoned:
                self._settle(self._abandoned.popleft(), now_s, None, None)
            refusal = self._balancer.may_send(now_s, deadline)
            if refusal is not None:
                raise self._refused(refusal, now_s, deadline)
            endpoint = self._balancer.choose(now_s, key, avoid)
            if endpoint is None:
                raise NoEndpointError(self._why_none(now_s))
            self._balancer.started(endpoint.name, now_s, again=again)
            tally = self._tallies[endpoint.name]
            tally.in_flight += 1
            return Grant(self._by_name[endpoint.name], now_s, tally)  # as it was given: a filter may have changed its weight

    def give_back(self, grant: Grant, ok: bool | None, report: Report | None) -> None:
        """The request is over: well, not well, or (None) given up."""
        with self._lock:
            self._settle(grant, self.clock(), ok, report)

    def abandon(self, grant: Grant) -> None:
        """The garbage collector found an open lease. It may run anywhere, also under the lock: the next `take` settles it."""
        self._abandoned.append(grant)

    def _settle(self, grant: Grant, now_s: float, ok: bool | None, report: Report | None) -> None:
        assert not grant.over, f"a lease of {grant.endpoint.name} was given back twice"
        grant.over = True
        self._balancer.finished(grant.endpoint.name, now_s, max(now_s - grant.started_s, 0.0), ok, report)
        tally = grant.tally
        assert tally.in_flight > 0
        tally.in_flight -= 1
        if ok is None:
            tally.given_up += 1
        elif ok:
            tally.succeeded += 1
        else:
            tally.failed += 1

    def probes_wanted(self) -> list[Endpoint]:
        """Whom to ask for a report now; once after each `take`."""
        with self._lock:
            return [self._by_name[name] for name in self._balancer.probes_wanted(self.clock()) if name in self._by_name]

    def probed(self, name: str, report: Report) -> None:
        with self._lock:
            self._balancer.probed(name, self.clock(), report)

    # --- the same request once more ----------------------------------------------------------------------------------------

    def may_retry(self, deadline: Deadline | None) -> bool | None:
        """Takes one retry from the budget. False: there is none. None: it is too late, or too many are on their way already."""
        with self._lock:
            now_s = self.clock()
            if self._balancer.may_send(now_s, deadline) is not None:
                return None
            return self._balancer.may_retry(now_s, deadline)

    def may_hedge(self, deadline: Deadline | None) -> bool:
        """Takes one second copy from its budget. False: there is none."""
        with self._lock:
            return self._balancer.may_hedge(self.clock(), deadline)

    def hedge_delay_s(self) -> float | None:
        """After how long most answers would have come; None: too few were seen."""
        with self._lock:
            return self._balancer.hedge_delay_s()

    # --- life --------------------------------------------------------------------------------------------------------------

    def close(self) -> None:
        with self._lock:
            self._closed = True

    @property
    def closed(self) -> bool:
        return self._closed

    def status(self) -> list[EndpointStatus]:
        """Every end point, in order."""
        with self._lock:
            usable = self._usable(self.clock())
            return [self._status(endpoint, endpoint.name in usable) for endpoint in self._endpoints]

    def _status(self, endpoint: Endpoint, usable: bool) -> EndpointStatus:
        tally = self._tallies[endpoint.name]
        return EndpointStatus(
            endpoint, tally.in_flight, tally.succeeded, tally.failed, tally.given_up, usable, tally.why
        )

    def _usable(self, now_s: float) -> dict[str, None]:
        return {endpoint.name: None for part in self._balancer.parts(now_s) for endpoint in part.endpoints}

    def _refused(self, refusal: Refusal, now_s: float, deadline: Deadline | None) -> LimitedError | DeadlineExceededError:
        if refusal is Refusal.OVER_LIMIT:
            return LimitedError(
                f"pool {self.name}: {self._balancer.in_flight} requests are on their way, and its concurrency limit lets no more "
                "in: shed this one, or try later"
            )
        left_s = deadline.left_s(now_s) if deadline is not None else 0.0
        return DeadlineExceededError(
            f"pool {self.name}: {left_s:.3g} s are left, less than half of the answers take, so the request is not sent: "
            "give it more time, or look why its end points are slow"
        )

    def _why_none(self, now_s: float) -> str:
        if not self._endpoints:
            return f"pool {self.name} has no end points: start a server, or look at what names them"
        usable = self._usable(now_s)
        out = [endpoint.name for endpoint in self._endpoints if endpoint.name not in usable]
        named = [f"{name} ({self._tallies[name].why or 'its requests failed'})" for name in out[:NAMED_IN_ERRORS]]
        more = f" and {len(out) - NAMED_IN_ERRORS} more" if len(out) > NAMED_IN_ERRORS else ""
        return (
            f"pool {self.name}: none of its {len(self._endpoints)} end points may be used now: {', '.join(named)}{more}: "
            "look at these servers; they are tried again by themselves"
        )
