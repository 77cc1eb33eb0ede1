"""The journal: the write-ahead log of one node's acceptor (hard state and entries), over the Disk port.

1. `persist` is one batch: one write and one fdatasync. When it completes, that batch and all before it are durable.
2. One batch is in flight at a time (safety rule 7): the caller waits for one `persist` before the next, and the journal's own
   batches (opening mark, seal, floor) take turns with it. So a crash tears at most the last batch; see `recovery.py`.
3. A batch never spans two segments. Segments are preallocated with zeros and synced, their names too, before use. A full one
   is sealed, by a batch of its own, once its successor exists. Each opens with the hard state, so that older ones can go.
4. A segment is removed only after a durable record (the floor) says that it may be missing; oldest first, each removal synced.
5. A failed or abandoned write ends the journal: no retry, no later success is believed (safety rule; fsyncgate).
6. Double fault: a crash plus rot of exactly the last acknowledged batch looks like a torn tail and is cut. `close` and every
   start write a mark after it, so this needs an unclean stop and rot before the next start.

The bytes are described in `records.py`. Must not know what payloads mean.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Final

from loggos.base.errors import DamageError, LoggosError, OutOfSpaceError, StorageError
from loggos.base.ids import Slot
from loggos.base.limits import FIRST_SEGMENT_BYTES, JOURNAL_SECTOR_BYTES, SEGMENT_BYTES
from loggos.base.ports import Disk, File
from loggos.consensus.types import Entry, HardState
from loggos.storage import files, records
from loggos.storage.recovery import Found, Recovery, Segment, segment_path

DIRECTORY: Final = "journal"
_ZEROS: Final = bytes(JOURNAL_SECTOR_BYTES)
_SEAL_ROOM_BYTES: Final = records.next_sector(records.SEAL_BATCH_BYTES)


class _Done:
    """An awaitable that is done: for what needs no disk."""

    __slots__ = ()

    def __await__(self) -> Generator[None, None, None]:
        return
        yield


_DONE: Final = _Done()


class Journal:
    """Made by `open_journal`. All methods are called from one event loop."""

    def __init__(
        self,
        disk: Disk,
        found: Found,
        *,
        segment_bytes: int = SEGMENT_BYTES,
        directory: str = DIRECTORY,
        clock: Callable[[], float] | None = None,
        observe_sync: Callable[[float], None] | None = None,
    ) -> None:
        assert (clock is None) == (observe_sync is None), "the observer needs a clock"
        self.disk = disk
        self.directory = directory
        self.bytes_written = found.record_bytes  # of records, without zeros: those found at the start and those written since
        self._segment_bytes = segment_bytes
        self._clock = clock
        self._observe_sync = observe_sync
        self._segments = list(found.segments)  # oldest first; the last is the current one
        self._blank = found.blank  # the next one, prepared
        self._file: File | None = None  # of the current segment; None: it takes no more batches
        self._is_sealed = found.is_sealed
        self._position = records.next_sector(found.end)
        self._batch = found.next_batch
        self._hard_state = found.hard_state
        self._promised_written = found.hard_state.promised  # in the newest batch begun
        self._is_hard_pending = True  # the hard state or the floor changed since it was last written
        self._floor = found.floor
        self._floor_durable = found.floor
        self._is_persisting = False
        self._turn: asyncio.Future[None] | None = None  # held from a batch's start to its end
        self._preparing: asyncio.Future[None] | None = None
        self._is_removing = False
        self._next_wanted = asyncio.Event()
        self._failure: str | None = None

    # --- what others see ---

    @property
    def bytes_held(self) -> int:
        """The size of all segment files."""
        held = sum([segment.size_bytes for segment in self._segments])
        return held + (self._blank.size_bytes if self._blank is not None else 0)

    @property
    def segments(self) -> int:
        """How many segments hold a batch."""
        return len(self._segments)

    @property
    def failure(self) -> str | None:
        """Why the journal refuses for good; None while it works."""
        return self._failure

    @property
    def wants_next(self) -> bool:
        """No segment is prepared: `prepare_next` would make one."""
        return self._blank is None

    # --- persisting ---

    async def start(self) -> None:
        """Take up the last segment and write the opening mark, unless the disk is full. Called once, by `open_journal`."""
        if not self._is_sealed:
            self._file = await self.disk.open(segment_path(self.directory, self._segments[-1].number))
        try:
            await self._own_batch()
        except OutOfSpaceError:
            if not self._segments:
                raise
        if self.wants_next:
            self._next_wanted.set()

    def persist(self, hard_state: HardState | None, entries: Sequence[Entry], *, sync: bool) -> Awaitable[None]:
        """Make the hard state (None: unchanged) and the entries durable, as one batch.

        The write starts at once where there is room; await the result before the next call. sync=False without entries and with
        an unchanged promise is a hint (`chosen`): it rides with the next batch. StorageError: the journal is finished.
        OutOfSpaceError: nothing was written, and the call may be made again.
        """
        self._refuse_if_failed()
        assert not self._is_persisting, "one batch in flight at a time"
        if hard_state is not None:
            self._note_hard_state(hard_state)
        is_hint = not sync and not entries and self._hard_state.promised == self._promised_written
        if is_hint or (not entries and not self._is_hard_pending):
            return _DONE
        self._is_persisting = True
        if self._turn is None and self._fits(records.entries_bytes(entries)):
            self._take_turn()
            return self._finish(self._begin(self._items(entries, opens=False), entries))
        return self._persist_in_turn(entries)

    def _note_hard_state(self, hard_state: HardState) -> None:
        assert hard_state.promised >= self._hard_state.promised, (hard_state, self._hard_state)
        if hard_state.chosen < self._hard_state.chosen:
            hard_state = hard_state._replace(chosen=self._hard_state.chosen)
        if hard_state != self._hard_state:
            self._hard_state, self._is_hard_pending = hard_state, True

    async def _finish(self, written: Awaitable[None]) -> None:
        try:
            await written
        finally:
            self._end_turn()
            self._is_persisting = False

    async def _persist_in_turn(self, entries: Sequence[Entry]) -> None:
        """The slow way: behind a batch of the journal's own, or into the next segment."""
        try:
            await self._in_turn(entries)
        finally:
            self._is_persisting = False

    async def _own_batch(self) -> None:
        """A batch of the journal's own, with the hard state and the floor. Waits for the batch in flight."""
        await self._in_turn((), is_mark=True)

    async def _in_turn(self, entries: Sequence[Entry], *, is_mark: bool = False) -> None:
        while self._turn is not None:
            await asyncio.wait((self._turn,))
        self._take_turn()
        try:
            self._is_hard_pending = self._is_hard_pending or is_mark
            await self._write(entries)
        finally:
            self._end_turn()

    async def _write(self, entries: Sequence[Entry]) -> None:
        """Write one batch, having the turn."""
        self._refuse_if_failed()
        if not entries and not self._is_hard_pending:
            return  # the batch that this one waited for has saved the hard state
        if self._fits(records.entries_bytes(entries)):
            await self._begin(self._items(entries, opens=False), entries)
            return
        segment, file = await self._next_segment(records.entries_bytes(entries))
        await self._seal(segment)
        self._blank = None
        self._segments.append(segment)
        self._file, self._is_sealed, self._position = file, False, 0
        self._next_wanted.set()
        await self._begin(self._items(entries, opens=True), entries)

    def _fits(self, size_bytes: int) -> bool:
        """Is there room for a batch with entries of this size, and for the seal after it?"""
        if self._is_sealed:
            return False
        end = records.next_sector(self._position + records.HARD_BYTES + size_bytes)
        return end + _SEAL_ROOM_BYTES <= self._segments[-1].size_bytes

    def _items(self, entries: Sequence[Entry], *, opens: bool) -> list[records.Item]:
        items = [records.entry_item(entry) for entry in entries]
        if opens:
            items.insert(0, records.opening_item(self._segments[-1].size_bytes, self._opening_hard_state(), self._floor))
        if self._is_hard_pending:
            items.insert(1 if opens else 0, records.hard_item(self._hard_state, self._floor))
        return items

    def _opening_hard_state(self) -> HardState:
        """What a segment opens with: what older segments say, so that they can be removed."""
        return self._hard_state

    def _begin(self, items: Sequence[records.Item], entries: Sequence[Entry]) -> Awaitable[None]:
        """Start the write of one batch; await what this gives."""
        assert self._file is not None and self._turn is not None and self._failure is None
        segment = self._segments[-1]
        chunks, size_bytes = records.encode_batch(segment.number, self._position, self._batch, items)
        assert self._position + size_bytes <= segment.size_bytes, (self._position, size_bytes, segment)
        for entry in entries:
            if entry.slot > segment.last_slot:
                segment.last_slot = entry.slot
        position, self._position = self._position, records.next_sector(self._position + size_bytes)
        chunks.append(_ZEROS[: self._position - position - size_bytes])  # whole sectors can go past the page cache
        self._batch += 1
        self.bytes_written += size_bytes
        if self._is_hard_pending:
            self._is_hard_pending, self._promised_written = False, self._hard_state.promised
        started = self._clock() if self._clock is not None else 0.0
        try:
            write = self._file.write_sync(position, chunks)
        except LoggosError as error:
            raise self._fail(error) from error
        return self._until_durable(write, started, self._floor)

    async def _until_durable(self, write: Awaitable[None], started: float, floor: int) -> None:
        is_durable = False
        try:
            await self._await_durable(write)
            is_durable = True
        except LoggosError as error:
            raise self._fail(error) from error
        finally:
            if not is_durable and self._failure is None:
                self._failure = "a write was abandoned"
        self._floor_durable = max(self._floor_durable, floor)
        if self._clock is not None and self._observe_sync is not None:
            self._observe_sync(self._clock() - started)

    async def _await_durable(self, write: Awaitable[None]) -> None:
        """Nothing is acknowledged before this returns."""
        await write

    def _fail(self, error: LoggosError) -> StorageError:
        self._failure = str(error)
        return StorageError(f"{self.directory}: a write failed, the node must stop: {error}")

    def _refuse_if_failed(self) -> None:
        if self._failure is not None:
            raise StorageError(f"{self.directory}: refused after an earlier failure: {self._failure}")

    # --- taking turns ---

    def _take_turn(self) -> None:
        assert self._turn is None
        self._turn = asyncio.get_running_loop().create_future()

    def _end_turn(self) -> None:
        assert self._turn is not None
        self._turn.set_result(None)
        self._turn = None

    # --- segments ---

    async def keep_prepared(self) -> None:
        """Prepare the next segment whenever there is none, for ever: the node spawns it once."""
        while True:
            await self._next_wanted.wait()
            self._next_wanted.clear()
            try:
                await self.prepare_next()
            except OutOfSpaceError:
                pass  # the persist that needs the segment tries again, and says so

    async def prepare_next(self) -> None:
        """Make the next segment, unless there is one: zeros, synced, its name synced. OutOfSpaceError leaves nothing behind."""
        while self._preparing is not None:
            await asyncio.wait((self._preparing,))
        if self._blank is not None:
            return
        self._refuse_if_failed()
        self._preparing = asyncio.get_running_loop().create_future()
        try:
            if self._segments:
                self._blank = await self._make_segment(self._segments[-1].number + 1, self._segment_bytes)
            else:
                self._blank = await self._make_segment(1, min(self._segment_bytes, FIRST_SEGMENT_BYTES))
        finally:
            self._preparing.set_result(None)
            self._preparing = None

    async def _make_segment(self, number: int, size_bytes: int) -> Segment:
        path = segment_path(self.directory, number)
        is_left_over = path.rpartition("/")[2] in await self.disk.list(self.directory)  # of an abandoned attempt
        file = await self.disk.open(path, create=not is_left_over)
        try:
            await files.fill_with_zeros(file, 0, size_bytes)
            await file.sync()
        except OutOfSpaceError:
            await self._remove_segment(number)
            raise
        finally:
            await file.close()
        await self._sync_directory()
        return Segment(number, size_bytes)

    async def _remove_segment(self, number: int) -> None:
        await self.disk.remove(segment_path(self.directory, number))
        await self._sync_directory()

    async def _sync_directory(self) -> None:
        """Make the names of segments durable."""
        await self.disk.sync_dir(self.directory)

    async def _next_segment(self, size_bytes: int) -> tuple[Segment, File]:
        """The next segment, taken; grown where a single batch needs more than a whole one."""
        await self.prepare_next()
        segment = self._blank
        assert segment is not None and not segment.last_slot
        first_bytes = records.OPENING_BYTES + records.HARD_BYTES + size_bytes
        needed_bytes = records.next_sector(first_bytes) + _SEAL_ROOM_BYTES
        file = await self.disk.open(segment_path(self.directory, segment.number))
        if needed_bytes > segment.size_bytes:
            await self._grow(segment, file, needed_bytes)
        return segment, file

    async def _grow(self, segment: Segment, file: File, size_bytes: int) -> None:
        """More zeros for the blank segment. OutOfSpaceError: it gives its space back, unless a seal says that it exists."""
        try:
            await files.fill_with_zeros(file, segment.size_bytes, size_bytes)
            await file.sync()
        except OutOfSpaceError:
            await file.close()
            if not self._is_sealed:
                await self._remove_segment(segment.number)
                self._blank = None
            raise
        segment.size_bytes = size_bytes

    async def _seal(self, successor: Segment) -> None:
        """End the current segment, now that its successor exists."""
        if self._is_sealed:
            return
        await self._begin([records.seal_item(successor.number, successor.size_bytes)], ())
        self._is_sealed = True
        assert self._file is not None
        await self._file.close()
        self._file = None

    async def remove_before(self, slot: Slot) -> None:
        """Remove the segments of which a snapshot covers all: whole ones, oldest first, whose entries all have slots <= `slot`.
        Never the current one. Safe beside `persist`."""
        keep = 0
        while keep < len(self._segments) - 1 and self._segments[keep].last_slot <= slot:
            keep += 1
        if keep == 0 or self._is_removing:
            return
        self._is_removing = True
        try:
            await self._make_floor_durable(self._segments[keep].number)
            for _ in range(keep):
                await self._remove_segment(self._segments[0].number)
                self._segments.pop(0)
        finally:
            self._is_removing = False

    async def _make_floor_durable(self, floor: int) -> None:
        """Record that segments below `floor` may be missing: in the batch that comes next, or in one of its own."""
        self._floor = max(self._floor, floor)
        self._is_hard_pending = True
        while self._floor_durable < floor:
            if self._turn is None:
                await self._own_batch()
            else:
                await asyncio.wait((self._turn,))

    async def close(self) -> None:
        """Write the closing mark (so that rot of the last batch is not taken for a torn tail) and let go of the file."""
        if self._failure is None:
            try:
                await self._own_batch()
            except OutOfSpaceError:
                pass  # without a mark then
        self._failure = self._failure or "it was closed"  # before anybody has the turn again
        file, self._file = self._file, None
        if file is not None:
            await file.close()


