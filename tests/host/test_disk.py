"""The real disk beyond its port: one system call where that is enough, two where it is not, and a disk that hangs."""

from __future__ import annotations

import asyncio
import errno
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import pytest

from loggos.base.errors import ConfigError, StorageError
from loggos.base.limits import DIRECT_WRITE_BYTES_MAX, JOURNAL_HOLD_BYTES_MAX, JOURNAL_SECTOR_BYTES
from loggos.base.ports import Buffer
from loggos.host import direct
from loggos.host.disk import HostDisk, SystemCalls, make_directory

joined = pytest.mark.skipif(not SystemCalls.can_join, reason="no RWF_DSYNC on this system")


class Calls(SystemCalls):
    """Notes what is called. `takes`: how many bytes the next joined call takes. Hangs while `may_go_on` is not set."""

    def __init__(self) -> None:
        self.made: list[str] = []
        self.takes: int | None = None
        self.error: OSError | None = None
        self.direct: set[int] = set()  # descriptors past the page cache
        self.refusal: OSError | None = None  # of writes to them
        self.may_go_on = threading.Event()
        self.may_go_on.set()

    def sync(self, descriptor: int) -> None:
        self.may_go_on.wait()
        self.made.append("sync")
        super().sync(descriptor)

    def open_direct(self, descriptor: int) -> int:
        found = super().open_direct(descriptor)
        self.direct.add(found)
        return found

    def write_sync(self, descriptor: int, chunks: Sequence[Buffer], offset: int) -> int:
        self.may_go_on.wait()
        self.made.append(f"{'direct' if descriptor in self.direct else 'write_sync'} {offset}")
        if self.error is not None:
            raise self.error
        if descriptor in self.direct and self.refusal is not None:
            raise self.refusal
        if self.takes is not None:
            chunks, self.takes = [b"".join(chunks)[: self.takes]], None
        return super().write_sync(descriptor, chunks, offset)


def on_a_disk(root: Path, calls: Calls, program: Callable[[HostDisk], Awaitable[None]], close_timeout_s: float = 5.0) -> None:
    async def main() -> None:
        disk = HostDisk(root, asyncio.get_running_loop(), calls, close_timeout_s)
        try:
            await program(disk)
        finally:
            await disk.finish()

    asyncio.run(main())


@joined
def test_a_lone_write_is_one_call_once_nothing_older_can_be_unsynced(tmp_path: Path) -> None:
    calls = Calls()

    async def program(disk: HostDisk) -> None:
        file = await disk.open("log", create=True)
        await file.write_sync(0, [b"first"])
        assert calls.made == ["sync"]
        await file.write_sync(512, [b"second", b"!"])
        await file.write(1024, [b"not synced"])
        await file.write_sync(1536, [b"third"])
        await file.write_sync(2048, [b"fourth"])
        assert calls.made == ["sync", "write_sync 512", "sync", "write_sync 2048"]
        assert await file.read(512, 7) == b"second!" and await file.read(2048, 9) == b"fourth"

    on_a_disk(tmp_path, calls, program)


@joined
def test_what_an_earlier_handle_left_unsynced_is_synced_with_the_first_write(tmp_path: Path) -> None:
    calls = Calls()

    async def program(disk: HostDisk) -> None:
        await (await disk.open("log", create=True)).write(0, [b"left behind"])
        await (await disk.open("log")).write_sync(512, [b"x"])
        assert calls.made == ["sync"]

    on_a_disk(tmp_path, calls, program)


@joined
def test_a_joined_call_that_took_only_a_part_is_made_whole_and_synced(tmp_path: Path) -> None:
    calls = Calls()

    async def program(disk: HostDisk) -> None:
        file = await disk.open("log", create=True)
        await file.write_sync(0, [b"-"])
        calls.takes = 4
        await file.write_sync(0, [b"whole", b" batch"])
        assert calls.made == ["sync", "write_sync 0", "sync"]
        assert await file.read(0, 100) == b"whole batch"

    on_a_disk(tmp_path, calls, program)


