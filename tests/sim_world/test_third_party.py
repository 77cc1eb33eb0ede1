"""Clients that know nothing of simulation run in it unchanged: here an asyncio ZooKeeper client, against a scripted server."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Iterator
from itertools import pairwise

import aiozk.exc
import aiozk.session
import pytest

from loggos.base.ports import World
from loggos.sim.world import SimWorld

STAT = struct.pack(">qqqqiiiqiiq", 1, 1, 0, 0, 0, 0, 0, 0, 5, 0, 1)
GET_DATA, PING, CLOSE = 4, 11, -11


class ScriptedServer:
    """Just enough ZooKeeper: srvr, connect, getData, ping, close. Notes pings by virtual time."""

    def __init__(self) -> None:
        self.pings: list[float] = []

    async def serve(self, ports: World) -> None:
        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                await self.converse(ports, reader, writer)
            except (asyncio.IncompleteReadError, OSError):
                pass
            writer.close()

        server = await asyncio.start_server(handle, port=2181)
        await server.serve_forever()

    async def converse(self, ports: World, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        first = await reader.readexactly(4)
        if first == b"srvr":
            writer.write(b"Zookeeper version: 3.8.0-0, built on a good day\nMode: leader\n")
            return
        _, _, timeout, _ = struct.unpack_from(">iqiq", await reader.readexactly(int.from_bytes(first, "big")))
        reply = struct.pack(">iiqi", 0, timeout, 7, 16) + bytes(16)
        writer.write(struct.pack(">i", len(reply)) + reply)
        while True:
            frame = await reader.readexactly(int.from_bytes(await reader.readexactly(4), "big"))
            xid, opcode = struct.unpack_from(">ii", frame)
            body = b""
            if opcode == GET_DATA:
                body = struct.pack(">i", 5) + b"hello" + STAT
            elif opcode == PING:
                self.pings.append(ports.loop.time())
            writer.write(struct.pack(">iiqi", 16 + len(body), xid, 1, 0) + body)
            if opcode == CLOSE:
                return


async def get(zookeeper: aiozk.ZKClient) -> bytes:
    """aiozk reports a request that was under way when the connection broke; ask again."""
    while True:
        try:
            return await zookeeper.get_data("/x")
        except (aiozk.exc.TimeoutError, aiozk.exc.ConnectError):
            await asyncio.sleep(0.5)


def play(seed: int) -> tuple[str, list[bytes], list[float], SimWorld]:
    read: list[bytes] = []
    scripted = ScriptedServer()
    with SimWorld(seed, adopt=["aiozk"]) as world:
        server, client = world.host("server"), world.host("client")

        async def main(ports: World) -> None:
            zookeeper = aiozk.ZKClient("10.0.0.1:2181", session_timeout=10)
            await zookeeper.start()
            for _ in range(3):
                read.append(await get(zookeeper))
                await asyncio.sleep(10)

        async def scenario() -> None:
            server.start(scripted.serve)
            running = client.start(main)
            await asyncio.sleep(15)
            server.crash()
            await asyncio.sleep(2)
            server.start(scripted.serve)
            await running

        world.run(scenario())
    return world.digest(), read, scripted.pings, world


@pytest.fixture
def quiet(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    with caplog.at_level("CRITICAL"):
        yield


def test_aiozk_connects_pings_in_virtual_time_and_survives_a_restart(quiet: None) -> None:
    digest, read, pings, world = play(1)
    assert not world.failures
    assert read == [b"hello"] * 3
    gaps = [later - earlier for earlier, later in pairwise(pings)]
    assert len(pings) >= 4 and min(gaps) > 2, "a ping every third of the session timeout"
    assert world.simulated_s >= 30 > world.wall_s
    assert play(1)[0] == digest != play(2)[0]


def test_aiozk_inside_a_partition_waits_for_its_end(quiet: None) -> None:
    scripted = ScriptedServer()
    with SimWorld(3, adopt=["aiozk"]) as world:
        server, client = world.host("server"), world.host("client")
        read: list[float] = []

        async def main(ports: World) -> None:
            zookeeper = aiozk.ZKClient("server:2181", session_timeout=10)
            await zookeeper.start()
            await get(zookeeper)
            read.append(ports.loop.time())

        async def scenario() -> None:
            server.start(scripted.serve)
            world.network.isolate("server")
            running = client.start(main)
            await asyncio.sleep(20)
            assert not read
            world.network.heal()
            await running

        world.run(scenario())
    assert read and not world.failures
