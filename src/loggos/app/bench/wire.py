"""The little of the ZooKeeper protocol that a load generator needs: encoders, reply layouts, a blocking session.

Rules: requests are encoded once and sent many times; replies have a fixed size per operation, so that a batch of them is checked
with one `iter_unpack`. The blocking `Session` is for preparation, probing and tests, never for load.

Source: zookeeper.jute (ConnectRequest, RequestHeader, ReplyHeader, Stat).
"""

from __future__ import annotations

import socket
import struct
from typing import Final

Address = tuple[str, int]

OP_CREATE: Final = 1
OP_GET_DATA: Final = 4
OP_SET_DATA: Final = 5
OP_SYNC: Final = 9
OP_CLOSE: Final = -11
ERR_NODE_EXISTS: Final = -110

FRAME_HEAD: Final = struct.Struct(">i")
REQUEST_HEAD: Final = struct.Struct(">iii")  # frame length, xid, type
REPLY_HEAD: Final = struct.Struct(">iiqi")  # frame length, xid, zxid, err
REPLY_HEAD_BYTES: Final = 20
STAT_BYTES: Final = 68
CONNECT: Final = struct.Struct(">iiqiqi16s?")  # length, protocol, last zxid, timeout ms, session, password
CONNECT_REPLY: Final = struct.Struct(">iiiqi16s")  # length, protocol, timeout ms, session, password
NO_PASSWORD: Final = bytes(16)
OPEN_ACL: Final = struct.pack(">iii5si6s", 1, 31, 5, b"world", 6, b"anyone")

SET_DATA_REPLY: Final = struct.Struct(">iiqi32xi32x")  # head, then Stat.version out of the Stat
SET_DATA_REPLY_BYTES: Final = REPLY_HEAD_BYTES + STAT_BYTES


class WireError(Exception):
    """A server answered what the protocol does not allow, or not what was asked for."""


def connect_request(timeout_ms: int, session: int = 0, password: bytes = NO_PASSWORD, last_zxid: int = 0) -> bytes:
    return CONNECT.pack(CONNECT.size - 4, 0, last_zxid, timeout_ms, session, 16, password, False)


def buffer(data: bytes) -> bytes:
    return FRAME_HEAD.pack(len(data)) + data


def request(xid: int, operation: int, body: bytes) -> bytes:
    return REQUEST_HEAD.pack(8 + len(body), xid, operation) + body


def set_data(path: bytes, value: bytes) -> bytes:
    """The body of a setData that accepts any version."""
    return buffer(path) + buffer(value) + b"\xff\xff\xff\xff"


def get_data(path: bytes) -> bytes:
    """The body of a getData without a watch."""
    return buffer(path) + b"\x00"


def create(path: bytes, value: bytes) -> bytes:
    """The body of a create: persistent, open to everyone."""
    return buffer(path) + buffer(value) + OPEN_ACL + bytes(4)


def get_data_reply(value_bytes: int) -> struct.Struct:
    """Head, length of the value, the value, version (out of the Stat)."""
    return struct.Struct(f">iiqii{value_bytes}s32xi32x")


def create_reply(path_bytes: int) -> struct.Struct:
    """Head, length of the path, the path."""
    return struct.Struct(f">iiqii{path_bytes}s")


def four_letter_word(address: Address, word: bytes, timeout_s: float = 2.0) -> str:
    """The server's answer to a four-letter word. OSError when it does not answer."""
    with socket.create_connection(address, timeout_s) as sock:
        sock.sendall(word)
        chunks = []
        while chunk := sock.recv(65_536):
            chunks.append(chunk)
    return b"".join(chunks).decode("utf-8", "replace")


class Session:
    """One blocking session on one server. OSError or WireError when it cannot be had."""

    def __init__(self, address: Address, *, session_ms: int = 30_000, timeout_s: float = 10.0) -> None:
        self.address = address
        self.xid = 0
        self.sock = socket.create_connection(address, timeout_s)
        try:
            self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.sock.sendall(connect_request(session_ms))
            reply = self._frame()
            if len(reply) < CONNECT_REPLY.size:
                raise WireError(f"{address}: short connect reply ({len(reply)} bytes)")
            _, _, self.timeout_ms, self.session, _, self.password = CONNECT_REPLY.unpack_from(reply)
            if self.timeout_ms <= 0:
                raise WireError(f"{address}: the server refused a new session")
        except BaseException:
            self.sock.close()
            raise

    def _exactly(self, size: int) -> bytes:
        data = bytearray()
        while len(data) < size:
            chunk = self.sock.recv(size - len(data))
            if not chunk:
                raise ConnectionResetError(f"{self.address}: the server closed the connection")
            data += chunk
        return bytes(data)

    def _frame(self) -> bytes:
        head = self._exactly(4)
        length = FRAME_HEAD.unpack(head)[0]
        if not 0 <= length <= 1 << 20:
            raise WireError(f"{self.address}: frame of {length} bytes")
        return head + self._exactly(length)

    def call(self, operation: int, body: bytes) -> tuple[int, bytes]:
        """(error code, reply body)."""
        self.xid += 1
        self.sock.sendall(request(self.xid, operation, body))
        reply = self._frame()
        _, xid, _, err = REPLY_HEAD.unpack_from(reply)
        if xid != self.xid:
            raise WireError(f"{self.address}: reply to xid {xid}, expected {self.xid}")
        return err, reply[REPLY_HEAD_BYTES:]

    def ensure(self, path: bytes, value: bytes = b"") -> None:
        """Create a znode unless it is there."""
        err, _ = self.call(OP_CREATE, create(path, value))
        if err not in (0, ERR_NODE_EXISTS):
            raise WireError(f"{self.address}: create {path.decode()} failed with {err}")

    def detach(self) -> socket.socket:
        """The socket, for an event loop to take over; this object is then done."""
        self.sock.settimeout(None)
        return self.sock

    def close(self) -> None:
        """End the session at the server, then close."""
        try:
            self.call(OP_CLOSE, b"")
        except (OSError, WireError):
            pass
        finally:
            self.sock.close()
