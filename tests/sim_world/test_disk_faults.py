"""What a simulated disk keeps, and what it does to those who believed more."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loggos.base.errors import OutOfSpaceError, StorageError
from loggos.base.ports import World
from loggos.sim.disk import SURVIVALS
from loggos.sim.inodes import FileNode
from loggos.sim.trace import Draws, Trace
from loggos.sim.world import SimHost, SimWorld

Program = Callable[[World], Coroutine[Any, Any, None]]


@pytest.fixture
def world() -> Iterator[SimWorld]:
    with SimWorld(9) as world:
        yield world


def run(world: SimWorld, host: SimHost, program: Program, after: Callable[[], None] = lambda: None) -> None:
    """Run a program on the host, then do something to it."""

    async def scenario() -> None:
        await host.start(program)
        after()

    world.run(scenario())
    assert not world.failures, world.failures


async def read(ports: World, path: str) -> bytes:
    return await (await ports.disk.open(path)).read(0, 1 << 20)


# --- power cuts ---


@pytest.mark.parametrize("survival", SURVIVALS)
def test_what_is_synced_survives_every_power_cut(survival: str) -> None:
    for seed in range(10):
        with SimWorld(seed) as world:
            host = world.host("one")

            async def write(ports: World) -> None:
                await ports.disk.make_directory("a")
                file = await ports.disk.open("a/x", create=True)
                await file.write_sync(0, [b"s" * 2000])
                await file.write(2000, [b"t" * 2000])
                await file.sync()
                await ports.disk.sync_dir("a")
                await ports.disk.sync_dir("")
                await file.write(4000, [b"u" * 2000])
                await ports.disk.open("a/y", create=True)

            async def check(ports: World) -> None:
                assert (await read(ports, "a/x"))[:4000] == b"s" * 2000 + b"t" * 2000

            run(world, host, write, lambda host=host: host.power_cut(survival))  # type: ignore[misc]
            run(world, host, check)


def outcomes(survival: str, program: Program, path: str) -> list[bytes | None]:
    """What is found at a path after a power cut, over many seeds; None: no such file."""
    found: list[bytes | None] = []
    for seed in range(40):
        with SimWorld(seed) as world:
            host = world.host("one")

            async def check(ports: World) -> None:
                try:
                    found.append(await read(ports, path))
                except FileNotFoundError:
                    found.append(None)

            run(world, host, program, lambda host=host: host.power_cut(survival))  # type: ignore[misc]
            run(world, host, check)
    return found


async def overwrite_unsynced(ports: World) -> None:
    file = await ports.disk.open("x", create=True)
    await file.write_sync(0, [b"-" * 2048])
    await ports.disk.sync_dir("")
    await file.write(0, [b"1" * 1024])
    await file.write(1024, [b"2" * 1024])


def test_unsynced_writes_are_dropped_kept_cut_or_torn_by_sector() -> None:
    old, new = b"-" * 2048, b"1" * 1024 + b"2" * 1024
    assert set(outcomes("none", overwrite_unsynced, "x")) == {old}
    assert set(outcomes("all", overwrite_unsynced, "x")) == {new}
    assert set(outcomes("each", overwrite_unsynced, "x")) == {old, new, new[:1024] + old[1024:], old[:1024] + new[1024:]}
    prefix = set(outcomes("prefix", overwrite_unsynced, "x"))
    assert old[:1024] + new[1024:] not in prefix
    torn = set(outcomes("torn", overwrite_unsynced, "x"))
    sectors = {data[start : start + 512] for data in torn if data for start in range(0, 2048, 512)}
    assert sectors == {b"-" * 512, b"1" * 512, b"2" * 512}
    assert len(torn) > 6
    assert {data[:512] != data[512:1024] for data in torn if data} == {True, False}, "single writes are torn"


def test_a_file_that_grew_unsynced_may_be_short_or_hold_zeros() -> None:
    async def grow(ports: World) -> None:
        file = await ports.disk.open("x", create=True)
        await ports.disk.sync_dir("")
        await file.write(0, [b"1" * 1024])
        await file.write(1024, [b"2" * 1024])

    found = set(outcomes("each", grow, "x"))
    assert found == {b"", b"1" * 1024, b"1" * 1024 + b"2" * 1024, b"\0" * 1024 + b"2" * 1024}


def test_a_name_that_was_not_synced_may_vanish_with_its_synced_bytes() -> None:
    async def create(ports: World) -> None:
        file = await ports.disk.open("x", create=True)
        await file.write_sync(0, [b"bytes"])

    assert set(outcomes("each", create, "x")) == {None, b"bytes"}
    assert set(outcomes("none", create, "x")) == {None}


def test_a_rename_happens_or_not_and_a_removal_may_come_back() -> None:
    async def replace(ports: World) -> None:
        for name in ("old", "new", "gone"):
            await (await ports.disk.open(name, create=True)).write_sync(0, [name.encode()])
        await ports.disk.sync_dir("")
        await ports.disk.rename("old", "new")
        await ports.disk.remove("gone")

    assert set(outcomes("each", replace, "new")) == {b"old", b"new"}
    assert set(outcomes("each", replace, "gone")) == {None, b"gone"}
    both = list(zip(outcomes("each", replace, "old"), outcomes("each", replace, "new"), strict=True))
    assert set(both) == {(b"old", b"new"), (None, b"old")}, "a rename is atomic"


def test_a_process_crash_keeps_the_page_cache_and_the_write_in_progress_may_be_either() -> None:
    found = []
    for seed in range(30):
        with SimWorld(seed) as world:
            host = world.host("one")

            async def write(ports: World) -> None:
                file = await ports.disk.open("x", create=True)
                await file.write(0, [b"page cache"])
                file.write_sync(0, [b"IN"])
                file.write_sync(2, [b"QUEUED"])

            async def check(ports: World) -> None:
                found.append(await read(ports, "x"))
                await (await ports.disk.open("x")).write_sync(0, [b"the journal lane is free again"])

            run(world, host, write, lambda host=host: host.crash())  # type: ignore[misc]
            run(world, host, check)
    assert set(found) == {b"page cache", b"INge cache"}


@given(st.lists(st.tuples(st.integers(0, 3000), st.integers(1, 1500), st.booleans()), max_size=12), st.integers(0, 1000))
def test_each_byte_after_a_power_cut_is_some_byte_that_was_there(writes: list[tuple[int, int, bool]], seed: int) -> None:
    """Model: every byte is its last synced value or one written since; beyond the synced size it may also be 0 or missing."""
    draws = Draws(Trace(), seed, "test")
    node = FileNode()
    possible: list[set[int]] = [set() for _ in range(5000)]
    synced = b""
    for number, (offset, size, syncs) in enumerate(writes):
        node.write(offset, bytes([number + 1]) * size)
        for at in range(offset, offset + size):
            possible[at].add(number + 1)
        if syncs:
            node.sync()
            synced = bytes(node.data)
            possible = [set() for _ in range(5000)]
    node.lose_power(draws, draws.choice(SURVIVALS))
    assert len(node.data) >= len(synced)
    for at, value in enumerate(node.data):
        before = {synced[at]} if at < len(synced) else {0}
        assert value in possible[at] | before, at


# --- faults ---


def test_a_full_disk_refuses_growth_and_recovers(world: SimWorld) -> None:
    host = world.host("one")

    async def program(ports: World) -> None:
        file = await ports.disk.open("x", create=True)
        await file.write_sync(0, [bytes(1000)])
        host.platter.faults.quota_bytes = 1500
        assert await ports.disk.free_bytes() == 500
        with pytest.raises(OutOfSpaceError, match="free space"):
            await file.write_sync(1000, [bytes(501)])
        await file.write_sync(0, [b"1" * 1000])
        assert await file.size() == 1000
        host.platter.faults.quota_bytes = 5000
        await file.write_sync(1000, [bytes(501)])

    run(world, host, program)


def test_a_failed_sync_may_lose_what_was_written() -> None:
    found = set()
    for seed in range(20):
        with SimWorld(seed) as world:
            host = world.host("one")

            async def program(ports: World, host: SimHost = host) -> None:
                file = await ports.disk.open("x", create=True)
                await file.write_sync(0, [b"old"])
                host.platter.faults.sync_error = 1
                with pytest.raises(StorageError):
                    await file.write_sync(0, [b"new"])
                host.platter.faults.calm()
                with pytest.raises(StorageError):
                    await file.sync()
                found.add(await file.read(0, 3))

            run(world, host, program)
    assert found == {b"old", b"new"}


def test_read_and_write_errors(world: SimWorld) -> None:
    host = world.host("one")

    async def program(ports: World) -> None:
        file = await ports.disk.open("x", create=True)
        host.platter.faults.read_error = 1
        with pytest.raises(StorageError, match="x"):
            await file.read(0, 1)
        host.platter.faults.calm()
        assert await file.read(0, 1) == b""
        host.platter.faults.write_error = 1
        with pytest.raises(StorageError, match="x"):
            await file.write(0, [b"1"])

    run(world, host, program)
    assert world.trace.faults == {"EIO on read": 1, "EIO on write": 1}


def test_lost_and_misdirected_writes(world: SimWorld) -> None:
    host = world.host("one")

    async def program(ports: World) -> None:
        file = await ports.disk.open("x", create=True)
        await file.write_sync(0, [bytes(51_200)])
        host.platter.faults.lost = 1
        await file.write_sync(0, [b"1" * 512])
        assert await file.read(0, 51_200) == bytes(51_200)
        host.platter.faults.calm()
        host.platter.faults.misdirected = 1
        await file.write_sync(512, [b"2" * 512])
        data = await file.read(0, 60_000)
        assert len(data) == 51_200 and data[512:1024] != b"2" * 512
        assert data.find(b"2" * 512) % 512 == 0

    run(world, host, program)
    assert world.trace.faults == {"lost write": 1, "misdirected write": 1}


def test_rot_changes_stored_sectors_and_nothing_else(world: SimWorld) -> None:
    host = world.host("one")

    async def program(ports: World) -> None:
        for name in ("a", "b"):
            file = await ports.disk.open(name, create=True)
            await file.write(0, [b"x" * 5000])
            await file.sync()
        where = host.platter.rot("a")
        assert where.startswith("a:")
        data = await read(ports, "a")
        at = int(where[2:])
        assert data[at : at + 512] != b"x" * len(data[at : at + 512]) and at % 512 == 0
        assert data[:at] + data[at + 512 :] == b"x" * (5000 - len(data[at : at + 512]))
        assert await read(ports, "b") == b"x" * 5000
        assert host.platter.rot("absent") == ""

    run(world, host, program)


def test_rot_spares_the_last_journal_writes() -> None:
    for seed in range(20):
        with SimWorld(seed) as world:
            host = world.host("one")

            async def program(ports: World, host: SimHost = host) -> None:
                file = await ports.disk.open("a", create=True)
                for number in range(100):
                    await file.write_sync(number * 1000, [b"x" * 1000])
                where = host.platter.rot()
                assert where and int(where.split(":")[1]) <= 92_000 - 512

            run(world, host, program)


def test_a_hung_disk_answers_later_and_a_slow_one_slowly(world: SimWorld) -> None:
    host = world.host("one")

    async def program(ports: World) -> None:
        file = await ports.disk.open("x", create=True)
        host.platter.hang()
        pending = asyncio.ensure_future(file.write_sync(0, [b"1"]))
        reading = asyncio.ensure_future(file.size())
        await asyncio.sleep(50)
        assert not pending.done() and not reading.done()
        host.platter.unhang()
        await asyncio.gather(pending, reading)
        before = ports.clock.monotonic()
        host.platter.faults.slow = 1
        for _ in range(10):
            await file.write_sync(0, [b"1"])
        assert 0.3 < ports.clock.monotonic() - before < 3

    run(world, host, program)


def test_a_crash_during_a_hang_leaves_the_disk_usable(world: SimWorld) -> None:
    host = world.host("one")

    async def first(ports: World) -> None:
        file = await ports.disk.open("x", create=True)
        host.platter.hang()
        file.write_sync(0, [b"1"])
        await asyncio.sleep(1)

    async def second(ports: World) -> None:
        host.platter.unhang()
        await (await ports.disk.open("x")).write_sync(0, [b"2"])
        assert await read(ports, "x") == b"2"

    run(world, host, first, host.crash)
    run(world, host, second)


def test_wipe(world: SimWorld) -> None:
    host = world.host("one")

    async def first(ports: World) -> None:
        await ports.disk.open("x", create=True)
        await ports.disk.sync_dir("")

    async def second(ports: World) -> None:
        assert await ports.disk.list("") == []

    def lose() -> None:
        with pytest.raises(AssertionError, match="crash"):
            host.wipe()
        host.crash()
        host.wipe()

    run(world, host, first, lose)
    run(world, host, second)
