"""ZooKeeper's wire format: numbers, jute primitives, frames. Pure: bytes in, values out.

Rules:
- A decoder gives a value, says need-more (`frame_length` only), or raises FrameError. Never a silent truncation: every length is
  checked against what is there before anything is allocated, so the cost is linear in the bytes received.
- Null (length -1) and empty are the same to us: both decode to empty. (kazoo writes null for an empty string.) Only a node's
  data may be null.
- Bytes after a record's last field are ignored, as ZooKeeper does.
- Strings stay bytes: the tree's paths are UTF-8 bytes, checked by coordination/paths.py.
Must not know: sockets, sessions, the tree. Source: zookeeper.jute, ZooDefs.java, KeeperException.java of Apache ZooKeeper 3.8.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from loggos.base.errors import FrameError
from loggos.base.limits import JUTE_FRAME_BYTES_MAX

Buffer = bytes | bytearray | memoryview

# --- opcodes -------------------------------------------------------------------------------------------------------------
OP_NOTIFICATION: Final = 0
OP_CREATE: Final = 1
OP_DELETE: Final = 2
OP_EXISTS: Final = 3
OP_GET_DATA: Final = 4
OP_SET_DATA: Final = 5
OP_GET_ACL: Final = 6
OP_SET_ACL: Final = 7
OP_GET_CHILDREN: Final = 8
OP_SYNC: Final = 9
OP_PING: Final = 11
OP_GET_CHILDREN2: Final = 12
OP_CHECK: Final = 13
OP_MULTI: Final = 14
OP_CREATE2: Final = 15
OP_RECONFIG: Final = 16
OP_CHECK_WATCHES: Final = 17
OP_REMOVE_WATCHES: Final = 18
OP_CREATE_CONTAINER: Final = 19
OP_DELETE_CONTAINER: Final = 20
OP_CREATE_TTL: Final = 21
OP_MULTI_READ: Final = 22
OP_AUTH: Final = 100
OP_SET_WATCHES: Final = 101
OP_SASL: Final = 102
OP_GET_EPHEMERALS: Final = 103
OP_GET_ALL_CHILDREN_NUMBER: Final = 104
OP_SET_WATCHES2: Final = 105
OP_ADD_WATCH: Final = 106
OP_WHO_AM_I: Final = 107
OP_CREATE_SESSION: Final = -10
OP_CLOSE_SESSION: Final = -11
OP_ERROR: Final = -1

# what must go through the log; all else the door answers itself
WRITE_OPS: Final = frozenset(
    (
        *(OP_CREATE, OP_CREATE2, OP_CREATE_CONTAINER, OP_CREATE_TTL),
        *(OP_DELETE, OP_SET_DATA, OP_SET_ACL, OP_CHECK, OP_MULTI, OP_AUTH, OP_CLOSE_SESSION),
    )
)

# --- xids that are no request numbers --------------------------------------------------------------------------------------
XID_EVENT: Final = -1
XID_PING: Final = -2
XID_AUTH: Final = -4
XID_SET_WATCHES: Final = -8

# --- error codes -----------------------------------------------------------------------------------------------------------
OK: Final = 0
SYSTEM_ERROR: Final = -1
RUNTIME_INCONSISTENCY: Final = -2
DATA_INCONSISTENCY: Final = -3
CONNECTION_LOSS: Final = -4
MARSHALLING_ERROR: Final = -5
UNIMPLEMENTED: Final = -6
OPERATION_TIMEOUT: Final = -7
BAD_ARGUMENTS: Final = -8
UNKNOWN_SESSION: Final = -12
API_ERROR: Final = -100
NO_NODE: Final = -101
NO_AUTH: Final = -102
BAD_VERSION: Final = -103
NO_CHILDREN_FOR_EPHEMERALS: Final = -108
NODE_EXISTS: Final = -110
NOT_EMPTY: Final = -111
SESSION_EXPIRED: Final = -112
INVALID_CALLBACK: Final = -113
INVALID_ACL: Final = -114
AUTH_FAILED: Final = -115
SESSION_MOVED: Final = -118
NOT_READ_ONLY: Final = -119
NO_WATCHER: Final = -121
REQUEST_TIMEOUT: Final = -122
RECONFIG_DISABLED: Final = -123
SESSION_CLOSED_REQUIRE_SASL_AUTH: Final = -124
QUOTA_EXCEEDED: Final = -125
THROTTLED: Final = -127

# --- watch events ------------------------------------------------------------------------------------------------------------
EVENT_CREATED: Final = 1
EVENT_DELETED: Final = 2
EVENT_DATA_CHANGED: Final = 3
EVENT_CHILDREN_CHANGED: Final = 4
EVENT_DATA_WATCH_REMOVED: Final = 5
EVENT_CHILD_WATCH_REMOVED: Final = 6
EVENT_PERSISTENT_WATCH_REMOVED: Final = 7
STATE_SYNC_CONNECTED: Final = 3

# --- permissions and create flags --------------------------------------------------------------------------------------------
PERM_READ: Final = 1
PERM_WRITE: Final = 2
PERM_CREATE: Final = 4
PERM_DELETE: Final = 8
PERM_ADMIN: Final = 16
PERM_ALL: Final = 31

FLAG_EPHEMERAL: Final = 1
FLAG_SEQUENTIAL: Final = 2
FLAG_CONTAINER: Final = 4  # counts in a multi only: alone, the opcode makes the container

# --- layouts -----------------------------------------------------------------------------------------------------------------
INT32: Final = struct.Struct(">i")
INT64: Final = struct.Struct(">q")
REQUEST_HEAD: Final = struct.Struct(">iii")  # frame length, xid, opcode
REPLY_HEAD: Final = struct.Struct(">iiqi")  # frame length, xid, zxid, error
REPLY_HEAD_BYTES: Final = 16  # of the payload: without the length itself
STAT: Final = struct.Struct(">qqqqiiiqiiq")  # czxid mzxid ctime mtime version cversion aversion owner data_length children pzxid
REPLY_STAT: Final = struct.Struct(">iiqi" + "qqqqiiiqiiq")  # a whole reply frame whose body is one Stat
MULTI_HEADER: Final = struct.Struct(">i?i")  # opcode, done, error
MULTI_END: Final = MULTI_HEADER.pack(-1, True, -1)
CONNECT_REPLY: Final = struct.Struct(">iiiqi16s")  # frame length, protocol version, timeout, session, 16, password
EVENT_HEAD: Final = struct.Struct(">iiqiiii")  # reply head, then event type, state, path length

PASSWORD_BYTES: Final = 16


class Acl(NamedTuple):
    """One entry of an access control list: PERM_* bits for whoever is `scheme`:`id`."""

    perms: int
    scheme: bytes
    id: bytes


class ConnectRequest(NamedTuple):
    """The first frame of a connection. `read_only` is None when the client is too old to send it (then do not send it back)."""

    last_zxid_seen: int
    timeout_ms: int
    session: int
    password: bytes
    read_only: bool | None


# --- frames ------------------------------------------------------------------------------------------------------------------


def frame_length(buffer: Buffer, at: int = 0, length_max: int = JUTE_FRAME_BYTES_MAX) -> int | None:
    """Bytes of the whole frame (with its 4 length bytes) that begins at `at`; None: need more bytes to know its length.
    FrameError: negative or over `length_max`. The frame itself may still be incomplete: compare with what is there."""
    if len(buffer) - at < 4:
        return None
    length: int = INT32.unpack_from(buffer, at)[0]
    if not 0 <= length <= length_max:
        raise FrameError(f"a frame of {length} bytes; at most {length_max} are allowed (jute.maxbuffer)")
    return 4 + length


class Reader:
    """Reads jute values one after another from `data[at:end]`. FrameError where they do not fit. Gives copies, never views."""

    __slots__ = ("_data", "_end", "at")

    def __init__(self, data: Buffer, at: int = 0, end: int | None = None) -> None:
        self._data = data
        self._end = len(data) if end is None else min(end, len(data))
        self.at = at

    def _take(self, size_bytes: int) -> int:
        at = self.at
        if not 0 <= size_bytes <= self._end - at:
            raise FrameError(f"a field of {size_bytes} bytes at {at}, but only {self._end - at} are left")
        self.at = at + size_bytes
        return at

    @property
    def remaining(self) -> int:
        return self._end - self.at

    def int32(self) -> int:
        value: int = INT32.unpack_from(self._data, self._take(4))[0]
        return value

    def int64(self) -> int:
        value: int = INT64.unpack_from(self._data, self._take(8))[0]
        return value

    def boolean(self) -> bool:
        return self._data[self._take(1)] != 0

    def nullable(self) -> bytes | None:
        """A buffer that may be null, which is not the same as empty: a node's data."""
        if self._end - self.at >= 4 and INT32.unpack_from(self._data, self.at)[0] == -1:
            self.at += 4
            return None
        return self.buffer()

    def buffer(self) -> bytes:
        """A buffer or a ustring; empty for null."""
        at = self.at + 4
        left = self._end - at
        if left < 0:
            raise FrameError(f"a length at {self.at}, but only {left + 4} bytes are left")
        size: int = INT32.unpack_from(self._data, at - 4)[0]
        if not 0 <= size <= left:
            if size != -1:
                raise FrameError(f"a field of {size} bytes at {at}, but only {left} are left")
            size = 0
        self.at = at + size
        return bytes(self._data[at : at + size])

    def skip(self, expected: bytes) -> bool:
        """Step over these very bytes, if they come next."""
        end = self.at + len(expected)
        if end > self._end or self._data[self.at : end] != expected:
            return False
        self.at = end
        return True

    def vector(self, item_bytes_min: int) -> int:
        """The item count of a vector, checked against what is left: no count can make us allocate more than was sent."""
        count = self.int32()
        if count == -1:
            return 0
        if count < 0 or count * item_bytes_min > self._end - self.at:
            raise FrameError(f"a vector of {count} items at {self.at}, but only {self._end - self.at} bytes are left")
        return count

    def strings(self) -> list[bytes]:
        return [self.buffer() for _ in range(self.vector(4))]

    def acl(self) -> tuple[Acl, ...]:
        return tuple([Acl(self.int32(), self.buffer(), self.buffer()) for _ in range(self.vector(12))])


