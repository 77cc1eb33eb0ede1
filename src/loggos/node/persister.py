"""Readys to the journal, one batch in flight (rule 7), in order; what waits for durability is released only when it
is (rule 2).

While a batch is on its way to the disk, further Readys gather and leave together as the next one: that is the group
commit, of a bounded size. A full disk is no failure: the batch is tried again until there is room.

What waits is bounded too: of a Ready only what persisting needs is kept, its owner is told when as much waits as may
(no entries are taken then), and of Readys that persist nothing the latest stands for all: what the others had to say is
said again by whoever needs it. Knows the engine's Ready and the journal, not what comes of either.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import NamedTuple, Protocol

from loggos.base.errors import LoggosError, OutOfSpaceError
from loggos.base.limits import DISK_FULL_RETRY_MS, PERSIST_BATCH_BYTES_MAX, PERSIST_PENDING_BYTES_MAX
from loggos.base.ports import Clock
from loggos.consensus.types import Entry, HardState, Outgoing, Ready
from loggos.storage.journal import Journal

ENTRY_OVERHEAD_BYTES = 200  # an entry's Python objects


class Waiting(NamedTuple):
    """A Ready, as far as its durability is concerned."""

    number: int
    hard_state: HardState | None
    entries: tuple[Entry, ...]
    must_sync: bool
    messages_after: tuple[Outgoing, ...]
    size_bytes: int

    @property
    def writes(self) -> bool:
        return bool(self.entries) or self.hard_state is not None


class Owner(Protocol):
    """Whom the persister tells."""

    def ready_durable(self, ready: Waiting) -> None: ...

    def durable_done(self) -> None: ...

    def disk_full(self, error: OutOfSpaceError) -> None: ...

    def disk_pressed(self, on: bool) -> None: ...

    def fatal(self, error: BaseException) -> None: ...


class Persister:
    """One per replica. `run` is its only task, spawned once."""

    def __init__(
        self,
        journal: Journal,
        owner: Owner,
        clock: Clock,
        *,
        batch_bytes_max: int = PERSIST_BATCH_BYTES_MAX,
        pending_bytes_max: int = PERSIST_PENDING_BYTES_MAX,
    ) -> None:
        self._journal, self._owner, self._clock = journal, owner, clock
        self._batch_bytes_max, self._pending_bytes_max = batch_bytes_max, pending_bytes_max
        self._pending: list[Waiting] = []
        self._in_flight: list[Waiting] = []
        self.pending_bytes = 0  # in flight too
        self.is_pressed = False
        self._write: Awaitable[None] | None = None
        self._started = asyncio.Event()
        self._since = 0.0
        self.batches = 0
        self.waits_for_space = False

    def add(self, ready: Ready) -> None:
        entries = ready.entries
        size_bytes = sum([len(entry.payload) for entry in entries]) + ENTRY_OVERHEAD_BYTES * len(entries) if entries else 0
        waiting = Waiting(ready.number, ready.hard_state, entries, ready.must_sync, ready.messages_after, size_bytes)
        pending = self._pending
        if self._in_flight and pending and not waiting.writes and not pending[-1].writes and self._is_stuck():
            pending[-1] = waiting
            return
        pending.append(waiting)
        self.pending_bytes += size_bytes
        if self.pending_bytes > self._pending_bytes_max and not self.is_pressed:
            self.is_pressed = True
            self._owner.disk_pressed(True)

    def _is_stuck(self) -> bool:
        """Is the batch in flight late? What waits behind it would be late news."""
        return self.is_pressed or self.waits_for_space or self.busy_seconds() * 1000 > DISK_FULL_RETRY_MS

    def busy_seconds(self) -> float:
        """How long the batch in flight has been with the disk; 0 if there is none."""
        return self._clock.monotonic() - self._since if self._in_flight else 0.0

    @property
    def idle(self) -> bool:
        return not self._in_flight and not self._pending

    def pump(self) -> bool:
        """Start the next batch at once, unless one is in flight. True: something had nothing to write, and is released; the owner
        is not told `durable_done` of it. StorageError: the journal has failed."""
        has_released = False
        while self._pending and not self._in_flight:
            readys = self._take()
            hard_state, entries, sync = merge(readys)
            if hard_state is None and not entries:
                self._release(readys)
                has_released = True
                continue
            self._in_flight, self._since = readys, self._clock.monotonic()
            self.batches += 1
            self._write = self._journal.persist(hard_state, entries, sync=sync)
            self._started.set()
        return has_released

    def _take(self) -> list[Waiting]:
        """From the front of what waits: a batch of bounded size, at least one Ready."""
        taken = self._pending
        size_bytes = 0
        for count, ready in enumerate(taken):
            size_bytes += ready.size_bytes
            if count and size_bytes > self._batch_bytes_max:
                self._pending = taken[count:]
                return taken[:count]
        self._pending = []
        return taken

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
            self._owner.durable_done()
            if self.pump():
                self._owner.durable_done()

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

    def _release(self, readys: list[Waiting]) -> None:
        for ready in readys:
            self.pending_bytes -= ready.size_bytes
            self._owner.ready_durable(ready)
        if self.is_pressed and self.pending_bytes <= self._pending_bytes_max // 2:
            self.is_pressed = False
            self._owner.disk_pressed(False)


def merge(readys: list[Waiting]) -> tuple[HardState | None, list[Entry], bool]:
    """Several Readys as one journal batch: the newest hard state, all entries in order, synced if any needs it."""
    hard_state: HardState | None = None
    entries: list[Entry] = []
    sync = False
    for ready in readys:
        hard_state = ready.hard_state or hard_state
        entries.extend(ready.entries)
        sync = sync or ready.must_sync
    return hard_state, entries, sync
