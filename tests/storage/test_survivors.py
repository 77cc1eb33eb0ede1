"""What a mutation run found that no other test would have noticed: one test per gap, named after what would go wrong."""

from __future__ import annotations

import asyncio

import pytest
from crc32c import crc32c

from loggos.base.errors import ConfigError, DamageError, OutOfSpaceError, StorageError
from loggos.base.ids import Ballot, Incarnation, NodeId, Slot
from loggos.base.limits import SNAPSHOT_SYNC_BYTES
from loggos.consensus.types import Entry, HardState, Kind
from loggos.storage import files, identity, records, snapshots
from loggos.storage.journal import DIRECTORY, Journal, open_journal
from loggos.storage.recovery import Recovery, segment_path
from loggos.storage.snapshots import SnapshotStore, snapshot_path
from tests.storage.memory_disk import MemoryDisk, MemoryFile

SEGMENT_BYTES = 8192


def entry(slot: int, size_bytes: int = 100) -> Entry:
    return Entry(Slot(slot), Ballot(257), Ballot(257), Kind.DATA, b"x" * size_bytes)


def state(promised: int, chosen: int = 0) -> HardState:
    return HardState(Ballot(promised), Slot(chosen))


async def begun(disk: MemoryDisk) -> Journal:
    return (await open_journal(disk, segment_bytes=SEGMENT_BYTES)).journal


async def with_many_segments(disk: MemoryDisk) -> Journal:
    journal = await begun(disk)
    for slot in range(1, 21):
        await journal.persist(None, [entry(slot, 700)], sync=True)
    return journal


class CountingDisk(MemoryDisk):
    """Knows how many of its files are open."""

    def __init__(self) -> None:
        super().__init__()
        self.open_files = 0

    async def open(self, path: str, *, create: bool = False) -> MemoryFile:
        found = await super().open(path, create=create)
        self.open_files += 1
        return CountedFile(self, found.path, found.inode)


class CountedFile(MemoryFile):
    async def close(self) -> None:
        assert isinstance(self.disk, CountingDisk)
        self.disk.open_files -= 1


def test_every_file_is_closed_again() -> None:
    async def main() -> None:
        disk = CountingDisk()
        await identity.write(disk, identity.Identity(cell="c", node=NodeId(1), incarnation=Incarnation(1), voters=[1]))
        assert await identity.load(disk) is not None and disk.open_files == 0
        journal = await with_many_segments(disk)
        assert journal.segments > 2 and disk.open_files == 1, "the current segment"
        await journal.prepare_next()
        assert disk.open_files == 1
        await journal.close()
        assert disk.open_files == 0
        await (await begun(disk)).close()
        assert disk.open_files == 0
        store = await SnapshotStore.open(disk)
        writer = await store.begin(Slot(3))
        await writer.add(b"chunk")
        await writer.commit(b"")
        aborted = await store.begin(Slot(4))
        await aborted.abort()
        reader = await store.latest()
        assert reader is not None and [chunk async for chunk in reader.chunks()] == [b"chunk"] and disk.open_files == 0

    asyncio.run(main())


def test_a_torn_tail_ends_at_its_last_byte_that_is_not_zero() -> None:
    for last in (b"?", b"\1", b"\xff"):
        assert files.last_byte_set(b"a" + last + bytes(9)) == 2
    assert files.last_byte_set(bytes(9)) == 0


def test_what_is_set_aside_is_durable_in_its_new_place_before_it_is_gone_from_the_old() -> None:
    async def main() -> None:
        disk = MemoryDisk()
        await (await with_many_segments(disk)).close()
        ours = identity.Identity(cell="c", node=NodeId(1), incarnation=Incarnation(1), voters=[1])
        disk.operations.clear()
        await identity.set_aside_damaged(disk, ours)
        synced = [path for what, path in disk.operations if what == "sync_dir"]
        assert synced.index("damaged-1/journal") < synced.index("journal")

    asyncio.run(main())


def in_flight(disk: MemoryDisk) -> asyncio.Event:
    """From now on the disk answers nothing until the event is set."""
    may_go_on = asyncio.Event()

    async def gate() -> None:
        await may_go_on.wait()

    disk.gate = gate
    return may_go_on


def test_closing_waits_for_the_batch_in_flight() -> None:
    async def main() -> None:
        disk = MemoryDisk()
        journal = await begun(disk)
        may_go_on = in_flight(disk)
        writing = asyncio.ensure_future(journal.persist(state(257), [entry(1)], sync=True))
        closing = asyncio.ensure_future(journal.close())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert not closing.done()
        may_go_on.set()
        await asyncio.gather(writing, closing)
        disk.power_cut(None)
        found = await open_journal(disk, segment_bytes=SEGMENT_BYTES)
        assert found.hard_state == state(257) and found.entries == {Slot(1): entry(1)}

    asyncio.run(main())


