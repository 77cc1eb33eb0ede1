"""What recovery makes of crashes and of damage: nothing acknowledged is lost in silence, whatever byte goes wrong."""

from __future__ import annotations

import asyncio
import itertools
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loggos.base.errors import ConfigError, DamageError, StorageError
from loggos.base.ids import Ballot, Slot
from loggos.consensus.types import Entry, HardState, Kind
from loggos.storage import records
from loggos.storage.journal import DIRECTORY, Journal, open_journal
from loggos.storage.recovery import Found, Recovery, segment_path
from tests.storage.histories import SEGMENT_BYTES, Batch, History, Model
from tests.storage.memory_disk import SECTOR_BYTES, MemoryDisk, PowerCut

State = tuple[HardState, dict[Slot, Entry]]


def state_of(found: Found) -> State:
    return found.hard_state, found.entries


def scan(disk: MemoryDisk) -> Found:
    """Recovery's judgement, without a change on disk."""
    task = Recovery(disk, DIRECTORY, SEGMENT_BYTES).scan()
    try:
        task.send(None)  # the memory disk never waits
    except StopIteration as stop:
        found = stop.value
        assert isinstance(found, Found)
        return found
    raise AssertionError("the memory disk waited")


def outcome(disk: MemoryDisk) -> State | None:
    """The state found; None: damage was reported."""
    try:
        return state_of(scan(disk))
    except DamageError:
        return None


def entry(slot: int, size_bytes: int) -> Entry:
    return Entry(Slot(slot), Ballot(257), Ballot(257), Kind.DATA, bytes([slot]) * size_bytes)


async def journal_of(batches: int, size_bytes: int, *, is_closed: bool = False) -> tuple[MemoryDisk, list[State]]:
    """A disk with a journal, and the states it went through, oldest first."""
    disk = MemoryDisk()
    journal = (await open_journal(disk, segment_bytes=SEGMENT_BYTES)).journal
    states = [outcome(disk)]
    for slot in range(1, batches + 1):
        entries = [entry(slot, size_bytes), entry(slot + 1, size_bytes)]
        await journal.persist(HardState(Ballot(257 + slot), Slot(slot - 1)), entries, sync=True)
        states.append(outcome(disk))
    if is_closed:
        await journal.close()
    assert None not in states
    return disk, [state for state in states if state is not None]


def paths(disk: MemoryDisk) -> list[str]:
    return sorted([path for path in disk.names if path.startswith(DIRECTORY)])


@given(st.integers(0, 1 << 32))
def test_random_lives_with_crashes_keep_what_was_acknowledged(seed: int) -> None:
    asyncio.run(History(seed).run())


@given(st.integers(0, 1 << 32))
def test_a_crash_amid_persisting_preparing_and_removing_at_once(seed: int) -> None:
    """Three tasks interleave at every operation of the disk; the power goes at any of them."""
    random = Random(seed)
    disk, model = MemoryDisk(), Model()

    async def gate() -> None:
        for _ in range(random.randrange(3)):
            await asyncio.sleep(0)

    async def write(journal: Journal) -> None:
        for slot in range(1, 60):
            model.hinted = slot
            model.in_flight = Batch(257 + slot, slot, [entry(slot, random.choice((10, 700, 700, 6000)))])
            await journal.persist(HardState(Ballot(257 + slot), Slot(slot)), model.in_flight.entries, sync=True)
            model.take(model.in_flight)
            model.in_flight = None

    async def remove(journal: Journal) -> None:
        while True:
            model.removed = max(model.removed, len(model.entries) - random.randrange(8))
            await journal.remove_before(Slot(model.removed))
            await asyncio.sleep(0)

    async def life() -> None:
        journal = (await open_journal(disk, segment_bytes=SEGMENT_BYTES)).journal
        disk.gate, disk.cut_at = gate, random.randrange(400)
        tasks = [asyncio.ensure_future(work) for work in (write(journal), remove(journal), journal.keep_prepared())]
        _, rest = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in rest:
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        expected: tuple[type[BaseException], ...] = (PowerCut, asyncio.CancelledError)
        if any(isinstance(result, PowerCut) for result in results):
            expected += (StorageError,)  # who comes after the cut finds the journal refusing
        assert all(result is None or isinstance(result, expected) for result in results), results

    asyncio.run(life())
    disk.power_cut(random)
    found = asyncio.run(open_journal(disk, segment_bytes=SEGMENT_BYTES))
    model.check(found)


