"""The whole of storage on a real file system: the port's two worlds mean the same by write, sync, rename and list."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from loggos.base.errors import DamageError
from loggos.base.ids import Incarnation, NodeId, Slot
from loggos.host.disk import HostDisk
from loggos.storage import identity
from loggos.storage.identity import Identity
from loggos.storage.journal import open_journal
from loggos.storage.snapshots import SnapshotStore
from tests.storage.test_journal import SEGMENT_BYTES, entry, state

OURS = Identity(cell="main", node=NodeId(1), incarnation=Incarnation(1), voters=[1])


def test_a_life_on_a_real_disk(tmp_path: Path) -> None:
    async def write() -> None:
        disk = HostDisk(tmp_path, asyncio.get_running_loop())
        await identity.write(disk, OURS)
        store = await SnapshotStore.open(disk)
        journal = (await open_journal(disk, segment_bytes=SEGMENT_BYTES)).journal
        for slot in range(1, 41):
            await journal.persist(state(257, slot), [entry(slot, size_bytes=700)], sync=True)
            if slot % 10 == 0:
                writer = await store.begin(Slot(slot))
                await writer.add(b"state at %d" % slot)
                await writer.commit(b"meta")
                await journal.remove_before(store.oldest_slot() or Slot(0))
        disk.close()  # without closing the journal: as a kill would

    async def read() -> None:
        disk = HostDisk(tmp_path, asyncio.get_running_loop())
        found = await open_journal(disk, segment_bytes=SEGMENT_BYTES, must_exist=True)
        reader = await (await SnapshotStore.open(disk)).latest()
        assert found.hard_state == state(257, 40) and reader is not None and reader.slot == 40
        assert [chunk async for chunk in reader.chunks()] == [b"state at 40"]
        assert set(range(31, 41)) <= set(found.entries) and Slot(1) not in found.entries
        await found.journal.close()
        disk.close()

    async def repair() -> None:
        disk = HostDisk(tmp_path, asyncio.get_running_loop())
        with pytest.raises(DamageError):
            await open_journal(disk, segment_bytes=SEGMENT_BYTES)
        assert await identity.set_aside_damaged(disk, OURS) == "damaged-1"
        assert (await open_journal(disk, segment_bytes=SEGMENT_BYTES)).is_fresh
        found = await identity.load(disk, cell="main", node=NodeId(1))
        assert found is not None and found.is_lost
        disk.close()

    asyncio.run(write())
    asyncio.run(read())
    segment = sorted((tmp_path / "journal").iterdir())[0]
    data = bytearray(segment.read_bytes())
    data[600] ^= 1
    segment.write_bytes(data)
    before = len(list((tmp_path / "journal").iterdir()))
    asyncio.run(repair())
    assert len(list((tmp_path / "damaged-1" / "journal").iterdir())) == before
