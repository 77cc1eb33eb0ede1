"""Local sockets of the Network port, on every world."""

from __future__ import annotations

import asyncio
import os
import socket
from pathlib import Path

import pytest

from loggos.base.ports import World
from tests.ports.test_network import Recorder
from tests.ports.worlds import HostSite, Site


@pytest.fixture
def path(site: Site, tmp_path: Path) -> str:
    return str(tmp_path / "run" / "local.sock")


def test_bytes_go_both_ways(site: Site, path: str) -> None:
    async def program(world: World) -> None:
        await world.network.listen_local(path, lambda: Recorder(echo=True))
        client = Recorder()
        _, protocol = await world.network.connect_local(path, lambda: client)
        assert protocol is client
        client.transport.write(b"x" * 300_000)
        await client.until_bytes(300_000)

    site.run(program)


def test_nobody_serves(site: Site, path: str) -> None:
    async def program(world: World) -> None:
        with pytest.raises(OSError):
            await world.network.connect_local(path, Recorder)
        server = await world.network.listen_local(path, Recorder)
        server.close()
        await asyncio.sleep(0.01)
        with pytest.raises(OSError):
            await world.network.connect_local(path, Recorder)

    site.run(program)


def test_a_living_server_is_not_replaced(site: Site, path: str) -> None:
    async def program(world: World) -> None:
        first = Recorder()
        await world.network.listen_local(path, lambda: first)
        with pytest.raises(OSError, match="already serves"):
            await world.network.listen_local(path, Recorder)
        client = Recorder()
        await world.network.connect_local(path, lambda: client)
        client.transport.write(b"still here")
        await first.until_bytes(10)

    site.run(program)


def test_the_next_process_takes_the_place_of_a_dead_one(site: Site, path: str) -> None:
    async def program(world: World) -> None:
        await world.network.listen_local(path, lambda: Recorder(echo=True))
        client = Recorder()
        await world.network.connect_local(path, lambda: client)
        client.transport.write(b"hello")
        await client.until_bytes(5)

    if isinstance(site, HostSite):  # what a process that was killed leaves behind
        os.makedirs(os.path.dirname(path))
        dead = socket.socket(socket.AF_UNIX)
        dead.bind(path)
        dead.close()
        assert os.path.exists(path)
    else:
        site.run(program)
    site.run(program)


def test_only_this_user_may_connect(site: Site, path: str) -> None:
    async def program(world: World) -> None:
        await world.network.listen_local(path, Recorder)
        if isinstance(site, HostSite):
            assert os.stat(path).st_mode & 0o777 == 0o600
            assert os.stat(os.path.dirname(path)).st_mode & 0o777 == 0o700

    site.run(program)
