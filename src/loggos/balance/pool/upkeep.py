"""What a pool does on its own: asks its source for members, checks their health, sends the probes that its policy wants.

It runs in the background (background.py) and only if there is any of it. What it finds it tells the core. Whatever the source or
a probe raises is logged and tried again later: the members that are known stay, and requests go on.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncIterable, Sequence
from concurrent.futures import Future, InvalidStateError
from concurrent.futures import TimeoutError as FutureTimeoutError

from loggos.balance.pool.background import Background
from loggos.balance.pool.checks import Check, Probe
from loggos.balance.pool.core import Core
from loggos.balance.pool.errors import NoEndpointError
from loggos.balance.pool.members import Ask, Source, asked, checked
from loggos.balance.types import Endpoint
from loggos.base.limits import (
    HEALTH_IN_FLIGHT_MAX,
    POOL_FIRST_MEMBERS_TIMEOUT_S,
    POOL_FIRST_RETRY_S,
    PROBES_IN_FLIGHT_MAX,
)

log = logging.getLogger("loggos.balance")


class Upkeep:
    """`begin` before every request, `send` the probes wanted after it, `close` once."""

    def __init__(
        self,
        core: Core,
        source: Source,
        *,
        refresh_s: float,
        check: Check | None,
        probe: Probe | None,
        jitter: random.Random,
        first_timeout_s: float = POOL_FIRST_MEMBERS_TIMEOUT_S,
    ) -> None:
        self._core = core
        self._check = check
        self._probe = probe
        self._refresh_s = refresh_s
        self._first_timeout_s = first_timeout_s
        self._background = Background(core.name, self._let_go)
        self._jitter = jitter
        self._probes = 0
        self._trouble = ""  # why the source gave nothing last
        self._first: Future[None] = Future()
        self._ask: Ask | None = None
        self._watch: AsyncIterable[object] | None = None
        if isinstance(source, AsyncIterable):
            self._watch = source
        elif callable(source):
            self._ask = source
        else:
            self.set(checked(source))
        self._wanted = check is not None or not self._first.done()

    @property
    def members_known(self) -> bool:
        return self._first.done()

    # --- before a request ----------------------------------------------------------------------------------------------

    async def begin(self) -> None:
        """Sees that the background runs, in this loop unless it runs elsewhere, and that members are known. NoEndpointError."""
        if self._core.closed:
            return  # nothing is started for a request that will be refused
        if self._wanted and self._background.start_in_loop():
            self._start()
        if not self._first.done():
            known = asyncio.shield(asyncio.wrap_future(self._first))
            try:
                await asyncio.wait_for(known, self._first_timeout_s)
            except TimeoutError:
                raise self._no_members() from None

    def begin_in_thread(self) -> None:
        """The same, from a thread."""
        if self._core.closed:
            return
        if self._wanted and self._background.start_in_thread():
            self._start()
        if not self._first.done():
            try:
                self._first.result(self._first_timeout_s)
            except FutureTimeoutError:
                raise self._no_members() from None

    def _no_members(self) -> NoEndpointError:
        why = self._trouble or "it has not answered"
        return NoEndpointError(
            f"pool {self._core.name} has no end points: its source named none within {self._first_timeout_s:g} s: {why}"
        )

    def _start(self) -> None:
        """Where the background has just begun to run."""
        self._probes = 0
        if self._ask is not None:
            self._background.spawn(lambda: self._keep_asking())
        if self._watch is not None:
            self._background.spawn(lambda: self._keep_watching())
        if self._check is not None:
            self._background.spawn(lambda: self._keep_checking())

    # --- members -------------------------------------------------------------------------------------------------------

    def set(self, endpoints: Sequence[Endpoint]) -> None:
        """These are the members."""
        self._core.replace(endpoints)
        self._trouble = "" if endpoints else "it named none"
        if endpoints:
            self._let_in()

    def _let_in(self) -> None:
        """Nobody waits for the first members any more."""
        try:
            self._first.set_result(None)
        except InvalidStateError:
            return  # nobody did

    async def _keep_asking(self) -> None:
        assert self._ask is not None
        while True:
            try:
                self.set(await asked(self._ask))
            except Exception as error:  # the user's source: whatever it raises, the members known so far stay
                self._troubled(error)
            pause_s = self._refresh_s if self._first.done() else min(self._refresh_s, POOL_FIRST_RETRY_S)
            await asyncio.sleep(pause_s * self._jitter.uniform(0.9, 1.1))

    async def _keep_watching(self) -> None:
        assert self._watch is not None
        while True:
            try:
                async for members in self._watch:
                    self.set(checked(members))  # type: ignore[arg-type]  # what it is, `checked` finds out
            except Exception as error:  # as above
                self._troubled(error)
            await asyncio.sleep(self._refresh_s * self._jitter.uniform(0.9, 1.1))

    def _troubled(self, error: Exception) -> None:
        self._trouble = f"{type(error).__name__}: {error}"
        log.warning("pool %s: its source of end points failed, those known stay: %s", self._core.name, self._trouble)

    # --- health --------------------------------------------------------------------------------------------------------

    async def _keep_checking(self) -> None:
        assert self._check is not None
        gate = asyncio.Semaphore(HEALTH_IN_FLIGHT_MAX)
        while True:
            async with asyncio.TaskGroup() as group:
                for endpoint in self._core.members():
                    group.create_task(self._check_one(endpoint, gate))
            await asyncio.sleep(self._check.interval_s * self._jitter.uniform(0.9, 1.1))

    async def _check_one(self, endpoint: Endpoint, gate: asyncio.Semaphore) -> None:
        assert self._check is not None
        why: str | None = None
        async with gate:
            try:
                await self._check.ask(endpoint)
            except TimeoutError:
                why = f"health check: no answer within {self._check.timeout_s:g} s"
            except (OSError, EOFError) as error:
                why = f"health check: {error or type(error).__name__}"
        if self._core.checked(endpoint.name, why, rise=self._check.rise, fall=self._check.fall):
            log.warning("pool %s: %s is %s", self._core.name, endpoint.name, f"unhealthy: {why}" if why else "healthy again")

    # --- probes --------------------------------------------------------------------------------------------------------

    def send_probes(self, *, in_loop: bool) -> None:
        """What the policy wants to know after a request was placed, from its loop or from its thread."""
        if self._probe is not None and (wanted := self._core.probes_wanted()):
            if self._background.start_in_loop() if in_loop else self._background.start_in_thread():
                self._start()
            self._send(wanted)

    def _send(self, wanted: Sequence[Endpoint]) -> None:
        for endpoint in wanted:
            if self._probes >= PROBES_IN_FLIGHT_MAX:
                return
            self._probes += 1  # a bound, not a count to rely on: threads may pass it by a few
            self._background.spawn(lambda endpoint=endpoint: self._probe_one(endpoint))  # type: ignore[misc]

    async def _probe_one(self, endpoint: Endpoint) -> None:
        assert self._probe is not None
        try:
            report = await self._probe(endpoint)
        except Exception as error:  # the user's probe, or an end point in trouble: no report
            log.debug("pool %s: the probe of %s failed: %r", self._core.name, endpoint.name, error)
            return
        finally:
            self._probes -= 1
        if report is not None:
            self._core.probed(endpoint.name, report)

    # --- life ----------------------------------------------------------------------------------------------------------

    def close(self) -> None:
        self._let_in()
        self._background.close()

    async def aclose(self) -> None:
        self._let_in()
        await self._background.aclose()

    def _let_go(self) -> None:
        for one in (self._check, self._probe):
            close = getattr(one, "close", None)
            if close is not None:
                close()
