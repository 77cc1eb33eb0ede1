"""Small things that journal, snapshots and identity share over the Disk port: reading a whole file, zeros, atomic replacement.

Knows no format.
"""

from __future__ import annotations

from typing import Final

from loggos.base.errors import DamageError, OutOfSpaceError, StorageError
from loggos.base.limits import JOURNAL_FILL_BYTES
from loggos.base.ports import Disk, File

_ZEROS: Final = bytes(JOURNAL_FILL_BYTES)


def is_zero(data: bytes, start: int = 0) -> bool:
    """Are all bytes from `start` on zeros?"""
    return data.count(0, start) == len(data) - start


def last_byte_set(data: bytes) -> int:
    """The offset after the last byte that is not zero."""
    return len(data.rstrip(b"\0"))


async def read_exactly(file: File, offset: int, size_bytes: int) -> bytes:
    """`size_bytes` from `offset`. DamageError where the disk cannot give them (a latent sector error, a file cut short)."""
    try:
        data = await file.read(offset, size_bytes)
    except StorageError as error:
        raise DamageError(file.path, offset, f"cannot be read: {error}") from error
    if len(data) != size_bytes:
        raise DamageError(file.path, offset + len(data), "the file ends here")
    return data


async def read_whole(disk: Disk, path: str) -> bytes:
    """A file's bytes. FileNotFoundError; DamageError where it cannot be read."""
    file = await disk.open(path)
    try:
        return await read_exactly(file, 0, await file.size())
    finally:
        await file.close()


async def fill_with_zeros(file: File, start: int, end: int) -> None:
    """Write zeros over [start, end), a piece at a time, without syncing."""
    for offset in range(start, end, JOURNAL_FILL_BYTES):
        size_bytes = min(JOURNAL_FILL_BYTES, end - offset)
        await file.write(offset, [memoryview(_ZEROS)[:size_bytes]])


async def make_directory(disk: Disk, directory: str) -> None:
    """A directory whose name is durable. `directory` lies in the data directory itself."""
    await disk.make_directory(directory)
    await disk.sync_dir("")


async def write_new(disk: Disk, path: str, data: bytes) -> None:
    """A new file with its contents synced; its name is not. On a full disk nothing is left."""
    file = await disk.open(path, create=True)
    try:
        await file.write(0, [data])
        await file.sync()
    except OutOfSpaceError:
        await disk.remove(path)
        raise
    finally:
        await file.close()