def test_a_promise_that_waited_for_a_batch_of_the_journals_own_is_durable() -> None:
    async def main() -> None:
        disk = MemoryDisk()
        journal = await with_many_segments(disk)
        may_go_on = in_flight(disk)
        removing = asyncio.ensure_future(journal.remove_before(Slot(20)))
        for _ in range(3):
            await asyncio.sleep(0)
        persisting = asyncio.ensure_future(journal.persist(state(999), [], sync=True))
        await asyncio.sleep(0)
        assert not persisting.done()
        may_go_on.set()
        await asyncio.gather(removing, persisting)
        disk.power_cut(None)
        assert (await open_journal(disk, segment_bytes=SEGMENT_BYTES)).hard_state == state(999)

    asyncio.run(main())


def test_a_disk_full_while_a_segment_grows_gives_it_back_and_the_journal_goes_on() -> None:
    async def main() -> None:
        disk = MemoryDisk()
        journal = await begun(disk)
        await journal.prepare_next()
        disk.free = SEGMENT_BYTES
        with pytest.raises(OutOfSpaceError):
            await journal.persist(None, [entry(1, 5 * SEGMENT_BYTES)], sync=True)
        assert disk.free == 2 * SEGMENT_BYTES and journal.wants_next
        disk.free = 1 << 30
        await journal.persist(None, [entry(1, 5 * SEGMENT_BYTES)], sync=True)
        disk.power_cut(None)
        assert (await open_journal(disk, segment_bytes=SEGMENT_BYTES)).entries == {Slot(1): entry(1, 5 * SEGMENT_BYTES)}

    asyncio.run(main())


def test_a_seal_that_names_a_segment_other_than_the_next_is_damage() -> None:
    """Also where the next segment is there, so that nothing is missing."""

    async def main(named: int) -> None:
        disk = MemoryDisk()
        journal = await begun(disk)
        await journal.prepare_next()
        found = await Recovery(disk, DIRECTORY, SEGMENT_BYTES).scan()
        start = records.next_sector(found.end)
        chunks, _ = records.encode_batch(1, start, found.next_batch, [records.seal_item(named, SEGMENT_BYTES)])
        await (await disk.open(segment_path(DIRECTORY, 1))).write_sync(start, chunks)
        scanned = await Recovery(disk, DIRECTORY, SEGMENT_BYTES).scan()
        assert scanned.is_sealed

    asyncio.run(main(2))
    for named in (1, 3):
        with pytest.raises(DamageError, match="another segment"):
            asyncio.run(main(named))


def frame(body: bytes, offset: int, number: int, kind: int) -> bytes:
    """One frame of a snapshot at slot 7, by the description of the format."""
    rest = (
        crc32c(body).to_bytes(4, "big")
        + len(body).to_bytes(4, "big")
        + (7).to_bytes(8, "big")
        + offset.to_bytes(8, "big")
        + number.to_bytes(4, "big")
        + bytes((kind, 0, 0, 0))
    )
    return b"LgS\xc1" + crc32c(rest).to_bytes(4, "big") + rest + body


def test_the_bytes_of_a_snapshot_are_pinned() -> None:
    """A change of the format must be meant, and raise FORMAT_VERSION."""

    async def main() -> None:
        disk = MemoryDisk()
        writer = await (await SnapshotStore.open(disk)).begin(Slot(7))
        await writer.add(b"one")
        await writer.add(b"three")
        await writer.commit(b"meta")
        crc = crc32c(crc32c(b"three").to_bytes(4, "big"), crc32c(crc32c(b"one").to_bytes(4, "big")))
        footer = bytes.fromhex("0001 00000002 0000000000000008") + crc.to_bytes(4, "big") + b"meta"
        image = frame(b"one", 0, 0, 1) + frame(b"three", 43, 1, 1) + frame(footer, 88, 2, 2)
        assert bytes(disk.names["snapshots/0000000000000007.snap"].live) == image

    asyncio.run(main())


