"""The simulated disk: ports.Disk over inodes.py, with latencies and faults.

Rules: a `Platter` is one machine's disk and survives its lives; a `SimDisk` is one life's port to it. As on the host, journal
writes (`write_sync`) go one after another on one lane and everything else on another. What a life had handed over but not
started dies with it; the one operation in progress happened wholly, or not at all, or (a journal write) without its sync, at
random, so that a power cut can tear it. After a failed write or sync a
file refuses for good.

Faults are set on `platter.faults` by whoever torments the disk; each one that fires is counted in the trace.
"""

from __future__ import annotations

import asyncio
import errno
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextvars import Context
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from loggos.base.errors import OutOfSpaceError, StorageError
from loggos.base.ports import Buffer
from loggos.sim.inodes import SECTOR_BYTES, DirectoryNode, FileNode, all_files, total_bytes
from loggos.sim.life import Life
from loggos.sim.loop import SimLoop
from loggos.sim.trace import Draws, Trace

JOURNAL_LANE: Final = 0
OTHER_LANE: Final = 1
Names = list[str]
_RECENT_WRITES: Final = 8
_ROT_TRIES: Final = 16
SURVIVALS: Final = ("none", "all", "prefix", "each", "torn")


@dataclass
class DiskFaults:
    """What goes wrong, as probabilities per operation; times in seconds, sizes in bytes. `calm()` is the default."""

    latency_s: float = 0.0002  # mean of an operation; a sync takes twice as long
    slow: float = 0.0  # an operation takes about `slow_s` more
    slow_s: float = 0.1
    write_error: float = 0.0  # EIO
    sync_error: float = 0.0  # EIO, after which unsynced pages may hold old bytes
    read_error: float = 0.0
    misdirected: float = 0.0  # a write lands elsewhere in the same file, by whole sectors
    lost: float = 0.0  # a write is reported done and never happens
    tears: bool = False  # the end of a process finds the journal write in progress written, and not synced
    quota_bytes: int = 1 << 40
    is_hung: bool = False

    def calm(self) -> None:
        """Everything works again (what was damaged stays so)."""
        for name, value in vars(DiskFaults()).items():
            setattr(self, name, value)


class _Operation(NamedTuple):
    life: Life
    kind: str
    work: Callable[[], Any]
    future: asyncio.Future[Any]
    is_sync: bool
    first_half: Callable[[], Any] | None = None  # what comes before the sync, where one operation is both
    size_bytes: int = 0  # of a journal write


