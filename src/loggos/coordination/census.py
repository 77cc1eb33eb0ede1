"""Counts a node and all below it, and their bytes, in slices between which everybody else has a turn: a tree may hold millions.

Rules:
- Few nodes are counted at once. Of many, one walk at a time goes on, a slice at a time; the others wait in a row, and hold
  nothing meanwhile.
- The tree may change meanwhile: what is created or deleted behind the walk is not seen, as in ZooKeeper.
- A walk that nobody waits for any more ends.

Must not know: requests, clients. Source: DataTree.getAllChildrenNumber, approximateDataSize of Apache ZooKeeper 3.8.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import NamedTuple, Protocol

from loggos.base.errors import OverloadedError
from loggos.base.limits import CENSUS_PAUSE_MS, CENSUS_SLICE_NODES, CENSUS_WAITING_MAX
from loggos.coordination.paths import ROOT
from loggos.coordination.tree import Tree


class Total(NamedTuple):
    """Of a node and all below it: how many they are, and the bytes of their paths and data."""

    nodes: int
    size_bytes: int


class TreeView(Protocol):
    """Where the tree is; asked anew each time, since a snapshot replaces it."""

    @property
    def tree(self) -> Tree: ...


class _Walk:
    __slots__ = ("_nodes", "_size_bytes", "_to_visit", "done", "is_wanted")

    def __init__(self, path: bytes, done: Callable[[Total], None], is_wanted: Callable[[], bool]) -> None:
        self.done, self.is_wanted = done, is_wanted
        self._to_visit = [path]
        self._nodes = self._size_bytes = 0

    def step(self, tree: Tree, count: int) -> Total | None:
        """Visit up to `count` nodes; the total, if these were the last."""
        nodes, to_visit = tree.nodes, self._to_visit
        while to_visit and count:
            count -= 1
            path = to_visit.pop()
            node = nodes.get(path)
            if node is not None:  # else it was deleted meanwhile
                self._nodes += 1
                self._size_bytes += len(path) + len(node.data or b"")
                if node.children:
                    to_visit += node.children
        return None if to_visit else Total(self._nodes, self._size_bytes)


class Census:
    """One per node."""

    def __init__(self, machine: TreeView, slice_nodes: int = CENSUS_SLICE_NODES) -> None:
        self._machine, self._slice_nodes = machine, slice_nodes
        self._walks: deque[_Walk] = deque()
        self._whole = Total(0, 0)
        self._whole_is_asked = False
        self._is_armed = False  # the next turn is on its way

    def ask(self, path: bytes, done: Callable[[Total], None], is_wanted: Callable[[], bool]) -> Total | None:
        """Of `path` and all below it, now; or None, and `done` is told later, if it `is_wanted` then. OverloadedError: too many
        ask."""
        total = _Walk(path, done, is_wanted).step(self._machine.tree, self._slice_nodes)
        if total is not None:
            return total
        if len(self._walks) >= CENSUS_WAITING_MAX:
            raise OverloadedError(f"{len(self._walks)} ask already how many nodes there are: ask again later")
        self._walks.append(_Walk(path, done, is_wanted))  # from the beginning: what was seen just now may be old by then
        self._later()
        return None

    def whole(self) -> Total:
        """Of the whole tree, as it was found when last asked: the question begins the next count."""
        if not self._whole_is_asked:
            try:
                found = self.ask(ROOT, self._found_whole, lambda: True)
            except OverloadedError:
                return self._whole
            if found is None:
                self._whole_is_asked = True
            else:
                self._whole = found
        return self._whole

    def _found_whole(self, total: Total) -> None:
        self._whole, self._whole_is_asked = total, False

    def _later(self) -> None:
        if not self._is_armed:
            self._is_armed = True
            asyncio.get_running_loop().call_later(CENSUS_PAUSE_MS / 1000, self._turn)

    def _turn(self) -> None:
        """One slice, of the first walk that is wanted."""
        self._is_armed = False
        walks = self._walks
        while walks and not walks[0].is_wanted():
            walks.popleft()
        if not walks:
            return
        total = walks[0].step(self._machine.tree, self._slice_nodes)
        if total is None or len(walks) > 1:
            self._later()
        if total is not None:
            walks.popleft().done(total)
