"""The journal, its recovery and the files below, where one thing comes just before another: what a mutation run, or a test of
something else, showed to be held by none."""

from __future__ import annotations

import asyncio

import pytest

from loggos.base.errors import DamageError, OutOfSpaceError, StorageError
from loggos.base.ids import Slot
from loggos.base.limits import JOURNAL_SECTOR_BYTES
from loggos.storage import files, records
from loggos.storage.journal import DIRECTORY, open_journal
from loggos.storage.recovery import Found, Recovery, segment_path
from loggos.storage.snapshots import SnapshotStore
from tests.storage.memory_disk import MemoryDisk
from tests.storage.test_survivors import (
    SEGMENT_BYTES,
    CountingDisk,
    SlowToClose,
    begun,
    entry,
    in_flight,
    state,
    with_many_segments,
)


def test_what_is_left_of_a_torn_batch_does_not_lie_behind_the_batches_that_follow() -> None:
    """A record in it may be valid, of a batch number that is given anew."""

    async def main() -> None:
        disk = MemoryDisk()
        journal = await begun(disk)
        await journal.persist(state(257), [entry(1)], sync=True)
        await journal.persist(None, [entry(slot, 700) for slot in range(2, 7)], sync=True)
        live = disk.names[segment_path(DIRECTORY, 1)].live
        before = (await Recovery(disk, DIRECTORY, SEGMENT_BYTES).scan()).end
        live[before - 4 * 700 : before - 4 * 700 + 10] = bytes(10)
        found = await open_journal(disk, segment_bytes=SEGMENT_BYTES)
        assert found.entries == {Slot(1): entry(1)} and found.cut_bytes > 4 * 700
        disk.power_cut(None)
        for slot in (2, 3):
            again = await open_journal(disk, segment_bytes=SEGMENT_BYTES)
            assert again.cut_bytes == 0
            await again.journal.persist(None, [entry(slot)], sync=True)
        assert (await open_journal(disk, segment_bytes=SEGMENT_BYTES)).entries == {Slot(slot): entry(slot) for slot in (1, 2, 3)}

    asyncio.run(main())


def test_the_first_segment_of_all_begins_with_the_first_batch() -> None:
    """Only of a later one is it unknown which batch it begins with."""

    async def main(number: int, batch: int) -> bool:
        disk = MemoryDisk()
        await disk.make_directory(DIRECTORY)
        items = [records.opening_item(SEGMENT_BYTES, state(257), number)]
        chunks, _ = records.encode_batch(number, 0, batch, items)
        file = await disk.open(segment_path(DIRECTORY, number), create=True)
        await file.write_sync(0, [bytes(SEGMENT_BYTES)])
        await file.write_sync(0, chunks)
        return not (await Recovery(disk, DIRECTORY, SEGMENT_BYTES).scan()).is_fresh

    due = Found().next_batch
    assert asyncio.run(main(1, due)) and asyncio.run(main(2, due + 5))
    with pytest.raises(DamageError, match="batch"):
        asyncio.run(main(1, due + 5))


def test_who_waits_behind_the_closing_mark_is_refused() -> None:
    async def main() -> None:
        disk = SlowToClose()
        journal = await begun(disk)
        may_go_on = in_flight(disk)
        closing = asyncio.ensure_future(journal.close())
        await asyncio.sleep(0)
        late = asyncio.ensure_future(journal.persist(None, [entry(1)], sync=True))
        await asyncio.sleep(0)
        disk.may_close.clear()
        may_go_on.set()
        with pytest.raises(StorageError, match="it was closed"):
            await late
        disk.may_close.set()
        await closing

    asyncio.run(main())


def test_zeros_go_exactly_where_they_should() -> None:
    async def main() -> None:
        disk = MemoryDisk()
        file = await disk.open("f", create=True)
        await file.write(0, [b"x" * 1000])
        await files.fill_with_zeros(file, 300, 700)
        assert await file.read(0, 2000) == b"x" * 300 + bytes(400) + b"x" * 300

    asyncio.run(main())


def test_a_new_file_for_which_there_is_no_room_is_gone_again() -> None:
    async def main() -> None:
        disk = CountingDisk()
        disk.free = 10
        with pytest.raises(OutOfSpaceError):
            await files.write_new(disk, "f", b"x" * 100)
        assert not disk.names and disk.open_files == 0

    asyncio.run(main())


def test_a_first_journal_for_which_there_is_no_room_does_not_begin() -> None:
    async def main() -> None:
        disk = MemoryDisk()
        disk.free = SEGMENT_BYTES // 2
        with pytest.raises(OutOfSpaceError):
            await begun(disk)
        disk.free = 10 * SEGMENT_BYTES
        await (await begun(disk)).persist(state(257), [entry(1)], sync=True)

    asyncio.run(main())


def test_a_journal_taken_up_again_prepares_its_next_segment_without_being_asked_to_write() -> None:
    async def main() -> None:
        disk = MemoryDisk()
        await begun(disk)
        journal = await begun(disk)
        assert journal.wants_next
        preparing = asyncio.ensure_future(journal.keep_prepared())
        for _ in range(100):
            await asyncio.sleep(0)
        preparing.cancel()
        assert not journal.wants_next

    asyncio.run(main())


def test_an_older_snapshot_published_later_is_not_taken_for_the_newest() -> None:
    async def main() -> None:
        store = await SnapshotStore.open(MemoryDisk())
        older, newer = await store.begin(Slot(3)), await store.begin(Slot(5))
        await newer.commit(b"five")
        await older.commit(b"three")
        latest = await store.latest()
        assert latest is not None and latest.meta == b"five" and store.oldest_slot() == 3

    asyncio.run(main())


def test_a_hard_state_that_another_batch_saves_first_needs_none_of_its_own() -> None:
    """It has to go into the next segment, and before its turn comes the journal writes a batch for itself."""

    async def main(filled: int) -> None:
        disk = MemoryDisk()
        journal = await with_many_segments(disk)
        for promised in range(filled):
            await journal.persist(state(257 + promised), [], sync=True)
        persisting = journal.persist(state(999), [], sync=True)
        removing = asyncio.ensure_future(journal.remove_before(Slot(20)))
        await asyncio.sleep(0)
        await persisting
        await removing
        disk.power_cut(None)
        assert (await open_journal(disk, segment_bytes=SEGMENT_BYTES)).hard_state == state(999)

    for filled in range(SEGMENT_BYTES // JOURNAL_SECTOR_BYTES):
        asyncio.run(main(filled))
