"""The identity of a data directory: refused where it is not ours, and never half written."""

from __future__ import annotations

import asyncio
from random import Random

import msgspec
import pytest
from crc32c import crc32c

from loggos.base.errors import ConfigError, DamageError
from loggos.base.ids import Incarnation, NodeId
from loggos.storage import files, identity
from loggos.storage.identity import Identity
from tests.storage.memory_disk import MemoryDisk, PowerCut

OURS = Identity(cell="main", node=NodeId(2), incarnation=Incarnation(1), voters=[1, 2, 3], founding=7)


def like(other: Identity | None) -> tuple[object, ...]:
    assert other is not None
    return (other.cell, other.node, other.incarnation, list(other.voters), other.has_journal, other.is_lost, other.founding)


def test_what_is_written_is_loaded_after_a_power_cut() -> None:
    async def main() -> None:
        disk = MemoryDisk()
        assert await identity.load(disk) is None
        await identity.write(disk, OURS)
        disk.power_cut(None)
        assert like(await identity.load(disk, cell="main", node=NodeId(2))) == like(OURS)

    asyncio.run(main())


def whole(text: bytes) -> bytes:
    """With its checksum, by the description: the last key, over the text in which it is 0."""
    return text + b'"checksum":%d}\n' % crc32c(text + b'"checksum":0}')


@pytest.mark.parametrize(
    ("data", "error", "message"),
    [
        (b"", DamageError, "wrong checksum"),
        (b"{", DamageError, "wrong checksum"),
        (b'{"format":2,"checksum":1}', DamageError, "wrong checksum"),
        (b'{"format":9,"checksum":1}', DamageError, "wrong checksum"),
        (whole(b'{"format":2,'), DamageError, "cannot be read"),
        (whole(b'{"format":,'), DamageError, "cannot be read"),
        (whole(b'{"else":true,"format":3,'), ConfigError, "newer than 2"),
    ],
)
def test_what_cannot_be_read_is_told_in_one_line(data: bytes, error: type[Exception], message: str) -> None:
    """Damage, but for a newer version, which the user can mend."""

    async def main() -> None:
        disk = MemoryDisk()
        file = await disk.open("identity.json", create=True)
        await file.write_sync(0, [data])
        with pytest.raises(error, match=message) as caught:
            await identity.load(disk)
        assert "\n" not in str(caught.value)
        assert bytes(disk.names["identity.json"].live) == data

    asyncio.run(main())


def test_another_cell_and_another_node_are_refused() -> None:
    async def main() -> None:
        disk = MemoryDisk()
        await identity.write(disk, OURS)
        with pytest.raises(ConfigError, match="belongs to cell 'main', not 'other'"):
            await identity.load(disk, cell="other")
        with pytest.raises(ConfigError, match="belongs to node 2, not 3"):
            await identity.load(disk, cell="main", node=NodeId(3))
        for others in ([1], [1, 2], [1, 2, 3, 4], [2, 3, 4]):
            with pytest.raises(ConfigError, match="with the voters 1, 2, 3; the configuration names"):
                await identity.load(disk, cell="main", node=NodeId(2), voters=others)
        assert like(await identity.load(disk, cell="main", node=NodeId(2), voters=[1, 2, 3])) == like(OURS)

    asyncio.run(main())


@pytest.mark.parametrize(("directory", "name"), [("journal", "0000000000000001.log"), ("snapshots", "0000000000000001.snap")])
def test_an_identity_that_is_missing_beside_data_is_damage(directory: str, name: str) -> None:
    async def main() -> None:
        disk = MemoryDisk()
        await disk.make_directory(directory)
        assert await identity.load(disk) is None, "an empty directory holds nothing"
        await disk.open(f"{directory}/diary.txt", create=True)
        with pytest.raises(ConfigError, match=f"{directory}/ in the data directory holds 'diary.txt'"):
            await identity.load(disk)
        await disk.open(f"{directory}/{name}", create=True)
        with pytest.raises(DamageError, match=f"missing beside {directory}/"):
            await identity.load(disk)

    asyncio.run(main())


