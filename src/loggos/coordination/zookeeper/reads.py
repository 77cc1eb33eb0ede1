"""Reads of the tree, answered by this node alone from the state it has applied (ZooKeeper's reads: possibly behind, never
ahead, never back).

Rules:
- A handler gets a whole request frame and gives a whole reply frame; `ReadError` becomes its error code. It changes nothing
  but watches.
- A watch is registered where the read succeeded; exists also registers where the node is missing.
- READ is checked against the identities that the log knows of the session, never against anything of this connection.
- The zxid of a reply is the index that this node has applied.

Must not know: sockets, the log, the order of requests. Source: FinalRequestProcessor.java and DataTree.java of Apache
ZooKeeper 3.8.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol

from loggos.base.errors import ClientError, FrameError, OverloadedError
from loggos.base.ids import SessionId
from loggos.base.limits import MULTI_OPERATIONS_MAX, MULTI_READ_BYTES_MAX
from loggos.coordination.acl import DIGEST, OPEN_ACL, Identities, permits
from loggos.coordination.paths import CONFIG, ROOT
from loggos.coordination.service import Client, CoordinationService
from loggos.coordination.tree import Znode, encode_stat, names_of_children
from loggos.coordination.watches import (
    CHILD,
    DATA,
    EVENT_CHANGED,
    EVENT_CHILDREN,
    EVENT_CREATED,
    EVENT_DELETED,
    PERSISTENT,
    RECURSIVE,
)
from loggos.coordination.zookeeper.codec import (
    BAD_ARGUMENTS,
    INT32,
    MULTI_END,
    MULTI_HEADER,
    NO_AUTH,
    NO_NODE,
    NO_WATCHER,
    OP_ADD_WATCH,
    OP_CHECK_WATCHES,
    OP_ERROR,
    OP_EXISTS,
    OP_GET_ACL,
    OP_GET_CHILDREN,
    OP_GET_CHILDREN2,
    OP_GET_DATA,
    OP_GET_EPHEMERALS,
    OP_MULTI_READ,
    OP_REMOVE_WATCHES,
    OP_SET_WATCHES,
    OP_SET_WATCHES2,
    OP_WHO_AM_I,
    PERM_ADMIN,
    PERM_READ,
    QUOTA_EXCEEDED,
    REPLY_HEAD,
    REPLY_HEAD_BYTES,
    REQUEST_TIMEOUT,
    STAT,
    Acl,
    Reader,
    encode_acl,
    encode_buffer,
    encode_reply,
    encode_strings,
)

BODY_AT: Final = 12  # of a request's body in its frame: after length, xid and opcode
_STAT_BYTES: Final = STAT.size
_NULL: Final = INT32.pack(-1)  # the data of a node that was given none
NO_ZXID: Final = -1  # of events that catch a client up: not of one change


class ReadError(ClientError):
    """A read that is answered with an error code."""

    def __init__(self, code: int) -> None:
        super().__init__(f"error {code}")
        self.code = code


class ReadingClient(Client, Protocol):
    """What a read needs of its connection."""

    service: CoordinationService


Handler = Callable[[ReadingClient, int, bytes], bytes]


# --- helpers -------------------------------------------------------------------------------------------------------------


def identities_of(client: ReadingClient) -> Identities:
    session = client.service.machine.sessions.get(SessionId(client.session))
    return session.identities if session is not None else ()


def _path_and_watch(frame: bytes) -> tuple[bytes, bool]:
    """The body of exists, getData and getChildren: ustring path, bool watch."""
    if len(frame) < BODY_AT + 5:
        raise FrameError(f"a request of {len(frame)} bytes is too short for a path and a watch flag")
    size: int = INT32.unpack_from(frame, BODY_AT)[0]
    end = BODY_AT + 4 + size
    if size < 0 or end >= len(frame):
        raise FrameError(f"a path of {size} bytes in a request of {len(frame)}")
    return frame[BODY_AT + 4 : end], frame[end] != 0


def _readable(client: ReadingClient, path: bytes) -> Znode:
    """The node at `path`, if this client may read it."""
    node = client.service.machine.tree.nodes.get(path)
    if node is None:
        raise ReadError(NO_NODE)
    if node.acl is not OPEN_ACL and not permits(node.acl, PERM_READ, identities_of(client)):
        raise ReadError(NO_AUTH)
    return node


def _shown(client: ReadingClient, path: bytes, node: Znode) -> Znode:
    """The node as clients see it: /zookeeper/config says who the members are, unless somebody has written there."""
    if path != CONFIG or node.data:
        return node
    shown = Znode(client.service.options.members, node.acl, node.czxid, node.ctime, node.owner, node.epoch)
    shown.aversion, shown.children, shown.creates, shown.pzxid = node.aversion, node.children, node.creates, node.pzxid
    return shown


def _watch(client: ReadingClient, path: bytes, mode: int) -> None:
    """Register, unless the connection holds too many watches already."""
    service = client.service
    if service.watches.count_of(client) >= service.options.watches_per_connection_max:
        raise ReadError(QUOTA_EXCEEDED)
    service.watches.add(client, path, mode)


# --- one node ------------------------------------------------------------------------------------------------------------


def exists(client: ReadingClient, xid: int, frame: bytes) -> bytes:
    path, watch = _path_and_watch(frame)
    if b"\0" in path:
        raise ReadError(BAD_ARGUMENTS)
    if watch:
        _watch(client, path, DATA)
    node = client.service.machine.tree.nodes.get(path)
    if node is None:
        raise ReadError(NO_NODE)
    if not node.data:
        node = _shown(client, path, node)
    return REPLY_HEAD.pack(REPLY_HEAD_BYTES + _STAT_BYTES, xid, client.service.index, 0) + encode_stat(node)


def get_data(client: ReadingClient, xid: int, frame: bytes) -> bytes:
    path, watch = _path_and_watch(frame)
    node = _readable(client, path)
    if watch:
        _watch(client, path, DATA)
    if not node.data:
        node = _shown(client, path, node)
    data = node.data
    if data is None:
        return encode_reply(xid, client.service.index, 0, _NULL + encode_stat(node))
    size = len(data)
    head = REPLY_HEAD.pack(REPLY_HEAD_BYTES + 4 + size + _STAT_BYTES, xid, client.service.index, 0)
    return b"".join((head, INT32.pack(size), data, encode_stat(node)))


def _listing(client: ReadingClient, frame: bytes) -> tuple[Znode, bytes]:
    path, watch = _path_and_watch(frame)
    node = _readable(client, path)
    if watch:
        _watch(client, path, CHILD)
    return node, encode_strings(names_of_children(node))


def get_children(client: ReadingClient, xid: int, frame: bytes) -> bytes:
    return encode_reply(xid, client.service.index, 0, _listing(client, frame)[1])


def get_children2(client: ReadingClient, xid: int, frame: bytes) -> bytes:
    node, names = _listing(client, frame)
    return encode_reply(xid, client.service.index, 0, names + encode_stat(node))


def get_acl(client: ReadingClient, xid: int, frame: bytes) -> bytes:
    """Whoever may not change the list sees its digests without the hash."""
    path = Reader(frame, BODY_AT).buffer()
    node = client.service.machine.tree.nodes.get(path)
    if node is None:
        raise ReadError(NO_NODE)
    identities = identities_of(client)
    acl = node.acl
    if not permits(acl, PERM_ADMIN, identities):
        if not permits(acl, PERM_READ, identities):
            raise ReadError(NO_AUTH)
        acl = tuple([Acl(a.perms, a.scheme, a.id.partition(b":")[0] + b":x") if a.scheme == DIGEST else a for a in acl])
    return encode_reply(xid, client.service.index, 0, encode_acl(acl) + encode_stat(node))


# --- many nodes ----------------------------------------------------------------------------------------------------------


def multi_read(client: ReadingClient, xid: int, frame: bytes) -> bytes:
    """getData and getChildren, as one; each has its own result or error."""
    reader = Reader(frame, BODY_AT)
    results: list[bytes] = []
    size = 0
    while True:
        opcode, done, _ = reader.int32(), reader.boolean(), reader.int32()
        if done:
            break
        if len(results) >= MULTI_OPERATIONS_MAX or opcode not in (OP_GET_DATA, OP_GET_CHILDREN):
            raise FrameError(f"operation {opcode} in a multi read of {len(results)} so far")
        path = reader.buffer()
        reader.boolean()  # watches are not for multi reads
        try:
            results.append(_read_one(client, opcode, path))
        except ReadError as error:
            results.append(MULTI_HEADER.pack(OP_ERROR, False, error.code) + INT32.pack(error.code))
        size += len(results[-1])
        if size > MULTI_READ_BYTES_MAX:
            raise FrameError(f"a multi read of more than {MULTI_READ_BYTES_MAX} bytes")
    return encode_reply(xid, client.service.index, 0, b"".join(results) + MULTI_END)


def _read_one(client: ReadingClient, opcode: int, path: bytes) -> bytes:
    node = _readable(client, path)
    head = MULTI_HEADER.pack(opcode, False, 0)
    if opcode == OP_GET_DATA:
        node = _shown(client, path, node)
        return head + (_NULL if node.data is None else encode_buffer(node.data)) + encode_stat(node)
    return head + encode_strings(names_of_children(node))


def get_ephemerals(client: ReadingClient, xid: int, frame: bytes) -> bytes:
    """Those of the client's own session under a prefix."""
    prefix = Reader(frame, BODY_AT).buffer()
    session = client.service.machine.sessions.get(SessionId(client.session))
    paths = list(session.ephemerals) if session is not None else []
    if prefix.strip() not in (b"", b"/"):
        paths = [path for path in paths if path.startswith(prefix)]
    return encode_reply(xid, client.service.index, 0, encode_strings(paths))


