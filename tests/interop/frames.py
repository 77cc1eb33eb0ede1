"""ZooKeeper's protocol as a test client speaks it: operations to bytes, replies to plain values, one blocking raw session.

Written apart from the server's codec on purpose: a mistake there must not be made twice. Values that differ between servers by
nature are wrapped (Zxid, Owner), so that a comparison can pair them.

Source: zookeeper.jute.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable
from typing import Any, NamedTuple

NO_PASSWORD = bytes(16)
EVENT_XID, PING_XID, AUTH_XID, SET_WATCHES_XID = -1, -2, -4, -8
DEADLINE_S = 3.0  # both servers answer in milliseconds; silence is an answer, too, and takes this long
CONNECT_OK_BYTES = 37
FRAME_BYTES_MAX = 8 << 20

Acl = tuple[int, bytes, bytes]
Value = Any


class Zxid(int):
    """A zxid: the same in two servers only up to renaming."""


class Owner(int):
    """A session's id: the same in two servers only up to renaming."""


class Time(int):
    """Milliseconds of a server's wall clock."""


class Closed(Exception):
    """The server has closed the connection."""


# --- encoding ---------------------------------------------------------------------------------------------------------------


def i32(value: int) -> bytes:
    return struct.pack(">i", value)


def i64(value: int) -> bytes:
    return struct.pack(">q", value)


def boolean(value: bool) -> bytes:
    return b"\1" if value else b"\0"


def buffer(data: bytes | None) -> bytes:
    return i32(-1) if data is None else i32(len(data)) + data


def strings(items: tuple[bytes, ...]) -> bytes:
    return i32(len(items)) + b"".join(buffer(item) for item in items)


def acls(items: tuple[Acl, ...] | None) -> bytes:
    if items is None:
        return i32(-1)
    return i32(len(items)) + b"".join(i32(perms) + buffer(scheme) + buffer(name) for perms, scheme, name in items)


def create(path: bytes, data: bytes | None, acl: tuple[Acl, ...], flags: int) -> bytes:
    return buffer(path) + buffer(data) + acls(acl) + i32(flags)


def multi(parts: tuple[tuple[str, tuple[Value, ...]], ...]) -> bytes:
    body = b""
    for kind, arguments in parts:
        opcode, encode, _ = KINDS[kind]
        body += i32(opcode) + b"\0" + i32(-1) + encode(*arguments)
    return body + i32(-1) + b"\1" + i32(-1)


# --- decoding ---------------------------------------------------------------------------------------------------------------


class Reader:
    """Reads jute values; asserts that there is neither too little nor too much."""

    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def unpack(self, layout: str) -> Any:
        (value,) = struct.unpack_from(layout, self.data, self.at)
        self.at += struct.calcsize(layout)
        return value

    def i32(self) -> int:
        return int(self.unpack(">i"))

    def i64(self) -> int:
        return int(self.unpack(">q"))

    def flag(self) -> bool:
        return bool(self.unpack(">?"))

    def buffer(self) -> bytes | None:
        size = self.i32()
        if size < 0:
            return None
        assert self.at + size <= len(self.data), "a reply is cut"
        self.at += size
        return self.data[self.at - size : self.at]

    def end(self) -> None:
        assert self.at == len(self.data), f"{len(self.data) - self.at} bytes after the reply"


def stat(reader: Reader) -> Value:
    return {
        "czxid": Zxid(reader.i64()),
        "mzxid": Zxid(reader.i64()),
        "ctime": Time(reader.i64()),
        "mtime": Time(reader.i64()),
        "version": reader.i32(),
        "cversion": reader.i32(),
        "aversion": reader.i32(),
        "owner": Owner(reader.i64()),
        "length": reader.i32(),
        "children": reader.i32(),
        "pzxid": Zxid(reader.i64()),
    }


def nothing(reader: Reader) -> Value:
    return None


def path_reply(reader: Reader) -> Value:
    return reader.buffer()


def path_and_stat(reader: Reader) -> Value:
    return reader.buffer(), stat(reader)


def names(reader: Reader) -> Value:
    """In no order: Apache ZooKeeper lists children and ephemerals in the order of a hash table."""
    return sorted(reader.buffer() or b"" for _ in range(reader.i32()))


def names_and_stat(reader: Reader) -> Value:
    return names(reader), stat(reader)


def acls_and_stat(reader: Reader) -> Value:
    """In no order: what `auth` stands for comes out of a hash table in Apache ZooKeeper."""
    entries = [(reader.i32(), reader.buffer() or b"", reader.buffer() or b"") for _ in range(reader.i32())]
    return sorted(entries), stat(reader)


def number(reader: Reader) -> Value:
    return reader.i32()


def identities(reader: Reader) -> Value:
    return sorted((reader.buffer(), reader.buffer()) for _ in range(reader.i32()))  # type: ignore[type-var]


def results(reader: Reader) -> Value:
    """Of a multi or a multiRead: each part's type, error and body."""
    found: list[Value] = []
    while True:
        opcode, done, error = reader.i32(), reader.flag(), reader.i32()
        if done:
            return [*found, (opcode, error)]
        decode = number if opcode == -1 else RESULT_OF[opcode]
        found.append((opcode, error, decode(reader)))


Encoder = Callable[..., bytes]
Decoder = Callable[[Reader], Value]


def path_flag(path: bytes, watch: bool) -> bytes:
    return buffer(path) + boolean(watch)


def path_number(path: bytes, value: int) -> bytes:
    return buffer(path) + i32(value)


def path_data_version(path: bytes, data: bytes | None, version: int) -> bytes:
    return buffer(path) + buffer(data) + i32(version)


