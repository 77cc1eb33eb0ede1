"""`Pool`: load balancing inside a client, for asyncio and for threads.

    pool = Pool(["10.0.0.1:8000", "10.0.0.2:8000"], "p2c")
    async with pool.lease() as endpoint:          # or, in threads, `with`
        ...                                       # talk to endpoint.name
    answer = await pool.call(fetch, idempotent=True, deadline_s=2.0)    # retries, deadlines, hedging: calls.py

A pool decides in core.py, under one lock, so tasks and threads may share it. What it does on its own (asking a source for
members, health checks, probes: upkeep.py) runs only if there is any. Nothing is started before the first use; `async with pool:`,
`with pool:`, `aclose` or `close` end it. After a fork make a new one.
Must not know: HTTP clients (adapters/ do), how policies choose.
"""

from __future__ import annotations

import random
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from types import TracebackType
from typing import Any, TypeVar

from loggos.balance.balancer import Balancer
from loggos.balance.filters.breakers import Breakers
from loggos.balance.filters.outliers import OutlierEjection
from loggos.balance.filters.slow_start import SlowStart
from loggos.balance.filters.zone import ZoneAware
from loggos.balance.guards.budget import RetryBudget
from loggos.balance.guards.concurrency import Limit
from loggos.balance.guards.hedging import Hedging
from loggos.balance.policies import make
from loggos.balance.pool.calls import Call, CallPlan, Judge, run_in_thread
from loggos.balance.pool.checks import Check, Probe
from loggos.balance.pool.core import Core, EndpointStatus
from loggos.balance.pool.errors import PoolClosedError
from loggos.balance.pool.lease import Lease, blames
from loggos.balance.pool.members import Members, Source, checked
from loggos.balance.pool.upkeep import Upkeep
from loggos.balance.types import Endpoint, Policy
from loggos.base.errors import ConfigError
from loggos.base.limits import POOL_REFRESH_S

T = TypeVar("T")


