"""The thread that makes a journal's batches durable: ports.File.write_sync behind the future.

Rules:
- Writes are done in call order and complete in call order. Whatever queued up meanwhile shares one fdatasync per file and one
  wake-up of the loop.
- The fewer system calls the better: at each the thread lets go of the interpreter's lock and must get it back from the loop. So a
  write that is alone is one call that writes and syncs.
- A small write is handed over when the loop's turn is about to end: handed over earlier, the thread would wake only to wait for
  the lock. A large one goes at once, since then turns are long.
- A sync that hangs holds up neither the loop nor the end of the process.

Weighed and measured: Linux native AIO (a copy in the loop's thread, fdatasync by io_submit). It needs no thread of ours, but the
kernel syncs on a worker bound to the submitting CPU: where that is busy p50 went from 0.2 to 4 ms, and CPU in all did not fall.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Sequence
from queue import SimpleQueue
from typing import NamedTuple, Protocol

from loggos.base.errors import OutOfSpaceError, StorageError
from loggos.base.limits import JOURNAL_HOLD_BYTES_MAX
from loggos.base.ports import Buffer

Outcome = StorageError | OutOfSpaceError | None


class WritableFile(Protocol):
    """What the thread needs of a file. All raise StorageError, OutOfSpaceError."""

    def write_now(self, offset: int, chunks: Sequence[Buffer]) -> None: ...

    def sync_now(self) -> None: ...

    def write_sync_now(self, offset: int, chunks: Sequence[Buffer]) -> None:
        """Both, in as few system calls as the system allows."""
        ...


class Write(NamedTuple):
    file: WritableFile
    offset: int
    chunks: Sequence[Buffer]
    future: asyncio.Future[None]


class JournalThread:
    """Takes writes in order, makes them durable, and tells the loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._queue: SimpleQueue[Write | None] = SimpleQueue()
        self._held: list[Write] = []  # until the end of the turn
        self._pending: deque[Write] = deque()
        self._done: deque[Outcome] = deque()  # of the first ones pending
        self._thread = threading.Thread(target=self._work, name="loggos-journal", daemon=True)
        self._thread.start()

    def submit(self, write: Write) -> None:
        """Its future tells the end."""
        self._pending.append(write)
        self._held.append(write)
        if sum(map(len, write.chunks)) > JOURNAL_HOLD_BYTES_MAX:
            self._hand_over()
        elif len(self._held) == 1:
            self._loop.call_soon(self._hand_over)

    def _hand_over(self) -> None:
        held, self._held = self._held, []
        for write in held:
            self._queue.put(write)

    def pending(self) -> list[asyncio.Future[None]]:
        """The futures of those without an answer from the disk."""
        return [write.future for write in self._pending]

    def stop(self, timeout_s: float) -> bool:
        """End the thread once all is done, and give up after this long. False: the disk hangs, and what was written last may
        still reach it; the thread is left behind, which keeps no process from ending."""
        self._hand_over()
        self._queue.put(None)
        self._thread.join(timeout_s)
        is_done = not self._thread.is_alive()
        self._complete()
        for future in self.pending():
            future.cancel()
        return is_done

    # --- in the thread ---

    def _work(self) -> None:
        while True:
            batch, is_last = self._take()
            if batch:
                self._process(batch)
            if is_last:
                return

    def _take(self) -> tuple[list[Write], bool]:
        """Wait for a write, then take all that are there."""
        queue = self._queue
        item = queue.get()
        batch: list[Write] = []
        while item is not None:
            batch.append(item)
            if queue.empty():
                return batch, False
            item = queue.get()
        return batch, True

    def _process(self, batch: list[Write]) -> None:
        if len(batch) == 1:
            self._done.append(_attempt(batch[0].file.write_sync_now, batch[0].offset, batch[0].chunks))
        else:
            self._process_together(batch)
        try:
            self._loop.call_soon_threadsafe(self._complete)
        except RuntimeError:
            return  # the loop is closed: nobody waits any more

    def _process_together(self, batch: list[Write]) -> None:
        """Write all, then sync each file once."""
        outcomes = [_attempt(write.file.write_now, write.offset, write.chunks) for write in batch]
        files: dict[WritableFile, Outcome] = {}
        for write, outcome in zip(batch, outcomes, strict=True):
            if outcome is None and write.file not in files:
                files[write.file] = _attempt(write.file.sync_now)
        self._done.extend(outcome or files[write.file] for write, outcome in zip(batch, outcomes, strict=True))

    # --- in the loop's thread ---

    def _complete(self) -> None:
        while self._done and self._pending:
            _resolve(self._pending.popleft().future, self._done.popleft())


def _attempt(work: Callable[..., None], *args: object) -> Outcome:
    try:
        work(*args)
    except (StorageError, OutOfSpaceError) as error:
        return error
    return None


def _resolve(future: asyncio.Future[None], error: Outcome) -> None:
    if future.done():
        return  # whoever waited has given up
    if error is None:
        future.set_result(None)
    else:
        future.set_exception(error)
