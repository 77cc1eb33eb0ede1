"""What each operation checks, in which order, and what it changes: the rules of ZooKeeper's tree.

Rules: every method checks everything first and raises Refusal; what follows the checks cannot fail (rule 15). The order of
the checks is visible to clients (no node before no permission, and so on): it is that of PrepRequestProcessor in Apache
ZooKeeper 3.8.
Must not know: frames, replies, sequences of requests.
"""

from __future__ import annotations

from typing import Final

from loggos.base.errors import ClientError
from loggos.base.ids import Index, SessionId
from loggos.base.limits import AUTH_IDS_PER_CONNECTION_MAX, CHILDREN_BYTES_MAX, EPHEMERALS_PER_SESSION_MAX
from loggos.coordination import acl as access
from loggos.coordination import paths
from loggos.coordination.acl import OPEN_ACL, AclList, AclTable
from loggos.coordination.commands import CHANGED, CREATED, DELETED, TreeEvent
from loggos.coordination.sessions import Session, SessionTable
from loggos.coordination.tree import CONTAINER, Tree, Znode, listing_bytes_with
from loggos.coordination.zookeeper import codec

_LISTING_OVERHEAD_BYTES: Final = 128  # reply head, count and Stat around a listing in one frame
_FLAGS_KNOWN: Final = (0, 1, 2, 3, codec.FLAG_CONTAINER)
_FLAGS_UNIMPLEMENTED: Final = (5, 6)  # TTL, sequential TTL


