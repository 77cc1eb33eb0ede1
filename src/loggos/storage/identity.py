"""Whose data directory this is: `identity.json`, written before anything else and replaced only as a whole.

A node refuses the directory of another cell, of another node, or of a newer version, and touches nothing. Damaged journals and
snapshots are never deleted: `set_aside_damaged` moves them to `damaged-N/`. Before the first file moves, the identity is marked
`is_lost`: from then on, whatever crashes, this incarnation's promises are gone, and the node must come back under a new one
(safety rule 6).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec
from crc32c import crc32c

from loggos.base.errors import ConfigError
from loggos.base.ids import Incarnation, NodeId
from loggos.base.ports import Disk
from loggos.storage import files, journal, snapshots

PATH: Final = "identity.json"
FORMAT_VERSION: Final = 1
_TEMPORARY: Final = "identity.json.tmp"


class Identity(msgspec.Struct, frozen=True, kw_only=True):
    """One life of a node's data directory."""

    cell: str
    node: NodeId
    incarnation: Incarnation
    voters: Sequence[int]  # of the cell when this identity was written
    has_journal: bool = False  # a journal was begun under this identity: if there is none, it was lost
    is_lost: bool = False  # promises of this incarnation were lost: take a new one
    format: int = FORMAT_VERSION
    checksum: int = 0  # CRC-32C of the same with checksum 0; filled in by `write`


def _checksum(identity: Identity) -> int:
    return crc32c(msgspec.json.encode(msgspec.structs.replace(identity, checksum=0)))


class _Version(msgspec.Struct):
    format: int


async def load(disk: Disk, *, cell: str | None = None, node: NodeId | None = None) -> Identity | None:
    """The identity of this directory; None if it has none yet.

    ConfigError, in one line: not to be read, of a newer version, of another cell than `cell`, of another node than `node`.
    """
    if PATH not in await disk.list(""):
        return None
    data = await files.read_whole(disk, PATH)
    try:
        version = msgspec.json.decode(data, type=_Version).format
        if version > FORMAT_VERSION:
            raise ConfigError(f"{PATH} is of format {version}, newer than {FORMAT_VERSION}: use the newer Loggos")
        identity = msgspec.json.decode(data, type=Identity)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ConfigError(f"{PATH} cannot be read ({error}): restore it, or start with an empty directory") from error
    if identity.checksum != _checksum(identity):
        raise ConfigError(f"{PATH} was changed or is damaged (wrong checksum): restore it, or start with an empty directory")
    if cell is not None and identity.cell != cell:
        raise ConfigError(f"the data directory belongs to cell {identity.cell!r}, not {cell!r}: use another, or mend the name")
    if node is not None and identity.node != node:
        raise ConfigError(f"the data directory belongs to node {identity.node}, not {node}: use another, or mend the id")
    return identity


async def write(disk: Disk, identity: Identity) -> None:
    """Put the identity in place, atomically and durably."""
    data = msgspec.json.encode(msgspec.structs.replace(identity, checksum=_checksum(identity)))
    if _TEMPORARY in await disk.list(""):
        await disk.remove(_TEMPORARY)
    await files.write_new(disk, _TEMPORARY, data + b"\n")
    await disk.rename(_TEMPORARY, PATH)
    await disk.sync_dir("")


async def set_aside_damaged(disk: Disk) -> str:
    """Mark the identity lost, then move what is in journal/ and snapshots/ to `damaged-N/`, durably; gives that directory's name.
    After a crash in the middle, do it again: nothing is overwritten."""
    identity = await load(disk)
    if identity is not None and not identity.is_lost:
        await write(disk, msgspec.structs.replace(identity, is_lost=True))
    place = await _free_name(disk)
    await disk.make_directory(place)
    await disk.sync_dir("")
    for directory in (journal.DIRECTORY, snapshots.DIRECTORY):
        await _move_files(disk, directory, f"{place}/{directory}")
    return place


async def _free_name(disk: Disk) -> str:
    names = await disk.list("")
    number = 1
    while f"damaged-{number}" in names:
        number += 1
    return f"damaged-{number}"


async def _move_files(disk: Disk, source: str, target: str) -> None:
    await disk.make_directory(target)
    await disk.sync_dir(target.rpartition("/")[0])
    names = await disk.list(source)
    for name in names:
        await disk.rename(f"{source}/{name}", f"{target}/{name}")
    if names:
        await disk.sync_dir(target)
        await disk.sync_dir(source)
