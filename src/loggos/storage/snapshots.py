"""Snapshots of the state machine: files of checksummed frames, that appear under their name whole and durable, or not at all.

    frame    magic 4s, header crc u32, then what that covers: body crc u32, length u32, slot u64, offset u64, number u32, kind u8,
             3 zeros; then the body, `length` bytes
    CHUNK    the caller's bytes
    FOOTER   version u16, chunks u32, bytes of all chunks u64, crc over all body crcs u32, then the caller's meta; ends the file

1. Written under a temporary name, synced, renamed to `snapshots/%016x.snap` (the slot), the directory synced: only then is it
   committed, and only then may older snapshots and journal segments go. What a crash left under a temporary name is removed.
2. A snapshot is read through and verified before it is handed out, and each frame again when it is used. If the newest is
   damaged the one before it serves, and says so; a damaged one is not counted among those kept.
3. SNAPSHOTS_KEPT are kept. `oldest_slot` is what the journal may forget: the oldest kept one's slot, once that many are kept.

Integers are big-endian, checksums CRC-32C. Must not know what chunks and meta hold.
"""

from __future__ import annotations

import re
import struct
from collections.abc import AsyncIterator
from typing import Final, NamedTuple, Self

from crc32c import crc32c

from loggos.base.errors import ConfigError, DamageError, OutOfSpaceError
from loggos.base.ids import Slot
from loggos.base.limits import SNAPSHOT_FRAME_BYTES_MAX, SNAPSHOT_SYNC_BYTES, SNAPSHOTS_KEPT
from loggos.base.ports import Buffer, Disk, File
from loggos.storage import files

DIRECTORY: Final = "snapshots"
FORMAT_VERSION: Final = 1
MAGIC: Final = b"LgS\xc1"
CHUNK: Final = 1
FOOTER: Final = 2

_START: Final = struct.Struct(">4sI")
_REST: Final = struct.Struct(">IIQQIB3x")
HEADER_BYTES: Final = _START.size + _REST.size
_FOOTER_BODY: Final = struct.Struct(">HIQI")
_CRC: Final = struct.Struct(">I")
_NAME: Final = re.compile(r"[0-9a-f]{16}\.snap")


class _Header(NamedTuple):
    body_crc: int
    length: int
    slot: int
    offset: int
    number: int
    kind: int


def snapshot_path(slot: int) -> str:
    return f"{DIRECTORY}/{slot:016x}.snap"


class SnapshotWriter:
    """One snapshot in the making, by `SnapshotStore.begin`. Ends with `commit` or `abort`; on a full disk it aborts by itself."""

    def __init__(self, store: SnapshotStore, slot: Slot, path: str, file: File) -> None:
        self.slot = slot
        self._store, self._path, self._file = store, path, file
        self._offset = self._unsynced = self._count = self._total_bytes = self._crc = 0
        self._is_open = True

    async def add(self, chunk: Buffer) -> None:
        """Append one chunk. OutOfSpaceError: the snapshot is given up, nothing is left of it."""
        body_crc = crc32c(chunk)
        self._crc = crc32c(_CRC.pack(body_crc), self._crc)
        await self._write(CHUNK, body_crc, chunk)
        self._count += 1
        self._total_bytes += len(chunk)

    async def commit(self, meta: bytes) -> None:
        """Make it durable under its name; then drop the snapshots that are no longer kept."""
        body = _FOOTER_BODY.pack(FORMAT_VERSION, self._count, self._total_bytes, self._crc) + meta
        await self._write(FOOTER, crc32c(body), body)
        await self._sync()
        self._is_open = False
        await self._file.close()
        await self._store.publish(self._path, self.slot)

    async def abort(self) -> None:
        """Leave nothing behind. Does nothing after `commit` or `abort`."""
        if self._is_open:
            self._is_open = False
            await self._file.close()
            await self._store.disk.remove(self._path)

    async def _write(self, kind: int, body_crc: int, body: Buffer) -> None:
        assert self._is_open, "the snapshot was committed or given up"
        assert len(body) <= SNAPSHOT_FRAME_BYTES_MAX, len(body)
        rest = _REST.pack(body_crc, len(body), self.slot, self._offset, self._count, kind)
        header = _START.pack(MAGIC, crc32c(rest)) + rest
        try:
            await self._file.write(self._offset, [header, body])
            self._offset += HEADER_BYTES + len(body)
            self._unsynced += HEADER_BYTES + len(body)
            if self._unsynced >= SNAPSHOT_SYNC_BYTES:
                await self._sync()
        except OutOfSpaceError:
            await self.abort()
            raise

    async def _sync(self) -> None:
        try:
            await self._file.sync()
        except OutOfSpaceError:
            await self.abort()
            raise
        self._unsynced = 0


