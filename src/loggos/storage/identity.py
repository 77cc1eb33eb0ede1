"""Whose data directory this is: `identity.json`, written before anything else and replaced only as a whole.

A node refuses the directory of another cell, of another node, of other voters or of a newer version, and touches nothing. A name
is soon given twice, so a cell is known by its founding, too: a number drawn when it began.

An identity that cannot be read, or is missing beside a journal, is damage: whose promises the journal holds is not known, so
they count as lost. Damaged journals and snapshots are never deleted: `set_aside_damaged` moves them to `damaged-N/`. Before the
first file moves, the identity is marked `is_lost`: from then on, whatever crashes, this incarnation's promises are gone, and the
node must come back under a new one (safety rule 6).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec
from crc32c import crc32c

from loggos.base.errors import ConfigError, DamageError
from loggos.base.ids import Incarnation, NodeId
from loggos.base.ports import Disk
from loggos.storage import files, journal, snapshots

PATH: Final = "identity.json"
FORMAT_VERSION: Final = 2
_CHECKSUM: Final = b'"checksum":'  # the last key, in every format: so damage is told from a newer version
NO_FOUNDING: Final = 0  # not known yet
OLD_FOUNDING: Final = 1  # of cells that began before foundings were drawn
FIRST_FOUNDING: Final = 2
FOUNDING_BITS: Final = 62
_TEMPORARY: Final = "identity.json.tmp"


class Identity(msgspec.Struct, frozen=True, kw_only=True):
    """One life of a node's data directory."""

    cell: str
    node: NodeId
    incarnation: Incarnation
    voters: Sequence[int]  # of the cell when this identity was written
    has_journal: bool = False  # a journal was begun under this identity: if there is none, it was lost
    is_lost: bool = False  # promises of this incarnation were lost: take a new one
    founding: int = OLD_FOUNDING  # drawn when the cell began, the same at all its nodes
    format: int = FORMAT_VERSION
    checksum: int = 0  # CRC-32C of the same text with checksum 0; filled in by `write`


def _is_whole(data: bytes) -> bool:
    head, key, tail = data.rpartition(_CHECKSUM)
    return tail.strip() == b"%d}" % crc32c(head + key + b"0}")


class _Version(msgspec.Struct):
    format: int


async def load(
    disk: Disk, *, cell: str | None = None, node: NodeId | None = None, voters: Sequence[int] | None = None
) -> Identity | None:
    """The identity of this directory; None if it has none yet.

    ConfigError, in one line: of a newer version, or of another cell, node or voters than given, or no data directory of ours.
    DamageError: it cannot be read, or is missing beside a journal or a snapshot.
    """
    names = await disk.list("")
    if PATH not in names:
        for directory, suffix in ((journal.DIRECTORY, ".log"), (snapshots.DIRECTORY, ".snap")):
            inside = await disk.list(directory) if directory in names else []
            if any(name.endswith(suffix) for name in inside):
                raise DamageError(PATH, 0, f"it is missing beside {directory}/, which is not empty")
            if inside:
                raise ConfigError(f"{directory}/ in the data directory holds {inside[0]!r}, which is not ours: use another")
        return None
    identity = _decode(await files.read_whole(disk, PATH))
    if cell is not None and identity.cell != cell:
        raise ConfigError(f"the data directory belongs to cell {identity.cell!r}, not {cell!r}: use another, or mend the name")
    if node is not None and identity.node != node:
        raise ConfigError(f"the data directory belongs to node {identity.node}, not {node}: use another, or mend the id")
    if voters is not None and list(identity.voters) != list(voters):
        theirs, ours = (", ".join(str(voter) for voter in some) for some in (identity.voters, voters))
        raise ConfigError(
            f"the data directory belongs to a cell with the voters {theirs}; the configuration names {ours}: "
            "a cell keeps its voters, so name those again, or use another directory"
        )
    return identity


def _decode(data: bytes) -> Identity:
    if not _is_whole(data):
        raise DamageError(PATH, 0, "wrong checksum")
    try:
        version = msgspec.json.decode(data, type=_Version).format
        if version > FORMAT_VERSION:
            raise ConfigError(f"{PATH} is of format {version}, newer than {FORMAT_VERSION}: use the newer Loggos")
        identity = msgspec.json.decode(data, type=Identity)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise DamageError(PATH, 0, f"it cannot be read ({error})") from error
    return identity


async def write(disk: Disk, identity: Identity) -> None:
    """Put the identity in place, atomically and durably."""
    text = msgspec.json.encode(msgspec.structs.replace(identity, format=FORMAT_VERSION, checksum=0))
    data = msgspec.json.encode(msgspec.structs.replace(identity, format=FORMAT_VERSION, checksum=crc32c(text)))
    if _TEMPORARY in await disk.list(""):
        await disk.remove(_TEMPORARY)
    await files.write_new(disk, _TEMPORARY, data + b"\n")
    await disk.rename(_TEMPORARY, PATH)
    await disk.sync_dir("")


async def has_data(disk: Disk) -> bool:
    """Is there a file in journal/ or snapshots/?"""
    names = await disk.list("")
    for directory in (journal.DIRECTORY, snapshots.DIRECTORY):
        if directory in names and await disk.list(directory):
            return True
    return False


async def set_aside_damaged(disk: Disk, identity: Identity) -> str:
    """Mark the identity lost, then move what is in journal/ and snapshots/ to `damaged-N/`, durably; gives that directory's name.
    After a crash in the middle, do it again: nothing is overwritten but an identity that could not be read."""
    if not identity.is_lost:
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