def path_acl_version(path: bytes, acl: tuple[Acl, ...], version: int) -> bytes:
    return buffer(path) + acls(acl) + i32(version)


def watches(zxid: int, *lists: tuple[bytes, ...]) -> bytes:
    return i64(zxid) + b"".join(strings(paths) for paths in lists)


def authenticate(scheme: bytes, secret: bytes) -> bytes:
    return i32(0) + buffer(scheme) + buffer(secret)


def raw(body: bytes) -> bytes:
    return body


# kind → opcode, arguments to body, body of the reply to a value
KINDS: dict[str, tuple[int, Encoder, Decoder]] = {
    "create": (1, create, path_reply),
    "delete": (2, path_number, nothing),
    "exists": (3, path_flag, stat),
    "getData": (4, path_flag, path_and_stat),
    "setData": (5, path_data_version, stat),
    "getACL": (6, buffer, acls_and_stat),
    "setACL": (7, path_acl_version, stat),
    "getChildren": (8, path_flag, names),
    "sync": (9, buffer, path_reply),
    "ping": (11, raw, nothing),
    "getChildren2": (12, path_flag, names_and_stat),
    "check": (13, path_number, stat),
    "multi": (14, lambda *parts: multi(parts), results),
    "create2": (15, create, path_and_stat),
    "checkWatches": (17, path_number, nothing),
    "removeWatches": (18, path_number, nothing),
    "createContainer": (19, create, path_and_stat),
    "createTTL": (21, lambda path, data, acl, flags, ttl: create(path, data, acl, flags) + i64(ttl), path_and_stat),
    "multiRead": (22, lambda *parts: multi(parts), results),
    "auth": (100, authenticate, nothing),
    "setWatches": (101, watches, nothing),
    "getEphemerals": (103, buffer, names),
    "getAllChildrenNumber": (104, buffer, number),
    "setWatches2": (105, watches, nothing),
    "addWatch": (106, path_number, number),
    "whoAmI": (107, raw, identities),
    "close": (-11, raw, nothing),
}
RESULT_OF: dict[int, Decoder] = {
    1: path_reply,
    2: nothing,
    4: path_and_stat,
    5: stat,
    8: names,
    13: nothing,
    15: path_and_stat,
}
XIDS = {"ping": PING_XID, "auth": AUTH_XID, "setWatches": SET_WATCHES_XID, "setWatches2": SET_WATCHES_XID}


class Event(NamedTuple):
    """What a watch told."""

    kind: int
    state: int
    path: bytes | None


class Reply(NamedTuple):
    """An answer. `value`: the decoded body, None on error."""

    kind: str
    xid_matches: bool
    zxid: Zxid
    error: int
    value: Value


def event_of(reader: Reader) -> Event:
    found = Event(reader.i32(), reader.i32(), reader.buffer())
    reader.end()
    return found


def body_of(kind: str, reader: Reader) -> Value:
    """The decoded body, or what could not be decoded."""
    try:
        value = KINDS[kind][2](reader)
        reader.end()
    except (struct.error, AssertionError, KeyError) as error:
        return "cannot be decoded", repr(error), reader.data[16:]
    return value


# --- one session --------------------------------------------------------------------------------------------------------------


class RawSession:
    """A blocking connection that keeps the order in which replies and events come."""

    def __init__(self, address: tuple[str, int], *, session: int = 0, password: bytes = NO_PASSWORD, zxid: int = 0) -> None:
        self.address = address
        self.xid = 0
        self.held = bytearray()
        self.last_zxid = zxid
        self.sock = socket.create_connection(address, DEADLINE_S)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        request = struct.pack(">iqiqi16s?", 0, zxid, 30_000, session, 16, password, False)
        self.sock.sendall(i32(len(request)) + request)
        reply = Reader(self.frame())
        reply.i32()
        self.timeout_ms, self.session = reply.i32(), reply.i64()
        self.password = reply.buffer() or b""

    def frame(self) -> bytes:
        """The next whole frame. Closed when the server has closed."""
        while True:
            if len(self.held) >= 4:
                (size,) = struct.unpack_from(">i", self.held)
                assert 0 <= size <= FRAME_BYTES_MAX, f"a frame of {size} bytes"
                if len(self.held) >= 4 + size:
                    found = bytes(self.held[4 : 4 + size])
                    del self.held[: 4 + size]
                    return found
            try:
                chunk = self.sock.recv(65_536)
            except ConnectionResetError:
                chunk = b""
            if not chunk:
                raise Closed
            self.held += chunk

    def encode(self, kind: str, arguments: tuple[Value, ...]) -> tuple[int, bytes]:
        """The xid that the request got, and its frame. A kind `opN` sends opcode N with the bytes given."""
        if kind.startswith("op"):
            opcode, encode = int(kind[2:]), raw
        else:
            opcode, encode, _ = KINDS[kind]
        xid = XIDS.get(kind, 0)
        if not xid:
            self.xid += 1
            xid = self.xid
        payload = i32(xid) + i32(opcode) + encode(*arguments)
        return xid, i32(len(payload)) + payload

    def send(self, data: bytes) -> None:
        try:
            self.sock.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            pass  # reading tells

    def receive(self, kind: str, xid: int) -> Reply | Event:
        """The next event, or the answer to the oldest request."""
        reader = Reader(self.frame())
        got, zxid, error = reader.i32(), Zxid(reader.i64()), reader.i32()
        if got == EVENT_XID:
            return event_of(reader)
        value = None
        if error == 0 and not kind.startswith("op"):
            value = body_of(kind, reader)
        if zxid > 0:
            self.last_zxid = zxid
        return Reply(kind, got == xid, zxid, error, value)

    def drop(self) -> None:
        self.sock.close()
