"""A ZooKeeper client for simulated workloads: raw frames on asyncio streams, pipelining, and a record of everything
seen.

Its xids number the operations of a session, across reconnects, so the log's own frames say which operation each entry
is. A lost connection makes every unanswered operation's outcome unknown; nothing is retried. It knows the wire and
the checkers' values only.
"""

from __future__ import annotations

import asyncio
import struct
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from loggos.base.ports import Spawner
from loggos.check.history import Operation, Outcome, Reply, Request, StatView, WatchEvent
from loggos.coordination.zookeeper import codec
from loggos.coordination.zookeeper.codec import INT32, Acl, Reader, encode_acl, encode_buffer, encode_request

OPEN: Final = encode_acl([Acl(codec.PERM_ALL, b"world", b"anyone")])
EVENT_KINDS: Final = {1: "created", 2: "deleted", 3: "changed", 4: "children"}
CONNECT_TIMEOUT_S: Final = 2.0
# frame length, protocol version, zxid seen, timeout, session, 16, password, read only
CONNECT: Final = struct.Struct(">iiqiqi16s?")


class SessionEnded(Exception):
    """The server says that the session has expired or never was."""


class Disconnected(Exception):
    """No connection, or it broke before the answer."""


class History:
    """What all clients of a run saw."""

    def __init__(self) -> None:
        self.operations: list[Operation] = []
        self.events: list[WatchEvent] = []
        self.kept: list[tuple[int, float, float]] = []  # sessions that pings kept alive, while nothing was wrong
        self.session_timeouts: dict[int, float] = {}
        self.order = 0

    def next_order(self) -> int:
        self.order += 1
        return self.order


@dataclass(slots=True)
class _Pending:
    operation: Operation
    future: asyncio.Future[Operation]


def encode(request: Request, xid: int) -> bytes:
    """The frame of a request."""
    return encode_request(xid, *_encode_body(request))


def _encode_body(request: Request) -> tuple[int, bytes]:
    path = encode_buffer(request.path.encode())
    match request.kind:
        case "create":
            flags = codec.FLAG_EPHEMERAL * request.ephemeral + codec.FLAG_SEQUENTIAL * request.sequential
            opcode = codec.OP_CREATE
            if request.container:
                opcode, flags = codec.OP_CREATE_CONTAINER, codec.FLAG_CONTAINER
            return opcode, path + encode_buffer(request.data) + OPEN + INT32.pack(flags)
        case "delete":
            return codec.OP_DELETE, path + INT32.pack(request.version)
        case "set":
            return codec.OP_SET_DATA, path + encode_buffer(request.data) + INT32.pack(request.version)
        case "check":
            return codec.OP_CHECK, path + INT32.pack(request.version)
        case "get":
            return codec.OP_GET_DATA, path + bytes((request.watch,))
        case "exists":
            return codec.OP_EXISTS, path + bytes((request.watch,))
        case "children":
            return codec.OP_GET_CHILDREN2, path + bytes((request.watch,))
        case "sync":
            return codec.OP_SYNC, path
        case "close":
            return codec.OP_CLOSE_SESSION, b""
        case "multi":
            return codec.OP_MULTI, b"".join(map(_encode_part, request.parts)) + codec.MULTI_END
        case "add_watch":
            return codec.OP_ADD_WATCH, path + INT32.pack(1 if request.recursive else 0)
    raise AssertionError(f"no encoding for {request.kind}")


def _encode_part(part: Request) -> bytes:
    opcode, body = _encode_body(part)
    return codec.MULTI_HEADER.pack(opcode, False, -1) + body


def _stat_view(body: bytes, at: int) -> StatView:
    stat = codec.STAT.unpack_from(body, at)
    czxid, mzxid, _, _, version, cversion, _, owner, length, children, pzxid = stat
    return StatView(version, czxid, mzxid, pzxid, cversion, owner, length, children)


def decode_reply(request: Request, zxid: int, code: int, body: bytes) -> Reply:
    """What the reply's body says, as the checkers' value."""
    reader = Reader(body)
    if code != codec.OK or request.kind in ("delete", "sync", "close", "add_watch"):
        return Reply(code, zxid)
    match request.kind:
        case "create":
            path = reader.buffer().decode()
            return Reply(code, zxid, path=path, stat=_stat_view(body, reader.at) if request.container else None)
        case "set" | "exists" | "check":
            return Reply(code, zxid, stat=_stat_view(body, 0) if len(body) >= codec.STAT.size else None)
        case "get":
            value = reader.buffer()
            return Reply(code, zxid, value=value, stat=_stat_view(body, reader.at))
        case "children":
            names = tuple(name.decode() for name in reader.strings())
            return Reply(code, zxid, children=names, stat=_stat_view(body, reader.at))
    return Reply(code, zxid, codes=_multi_codes(body, reader))


def _multi_codes(body: bytes, reader: Reader) -> tuple[int, ...]:
    codes: list[int] = []
    while True:
        opcode, done, _ = codec.MULTI_HEADER.unpack_from(body, reader.at)
        reader.at += codec.MULTI_HEADER.size
        if done:
            return tuple(codes)
        if opcode == codec.OP_ERROR:
            codes.append(reader.int32())
            continue
        codes.append(codec.OK)
        if opcode == codec.OP_CREATE:
            reader.buffer()
        elif opcode == codec.OP_SET_DATA:
            reader.at += codec.STAT.size


