"""The Network, Clock, Entropy and Spawner ports, on every world."""

from __future__ import annotations

import asyncio

import pytest

from loggos.base.ports import World
from tests.ports.worlds import Site


class Recorder(asyncio.Protocol):
    """Notes all that it is told. `echo`: sends data back;"""

    def __init__(self, echo: bool = False) -> None:
        self.echo = echo
        self.transport: asyncio.Transport
        self.received = bytearray()
        self.calls: list[str] = []
        self.error: BaseException | None = None
        self.changed = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]  # uvloop's do not inherit from asyncio.Transport
        self._note("made")

    def data_received(self, data: bytes) -> None:
        assert isinstance(data, bytes)
        self.received += data
        if self.echo:
            self.transport.write(data)
        self.changed.set()

    def eof_received(self) -> bool | None:
        self._note("eof")
        return None

    def connection_lost(self, exc: Exception | None) -> None:
        self.error = exc
        self._note("lost")

    def pause_writing(self) -> None:
        self._note("pause")

    def resume_writing(self) -> None:
        self._note("resume")

    def _note(self, what: str) -> None:
        self.calls.append(what)
        self.changed.set()

    async def until(self, call: str) -> None:
        while call not in self.calls:
            self.changed.clear()
            await self.changed.wait()

    async def until_bytes(self, count: int) -> None:
        while len(self.received) < count:
            self.changed.clear()
            await self.changed.wait()


async def pair(world: World, server: Recorder, client: Recorder | None = None) -> Recorder:
    """A connection to `server`, once both ends know of it."""
    client = client or Recorder()
    listening = await world.network.listen("127.0.0.1", 0, lambda: server)
    assert listening.port > 0
    _, protocol = await world.network.connect("127.0.0.1", listening.port, lambda: client)
    assert protocol is client
    await server.until("made")
    return client


def test_bytes_go_both_ways_in_order(site: Site) -> None:
    async def program(world: World) -> None:
        client = await pair(world, Recorder(echo=True))
        sent = b"".join(b"%d," % number for number in range(5000))
        for start in range(0, len(sent), 77):
            client.transport.write(sent[start : start + 77])
        client.transport.writelines([b"the", bytearray(b"end")])
        await client.until_bytes(len(sent) + 6)
        assert client.received == sent + b"theend"
        assert client.transport.get_extra_info("peername")[0].count(".") == 3

    site.run(program)


def test_what_is_written_may_change_afterwards(site: Site) -> None:
    async def program(world: World) -> None:
        client = await pair(world, Recorder(echo=True))
        data = bytearray(b"before")
        client.transport.write(data)
        data[:] = b"AFTER!"
        await client.until_bytes(6)
        assert client.received == b"before"

    site.run(program)


def test_close_sends_what_is_buffered_then_ends(site: Site) -> None:
    async def program(world: World) -> None:
        server = Recorder()
        client = await pair(world, server)
        client.transport.write(b"x" * 1_000_000)
        client.transport.close()
        assert client.transport.is_closing()
        client.transport.write(b"ignored")
        await server.until("lost")
        await client.until("lost")
        assert len(server.received) == 1_000_000
        assert [call for call in server.calls if call != "pause"] == ["made", "eof", "lost"]
        assert server.error is None and client.error is None
        assert client.calls.count("lost") == 1 and "eof" not in client.calls

    site.run(program)


def test_half_close(site: Site) -> None:
    class Answering(Recorder):
        def eof_received(self) -> bool:
            super().eof_received()
            self.transport.write(b"answer")
            self.transport.close()
            return True

    async def program(world: World) -> None:
        client = await pair(world, Answering())
        client.transport.write(b"question")
        client.transport.write_eof()
        await client.until("lost")
        assert client.received == b"answer"

    site.run(program)


def test_abort_breaks_the_other_side(site: Site) -> None:
    async def program(world: World) -> None:
        server = Recorder()
        client = await pair(world, server)
        client.transport.abort()
        await client.until("lost")
        await server.until("lost")
        assert client.error is None

    site.run(program)


def test_a_reader_that_does_not_read_slows_the_writer(site: Site) -> None:
    async def program(world: World) -> None:
        server = Recorder()
        client = await pair(world, server)
        await asyncio.sleep(0.01)  # uvloop starts to read after connection_made, whatever that said
        server.transport.pause_reading()
        written = 0
        while client.calls[-1] != "pause":
            while client.calls[-1] != "pause":
                client.transport.write(b"x" * 65536)
                written += 65536
                assert written < 64 << 20
                await asyncio.sleep(0)  # uvloop writes, and sees that it cannot, at the end of a turn
            await asyncio.sleep(0.1)  # the systems in between take some
        assert client.transport.get_write_buffer_size() > 0
        client.calls.clear()
        assert not server.received
        server.transport.resume_reading()
        await client.until("resume")
        await server.until_bytes(written)
        assert server.received == b"x" * written

    site.run(program)


