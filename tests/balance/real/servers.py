"""Servers for tests: real sockets on free loopback ports, in the test's own event loop or in a thread.

`Backend` hosts an ASGI application on h11: enough of HTTP/1.1 for httpx, aiohttp, HAProxy and our own probes. It can be told to
hang, to break off in the middle of an answer, to refuse (closed), and to come back on the same port.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import h11

from loggos.balance.middleware import ReportLoadASGI
from loggos.balance.middleware.asgi import Application, Message, Receive, Scope, Send

HOST = "127.0.0.1"


def free_port() -> int:
    with socket.create_server((HOST, 0)) as one:
        port: int = one.getsockname()[1]
        return port


class Behaviour:
    """What a backend does with a request; changed by tests as they go."""

    def __init__(self) -> None:
        self.status = 200
        self.hang = False  # never answers
        self.cut = False  # breaks the connection in the middle of the body
        self.delay_s = 0.0
        self.served: list[str] = []  # "METHOD path host" of every request
        self.bodies: list[bytes] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = (await receive())["body"]
        host = dict(scope["headers"]).get(b"host", b"").decode()
        self.served.append(f"{scope['method']} {scope['path']} {host}")
        self.bodies.append(body)
        if self.hang:
            await asyncio.Event().wait()
        if self.delay_s:
            await asyncio.sleep(self.delay_s)
        text = b"from " + str(scope["server"][1]).encode()
        headers = [(b"content-length", str(len(text)).encode())]
        await send({"type": "http.response.start", "status": self.status, "headers": headers})
        if self.cut:
            await send({"type": "http.response.body", "body": text[:2], "more_body": True})
            raise ConnectionAbortedError("cut")
        await send({"type": "http.response.body", "body": text})


class Backend:
    """One server. `async with Backend() as backend:`; `stop` and `start` again on the same port."""

    def __init__(self, *, reports: bool = True, app: Application | None = None) -> None:
        self.behaviour = Behaviour()
        self.load = ReportLoadASGI(app or self.behaviour)
        self._app: Application = self.load if reports else (app or self.behaviour)
        self._server: asyncio.Server | None = None
        self._connections: dict[asyncio.Task[None], None] = {}
        self.port = 0

    @property
    def address(self) -> str:
        return f"{HOST}:{self.port}"

    async def __aenter__(self) -> Backend:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._connected, HOST, self.port, reuse_address=True)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Refuses from now on; connections break, whatever is on them."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for task in list(self._connections):
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections[task] = None
        try:
            await self._converse(reader, writer)
        except (ConnectionError, h11.RemoteProtocolError, asyncio.CancelledError):
            writer.transport.abort()
        finally:
            del self._connections[task]
            writer.close()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        http = h11.Connection(h11.SERVER)
        while (request := await _request(reader, http)) is not None:
            head, body = request
            path, _, query = head.target.decode("latin-1").partition("?")
            scope: dict[str, Any] = {
                "type": "http", "method": head.method.decode(), "path": path, "query_string": query.encode(),
                "headers": list(head.headers), "server": (HOST, self.port),
            }  # fmt: skip
            await self._app(scope, _receive(body), _send(http, writer))
            if http.our_state is not h11.DONE or http.their_state is not h11.DONE:
                return
            http.start_next_cycle()


async def _request(reader: asyncio.StreamReader, http: h11.Connection) -> tuple[h11.Request, bytes] | None:
    """The next request with its body; None: the client is gone."""
    head: h11.Request | None = None
    body = b""
    while True:
        event = http.next_event()
        if event is h11.NEED_DATA:
            http.receive_data(await reader.read(65_536))
        elif isinstance(event, h11.Request):
            head = event
        elif isinstance(event, h11.Data):
            body += event.data
        elif isinstance(event, h11.EndOfMessage):
            assert head is not None
            return head, body
        else:
            return None


def _receive(body: bytes) -> Receive:
    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    return receive


def _send(http: h11.Connection, writer: asyncio.StreamWriter) -> Send:
    async def send(message: Message) -> None:
        if message["type"] == "http.response.start":
            data = http.send(h11.Response(status_code=message["status"], headers=list(message["headers"])))
        else:
            data = http.send(h11.Data(data=message.get("body", b"")))
            if not message.get("more_body"):
                data = (data or b"") + (http.send(h11.EndOfMessage()) or b"")
        writer.write(data or b"")
        await writer.drain()

    return send


@contextlib.contextmanager
def in_thread(make: Callable[[], Backend], count: int) -> Iterator[list[Backend]]:
    """`count` backends in an event loop of their own, for tests of threads."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="backends", daemon=True)
    thread.start()
    backends = [make() for _ in range(count)]

    async def each(stop: bool) -> None:
        for backend in backends:
            await (backend.stop() if stop else backend.start())

    try:
        asyncio.run_coroutine_threadsafe(each(False), loop).result(10)
        yield backends
    finally:
        asyncio.run_coroutine_threadsafe(each(True), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()