@joined
@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC])
def test_a_joined_call_that_fails_spoils_the_file_whatever_the_reason(tmp_path: Path, number: int) -> None:
    calls = Calls()

    async def program(disk: HostDisk) -> None:
        file = await disk.open("log", create=True)
        await file.write_sync(0, [b"-"])
        calls.error = OSError(number, "as told")
        with pytest.raises(StorageError, match="log: as told"):
            await file.write_sync(0, [b"x"])
        calls.error = None
        with pytest.raises(StorageError, match="none is believed"):
            await file.write_sync(0, [b"x"])

    on_a_disk(tmp_path, calls, program)


def test_small_and_large_writes_keep_their_order(tmp_path: Path) -> None:
    large = JOURNAL_HOLD_BYTES_MAX + 1

    async def program(disk: HostDisk) -> None:
        file = await disk.open("log", create=True)
        pending = [file.write_sync(0, [bytes([number]) * size]) for number, size in enumerate((3, large, 2, large, 1))]
        await pending[-1]
        assert await file.read(0, 3) == b"\4\3\3"
        assert all(asyncio.ensure_future(one).done() for one in pending)

    on_a_disk(tmp_path, Calls(), program)


def test_closing_waits_for_a_write_whose_caller_has_given_up(tmp_path: Path) -> None:
    calls = Calls()

    async def program(disk: HostDisk) -> None:
        file = await disk.open("log", create=True)
        calls.may_go_on.clear()
        asyncio.ensure_future(file.write_sync(0, [b"kept"])).cancel()
        asyncio.get_running_loop().run_in_executor(None, lambda: (threading.Event().wait(0.1), calls.may_go_on.set()))

    on_a_disk(tmp_path, calls, program)
    assert calls.made == ["sync"] and (tmp_path / "log").read_bytes() == b"kept"


def test_a_closed_disk_and_a_closed_file_refuse(tmp_path: Path) -> None:
    async def main() -> None:
        disk = HostDisk(tmp_path, asyncio.get_running_loop())
        one, other = await disk.open("one", create=True), await disk.open("other", create=True)
        await one.close()
        with pytest.raises(StorageError, match="one: it is closed"):
            await one.write_sync(0, [b"x"])
        await disk.finish()
        with pytest.raises(StorageError, match="other"):
            other.write_sync(0, [b"x"])
        HostDisk(tmp_path, asyncio.get_running_loop()).close()

    asyncio.run(main())


def test_a_hung_sync_holds_up_no_turn_and_the_directory_stays_locked(tmp_path: Path) -> None:
    calls, turns = Calls(), [0]

    async def main() -> None:
        loop = asyncio.get_running_loop()
        disk = HostDisk(tmp_path, loop, calls, close_timeout_s=0.2)
        file = await disk.open("log", create=True)
        calls.may_go_on.clear()
        write = asyncio.ensure_future(file.write_sync(0, [b"x"]))

        def turn() -> None:
            turns[0] += 1
            loop.call_later(0.005, turn)

        turn()
        await disk.finish()
        assert write.cancelled() and turns[0] > 5
        with pytest.raises(ConfigError, match="in use"):
            HostDisk(tmp_path, loop)

    try:
        asyncio.run(main())
    finally:
        calls.may_go_on.set()


def whole_sectors(count: int, fill: int) -> list[Buffer]:
    """Chunks that are `count` sectors together."""
    return [bytes([fill]) * 100, memoryview(bytes([fill]) * (count * JOURNAL_SECTOR_BYTES - 100))]


