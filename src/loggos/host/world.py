"""HostWorld: all ports of one node in the real world.

Rules: `wall_ms` is for people, `monotonic` for intervals; randomness comes from the system. A supervised task that dies of an
error, or a callback that raises one, is reported to `on_failure` exactly once, which is expected to stop the node; the others
go on until it does.
"""

from __future__ import annotations

import asyncio
import logging
import os
import resource
import secrets
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from loggos.base.ports import Clock, Disk, Entropy, Network, Spawner
from loggos.host.disk import HostDisk, SystemCalls
from loggos.host.network import HostNetwork

log = logging.getLogger("loggos.host")
FailureHandler = Callable[[str, BaseException], None]


class HostClock:
    """ports.Clock."""

    def monotonic(self) -> float:
        return time.monotonic()

    def wall_ms(self) -> int:
        return time.time_ns() // 1_000_000


class HostEntropy:
    """ports.Entropy."""

    def token(self, size_bytes: int) -> bytes:
        return secrets.token_bytes(size_bytes)

    def below(self, bound: int) -> int:
        return secrets.randbelow(bound)


class HostSpawner:
    """ports.Spawner: keeps its tasks, reports the ones that die of an error."""

    def __init__(self, loop: asyncio.AbstractEventLoop, on_failure: FailureHandler) -> None:
        self._loop = loop
        self._on_failure = on_failure
        self._tasks: dict[asyncio.Task[None], None] = {}

    def spawn(self, coroutine: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        task = self._loop.create_task(coroutine, name=name)
        self._tasks[task] = None
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.pop(task, None)
        error = None if task.cancelled() else task.exception()
        if error is not None:
            log.critical("task %s died: %s", task.get_name(), error, exc_info=error)
            self._on_failure(task.get_name(), error)

    def loop_error(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """The loop's exception handler: a callback that raised is as bad as a task that died; the rest is logged."""
        error = context.get("exception")
        if "handle" in context and isinstance(error, BaseException):
            log.critical("a callback failed: %s", error, exc_info=error)
            self._on_failure("callback", error)
        else:
            loop.default_exception_handler(context)

    async def stop(self) -> None:
        """Cancel what still runs and wait for it; used at a graceful stop."""
        tasks = [task for task in self._tasks if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class HostWorld:
    """ports.World of one node. Make it inside a running loop. `on_failure(task name, error)` must stop the node; without one the
    loop itself is stopped. `calls`: see HostDisk."""

    def __init__(
        self, data_directory: Path | str, on_failure: FailureHandler | None = None, calls: SystemCalls | None = None
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._disk = HostDisk(Path(data_directory), self._loop, calls)
        self._spawner = HostSpawner(self._loop, on_failure or self._stop_loop)
        self.clock: Clock = HostClock()
        self.entropy: Entropy = HostEntropy()
        self.disk: Disk = self._disk
        self.network: Network = HostNetwork(self._loop)
        self.spawner: Spawner = self._spawner
        if self._loop.get_exception_handler() is None:
            self._loop.set_exception_handler(self._spawner.loop_error)

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        return self._loop

    def descriptors(self) -> tuple[int, int] | None:
        try:
            opened = len(os.listdir("/dev/fd")) - 1  # the one that looks is among them
        except OSError:
            return None  # a platform without it
        return opened, resource.getrlimit(resource.RLIMIT_NOFILE)[0]

    def _stop_loop(self, task: str, error: BaseException) -> None:
        self._loop.stop()

    async def close(self) -> None:
        """Stop the tasks, then the disk; all that was handed to it is finished, unless it hangs."""
        await self._spawner.stop()
        await self._disk.finish()
