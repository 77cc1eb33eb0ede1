"""A pool beneath aiohttp: a session that sends every request to the end point that the pool chooses.

    async with BalancedSession(pool, "http://users") as session:
        async with session.get("/42") as response:
            print(await response.json())

`async with` gives aiohttp's own response; the lease ends with the block. `await session.get(…)` reads the whole answer first. The
host of the base URL is the service's name: it stays in the Host header and, with https, is what the certificate must show. Failed
tries are repeated as adapters/http.py and the pool's plan say; a body is sent again only if it is bytes, text or JSON. Redirects
are not followed unless `allow_redirects=True`; then aiohttp goes where they point, past the pool. Errors are aiohttp's: no end
point is `ClientConnectionError`, a deadline `ServerTimeoutError`, with the pool's own error as the cause.
Must not know: policies.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import replace
from types import TracebackType
from typing import TYPE_CHECKING, Any

from loggos.balance.adapters.http import HEADER, IDEMPOTENT, MISSING, verdict
from loggos.balance.pool.calls import Call, CallPlan, Verdict
from loggos.balance.pool.errors import BudgetExhaustedError, DeadlineExceededError, PoolError
from loggos.balance.pool.members import split_address
from loggos.base.errors import ConfigError

try:
    import aiohttp
    from multidict import CIMultiDict
    from yarl import URL
except ImportError as error:
    raise ConfigError(MISSING.format(library="aiohttp", module=__name__)) from error

if TYPE_CHECKING:
    from loggos.balance.pool.lease import Lease
    from loggos.balance.pool.pool import Pool

UNSENT = (aiohttp.ClientConnectorError,)
Key = Callable[[str, URL], bytes | None]


class BalancedSession:
    """`base_url`: scheme and name of the service. `session`: aiohttp's session that sends; by default one of its own, closed
    with this one. `key(method, url)`: for policies that hash. Arguments of requests are aiohttp's. ConfigError: no such URL."""

    def __init__(
        self, pool: Pool, base_url: str, session: aiohttp.ClientSession | None = None, *, key: Key | None = None
    ) -> None:
        self._base = URL(base_url)
        if self._base.scheme not in ("http", "https") or not self._base.host:
            raise ConfigError(f"base URL {base_url!r}: give a scheme and the name of the service, such as http://users")
        self._pool = pool
        self._given = session
        self._session = session
        self._key = key

    def request(self, method: str, url: str | URL, **arguments: Any) -> _Request:
        """`async with` it, or await it. `url`: a path, or a URL whose host is the service's name."""
        return _Request(self, method.upper(), self._base.join(URL(url)), arguments)

    def get(self, url: str | URL, **arguments: Any) -> _Request:
        return self.request("GET", url, **arguments)

    def head(self, url: str | URL, **arguments: Any) -> _Request:
        return self.request("HEAD", url, **arguments)

    def options(self, url: str | URL, **arguments: Any) -> _Request:
        return self.request("OPTIONS", url, **arguments)

    def post(self, url: str | URL, **arguments: Any) -> _Request:
        return self.request("POST", url, **arguments)

    def put(self, url: str | URL, **arguments: Any) -> _Request:
        return self.request("PUT", url, **arguments)

    def patch(self, url: str | URL, **arguments: Any) -> _Request:
        return self.request("PATCH", url, **arguments)

    def delete(self, url: str | URL, **arguments: Any) -> _Request:
        return self.request("DELETE", url, **arguments)

    async def close(self) -> None:
        """Closes its own aiohttp session; one that was given, and the pool, stay open."""
        session, self._session = self._session, self._given
        if session is not None and session is not self._given:
            await session.close()

    async def __aenter__(self) -> BalancedSession:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.close()

    async def send(self, method: str, url: URL, arguments: dict[str, Any]) -> tuple[aiohttp.ClientResponse, Lease]:
        """The answer, its body unread, and the lease that must be closed with it."""
        if self._session is None:
            self._session = aiohttp.ClientSession()
        session, plan = self._session, self._plan(method, url, arguments)
        arguments = {"allow_redirects": False, **arguments}
        arguments["headers"] = _with_host(arguments.get("headers"), url)
        if url.scheme == "https":
            arguments.setdefault("server_hostname", url.host)

        async def send(lease: Lease) -> aiohttp.ClientResponse:
            host, port = split_address(lease.endpoint.name)
            return await session.request(method, url.with_host(host).with_port(port), **arguments)

        def judge(response: aiohttp.ClientResponse) -> Verdict:
            return verdict(response.status, response.headers.get(HEADER), may_repeat=plan.idempotent)

        try:
            return await Call(self._pool, send, plan, judge, _discard).run()
        except PoolError as error:
            raise _translated(error) from error

    def _plan(self, method: str, url: URL, arguments: dict[str, Any]) -> CallPlan:
        """As for httpx: the method says whether it may be sent again, or the pool's plan for every method."""
        plan = self._pool.plan
        replayable = isinstance(arguments.get("data"), (bytes, str, type(None)))
        idempotent = replayable and (plan.idempotent or method in IDEMPOTENT)
        return replace(
            plan,
            key=self._key(method, url) if self._key is not None else plan.key,
            idempotent=idempotent,
            unsent=UNSENT if replayable else (),
        )


class _Request:
    """A request that was not sent yet."""

    def __init__(self, session: BalancedSession, method: str, url: URL, arguments: dict[str, Any]) -> None:
        self._session = session
        self._what = (method, url, arguments)
        self._answer: tuple[aiohttp.ClientResponse, Lease] | None = None

    async def __aenter__(self) -> aiohttp.ClientResponse:
        self._answer = await self._session.send(*self._what)
        return self._answer[0]

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        assert self._answer is not None
        response, lease = self._answer
        try:
            response.release()
        finally:
            lease.close(error)

    def __await__(self) -> Generator[Any, None, aiohttp.ClientResponse]:
        return self._read_whole().__await__()

    async def _read_whole(self) -> aiohttp.ClientResponse:
        response, lease = await self._session.send(*self._what)
        try:
            await response.read()
        except BaseException as error:
            response.close()
            lease.close(error)
            raise
        lease.close()
        return response


async def _discard(response: aiohttp.ClientResponse) -> None:
    response.release()


def _with_host(headers: Any, url: URL) -> CIMultiDict[str]:
    """The headers with the service's name as Host, unless they name one."""
    given: CIMultiDict[str] = CIMultiDict(headers or {})
    given.setdefault("Host", url.raw_authority)
    return given


def _translated(error: PoolError) -> aiohttp.ClientError:
    """A pool's error as aiohttp's; the error of a try that the retry budget stopped is raised itself."""
    if isinstance(error, BudgetExhaustedError) and isinstance(error.__cause__, aiohttp.ClientError):
        error.__cause__.add_note(str(error))
        return error.__cause__
    if isinstance(error, DeadlineExceededError):
        return aiohttp.ServerTimeoutError(str(error))
    return aiohttp.ClientConnectionError(str(error))