def test_a_buffered_protocol(site: Site) -> None:
    class Buffered(asyncio.BufferedProtocol):
        def __init__(self) -> None:
            self.buffer = bytearray(10)
            self.received = bytearray()
            self.lost = asyncio.Event()

        def get_buffer(self, sizehint: int) -> bytearray:
            return self.buffer

        def buffer_updated(self, nbytes: int) -> None:
            self.received += self.buffer[:nbytes]

        def connection_lost(self, exc: Exception | None) -> None:
            self.lost.set()

    async def program(world: World) -> None:
        server = Buffered()
        listening = await world.network.listen("127.0.0.1", 0, lambda: server)
        transport, _ = await world.network.connect("127.0.0.1", listening.port, Recorder)
        transport.write(b"0123456789" * 7 + b"rest")
        transport.close()
        await server.lost.wait()
        assert server.received == b"0123456789" * 7 + b"rest"

    site.run(program)


def test_a_taken_port_and_a_closed_port(site: Site) -> None:
    async def program(world: World) -> None:
        listening = await world.network.listen("127.0.0.1", 0, Recorder)
        with pytest.raises(OSError, match="in use"):
            await world.network.listen("127.0.0.1", listening.port, Recorder)
        listening.close()
        await asyncio.sleep(0.01)
        with pytest.raises(OSError):
            await world.network.connect("127.0.0.1", listening.port, Recorder)
        again = await world.network.listen("127.0.0.1", listening.port, Recorder)
        assert again.port == listening.port

    site.run(program)


def test_streams_work(site: Site) -> None:
    async def program(world: World) -> None:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while line := await reader.readline():
                writer.write(line.upper())
                await writer.drain()
            writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"hello\nworld\n")
        assert await reader.readline() == b"HELLO\n"
        assert await reader.readexactly(6) == b"WORLD\n"
        writer.close()
        await writer.wait_closed()
        server.close()

    site.run(program)


def test_clocks_go_forward(site: Site) -> None:
    async def program(world: World) -> None:
        monotonic, wall = world.clock.monotonic(), world.clock.wall_ms()
        await asyncio.sleep(0.05)
        assert 0.045 < world.clock.monotonic() - monotonic < 5
        assert 40 < world.clock.wall_ms() - wall < 5000
        assert isinstance(wall, int) and wall > 1_600_000_000_000

    site.run(program)


def test_timers_of_one_host_run_in_order(site: Site) -> None:
    async def program(world: World) -> None:
        ran: list[int] = []
        now = world.loop.time()
        for number in (3, 1, 2):
            world.loop.call_at(now + number / 100, ran.append, number)
        await asyncio.sleep(0.1)
        assert ran == [1, 2, 3]

    site.run(program)


def test_entropy(site: Site) -> None:
    async def program(world: World) -> None:
        assert len(world.entropy.token(16)) == 16
        assert world.entropy.token(16) != world.entropy.token(16)
        assert {world.entropy.below(3) for _ in range(200)} == {0, 1, 2}

    site.run(program)


def test_a_callback_that_raises_is_reported(site: Site) -> None:
    def raises() -> None:
        raise ValueError("as planned")

    async def program(world: World) -> None:
        world.loop.call_later(0.01, raises)
        await asyncio.sleep(0.1)

    try:
        site.run(program)
    except AssertionError:
        pass  # the simulated host stops at once, as a node does
    assert [(name, str(error)) for name, error in site.failures] == [("callback", "as planned")]


def test_a_task_that_dies_is_reported(site: Site) -> None:
    async def dying() -> None:
        await asyncio.sleep(0.01)
        raise ValueError("as planned")

    async def program(world: World) -> None:
        world.spawner.spawn(dying(), "victim")
        cancelled = world.spawner.spawn(asyncio.sleep(10), "cancelled")
        cancelled.cancel()
        await asyncio.sleep(0.005)

    async def waits(world: World) -> None:
        await program(world)
        await asyncio.sleep(0.1)

    try:
        site.run(waits)
    except AssertionError:
        pass  # the simulated host stops at once, as a node does
    assert [(name, str(error)) for name, error in site.failures] == [("victim", "as planned")]