@dataclass(frozen=True, slots=True)
class Recovered:
    """What `open_journal` gives. `entries`: the latest of each slot, in no order; slots may be missing."""

    journal: Journal
    hard_state: HardState
    entries: dict[Slot, Entry]
    cut_bytes: int  # of a torn tail, never acknowledged
    is_fresh: bool  # no batch was found: a first start, or a journal that was lost


async def open_journal(
    disk: Disk,
    *,
    segment_bytes: int = SEGMENT_BYTES,
    must_exist: bool = False,
    clock: Callable[[], float] | None = None,
    observe_sync: Callable[[float], None] | None = None,
    journal_type: type[Journal] = Journal,
    recovery_type: type[Recovery] = Recovery,
) -> Recovered:
    """Recover the journal and take it up. `clock` (in seconds) and `observe_sync` (given the seconds of each) go together.

    `must_exist`: one was begun here before, so its absence is damage.
    DamageError: something a torn tail cannot explain; nothing was changed. ConfigError: of a newer version. Else StorageError or
    OutOfSpaceError.
    """
    assert segment_bytes >= 8 * _SEAL_ROOM_BYTES, segment_bytes
    await files.make_directory(disk, DIRECTORY)
    recovery = recovery_type(disk, DIRECTORY, segment_bytes)
    found = await recovery.scan()
    if must_exist and found.is_fresh:
        raise DamageError(DIRECTORY, 0, "the journal that was here is gone")
    await recovery.repair()
    journal = journal_type(disk, found, segment_bytes=segment_bytes, clock=clock, observe_sync=observe_sync)
    is_fresh = found.is_fresh
    await journal.start()
    return Recovered(journal, found.hard_state, found.entries, found.cut_bytes, is_fresh)
