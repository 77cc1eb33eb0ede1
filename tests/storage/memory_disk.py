"""A small Disk in memory for the storage tests: synced and unsynced state, power cuts, failing and full disks, all on demand.

Every change is an operation: done in the live view at once, durable only when synced. `power_cut` keeps, drops or tears what
was not synced, per 512-byte sector, as the given `Random` says. `fail_at` makes the n-th write or sync from now fail, `cut_at`
stops the disk before the n-th operation from now (PowerCut is raised, a write in flight may be torn).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from random import Random

from loggos.base.errors import OutOfSpaceError, StorageError
from loggos.base.ports import Buffer

SECTOR_BYTES = 512


class PowerCut(BaseException):
    """The machine is off. No code under test may catch it."""


@dataclass
class Inode:
    live: bytearray = field(default_factory=bytearray)
    durable: bytes = b""
    is_bad: bool = False  # reads fail


class MemoryFile:
    def __init__(self, disk: MemoryDisk, path: str, inode: Inode) -> None:
        self.disk, self.path, self.inode = disk, path, inode

    async def size(self) -> int:
        return len(self.inode.live)

    async def read(self, offset: int, size_bytes: int) -> bytes:
        if self.inode.is_bad:
            raise StorageError(f"{self.path}: input/output error")
        return bytes(self.inode.live[offset : offset + size_bytes])

    def _put(self, offset: int, chunks: Sequence[Buffer]) -> None:
        data = b"".join([bytes(chunk) for chunk in chunks])
        self.disk.step("write", self.path)
        self.disk.take_space(max(0, offset + len(data) - len(self.inode.live)))
        if offset > len(self.inode.live):
            self.inode.live.extend(bytes(offset - len(self.inode.live)))
        self.inode.live[offset : offset + len(data)] = data

    def _harden(self) -> None:
        self.disk.step("sync", self.path)
        self.inode.durable = bytes(self.inode.live)

    def write_sync(self, offset: int, chunks: Sequence[Buffer]) -> Awaitable[None]:
        return self._write_sync(offset, list(chunks))

    async def _write_sync(self, offset: int, chunks: Sequence[Buffer]) -> None:
        self._put(offset, chunks)
        await self.disk.pause()
        if self.disk.cut_in_batch is not None:
            if self.disk.cut_in_batch == 0:
                raise PowerCut(f"inside a write to {self.path}")
            self.disk.cut_in_batch -= 1
        self._harden()

    async def write(self, offset: int, chunks: Sequence[Buffer]) -> None:
        await self.disk.pause()
        self._put(offset, chunks)

    async def sync(self) -> None:
        await self.disk.pause()
        self._harden()

    async def close(self) -> None:
        pass


class MemoryDisk:
    def __init__(self) -> None:
        self.names: dict[str, Inode] = {}  # the live directory
        self.directories: list[str] = [""]
        self.durable_names: dict[str, Inode] = {}
        self.durable_directories: list[str] = [""]
        self.renames: list[tuple[str, str]] = []  # atomic, also from one directory to another
        self.operations: list[tuple[str, str]] = []
        self.fail_at: int | None = None  # operations until a write or sync fails
        self.cut_at: int | None = None  # operations until the power goes
        self.cut_in_batch: int | None = None  # `write_sync` calls until the power goes between the write and the sync of one
        self.free: int = 1 << 40
        self.gate: Callable[[], Awaitable[None]] | None = None  # awaited within every operation

    async def pause(self) -> None:
        """Let others run, where a test asks for it."""
        if self.gate is not None:
            await self.gate()

    def step(self, what: str, path: str) -> None:
        """Count one operation; fail or stop if its time has come."""
        if self.cut_at is not None:
            if self.cut_at == 0:
                raise PowerCut(f"before {what} {path}")
            self.cut_at -= 1
        self.operations.append((what, path))
        if self.fail_at is not None and what in ("write", "sync"):
            if self.fail_at == 0:
                self.fail_at = None
                raise StorageError(f"{what} {path}: input/output error")
            self.fail_at -= 1

    def take_space(self, size_bytes: int) -> None:
        if size_bytes > self.free:
            raise OutOfSpaceError("no space left on device")
        self.free -= size_bytes

    async def open(self, path: str, *, create: bool = False) -> MemoryFile:
        await self.pause()
        if create:
            self.step("create", path)
            if path in self.names:
                raise StorageError(f"{path} exists")
            assert path.rpartition("/")[0] in self.directories, path
            self.names[path] = Inode()
        if path not in self.names:
            raise FileNotFoundError(path)
        return MemoryFile(self, path, self.names[path])

    async def list(self, directory: str) -> list[str]:
        prefix = directory + "/" if directory else ""
        paths = [*self.names, *self.directories[1:]]
        return sorted([path[len(prefix) :] for path in paths if path.startswith(prefix) and "/" not in path[len(prefix) :]])

    async def make_directory(self, path: str) -> None:
        self.step("mkdir", path)
        parts = path.split("/")
        for end in range(1, len(parts) + 1):
            name = "/".join(parts[:end])
            if name not in self.directories:
                self.directories.append(name)

    async def rename(self, old: str, new: str) -> None:
        await self.pause()
        self.step("rename", new)
        assert new.rpartition("/")[0] in self.directories, new
        self.names[new] = self.names.pop(old)
        self.renames.append((old, new))

    async def remove(self, path: str) -> None:
        await self.pause()
        self.step("remove", path)
        self.free += len(self.names[path].live)
        del self.names[path]

    async def sync_dir(self, directory: str) -> None:
        await self.pause()
        self.step("sync_dir", directory)
        self._settle_names(directory, lambda _: True)

    async def free_bytes(self) -> int:
        return self.free

    def _settle_names(self, directory: str, is_kept: Callable[[str], bool]) -> None:
        """Carry the changes of one directory's entries into the durable view: each for which `is_kept` says so."""
        for path in sorted({*self.names, *self.durable_names}):
            is_changed = self.names.get(path) is not self.durable_names.get(path)
            if path.rpartition("/")[0] == directory and is_changed and is_kept(path):
                self._settle(path)
                for pair in [pair for pair in self.renames if path in pair]:
                    self.renames.remove(pair)
                    self._settle(pair[0] if path == pair[1] else pair[1])
        for path in self.directories:
            if path and path.rpartition("/")[0] == directory and path not in self.durable_directories and is_kept(path):
                self.durable_directories.append(path)

    def _settle(self, path: str) -> None:
        if path in self.names:
            self.durable_names[path] = self.names[path]
        else:
            self.durable_names.pop(path, None)

    def power_cut(self, random: Random | None) -> None:
        """Lose what is not durable: all of it (None), or each sector and name as `random` draws."""
        if random is not None:
            for directory in list(self.directories):
                self._settle_names(directory, lambda _: random.random() < 0.5)
        self.directories = list(self.durable_directories)
        reachable = [path for path in self.durable_names if path.rpartition("/")[0] in self.directories]
        self.durable_names = {path: self.durable_names[path] for path in reachable}
        self.names = dict(self.durable_names)
        for path in sorted(self.names):
            inode = self.names[path]
            inode.durable = self._torn(inode, random) if random is not None else inode.durable
            inode.live = bytearray(inode.durable)
        self.fail_at = self.cut_at = self.cut_in_batch = self.gate = None

    def _torn(self, inode: Inode, random: Random) -> bytes:
        """What is on the platter: of each unsynced sector the old bytes, the new ones, or a mixture."""
        old, new = inode.durable, bytes(inode.live)
        size_bytes = random.choice((len(old), len(new))) if len(old) != len(new) else len(new)
        old, new = old.ljust(size_bytes, b"\0")[:size_bytes], new.ljust(size_bytes, b"\0")[:size_bytes]
        pieces = []
        mode = random.choice(("old", "new", "mixed", "mixed"))
        for start in range(0, size_bytes, SECTOR_BYTES):
            before, after = old[start : start + SECTOR_BYTES], new[start : start + SECTOR_BYTES]
            draw = mode if mode != "mixed" or before == after else random.choice(("old", "new", "torn"))
            split = random.randrange(len(after) + 1) if draw == "torn" else len(after) * (draw == "new")
            pieces.append(after[:split] + before[split:])
        return b"".join(pieces)

    def copy(self) -> MemoryDisk:
        """Another disk with the same live files, all of it durable."""
        twin = MemoryDisk()
        twin.directories = list(self.directories)
        twin.durable_directories = list(self.directories)
        twin.names = {path: Inode(bytearray(inode.live), bytes(inode.live)) for path, inode in self.names.items()}
        twin.durable_names = dict(twin.names)
        return twin