class SimClient:
    """One process with one session at a time. `now` is the clock that orders the whole run."""

    def __init__(
        self,
        process: int,
        servers: Sequence[tuple[str, int]],
        timeout_ms: int,
        history: History,
        now: Callable[[], float],
        spawner: Spawner,
    ) -> None:
        self._spawn = spawner.spawn
        self.process, self.servers, self.timeout_ms = process, servers, timeout_ms
        self._history, self._now, self.now = history, now, now
        self.session, self._password = 0, bytes(16)
        self._xid = 0
        self._seen_zxid = 0
        self._connections = 0
        self._writer: asyncio.StreamWriter | None = None
        self._pending: deque[_Pending] = deque()
        self._reading: asyncio.Task[None] | None = None
        self.on_event: Callable[[WatchEvent], None] | None = None
        self.last_reply_at = 0.0
        self.last_pong_at = 0.0

    @property
    def connected(self) -> bool:
        return self._writer is not None

    async def connect(self, server: int) -> None:
        """Take up or begin the session at a server. Disconnected, or SessionEnded (then the next call begins a new one)."""
        self.disconnect()
        host, port = self.servers[server % len(self.servers)]
        try:
            reader, writer = await asyncio.wait_for(asyncio.open_connection(host, port), CONNECT_TIMEOUT_S)
        except (OSError, TimeoutError) as error:
            raise Disconnected(str(error)) from None
        try:
            await asyncio.wait_for(self._greet(reader, writer), CONNECT_TIMEOUT_S)
        except (OSError, TimeoutError, asyncio.IncompleteReadError) as error:
            writer.transport.abort()
            raise Disconnected(str(error)) from None
        except SessionEnded:
            writer.transport.abort()
            raise
        self._writer = writer
        self._connections += 1
        self._reading = self._spawn(self._read(reader, writer), f"read-{self.process}")

    async def _greet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        length = CONNECT.size - INT32.size
        writer.write(CONNECT.pack(length, 0, self._seen_zxid, self.timeout_ms, self.session, 16, self._password, False))
        (length,) = INT32.unpack(await reader.readexactly(4))
        reply = Reader(await reader.readexactly(length))
        reply.int32()
        timeout_ms, session, password = reply.int32(), reply.int64(), reply.buffer()
        if not timeout_ms:
            self.forget()
            raise SessionEnded
        self.session, self._password, self.timeout_ms = session, password, timeout_ms
        self._history.session_timeouts[session] = timeout_ms / 1000
        self.last_reply_at = self._now()

    def forget(self) -> None:
        """The session is over: the next connect begins a new one."""
        self.session, self._password, self._xid, self._seen_zxid = 0, bytes(16), 0, 0

    def disconnect(self) -> None:
        """Drop the connection; what is unanswered becomes unknown."""
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.transport.abort()
        if self._reading is not None:
            self._reading.cancel()
            self._reading = None
        self._give_up()

    def _give_up(self) -> None:
        pending, self._pending = self._pending, deque()
        for each in pending:
            self._history.operations.append(replace(each.operation, outcome=Outcome.UNKNOWN))
            if not each.future.done():
                each.future.set_exception(Disconnected("the connection broke"))
                each.future.exception()

    def send(self, request: Request) -> asyncio.Future[Operation]:
        """Pipeline one request; the future gives the recorded operation, or Disconnected."""
        if self._writer is None:
            raise Disconnected("not connected")
        self._xid += 1
        operation = Operation(
            self.process, self.session, self._xid, self._now(), None, request, Outcome.UNKNOWN, connection=self._connections
        )
        future: asyncio.Future[Operation] = asyncio.get_running_loop().create_future()
        self._pending.append(_Pending(operation, future))
        self._writer.write(encode(request, self._xid))
        return future

    async def do(self, request: Request, timeout_s: float) -> Operation:
        """Send and await one request. Disconnected also when nothing comes in time (the connection is dropped)."""
        future = self.send(request)
        try:
            return await asyncio.wait_for(future, timeout_s)
        except TimeoutError:
            self.disconnect()
            raise Disconnected("no answer in time") from None

    def kept_alive(self, session: int, since: float, until: float) -> None:
        """The session's pings were answered from `since` on; `until` then it cannot have expired."""
        self._history.kept.append((session, since, until))

    def ping(self) -> None:
        if self._writer is not None:
            self._writer.write(encode_request(codec.XID_PING, codec.OP_PING))

    async def _read(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                (length,) = INT32.unpack(await reader.readexactly(4))
                self._take(await reader.readexactly(length))
        except (OSError, asyncio.IncompleteReadError):
            if self._writer is writer:
                self._writer = None
                self._reading = None
                writer.transport.abort()
                self._give_up()

    def _take(self, frame: bytes) -> None:
        xid, zxid, code = struct.unpack_from(">iqi", frame)
        self.last_reply_at = self._now()
        if xid == codec.XID_EVENT:
            self._take_event(zxid, frame[16:])
            return
        self._seen_zxid = max(self._seen_zxid, zxid)
        if xid == codec.XID_PING:
            self.last_pong_at = self._now()
            return
        each = self._pending.popleft()
        assert each.operation.sequence == xid, (each.operation, xid)
        reply = decode_reply(each.operation.request, zxid, code, frame[16:])
        done = replace(
            each.operation, returned_at=self._now(), outcome=Outcome.KNOWN, reply=reply, order=self._history.next_order()
        )
        self._history.operations.append(done)
        if not each.future.done():
            each.future.set_result(done)

    def _take_event(self, zxid: int, body: bytes) -> None:
        reader = Reader(body)
        kind, _, path = reader.int32(), reader.int32(), reader.buffer().decode()
        if kind not in EVENT_KINDS:
            return
        event = WatchEvent(
            self.process,
            self.session,
            self._now(),
            EVENT_KINDS[kind],
            path,
            zxid,
            self._connections,
            self._history.next_order(),
        )
        self._history.events.append(event)
        if self.on_event is not None:
            self.on_event(event)
