"""Readys to the journal, one batch in flight (rule 7), in order; what waits for durability is released only when it
is (rule 2).

While a batch is on its way to the disk, further Readys gather and leave together as the next batch: that is the group
commit. Knows the engine's Ready and the journal; not what comes of either.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

from loggos.base.errors import InternalError
from loggos.base.ports import Clock
from loggos.consensus.types import Entry, HardState, Ready
from loggos.storage.journal import Journal


class Owner(Protocol):
    """Whom the persister tells."""

    def ready_durable(self, ready: Ready) -> None: ...

    def durable_done(self) -> None: ...

    def fatal(self, error: BaseException) -> None: ...


class Persister:
    """One per replica."""

    def __init__(self, journal: Journal, owner: Owner, clock: Clock, loop: asyncio.AbstractEventLoop) -> None:
        self._journal, self._owner, self._clock, self._loop = journal, owner, clock, loop
        self._pending: list[Ready] = []
        self._in_flight: list[Ready] = []
        self._since = 0.0
        self.batches = 0

    def add(self, ready: Ready) -> None:
        self._pending.append(ready)

    def busy_seconds(self) -> float:
        """How long the batch in flight has been with the disk; 0 if there is none."""
        return self._clock.monotonic() - self._since if self._in_flight else 0.0

    @property
    def idle(self) -> bool:
        return not self._in_flight and not self._pending

    def pump(self) -> None:
        """Start the next batch, unless one is in flight."""
        while self._pending and not self._in_flight:
            readys, self._pending = self._pending, []
            hard_state, entries, sync = merge(readys)
            if hard_state is None and not entries:
                self._release(readys)
                continue
            self._in_flight, self._since = readys, self._clock.monotonic()
            self.batches += 1
            written = self._journal.persist(hard_state, entries, sync=sync)
            if isinstance(written, asyncio.Future):
                written.add_done_callback(self._written)
            else:
                raise InternalError("the journal's persist must give a future")

    def _written(self, future: asyncio.Future[None]) -> None:
        readys, self._in_flight = self._in_flight, []
        error = None if future.cancelled() else future.exception()
        if future.cancelled() or error is not None:
            self._owner.fatal(error or InternalError("a journal write was cancelled"))
            return
        self._release(readys)
        self.pump()

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
