"""The journal in ordinary use: what was persisted is there again, and the disk is used as the rules say."""

from __future__ import annotations

import asyncio

import pytest

from loggos.base.errors import OutOfSpaceError, StorageError
from loggos.base.ids import Ballot, Slot
from loggos.consensus.types import Entry, HardState, Kind
from loggos.storage.journal import Recovered, open_journal
from tests.storage.memory_disk import MemoryDisk

SEGMENT_BYTES = 8192


def entry(slot: int, ballot: int = 257, size_bytes: int = 100) -> Entry:
    payload = f"{slot}/{ballot};".encode().ljust(size_bytes, b"x")
    return Entry(Slot(slot), Ballot(ballot), Ballot(257), Kind.DATA, payload)


def state(promised: int, chosen: int = 0) -> HardState:
    return HardState(Ballot(promised), Slot(chosen))


async def reopen(disk: MemoryDisk) -> Recovered:
    return await open_journal(disk, segment_bytes=SEGMENT_BYTES)


def names(disk: MemoryDisk) -> list[str]:
    return sorted([path for path in disk.names if path.startswith("journal/")])


def test_a_fresh_journal_is_empty_and_says_so() -> None:
    async def main() -> None:
        disk = MemoryDisk()
        first = await reopen(disk)
        assert (first.hard_state, first.entries, first.is_fresh, first.cut_bytes) == (state(0), {}, True, 0)
        disk.power_cut(None)
        second = await reopen(disk)
        assert (second.hard_state, second.entries, second.is_fresh) == (state(0), {}, False)

    asyncio.run(main())


def test_what_was_persisted_survives_a_power_cut_latest_per_slot() -> None:
    async def main() -> None:
        disk = MemoryDisk()
        journal = (await reopen(disk)).journal
        await journal.persist(state(257), [entry(1), entry(2)], sync=True)
        await journal.persist(state(514, 1), [entry(2, 514)], sync=True)
        await journal.persist(None, [entry(3, 514, size_bytes=0)], sync=True)
        disk.power_cut(None)
        found = await reopen(disk)
        assert found.hard_state == state(514, 1)
        assert found.entries == {1: entry(1), 2: entry(2, 514), 3: entry(3, 514, size_bytes=0)}
        assert not found.is_fresh and found.cut_bytes == 0

    asyncio.run(main())


def test_one_batch_is_one_write_and_one_sync_of_one_file() -> None:
    async def main() -> None:
        disk = MemoryDisk()
        journal = (await reopen(disk)).journal
        disk.operations.clear()
        await journal.persist(state(257), [entry(1), entry(2)], sync=True)
        assert disk.operations == [("write", names(disk)[0]), ("sync", names(disk)[0])]

    asyncio.run(main())


def test_segments_roll_are_sealed_and_hold_everything() -> None:
    async def main() -> None:
        disk = MemoryDisk()
        journal = (await reopen(disk)).journal
        for slot in range(1, 61):
            await journal.persist(state(257, slot - 1), [entry(slot, size_bytes=700)], sync=True)
        assert journal.segments > 5 and journal.bytes_held >= journal.segments * SEGMENT_BYTES
        disk.power_cut(None)
        found = await reopen(disk)
        assert sorted(found.entries) == list(range(1, 61)) and found.hard_state == state(257, 59)

    asyncio.run(main())


def test_a_batch_larger_than_a_segment_gets_one_of_its_size() -> None:
    async def main() -> None:
        disk = MemoryDisk()
        journal = (await reopen(disk)).journal
        await journal.persist(None, [entry(1, size_bytes=5 * SEGMENT_BYTES)], sync=True)
        await journal.persist(None, [entry(2)], sync=True)
        disk.power_cut(None)
        found = await reopen(disk)
        assert found.entries == {1: entry(1, size_bytes=5 * SEGMENT_BYTES), 2: entry(2)}

    asyncio.run(main())


