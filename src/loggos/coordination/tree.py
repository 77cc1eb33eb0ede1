"""The tree of znodes: state and infallible changes. Who may change what is decided before, in operations.py.

Rules: a path is UTF-8 bytes, '/' is the root. `nodes` has every node; a node's `children` has paths only (the very objects that
are the keys of `nodes`), None when there are none, so the object graph has no cycles. Before a node changes, `saver` (a running
snapshot) may keep its old encoding. While `undo` is a list, every change leaves there what takes it back (a multi in progress).
`emptied` follows from the nodes: what adds or takes away a child keeps it.
Must not know: sessions' rules, requests, clocks. Source: DataTree.java, DataNode.java of Apache ZooKeeper 3.8.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from loggos.coordination.acl import OPEN_ACL, READ_ACL, AclList
from loggos.coordination.paths import CONFIG, RESERVED_PATHS, ROOT, parent_of
from loggos.coordination.zookeeper.codec import STAT

CONTAINER: Final = -(1 << 63)  # in the place of a container's owner
_NAME_LENGTH_BYTES: Final = 4  # before each name in a listing


class Children(dict[bytes, None]):
    """The paths of a node's children in order of creation, and how many bytes the listing of their names takes on the wire."""

    __slots__ = ("listing_bytes",)

    def __init__(self) -> None:
        super().__init__()
        self.listing_bytes = 0

    def names(self) -> list[bytes]:
        """What follows the last '/' of each path."""
        start = next(iter(self), b"").rfind(b"/") + 1
        return [path[start:] for path in self]


class Znode:
    """One node. `owner` is the session of an ephemeral (above 0), CONTAINER, or 0. `creates` counts children ever created (int32,
    wraps): the next sequence number. `epoch`: number of the snapshot that was begun last when the node was made or saved."""

    __slots__ = (
        "acl",
        "aversion",
        "children",
        "creates",
        "ctime",
        "czxid",
        "data",
        "epoch",
        "mtime",
        "mzxid",
        "owner",
        "pzxid",
        "version",
    )

    def __init__(self, data: bytes | None, acl: AclList, index: int, wall_ms: int, owner: int, epoch: int) -> None:
        self.data = data
        self.acl = acl
        self.czxid = self.mzxid = self.pzxid = index
        self.ctime = self.mtime = wall_ms
        self.version = self.aversion = self.creates = 0
        self.owner = owner
        self.children: Children | None = None
        self.epoch = epoch


def wrap_int32(value: int) -> int:
    """`value` as Java's int arithmetic leaves it."""
    return (value + 0x80000000 & 0xFFFFFFFF) - 0x80000000


def exposed_cversion(node: Znode) -> int:
    """Creates plus deletes of children, which is what a Stat shows."""
    return wrap_int32(2 * node.creates - len(node.children or ()))


def encode_stat(node: Znode) -> bytes:
    """The 68 bytes of a Stat."""
    children = node.children
    return STAT.pack(
        node.czxid,
        node.mzxid,
        node.ctime,
        node.mtime,
        node.version,
        exposed_cversion(node),
        node.aversion,
        node.owner if node.owner > 0 else 0,  # nobody is shown that a node is a container
        len(node.data or b""),
        len(children) if children else 0,
        node.pzxid,
    )


def listing_bytes_with(parent: Znode, path: bytes) -> int:
    """What the listing of `parent` would take with the child at `path` added."""
    return (parent.children.listing_bytes if parent.children else 0) + name_bytes(path)


def name_bytes(path: bytes) -> int:
    """What the name at the end of `path` takes in a listing."""
    return _NAME_LENGTH_BYTES + len(path) - path.rindex(b"/") - 1


def names_of_children(node: Znode) -> list[bytes]:
    """In order of creation."""
    return node.children.names() if node.children else []


