"""The Network port over real sockets: TCP, and local sockets between processes of one user.

Rules: TCP has Nagle's delay off and a bound on silence; a listener takes few connections in one turn of the loop, so that
those that a door refuses are closed before they fill the table of descriptors; a local socket is open to its user only.
"""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import os
import socket
from collections.abc import Sequence
from typing import Any, Final

from loggos.base.limits import PEER_USER_TIMEOUT_MS
from loggos.base.ports import ProtocolFactory

_BACKLOG: Final = 1_024  # connections that the system accepts while the loop is busy
_ACCEPTED_A_TURN: Final = 16  # connections that asyncio's own loop takes at once; uvloop takes one
_LOCAL_BACKLOG: Final = 64  # as _BACKLOG, of local sockets


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

        server = await self._loop.create_server(accepted, host, port, backlog=_ACCEPTED_A_TURN, reuse_address=True)
        for listening in server.sockets:
            _lengthen_backlog(listening.fileno())
        return HostServer(server, server.sockets[0].getsockname()[1])

    async def resolve(self, host: str) -> Sequence[str]:
        try:
            ipaddress.ip_address(host)
        except ValueError:
            found = await self._loop.getaddrinfo(host, None, type=socket.SOCK_STREAM)
            return list(dict.fromkeys(_numeric(address) for *_, address in found))
        return [host]

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


def _lengthen_backlog(descriptor: int) -> None:
    """The loops' own `backlog` is at once how many connections wait and how many asyncio takes in a turn."""
    with socket.socket(fileno=os.dup(descriptor)) as twin:
        twin.listen(_BACKLOG)


def _numeric(address: Sequence[Any]) -> str:
    """An address of getaddrinfo as text: the interface of a link-local one belongs to it."""
    is_scoped = len(address) == 4 and address[3] != 0
    return f"{address[0]}%{address[3]}" if is_scoped else str(address[0])


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
