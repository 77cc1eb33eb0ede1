"""What a journal holds after a start: a scan of all segments, and the cut of a torn tail (safety rule 7).

1. One batch is in flight to the disk at a time, so a crash can tear only the last one. A batch that is not whole is cut only if
   no valid record of another batch follows it, in its segment or a later one. Anything else is DamageError and changes nothing.
2. A batch is taken whole or not at all. The cut writes zeros over it and syncs them before anything new is written there.
3. What was read may be in the page cache only: the last segment and the directory are synced before the node believes them. The
   journal then writes a batch of its own, so that later rot of what was acknowledged never looks like a torn tail.
4. A crash plus rot of exactly the last acknowledged batch is a double fault: it looks like a torn tail, and is cut.
5. Segments are numbered without gaps. The oldest may be missing only below the `floor` that a durable record states; a sealed
   segment has a successor. Segments after the last batch are preallocated ones: where half made, they are made again.

Must not know what entries mean. Scanning works on bytes; only `scan` and `repair` touch the disk.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from crc32c import crc32c

from loggos.base.errors import ConfigError, DamageError
from loggos.base.ids import NO_BALLOT, Slot
from loggos.base.ports import Disk
from loggos.consensus.types import Entry, HardState
from loggos.storage import files, records

_SEGMENT_NAME: Final = re.compile(r"[0-9a-f]{16}\.log")

NO_SLOT: Final = Slot(0)
NO_HARD_STATE: Final = HardState(NO_BALLOT, NO_SLOT)


@dataclass(slots=True)
class Segment:
    """One file of the journal."""

    number: int
    size_bytes: int
    last_slot: Slot = NO_SLOT  # the highest slot among its entries; 0: none


@dataclass(slots=True)
class Found:
    """The result of recovery."""

    hard_state: HardState = NO_HARD_STATE
    entries: dict[Slot, Entry] = field(default_factory=dict)  # the latest of each slot
    segments: list[Segment] = field(default_factory=list)  # those that hold a batch, oldest first
    blank: Segment | None = None  # the next one, all zeros
    floor: int = 1
    next_batch: int = 1
    end: int = 0  # where the last batch of the last segment ends
    is_sealed: bool = True  # the last segment takes no more batches, or there is none
    cut_bytes: int = 0  # of a torn tail
    record_bytes: int = 0  # of all batches held

    @property
    def is_fresh(self) -> bool:
        """No batch was found: this journal never held anything, or its directory was lost."""
        return not self.segments


def segment_path(directory: str, number: int) -> str:
    return f"{directory}/{number:016x}.log"


class Recovery:
    """One recovery of one journal directory."""

    def __init__(self, disk: Disk, directory: str, segment_bytes: int) -> None:
        self.disk = disk
        self.directory = directory
        self.segment_bytes = segment_bytes
        self.found = Found()
        self._ended = False  # the last whole batch has been read
        self._torn: tuple[int, int, int] | None = None  # segment, start, end of the bytes after the last whole batch
        self._latest = NO_SLOT  # of the entry taken last
        self._successor_bytes = 0  # the size that the segment after the last seal must have
        self._blanks: list[tuple[Segment, bool]] = []  # without a batch; True: whole and all zeros
        self._take: dict[int, Callable[[Segment, memoryview], None]] = {
            records.OPENING: self._take_opening,
            records.HARD: self._take_hard,
            records.ENTRY: self._take_entry,
            records.SEAL: self._take_seal,
        }

    async def scan(self) -> Found:
        """Read and judge; changes nothing. DamageError."""
        numbers = self._segment_numbers(await self.disk.list(self.directory))
        for number in numbers:
            path = segment_path(self.directory, number)
            self._read_segment(number, path, await files.read_whole(self.disk, path))
        self._check_ends(numbers)
        return self.found

    def _segment_numbers(self, names: list[str]) -> list[int]:
        names = [name for name in names if not name.startswith(".")]
        for name in names:
            if not _SEGMENT_NAME.fullmatch(name):
                raise DamageError(f"{self.directory}/{name}", 0, "not the name of a segment")
        numbers = [int(name[:16], 16) for name in names]  # ascending: the Disk port lists names sorted
        for before, number in itertools.pairwise(numbers):
            if number != before + 1:
                raise DamageError(segment_path(self.directory, before + 1), 0, "the segment is missing")
        if numbers and numbers[0] == 0:
            raise DamageError(segment_path(self.directory, 0), 0, "segments are numbered from 1")
        return numbers

    def _read_segment(self, number: int, path: str, data: bytes) -> None:
        """Take the segment's batches; judge what lies after them."""
        if self._ended:
            self.refuse_later(number, path, data, 0, None)
            self._add_blank(number, data)
            return
        was_sealed, self.found.is_sealed = self.found.is_sealed, False
        segment = Segment(number, len(data))
        end = self._take_batches(segment, path, data)
        if self.found.is_sealed:
            if not files.is_zero(data, end):
                raise DamageError(path, end, "bytes after the segment's seal")
            return
        self._ended = True
        self.refuse_later(number, path, data, end, self.found.next_batch)
        if end == 0:
            self.found.is_sealed = was_sealed
            self._add_blank(number, data)
            self.found.cut_bytes += files.last_byte_set(data)
        elif not files.is_zero(data, end):
            self._torn = (number, end, files.last_byte_set(data))
            self.found.cut_bytes += self._torn[2] - end

    def _add_blank(self, number: int, data: bytes) -> None:
        is_ready = len(data) >= self.segment_bytes and files.is_zero(data)
        self._blanks.append((Segment(number, len(data)), is_ready))

    def _take_batches(self, segment: Segment, path: str, data: bytes) -> int:
        """Take whole batches from the segment's start on; gives where the last of them ends."""
        end = 0
        view = memoryview(data)
        while not self.found.is_sealed:
            start = records.next_sector(end)
            batch = self._whole_batch(segment.number, view, start)
            if not batch:
                break
            if not files.is_zero(data[end:start]):
                raise DamageError(path, end, "bytes between two batches")
            if start == 0:
                self.found.segments.append(segment)
            self._take_batch(segment, path, view, batch)
            end = start + batch[0].batch_bytes
            self.found.record_bytes += batch[0].batch_bytes
            self.found.next_batch = batch[0].batch + 1
            self.found.end = end
        return end

    def _whole_batch(self, number: int, view: memoryview, start: int) -> list[records.Header]:
        """The headers of the batch at `start`; none if it is not whole, or not the one that is due."""
        first = records.parse_header(view, start)
        if first is None or (first.batch != self.found.next_batch and not (self._is_oldest() and number > 1)):
            return []
        headers = []
        offset, end = start, start + first.batch_bytes
        while offset < end:
            header = records.parse_header(view, offset)
            if header is None or header[2:6] != (number, offset, first.batch, first.batch_bytes):
                return []
            body_start = offset + records.HEADER_BYTES
            offset = body_start + header.length
            if offset > min(end, len(view)) or not self.body_is_whole(header, view[body_start:offset]):
                return []
            headers.append(header)
        return headers

    def _is_oldest(self) -> bool:
        return not self.found.segments

    def body_is_whole(self, header: records.Header, body: memoryview) -> bool:
        """Are the bytes those that were written?"""
        return crc32c(body) == header.body_crc

    def refuse_later(self, number: int, path: str, data: bytes, end: int, torn_batch: int | None) -> None:
        """After the last whole batch lies at most a wreck, of `torn_batch`. DamageError for a valid record of any other."""
        at = data.find(records.MAGIC, end)
        while at >= 0:
            header = records.parse_header(data, at)
            step = 1
            if header is not None:
                if (header.segment, header.offset) != (number, at):
                    raise DamageError(path, at, f"a record that belongs to segment {header.segment}, byte {header.offset}")
                if header.batch != torn_batch:
                    raise DamageError(path, end, f"a valid record of batch {header.batch} follows at byte {at}")
                step = records.HEADER_BYTES + header.length
            at = data.find(records.MAGIC, at + step)

    # --- the records of a whole batch ---

    def _take_batch(self, segment: Segment, path: str, view: memoryview, batch: list[records.Header]) -> None:
        opens, seals = batch[0].kind == records.OPENING, batch[0].kind == records.SEAL
        for position, header in enumerate(batch):
            take = self._take.get(header.kind)
            is_misplaced = (header.kind == records.OPENING) != (header.offset == 0) or (position > 0 and seals)
            if take is None or is_misplaced or (position > 0 and header.kind in (records.OPENING, records.SEAL)):
                raise DamageError(path, header.offset, f"a record of kind {header.kind} where none may be")
            start = header.offset + records.HEADER_BYTES
            try:
                take(segment, view[start : start + header.length])
            except records.MalformedError as error:
                raise DamageError(path, header.offset, str(error)) from error
            if header.kind == records.ENTRY:
                segment.last_slot = max(segment.last_slot, self._latest)
        assert opens == (batch[0].offset == 0)

    def _take_opening(self, segment: Segment, body: memoryview) -> None:
        version, size_bytes, hard_state, floor = records.decode_opening(body)
        if version > records.FORMAT_VERSION:
            known = records.FORMAT_VERSION
            raise ConfigError(f"{self.directory} was written in format {version}, newer than {known}: use the newer Loggos")
        if size_bytes > segment.size_bytes:
            raise records.MalformedError(f"the file has {segment.size_bytes} bytes, and was made with {size_bytes}")
        self._set_hard_state(hard_state, floor)

    def _take_hard(self, _segment: Segment, body: memoryview) -> None:
        self._set_hard_state(*records.decode_hard(body))

    def _set_hard_state(self, hard_state: HardState, floor: int) -> None:
        self.found.hard_state, self.found.floor = hard_state, floor

    def _take_entry(self, _segment: Segment, body: memoryview) -> None:
        entry = records.decode_entry(body)
        self.found.entries[entry.slot] = entry
        self._latest = entry.slot

    def _take_seal(self, segment: Segment, body: memoryview) -> None:
        next_segment, self._successor_bytes = records.decode_seal(body)
        if next_segment != segment.number + 1:
            raise records.MalformedError("a seal that names another segment than the next")
        self.found.is_sealed = True

    # --- the judgement over all segments, and the repair ---

    def _check_ends(self, numbers: list[int]) -> None:
        """Nothing may be missing before the oldest segment or after the newest."""
        found = self.found
        if found.is_fresh:
            if numbers and numbers[0] != 1:
                raise DamageError(segment_path(self.directory, numbers[0]), 0, "the oldest segment has no valid opening")
            return
        if numbers[0] > found.floor:
            raise DamageError(segment_path(self.directory, found.floor), 0, "the segment is missing")
        if found.is_sealed and not self._blanks:
            raise DamageError(segment_path(self.directory, numbers[-1] + 1), 0, "the segment is missing")
        if found.is_sealed and self._blanks[0][0].size_bytes < self._successor_bytes:
            segment = self._blanks[0][0]
            raise DamageError(segment_path(self.directory, segment.number), segment.size_bytes, "the file ends here")

    async def repair(self) -> None:
        """Cut the torn tail, make the next segment blank again, and let nothing that was read be less than durable."""
        if self._torn is not None:
            number, start, end = self._torn
            await self._rewrite(number, start, end)
        elif self.found.segments:
            await self._rewrite(self.found.segments[-1].number, 0, 0)
        for segment, _ in reversed(self._blanks[1:]):
            await self.disk.remove(segment_path(self.directory, segment.number))
            await self.disk.sync_dir(self.directory)
        if self._blanks:
            segment, is_ready = self._blanks[0]
            segment.size_bytes = max(segment.size_bytes, self.segment_bytes)
            await self._rewrite(segment.number, 0, 0 if is_ready else segment.size_bytes)
            self.found.blank = segment
        await self.disk.sync_dir(self.directory)

    async def _rewrite(self, number: int, start: int, end: int) -> None:
        """Zeros over [start, end), and a sync in any case."""
        file = await self.disk.open(segment_path(self.directory, number))
        try:
            await files.fill_with_zeros(file, start, end)
            await file.sync()
        finally:
            await file.close()