def test_an_identity_without_a_founding_is_of_a_cell_that_began_before_there_were_any() -> None:
    async def main() -> None:
        disk = MemoryDisk()
        old = b'{"cell":"main","node":2,"incarnation":1,"voters":[1,2,3],"has_journal":true,"is_lost":false,"format":1,'
        await files.write_new(disk, "identity.json", whole(old))
        found = await identity.load(disk)
        assert found is not None and found.founding == identity.OLD_FOUNDING
        await identity.write(disk, found)
        assert like(await identity.load(disk)) == like(found)

    asyncio.run(main())


def test_a_changed_identity_is_refused() -> None:
    async def main() -> None:
        disk = MemoryDisk()
        await identity.write(disk, OURS)
        inode = disk.names["identity.json"]
        for bit in range(8 * len(inode.live)):
            inode.live[bit // 8] ^= 1 << bit % 8
            try:
                found = await identity.load(disk)
            except (DamageError, ConfigError):
                pass
            else:
                assert like(found) == like(OURS), bit  # a bit of white space
            inode.live[bit // 8] ^= 1 << bit % 8

    asyncio.run(main())


def test_a_power_cut_while_writing_leaves_the_old_or_the_new() -> None:
    new = msgspec.structs.replace(OURS, incarnation=Incarnation(77))

    async def main(cut_at: int, seed: int) -> bool:
        disk = MemoryDisk()
        await identity.write(disk, OURS)
        disk.cut_at, is_done = cut_at, False
        try:
            await identity.write(disk, new)
            is_done = True
        except PowerCut:
            pass
        disk.power_cut(Random(seed))
        found = like(await identity.load(disk))
        assert found in ([like(new)] if is_done else [like(OURS), like(new)])
        await identity.write(disk, OURS)
        return is_done

    for seed in range(10):
        cut_at = 0
        while not asyncio.run(main(cut_at, seed)):
            cut_at += 1


async def directory_with_files() -> MemoryDisk:
    disk = MemoryDisk()
    await identity.write(disk, OURS)
    for name in ("journal/a", "journal/b", "snapshots/a"):
        await disk.make_directory(name[:-2])
        await (await disk.open(name, create=True)).write_sync(0, [name.encode()])
        await disk.sync_dir(name[:-2])
    await disk.sync_dir("")
    return disk


def test_damaged_files_are_moved_never_deleted() -> None:
    async def main() -> None:
        disk = await directory_with_files()
        assert await identity.set_aside_damaged(disk, OURS) == "damaged-1"
        disk.power_cut(None)
        for name in ("journal/a", "journal/b", "snapshots/a"):
            assert bytes(disk.names[f"damaged-1/{name}"].live) == name.encode()
        assert await disk.list("journal") == [] and await disk.list("snapshots") == []
        found = await identity.load(disk)
        assert found is not None and found.is_lost
        assert await identity.set_aside_damaged(disk, OURS) == "damaged-2"

    asyncio.run(main())


def test_a_power_cut_while_setting_aside_loses_nothing_and_the_node_knows_it_is_lost() -> None:
    async def main(cut_at: int, seed: int) -> bool:
        disk = await directory_with_files()
        disk.cut_at, is_done = cut_at, False
        try:
            await identity.set_aside_damaged(disk, OURS)
            is_done = True
        except PowerCut:
            pass
        disk.power_cut(Random(seed))
        left = await disk.list("journal") + await disk.list("snapshots")
        found = await identity.load(disk)
        assert found is not None and (found.is_lost or len(left) == 3)
        await identity.set_aside_damaged(disk, OURS)
        held = sorted([bytes(inode.live) for path, inode in disk.names.items() if path.startswith("damaged")])
        assert {b"journal/a", b"journal/b", b"snapshots/a"} <= set(held)
        return is_done

    for seed in range(10):
        cut_at = 0
        while not asyncio.run(main(cut_at, seed)):
            cut_at += 1

    asyncio.run(main(1000, 0))
