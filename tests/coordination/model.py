"""A naive ZooKeeper to hold the machine against: a dict of paths, copied whole where a multi may fail.

Written from the rules, not from the machine: children are found by looking at every path, counts of creates and deletes are kept
apart, and nothing is shared or undone. ACLs are left out (test_machine_acl.py).
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field

from tests.coordination.kit import Stat

Event = tuple[int, bytes]


@dataclass
class Record:
    data: bytes
    czxid: int
    mzxid: int
    pzxid: int
    ctime: int
    mtime: int
    owner: int
    version: int = 0
    creates: int = 0
    deletes: int = 0
    container: bool = False


class Error(Exception):
    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


def parent(path: bytes) -> bytes:
    above = path[: path.rindex(b"/")]
    return above if above else b"/"


@dataclass
class Model:
    """`events`: those of the last operation."""

    records: dict[bytes, Record] = field(default_factory=dict)
    events: list[Event] = field(default_factory=list)

    def __post_init__(self) -> None:
        # ZooKeeper counts no create for the nodes it starts with, but their absence: cversion -1 and -2
        for path, deletes in ((b"/", -1), (b"/zookeeper", -2), (b"/zookeeper/quota", 0), (b"/zookeeper/config", 0)):
            self.records[path] = Record(b"", 0, 0, 0, 0, 0, 0, deletes=deletes)

    def children(self, path: bytes) -> list[bytes]:
        return sorted(other for other in self.records if other != b"/" and parent(other) == path)

    def stat(self, path: bytes) -> Stat:
        r = self.records[path]
        cversion, children = r.creates + r.deletes, len(self.children(path))
        return Stat(r.czxid, r.mzxid, r.ctime, r.mtime, r.version, cversion, 0, r.owner, len(r.data), children, r.pzxid)

    def create(
        self, path: bytes, data: bytes, flags: int, session: int, index: int, wall_ms: int, container: bool = False
    ) -> bytes:
        above = self.records.get(parent(path))
        if above is None:
            raise Error(-101)
        if flags & 2:
            path = path + str(above.creates).zfill(10).encode()
        if path.endswith(b"/") and path != b"/":
            raise Error(-8)
        if path in self.records:
            raise Error(-110)
        if above.owner:
            raise Error(-108)
        owner = session if flags & 1 and not container else 0
        self.records[path] = Record(data, index, index, index, wall_ms, wall_ms, owner, container=container)
        above.creates += 1
        above.pzxid = index
        self.events.append((1, path))
        return path

    def delete(self, path: bytes, version: int, index: int) -> None:
        if path in (b"/", b"/zookeeper", b"/zookeeper/quota", b"/zookeeper/config"):
            raise Error(-8)
        if parent(path) not in self.records or path not in self.records:
            raise Error(-101)
        if version not in (-1, self.records[path].version):
            raise Error(-103)
        if self.children(path):
            raise Error(-111)
        self.remove(path, index)

    def remove(self, path: bytes, index: int) -> None:
        del self.records[path]
        above = self.records[parent(path)]
        above.deletes += 1
        above.pzxid = index
        self.events.append((2, path))

    def checked(self, path: bytes, version: int) -> Record:
        if path not in self.records:
            raise Error(-8 if path.endswith(b"/") and path != b"/" else -101)
        if version not in (-1, self.records[path].version):
            raise Error(-103)
        return self.records[path]

    def set_data(self, path: bytes, data: bytes, version: int, index: int, wall_ms: int) -> None:
        record = self.checked(path, version)
        record.data, record.version, record.mzxid, record.mtime = data, record.version + 1, index, wall_ms
        self.events.append((3, path))

    def end(self, session: int, index: int) -> None:
        for path in sorted(path for path, record in self.records.items() if record.owner == session):
            self.remove(path, index)

    def emptied(self) -> list[bytes]:
        """The containers that have had a child and have none."""
        return sorted(path for path, r in self.records.items() if r.container and r.creates and not self.children(path))

    def copy(self) -> Model:
        return copy.deepcopy(self)