class SnapshotReader:
    """One verified snapshot."""

    def __init__(self, disk: Disk, slot: Slot, meta: bytes, size_bytes: int, skipped: tuple[DamageError, ...]) -> None:
        self.slot = slot
        self.meta = meta
        self.size_bytes = size_bytes
        self.skipped = skipped  # newer snapshots that are damaged
        self._disk = disk

    async def chunks(self) -> AsyncIterator[bytes]:
        """The chunks in order, verified once more as they are read."""
        file = await self._disk.open(snapshot_path(self.slot))
        try:
            async for header, body in _frames(file, self.slot):
                if header.kind == CHUNK:
                    yield body
        finally:
            await file.close()


async def _frames(file: File, slot: Slot) -> AsyncIterator[tuple[_Header, bytes]]:
    """All frames of a file, each verified, the footer last. DamageError."""
    size_bytes = await file.size()
    offset = number = total_bytes = crc = 0
    head = await files.read_exactly(file, 0, HEADER_BYTES)
    while True:
        header = _parse_header(head, file.path, slot, offset, number)
        start = offset + HEADER_BYTES
        offset = start + header.length
        if offset > size_bytes:
            raise DamageError(file.path, start, "the file ends inside a frame")
        ahead = HEADER_BYTES if header.kind == CHUNK else 0
        data = await files.read_exactly(file, start, header.length + ahead)
        body, head = data[: header.length], data[header.length :]
        if crc32c(body) != header.body_crc:
            raise DamageError(file.path, start, "a frame's checksum does not match")
        if header.kind == FOOTER:
            _check_footer(body, file.path, start, (number, total_bytes, crc))
            if offset != size_bytes:
                raise DamageError(file.path, offset, "bytes after the footer")
            yield header, body
            return
        yield header, body
        number, total_bytes, crc = number + 1, total_bytes + len(body), crc32c(_CRC.pack(header.body_crc), crc)


def _parse_header(data: bytes, path: str, slot: Slot, offset: int, number: int) -> _Header:
    magic, header_crc = _START.unpack_from(data)
    rest = memoryview(data)[_START.size :]
    if magic != MAGIC or crc32c(rest) != header_crc:
        raise DamageError(path, offset, "no valid frame")
    header = _Header._make(_REST.unpack(rest))
    if (header.slot, header.offset, header.number) != (slot, offset, number):
        raise DamageError(path, offset, f"a frame that belongs to slot {header.slot}, byte {header.offset}")
    if header.kind not in (CHUNK, FOOTER) or header.length > SNAPSHOT_FRAME_BYTES_MAX:
        raise DamageError(path, offset, f"a frame of kind {header.kind} with {header.length} bytes")
    return header


def _check_footer(body: bytes, path: str, offset: int, expected: tuple[int, int, int]) -> None:
    """Does the footer speak of what was read: number of chunks, their bytes, their checksums?"""
    if len(body) < _FOOTER_BODY.size:
        raise DamageError(path, offset, "a footer of the wrong size")
    version, count, total_bytes, crc = _FOOTER_BODY.unpack_from(body)
    if version > FORMAT_VERSION:
        raise ConfigError(f"{path} was written in format {version}, newer than {FORMAT_VERSION}: use the newer Loggos")
    if (count, total_bytes, crc) != expected:
        raise DamageError(path, offset, "the footer does not match the chunks")


