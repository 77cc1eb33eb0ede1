"""The journal's bytes: how records are framed, and how a batch of them is laid out.

    record   magic 4s, header crc u32, then what that covers: body crc u32, length u32, segment u64, offset u64, batch u64,
             batch bytes u32, kind u8, 3 zeros; then the body, `length` bytes
    OPENING  version u16, segment size u64, promised u64, chosen u64, floor u64     first record of every segment, nowhere else
    HARD     promised u64, chosen u64, floor u64
    ENTRY    slot u64, ballot u64, origin u64, kind u8, then the payload
    SEAL     next segment u64, its size u64                                         alone in its batch, the last of a segment

Integers are big-endian, checksums CRC-32C. The header's covers the record's own position, its batch, kind and length, and through
the body's checksum the body. So a header vouches for itself even where its body is torn, a record found at another place than it
states was misdirected, and a length is believed before the body is read. `batch bytes` is the size of all records of the batch
together: a batch is whole or not. Batches are numbered without gaps over all segments; each starts on a sector. `floor` is the
oldest segment that may not be missing. Bytes after the last batch of a segment are zeros.

Pure. Knows nothing of files. A payload is checksummed once and never copied.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Final, NamedTuple

from crc32c import crc32c

from loggos.base.ids import Ballot, Slot
from loggos.base.limits import JOURNAL_SECTOR_BYTES
from loggos.base.ports import Buffer
from loggos.consensus.types import Entry, HardState, Kind

FORMAT_VERSION: Final = 1
MAGIC: Final = b"LgJ\xc1"

OPENING: Final = 1
HARD: Final = 2
ENTRY: Final = 3
SEAL: Final = 4

_START: Final = struct.Struct(">4sI")
_REST: Final = struct.Struct(">IIQQQIB3x")
HEADER_BYTES: Final = _START.size + _REST.size
_OPENING_BODY: Final = struct.Struct(">HQQQQ")
_HARD_BODY: Final = struct.Struct(">QQQ")
_ENTRY_BODY: Final = struct.Struct(">QQQB")
_SEAL_BODY: Final = struct.Struct(">QQ")
SEAL_BATCH_BYTES: Final = HEADER_BYTES + _SEAL_BODY.size
OPENING_BYTES: Final = HEADER_BYTES + _OPENING_BODY.size
HARD_BYTES: Final = HEADER_BYTES + _HARD_BODY.size
ENTRY_BYTES: Final = HEADER_BYTES + _ENTRY_BODY.size  # without the payload


class Item(NamedTuple):
    """One record to be written. Its body is `fixed` followed by `payload`."""

    kind: int
    fixed: bytes
    payload: Buffer = b""


class Header(NamedTuple):
    """A record's header whose checksum held."""

    body_crc: int
    length: int
    segment: int
    offset: int
    batch: int
    batch_bytes: int
    kind: int


class MalformedError(ValueError):
    """A body whose checksum holds but which is no body of its kind."""


def next_sector(offset: int) -> int:
    """Where a batch may start, at or after `offset`."""
    return -(-offset // JOURNAL_SECTOR_BYTES) * JOURNAL_SECTOR_BYTES


def opening_item(segment_bytes: int, hard_state: HardState, floor: int) -> Item:
    return Item(OPENING, _OPENING_BODY.pack(FORMAT_VERSION, segment_bytes, hard_state.promised, hard_state.chosen, floor))


def hard_item(hard_state: HardState, floor: int) -> Item:
    return Item(HARD, _HARD_BODY.pack(hard_state.promised, hard_state.chosen, floor))


def entry_item(entry: Entry) -> Item:
    slot, ballot, origin, kind, payload = entry
    return Item(ENTRY, _ENTRY_BODY.pack(slot, ballot, origin, kind), payload)


def seal_item(next_segment: int, next_bytes: int) -> Item:
    return Item(SEAL, _SEAL_BODY.pack(next_segment, next_bytes))


def entries_bytes(entries: Sequence[Entry]) -> int:
    """The size of the records of these entries."""
    return len(entries) * ENTRY_BYTES + sum([len(entry.payload) for entry in entries])


def encode_batch(segment: int, offset: int, batch: int, items: Sequence[Item]) -> tuple[list[Buffer], int]:
    """The chunks of one batch, to be written one after another at `offset`, and their size in bytes."""
    assert items and offset % JOURNAL_SECTOR_BYTES == 0, (items, offset)
    batch_bytes = sum([HEADER_BYTES + len(fixed) + len(payload) for _, fixed, payload in items])
    chunks: list[Buffer] = []
    for kind, fixed, payload in items:
        body_crc = crc32c(payload, crc32c(fixed), 0)  # 0: keep the interpreter's lock, to get it back would take longer
        rest = _REST.pack(body_crc, len(fixed) + len(payload), segment, offset, batch, batch_bytes, kind)
        chunks.append(_START.pack(MAGIC, crc32c(rest)) + rest + fixed)
        if payload:
            chunks.append(payload)
        offset += HEADER_BYTES + len(fixed) + len(payload)
    return chunks, batch_bytes


def parse_header(data: Buffer, at: int) -> Header | None:
    """The header that starts at `at`, if its checksum holds. Whether it belongs there is for the caller to compare."""
    if len(data) - at < HEADER_BYTES:
        return None
    magic, header_crc = _START.unpack_from(data, at)
    if magic != MAGIC:
        return None
    rest = memoryview(data)[at + _START.size : at + HEADER_BYTES]
    if crc32c(rest) != header_crc:
        return None
    return Header._make(_REST.unpack(rest))


def decode_opening(body: memoryview) -> tuple[int, int, HardState, int]:
    """Format version, size of the segment, hard state, floor. Of a newer format only the version is known."""
    if len(body) < 2:
        raise MalformedError("an opening record without a version")
    version = int.from_bytes(body[:2], "big")
    if version > FORMAT_VERSION:
        return version, 0, HardState(Ballot(0), Slot(0)), 0
    if len(body) != _OPENING_BODY.size:
        raise MalformedError("an opening record of the wrong size")
    _, size_bytes, promised, chosen, floor = _OPENING_BODY.unpack(body)
    return version, size_bytes, HardState(Ballot(promised), Slot(chosen)), floor


def decode_hard(body: memoryview) -> tuple[HardState, int]:
    """Hard state and floor."""
    if len(body) != _HARD_BODY.size:
        raise MalformedError("a hard state of the wrong size")
    promised, chosen, floor = _HARD_BODY.unpack(body)
    return HardState(Ballot(promised), Slot(chosen)), floor


def decode_entry(body: memoryview) -> Entry:
    if len(body) < _ENTRY_BODY.size:
        raise MalformedError("an entry of the wrong size")
    slot, ballot, origin, kind = _ENTRY_BODY.unpack_from(body)
    try:
        return Entry(Slot(slot), Ballot(ballot), Ballot(origin), Kind(kind), bytes(body[_ENTRY_BODY.size :]))
    except ValueError as error:
        raise MalformedError(f"an entry of unknown kind {kind}") from error


def decode_seal(body: memoryview) -> tuple[int, int]:
    """The number of the next segment, and its size when this one was sealed."""
    if len(body) != _SEAL_BODY.size:
        raise MalformedError("a seal of the wrong size")
    next_segment, next_bytes = _SEAL_BODY.unpack(body)
    return next_segment, next_bytes