def test_hints_ride_with_the_next_batch() -> None:
    async def main() -> None:
        disk = MemoryDisk()
        journal = (await reopen(disk)).journal
        await journal.persist(state(257), [], sync=True)
        disk.operations.clear()
        await journal.persist(state(257, 7), [], sync=False)
        assert disk.operations == []
        await journal.persist(None, [entry(1)], sync=True)
        disk.power_cut(None)
        assert (await reopen(disk)).hard_state == state(257, 7)

    asyncio.run(main())


def test_a_promise_is_never_a_hint() -> None:
    async def main() -> None:
        disk = MemoryDisk()
        journal = (await reopen(disk)).journal
        await journal.persist(state(257), [], sync=False)
        disk.power_cut(None)
        assert (await reopen(disk)).hard_state == state(257)

    asyncio.run(main())


def test_two_batches_in_flight_are_refused() -> None:
    async def main() -> None:
        disk = MemoryDisk()
        journal = (await reopen(disk)).journal
        first = journal.persist(None, [entry(1)], sync=True)
        with pytest.raises(AssertionError):
            journal.persist(None, [entry(2)], sync=True)
        await first

    asyncio.run(main())


def test_old_segments_are_removed_and_the_hard_state_stays() -> None:
    async def main() -> None:
        disk = MemoryDisk()
        journal = (await reopen(disk)).journal
        await journal.persist(state(999), [], sync=True)
        for slot in range(1, 41):
            await journal.persist(None, [entry(slot, size_bytes=700)], sync=True)
        before = journal.segments
        await journal.remove_before(Slot(30))
        assert 1 < journal.segments < before
        disk.power_cut(None)
        found = await reopen(disk)
        assert found.hard_state == state(999)
        assert set(range(31, 41)) <= set(found.entries) and 1 not in found.entries
        await found.journal.remove_before(Slot(10_000))
        assert found.journal.segments == 1

    asyncio.run(main())


def test_removal_beside_persists_keeps_both() -> None:
    async def main() -> None:
        disk = MemoryDisk()

        async def gate() -> None:
            await asyncio.sleep(0)

        journal = (await reopen(disk)).journal
        disk.gate = gate

        async def write() -> None:
            for slot in range(1, 101):
                await journal.persist(state(257, slot), [entry(slot, size_bytes=700)], sync=True)

        async def remove() -> None:
            for slot in range(0, 100, 7):
                await journal.remove_before(Slot(slot))
                await asyncio.sleep(0)

        preparing = asyncio.ensure_future(journal.keep_prepared())
        await asyncio.gather(write(), remove())
        await journal.remove_before(Slot(50))
        preparing.cancel()
        disk.power_cut(None)
        found = await reopen(disk)
        assert found.hard_state == state(257, 100) and set(range(51, 101)) <= set(found.entries)

    asyncio.run(main())


def test_nothing_is_removed_before_a_later_batch_says_that_it_may_be_missing() -> None:
    async def main() -> None:
        disk = MemoryDisk()
        journal = (await reopen(disk)).journal
        for slot in range(1, 21):
            await journal.persist(None, [entry(slot, size_bytes=700)], sync=True)
        may_sync = asyncio.Event()

        async def gate() -> None:
            await may_sync.wait()

        disk.gate = gate
        writing = asyncio.ensure_future(journal.persist(None, [entry(21)], sync=True))
        await asyncio.sleep(0)
        removing = asyncio.ensure_future(journal.remove_before(Slot(20)))
        await asyncio.sleep(0)
        disk.operations.clear()  # the write of slot 21 is in flight, and knows nothing of the removal
        may_sync.set()
        await asyncio.gather(writing, removing)
        assert [what for what, _ in disk.operations[:4]] == ["sync", "write", "sync", "remove"]

    asyncio.run(main())


def test_a_prepared_segment_keeps_the_hot_path_free_of_file_creation() -> None:
    async def main() -> None:
        disk = MemoryDisk()
        journal = (await reopen(disk)).journal
        await journal.prepare_next()
        disk.operations.clear()
        while journal.segments == 1:
            await journal.persist(None, [entry(1, size_bytes=1500)], sync=True)
        assert {what for what, _ in disk.operations} == {"write", "sync"}
        assert journal.wants_next

    asyncio.run(main())


