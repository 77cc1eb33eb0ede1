"""Where a pool's own work runs (health checks, probes, asking for members): in the caller's event loop, or in a thread.

A pool that is used with `async with` works in that loop; one that is used from threads gets one daemon thread with a loop.
Nothing starts until there is something to do. A pool that outlives its loop (a second `asyncio.run`) moves to the next one.
Rules: every task is held here until it ends; an error that nobody expected is logged, it never ends in silence; `close` leaves
no task and no thread behind.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Coroutine
from typing import Any

from loggos.base.limits import POOL_STOP_TIMEOUT_S

log = logging.getLogger("loggos.balance")
Work = Callable[[], Coroutine[Any, Any, None]]


class Background:
    """`start_*` as often as you like; `spawn` what is to be done; `close` or `aclose`."""

    def __init__(self, name: str, at_end: Callable[[], None]) -> None:
        """`at_end` is called in the loop when all work has ended."""
        self._name = name
        self._at_end = at_end
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._thread_id: int | None = None  # of the loop
        self._tasks: dict[asyncio.Task[None], None] = {}

    def start_in_loop(self) -> bool:
        """From a coroutine. True: from now on work runs in its loop, where none ran before, or what ran is gone with its loop."""
        if self._loop is not None and not self._loop.is_closed():
            return False
        with self._lock:
            if self._loop is not None and not self._loop.is_closed():
                return False
            self._tasks.clear()
            self._loop, self._thread, self._thread_id = asyncio.get_running_loop(), None, threading.get_ident()
            return True

    def start_in_thread(self) -> bool:
        """From any thread. True: a thread was started."""
        if self._loop is not None and not self._loop.is_closed():
            return False
        with self._lock:
            if self._loop is not None and not self._loop.is_closed():
                return False
            self._tasks.clear()
            loop = asyncio.new_event_loop()
            self._thread = threading.Thread(target=_run, args=(loop,), name=f"loggos pool {self._name}", daemon=True)
            self._thread.start()
            self._loop, self._thread_id = loop, self._thread.ident
            return True

    @property
    def running(self) -> bool:
        return self._loop is not None and not self._loop.is_closed()

    def spawn(self, work: Work) -> None:
        """Start `work`, from any thread. Does nothing where nothing runs."""
        loop = self._loop
        if loop is None or loop.is_closed():
            return
        if threading.get_ident() == self._thread_id:
            self._spawn(work)
            return
        try:
            loop.call_soon_threadsafe(self._spawn, work)
        except RuntimeError:  # it was closed just now
            return

    def _spawn(self, work: Work) -> None:
        task = asyncio.get_running_loop().create_task(work(), name=f"loggos pool {self._name}")
        self._tasks[task] = None
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.pop(task, None)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("pool %s: its background work failed", self._name, exc_info=error)

    async def aclose(self) -> None:
        """Ends everything, from a coroutine."""
        if self._loop is asyncio.get_running_loop():
            self._loop = None
            await self._cancel_all()
        elif self._loop is not None:
            await asyncio.to_thread(self.close)

    def close(self) -> None:
        """Ends everything, from a thread. Tasks in a loop that is not ours are cancelled there, not waited for."""
        with self._lock:
            loop, self._loop = self._loop, None
            thread, self._thread = self._thread, None
        if loop is None or loop.is_closed():
            return
        if thread is None:
            loop.call_soon_threadsafe(self._cancel_soon)
        elif thread is not threading.current_thread():
            asyncio.run_coroutine_threadsafe(self._cancel_all(), loop).result(POOL_STOP_TIMEOUT_S)
            loop.call_soon_threadsafe(loop.stop)
            thread.join(POOL_STOP_TIMEOUT_S)

    def _cancel_soon(self) -> None:
        for task in list(self._tasks):
            task.cancel()
        self._at_end()

    async def _cancel_all(self) -> None:
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._at_end()


def _run(loop: asyncio.AbstractEventLoop) -> None:
    """The thread: a loop until it is stopped."""
    asyncio.set_event_loop(loop)
    try:
        loop.run_forever()
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.run_until_complete(loop.shutdown_default_executor())
    finally:
        loop.close()
