"""The Disk and File ports, on every world."""

from __future__ import annotations

import asyncio

import pytest

from loggos.base.errors import StorageError
from loggos.base.ports import World
from tests.ports.worlds import Site


def test_what_is_written_is_read(site: Site) -> None:
    async def program(world: World) -> None:
        file = await world.disk.open("log", create=True)
        await file.write_sync(0, [b"one", bytearray(b"two"), memoryview(b"three")])
        assert await file.read(0, 100) == b"onetwothree"
        assert await file.read(3, 3) == b"two"
        assert await file.read(11, 5) == b""
        assert await file.size() == 11
        await file.write_sync(3, [b"TWO"])
        assert await file.read(0, 100) == b"oneTWOthree"
        await file.close()

    site.run(program)


def test_a_gap_reads_as_zeros(site: Site) -> None:
    async def program(world: World) -> None:
        file = await world.disk.open("log", create=True)
        await file.write(4, [b"x"])
        await file.sync()
        assert await file.read(0, 100) == b"\0\0\0\0x"

    site.run(program)


def test_writes_start_at_once_and_in_call_order(site: Site) -> None:
    async def program(world: World) -> None:
        file = await world.disk.open("log", create=True)
        pending = [file.write_sync(0, [b"%03d" % number]) for number in range(200)]
        await pending[-1]
        assert await file.read(0, 3) == b"199"
        assert all(asyncio.ensure_future(one).done() for one in pending)

    site.run(program)


def test_a_write_of_very_many_chunks(site: Site) -> None:
    async def program(world: World) -> None:
        file = await world.disk.open("log", create=True)
        await file.write_sync(10, [b"%05d" % number for number in range(3000)])
        assert await file.read(10, 15000) == b"".join(b"%05d" % number for number in range(3000))

    site.run(program)


def test_create_refuses_what_exists_and_open_what_does_not(site: Site) -> None:
    async def program(world: World) -> None:
        with pytest.raises(FileNotFoundError):
            await world.disk.open("log")
        await (await world.disk.open("log", create=True)).close()
        with pytest.raises(StorageError, match="log"):
            await world.disk.open("log", create=True)
        assert await (await world.disk.open("log")).size() == 0
        with pytest.raises(FileNotFoundError):
            await world.disk.open("absent/log", create=True)

    site.run(program)


def test_directories(site: Site) -> None:
    async def program(world: World) -> None:
        disk = world.disk
        assert await disk.list("") == []
        assert await disk.list("absent") == []
        await disk.make_directory("a/b")
        await disk.make_directory("a/b")
        for name in ("2", "10", "1"):
            await disk.open("a/b/" + name, create=True)
        await disk.sync_dir("a/b")
        await disk.sync_dir("a")
        await disk.sync_dir("")
        assert await disk.list("") == ["a"]
        assert await disk.list("a/b") == ["1", "10", "2"]
        await disk.rename("a", "c")
        assert await disk.list("c/b") == ["1", "10", "2"]
        with pytest.raises(FileNotFoundError):
            await disk.sync_dir("a")

    site.run(program)


def test_rename_replaces_and_remove_removes(site: Site) -> None:
    async def program(world: World) -> None:
        disk = world.disk
        for name in ("old", "new"):
            file = await disk.open(name, create=True)
            await file.write_sync(0, [name.encode()])
        await disk.rename("old", "new")
        assert await disk.list("") == ["new"]
        assert await (await disk.open("new")).read(0, 10) == b"old"
        await disk.remove("new")
        assert await disk.list("") == []
        with pytest.raises(FileNotFoundError):
            await disk.remove("new")
        with pytest.raises(FileNotFoundError):
            await disk.rename("old", "new")

    site.run(program)


@pytest.mark.parametrize("path", ["../secret", "a/../b", "/absolute", "a//b"])
def test_no_path_leads_outside(site: Site, path: str) -> None:
    async def program(world: World) -> None:
        with pytest.raises(StorageError, match="no path inside"):
            await world.disk.open(path, create=True)

    site.run(program)


def test_the_next_process_finds_what_was_written(site: Site) -> None:
    async def first(world: World) -> None:
        await world.disk.make_directory("journal")
        file = await world.disk.open("journal/1", create=True)
        await file.write_sync(0, [b"kept"])
        await world.disk.sync_dir("journal")
        await world.disk.sync_dir("")

    async def second(world: World) -> bytes:
        return await (await world.disk.open("journal/1")).read(0, 100)

    site.run(first)
    assert site.run(second) == b"kept"


def test_after_a_failed_sync_a_file_refuses_for_good(site: Site) -> None:
    async def program(world: World) -> None:
        broken = await world.disk.open("broken", create=True)
        site.break_syncs()
        with pytest.raises(StorageError, match="broken"):
            await broken.write_sync(0, [b"x"])
        again = await world.disk.open("broken")
        for file in (broken, again):
            with pytest.raises(StorageError, match="broken"):
                await file.write_sync(0, [b"x"])
            with pytest.raises(StorageError, match="broken"):
                await file.write(0, [b"x"])
            with pytest.raises(StorageError, match="broken"):
                await file.sync()

    site.run(program)


def test_all_that_shared_a_failed_sync_fail(site: Site) -> None:
    async def program(world: World) -> None:
        file = await world.disk.open("broken", create=True)
        site.break_syncs()
        results = await asyncio.gather(*[file.write_sync(i, [b"x"]) for i in range(5)], return_exceptions=True)
        assert [type(result) for result in results] == [StorageError] * 5

    site.run(program)


def test_free_space_is_known(site: Site) -> None:
    async def program(world: World) -> int:
        return await world.disk.free_bytes()

    assert site.run(program) > 1 << 20