def test_an_io_error_ends_the_journal_for_good() -> None:
    async def main(fail_at: int) -> None:
        disk = MemoryDisk()
        journal = (await reopen(disk)).journal
        await journal.persist(None, [entry(1)], sync=True)
        disk.fail_at = fail_at
        with pytest.raises(StorageError):
            await journal.persist(None, [entry(2)], sync=True)
        for _ in range(2):
            with pytest.raises(StorageError):
                await journal.persist(None, [entry(3)], sync=True)
            with pytest.raises(StorageError):
                await journal.prepare_next()
        await journal.close()
        disk.power_cut(None)
        assert 1 in (await reopen(disk)).entries

    asyncio.run(main(0))
    asyncio.run(main(1))


def test_an_abandoned_write_ends_the_journal() -> None:
    async def main() -> None:
        disk = MemoryDisk()
        journal = (await reopen(disk)).journal
        disk.gate = lambda: asyncio.sleep(3600)
        writing = asyncio.ensure_future(journal.persist(None, [entry(1)], sync=True))
        await asyncio.sleep(0)
        writing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await writing
        with pytest.raises(StorageError):
            await journal.persist(None, [entry(1)], sync=True)

    asyncio.run(main())


def test_a_full_disk_refuses_the_batch_and_can_be_freed() -> None:
    async def main(size_bytes: int, spare: int) -> None:
        disk = MemoryDisk()
        journal = (await reopen(disk)).journal
        disk.free = spare
        done = 0
        with pytest.raises(OutOfSpaceError):
            for slot in range(1, 100):
                await journal.persist(state(257 + slot), [entry(slot, size_bytes=size_bytes)], sync=True)
                done = slot
        assert disk.free == spare
        disk.free = 1 << 30
        await journal.persist(state(9999), [entry(done + 1, size_bytes=50)], sync=True)
        disk.power_cut(None)
        found = await reopen(disk)
        assert sorted(found.entries) == list(range(1, done + 2)) and found.hard_state == state(9999)

    asyncio.run(main(1500, 100))
    asyncio.run(main(3 * SEGMENT_BYTES, SEGMENT_BYTES + 100))


def test_close_writes_a_mark_and_the_journal_opens_again() -> None:
    async def main() -> None:
        disk = MemoryDisk()
        journal = (await reopen(disk)).journal
        await journal.persist(state(257), [entry(1)], sync=True)
        await journal.persist(state(257, 1), [], sync=False)
        await journal.close()
        with pytest.raises(StorageError):
            await journal.persist(None, [entry(2)], sync=True)
        assert (await reopen(disk)).hard_state == state(257, 1)

    asyncio.run(main())


def test_sync_latency_is_observed() -> None:
    async def main() -> None:
        ticks = iter(range(100))
        seen: list[float] = []
        clock = lambda: float(next(ticks))
        found = await open_journal(MemoryDisk(), segment_bytes=SEGMENT_BYTES, clock=clock, observe_sync=seen.append)
        await found.journal.persist(None, [entry(1)], sync=True)
        assert seen == [1.0, 1.0]

    asyncio.run(main())


def test_a_promise_that_met_a_full_disk_is_no_hint_when_it_comes_again() -> None:
    """It was noted, but not written: to call it durable now would let this node break it after a crash."""

    async def main() -> None:
        disk = MemoryDisk()
        journal = (await reopen(disk)).journal
        slot = 0
        while journal._fits(0):  # the next batch of any size needs a new segment
            slot += 1
            await journal.persist(state(257), [entry(slot)], sync=True)
        disk.free = 0
        for _ in range(2):
            with pytest.raises(OutOfSpaceError):
                await journal.persist(state(514), [], sync=False)
        disk.free = 1 << 40
        await journal.persist(state(514), [], sync=False)
        disk.power_cut(None)
        assert (await reopen(disk)).hard_state.promised == 514

    asyncio.run(main())
