"""Readys to the journal, one batch in flight (rule 7), in order; what waits for durability is released only when it
is (rule 2).

While a batch is on its way to the disk, further Readys gather and leave together as the next one: that is the group
commit. A full disk is no failure: the batch is tried again until there is room. Knows the engine's Ready and the
journal, not what comes of either.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Protocol

from loggos.base.errors import LoggosError, OutOfSpaceError
from loggos.base.limits import DISK_FULL_RETRY_MS
from loggos.base.ports import Clock
from loggos.consensus.types import Entry, HardState, Ready
from loggos.storage.journal import Journal


class Owner(Protocol):
    """Whom the persister tells."""

    def ready_durable(self, ready: Ready) -> None: ...

    def durable_done(self) -> None: ...

    def disk_full(self, error: OutOfSpaceError) -> None: ...

    def fatal(self, error: BaseException) -> None: ...


class Persister:
    """One per replica. `run` is its only task, spawned once."""

    def __init__(self, journal: Journal, owner: Owner, clock: Clock) -> None:
        self._journal, self._owner, self._clock = journal, owner, clock
        self._pending: list[Ready] = []
        self._in_flight: list[Ready] = []
        self._write: Awaitable[None] | None = None
        self._started = asyncio.Event()
        self._since = 0.0
        self.batches = 0
        self.waits_for_space = False

    def add(self, ready: Ready) -> None:
        self._pending.append(ready)

    def busy_seconds(self) -> float:
        """How long the batch in flight has been with the disk; 0 if there is none."""
        return self._clock.monotonic() - self._since if self._in_flight else 0.0

    @property
    def idle(self) -> bool:
        return not self._in_flight and not self._pending

    def pump(self) -> None:
        """Start the next batch at once, unless one is in flight. StorageError: the journal has failed."""
        while self._pending and not self._in_flight:
            readys, self._pending = self._pending, []
            hard_state, entries, sync = merge(readys)
            if hard_state is None and not entries:
                self._release(readys)
                continue
            self._in_flight, self._since = readys, self._clock.monotonic()
            self.batches += 1
            self._write = self._journal.persist(hard_state, entries, sync=sync)
            self._started.set()

    async def run(self) -> None:
        """Await each batch and release what waited for it; for ever."""
        while True:
            await self._started.wait()
            self._started.clear()
            try:
                await self._durable()
            except LoggosError as error:
                self._owner.fatal(error)
                return
            readys, self._in_flight = self._in_flight, []
            self._release(readys)
            self.pump()

    async def _durable(self) -> None:
        while True:
            assert self._write is not None
            try:
                await self._write
                self.waits_for_space = False
                return
            except OutOfSpaceError as error:
                self.waits_for_space = True
                self._owner.disk_full(error)
                await asyncio.sleep(DISK_FULL_RETRY_MS / 1000)
                hard_state, entries, sync = merge(self._in_flight)
                self._write = self._journal.persist(hard_state, entries, sync=sync)

    def _release(self, readys: list[Ready]) -> None:
        for ready in readys:
            self._owner.ready_durable(ready)
        self._owner.durable_done()


def merge(readys: list[Ready]) -> tuple[HardState | None, list[Entry], bool]:
    """Several Readys as one journal batch: the newest hard state, all entries in order, synced if any needs it."""
    hard_state: HardState | None = None
    entries: list[Entry] = []
    sync = False
    for ready in readys:
        hard_state = ready.hard_state or hard_state
        entries.extend(ready.entries)
        sync = sync or ready.must_sync
    return hard_state, entries, sync
