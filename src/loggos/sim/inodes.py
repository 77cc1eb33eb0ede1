"""What a disk holds: bytes and names, each either durable or not yet, and what a power cut makes of them.

Rules: reads see all that was written (the page cache). `sync` makes a file's bytes durable, `sync` of a directory its names.
A power cut keeps, drops or tears each unsynced write by 512-byte sectors, and keeps or drops each unsynced change of names,
at random. A rename is atomic. Nothing that was synced is ever touched by a power cut.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, NamedTuple

from loggos.sim.trace import Draws

SECTOR_BYTES: Final = 512
_TEARS_MAX: Final = 16  # a torn write is torn into at most this many runs of sectors


class Write(NamedTuple):
    """An unsynced write, with what it overwrote."""

    offset: int
    new: bytes
    old: bytes
    old_size: int


class FileNode:
    """One file's bytes."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.unsynced: list[Write] = []

    def write(self, offset: int, new: bytes) -> None:
        old_size = len(self.data)
        self.unsynced.append(Write(offset, new, bytes(self.data[offset : offset + len(new)]), old_size))
        self._store(offset, new)

    def _store(self, offset: int, new: bytes) -> None:
        if offset > len(self.data):
            self.data.extend(bytes(offset - len(self.data)))
        self.data[offset : offset + len(new)] = new

    def sync(self) -> None:
        self.unsynced.clear()

    def revert(self) -> list[Write]:
        """Back to the durable bytes; gives the writes that were undone, in order."""
        undone, self.unsynced = self.unsynced, []
        for write in reversed(undone):
            self.data[write.offset : write.offset + len(write.old)] = write.old
            del self.data[write.old_size :]
        return undone

    def lose_power(self, draws: Draws, survival: str) -> None:
        """`survival`: all, none, prefix, each (whole writes) or torn (sectors)."""
        undone = self.revert()
        keep_until = draws.randrange(len(undone) + 1) if survival == "prefix" else 0
        for position, write in enumerate(undone):
            if survival == "torn" or (survival == "prefix" and position == keep_until):
                self._store_torn(write, draws)
            elif _survives(draws, survival, position, keep_until):
                self._store(write.offset, write.new)

    def _store_torn(self, write: Write, draws: Draws) -> None:
        """Keep and drop alternating runs of whole sectors of one write."""
        first = write.offset // SECTOR_BYTES
        last = (write.offset + len(write.new) - 1) // SECTOR_BYTES
        edges = sorted(draws.randint(first, last + 1) for _ in range(draws.randint(1, _TEARS_MAX)))
        keep = draws.chance(0.5)
        at = write.offset
        for edge in [*edges, last + 1]:
            until = min(max(edge * SECTOR_BYTES, write.offset), write.offset + len(write.new))
            if keep and until > at:
                self._store(at, write.new[at - write.offset : until - write.offset])
            keep, at = not keep, max(at, until)


class NameChange(NamedTuple):
    """An unsynced change of a directory: `removed` goes, `added` (if any) now means `node`."""

    removed: str
    added: str
    node: FileNode | DirectoryNode | None


@dataclass
class DirectoryNode:
    """One directory's names."""

    entries: dict[str, FileNode | DirectoryNode] = field(default_factory=dict)
    unsynced: list[NameChange] = field(default_factory=list)
    durable: dict[str, FileNode | DirectoryNode] = field(default_factory=dict)

    def change(self, removed: str, added: str, node: FileNode | DirectoryNode | None) -> None:
        change = NameChange(removed, added, node)
        _apply(self.entries, change)
        self.unsynced.append(change)

    def sync(self) -> None:
        self.durable = dict(self.entries)
        self.unsynced.clear()

    def lose_power(self, draws: Draws, survival: str) -> None:
        """Names first, then all that is below the names that are left."""
        self.entries = dict(self.durable)
        keep_until = draws.randrange(len(self.unsynced) + 1) if survival == "prefix" else 0
        for position, change in enumerate(self.unsynced):
            if _survives(draws, survival, position, keep_until):
                _apply(self.entries, change)
        self.sync()
        for node in self.entries.values():
            node.lose_power(draws, survival)


def _survives(draws: Draws, survival: str, position: int, keep_until: int) -> bool:
    """Does an unsynced change survive as a whole?"""
    if survival == "prefix":
        return position < keep_until
    return survival == "all" or (survival in ("each", "torn") and draws.chance(0.5))


def _apply(entries: dict[str, FileNode | DirectoryNode], change: NameChange) -> None:
    if change.removed:
        entries.pop(change.removed, None)
    if change.added and change.node is not None:
        entries[change.added] = change.node


def total_bytes(directory: DirectoryNode) -> int:
    """Bytes that all files below hold."""
    size = 0
    for node in directory.entries.values():
        size += len(node.data) if isinstance(node, FileNode) else total_bytes(node)
    return size


def all_files(directory: DirectoryNode, prefix: str = "") -> list[tuple[str, FileNode]]:
    """(path, file) of all files below, sorted by path."""
    found: list[tuple[str, FileNode]] = []
    for name in sorted(directory.entries):
        node = directory.entries[name]
        if isinstance(node, FileNode):
            found.append((prefix + name, node))
        else:
            found += all_files(node, f"{prefix}{name}/")
    return found
