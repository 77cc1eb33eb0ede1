"""The relay between nodes: it delays both ways, holds a cut node's bytes, and loses none."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable
from typing import Any

from loggos.app.bench import relay, wire

DELAY_S = 0.03


class PlainLink(relay.Link):
    """A link without the kernel's redirect: it always leads to `target_address`, and needs no privilege."""

    target_address: wire.Address = ("127.0.0.1", 0)

    def destination(self, sock: socket.socket) -> wire.Address:
        return self.target_address

    def outgoing(self) -> socket.socket:
        return socket.socket()


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(1000):
        writer.write(data)
    writer.close()


def through_relay(test: Callable[[relay.Switch, asyncio.StreamReader, asyncio.StreamWriter], Any], delay_s: float = 0.0) -> None:
    """Run a test with a connection that leads through a relay to an echo server."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        server = await asyncio.start_server(echo, "127.0.0.1", 0)
        switch = relay.Switch(delay_s)

        class ToEcho(PlainLink):
            target_address = server.sockets[0].getsockname()

        front = await loop.create_server(lambda: ToEcho(switch), "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*front.sockets[0].getsockname())
        await test(switch, reader, writer)
        writer.close()
        front.close()
        server.close()

    asyncio.run(main())


def test_both_directions_are_delayed() -> None:
    async def test(switch: relay.Switch, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        writer.write(b"hello")
        assert await reader.readexactly(5) == b"hello"
        assert loop.time() - began >= 2 * DELAY_S

    through_relay(test, DELAY_S)


def test_a_cut_process_hears_nothing_until_it_is_healed_and_then_everything() -> None:
    async def test(switch: relay.Switch, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"before")
        assert await reader.readexactly(6) == b"before"
        switch.set([os.getpid()], [])
        writer.write(b"during")
        await asyncio.sleep(0.05)
        assert switch.links[0].forth.queued_bytes == 6
        switch.set([], [])
        assert await reader.readexactly(6) == b"during"

    through_relay(test)


def test_a_cut_port_holds_the_links_that_lead_to_it_and_no_others() -> None:
    async def test(switch: relay.Switch, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"x")
        await reader.readexactly(1)
        link = switch.links[0]
        switch.set([], [link.target[1] + 1])
        assert not link.forth.held
        switch.set([], [link.target[1]])
        assert link.forth.held and link.back.held

    through_relay(test)


def test_the_end_of_a_connection_travels_too() -> None:
    async def test(switch: relay.Switch, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"last words")
        writer.write_eof()
        assert await reader.read() == b"last words"
        writer.close()
        await writer.wait_closed()
        for _ in range(100):
            if not switch.links:
                return
            await asyncio.sleep(0.01)
        raise AssertionError("the link was never closed")

    through_relay(test)
