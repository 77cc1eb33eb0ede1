"""A ZooKeeper server of a few lines, in a thread: enough to hold the load generator to its word.

Faults are subclasses that override one method. State is one dict shared by all connections; every request is answered at once.
"""

from __future__ import annotations

import asyncio
import struct
import threading
from types import TracebackType

from loggos.app.bench import wire

STAT = struct.Struct(">qqqqiiiqiiq")


class FakeServer:
    """`with FakeServer() as server:` serves on `server.address` until the end of the block."""

    def __init__(self) -> None:
        self.values: dict[bytes, bytes] = {}
        self.versions: dict[bytes, int] = {}
        self.zxid = 0
        self.connections = 0
        self.open: list[Connection] = []
        self.mute = False
        self.loop = asyncio.new_event_loop()
        self.started = threading.Event()
        self.thread = threading.Thread(target=self._run, name="fake server")

    def __enter__(self) -> FakeServer:
        self.thread.start()
        assert self.started.wait(10)
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(10)
        assert not self.thread.is_alive()

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        server = self.loop.run_until_complete(self.loop.create_server(lambda: Connection(self), "127.0.0.1", 0))
        self.address: wire.Address = ("127.0.0.1", server.sockets[0].getsockname()[1])
        self.started.set()
        self.loop.run_forever()
        server.close()
        self._hang_up()
        self.loop.run_until_complete(asyncio.sleep(0))
        self.loop.close()

    @property
    def transports(self) -> list[asyncio.Transport]:
        return [connection.transport for connection in self.open]

    def hang_up(self) -> None:
        """Break every connection; called from any thread."""
        self.loop.call_soon_threadsafe(self._hang_up)

    def _hang_up(self) -> None:
        for transport in self.transports:
            transport.abort()

    # --- what faults override ---
    def greet(self, request: bytes) -> bytes:
        _, _, _, timeout_ms, session, _, _, _ = wire.CONNECT.unpack(request)
        return wire.CONNECT_REPLY.pack(37, 0, timeout_ms, session or self.connections, 16, bytes(16)) + b"\x00"

    def answer(self, xid: int, operation: int, body: bytes) -> bytes:
        """One whole reply frame."""
        self.zxid += 1
        size = wire.FRAME_HEAD.unpack_from(body)[0] if body else 0
        path, rest = body[4 : 4 + size], body[4 + size :]
        if operation == wire.OP_CREATE:
            if path in self.values:
                return self.frame(xid, wire.ERR_NODE_EXISTS, b"")
            length = wire.FRAME_HEAD.unpack_from(rest)[0]
            self.values[path], self.versions[path] = rest[4 : 4 + length], 0
            return self.frame(xid, 0, wire.buffer(path))
        if operation == wire.OP_SET_DATA:
            return self.set_data(xid, path, rest[4:-4])
        if operation == wire.OP_GET_DATA:
            return self.frame(xid, 0, wire.buffer(self.values[path]) + self.stat(path))
        assert operation == wire.OP_CLOSE, operation
        return self.frame(xid, 0, b"")

    def set_data(self, xid: int, path: bytes, value: bytes) -> bytes:
        self.values[path] = value
        self.versions[path] += 1
        return self.frame(xid, 0, self.stat(path))

    def stat(self, path: bytes) -> bytes:
        return STAT.pack(1, self.zxid, 0, 0, self.versions[path], 0, 0, 0, len(self.values[path]), 0, 1)

    def frame(self, xid: int, err: int, body: bytes) -> bytes:
        return wire.REPLY_HEAD.pack(wire.REPLY_HEAD_BYTES - 4 + len(body), xid, self.zxid, err) + body

    def write(self, transport: asyncio.Transport, data: bytes) -> None:
        if not self.mute:
            transport.write(data)


class Connection(asyncio.Protocol):
    def __init__(self, server: FakeServer) -> None:
        self.server = server
        self.rest = b""
        self.greeted = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.server.connections += 1
        self.server.open.append(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self.server.open.remove(self)

    def data_received(self, data: bytes) -> None:
        data, replies = self.rest + data, []
        while len(data) >= 4 and len(data) >= (size := 4 + wire.FRAME_HEAD.unpack_from(data)[0]):
            frame, data = data[:size], data[size:]
            if not self.greeted:
                self.greeted = True
                replies.append(self.server.greet(frame))
                continue
            _, xid, operation = wire.REQUEST_HEAD.unpack_from(frame)
            replies.append(self.server.answer(xid, operation, frame[12:]))
        self.rest = data
        if replies:
            self.server.write(self.transport, b"".join(replies))
