"""A very small HTTP server for one node's figures, on h11.

Read only: GET and HEAD. Every connection answers one request and closes; a request must arrive within
CONSOLE_DEADLINE_MS and CONSOLE_REQUEST_BYTES_MAX. Where there is no room for another connection, the oldest is closed: it
has had time to ask. It knows pages as functions that give an answer; it must not know what they say.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import NamedTuple, cast

import h11

from loggos.base.limits import CONSOLE_CONNECTIONS_MAX, CONSOLE_DEADLINE_MS, CONSOLE_REQUEST_BYTES_MAX
from loggos.base.ports import Network, Server


class Answer(NamedTuple):
    """`status`: of HTTP."""

    content_type: str
    body: bytes
    status: int = 200


Page = Callable[[], Answer]


class _Connection(asyncio.Protocol):
    def __init__(self, console: Console) -> None:
        self._console = console
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=CONSOLE_REQUEST_BYTES_MAX)
        self._transport: asyncio.Transport | None = None
        self._deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._deadline = asyncio.get_running_loop().call_later(CONSOLE_DEADLINE_MS / 1000, self._transport.abort)
        self._console.came(self)

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def connection_lost(self, error: Exception | None) -> None:
        self._console.open.pop(self, None)
        if self._deadline is not None:
            self._deadline.cancel()

    def data_received(self, data: bytes) -> None:
        try:
            self._http.receive_data(data)
            event = self._http.next_event()
            if isinstance(event, h11.Request):
                self._answer(event)
        except h11.RemoteProtocolError as error:
            self._refuse(error)

    def _answer(self, request: h11.Request) -> None:
        path = request.target.decode("latin-1").partition("?")[0]
        page = self._console.pages.get(path)
        if request.method not in (b"GET", b"HEAD"):
            self._send(405, "text/plain; charset=utf-8", b"only GET is answered here\n", with_body=True)
        elif page is None:
            known = " ".join(sorted(self._console.pages)).encode()
            self._send(404, "text/plain; charset=utf-8", b"no such page; there are " + known + b"\n", with_body=True)
        else:
            content_type, body, status = page()
            self._send(status, content_type, body, with_body=request.method == b"GET")

    def _send(self, status: int, content_type: str, body: bytes, *, with_body: bool) -> None:
        headers = [("content-type", content_type), ("content-length", str(len(body))), ("connection", "close")]
        head = self._http.send(h11.Response(status_code=status, headers=headers)) or b""
        rest = (self._http.send(h11.Data(data=body)) or b"") if with_body else b""
        self._close(head + rest)

    def _refuse(self, error: h11.RemoteProtocolError) -> None:
        if self._http.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            self._send(error.error_status_hint or 400, "text/plain; charset=utf-8", f"{error}\n".encode(), with_body=True)
        else:
            self._close(b"")

    def _close(self, data: bytes) -> None:
        if self._transport is not None:
            self._transport.write(data)
            self._transport.close()


class Console:
    """`pages`: path → page. `await listen(…)` gives the port. `refused()` is told of each connection that had to make room."""

    def __init__(
        self,
        pages: Mapping[str, Page],
        connections_max: int = CONSOLE_CONNECTIONS_MAX,
        refused: Callable[[], None] = lambda: None,
    ) -> None:
        self.pages = dict(pages)
        self.open: dict[_Connection, None] = {}  # the oldest first
        self._connections_max, self._refused = connections_max, refused
        self._server: Server | None = None

    async def listen(self, network: Network, host: str, port: int) -> int:
        self._server = await network.listen(host, port, lambda: _Connection(self))
        return self._server.port

    def came(self, connection: _Connection) -> None:
        self.open[connection] = None
        if len(self.open) > self._connections_max:
            oldest = next(iter(self.open))
            del self.open[oldest]
            oldest.abort()
            self._refused()

    def close(self) -> None:
        if self._server is not None:
            self._server.close()
