"""What only real sockets have."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

import pytest

from loggos.base.limits import PEER_USER_TIMEOUT_MS
from loggos.host.loop import run as run_loop
from loggos.host.world import HostWorld


@pytest.mark.skipif(not hasattr(socket, "TCP_USER_TIMEOUT"), reason="the platform does not have it")
@pytest.mark.parametrize("uvloop", [False, True])
def test_a_dialled_connection_gives_up_a_silent_machine_in_seconds(uvloop: bool, tmp_path: Path) -> None:
    async def main() -> None:
        world = HostWorld(tmp_path)
        server = await world.network.listen("127.0.0.1", 0, asyncio.Protocol)
        transport, _ = await world.network.connect("127.0.0.1", server.port, asyncio.Protocol)
        connection = transport.get_extra_info("socket")
        assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == PEER_USER_TIMEOUT_MS
        assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        transport.abort()
        server.close()
        await world.close()

    run_loop(main, prefer_uvloop=uvloop)