class Refusal(ClientError):
    """The operation may not or cannot be done; `code` is ZooKeeper's."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


class Run:
    """What the operations of one command share: who asks, when, and what has come of it."""

    __slots__ = ("answer", "closed", "ended", "events", "index", "marks", "position", "replies", "session", "wall_ms")

    def __init__(self, session: Session, wall_ms: int, answer: bool) -> None:
        self.session = session
        self.wall_ms = wall_ms
        self.answer = answer
        self.index = 0  # of the operation now applied
        self.position = 0  # of the operation among those applied
        self.closed = False
        self.events: list[TreeEvent] = []
        self.marks: list[int] = []  # of every operation: its code, or a number made of what it left
        self.replies: list[bytes] = []
        self.ended: list[SessionId] = []


class Operations:
    """The operations over one tree and its sessions."""

    def __init__(self, tree: Tree, sessions: SessionTable, acls: AclTable) -> None:
        self.tree = tree
        self.sessions = sessions
        self.acls = acls

    def create(
        self, run: Run, path: bytes, data: bytes | None, acl: AclList, flags: int, container: bool = False
    ) -> tuple[bytes, Znode]:
        """Gives the path as created (with its sequence number) and the node. As in ZooKeeper the request says whether it is a
        container, whatever the flags say of an owner."""
        tree, session = self.tree, run.session
        if flags not in _FLAGS_KNOWN:
            raise Refusal(codec.UNIMPLEMENTED if flags in _FLAGS_UNIMPLEMENTED else codec.BAD_ARGUMENTS)
        parent_path = paths.parent_of(path)
        if parent_path is None:
            raise Refusal(codec.BAD_ARGUMENTS)
        acl = self.resolve_acl(acl, session)
        parent = self.node_at(parent_path)
        self.demand(parent.acl, codec.PERM_CREATE, session)
        if flags & codec.FLAG_SEQUENTIAL:
            path += self.sequence_suffix(parent)
        if not paths.is_valid(path):
            raise Refusal(codec.BAD_ARGUMENTS)
        if path in tree.nodes:
            raise Refusal(codec.NODE_EXISTS)
        if parent.owner > 0:
            raise Refusal(codec.NO_CHILDREN_FOR_EPHEMERALS)
        if listing_bytes_with(parent, path) > CHILDREN_BYTES_MAX - _LISTING_OVERHEAD_BYTES:
            raise Refusal(codec.QUOTA_EXCEEDED)
        owner: int = CONTAINER if container else 0
        if flags & codec.FLAG_EPHEMERAL and not container:
            if len(session.ephemerals) >= EPHEMERALS_PER_SESSION_MAX:
                raise Refusal(codec.QUOTA_EXCEEDED)
            owner = session.id
        # Checked. From here on nothing fails.
        node = tree.create(path, parent_path, data, acl, run.index, run.wall_ms, owner)
        if owner > 0:
            session.ephemerals[path] = None
            if tree.undo is not None:
                tree.undo.append((self._undo_own, (session, path)))
        run.events.append(TreeEvent(run.position, CREATED, path, Index(run.index), acl, parent.acl))
        return path, node

    def _undo_own(self, session: Session, path: bytes) -> None:
        del session.ephemerals[path]

    def _undo_disown(self, session: Session, path: bytes) -> None:
        session.ephemerals[path] = None

    def sequence_suffix(self, parent: Znode) -> bytes:
        """The number of creates below the parent so far, in ten digits."""
        return b"%010d" % parent.creates

    def delete(self, run: Run, path: bytes, version: int) -> None:
        parent_path = paths.parent_of(path)
        if parent_path is None or path in paths.RESERVED_PATHS:
            raise Refusal(codec.BAD_ARGUMENTS)
        self.demand(self.node_at(parent_path).acl, codec.PERM_DELETE, run.session)
        node = self.node_at(path)
        self.demand_version(node.version, version)
        if node.children:
            raise Refusal(codec.NOT_EMPTY)
        self._remove(run, path, parent_path, node)

    def _remove(self, run: Run, path: bytes, parent_path: bytes, node: Znode) -> None:
        tree = self.tree
        parent_acl = tree.nodes[parent_path].acl
        tree.delete(path, parent_path, run.index)
        if node.owner > 0:
            owner = self.sessions[SessionId(node.owner)]
            del owner.ephemerals[path]
            if tree.undo is not None:
                tree.undo.append((self._undo_disown, (owner, path)))
        run.events.append(TreeEvent(run.position, DELETED, path, Index(run.index), node.acl, parent_acl))

    def reap(self, run: Run, path: bytes) -> None:
        """Delete a container that was left empty, in nobody's name: the caller has checked all."""
        self._remove(run, path, paths.parent_of(path) or paths.ROOT, self.tree.nodes[path])

    def set_data(self, run: Run, path: bytes, data: bytes | None, version: int) -> Znode:
        self.demand_valid(path)
        node = self.node_at(path)
        self.demand(node.acl, codec.PERM_WRITE, run.session)
        self.demand_version(node.version, version)
        self.tree.set_data(path, node, data, run.index, run.wall_ms)
        run.events.append(TreeEvent(run.position, CHANGED, path, Index(run.index), node.acl))
        return node

    def set_acl(self, run: Run, path: bytes, acl: AclList, version: int) -> Znode:
        """Moves only aversion; no watch fires."""
        self.demand_valid(path)
        acl = self.resolve_acl(acl, run.session)
        node = self.node_at(path)
        self.demand(node.acl, codec.PERM_ADMIN, run.session)
        self.demand_version(node.aversion, version)
        self.tree.set_acl(path, node, acl)
        return node

    def check(self, run: Run, path: bytes, version: int) -> Znode:
        self.demand_valid(path)
        node = self.node_at(path)
        self.demand(node.acl, codec.PERM_READ, run.session)
        self.demand_version(node.version, version)
        return node

    def authenticate(self, run: Run, scheme: bytes, identity: bytes) -> None:
        """Add an identity that the door has verified to the session's, until its next attach."""
        session, proved = run.session, (scheme, identity)
        if proved in session.identities:
            return
        if len(session.identities) > AUTH_IDS_PER_CONNECTION_MAX:
            raise Refusal(codec.AUTH_FAILED)
        session.identities = (*session.identities, proved)

    def end_session(self, run: Run, session: Session) -> None:
        """Forget a session and delete what it owns, in the order of the paths. The caller called sessions.before_change."""
        for path in sorted(session.ephemerals):
            self._remove(run, path, paths.parent_of(path) or paths.ROOT, self.tree.nodes[path])
        assert not session.ephemerals, session.id
        del self.sessions[session.id]
        run.ended.append(session.id)

    # --- demands ------------------------------------------------------------------------------------------------------------

    def demand_valid(self, path: bytes) -> None:
        if path not in self.tree.nodes and not paths.is_valid(path):
            raise Refusal(codec.BAD_ARGUMENTS)

    def node_at(self, path: bytes) -> Znode:
        node = self.tree.nodes.get(path)
        if node is None:
            raise Refusal(codec.NO_NODE)
        return node

    def demand(self, acl: AclList, perm: int, session: Session) -> None:
        if acl is not OPEN_ACL and not access.permits(acl, perm, session.identities):
            raise Refusal(codec.NO_AUTH)

    def demand_version(self, actual: int, expected: int) -> None:
        if not self.version_matches(actual, expected):
            raise Refusal(codec.BAD_VERSION)

    def version_matches(self, actual: int, expected: int) -> bool:
        """-1 asks for any version."""
        return expected in (-1, actual)

    def resolve_acl(self, acl: AclList, session: Session) -> AclList:
        if acl is OPEN_ACL:
            return acl
        resolved = access.resolve(acl, session.identities)
        if resolved is None:
            raise Refusal(codec.INVALID_ACL)
        return self.acls.intern(resolved)