class Pool:
    """End points, and which of them gets the next request.

    endpoints   addresses, `Endpoint`s, or a source of them (members.py)
    policy      the name of a policy (loggos.balance.policies.POLICIES), or a Policy that nobody else uses
    options     of the policy, where it is given by name
    plan        what calls do unless told otherwise (`CallPlan`)
    retry_budget, hedging, limit                  how many calls may be sent again, or twice, or at once (balance/guards)
    outliers, breakers, slow_start, zones         who may be chosen (balance/filters); True: ejection with its defaults
    panic_below                                   with fewer end points well than this share, health is ignored; 0: never
    health      active checks: `TcpCheck()`, `HttpCheck(path)`; none by default
    probe       how to ask an end point for its load, for policies that want to know: `HttpProbe()`, or a coroutine function
    refresh_s   how often a source is asked for members
    blame       whether an error speaks against the end point (default: `blames`)
    seed        makes the choices repeatable
    ConfigError: something of this cannot be used, and why.
    """

    def __init__(
        self,
        endpoints: Source,
        policy: str | Policy = "p2c",
        *,
        options: Mapping[str, object] | None = None,
        plan: CallPlan | None = None,
        retry_budget: RetryBudget | None = None,
        hedging: Hedging | None = None,
        limit: Limit | None = None,
        outliers: OutlierEjection | bool = True,
        breakers: Breakers | None = None,
        slow_start: SlowStart | None = None,
        zones: ZoneAware | None = None,
        panic_below: float = 0.5,
        health: Check | None = None,
        probe: Probe | None = None,
        refresh_s: float = POOL_REFRESH_S,
        blame: Callable[[BaseException], bool] = blames,
        name: str = "pool",
        seed: int | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if refresh_s <= 0:
            raise ConfigError(f"pool {name}: refresh_s = {refresh_s}: give seconds above 0")
        dice = random.Random(seed)
        if isinstance(policy, str):
            check_probe(name, policy, options or {}, probe)
            policy = make(policy, dice, **(options or {}))
        elif options:
            raise ConfigError(f"pool {name}: options belong to a policy given by name; this one is made already")
        self.name = name
        self.plan = plan if plan is not None else CallPlan()
        self.blame = blame
        self.jitter = random.Random(seed)
        balancer = Balancer(
            policy,
            dice,
            panic_below=panic_below,
            outliers=OutlierEjection() if outliers is True else outliers or None,
            breakers=breakers,
            slow_start=slow_start,
            zones=zones,
            retries=retry_budget or RetryBudget(),
            hedging=hedging or Hedging(),
            limit=limit,
        )
        self.core = Core(name, balancer, clock)
        self.upkeep = Upkeep(self.core, endpoints, refresh_s=refresh_s, check=health, probe=probe, jitter=self.jitter)

    # --- requests ------------------------------------------------------------------------------------------------------

    def lease(self, *, key: bytes | None = None, avoid: Sequence[str] = ()) -> Lease:
        """One request's hold on an end point: `async with`, or in threads `with`, gives the `Endpoint`.

        `key`: what requests of one kind share, for policies that hash. `avoid`: names that are chosen only if there is no other.
        Entering it raises NoEndpointError, PoolClosedError.
        """
        return Lease(self, key, tuple(avoid))

    async def call(
        self, send: Callable[[Endpoint], Awaitable[T]], *, judge: Judge[T] | None = None, **differences: Any
    ) -> T:
        """What `send(endpoint)` gives, tried as the plan says; `differences` from the pool's plan are fields of `CallPlan`.

        `judge(result)` says what a result means for its end point. Raises the last error, or NoEndpointError,
        BudgetExhaustedError, LimitedError, DeadlineExceededError, PoolClosedError.
        """
        plan = replace(self.plan, **differences) if differences else self.plan
        if differences.get("hedge_after_s") is not None and not plan.idempotent:
            raise ConfigError(
                f"pool {self.name}: hedging sends a request twice: say idempotent=True if that does no harm, or leave it out"
            )
        result, lease = await Call(self, lambda lease: send(lease.endpoint), plan, judge).run()
        lease.close()
        return result

    def call_in_thread(
        self, send: Callable[[Endpoint], T], *, judge: Judge[T] | None = None, **differences: Any
    ) -> T:
        """`call` for threads. A thread cannot be interrupted: give your client its own timeout for a try."""
        plan = replace(self.plan, **differences) if differences else self.plan
        result, lease = run_in_thread(self, lambda lease: send(lease.endpoint), plan, judge)
        lease.close()
        return result

    # --- members -------------------------------------------------------------------------------------------------------

    def replace(self, endpoints: Members) -> None:
        """These are the end points from now on. Requests on their way are not disturbed. ConfigError."""
        self.upkeep.set(checked(endpoints))

    def endpoints(self) -> tuple[Endpoint, ...]:
        return self.core.members()

    def status(self) -> list[EndpointStatus]:
        """Every end point with its counts and its health, in order."""
        return self.core.status()

    # --- life ----------------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """No lease is granted any more; those that are out may end. Stops checks, probes and the source. Again: nothing."""
        self.core.close()
        self.upkeep.close()

    async def aclose(self) -> None:
        """`close`, from a coroutine."""
        self.core.close()
        await self.upkeep.aclose()

    def __enter__(self) -> Pool:
        self._open()
        self.upkeep.begin_in_thread()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    async def __aenter__(self) -> Pool:
        self._open()
        await self.upkeep.begin()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    def _open(self) -> None:
        if self.core.closed:
            raise PoolClosedError(f"pool {self.name} is closed: make a new one")


def check_probe(name: str, policy: str, options: Mapping[str, object], probe: Probe | None) -> None:
    """ConfigError: the policy lives on probes, and the pool was not told how to probe. It would choose at random, in silence."""
    needed = not options.get("use_reports") if policy == "prequal" else bool(options.get("probe"))
    if needed and probe is None:
        instead = ", or options={'use_reports': True} to live on what comes with answers" if policy == "prequal" else ""
        raise ConfigError(f"pool {name}: policy {policy} asks end points for their load: give probe=HttpProbe(){instead}")
