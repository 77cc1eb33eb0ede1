"""Snapshots: whole and durable or not there, torn at any byte, rotted at any bit."""

from __future__ import annotations

import asyncio
from random import Random

import pytest

from loggos.base.errors import DamageError, OutOfSpaceError
from loggos.base.ids import Slot
from loggos.storage import snapshots
from loggos.storage.snapshots import SnapshotReader, SnapshotStore
from tests.storage.memory_disk import MemoryDisk, PowerCut

CHUNKS = [b"first", b"", b"x" * 700, b"last"]


async def make(store: SnapshotStore, slot: int, chunks: list[bytes] | None = None) -> None:
    writer = await store.begin(Slot(slot))
    for chunk in CHUNKS if chunks is None else chunks:
        await writer.add(chunk)
    await writer.commit(b"meta of %d" % slot)


async def contents(reader: SnapshotReader) -> list[bytes]:
    return [chunk async for chunk in reader.chunks()]


def path(slot: int) -> str:
    return snapshots.snapshot_path(slot)


def test_a_committed_snapshot_survives_a_power_cut() -> None:
    async def main() -> None:
        disk = MemoryDisk()
        store = await SnapshotStore.open(disk)
        assert await store.latest() is None and store.oldest_slot() is None
        await make(store, 7)
        disk.power_cut(None)
        reader = await (await SnapshotStore.open(disk)).latest()
        assert reader is not None and (reader.slot, reader.meta, reader.skipped) == (7, b"meta of 7", ())
        assert await contents(reader) == CHUNKS

    asyncio.run(main())


def test_an_empty_snapshot_is_one() -> None:
    async def main() -> None:
        store = await SnapshotStore.open(MemoryDisk())
        await make(store, 1, [])
        reader = await store.latest()
        assert reader is not None and await contents(reader) == [] and reader.meta == b"meta of 1"

    asyncio.run(main())


def test_two_are_kept_and_the_older_says_what_the_journal_may_forget() -> None:
    async def main() -> None:
        disk = MemoryDisk()
        store = await SnapshotStore.open(disk)
        await make(store, 10)
        assert store.oldest_slot() is None
        for slot in (20, 30, 40):
            await make(store, slot)
        assert store.oldest_slot() == 30
        assert await disk.list("snapshots") == [path(30).rpartition("/")[2], path(40).rpartition("/")[2]]
        disk.power_cut(None)
        assert (await SnapshotStore.open(disk)).oldest_slot() == 30

    asyncio.run(main())


def test_what_is_not_committed_leaves_nothing() -> None:
    async def main() -> None:
        disk = MemoryDisk()
        store = await SnapshotStore.open(disk)
        await make(store, 1)
        aborted, crashed = await store.begin(Slot(2)), await store.begin(Slot(2))
        await aborted.add(b"half")
        await crashed.add(b"half")
        await aborted.abort()
        await aborted.abort()
        assert len(await disk.list("snapshots")) == 2
        store = await SnapshotStore.open(disk)
        assert await disk.list("snapshots") == [path(1).rpartition("/")[2]]
        reader = await store.latest()
        assert reader is not None and reader.slot == 1

    asyncio.run(main())


def test_a_full_disk_gives_the_space_back() -> None:
    async def main(spare: int) -> None:
        disk = MemoryDisk()
        store = await SnapshotStore.open(disk)
        disk.free = spare
        with pytest.raises(OutOfSpaceError):
            await make(store, 1)
        assert disk.free == spare and await disk.list("snapshots") == []
        disk.free = 1 << 20
        await make(store, 1)
        assert await store.latest() is not None

    for spare in (0, 30, 60, 800):
        asyncio.run(main(spare))


