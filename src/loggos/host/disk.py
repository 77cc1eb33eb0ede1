"""The data directory on a real disk: ports.Disk and ports.File.

Rules:
- The journal's writes and fdatasyncs have a thread of their own (rule 21), in call order: journal_thread.py. Everything else goes
  through a second thread, one after another.
- After a failed write or sync a file refuses for good, under whatever handle: the kernel may have dropped the dirty pages,
  and a later success would prove nothing. EIO and friends are StorageError; a full disk is OutOfSpaceError and spoils
  nothing.
- The data directory is locked while it is open: two processes never share one.

Sources: pwritev2(2) with RWF_DSYNC, fdatasync(2); "Can Applications Recover from fsync Failures?" (ATC 2020).
"""

from __future__ import annotations

import asyncio
import errno
import fcntl
import os
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, TypeVar

from loggos.base.errors import ConfigError, OutOfSpaceError, StorageError
from loggos.base.limits import DISK_CLOSE_TIMEOUT_MS
from loggos.base.ports import Buffer
from loggos.host import direct
from loggos.host.journal_thread import JournalThread, Write

Result = TypeVar("Result")
Names = list[str]
_VECTORS_MAX: Final = 512  # chunks per pwritev; the system's IOV_MAX is 1,024
_FULL: Final = (errno.ENOSPC, errno.EDQUOT)


class SystemCalls:
    """The system calls that make bytes durable. OSError."""

    can_join: bool = hasattr(os, "RWF_DSYNC")  # is there `write_sync`?

    def sync(self, descriptor: int) -> None:
        """Make all of a file durable."""
        data_sync(descriptor)

    def open_direct(self, descriptor: int) -> int:
        """A second descriptor of the same file, past the page cache; -1: none."""
        return direct.open_direct(descriptor)

    def write_sync(self, descriptor: int, chunks: Sequence[Buffer], offset: int) -> int:
        """Write, and make what was written durable. Gives how many bytes it took."""
        return os.pwritev(descriptor, chunks, offset, os.RWF_DSYNC)


