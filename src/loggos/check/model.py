"""A small model of the tree, written for judging and not for speed: dict path → Node, nodes never changed once stored.

Rules: every change gives a new Node, so that a checker can keep every state a path ever had. Modelled: create (ephemeral,
sequential, container), delete, set, check, multi, the end of a session and of a container. Not modelled: ACLs, quotas, TTL; an
entry whose code says that one of those refused it is taken at its word and has no effect.
Source: ZooKeeper's protocol as in the reference; not the production tree, on purpose.
"""

from __future__ import annotations

from typing import NamedTuple

from loggos.check.history import (
    ATTACH,
    BAD_VERSION,
    NO_CHILDREN_FOR_EPHEMERALS,
    NO_NODE,
    NODE_EXISTS,
    NOT_EMPTY,
    OK,
    REAP,
    RUNTIME_INCONSISTENCY,
    Request,
    StatView,
)

MODELLED_CODES = (OK, NO_NODE, BAD_VERSION, NO_CHILDREN_FOR_EPHEMERALS, NODE_EXISTS, NOT_EMPTY)


class Node(NamedTuple):
    value: bytes
    version: int
    czxid: int
    mzxid: int
    pzxid: int
    owner: int  # 0: persistent
    creates: int  # children ever created: the next sequence number
    children: tuple[str, ...]  # names, in order of creation
    container: bool = False

    @property
    def stat(self) -> StatView:
        cversion = 2 * self.creates - len(self.children)
        length = len(self.value)
        return StatView(self.version, self.czxid, self.mzxid, self.pzxid, cversion, self.owner, length, len(self.children))


class Result(NamedTuple):
    """What applying gave. `path`: of a create, with its suffix. `codes`: of a multi, one per part."""

    code: int
    path: str | None = None
    codes: tuple[int, ...] = ()


def parent_of(path: str) -> str:
    return path.rsplit("/", 1)[0] or "/"


def name_of(path: str) -> str:
    return path.rsplit("/", 1)[1]


class Tree:
    """The state after the last applied index. `changed`: paths that the last `apply` changed; `events`: (kind, path) of what
    watchers
    are told of it, in order."""

    def __init__(self) -> None:
        self.nodes: dict[str, Node] = {"/": Node(b"", 0, 0, 0, 0, 0, 0, ())}
        self.ephemerals: dict[int, dict[str, None]] = {}  # session -> paths, in order of creation
        self.changed: dict[str, None] = {}
        self.events: list[tuple[str, str]] = []
        self._undo: list[tuple[str, Node | None]] | None = None

    def add(self, path: str) -> None:
        """Put in a persistent node that was there before the history begins (with its parents)."""
        if path not in self.nodes:
            self.add(parent_of(path))
            self._create(0, 0, Request("create", path))

    def apply(self, index: int, session: int, request: Request) -> Result:
        self.changed, self.events = {}, []
        if request.kind in ("close", "expire"):
            return self._end(index, session)
        if request.kind == ATTACH:
            return Result(OK)
        if request.kind == "multi":
            return self._multi(index, session, request)
        return self._one(index, session, request)

    def _one(self, index: int, session: int, request: Request) -> Result:
        return _HANDLERS[request.kind](self, index, session, request)

    def _put(self, path: str, node: Node | None) -> None:
        if self._undo is not None:
            self._undo.append((path, self.nodes.get(path)))
        if node is None:
            old = self.nodes.pop(path)
            if old.owner:
                self.ephemerals[old.owner].pop(path, None)
        else:
            self.nodes[path] = node
            if node.owner:
                self.ephemerals.setdefault(node.owner, {})[path] = None
        self.changed[path] = None

    def _create(self, index: int, session: int, request: Request) -> Result:
        parent_path = parent_of(request.path)
        parent = self.nodes.get(parent_path)
        if parent is None:
            return Result(NO_NODE)
        if parent.owner:
            return Result(NO_CHILDREN_FOR_EPHEMERALS)
        path = f"{request.path}{parent.creates:010d}" if request.sequential else request.path
        if path in self.nodes:
            return Result(NODE_EXISTS)
        owner = session if request.ephemeral else 0
        self._put(path, Node(request.data, 0, index, index, index, owner, 0, (), request.container))
        children = (*parent.children, name_of(path))
        self._put(parent_path, parent._replace(pzxid=index, creates=parent.creates + 1, children=children))
        self.events += [("created", path), ("children", parent_path)]
        return Result(OK, path)

    def _delete(self, index: int, session: int, request: Request) -> Result:
        node = self.nodes.get(request.path)
        if node is None:
            return Result(NO_NODE)
        if request.version not in (-1, node.version):
            return Result(BAD_VERSION)
        if node.children:
            return Result(NOT_EMPTY)
        self._remove(index, request.path)
        return Result(OK)

    def _remove(self, index: int, path: str) -> None:
        self._put(path, None)
        parent_path = parent_of(path)
        parent = self.nodes[parent_path]
        children = tuple(name for name in parent.children if name != name_of(path))
        self._put(parent_path, parent._replace(pzxid=index, children=children))
        self.events += [("deleted", path), ("children", parent_path)]

    def _reap(self, index: int, session: int, request: Request) -> Result:
        """Right only for a container that has had children and has none, with none in between since its proposer looked."""
        node = self.nodes.get(request.path)
        if node is None:
            return Result(NO_NODE)
        if node.children:
            return Result(NOT_EMPTY)
        if not node.container or not node.creates or node.pzxid != request.version:
            return Result(BAD_VERSION)
        self._remove(index, request.path)
        return Result(OK)

    def _set(self, index: int, session: int, request: Request) -> Result:
        node = self.nodes.get(request.path)
        if node is None:
            return Result(NO_NODE)
        if request.version not in (-1, node.version):
            return Result(BAD_VERSION)
        self._put(request.path, node._replace(value=request.data, version=node.version + 1, mzxid=index))
        self.events.append(("changed", request.path))
        return Result(OK)

    def _check(self, index: int, session: int, request: Request) -> Result:
        node = self.nodes.get(request.path)
        if node is None:
            return Result(NO_NODE)
        return Result(OK if request.version in (-1, node.version) else BAD_VERSION)

    def _multi(self, index: int, session: int, request: Request) -> Result:
        self._undo = []
        codes: list[int] = []
        for part in request.parts:
            code = self._one(index, session, part).code
            codes.append(code)
            if code != OK:
                self._roll_back()
                rest = len(request.parts) - len(codes)
                return Result(code, None, (*[OK] * (len(codes) - 1), code, *[RUNTIME_INCONSISTENCY] * rest))
        self._undo = None
        return Result(OK, None, tuple(codes))

    def _roll_back(self) -> None:
        assert self._undo is not None
        undo, self._undo = self._undo, None
        for path, old in reversed(undo):
            current = self.nodes.get(path)
            if current is not old:
                self._restore(path, old)
        self.changed, self.events = {}, []

    def _restore(self, path: str, old: Node | None) -> None:
        if old is None or path in self.nodes:
            current = self.nodes.pop(path)
            if current.owner:
                self.ephemerals[current.owner].pop(path, None)
        if old is not None:
            self.nodes[path] = old
            if old.owner:
                self.ephemerals.setdefault(old.owner, {})[path] = None

    def _end(self, index: int, session: int) -> Result:
        for path in sorted(self.ephemerals.pop(session, {})):
            self.ephemerals.setdefault(session, {})
            self._remove(index, path)
        self.ephemerals.pop(session, None)
        return Result(OK)


_HANDLERS = {"create": Tree._create, "delete": Tree._delete, "set": Tree._set, "check": Tree._check, REAP: Tree._reap}