def test_a_power_cut_at_any_step_gives_the_old_or_the_new() -> None:
    async def main(cut_at: int, seed: int) -> bool:
        disk = MemoryDisk()
        store = await SnapshotStore.open(disk)
        await make(store, 1)
        await make(store, 2)
        disk.cut_at, is_done = cut_at, False
        try:
            await make(store, 3)
            is_done = True
        except PowerCut:
            pass
        disk.power_cut(Random(seed))
        store = await SnapshotStore.open(disk)
        reader = await store.latest()
        assert reader is not None and reader.slot in ((3,) if is_done else (2, 3)) and reader.skipped == ()
        assert await contents(reader) == CHUNKS and store.oldest_slot() is not None
        return is_done

    for seed in range(8):
        cut_at = 0
        while not asyncio.run(main(cut_at, seed)):
            cut_at += 1
        assert cut_at > 8


def test_any_flipped_bit_is_found_and_the_older_one_serves() -> None:
    async def main() -> None:
        disk = MemoryDisk()
        store = await SnapshotStore.open(disk)
        await make(store, 1)
        await make(store, 2, [b"abc", b"d" * 40])
        inode = disk.names[path(2)]
        for bit in range(8 * len(inode.live)):
            inode.live[bit // 8] ^= 1 << bit % 8
            store = await SnapshotStore.open(disk)
            reader = await store.latest()
            assert reader is not None and reader.slot == 1, bit
            assert [error.path for error in reader.skipped] == [path(2)]
            assert store.oldest_slot() is None
            inode.live[bit // 8] ^= 1 << bit % 8

    asyncio.run(main())


def test_torn_at_any_byte_or_grown_is_damage() -> None:
    async def main() -> None:
        disk = MemoryDisk()
        await make(await SnapshotStore.open(disk), 2, [b"abc", b"d" * 40])
        inode = disk.names[path(2)]
        whole = bytes(inode.live)
        for torn in [whole[:end] for end in range(len(whole))] + [whole + b"\0", whole[:100] + whole]:
            inode.live[:] = torn
            with pytest.raises(DamageError):
                await (await SnapshotStore.open(disk)).latest()

    asyncio.run(main())


def test_chunks_of_another_life_of_the_same_slot_do_not_mix() -> None:
    async def main() -> None:
        disk = MemoryDisk()
        store = await SnapshotStore.open(disk)
        await make(store, 2, [b"old!", b"same"])
        old = bytes(disk.names[path(2)].live)
        await make(store, 2, [b"new!", b"same"])
        inode = disk.names[path(2)]
        frame = snapshots.HEADER_BYTES + 4
        inode.live[:frame] = old[:frame]
        with pytest.raises(DamageError, match="footer"):
            await (await SnapshotStore.open(disk)).latest()

    asyncio.run(main())


def test_a_snapshot_under_another_name_is_damage() -> None:
    async def main() -> None:
        disk = MemoryDisk()
        await make(await SnapshotStore.open(disk), 2)
        await disk.rename(path(2), path(3))
        with pytest.raises(DamageError, match="belongs to slot 2"):
            await (await SnapshotStore.open(disk)).latest()

    asyncio.run(main())


def test_rot_after_verification_is_found_when_it_is_read() -> None:
    async def main() -> None:
        disk = MemoryDisk()
        store = await SnapshotStore.open(disk)
        await make(store, 2)
        reader = await store.latest()
        assert reader is not None
        disk.names[path(2)].live[-200] ^= 1
        with pytest.raises(DamageError):
            await contents(reader)

    asyncio.run(main())


def test_an_unreadable_sector_is_damage() -> None:
    async def main() -> None:
        disk = MemoryDisk()
        store = await SnapshotStore.open(disk)
        await make(store, 1)
        await make(store, 2)
        disk.names[path(2)].is_bad = True
        reader = await store.latest()
        assert reader is not None and reader.slot == 1 and len(reader.skipped) == 1
        disk.names[path(1)].is_bad = True
        with pytest.raises(DamageError):
            await (await SnapshotStore.open(disk)).latest()

    asyncio.run(main())
