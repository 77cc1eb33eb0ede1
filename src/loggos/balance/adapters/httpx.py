"""A pool beneath httpx: transports that send every request to the end point that the pool chooses.

    client = httpx.AsyncClient(transport=AsyncBalancedTransport(pool), base_url="http://users")
    client = httpx.Client(transport=BalancedTransport(pool), base_url="http://users")

The host of the URL is the service's name: it stays in the Host header and, with https, is what the certificate must show. Scheme
and path are the request's. A lease lasts until the answer has been read or closed; deadlines of the plan hold until its head has
come, httpx's own time-outs go on after that. Failed tries are repeated as adapters/http.py and the pool's plan say; a body that
is a stream is sent once. Errors are httpx's, so that callers need not know of the pool: no end point is `ConnectError`, a
deadline `PoolTimeout`, with the pool's own error as the cause.
Must not know: policies.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from loggos.balance.adapters.http import HEADER, IDEMPOTENT, MISSING, verdict
from loggos.balance.pool.calls import Call, CallPlan, Judge, check_for_threads, run_in_thread
from loggos.balance.pool.errors import BudgetExhaustedError, DeadlineExceededError, PoolError
from loggos.balance.pool.members import split_address
from loggos.base.errors import ConfigError

try:
    import httpx
except ImportError as error:
    raise ConfigError(MISSING.format(library="httpx", module=__name__)) from error

if TYPE_CHECKING:
    from loggos.balance.pool.lease import Lease
    from loggos.balance.pool.pool import Pool

UNSENT = (httpx.ConnectError, httpx.ConnectTimeout)
Key = Callable[[httpx.Request], bytes | None]


class _Balanced:
    """What both transports decide alike."""

    def __init__(self, pool: Pool, key: Key | None) -> None:
        self._pool = pool
        self._key = key

    def _plan(self, request: httpx.Request) -> CallPlan:
        """The pool's plan for this request: `idempotent` there is for every method, otherwise the method says it. A stream can be
        read once, so a request with one is sent once."""
        plan = self._pool.plan
        replayable = isinstance(request.stream, httpx.ByteStream)
        idempotent = replayable and (plan.idempotent or request.method in IDEMPOTENT)
        return replace(
            plan,
            key=self._key(request) if self._key is not None else plan.key,
            idempotent=idempotent,
            unsent=UNSENT if replayable else (),
        )

    @staticmethod
    def _judge(plan: CallPlan) -> Judge[httpx.Response]:
        return lambda response: verdict(response.status_code, response.headers.get(HEADER), may_repeat=plan.idempotent)

    @staticmethod
    def _addressed(request: httpx.Request, lease: Lease) -> httpx.Request:
        """The same request to the end point."""
        host, port = split_address(lease.endpoint.name)
        extensions = dict(request.extensions)
        if request.url.scheme == "https":
            extensions.setdefault("sni_hostname", request.url.host)
        return httpx.Request(
            request.method,
            request.url.copy_with(host=host, port=port),
            headers=request.headers,  # Host among them: the service's name
            stream=request.stream,
            extensions=extensions,
        )


def _translated(error: PoolError, request: httpx.Request) -> httpx.TransportError:
    """A pool's error as httpx's; the error of a try that the retry budget stopped is raised itself."""
    if isinstance(error, BudgetExhaustedError) and isinstance(error.__cause__, httpx.TransportError):
        error.__cause__.add_note(str(error))
        return error.__cause__
    if isinstance(error, DeadlineExceededError):
        return httpx.PoolTimeout(str(error), request=request)
    return httpx.ConnectError(str(error), request=request)


class AsyncBalancedTransport(_Balanced, httpx.AsyncBaseTransport):
    """For `httpx.AsyncClient`. `transport`: what sends (default: httpx's own); `key(request)`: for policies that hash.

    Closing the client closes `transport`; the pool stays open, since others may share it.
    """

    def __init__(self, pool: Pool, transport: httpx.AsyncBaseTransport | None = None, *, key: Key | None = None) -> None:
        super().__init__(pool, key)
        self._transport = transport if transport is not None else httpx.AsyncHTTPTransport()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        plan = self._plan(request)

        async def send(lease: Lease) -> httpx.Response:
            return await self._transport.handle_async_request(self._addressed(request, lease))

        try:
            response, lease = await Call(self._pool, send, plan, self._judge(plan), httpx.Response.aclose).run()
        except PoolError as error:
            raise _translated(error, request) from error
        assert isinstance(response.stream, httpx.AsyncByteStream)
        response.stream = _AsyncBody(response.stream, lease)
        return response

    async def aclose(self) -> None:
        await self._transport.aclose()


class _AsyncBody(httpx.AsyncByteStream):
    """The body of an answer; its end is the end of the lease."""

    def __init__(self, stream: httpx.AsyncByteStream, lease: Lease) -> None:
        self._stream = stream
        self._lease = lease

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for part in self._stream:
                yield part
        except BaseException as error:
            self._lease.close(error)
            raise

    async def aclose(self) -> None:
        try:
            await self._stream.aclose()
        finally:
            self._lease.close()


class BalancedTransport(_Balanced, httpx.BaseTransport):
    """For `httpx.Client`; otherwise as `AsyncBalancedTransport`. The client's timeouts bound a try. ConfigError: the pool's plan
    asks for what only asyncio can do."""

    def __init__(self, pool: Pool, transport: httpx.BaseTransport | None = None, *, key: Key | None = None) -> None:
        check_for_threads(pool.name, pool.plan)
        super().__init__(pool, key)
        self._transport = transport if transport is not None else httpx.HTTPTransport()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        plan = self._plan(request)

        def send(lease: Lease) -> httpx.Response:
            return self._transport.handle_request(self._addressed(request, lease))

        try:
            response, lease = run_in_thread(self._pool, send, plan, self._judge(plan), httpx.Response.close)
        except PoolError as error:
            raise _translated(error, request) from error
        assert isinstance(response.stream, httpx.SyncByteStream)
        response.stream = _Body(response.stream, lease)
        return response

    def close(self) -> None:
        self._transport.close()


class _Body(httpx.SyncByteStream):
    """The body of an answer; its end is the end of the lease."""

    def __init__(self, stream: httpx.SyncByteStream, lease: Lease) -> None:
        self._stream = stream
        self._lease = lease

    def __iter__(self) -> Iterator[bytes]:
        try:
            yield from self._stream
        except BaseException as error:
            self._lease.close(error)
            raise

    def close(self) -> None:
        try:
            self._stream.close()
        finally:
            self._lease.close()
