"""A client of raw bytes on an in-memory transport: what it sends is what the door receives, split as the test wants."""

from __future__ import annotations

import asyncio
import functools
import struct
from collections.abc import Callable, Coroutine
from typing import Any, NamedTuple

from loggos.base.ids import NodeId
from loggos.coordination.zookeeper import codec
from loggos.coordination.zookeeper.codec import INT32, Acl, encode_acl, encode_buffer, encode_request
from tests.coordination.fake_log import FakeCell

OPEN = encode_acl([Acl(31, b"world", b"anyone")])


class MemoryTransport(asyncio.Transport):
    """Keeps what is written; `stuffed` makes it behave as if the client did not read."""

    def __init__(self, address: str = "10.0.0.1", port: int = 40_000) -> None:
        super().__init__()
        self.peer = (address, port)
        self.written = bytearray()
        self.unread = 0
        self.stuffed = False
        self.high = 64 << 10
        self.protocol: Any = None
        self.paused = False
        self.closing = False
        self.aborted = False
        self.writes = 0
        self.holds_close = False  # the peer takes nothing: closing waits for it
        self._told = False

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self.peer if name == "peername" else default

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self.high = high or self.high

    def get_write_buffer_size(self) -> int:
        return self.unread

    def write(self, data: Any) -> None:
        assert not self.closing, "written after close"
        self.writes += 1
        self.written += data
        if self.stuffed:
            self.unread += len(data)
            if self.unread > self.high and not self._told:
                self._told = True
                self.protocol.pause_writing()

    def drain(self) -> None:
        """The client reads again."""
        self.stuffed, self.unread = False, 0
        if self._told:
            self._told = False
            self.protocol.resume_writing()

    def pause_reading(self) -> None:
        self.paused = True

    def resume_reading(self) -> None:
        self.paused = False

    def is_closing(self) -> bool:
        return self.closing

    def close(self) -> None:
        if not self.closing:
            self.closing = True
            if self.holds_close:
                return
            asyncio.get_running_loop().call_soon(self.protocol.connection_lost, None)

    def abort(self) -> None:
        self.aborted = True
        self.unread = 0
        if self.holds_close:
            self.holds_close = self.closing = False
        self.close()


class Reply(NamedTuple):
    xid: int
    zxid: int
    error: int
    body: bytes


class Event(NamedTuple):
    kind: int
    path: bytes
    zxid: int


class Connected(NamedTuple):
    timeout_ms: int
    session: int
    password: bytes
    read_only: bytes


class RawClient:
    """Sends frames, parses what comes back."""

    def __init__(self, cell: FakeCell, node: int = 1, address: str = "10.0.0.1", port: int = 40_000) -> None:
        self.connection = cell.doors[NodeId(node)].factory()
        self.transport = MemoryTransport(address, port)
        self.transport.protocol = self.connection
        self.connection.connection_made(self.transport)
        self.xid = 0
        self.read_to = 0
        self.session, self.password = 0, bytes(16)

    @property
    def closed(self) -> bool:
        return self.transport.closing

    def send(self, data: bytes) -> None:
        self.connection.data_received(data)

    def lose(self) -> None:
        """The client vanishes."""
        self.transport.closing = True
        self.connection.connection_lost(None)

    def take(self) -> bytes:
        """What was written since the last look."""
        data = bytes(self.transport.written[self.read_to :])
        self.read_to = len(self.transport.written)
        return data

    def frames(self) -> list[bytes]:
        data, frames, at = self.take(), [], 0
        while at < len(data):
            (length,) = INT32.unpack_from(data, at)
            frames.append(data[at + 4 : at + 4 + length])
            at += 4 + length
        assert at == len(data), "a frame was cut"
        return frames

    def received(self) -> list[Reply | Event]:
        """Replies and events in the order in which they came."""
        found: list[Reply | Event] = []
        for frame in self.frames():
            xid, zxid, error = struct.unpack_from(">iqi", frame)
            if xid == codec.XID_EVENT:
                kind, _, size = struct.unpack_from(">iii", frame, 16)
                found.append(Event(kind, frame[28 : 28 + size], zxid))
            else:
                found.append(Reply(xid, zxid, error, frame[16:]))
        return found

    # --- connecting -------------------------------------------------------------------------

    def hello(self, *, last_zxid: int = 0, timeout_ms: int = 10_000, read_only: bool | None = False) -> bytes:
        payload = struct.pack(">iqiqi16s", 0, last_zxid, timeout_ms, self.session, 16, self.password)
        if read_only is not None:
            payload += b"\1" if read_only else b"\0"
        return INT32.pack(len(payload)) + payload

    def greeting(self) -> Connected:
        (frame,) = self.frames()
        _, timeout_ms, session, _, password = struct.unpack_from(">iiqi16s", frame)
        return Connected(timeout_ms, session, password, frame[36:])

    async def connect(self, **options: Any) -> RawClient:
        self.send(self.hello(**options))
        await settle()
        greeting = self.greeting()
        self.session, self.password = greeting.session, greeting.password
        return self

    # --- requests: each gives the frame to send -------------------------------------------------------------------------

    def request(self, opcode: int, body: bytes = b"", xid: int | None = None) -> bytes:
        if xid is None:
            self.xid += 1
            xid = self.xid
        return encode_request(xid, opcode, body)

    def create(self, path: bytes, data: bytes = b"", flags: int = 0) -> bytes:
        return self.request(codec.OP_CREATE, encode_buffer(path) + encode_buffer(data) + OPEN + INT32.pack(flags))

    def set(self, path: bytes, data: bytes = b"", version: int = -1) -> bytes:
        return self.request(codec.OP_SET_DATA, encode_buffer(path) + encode_buffer(data) + INT32.pack(version))

    def delete(self, path: bytes) -> bytes:
        return self.request(codec.OP_DELETE, encode_buffer(path) + INT32.pack(-1))

    def get(self, path: bytes, watch: bool = False) -> bytes:
        return self.request(codec.OP_GET_DATA, encode_buffer(path) + bytes([watch]))

    def exists(self, path: bytes, watch: bool = False) -> bytes:
        return self.request(codec.OP_EXISTS, encode_buffer(path) + bytes([watch]))

    def children(self, path: bytes, watch: bool = False) -> bytes:
        return self.request(codec.OP_GET_CHILDREN, encode_buffer(path) + bytes([watch]))

    def sync(self, path: bytes = b"/") -> bytes:
        return self.request(codec.OP_SYNC, encode_buffer(path))

    def ping(self) -> bytes:
        return self.request(codec.OP_PING, xid=codec.XID_PING)

    def add_watch(self, path: bytes, mode: int) -> bytes:
        return self.request(codec.OP_ADD_WATCH, encode_buffer(path) + INT32.pack(mode))

    def auth(self, scheme: bytes, secret: bytes) -> bytes:
        return self.request(codec.OP_AUTH, INT32.pack(0) + encode_buffer(scheme) + encode_buffer(secret), xid=codec.XID_AUTH)

    def end(self) -> bytes:
        return self.request(codec.OP_CLOSE_SESSION)

    async def do(self, *frames: bytes) -> list[Reply | Event]:
        """Send, let everything settle, give what came back."""
        self.send(b"".join(frames))
        await settle()
        return self.received()


async def settle() -> None:
    """Let every scheduled callback run."""
    for _ in range(12):
        await asyncio.sleep(0)


def in_loop(test: Callable[[], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    """A test that is a coroutine."""

    @functools.wraps(test)
    def run() -> None:
        asyncio.run(test())

    return run