class HostFile:
    """An open file of the data directory."""

    def __init__(self, disk: HostDisk, path: str, descriptor: int) -> None:
        self.path = path
        self._descriptor = descriptor
        self._disk = disk
        self._is_open = True
        # May it hold bytes that were never synced, as far as this handle knows? An earlier process may have left some. Then a
        # sync of one range is not enough.
        self._is_unsynced = True
        self._direct: int | None = None  # a descriptor past the page cache; direct.NONE: not this file; None: not tried yet

    # --- the port ---

    async def size(self) -> int:
        return await self._disk.run(self._size)

    async def read(self, offset: int, size_bytes: int) -> bytes:
        return await self._disk.run(self._read, offset, size_bytes)

    def write_sync(self, offset: int, chunks: Sequence[Buffer]) -> Awaitable[None]:
        return self._disk.write_sync(self, offset, chunks)

    async def write(self, offset: int, chunks: Sequence[Buffer]) -> None:
        await self._disk.run(self.write_now, offset, chunks)

    async def sync(self) -> None:
        await self._disk.run(self.sync_now)

    async def close(self) -> None:
        if self._is_open:
            self._is_open = False
            await self._disk.run(self._close)

    def _close(self) -> None:
        self._leave_direct()
        os.close(self._descriptor)

    # --- in the threads ---

    def _size(self) -> int:
        try:
            return os.fstat(self._descriptor).st_size
        except OSError as error:
            raise _refused("examine", self.path, error) from error

    def _read(self, offset: int, size_bytes: int) -> bytes:
        pieces: list[bytes] = []
        try:
            while size_bytes > 0:
                piece = os.pread(self._descriptor, size_bytes, offset)
                if not piece:
                    break
                pieces.append(piece)
                offset += len(piece)
                size_bytes -= len(piece)
        except OSError as error:
            raise _refused("read", self.path, error) from error
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def write_now(self, offset: int, chunks: Sequence[Buffer]) -> None:
        """Write all chunks, here and now. StorageError, OutOfSpaceError."""
        self._disk.refuse_if_failed(self.path)
        if not self._is_open:
            raise StorageError(f"{self.path}: it is closed")
        self._is_unsynced = True
        try:
            self._write_all(offset, chunks)
        except OSError as error:
            raise self._failed("write", error) from error

    def _write_all(self, offset: int, chunks: Sequence[Buffer]) -> None:
        for start in range(0, len(chunks), _VECTORS_MAX):
            part = chunks[start : start + _VECTORS_MAX] if len(chunks) > _VECTORS_MAX else chunks
            expected = sum(map(len, part))
            written = os.pwritev(self._descriptor, part, offset)
            if written < expected:
                written = self._write_rest(b"".join(part), written, offset)
            offset += written

    def _write_rest(self, data: bytes, written: int, offset: int) -> int:
        """The system took only a part (a signal, or a disk that is nearly full): go on until all is taken or it says why not."""
        view = memoryview(data)
        while written < len(view):
            count = os.pwrite(self._descriptor, view[written:], offset + written)
            if count == 0:
                raise OSError(errno.EIO, "the system wrote nothing")
            written += count
        return written

    def sync_now(self) -> None:
        """Make the file's bytes durable, here and now. StorageError."""
        self._disk.refuse_if_failed(self.path)
        self._is_unsynced = False
        try:
            self._disk.calls.sync(self._descriptor)
        except OSError as error:
            raise self._failed("sync", error, spoils=True) from error

    def write_sync_now(self, offset: int, chunks: Sequence[Buffer]) -> None:
        """Write all chunks and make them durable, here and now; in one system call if that will do. StorageError,
        OutOfSpaceError."""
        if not self._can_join(chunks):
            self.write_now(offset, chunks)
            self.sync_now()
            return
        self._disk.refuse_if_failed(self.path)
        size_bytes = sum(map(len, chunks))
        try:
            written = self._write_direct(offset, chunks, size_bytes) if direct.fits(offset, size_bytes) else direct.NONE
            if written == direct.NONE:
                written = self._disk.calls.write_sync(self._descriptor, chunks, offset)
        except OSError as error:
            raise self._failed("write and sync", error, spoils=True) from error  # it does not say which of them failed
        if written < size_bytes:
            self.write_now(offset, chunks)
            self.sync_now()

    def _write_direct(self, offset: int, chunks: Sequence[Buffer], size_bytes: int) -> int:
        """Past the page cache. Gives how many bytes it took; direct.NONE: none, it does not go this way here. OSError."""
        calls = self._disk.calls
        if self._direct is None:
            self._direct = calls.open_direct(self._descriptor)
        if self._direct == direct.NONE:
            return direct.NONE
        try:
            return calls.write_sync(self._direct, [self._disk.direct_buffer.fill(chunks, size_bytes)], offset)
        except OSError as error:
            if not direct.is_refusal(error):
                raise
            self._leave_direct()
            return direct.NONE

    def _leave_direct(self) -> None:
        if self._direct is not None and self._direct != direct.NONE:
            os.close(self._direct)
        self._direct = direct.NONE

    def _can_join(self, chunks: Sequence[Buffer]) -> bool:
        """Does one system call write all this and sync all that has to be?"""
        return self._disk.calls.can_join and self._is_open and not self._is_unsynced and len(chunks) <= _VECTORS_MAX

    def _failed(self, what: str, error: OSError, spoils: bool = False) -> StorageError | OutOfSpaceError:
        """Remember a failure for good. A full disk spoils nothing, unless it was a sync that found out: its pages may be gone."""
        if spoils or error.errno not in _FULL:
            self._disk.failed[self.path] = None
            return _refused(what, self.path, error, is_fatal=True)
        return _out_of_space(self.path)