@joined
def test_whole_sectors_go_past_the_page_cache_where_the_file_system_takes_them(tmp_path: Path) -> None:
    calls = Calls()

    async def program(disk: HostDisk) -> None:
        file = await disk.open("log", create=True)
        await file.write_sync(0, whole_sectors(8, 1))
        for offset, sectors in ((4096, 1), (4608, 3), (0, 2)):
            await file.write_sync(offset, whole_sectors(sectors, 2 + sectors))
        await file.write_sync(6144, [b"less than a sector"])
        await file.write_sync(512 + 7, whole_sectors(1, 9))
        await file.write_sync(8192, whole_sectors(DIRECT_WRITE_BYTES_MAX // 512 + 1, 8))
        expected = [*whole_sectors(2, 4), bytes([1]) * 3072, *whole_sectors(1, 3), *whole_sectors(3, 5), b"less than a sector"]
        found, wanted = await file.read(0, 6162), bytearray(b"".join(expected))
        wanted[519 : 519 + 512] = bytes([9]) * 512
        assert found == bytes(wanted)
        assert await file.read(8192, 1 << 20) == bytes([8]) * (DIRECT_WRITE_BYTES_MAX + 512)
        assert calls.made[4:] == ["write_sync 6144", "write_sync 519", "write_sync 8192"]
        if direct.NONE not in calls.direct:  # this file system has it
            assert calls.made[:4] == ["sync", "direct 4096", "direct 4608", "direct 0"]

    on_a_disk(tmp_path, calls, program)


@joined
def test_a_file_that_refuses_direct_writes_is_written_the_usual_way(tmp_path: Path) -> None:
    calls = Calls()
    calls.refusal = OSError(errno.EINVAL, "sectors of 4,096 bytes")

    async def program(disk: HostDisk) -> None:
        file = await disk.open("log", create=True)
        for number in range(3):
            await file.write_sync(512 * number, whole_sectors(1, number))
        assert await file.read(512, 512) == bytes([1]) * 512
        if direct.NONE not in calls.direct:
            assert calls.made == ["sync", "direct 512", "write_sync 512", "write_sync 1024"]
        await file.close()

    on_a_disk(tmp_path, calls, program)


@joined
def test_a_failed_direct_write_is_an_error_for_good(tmp_path: Path) -> None:
    calls = Calls()

    async def program(disk: HostDisk) -> None:
        file = await disk.open("log", create=True)
        await file.write_sync(0, whole_sectors(1, 1))
        calls.error = OSError(errno.EIO, "input/output error")
        with pytest.raises(StorageError):
            await file.write_sync(512, whole_sectors(1, 2))
        calls.error = None
        with pytest.raises(StorageError):
            await file.write_sync(512, whole_sectors(1, 2))

    on_a_disk(tmp_path, calls, program)


HANG = """
import asyncio, sys, threading
from pathlib import Path
from loggos.host import direct
from loggos.host.disk import HostDisk, SystemCalls, make_directory

class Hangs(SystemCalls):
    can_join = False
    def sync(self, descriptor):
        threading.Event().wait()

async def main():
    disk = HostDisk(Path(sys.argv[1]), asyncio.get_running_loop(), Hangs(), close_timeout_s=0.1)
    file = await disk.open("log", create=True)
    file.write_sync(0, [b"x"])
    await disk.finish()
    print("ended")

asyncio.run(main())
"""


@pytest.mark.process
def test_a_hung_sync_does_not_keep_the_process_from_ending(tmp_path: Path) -> None:
    ran = subprocess.run([sys.executable, "-c", HANG, str(tmp_path / "data")], capture_output=True, text=True, timeout=30)
    assert (ran.returncode, ran.stdout) == (0, "ended\n"), ran.stderr


def test_every_name_that_is_made_is_synced_and_for_this_user_alone(tmp_path: Path) -> None:
    """A power cut must not take the data directory's own name; what was there before is left as it is."""
    synced: list[Path] = []
    tmp_path.chmod(0o755)
    make_directory(tmp_path / "a" / "b" / "c", synced.append)
    assert synced == [tmp_path, tmp_path / "a", tmp_path / "a" / "b"]
    assert [(tmp_path / name).stat().st_mode & 0o777 for name in (".", "a", "a/b", "a/b/c")] == [0o755, 0o700, 0o700, 0o700]
    make_directory(tmp_path / "a" / "b" / "c", synced.append)
    assert len(synced) == 3


def test_a_file_is_no_directory(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(NotADirectoryError):
            make_directory(path)