def test_a_snapshot_in_the_making_is_synced_now_and_then_and_not_at_every_chunk() -> None:
    async def main() -> None:
        disk = MemoryDisk()
        writer = await (await SnapshotStore.open(disk)).begin(Slot(7))
        disk.operations.clear()
        syncs = []
        for _ in range(4):
            await writer.add(bytes(SNAPSHOT_SYNC_BYTES // 2))
            syncs.append([what for what, _ in disk.operations].count("sync"))
        assert syncs == [0, 1, 1, 2]
        await writer.commit(b"")
        assert snapshot_path(7) in disk.names

    asyncio.run(main())


def test_a_footer_too_short_to_be_one_is_damage_even_with_a_good_checksum() -> None:
    async def main() -> None:
        disk = MemoryDisk()
        store = await SnapshotStore.open(disk)
        await store.latest()
        file = await disk.open(snapshot_path(7), create=True)
        await file.write_sync(0, [frame(b"\0\1", 0, 0, 2)])
        with pytest.raises(DamageError, match="footer"):
            await (await SnapshotStore.open(disk)).latest()

    asyncio.run(main())


def test_the_next_segment_is_prepared_as_soon_as_one_is_taken() -> None:
    async def main() -> None:
        disk = MemoryDisk()
        journal = await begun(disk)
        preparing = asyncio.ensure_future(journal.keep_prepared())
        for rolled in range(1, 4):
            while journal.segments == rolled:
                await journal.persist(None, [entry(1, 1500)], sync=True)
            for _ in range(20):
                await asyncio.sleep(0)
            assert not journal.wants_next, rolled
        preparing.cancel()

    asyncio.run(main())


def test_the_journal_knows_how_much_was_written_and_found() -> None:
    """A snapshot is made after so many bytes."""

    async def main() -> None:
        disk = MemoryDisk()
        journal = await begun(disk)
        before = journal.bytes_written
        await journal.persist(None, [entry(1), entry(2)], sync=True)
        assert journal.bytes_written - before == 2 * (records.ENTRY_BYTES + 100)
        again = await begun(disk)
        assert again.bytes_written == journal.bytes_written + records.HARD_BYTES, "and the opening mark"

    asyncio.run(main())


def test_a_file_that_could_not_grow_is_closed() -> None:
    async def main() -> None:
        disk = CountingDisk()
        journal = await begun(disk)
        disk.free = SEGMENT_BYTES
        with pytest.raises(OutOfSpaceError):
            await journal.persist(None, [entry(1, 5 * SEGMENT_BYTES)], sync=True)
        assert disk.open_files == 1, "the current segment"

    asyncio.run(main())


class SlowToClose(MemoryDisk):
    """Its files hang while they are closed, as long as the event is not set."""

    def __init__(self) -> None:
        super().__init__()
        self.may_close = asyncio.Event()
        self.may_close.set()

    async def open(self, path: str, *, create: bool = False) -> MemoryFile:
        found = await super().open(path, create=create)
        return SlowFile(self, found.path, found.inode)


class SlowFile(MemoryFile):
    async def close(self) -> None:
        assert isinstance(self.disk, SlowToClose)
        await self.disk.may_close.wait()


def test_nothing_is_written_after_a_seal_whose_persist_was_given_up() -> None:
    async def main() -> None:
        disk = SlowToClose()
        journal = await begun(disk)
        await journal.persist(None, [entry(1)], sync=True)
        await journal.prepare_next()
        disk.may_close.clear()
        rolling = asyncio.ensure_future(journal.persist(None, [entry(2, SEGMENT_BYTES)], sync=True))
        for _ in range(20):
            await asyncio.sleep(0)
        rolling.cancel()
        with pytest.raises(asyncio.CancelledError):
            await rolling
        disk.may_close.set()
        await journal.persist(None, [entry(3)], sync=True)
        disk.power_cut(None)
        found = await open_journal(disk, segment_bytes=SEGMENT_BYTES)
        assert found.entries == {Slot(1): entry(1), Slot(3): entry(3)}

    asyncio.run(main())


def test_two_removals_at_once_remove_each_segment_once() -> None:
    async def main() -> None:
        disk = MemoryDisk()
        journal = await with_many_segments(disk)
        before = journal.segments

        async def gate() -> None:
            await asyncio.sleep(0)

        disk.gate = gate
        disk.operations.clear()
        await asyncio.gather(journal.remove_before(Slot(15)), journal.remove_before(Slot(15)))
        removed = [path for what, path in disk.operations if what == "remove"]
        assert removed == sorted(set(removed)) and len(removed) == before - journal.segments > 1
        disk.power_cut(None)
        found = await open_journal(disk, segment_bytes=SEGMENT_BYTES)
        assert set(range(16, 21)) <= set(found.entries)

    asyncio.run(main())


def test_the_checksum_of_an_identity_is_that_of_its_text_without_it() -> None:
    async def main() -> None:
        disk = MemoryDisk()
        await identity.write(
            disk, identity.Identity(cell="c", node=NodeId(1), incarnation=Incarnation(2), voters=[1, 2], founding=9)
        )
        text = (
            b'{"cell":"c","node":1,"incarnation":2,"voters":[1,2],"has_journal":false,"is_lost":false,"founding":9,"format":2,'
            b'"checksum":%d}'
        )
        assert bytes(disk.names[identity.PATH].live) == text % crc32c(text % 0) + b"\n"

    asyncio.run(main())


def test_the_kinds_of_journal_records_are_pinned() -> None:
    made = {
        1: records.opening_item(SEGMENT_BYTES, state(1), 1),
        2: records.hard_item(state(1), 1),
        3: records.entry_item(entry(1)),
        4: records.seal_item(2, SEGMENT_BYTES),
    }
    for kind, item in made.items():
        chunks, _ = records.encode_batch(1, 0, 1, [item])
        assert bytes(chunks[0])[44:48] == bytes((kind, 0, 0, 0))


def test_a_fresh_journal_has_written_its_opening_and_no_more() -> None:
    async def main() -> None:
        assert (await begun(MemoryDisk())).bytes_written == records.OPENING_BYTES + records.HARD_BYTES

    asyncio.run(main())


def test_a_persist_that_waited_behind_a_write_that_failed_is_refused_with_its_reason() -> None:
    async def main() -> None:
        disk = MemoryDisk()
        journal = await with_many_segments(disk)
        may_go_on = in_flight(disk)
        removing = asyncio.ensure_future(journal.remove_before(Slot(20)))
        await asyncio.sleep(0)
        persisting = asyncio.ensure_future(journal.persist(None, [entry(21)], sync=True))
        await asyncio.sleep(0)
        disk.fail_at = 0
        may_go_on.set()
        done = await asyncio.gather(removing, persisting, return_exceptions=True)
        assert [type(error) for error in done] == [StorageError] * 2
        assert "input/output error" in str(journal.failure) and "input/output error" in str(done[1])

    asyncio.run(main())


def test_of_left_over_segments_only_the_next_is_kept() -> None:
    async def main() -> None:
        disk = MemoryDisk()
        await begun(disk)
        for number in (2, 3, 4):
            await (await disk.open(segment_path(DIRECTORY, number), create=True)).write_sync(0, [bytes(SEGMENT_BYTES)])
        await begun(disk)
        assert await disk.list(DIRECTORY) == [f"{number:016x}.log" for number in (1, 2)]

    asyncio.run(main())


async def snapshot(store: SnapshotStore, slot: int, meta: bytes) -> None:
    writer = await store.begin(Slot(slot))
    await writer.add(b"chunk")
    await writer.commit(meta)


def test_a_snapshot_made_again_at_its_slot_is_the_new_one() -> None:
    async def main() -> None:
        store = await SnapshotStore.open(MemoryDisk())
        for meta in (b"old", b"newer"):
            await snapshot(store, 7, meta)
            reader = await store.latest()
            assert reader is not None and reader.meta == meta

    asyncio.run(main())


def test_a_damaged_snapshot_that_is_gone_is_no_longer_told_of() -> None:
    async def main() -> None:
        disk = MemoryDisk()
        store = await SnapshotStore.open(disk)
        await snapshot(store, 1, b"")
        disk.names[snapshot_path(1)].live[0] ^= 1
        with pytest.raises(DamageError):
            await store.latest()
        assert list(store.damaged) == [1]
        for slot in (2, 3):
            await snapshot(store, slot, b"")
        assert store.damaged == {} and len(await disk.list("snapshots")) == 2

    asyncio.run(main())


def test_a_committed_snapshot_is_not_given_up_any_more() -> None:
    async def main() -> None:
        store = await SnapshotStore.open(MemoryDisk())
        writer = await store.begin(Slot(7))
        await writer.commit(b"")
        await writer.abort()
        reader = await store.latest()
        assert reader is not None and reader.slot == 7
        with pytest.raises(AssertionError, match="committed or given up"):
            await writer.add(b"late")

    asyncio.run(main())


def test_a_snapshot_of_a_newer_format_is_named_as_such() -> None:
    newer = snapshots._FOOTER_BODY.pack(snapshots.FORMAT_VERSION + 1, 0, 0, 0)
    with pytest.raises(ConfigError, match="newer"):
        snapshots._check_footer(newer, "snapshot", 0, (0, 0, 0))
