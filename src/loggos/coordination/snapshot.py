"""The machine's state as bytes: a snapshot that is taken while the machine goes on (rule 19), its restore, and the digest, at
once or by a walk of the same kind.

How a walk shows the state of its start: beginning one raises `epoch`; what is made later carries the new epoch and is skipped.
The walk goes down from the root, encoding nodes of an older epoch and marking them. What is about to change before the walk
came by is encoded then, by `saver`, and marked. So every item is encoded once, as it was. What a delete hides from the walk was
saved by that delete, and so was all below it, which went before. There is one walk at a time: a new one ends the one before, so
a walk for a digest is not begun while a snapshot's is under way (`is_walked`).

Format: records, u32 length then body, cut into slices between records; the first is the magic, the last holds the counts.
Children and a session's ephemerals are not stored: they follow from the paths and owners. A container's owner is CONTAINER.
"""

from __future__ import annotations

import hashlib
import struct
from abc import ABC, abstractmethod
from collections.abc import Generator, Iterable, Iterator
from typing import Final

from loggos.base.errors import FrameError, InternalError
from loggos.base.ids import SessionId
from loggos.base.limits import RESTORE_STEP_ITEMS, SCRUB_SLICE_ITEMS, SNAPSHOT_SLICE_BYTES, SNAPSHOT_SLICE_ITEMS
from loggos.base.steps import Digesting
from loggos.coordination.acl import OPEN_ACL, AclTable, read_acl
from loggos.coordination.paths import ROOT
from loggos.coordination.sessions import Session, SessionTable
from loggos.coordination.tree import CONTAINER, Tree, Znode
from loggos.coordination.zookeeper.codec import Reader, encode_acl

_LENGTH: Final = struct.Struct(">I")
_MAGIC: Final = b"\x00loggos-coordination-1"
_NODE_KIND: Final = 1
_SESSION_KIND: Final = 2
_END_KIND: Final = 3
# kind, owner, czxid, mzxid, pzxid, ctime, mtime, version, aversion, creates, path and data length; then those, ACL (open: none)
_NODE: Final = struct.Struct(">BqqqqqqiiiHI")
# kind, id, timeout, password, node, generation, sequence, last seen, address length, identities; then address and (scheme, id)s
_SESSION: Final = struct.Struct(">Bqi16sBqqqBH")
_NULL_DATA: Final = 0xFFFFFFFF  # in the place of the data's length: null, which is not the same as empty
_END: Final = struct.Struct(">BQQ")  # kind, nodes, sessions
_DIGEST_MASK: Final = 0xFFFFFFFFFFFFFFFF
_WHOLE: Final = object()


def encode_node(path: bytes, node: Znode) -> bytes:
    """A node's record, without its length."""
    data = node.data
    head = _NODE.pack(
        _NODE_KIND,
        node.owner,
        node.czxid,
        node.mzxid,
        node.pzxid,
        node.ctime,
        node.mtime,
        node.version,
        node.aversion,
        node.creates,
        len(path),
        _NULL_DATA if data is None else len(data),
    )
    return head + path + (data or b"") + (b"" if node.acl is OPEN_ACL else encode_acl(node.acl))


def encode_session(session: Session) -> bytes:
    """A session's record, without its length."""
    parts = [
        _SESSION.pack(
            _SESSION_KIND,
            session.id,
            session.timeout_ms,
            session.password,
            session.node,
            session.generation,
            session.sequence,
            session.last_seen,
            len(session.address),
            len(session.identities),
        ),
        session.address,
    ]
    for pair in session.identities:
        parts += [_LENGTH.pack(len(text)) + text for text in pair]
    return b"".join(parts)


def is_walked(tree: Tree) -> bool:
    """Is a walk over this state under way?"""
    return tree.saver is not None