def test_the_histories_reach_the_rare_paths() -> None:
    tails = removals = 0
    for seed in range(60):
        history = History(seed)
        asyncio.run(history.run())
        tails, removals = tails + history.cuts_of_tails, removals + history.removals
    assert tails >= 5 and removals >= 5, (tails, removals)


def test_any_flipped_bit_is_damage_or_costs_at_most_the_last_batch() -> None:
    disk, states = asyncio.run(journal_of(4, 60))
    (path,) = paths(disk)
    live = disk.names[path].live
    lost = reported = 0
    for bit in range(8 * len(live)):
        live[bit // 8] ^= 1 << bit % 8
        after = outcome(disk)
        live[bit // 8] ^= 1 << bit % 8
        assert after in (None, states[-1], states[-2]), bit
        lost, reported = lost + (after == states[-2]), reported + (after is None)
    assert lost > 8 * 200 and reported > 8 * 600


def test_after_a_clean_stop_no_flipped_bit_costs_anything_in_silence() -> None:
    disk, states = asyncio.run(journal_of(4, 60, is_closed=True))
    (path,) = paths(disk)
    live = disk.names[path].live
    for byte in range(len(live)):
        live[byte] ^= 1 << byte % 8
        assert outcome(disk) in (None, states[-1]), byte
        live[byte] ^= 1 << byte % 8


def test_flipped_bits_in_many_segments() -> None:
    disk, states = asyncio.run(journal_of(8, 700))
    assert len(paths(disk)) >= 4
    for path in paths(disk):
        live = disk.names[path].live
        for byte in range(0, len(live), 3):
            live[byte] ^= 1 << byte % 8
            assert outcome(disk) in (None, states[-1], states[-2]), (path, byte)
            live[byte] ^= 1 << byte % 8


def test_a_sector_copied_elsewhere_is_damage_or_costs_at_most_the_last_batch() -> None:
    disk, states = asyncio.run(journal_of(6, 700))
    sectors = [(path, start) for path in paths(disk) for start in range(0, len(disk.names[path].live), SECTOR_BYTES)]
    for source, start in sectors:
        data = bytes(disk.names[source].live[start : start + SECTOR_BYTES])
        for target, at in sectors:
            live = disk.names[target].live
            before = bytes(live[at : at + SECTOR_BYTES])
            live[at : at + SECTOR_BYTES] = data
            assert outcome(disk) in (None, states[-1], states[-2]), (source, start, target, at)
            live[at : at + SECTOR_BYTES] = before


def test_a_lost_write_is_damage_unless_it_was_the_last() -> None:
    async def main() -> None:
        disk = MemoryDisk()
        journal = (await open_journal(disk, segment_bytes=SEGMENT_BYTES)).journal
        images = []
        for slot in range(1, 6):
            await journal.persist(None, [entry(slot, 60)], sync=True)
            images.append(bytes(disk.names[paths(disk)[0]].live))
        live = disk.names[paths(disk)[0]].live
        for before, after in itertools.pairwise(images[:-1]):
            changed = [at for at in range(len(after)) if before[at] != after[at]]
            image = bytearray(images[-1])
            image[changed[0] : changed[-1] + 1] = bytes(changed[-1] + 1 - changed[0])
            live[:] = image
            assert outcome(disk) is None

    asyncio.run(main())


def test_a_missing_segment_is_damage_wherever_it_was() -> None:
    async def main() -> None:
        disk, _ = await journal_of(8, 700)
        for path in paths(disk):
            twin = disk.copy()
            del twin.names[path]
            with pytest.raises(DamageError, match="missing"):
                scan(twin)
        found = await open_journal(disk, segment_bytes=SEGMENT_BYTES)
        await found.journal.remove_before(Slot(4))
        assert scan(disk).segments[0].number > 1
        del disk.names[paths(disk)[0]]
        with pytest.raises(DamageError, match="missing"):
            scan(disk)

    asyncio.run(main())


def test_a_prepared_segment_may_be_missing_or_half_made() -> None:
    async def main() -> None:
        for size_bytes in (0, 1000, SEGMENT_BYTES):
            disk, states = await journal_of(2, 60)
            journal = await open_journal(disk, segment_bytes=SEGMENT_BYTES)
            await journal.journal.prepare_next()
            path = paths(disk)[-1]
            del disk.names[path].live[size_bytes:]
            assert outcome(disk) == states[-1]
            found = await open_journal(disk, segment_bytes=SEGMENT_BYTES)
            assert (found.hard_state, found.entries) == states[-1] and not found.journal.wants_next
            assert disk.names[path].durable == bytes(SEGMENT_BYTES)
            del disk.names[path]
            assert outcome(disk) == states[-1]

    asyncio.run(main())


def test_a_crash_while_left_over_segments_are_cleared_away_is_no_damage() -> None:
    async def main(cut_at: int, seed: int) -> bool:
        disk, states = await journal_of(2, 60)
        number = len(paths(disk)) + 1
        for left_over in range(number, number + 4):
            await (await disk.open(segment_path(DIRECTORY, left_over), create=True)).write_sync(0, [bytes(100)])
        await disk.sync_dir(DIRECTORY)
        disk.cut_at, is_done = cut_at, False
        try:
            await open_journal(disk, segment_bytes=SEGMENT_BYTES)
            is_done = True
        except PowerCut:
            pass
        disk.power_cut(Random(seed))
        assert outcome(disk) == states[-1]
        return is_done

    for seed in range(10):
        cut_at = 0
        while not asyncio.run(main(cut_at, seed)):
            cut_at += 1


def test_a_segment_whose_name_was_not_yet_durable_is_made_so_before_use() -> None:
    async def main() -> None:
        disk, _ = await journal_of(1, 60)
        journal = (await open_journal(disk, segment_bytes=SEGMENT_BYTES)).journal
        disk.cut_at = 3  # after create, write and sync, before the directory's sync
        with pytest.raises(PowerCut):
            await journal.prepare_next()
        disk.cut_at = None  # only the process died
        found = await open_journal(disk, segment_bytes=SEGMENT_BYTES)
        assert not found.journal.wants_next
        await found.journal.persist(None, [entry(7, 3000)], sync=True)
        disk.power_cut(None)
        assert scan(disk).entries[Slot(7)] == entry(7, 3000)

    asyncio.run(main())


def test_swapped_segments_and_foreign_names_are_damage() -> None:
    disk, _ = asyncio.run(journal_of(8, 700))
    first, *_, before_last, last = paths(disk)
    for one, other in ((first, last), (before_last, last), (first, before_last)):
        twin = disk.copy()
        twin.names[one], twin.names[other] = twin.names[other], twin.names[one]
        assert outcome(twin) is None, (one, other)
    for name in ("1.log", "0000000000000001.log.bak", "000000000000000A.log", "0000000000000000.log"):
        twin = disk.copy()
        twin.names[f"{DIRECTORY}/{name}"] = twin.names[first]
        assert outcome(twin) is None, name
    disk.names[f"{DIRECTORY}/.nfs01"] = disk.names[first]
    assert outcome(disk) is not None


def test_a_segment_cut_short_is_damage() -> None:
    disk, _ = asyncio.run(journal_of(8, 700))
    for path in paths(disk):
        live = disk.names[path].live
        whole = bytes(live)
        for size_bytes in range(SECTOR_BYTES, len(whole), SECTOR_BYTES):
            del live[size_bytes:]
            assert outcome(disk) is None, (path, size_bytes)
            live[:] = whole


def test_an_unreadable_segment_is_damage() -> None:
    disk, _ = asyncio.run(journal_of(8, 700))
    for path in paths(disk):
        disk.names[path].is_bad = True
        with pytest.raises(DamageError, match="cannot be read"):
            scan(disk)
        disk.names[path].is_bad = False


def test_damage_changes_nothing_on_disk() -> None:
    async def main() -> None:
        disk, _ = await journal_of(8, 700)
        disk.names[paths(disk)[0]].live[300] ^= 1
        before = {path: bytes(inode.live) for path, inode in disk.names.items()}
        with pytest.raises(DamageError) as caught:
            await open_journal(disk, segment_bytes=SEGMENT_BYTES)
        assert caught.value.path == paths(disk)[0] and caught.value.offset <= 300
        assert {path: bytes(inode.live) for path, inode in disk.names.items()} == before

    asyncio.run(main())


def test_a_torn_tail_is_zeroed_and_written_over() -> None:
    async def main() -> None:
        disk, states = await journal_of(3, 400)
        path = paths(disk)[0]
        end = scan(disk).end
        live = disk.names[path].live
        live[end - 10 : end] = bytes(10)
        found = await open_journal(disk, segment_bytes=SEGMENT_BYTES)
        assert (found.hard_state, found.entries) == states[-2] and found.cut_bytes > 400
        await found.journal.persist(HardState(Ballot(999), Slot(9)), [entry(9, 10)], sync=True)
        again = await open_journal(disk, segment_bytes=SEGMENT_BYTES)
        assert again.hard_state == HardState(Ballot(999), Slot(9)) and again.cut_bytes == 0
        assert again.entries == states[-2][1] | {Slot(9): entry(9, 10)}

    asyncio.run(main())


def test_a_stored_copy_of_a_journal_does_not_confuse_the_next() -> None:
    async def main() -> None:
        donor, _ = await journal_of(3, 100)
        payload = bytes(donor.names[paths(donor)[0]].live)
        disk = MemoryDisk()
        journal = (await open_journal(disk, segment_bytes=SEGMENT_BYTES)).journal
        await journal.persist(None, [entry(1, 10)], sync=True)
        before = outcome(disk)
        await journal.persist(None, [entry(2, 10)._replace(payload=payload)], sync=True)
        found = scan(disk)
        assert found.entries[Slot(2)].payload == payload
        disk.names[segment_path(DIRECTORY, 2)].live[found.end - 1] ^= 1
        assert outcome(disk) == before

    asyncio.run(main())


def test_a_journal_that_must_exist_and_does_not_is_damage() -> None:
    async def main() -> None:
        disk = MemoryDisk()
        with pytest.raises(DamageError, match="gone"):
            await open_journal(disk, segment_bytes=SEGMENT_BYTES, must_exist=True)
        await open_journal(disk, segment_bytes=SEGMENT_BYTES)
        await open_journal(disk, segment_bytes=SEGMENT_BYTES, must_exist=True)

    asyncio.run(main())


def test_a_newer_format_is_refused_and_untouched() -> None:
    disk, _ = asyncio.run(journal_of(1, 60))
    opening = records.Item(records.OPENING, b"\x00\x02whatever comes")
    chunks, _ = records.encode_batch(1, 0, 1, [opening])
    image = b"".join([bytes(chunk) for chunk in chunks])
    disk.names[paths(disk)[0]].live[: len(image)] = image
    with pytest.raises(ConfigError, match="newer than 1"):
        scan(disk)


@pytest.mark.parametrize(
    "items",
    [
        [records.Item(records.HARD, b"short")],
        [records.Item(records.ENTRY, b"short")],
        [records.Item(records.ENTRY, bytes(24) + b"\xff")],
        [records.Item(99, b"")],
        [records.seal_item(7, 0)],
        [records.hard_item(HardState(Ballot(1), Slot(1)), 1), records.seal_item(2, 0)],
        [records.opening_item(SEGMENT_BYTES, HardState(Ballot(1), Slot(1)), 1)],
    ],
)
def test_a_whole_batch_that_makes_no_sense_is_damage(items: list[records.Item]) -> None:
    disk, _ = asyncio.run(journal_of(1, 60))
    found = scan(disk)
    start = records.next_sector(found.end)
    chunks, size_bytes = records.encode_batch(1, start, found.next_batch, items)
    disk.names[paths(disk)[0]].live[start : start + size_bytes] = b"".join([bytes(chunk) for chunk in chunks])
    assert outcome(disk) is None