def read_connect(payload: Buffer) -> ConnectRequest:
    """`payload`: the first frame without its length. FrameError if it is none."""
    reader = Reader(payload)
    reader.int32()  # protocol version: always 0
    last_zxid_seen, timeout_ms, session, password = reader.int64(), reader.int32(), reader.int64(), reader.buffer()
    read_only = reader.boolean() if reader.remaining else None
    if len(password) > PASSWORD_BYTES:
        raise FrameError(f"a session password of {len(password)} bytes; {PASSWORD_BYTES} are expected")
    return ConnectRequest(last_zxid_seen, timeout_ms, session, password.ljust(PASSWORD_BYTES, b"\0"), read_only)


# --- encoding ----------------------------------------------------------------------------------------------------------------


def encode_buffer(value: bytes) -> bytes:
    """A buffer or a ustring."""
    return INT32.pack(len(value)) + value


def encode_strings(values: Iterable[bytes]) -> bytes:
    """A vector of ustrings (the body of getChildren)."""
    pack = INT32.pack
    parts = [b""]
    for value in values:
        parts.append(pack(len(value)))
        parts.append(value)
    parts[0] = pack(len(parts) // 2)
    return b"".join(parts)


def encode_acl(acl: Sequence[Acl]) -> bytes:
    parts = [INT32.pack(len(acl))]
    for perms, scheme, identity in acl:
        parts.append(INT32.pack(perms) + encode_buffer(scheme) + encode_buffer(identity))
    return b"".join(parts)


def encode_reply(xid: int, zxid: int, error: int, body: bytes = b"") -> bytes:
    """A whole reply frame. `body` only if error is 0."""
    return REPLY_HEAD.pack(REPLY_HEAD_BYTES + len(body), xid, zxid, error) + body


def encode_event(kind: int, path: bytes, zxid: int, state: int = STATE_SYNC_CONNECTED) -> bytes:
    """A whole watch event frame."""
    return EVENT_HEAD.pack(28 + len(path), XID_EVENT, zxid, 0, kind, state, len(path)) + path


def encode_connect_reply(timeout_ms: int, session: int, password: bytes, read_only: bool | None) -> bytes:
    """A whole frame. `read_only`: None leaves it out, for clients that did not send it. A refused session: 0, 0, zeros."""
    tail = b"" if read_only is None else b"\1" if read_only else b"\0"
    return CONNECT_REPLY.pack(36 + len(tail), 0, timeout_ms, session, PASSWORD_BYTES, password) + tail


def encode_request(xid: int, opcode: int, body: bytes = b"") -> bytes:
    """A whole request frame, as a client sends it."""
    return REQUEST_HEAD.pack(8 + len(body), xid, opcode) + body


def encode_auth(xid: int, scheme: bytes, identity: bytes) -> bytes:
    """The auth request as the log carries it: the client's packet with its secret replaced by the id it proves."""
    return encode_request(xid, OP_AUTH, INT32.pack(0) + encode_buffer(scheme) + encode_buffer(identity))