class Walk(ABC):
    """One walk over the state as it is when this is built. What is encoded goes to `add`, which counts it in `_bytes`."""

    def __init__(self, tree: Tree, sessions: SessionTable, slice_items: int) -> None:
        self._tree, self._sessions, self._slice_items = tree, sessions, slice_items
        tree.epoch += 1
        sessions.epoch = tree.epoch
        self._epoch = tree.epoch
        self._nodes, self._session_ids = len(tree.nodes), list(sessions)
        self._bytes = 0  # of this slice
        self._nodes_done = self._sessions_done = 0
        tree.saver = self.save_node
        sessions.saver = self.save_session

    @abstractmethod
    def add(self, record: bytes) -> None: ...

    def save_node(self, path: bytes, node: Znode) -> None:
        """The node is about to change or go: keep it as it is, unless that is done or it is younger than this walk."""
        if node.epoch != self._epoch:
            node.epoch = self._epoch
            self._nodes_done += 1
            self.add(encode_node(path, node))

    def save_session(self, session: Session) -> None:
        if session.epoch != self._epoch:
            session.epoch = self._epoch
            self._sessions_done += 1
            self.add(encode_session(session))

    def is_newest(self) -> bool:
        """Has no other walk over this state begun since?"""
        return self._tree.epoch == self._epoch

    def steps(self) -> Iterator[None]:
        """Saves every item not yet saved; yields after each bounded piece of work."""
        try:
            looked_at = 0
            for _ in self._items():
                looked_at += 1
                if looked_at >= self._slice_items or self._bytes >= SNAPSHOT_SLICE_BYTES:
                    looked_at = self._bytes = 0
                    yield
            if (self._nodes_done, self._sessions_done) != (self._nodes, len(self._session_ids)):
                raise InternalError(f"a walk over the state saw {self._nodes_done} of {self._nodes} nodes: report this defect")
        finally:
            self.leave()

    def leave(self) -> None:
        """What changes from now on is no more kept for this walk."""
        if self.is_newest():
            self._tree.saver = self._sessions.saver = None

    def _items(self) -> Iterator[None]:
        """Saves every item not yet saved; yields after each."""
        for session_id in self._session_ids:
            session = self._sessions.get(session_id)
            if session is not None:
                self.save_session(session)
            yield
        nodes = self._tree.nodes
        self.save_node(ROOT, nodes[ROOT])
        pending = [list(nodes[ROOT].children or ())]
        while pending:
            if not pending[-1]:
                pending.pop()
                continue
            path = pending[-1].pop()
            node = nodes.get(path)
            if node is not None:
                self.save_node(path, node)
                if node.children:
                    pending.append(list(node.children))
            yield


class Snapshot(Walk):
    """The walk that keeps what it saw."""

    def __init__(self, tree: Tree, sessions: SessionTable, slice_items: int = SNAPSHOT_SLICE_ITEMS) -> None:
        super().__init__(tree, sessions, slice_items)
        self._records: list[bytes] = [_LENGTH.pack(len(_MAGIC)), _MAGIC]

    def add(self, record: bytes) -> None:
        self._records.append(_LENGTH.pack(len(record)))
        self._records.append(record)
        self._bytes += 4 + len(record)

    def _take(self) -> bytes:
        records, self._records = self._records, []
        return b"".join(records)

    def slices(self) -> Iterator[bytes]:
        """The snapshot, a bounded piece of work at a time. InternalError if another one was begun meanwhile."""
        for _ in self.steps():
            yield self._take()
            if not self.is_newest():
                raise InternalError("a snapshot was asked for another slice after a newer one had begun")
        self.add(_END.pack(_END_KIND, self._nodes, len(self._session_ids)))
        yield self._take()


class Sum(Walk):
    """The walk that adds up what `digest` adds up at once."""

    def __init__(self, tree: Tree, sessions: SessionTable, slice_items: int = SCRUB_SLICE_ITEMS) -> None:
        super().__init__(tree, sessions, slice_items)
        self._total = 0

    def add(self, record: bytes) -> None:
        self._total += _hash(record)
        self._bytes += len(record)

    def digesting(self) -> Digesting:
        """The digest in bounded steps, the first of which does nothing. None: a snapshot was begun meanwhile and has the walk."""
        steps, is_whole = self.steps(), False
        try:
            while not is_whole:
                yield
                if not self.is_newest():
                    return None
                is_whole = next(steps, _WHOLE) is _WHOLE
            return self._total & _DIGEST_MASK
        finally:
            self.leave()


def digest(tree: Tree, sessions: SessionTable) -> int:
    """The sum of a 64-bit hash of every item: it does not depend on any order."""
    total = 0
    for path, node in tree.nodes.items():
        total += _hash(encode_node(path, node))
    for session in sessions.values():
        total += _hash(encode_session(session))
    return total & _DIGEST_MASK


def _hash(record: bytes) -> int:
    return int.from_bytes(hashlib.blake2b(record, digest_size=8).digest(), "big")