class Tree:
    """Every node by path. Read `nodes` freely; only the machine changes it."""

    def __init__(self) -> None:
        self.nodes: dict[bytes, Znode] = {}
        self.emptied: dict[bytes, None] = {}  # the containers that have had a child and have none
        self.epoch = 0
        self.saver: Callable[[bytes, Znode], None] | None = None
        self.undo: list[tuple[Callable[..., None], tuple[Any, ...]]] | None = None

    def plant(self) -> None:
        """The nodes that exist from the start, as ZooKeeper has them: not created by anyone, so not counted as creates."""
        for path in RESERVED_PATHS:
            self.nodes[path] = Znode(b"", READ_ACL if path == CONFIG else OPEN_ACL, 0, 0, 0, self.epoch)
        for path in RESERVED_PATHS[1:]:
            self.link(path, self.parent(path))

    def parent(self, path: bytes) -> Znode:
        """The node above; KeyError if there is none."""
        return self.nodes[parent_of(path) or ROOT]

    def link(self, path: bytes, parent: Znode) -> None:
        """Enter a node in its parent's children."""
        children = parent.children
        if children is None:
            children = parent.children = Children()
        assert path not in children, path
        children[path] = None
        children.listing_bytes += name_bytes(path)
        if parent.owner == CONTAINER:
            self.emptied.pop(parent_of(path) or ROOT, None)

    def unlink(self, path: bytes, parent: Znode) -> None:
        """Take a node out of its parent's children."""
        children = parent.children
        assert children is not None, path
        del children[path]
        children.listing_bytes -= name_bytes(path)
        if not children:
            parent.children = None
            if parent.owner == CONTAINER:
                self.note_emptied(parent_of(path) or ROOT, parent)

    def note_emptied(self, path: bytes, container: Znode) -> None:
        """It has no children now."""
        if container.creates:
            self.emptied[path] = None

    # --- changes: the caller has checked everything -----------------------------------------------------------------------

    def create(
        self, path: bytes, parent_path: bytes, data: bytes | None, acl: AclList, index: int, wall_ms: int, owner: int
    ) -> Znode:
        parent = self.nodes[parent_path]
        if self.saver is not None:
            self.saver(parent_path, parent)
        if self.undo is not None:
            self.undo.append((self._undo_create, (path, parent, parent.creates, parent.pzxid)))
        assert path not in self.nodes, path
        node = self.nodes[path] = Znode(data, acl, index, wall_ms, owner, self.epoch)
        self.link(path, parent)
        parent.creates = wrap_int32(parent.creates + 1)
        parent.pzxid = index
        return node

    def _undo_create(self, path: bytes, parent: Znode, creates: int, pzxid: int) -> None:
        parent.creates, parent.pzxid = creates, pzxid
        self.unlink(path, parent)
        del self.nodes[path]

    def delete(self, path: bytes, parent_path: bytes, index: int) -> None:
        parent, node = self.nodes[parent_path], self.nodes[path]
        assert not node.children and path != ROOT, path
        if self.saver is not None:
            self.saver(parent_path, parent)
            self.saver(path, node)
        if self.undo is not None:
            self.undo.append((self._undo_delete, (path, node, parent, parent.pzxid)))
        self.unlink(path, parent)
        del self.nodes[path]
        parent.pzxid = index
        if node.owner == CONTAINER:
            self.emptied.pop(path, None)

    def _undo_delete(self, path: bytes, node: Znode, parent: Znode, pzxid: int) -> None:
        self.nodes[path] = node
        self.link(path, parent)
        parent.pzxid = pzxid
        if node.owner == CONTAINER:
            self.note_emptied(path, node)

    def set_data(self, path: bytes, node: Znode, data: bytes | None, index: int, wall_ms: int) -> None:
        if self.saver is not None:
            self.saver(path, node)
        if self.undo is not None:
            self.undo.append((self._undo_set_data, (node, node.data, node.version, node.mzxid, node.mtime)))
        node.data = data
        version = node.version
        node.version = version + 1 if 0 <= version < 0x7FFFFFFF else next_version(version)
        node.mzxid = index
        node.mtime = wall_ms

    def _undo_set_data(self, node: Znode, data: bytes | None, version: int, mzxid: int, mtime: int) -> None:
        node.data, node.version, node.mzxid, node.mtime = data, version, mzxid, mtime

    def set_acl(self, path: bytes, node: Znode, acl: AclList) -> None:
        assert self.undo is None, "setACL is not part of a multi"
        if self.saver is not None:
            self.saver(path, node)
        node.acl = acl
        node.aversion = next_version(node.aversion)

    def roll_back(self) -> None:
        """Take back every change since `undo` became a list, newest first."""
        undo, self.undo = self.undo, None
        assert undo is not None
        for function, arguments in reversed(undo):
            function(*arguments)


def next_version(version: int) -> int:
    """The version after this one; never -1, which would mean 'any' in a request (ZOOKEEPER-4743)."""
    if version == -2:
        return 0
    return version + 1 if version != 0x7FFFFFFF else -0x80000000
