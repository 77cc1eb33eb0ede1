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
from loggos.base.limits import JOURNAL_HOLD_BYTES_MAX
from loggos.base.ports import Buffer
from loggos.host.disk import HostDisk, SystemCalls

joined = pytest.mark.skipif(not SystemCalls.can_join, reason="no RWF_DSYNC on this system")


class Calls(SystemCalls):
    """Notes what is called. `takes`: how many bytes the next joined call takes. Hangs while `may_go_on` is not set."""

    def __init__(self) -> None:
        self.made: list[str] = []
        self.takes: int | None = None
        self.error: OSError | None = None
        self.may_go_on = threading.Event()
        self.may_go_on.set()

    def sync(self, descriptor: int) -> None:
        self.may_go_on.wait()
        self.made.append("sync")
        super().sync(descriptor)

    def write_sync(self, descriptor: int, chunks: Sequence[Buffer], offset: int) -> int:
        self.may_go_on.wait()
        self.made.append(f"write_sync {offset}")
        if self.error is not None:
            raise self.error
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


HANG = """
import asyncio, sys, threading
from pathlib import Path
from loggos.host.disk import HostDisk, SystemCalls

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
