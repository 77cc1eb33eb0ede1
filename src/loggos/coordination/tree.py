"""The tree of znodes: state and infallible changes. Who may change what is decided before, in operations.py.

Rules: a path is UTF-8 bytes, '/' is the root. `nodes` has every node; a node's `children` has names only, None when there are
none, so the object graph has no cycles. Before a node changes, a running snapshot saves its old encoding (snapshot.py).
Must not know: sessions' rules, requests, clocks. Source: DataTree.java, DataNode.java of Apache ZooKeeper 3.8.
"""

from __future__ import annotations

from typing import Final

from loggos.coordination.zookeeper.codec import STAT, Acl

ROOT: Final = b"/"


class Children(dict[bytes, None]):
    """The names of a node's children in order of creation, and how many bytes their listing takes on the wire."""

    __slots__ = ("listing_bytes",)

    def __init__(self) -> None:
        super().__init__()
        self.listing_bytes = 0


class Znode:
    """One node. `owner` is the session of an ephemeral, else 0. `creates` counts children ever created (int32, wraps):
    the next sequence number. `epoch`: the snapshot that has it or must not have it (snapshot.py)."""

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

    def __init__(self, data: bytes, acl: tuple[Acl, ...], index: int, wall_ms: int, owner: int, epoch: int) -> None:
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
    """Creates plus deletes of children: what a Stat shows (creates − (creates − deletes) + creates)."""
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
        node.owner,
        len(node.data),
        len(children) if children else 0,
        node.pzxid,
    )


class Tree:
    """Every node by path. Read it freely; only the machine changes it."""

    def __init__(self) -> None:
        self.nodes: dict[bytes, Znode] = {}
