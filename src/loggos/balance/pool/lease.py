"""A lease: one request's hold on one end point, from choosing to the outcome.

    async with pool.lease() as endpoint: ...          with pool.lease() as endpoint: ...

The outcome is what the block did: it ended (well), it raised (the end point failed, unless the error shows that it is not to
blame: see `blames`), it was cancelled (given up: no verdict). `failed`, `succeeded` and `report` say it explicitly.
A lease is used once, by one task or thread, and is given back exactly once; one that is dropped while it is open is found by the
garbage collector and given back without a verdict.
"""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING

from loggos.balance.pool.errors import PoolError
from loggos.balance.types import Endpoint, Report

if TYPE_CHECKING:
    from loggos.balance.guards.deadline import Deadline
    from loggos.balance.pool.core import Grant
    from loggos.balance.pool.pool import Pool


def blames(error: BaseException) -> bool:
    """Does this error speak against the end point?

    Every `Exception` does, but the pool's own, and those that carry an HTTP status below 500 (`error.status` or
    `error.response.status_code`: aiohttp, httpx, requests): what was asked for was wrong, not who was asked. Cancellation and the
    end of the process do not.
    """
    if not isinstance(error, Exception):
        return False
    if isinstance(error, PoolError):
        return isinstance(error, TimeoutError)
    status = getattr(error, "status", None)
    if status is None:
        status = getattr(getattr(error, "response", None), "status_code", None)
    return not (isinstance(status, int) and 100 <= status < 500)


class Lease:
    """See the module. Made by `Pool.lease`."""

    __slots__ = ("__weakref__", "_again", "_avoid", "_deadline", "_grant", "_key", "_ok", "_pool", "_report", "_used")

    def __init__(
        self, pool: Pool, key: bytes | None, avoid: tuple[str, ...], deadline: Deadline | None = None, *, again: bool = False
    ) -> None:
        self._pool = pool
        self._key = key
        self._avoid = avoid
        self._deadline = deadline
        self._again = again
        self._grant: Grant | None = None
        self._ok: bool | None = None
        self._report: Report | None = None
        self._used = False

    # --- what the request found out ------------------------------------------------------------------------------------

    @property
    def endpoint(self) -> Endpoint:
        """Where the request goes. PoolError: the lease was not entered."""
        if self._grant is None:
            raise PoolError(f"a lease of pool {self._pool.name} has no end point until it is entered: `with` or `async with`")
        return self._grant.endpoint

    def report(self, report: Report | None) -> None:
        """What the end point said of its load; None changes nothing."""
        if report is not None:
            self._report = report

    def failed(self) -> None:
        """The end point did not serve the request, although nothing was raised (a 503, an error in the reply)."""
        self._ok = False

    def succeeded(self) -> None:
        """The end point served the request, whatever is raised."""
        self._ok = True

    # --- taking and giving back ----------------------------------------------------------------------------------------

    def close(self, error: BaseException | None = None) -> None:
        """The request is over, with this error or without. Calling it again does nothing."""
        grant = self._grant
        if grant is None or grant.over:
            return
        ok = self._ok
        if ok is None:
            ok = True if error is None else False if self._pool.blame(error) else None
        self._pool.core.give_back(grant, ok, self._report)

    def __enter__(self) -> Endpoint:
        self._use()
        self._pool.upkeep.begin_in_thread()
        return self._take(in_loop=False)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close(error)

    async def __aenter__(self) -> Endpoint:
        self._use()
        await self._pool.upkeep.begin()
        return self._take(in_loop=True)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close(error)

    def _use(self) -> None:
        if self._used:
            raise PoolError(f"a lease of pool {self._pool.name} is entered twice: call pool.lease() for every request")
        self._used = True

    def _take(self, *, in_loop: bool) -> Endpoint:
        self._grant = self._pool.core.take(self._key, self._avoid, self._deadline, again=self._again)
        self._pool.upkeep.send_probes(in_loop=in_loop)
        return self._grant.endpoint

    def __del__(self) -> None:
        grant = getattr(self, "_grant", None)
        if grant is not None and not grant.over:
            self._pool.core.abandon(grant)