def get_all_children_number(
    client: ReadingClient, xid: int, frame: bytes, later: Callable[[bytes], None], is_wanted: Callable[[], bool]
) -> bytes | None:
    """All descendants of a node. If they are many they are counted bit by bit: None, and `later` gets the reply."""
    path = Reader(frame, BODY_AT).buffer()
    _readable(client, path)
    service = client.service

    def reply(nodes: int) -> bytes:
        return encode_reply(xid, service.index, 0, INT32.pack(max(nodes - 1, 0)))  # it does not count itself

    if path == ROOT:
        return reply(len(service.machine.tree.nodes))
    try:
        total = service.census.ask(path, lambda total: later(reply(total.nodes)), is_wanted)
    except OverloadedError:
        raise ReadError(REQUEST_TIMEOUT) from None
    return None if total is None else reply(total.nodes)


def who_am_i(client: ReadingClient, xid: int, frame: bytes) -> bytes:
    """The identities this session has proved; of a digest the user only."""
    parts = []
    identities = identities_of(client)
    for scheme, identity in identities:
        user = identity.partition(b":")[0] if scheme == DIGEST else identity
        parts.append(encode_buffer(scheme) + encode_buffer(user))
    return encode_reply(xid, client.service.index, 0, INT32.pack(len(parts)) + b"".join(parts))