class HostDisk:
    """The data directory of one node. Paths are relative to it. `calls` make bytes durable (tests give some that fail)."""

    def __init__(
        self,
        root: Path,
        loop: asyncio.AbstractEventLoop,
        calls: SystemCalls | None = None,
        close_timeout_s: float = DISK_CLOSE_TIMEOUT_MS / 1000,
    ) -> None:
        self.root = root
        self._close_timeout_s = close_timeout_s
        self.calls = calls or SystemCalls()
        self.failed: dict[str, None] = {}
        self.direct_buffer = direct.DirectBuffer()  # of the journal's thread
        self._loop = loop
        self._lock = _lock_directory(root)
        self._journal = JournalThread(loop)
        self._others = ThreadPoolExecutor(max_workers=1, thread_name_prefix="loggos-disk")
        self._is_closed = False

    def close(self) -> None:
        """Finish what was handed over, stop the threads, unlock the directory. In the loop's thread, and holding up the loop: see
        `finish`. What the disk does not confirm in time is abandoned; then the directory stays locked until the process ends."""
        if self._stop_journal(self._close_timeout_s):
            self._let_go()

    async def finish(self) -> None:
        """The same as `close`, without holding up the loop."""
        timeout_s = self._close_timeout_s
        pending = [future for future in self._journal.pending() if not future.done()]
        if pending and (await asyncio.wait(pending, timeout=timeout_s))[1]:
            timeout_s = 0.0  # it has had its time
        if self._stop_journal(timeout_s):
            await self._loop.run_in_executor(None, self._let_go)

    def _stop_journal(self, timeout_s: float) -> bool:
        self._is_closed = True
        return self._journal.stop(timeout_s)

    def _let_go(self) -> None:
        self._others.shutdown(wait=True)
        os.close(self._lock)

    def write_sync(self, file: HostFile, offset: int, chunks: Sequence[Buffer]) -> Awaitable[None]:
        if self._is_closed:
            raise StorageError(f"{file.path}: the data directory is closed")
        future: asyncio.Future[None] = self._loop.create_future()
        self._journal.submit(Write(file, offset, chunks, future))
        return future

    async def run(self, work: Callable[..., Result], *args: object) -> Result:
        """On the thread for everything but the journal."""
        return await self._loop.run_in_executor(self._others, work, *args)

    def refuse_if_failed(self, path: str) -> None:
        if path in self.failed:
            raise StorageError(f"{path}: an earlier write or sync failed, so none is believed; restart the node")

    def _resolve(self, path: str) -> Path:
        parts = path.split("/") if path else []
        if any(part in ("", ".", "..") for part in parts):
            raise StorageError(f"{path!r} is no path inside the data directory")
        return self.root.joinpath(*parts)

    # --- the port ---

    async def open(self, path: str, *, create: bool = False) -> HostFile:
        return await self.run(self._open, path, create)

    def _open(self, path: str, create: bool) -> HostFile:
        flags = os.O_RDWR | os.O_CLOEXEC | (os.O_CREAT | os.O_EXCL if create else 0)
        try:
            return HostFile(self, path, os.open(self._resolve(path), flags, 0o600))
        except FileNotFoundError:
            raise
        except FileExistsError as error:
            raise StorageError(f"cannot create {path}: it exists already") from error
        except OSError as error:
            raise _refused("open", path, error) from error

    async def list(self, directory: str) -> Names:
        return await self.run(self._list, directory)

    def _list(self, directory: str) -> Names:
        try:
            return sorted(os.listdir(self._resolve(directory)))
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as error:
            raise _refused("list", directory, error) from error

    async def make_directory(self, path: str) -> None:
        await self._change("make directory", path, lambda: self._resolve(path).mkdir(0o700, parents=True, exist_ok=True))

    async def rename(self, old: str, new: str) -> None:
        await self._change("rename", old, lambda: os.replace(self._resolve(old), self._resolve(new)))

    async def remove(self, path: str) -> None:
        await self._change("remove", path, lambda: self._remove(path))

    def _remove(self, path: str) -> None:
        target = self._resolve(path)
        if target.is_dir():
            target.rmdir()
        else:
            target.unlink()

    async def sync_dir(self, directory: str) -> None:
        await self._change("sync", directory or ".", lambda: sync_directory(self._resolve(directory)))

    async def free_bytes(self) -> int:
        return await self.run(self._free_bytes)

    def _free_bytes(self) -> int:
        try:
            found = os.statvfs(self.root)
        except OSError as error:
            raise _refused("examine", ".", error) from error
        return found.f_bavail * found.f_frsize

    async def _change(self, what: str, path: str, work: Callable[[], None]) -> None:
        def attempt() -> None:
            try:
                work()
            except FileNotFoundError:
                raise
            except OSError as error:
                raise _refused(what, path, error) from error

        await self.run(attempt)


def data_sync(descriptor: int) -> None:
    """fdatasync, or the nearest that the platform has (on macOS only F_FULLFSYNC reaches the disk)."""
    if hasattr(fcntl, "F_FULLFSYNC"):
        fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)
    elif hasattr(os, "fdatasync"):
        os.fdatasync(descriptor)
    else:
        os.fsync(descriptor)


def sync_directory(path: Path) -> None:
    """Make a directory's entries durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_directory(path: Path, sync: Callable[[Path], None] = sync_directory) -> None:
    """Make a directory, and what is missing above it, for this user alone. Every name that it makes survives a power cut: the
    directory that holds it is synced. OSError."""
    missing = []
    for level in (path.absolute(), *path.absolute().parents):
        if level.exists():
            break
        missing.append(level)
    for level in reversed(missing):
        level.mkdir(0o700, exist_ok=True)  # another process may have been faster
        sync(level.parent)
    if not path.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(path))


def _lock_directory(root: Path) -> int:
    """Make the data directory if need be, and lock it. ConfigError says what is wrong with it."""
    try:
        make_directory(root)
        descriptor = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        why = f"{error.strerror}; give another with --data, or mend its permissions"
        raise ConfigError(f"data directory {root}: {why}") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        why = "is in use by another process; stop that one or give another directory"
        raise ConfigError(f"data directory {root} {why}") from error
    return descriptor


def _out_of_space(path: str) -> OutOfSpaceError:
    return OutOfSpaceError(f"no space left for {path}: free space on its disk, then try again")


def _refused(what: str, path: str, error: OSError, is_fatal: bool = False) -> StorageError | OutOfSpaceError:
    """Our error for the system's. `is_fatal`: never the milder OutOfSpaceError."""
    if error.errno in _FULL and not is_fatal:
        return _out_of_space(path)
    advice = "mount it for writing" if error.errno == errno.EROFS else "check the disk and its mount, or restore this node"
    return StorageError(f"cannot {what} {path}: {error.strerror}; {advice}")