class SnapshotStore:
    """The snapshots of one node. `await SnapshotStore.open(disk)`."""

    def __init__(self, disk: Disk, *, kept: int = SNAPSHOTS_KEPT) -> None:
        assert kept > 0, kept
        self.disk = disk
        self.damaged: dict[int, DamageError] = {}  # slots of snapshots that failed verification
        self._kept = kept
        self._slots: list[int] = []  # of all stored snapshots, ascending
        self._verified: dict[int, tuple[bytes, int]] = {}  # slot to meta and size
        self._begun = 0

    @classmethod
    async def open(cls, disk: Disk, *, kept: int = SNAPSHOTS_KEPT) -> Self:
        """See what there is, and remove what a crash left half-written."""
        store = cls(disk, kept=kept)
        await files.make_directory(disk, DIRECTORY)
        for name in await disk.list(DIRECTORY):
            if name.endswith(".tmp"):
                await disk.remove(f"{DIRECTORY}/{name}")
            elif _NAME.fullmatch(name):
                store._slots.append(int(name[:16], 16))
        store._slots.sort()
        await store._sync_directory()
        return store

    async def begin(self, slot: Slot) -> SnapshotWriter:
        """Start a snapshot of the state at `slot`: made here, or received from a peer."""
        self._begun += 1
        path = f"{DIRECTORY}/{slot:016x}.{self._begun}.tmp"
        return SnapshotWriter(self, slot, path, await self.disk.open(path, create=True))

    async def latest(self) -> SnapshotReader | None:
        """The newest sound snapshot; None if there is none at all. DamageError: there are some, and none is sound."""
        for slot in reversed(self._slots):
            if slot not in self._verified and slot not in self.damaged:
                try:
                    self._verified[slot] = await self._verify(Slot(slot))
                except DamageError as error:
                    self.damaged[slot] = error
            if slot in self._verified:
                meta, size_bytes = self._verified[slot]
                skipped = tuple([self.damaged[bad] for bad in sorted(self.damaged) if bad > slot])
                return SnapshotReader(self.disk, Slot(slot), meta, size_bytes, skipped)
        if self.damaged:
            raise self.damaged[max(self.damaged)]
        return None

    async def _verify(self, slot: Slot) -> tuple[bytes, int]:
        """Read it all. Gives meta and size in bytes; DamageError."""
        file = await self.disk.open(snapshot_path(slot))
        try:
            meta = b""
            async for header, body in _frames(file, slot):
                if header.kind == FOOTER:
                    meta = body[_FOOTER_BODY.size :]
            return meta, await file.size()
        finally:
            await file.close()

    def oldest_slot(self) -> Slot | None:
        """The journal up to here is covered by every snapshot kept. None while fewer are kept than should be."""
        kept = self._sound_slots()[-self._kept :]
        return Slot(kept[0]) if len(kept) == self._kept else None

    def _sound_slots(self) -> list[int]:
        return [slot for slot in self._slots if slot not in self.damaged]

    async def publish(self, path: str, slot: Slot) -> None:
        """Give a synced file its name, durably; then drop what is no longer kept. Called by the writer."""
        await self._rename(path, slot)
        await self._sync_directory()
        self._verified.pop(slot, None)
        self.damaged.pop(slot, None)
        if slot not in self._slots:
            self._slots.append(slot)
            self._slots.sort()
        await self._prune()

    async def _rename(self, path: str, slot: Slot) -> None:
        await self.disk.rename(path, snapshot_path(slot))

    async def _sync_directory(self) -> None:
        """Make the names of snapshots durable."""
        await self.disk.sync_dir(DIRECTORY)

    async def _prune(self) -> None:
        oldest = self.oldest_slot()
        for slot in [slot for slot in self._slots if oldest is not None and slot < oldest]:
            self._slots.remove(slot)
            self._verified.pop(slot, None)
            self.damaged.pop(slot, None)
            await self.disk.remove(snapshot_path(slot))
        await self._sync_directory()
