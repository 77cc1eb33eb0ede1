"""Watches: who is told of which change. Pure bookkeeping; the door turns firings into bytes.

Rules:
- A watch belongs to a watcher (a client's connection) and dies with it. Modes: DATA (set by getData and exists) and CHILD
  (getChildren) fire once; PERSISTENT fires for data and children of its path until removed; RECURSIVE for its path and all
  below it, children events left out.
- One event per watcher per change of a node, however many of its watches match. A deletion fires data and child watches of
  the node alike, as Deleted; then creation and deletion fire child watches of the parent, as ChildrenChanged.
- Who is told in which order depends on the order of registration only.
- With no watch registered, or none that a change could hit, firing is almost free: it sits on the path of every write.

Must not know: sessions, bytes on the wire, the log. Source: DataTree.java and WatchManager.java of Apache ZooKeeper 3.8.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, Generic, NamedTuple, TypeVar

from loggos.coordination.commands import CHANGED, CREATED, DELETED

DATA: Final = 0
CHILD: Final = 1
PERSISTENT: Final = 2
RECURSIVE: Final = 3
MODES: Final = (DATA, CHILD, PERSISTENT, RECURSIVE)

EVENT_CREATED: Final = 1
EVENT_DELETED: Final = 2
EVENT_CHANGED: Final = 3
EVENT_CHILDREN: Final = 4

W = TypeVar("W")  # a watcher, told apart by identity


class Firing(NamedTuple):
    """Tell `watcher` that `event` happened to `path`."""

    watcher: Any
    event: int
    path: bytes


def parent_of(path: bytes) -> bytes:
    """The parent of a path other than '/'."""
    return path[: path.rfind(b"/")] or b"/"


class Summary(NamedTuple):
    connections: int
    paths: int
    watches: int


class WatchTable(Generic[W]):
    """All watches of one node's clients."""

    def __init__(self) -> None:
        self._by_path: tuple[dict[bytes, dict[W, None]], ...] = ({}, {}, {}, {})
        self._by_watcher: dict[W, tuple[dict[bytes, None], ...]] = {}
        self._count = 0

    def __len__(self) -> int:
        return self._count

    # --- registration ----------------------------------------------------------------------------------------------------

    def add(self, watcher: W, path: bytes, mode: int) -> None:
        """Register; a second time changes nothing."""
        own = self._by_watcher.get(watcher)
        if own is None:
            own = self._by_watcher[watcher] = ({}, {}, {}, {})
        paths = own[mode]
        if path in paths:
            return
        paths[path] = None
        self._by_path[mode].setdefault(path, {})[watcher] = None
        self._count += 1

    def count_of(self, watcher: W) -> int:
        own = self._by_watcher.get(watcher)
        return sum(map(len, own)) if own is not None else 0

    def contains(self, watcher: W, path: bytes, modes: tuple[int, ...]) -> bool:
        own = self._by_watcher.get(watcher)
        return own is not None and any(path in own[mode] for mode in modes)

    def remove(self, watcher: W, path: bytes, modes: tuple[int, ...]) -> bool:
        """Remove the watcher's watches of these modes on `path`. False: there was none."""
        own = self._by_watcher.get(watcher)
        if own is None:
            return False
        found = False
        for mode in modes:
            if path in own[mode]:
                del own[mode][path]
                self._drop(mode, path, watcher)
                found = True
        self._forget_if_idle(watcher, own)
        return found

    def remove_watcher(self, watcher: W) -> None:
        """The connection is gone, and its watches with it."""
        own = self._by_watcher.pop(watcher, None)
        if own is None:
            return
        for mode in MODES:
            for path in own[mode]:
                self._drop(mode, path, watcher)

    def _drop(self, mode: int, path: bytes, watcher: W) -> None:
        watchers = self._by_path[mode][path]
        del watchers[watcher]
        if not watchers:
            del self._by_path[mode][path]
        self._count -= 1

    def _forget_if_idle(self, watcher: W, own: tuple[dict[bytes, None], ...]) -> None:
        if not any(own):
            del self._by_watcher[watcher]

    # --- firing ----------------------------------------------------------------------------------------------------------

    def fire(self, kind: int, path: bytes) -> list[Firing]:
        """Whom a change of kind CREATED, DELETED or CHANGED to `path` concerns, in order; one-shot watches are used up."""
        firings: list[Firing] = []
        if not self._count:
            return firings
        if kind == CHANGED:
            self._fire_node(firings, path, EVENT_CHANGED, (DATA,))
            return firings
        if kind == CREATED:
            self._fire_node(firings, path, EVENT_CREATED, (DATA,))
        else:
            assert kind == DELETED, kind
            self._fire_node(firings, path, EVENT_DELETED, (DATA, CHILD))
        if path != b"/" and (self._by_path[CHILD] or self._by_path[PERSISTENT]):
            self._fire_parent(firings, parent_of(path))
        return firings

    def _fire_node(self, firings: list[Firing], path: bytes, event: int, one_shot: tuple[int, ...]) -> None:
        told: dict[W, None] = {}
        for mode in one_shot:
            self._use_up(told, mode, path)
        persistent = self._by_path[PERSISTENT].get(path)
        if persistent:
            told.update(persistent)
        if self._by_path[RECURSIVE]:
            self._collect_recursive(told, path)
        if told:
            firings.extend([Firing(watcher, event, path) for watcher in told])

    def _fire_parent(self, firings: list[Firing], parent: bytes) -> None:
        told: dict[W, None] = {}
        self._use_up(told, CHILD, parent)
        persistent = self._by_path[PERSISTENT].get(parent)
        if persistent:
            told.update(persistent)
        if told:
            firings.extend([Firing(watcher, EVENT_CHILDREN, parent) for watcher in told])

    def _use_up(self, told: dict[W, None], mode: int, path: bytes) -> None:
        watchers = self._by_path[mode].pop(path, None)
        if watchers is None:
            return
        self._count -= len(watchers)
        told.update(watchers)
        for watcher in watchers:
            own = self._by_watcher[watcher]
            del own[mode][path]
            self._forget_if_idle(watcher, own)

    def _collect_recursive(self, told: dict[W, None], path: bytes) -> None:
        table = self._by_path[RECURSIVE]
        while True:
            watchers = table.get(path)
            if watchers:
                told.update(watchers)
            if path == b"/":
                return
            path = parent_of(path)

    # --- for people ------------------------------------------------------------------------------------------------------

    def summary(self) -> Summary:
        paths: dict[bytes, None] = {}
        for table in self._by_path:
            paths.update(dict.fromkeys(table))
        return Summary(len(self._by_watcher), len(paths), self._count)

    def by_watcher(self) -> Iterator[tuple[W, list[bytes]]]:
        for watcher, own in self._by_watcher.items():
            paths: dict[bytes, None] = {}
            for mode in MODES:
                paths.update(own[mode])
            yield watcher, list(paths)

    def by_path(self) -> Iterator[tuple[bytes, list[W]]]:
        merged: dict[bytes, dict[W, None]] = {}
        for table in self._by_path:
            for path, watchers in table.items():
                merged.setdefault(path, {}).update(watchers)
        for path, all_watchers in merged.items():
            yield path, list(all_watchers)
