"""Broken journals, recoveries and snapshot stores: safety rules 2 and 7."""

from __future__ import annotations

from collections.abc import Awaitable

from loggos.base.errors import LoggosError
from loggos.base.ids import Slot
from loggos.storage.journal import Journal
from loggos.storage.records import Header
from loggos.storage.recovery import Recovery
from loggos.storage.snapshots import SnapshotStore, SnapshotWriter
from tests.sim.planted.bug import LOST, Bug, member


class AcknowledgesEarly(Journal):
    """A batch counts as durable once it is handed to the disk."""

    async def _await_durable(self, write: Awaitable[None]) -> None:
        return


class IgnoresErrors(Journal):
    """A failed fdatasync counts as done (fsyncgate)."""

    async def _await_durable(self, write: Awaitable[None]) -> None:
        try:
            await write
        except LoggosError:
            return


class NamesNotSynced(Journal):
    """A new segment's name is not made durable."""

    async def _sync_directory(self) -> None:
        return


class TakesTornTails(Recovery):
    """A record counts as whole if its head is."""

    def body_is_whole(self, header: Header, body: memoryview) -> bool:
        return True


class CutsDamage(Recovery):
    """What follows the last whole batch is cut, wherever that is."""

    def refuse_later(self, number: int, path: str, data: bytes, end: int, torn_batch: int | None) -> None:
        return


class UnsyncedWriter(SnapshotWriter):
    async def _sync(self) -> None:
        self._unsynced = 0


class SnapshotsNotSynced(SnapshotStore):
    """A snapshot gets its name before its bytes are durable."""

    async def begin(self, slot: Slot) -> SnapshotWriter:
        writer = await super().begin(slot)
        return UnsyncedWriter(self, slot, writer._path, writer._file)


BUGS = (
    Bug(
        "acknowledge-before-fsync", "a batch counts as durable once it is handed to the disk", 2,
        member(journal=AcknowledgesEarly), LOST,
    ),
    Bug("fsync-error-ignored", "a failed fdatasync counts as done", 7, member(journal=IgnoresErrors), LOST),
    Bug("names-not-synced", "a new segment's name is not made durable", 7, member(journal=NamesNotSynced), (*LOST, "progress")),
    Bug("torn-tail-accepted", "a torn record is taken for whole", 7, member(recovery=TakesTornTails), LOST),
    Bug("damage-cut", "damage in the middle of the log is cut like a torn tail", 7, member(recovery=CutsDamage), LOST),
    Bug(
        "snapshot-not-synced", "a snapshot gets its name before its bytes are durable", 7,
        member(snapshots=SnapshotsNotSynced), (*LOST, "progress"),
    ),
)