# --- watches -------------------------------------------------------------------------------------------------------------

# what checkWatches and removeWatches name: 1 children, 2 data, 3 any, 4 persistent, 5 persistent and recursive
_MODES_OF_TYPE: Final = {1: (CHILD,), 2: (DATA,), 3: (DATA, CHILD, PERSISTENT, RECURSIVE), 4: (PERSISTENT,), 5: (RECURSIVE,)}
_MODE_OF_ADD: Final = {0: PERSISTENT, 1: RECURSIVE}


def _path_and_modes(frame: bytes) -> tuple[bytes, tuple[int, ...]]:
    reader = Reader(frame, BODY_AT)
    path, kind = reader.buffer(), reader.int32()
    modes = _MODES_OF_TYPE.get(kind)
    if modes is None:
        raise FrameError(f"watcher type {kind}")
    return path, modes


def check_watches(client: ReadingClient, xid: int, frame: bytes) -> bytes:
    path, modes = _path_and_modes(frame)
    if not client.service.watches.contains(client, path, modes):
        raise ReadError(NO_WATCHER)
    return encode_reply(xid, client.service.index, 0)


def remove_watches(client: ReadingClient, xid: int, frame: bytes) -> bytes:
    """Clients themselves tell their watchers that they were removed: the server sends no event for it."""
    path, modes = _path_and_modes(frame)
    if not client.service.watches.remove(client, path, modes):
        raise ReadError(NO_WATCHER)
    return encode_reply(xid, client.service.index, 0)


