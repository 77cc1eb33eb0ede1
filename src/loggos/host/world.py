"""HostWorld: all ports of one node in the real world.

Rules: `wall_ms` is for people, `monotonic` for intervals; randomness comes from the system; connections are TCP with Nagle's
delay off. A supervised task that dies of an error, or a callback that raises one, is reported to `on_failure` exactly once,
which is expected to stop the node; the others go on until it does.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import secrets
import socket
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, Final

from loggos.base.limits import PEER_USER_TIMEOUT_MS
from loggos.base.ports import Clock, Disk, Entropy, Network, ProtocolFactory, Spawner
from loggos.host.disk import HostDisk, SystemCalls

log = logging.getLogger("loggos.host")
FailureHandler = Callable[[str, BaseException], None]
_BACKLOG: Final = 1_024  # connections that the system accepts while the loop is busy
_LOCAL_BACKLOG: Final = 64  # the same of local sockets


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


class HostServer:
    """ports.Server."""

    def __init__(self, server: asyncio.AbstractServer, port: int) -> None:
        self.port = port
        self._server = server

    def close(self) -> None:
        self._server.close()


class HostNetwork:
    """ports.Network."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop

    async def listen(self, host: str, port: int, factory: ProtocolFactory) -> HostServer:
        def accepted() -> asyncio.BaseProtocol:
            return factory()

        server = await self._loop.create_server(accepted, host, port, backlog=_BACKLOG, reuse_address=True)
        return HostServer(server, server.sockets[0].getsockname()[1])

    async def connect(self, host: str, port: int, factory: ProtocolFactory) -> tuple[asyncio.Transport, asyncio.BaseProtocol]:
        transport, protocol = await self._loop.create_connection(factory, host, port)
        without_delay(transport)
        without_long_silence(transport)
        return transport, protocol

    async def listen_local(self, path: str, factory: ProtocolFactory) -> HostServer:
        def accepted() -> asyncio.BaseProtocol:
            return factory()

        os.makedirs(os.path.dirname(path) or ".", mode=0o700, exist_ok=True)
        await self._refuse_served(path)
        listening = _bind_private(path)
        try:
            server = await self._loop.create_unix_server(accepted, sock=listening, backlog=_LOCAL_BACKLOG)
        except BaseException:
            listening.close()
            raise
        return HostServer(server, 0)

    async def connect_local(self, path: str, factory: ProtocolFactory) -> tuple[asyncio.Transport, asyncio.BaseProtocol]:
        return await self._loop.create_unix_connection(factory, path)

    async def _refuse_served(self, path: str) -> None:
        """OSError if a process answers at `path`; else what is left there of a dead one is removed."""
        try:
            transport, _ = await self._loop.create_unix_connection(asyncio.Protocol, path)
        except ConnectionRefusedError:
            os.unlink(path)
        except FileNotFoundError:
            return
        else:
            transport.abort()
            raise OSError(errno.EADDRINUSE, f"a process already serves at {path}: stop it first")


def _bind_private(path: str) -> socket.socket:
    """A socket at `path` that only this user can open: nobody can connect before it listens, and by then its mode is set."""
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listening.setblocking(False)
        listening.bind(path)
        os.chmod(path, 0o600)
    except OSError:
        listening.close()
        raise
    return listening


def without_delay(transport: asyncio.BaseTransport) -> None:
    """TCP_NODELAY; both loops set it by themselves on Linux, so this is for the others."""
    connection = transport.get_extra_info("socket")
    if connection is not None and connection.family in (socket.AF_INET, socket.AF_INET6):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def without_long_silence(transport: asyncio.BaseTransport) -> None:
    """TCP_USER_TIMEOUT, where the platform has it: a machine that confirms nothing is given up in seconds, not in minutes."""
    connection = transport.get_extra_info("socket")
    option = getattr(socket, "TCP_USER_TIMEOUT", None)
    if option is not None and connection is not None and connection.family in (socket.AF_INET, socket.AF_INET6):
        connection.setsockopt(socket.IPPROTO_TCP, option, PEER_USER_TIMEOUT_MS)


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

    def _stop_loop(self, task: str, error: BaseException) -> None:
        self._loop.stop()

    async def close(self) -> None:
        """Stop the tasks, then the disk; all that was handed to it is finished, unless it hangs."""
        await self._spawner.stop()
        await self._disk.finish()
