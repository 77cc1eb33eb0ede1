"""The reserve of the data directory's disk: asked for once a second, beside the hot path.

Below the reserve a leader takes no proposals, so that what is left goes to snapshots, which let the journal shrink; and it
gives up leadership now and then, for another node may have room. A follower goes on as long as it can: it is in nobody's way.
What a full disk does is the journal's and the persister's affair. Knows no consensus, only when there is too little room.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

from loggos.base.errors import StorageError
from loggos.base.limits import DISK_LOW_RESIGN_MS, DISK_SPACE_CHECK_MS
from loggos.base.ports import Clock, Disk


class Owner(Protocol):
    """Whom the watch tells."""

    def space_changed(self, is_low: bool, free_bytes: int) -> None: ...

    def make_room(self) -> None: ...

    def yield_lead(self) -> None: ...


class SpaceWatch:
    """One per replica. `run` is its only task, spawned once."""

    def __init__(self, disk: Disk, owner: Owner, clock: Clock, reserve_bytes: int) -> None:
        self._disk, self._owner, self._clock, self._reserve_bytes = disk, owner, clock, reserve_bytes
        self.is_low = False
        self._yielded_s = 0.0

    async def run(self) -> None:
        """Look, for ever."""
        while True:
            try:
                self._judge(await self._disk.free_bytes())
            except StorageError:
                pass  # room is unknown; a disk that fails shows itself where it is written
            await asyncio.sleep(DISK_SPACE_CHECK_MS / 1000)

    def _judge(self, free_bytes: int) -> None:
        was_low, self.is_low = self.is_low, self.is_too_little(free_bytes)
        if self.is_low != was_low:
            self._owner.space_changed(self.is_low, free_bytes)
            self._yielded_s = self._clock.monotonic() - DISK_LOW_RESIGN_MS / 1000
        if self.is_low:
            self._owner.make_room()
            if self._clock.monotonic() - self._yielded_s >= DISK_LOW_RESIGN_MS / 1000:
                self._yielded_s = self._clock.monotonic()
                self._owner.yield_lead()

    def is_too_little(self, free_bytes: int) -> bool:
        return free_bytes < self._reserve_bytes