class Platter:
    """One machine's disk."""

    def __init__(self, host: str, loop: SimLoop, trace: Trace, draws: Draws, context: Context) -> None:
        self.host, self.loop, self.trace, self.draws, self.context = host, loop, trace, draws, context
        self.faults = DiskFaults()
        self.root = DirectoryNode()
        self.writes_since_tampering = 0  # journal writes that went where they should since the last that did not
        self._recent: deque[tuple[FileNode, int, int]] = deque(maxlen=_RECENT_WRITES)
        self._lanes: tuple[deque[_Operation], deque[_Operation]] = (deque(), deque())
        self._timers: list[asyncio.TimerHandle | None] = [None, None]
        self._due = [False, False]  # the head's time has come, but the disk hangs

    # --- operations ---

    def submit(self, lane: int, operation: _Operation) -> None:
        self._lanes[lane].append(operation)
        if len(self._lanes[lane]) == 1:
            self._start(lane)

    def _start(self, lane: int) -> None:
        faults = self.faults
        delay = self.draws.expovariate(1 / faults.latency_s) * (2 if self._lanes[lane][0].is_sync else 1)
        if self.draws.chance(faults.slow):
            delay += self.draws.expovariate(1 / faults.slow_s)
            self.fault("slow disk", f"{delay:.3f} s")
        self._timers[lane] = self.loop.call_later(delay, self._finish, lane, context=self.context)

    def _finish(self, lane: int) -> None:
        self._timers[lane] = None
        if self.faults.is_hung:
            self._due[lane] = True
            return
        operation = self._lanes[lane].popleft()
        if self._lanes[lane]:
            self._start(lane)
        if self.trace.recording:
            self.trace.line(self.loop.time(), self.host, "disk", operation.kind)
        try:
            result = operation.work()
        except (OSError, StorageError, OutOfSpaceError) as error:
            if not operation.future.done():
                operation.future.set_exception(error)
        else:
            if not operation.future.done():
                operation.future.set_result(result)

    def hang(self) -> None:
        """Operations are taken and never answered, until `unhang`."""
        self.faults.is_hung = True
        self.fault("hung disk")

    def unhang(self) -> None:
        self.faults.is_hung = False
        for lane in (JOURNAL_LANE, OTHER_LANE):
            if self._due[lane]:
                self._due[lane] = False
                self._finish(lane)

    @property
    def journal_sectors(self) -> int:
        """How many sectors the journal write in progress has; 0: there is none."""
        lane = self._lanes[JOURNAL_LANE]
        return -(-lane[0].size_bytes // SECTOR_BYTES) if lane else 0

    # --- the machine's fate ---

    def life_ended(self, life: Life) -> None:
        """The process is gone: what it had queued never happens; the operation in progress may have."""
        for lane in (JOURNAL_LANE, OTHER_LANE):
            queue = self._lanes[lane]
            if queue and queue[0].life is life:
                head = queue[0]
                timer = self._timers[lane]
                if timer is not None:
                    timer.cancel()
                self._timers[lane], self._due[lane] = None, False
                queue.clear()
                is_torn = self.faults.tears and head.first_half is not None
                unheard = head.first_half if is_torn else self.draws.choice([None, head.first_half, head.work])
                if unheard is not None:
                    self._do_unheard(unheard)
            elif queue:
                assert all(operation.life is not life for operation in queue)

    def _do_unheard(self, work: Callable[[], Any]) -> None:
        try:
            work()
        except (OSError, StorageError, OutOfSpaceError):
            return

    def lose_power(self, survival: str | None = None) -> None:
        """What was not synced is kept, dropped or torn; `survival` (one of SURVIVALS) is drawn if not given."""
        survival = survival or self.draws.choice(SURVIVALS)
        self.root.lose_power(self.draws, survival)
        self.trace.event(self.loop.time(), self.host, "unsynced writes", survival)

    def wipe(self) -> None:
        self.root = DirectoryNode()

    def rot(self, prefix: str = "", sectors: int = 1) -> str:
        """Damage stored sectors of a file whose path starts with `prefix`: bits flip or the sector reads as zeros. Where; "" if
        nowhere. The last journal writes are spared: damage there cannot be told from a torn tail (a double fault)."""
        files = [(path, node) for path, node in all_files(self.root) if path.startswith(prefix) and node.data]
        for _ in range(_ROT_TRIES if files else 0):
            path, node = self.draws.choice(files)
            offset = self.draws.randrange(len(node.data))
            if not self._is_recent(node, offset - SECTOR_BYTES, offset + (sectors + 1) * SECTOR_BYTES):
                return self.rot_at(path, offset, sectors)
        return ""

    def _is_recent(self, node: FileNode, start: int, end: int) -> bool:
        return any(node is written and start < until and end > since for written, since, until in self._recent)

    def journal_written(self, node: FileNode, offset: int, size: int) -> None:
        self.writes_since_tampering += 1
        self._recent.append((node, offset, offset + size))

    def rot_at(self, path: str, offset: int, sectors: int = 1) -> str:
        """Damage `sectors` of a file from the sector that holds `offset` on."""
        node = dict(all_files(self.root))[path]
        start = offset - offset % SECTOR_BYTES
        end = min(len(node.data), start + sectors * SECTOR_BYTES)
        if self.draws.chance(0.3):
            node.data[start:end] = bytes(end - start)
        else:
            for _ in range(self.draws.randint(1, 8)):
                node.data[self.draws.randrange(start, end)] ^= 1 << self.draws.randrange(8)
        self.fault("bit rot", f"{path} at {start}")
        return f"{path}:{start}"

    def fault(self, kind: str, detail: str = "") -> None:
        self.trace.fault(self.loop.time(), self.host, kind, detail)

    # --- names ---

    def directory(self, path: str) -> DirectoryNode | None:
        node: FileNode | DirectoryNode | None = self.root
        for part in [part for part in path.split("/") if part]:
            node = node.entries.get(part) if isinstance(node, DirectoryNode) else None
        return node if isinstance(node, DirectoryNode) else None

    def parent(self, path: str) -> tuple[DirectoryNode, str]:
        if any(part in ("", ".", "..") for part in path.split("/")):
            raise StorageError(f"{path!r} is no path inside the data directory")
        folder, _, name = path.rpartition("/")
        directory = self.directory(folder)
        if directory is None:
            raise FileNotFoundError(errno.ENOENT, "no such directory", folder)
        return directory, name

    def free_bytes(self) -> int:
        return max(0, self.faults.quota_bytes - total_bytes(self.root))


class SimFile:
    """ports.File in the simulated world."""

    def __init__(self, disk: SimDisk, path: str, node: FileNode) -> None:
        self.path = path
        self._disk = disk
        self._node = node
        self._platter = disk.platter

    async def size(self) -> int:
        return int(await self._disk.run("size", lambda: len(self._node.data)))

    async def read(self, offset: int, size_bytes: int) -> bytes:
        kind = f"read {size_bytes} bytes at {offset} of {self.path}"
        return bytes(await self._disk.run(kind, lambda: self._read(offset, size_bytes)))

    def write_sync(self, offset: int, chunks: Sequence[Buffer]) -> Awaitable[None]:
        data = b"".join(chunks)
        kind = f"write_sync {len(data)} bytes at {offset} of {self.path}"
        both, first_half = (lambda: self._write_and_sync(offset, data)), (lambda: self._write_journal(offset, data))
        return self._disk.submit(JOURNAL_LANE, kind, both, is_sync=True, first_half=first_half, size_bytes=len(data))

    async def write(self, offset: int, chunks: Sequence[Buffer]) -> None:
        data = b"".join(chunks)
        await self._disk.run(f"write {len(data)} bytes at {offset} of {self.path}", lambda: self._write(offset, data))

    async def sync(self) -> None:
        await self._disk.submit(OTHER_LANE, f"sync {self.path}", self._sync, is_sync=True)

    async def close(self) -> None:
        await self._disk.run("close", lambda: None)

    # --- what happens when the disk gets to it ---

    def _read(self, offset: int, size_bytes: int) -> bytes:
        if self._platter.draws.chance(self._platter.faults.read_error):
            self._platter.fault("EIO on read", self.path)
            raise StorageError(f"cannot read {self.path} at byte {offset}: input/output error; replace the disk")
        return bytes(self._node.data[offset : offset + size_bytes])

    def _write_and_sync(self, offset: int, data: bytes) -> None:
        self._write_journal(offset, data)
        self._sync()

    def _write_journal(self, offset: int, data: bytes) -> None:
        self._platter.journal_written(self._node, offset, len(data))
        self._write(offset, data)

    def _write(self, offset: int, data: bytes) -> None:
        self._refuse_if_failed()
        platter, faults = self._platter, self._platter.faults
        growth = offset + len(data) - len(self._node.data)
        if growth > 0 and growth > platter.free_bytes():
            platter.fault("ENOSPC", self.path)
            raise OutOfSpaceError(f"no space left for {self.path}: free space on its disk, then try again")
        if platter.draws.chance(faults.write_error):
            platter.fault("EIO on write", self.path)
            self._fail()
        if platter.draws.chance(faults.lost):
            platter.writes_since_tampering = 0
            platter.fault("lost write", f"{self.path} at {offset}")
            return
        if platter.draws.chance(faults.misdirected) and len(self._node.data) > SECTOR_BYTES:
            wrong = platter.draws.randrange(len(self._node.data) // SECTOR_BYTES) * SECTOR_BYTES + offset % SECTOR_BYTES
            data = data[: max(0, len(self._node.data) - wrong)]
            platter.writes_since_tampering = 0
            platter.fault("misdirected write", f"{self.path} at {wrong} for {offset}")
            offset = wrong
        self._node.write(offset, data)
        platter.trace.delivery(0, data)

    def _sync(self) -> None:
        self._refuse_if_failed()
        platter = self._platter
        if platter.draws.chance(platter.faults.sync_error):
            platter.fault("EIO on sync", self.path)
            if platter.draws.chance(0.5):
                self._node.revert()
            self._fail()
        self._node.sync()

    def _fail(self) -> None:
        self._disk.failed[self._node] = None
        raise StorageError(f"cannot write {self.path}: input/output error; the node stops; replace the disk")

    def _refuse_if_failed(self) -> None:
        if self._node in self._disk.failed:
            raise StorageError(f"{self.path}: an earlier write or sync failed, so none is believed; restart the node")


class SimDisk:
    """ports.Disk in the simulated world: one life's way to its platter."""

    def __init__(self, platter: Platter, life: Life) -> None:
        self.platter = platter
        self.failed: dict[FileNode, None] = {}
        self._life = life

    def submit(
        self,
        lane: int,
        kind: str,
        work: Callable[[], Any],
        is_sync: bool = False,
        first_half: Callable[[], Any] | None = None,
        size_bytes: int = 0,
    ) -> asyncio.Future[Any]:
        future = self.platter.loop.create_future()
        if not self._life.dead:
            self.platter.submit(lane, _Operation(self._life, kind, work, future, is_sync, first_half, size_bytes))
        return future

    async def run(self, kind: str, work: Callable[[], Any]) -> Any:
        return await self.submit(OTHER_LANE, kind, work)

    async def open(self, path: str, *, create: bool = False) -> SimFile:
        node = await self.run(f"open {path}", lambda: self._open(path, create))
        return SimFile(self, path, node)

    def _open(self, path: str, create: bool) -> FileNode:
        directory, name = self.platter.parent(path)
        node = directory.entries.get(name)
        if create:
            if node is not None:
                raise StorageError(f"cannot create {path}: it exists already")
            node = FileNode()
            directory.change("", name, node)
        if node is None:
            raise FileNotFoundError(errno.ENOENT, "no such file", path)
        if not isinstance(node, FileNode):
            raise StorageError(f"cannot open {path}: it is a directory")
        return node

    async def list(self, directory: str) -> Names:
        def names() -> Names:
            node = self.platter.directory(directory)
            return sorted(node.entries) if node is not None else []

        found: Names = await self.run("list", names)
        return found

    async def make_directory(self, path: str) -> None:
        await self.run("make_directory", lambda: self._make_directory(path))

    def _make_directory(self, path: str) -> None:
        node = self.platter.root
        for part in [part for part in path.split("/") if part]:
            child = node.entries.get(part)
            if child is None:
                child = DirectoryNode()
                node.change("", part, child)
            if not isinstance(child, DirectoryNode):
                raise StorageError(f"cannot make directory {path}: {part} is a file")
            node = child

    async def rename(self, old: str, new: str) -> None:
        await self.run(f"rename {old} to {new}", lambda: self._rename(old, new))

    def _rename(self, old: str, new: str) -> None:
        (source, old_name), (target, new_name) = self.platter.parent(old), self.platter.parent(new)
        node = source.entries.get(old_name)
        if node is None:
            raise FileNotFoundError(errno.ENOENT, "no such file", old)
        if source is target:
            source.change(old_name, new_name, node)
        else:
            target.change("", new_name, node)
            source.change(old_name, "", None)

    async def remove(self, path: str) -> None:
        await self.run(f"remove {path}", lambda: self._remove(path))

    def _remove(self, path: str) -> None:
        directory, name = self.platter.parent(path)
        node = directory.entries.get(name)
        if node is None:
            raise FileNotFoundError(errno.ENOENT, "no such file", path)
        if isinstance(node, DirectoryNode) and node.entries:
            raise StorageError(f"cannot remove {path}: the directory is not empty")
        directory.change(name, "", None)

    async def sync_dir(self, directory: str) -> None:
        await self.submit(OTHER_LANE, f"sync_dir {directory}", lambda: self._sync_dir(directory), is_sync=True)

    def _sync_dir(self, directory: str) -> None:
        node = self.platter.directory(directory)
        if node is None:
            raise FileNotFoundError(errno.ENOENT, "no such directory", directory)
        node.sync()

    async def free_bytes(self) -> int:
        return int(await self.run("free_bytes", self.platter.free_bytes))