def add_watch(client: ReadingClient, xid: int, frame: bytes) -> bytes:
    """Persistent (0) or persistent and recursive (1), on a node that need not exist. The body is an ErrorResponse."""
    reader = Reader(frame, BODY_AT)
    path, kind = reader.buffer(), reader.int32()
    mode = _MODE_OF_ADD.get(kind)
    if mode is None:
        raise FrameError(f"a watch of unknown mode {kind}")
    if not path.startswith(b"/"):
        raise ReadError(BAD_ARGUMENTS)
    _watch(client, path, mode)
    return encode_reply(xid, client.service.index, 0, INT32.pack(0))


def set_watches(client: ReadingClient, xid: int, frame: bytes) -> bytes:
    return _set_watches(client, xid, frame, with_persistent=False)


def set_watches2(client: ReadingClient, xid: int, frame: bytes) -> bytes:
    return _set_watches(client, xid, frame, with_persistent=True)


def _set_watches(client: ReadingClient, xid: int, frame: bytes, *, with_persistent: bool) -> bytes:
    """A client that reconnected brings its watches: those whose change it missed fire at once, before this reply."""
    reader = Reader(frame, BODY_AT)
    seen = reader.int64()
    data, exist, child = reader.strings(), reader.strings(), reader.strings()
    persistent, recursive = (reader.strings(), reader.strings()) if with_persistent else ([], [])
    nodes = client.service.machine.tree.nodes
    for path in data:
        node = nodes.get(path)
        if node is None:
            client.notify(EVENT_DELETED, path, NO_ZXID)
        elif node.mzxid > seen:
            client.notify(EVENT_CHANGED, path, NO_ZXID)
        else:
            _watch(client, path, DATA)
    for path in exist:
        if path in nodes:
            client.notify(EVENT_CREATED, path, NO_ZXID)
        else:
            _watch(client, path, DATA)
    for path in child:
        node = nodes.get(path)
        if node is None:
            client.notify(EVENT_DELETED, path, NO_ZXID)
        elif node.pzxid > seen:
            client.notify(EVENT_CHILDREN, path, NO_ZXID)
        else:
            _watch(client, path, CHILD)
    for path in persistent:
        _watch(client, path, PERSISTENT)
    for path in recursive:
        _watch(client, path, RECURSIVE)
    return encode_reply(xid, client.service.index, 0)


HANDLERS: Final[dict[int, Handler]] = {
    OP_EXISTS: exists,
    OP_GET_DATA: get_data,
    OP_GET_ACL: get_acl,
    OP_GET_CHILDREN: get_children,
    OP_GET_CHILDREN2: get_children2,
    OP_MULTI_READ: multi_read,
    OP_GET_EPHEMERALS: get_ephemerals,
    OP_WHO_AM_I: who_am_i,
    OP_CHECK_WATCHES: check_watches,
    OP_REMOVE_WATCHES: remove_watches,
    OP_ADD_WATCH: add_watch,
    OP_SET_WATCHES: set_watches,
    OP_SET_WATCHES2: set_watches2,
}
WATCH_OPS: Final = (OP_CHECK_WATCHES, OP_REMOVE_WATCHES, OP_ADD_WATCH, OP_SET_WATCHES, OP_SET_WATCHES2)
