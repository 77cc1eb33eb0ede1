"""What only real sockets have."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path
from typing import cast

import pytest

from loggos.base.limits import PEER_USER_TIMEOUT_MS
from loggos.host.loop import run as run_loop
from loggos.host.world import HostWorld

BURST = 200


class Refused(asyncio.Protocol):
    """Closed as soon as it is made, as a door does it that has no room."""

    here = most = ended = 0

    def __init__(self) -> None:
        Refused.here += 1
        Refused.most = max(Refused.most, Refused.here)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        cast(asyncio.Transport, transport).abort()

    def connection_lost(self, error: Exception | None) -> None:
        Refused.here -= 1
        Refused.ended += 1


@pytest.mark.parametrize("uvloop", [False, True])
def test_a_burst_of_refused_connections_takes_few_descriptors(uvloop: bool, tmp_path: Path) -> None:
    """All of them wait when the loop turns; those refused are closed before the next ones are taken."""

    async def main() -> None:
        world = HostWorld(tmp_path)
        Refused.most = Refused.ended = 0
        server = await world.network.listen("127.0.0.1", 0, Refused)
        clients = [socket.create_connection(("127.0.0.1", server.port), 10.0) for _ in range(BURST)]
        async with asyncio.timeout(30):
            while Refused.ended < BURST:  # noqa: ASYNC110
                await asyncio.sleep(0)
        assert 0 < Refused.most <= 40
        for client in clients:
            client.close()
        server.close()
        await world.close()

    run_loop(main, prefer_uvloop=uvloop)


@pytest.mark.parametrize("uvloop", [False, True])
def test_a_name_is_resolved_to_addresses(uvloop: bool, tmp_path: Path) -> None:
    async def main() -> None:
        world = HostWorld(tmp_path)
        for address in ("127.0.0.1", "::1", "fe80::1%3"):
            assert list(await world.network.resolve(address)) == [address]
        assert {"127.0.0.1", "::1"} & set(await world.network.resolve("localhost"))
        await world.close()

    run_loop(main, prefer_uvloop=uvloop)


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