# --- restore -----------------------------------------------------------------------------------------------------------------


Restored = tuple[Tree, SessionTable]


def restoring(chunks: Iterable[bytes], acls: AclTable) -> Generator[None, None, Restored]:
    """Tree and sessions of a snapshot, made in steps of about a millisecond. InternalError if it is not whole or not one."""
    try:
        return (yield from _restoring(_records(chunks), acls))
    except (struct.error, FrameError, KeyError) as error:
        raise InternalError(f"a snapshot holds an unreadable record, or a node without parent or owner: {error!r}") from error


def _restoring(records: Iterator[bytes], acls: AclTable) -> Generator[None, None, Restored]:
    tree, sessions = Tree(), SessionTable()
    if next(records, b"") != _MAGIC:
        raise InternalError("this is not a snapshot of the coordination machine, or of a version this one cannot read")
    ended = False
    for number, record in enumerate(records, 1):
        if number % RESTORE_STEP_ITEMS == 0:
            yield
        kind = record[0] if record else 0
        if ended:
            raise InternalError("a snapshot goes on after its end")
        if kind == _NODE_KIND:
            _restore_node(record, tree, acls)
        elif kind == _SESSION_KIND:
            _restore_session(record, sessions)
        elif kind == _END_KIND and _END.unpack(record)[1:] == (len(tree.nodes), len(sessions)):
            ended = True
        else:
            raise InternalError(f"a snapshot holds a record of kind {kind} that does not belong")
    if not ended:
        raise InternalError("a snapshot ends before its last record")
    yield from _linking(tree, sessions)
    return tree, sessions


def _records(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """The records, wherever the chunks were cut."""
    rest = b""
    for chunk in chunks:
        data, at = rest + chunk if rest else chunk, 0
        while len(data) - at >= 4:
            end = at + 4 + _LENGTH.unpack_from(data, at)[0]
            if end > len(data):
                break
            yield data[at + 4 : end]
            at = end
        rest = data[at:]
    if rest:
        raise InternalError(f"a snapshot ends in the middle of a record ({len(rest)} bytes)")


def _restore_node(record: bytes, tree: Tree, acls: AclTable) -> None:
    _, owner, czxid, mzxid, pzxid, ctime, mtime, version, aversion, creates, path_bytes, data_bytes = _NODE.unpack_from(record)
    path_end = _NODE.size + path_bytes
    is_null = data_bytes == _NULL_DATA
    data_end = path_end if is_null else path_end + data_bytes
    acl = acls.intern(read_acl(Reader(record, data_end))) if data_end < len(record) else OPEN_ACL
    node = Znode(None if is_null else record[path_end:data_end], acl, czxid, ctime, owner, tree.epoch)
    # equal numbers become one object: most nodes have not changed since they were made
    node.mzxid = czxid if mzxid == czxid else mzxid
    node.pzxid = czxid if pzxid == czxid else pzxid
    node.mtime = ctime if mtime == ctime else mtime
    node.version, node.aversion, node.creates = version, aversion, creates
    path = record[_NODE.size : path_end]
    tree.nodes[path] = node
    if owner == CONTAINER:
        tree.note_emptied(path, node)  # until a child of it is linked


def _restore_session(record: bytes, sessions: SessionTable) -> None:
    _, session_id, timeout_ms, password, node, *counts, address_bytes, identities = _SESSION.unpack_from(record)
    session = Session(SessionId(session_id), password, sessions.epoch)
    reader = Reader(record, _SESSION.size + address_bytes)
    session.address = record[_SESSION.size : reader.at]
    session.timeout_ms, session.node = timeout_ms, node
    session.generation, session.sequence, session.last_seen = counts
    session.identities = tuple([(reader.buffer(), reader.buffer()) for _ in range(identities)])
    sessions[session.id] = session


def _linking(tree: Tree, sessions: SessionTable) -> Generator[None, None, None]:
    """Children and ephemerals, from paths and owners."""
    if ROOT not in tree.nodes:
        raise InternalError("a snapshot holds no root")
    for number, (path, node) in enumerate(tree.nodes.items(), 1):
        if number % RESTORE_STEP_ITEMS == 0:
            yield
        if path != ROOT:
            tree.link(path, tree.parent(path))
        if node.owner and node.owner != CONTAINER:
            sessions[SessionId(node.owner)].ephemerals[path] = None
