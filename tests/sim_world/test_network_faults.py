"""What the simulated network does to connections."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator

import pytest

from loggos.base.ports import World
from loggos.sim.world import SimHost, SimWorld

PORT = 7000


class End(asyncio.Protocol):
    """Notes what it is told, and when."""

    def __init__(self, world: SimWorld) -> None:
        self.world = world
        self.transport: asyncio.Transport
        self.received = bytearray()
        self.pieces = 0
        self.lost: list[tuple[float, Exception | None]] = []
        self.is_paused = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.received += data
        self.pieces += 1

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.append((self.world.loop.time(), exc))

    def pause_writing(self) -> None:
        self.is_paused = True

    def resume_writing(self) -> None:
        self.is_paused = False


class Pair:
    """Host `two` listens, host `one` connects."""

    def __init__(self, world: SimWorld) -> None:
        self.world = world
        self.one, self.two = world.host("one"), world.host("two")
        self.servers: list[End] = []
        self.clients: list[End] = []
        self.errors: list[tuple[float, OSError]] = []

    async def listen(self, ports: World) -> None:
        def factory() -> End:
            self.servers.append(End(self.world))
            return self.servers[-1]

        await ports.network.listen("", PORT, factory)

    async def connect(self, ports: World) -> None:
        try:
            _, end = await ports.network.connect("two", PORT, lambda: End(self.world))
        except OSError as error:
            self.errors.append((self.world.loop.time(), error))
        else:
            assert isinstance(end, End)
            self.clients.append(end)

    async def open(self) -> tuple[End, End]:
        """A fresh connection: (client, server)."""
        if not self.two.is_running:
            await self.two.start(self.listen)
        await self.one.start(self.connect)
        await asyncio.sleep(0.1)
        return self.clients[-1], self.servers[-1]

    def write(self, host: SimHost, end: End, data: bytes) -> None:
        """Write as the host that owns the end."""

        async def main(ports: World) -> None:
            end.transport.write(data)

        host.start(main)


async def until(reached: Callable[[], bool]) -> None:
    while not reached():  # noqa: ASYNC110
        await asyncio.sleep(0.01)


@pytest.fixture
def world() -> Iterator[SimWorld]:
    with SimWorld(4) as world:
        yield world
        assert not world.failures and not world.network.failures and not world.loop.errors


@pytest.fixture
def pair(world: SimWorld) -> Pair:
    return Pair(world)


def test_a_cut_link_keeps_bytes_and_delivers_them_in_order_when_mended(world: SimWorld, pair: Pair) -> None:
    async def scenario() -> None:
        client, server = await pair.open()
        pair.write(pair.one, client, b"before,")
        world.network.partition([["one"], ["two"]])
        for number in range(20):
            pair.write(pair.one, client, b"%d," % number)
            await asyncio.sleep(0.3)
        assert not server.received and not server.lost and not client.lost
        world.network.heal()
        await asyncio.sleep(5)
        assert server.received == b"before," + b"".join(b"%d," % number for number in range(20))

    world.run(scenario())


def test_what_was_under_way_when_the_link_was_cut_is_sent_again_in_order(world: SimWorld, pair: Pair) -> None:
    async def scenario() -> None:
        client, server = await pair.open()
        world.network.link_between("one", "two").extra_s = 1.0
        for number in range(8):
            pair.write(pair.one, client, b"%d," % number)
            await asyncio.sleep(0.2)
        world.network.cut("one", "two")
        arrived = bytes(server.received)
        assert b"0," in arrived and b"7," not in arrived
        await asyncio.sleep(5)
        assert server.received == arrived
        world.network.heal()
        await asyncio.sleep(5)
        assert server.received == b"0,1,2,3,4,5,6,7,"

    world.run(scenario())


def test_a_link_cut_for_long_breaks_the_sender_only(world: SimWorld, pair: Pair) -> None:
    async def scenario() -> None:
        client, server = await pair.open()
        world.network.cut("one", "two")
        began = world.loop.time()
        pair.write(pair.one, client, b"x")
        await asyncio.sleep(60)
        [(when, error)] = client.lost
        assert isinstance(error, TimeoutError)
        assert 15 < when - began < 22
        assert not server.lost, "half-open: the other side has not tried to send"
        pair.write(pair.two, server, b"are you there?")
        await asyncio.sleep(1)
        assert not server.lost, "its bytes arrive, but the answer is lost"
        world.network.heal()
        await asyncio.sleep(5)
        assert isinstance(server.lost[0][1], ConnectionResetError), "sent again, answered this time"

    world.run(scenario())


def test_an_idle_connection_survives_a_partition(world: SimWorld, pair: Pair) -> None:
    async def scenario() -> None:
        client, server = await pair.open()
        world.network.isolate("one")
        await asyncio.sleep(100)
        assert not client.lost and not server.lost
        world.network.heal()
        pair.write(pair.two, server, b"hello")
        await asyncio.sleep(1)
        assert client.received == b"hello"

    world.run(scenario())


def test_one_way(world: SimWorld, pair: Pair) -> None:
    async def scenario() -> None:
        client, server = await pair.open()
        world.network.cut("one", "two")
        pair.write(pair.one, client, b"lost for now")
        pair.write(pair.two, server, b"arrives")
        await asyncio.sleep(1)
        assert client.received == b"arrives" and not server.received

    world.run(scenario())


def test_overlapping_cuts_need_as_many_mends(world: SimWorld, pair: Pair) -> None:
    async def scenario() -> None:
        client, server = await pair.open()
        world.network.cut("one", "two")
        world.network.cut("one", "two")
        world.network.mend("one", "two")
        pair.write(pair.one, client, b"x")
        await asyncio.sleep(5)
        assert not server.received and world.network.cut_links() == [("one", "two")]
        world.network.mend("one", "two")
        await asyncio.sleep(5)
        assert server.received == b"x"

    world.run(scenario())


def test_connecting(world: SimWorld, pair: Pair) -> None:
    async def scenario() -> None:
        began = world.loop.time()
        await pair.one.start(pair.connect)
        assert isinstance(pair.errors[0][1], TimeoutError), "the machine is off"
        assert world.loop.time() - began == pytest.approx(127, abs=0.5)
        await pair.open()
        pair.two.crash()
        await pair.one.start(pair.connect)
        assert isinstance(pair.errors[1][1], ConnectionRefusedError), "the machine is up, nobody listens"
        pair.two.start(pair.listen)
        world.network.cut("one", "two")
        await pair.one.start(pair.connect)
        assert isinstance(pair.errors[2][1], TimeoutError), "no way there"
        assert len(pair.servers) == 1
        world.network.heal()
        world.network.cut("two", "one")
        await pair.one.start(pair.connect)
        assert isinstance(pair.errors[3][1], TimeoutError), "no way back"
        assert len(pair.servers) > 1, "the server holds ghosts"
        assert world.trace.faults["ghost connection"] >= 1
        world.network.heal()
        pair.write(pair.two, pair.servers[-1], b"hello?")
        await asyncio.sleep(1)
        assert isinstance(pair.servers[-1].lost[0][1], ConnectionResetError)

    world.run(scenario())


def test_a_lost_first_packet_is_repeated_ever_more_seldom(world: SimWorld, pair: Pair) -> None:
    """As the system does it: after 1, 3, 7, 15, 31 and 63 s. A way that opens after 16 s is not seen before 31 s."""

    async def scenario() -> None:
        await pair.open()
        world.network.isolate("one")
        began = world.loop.time()
        world.loop.call_later(16, world.network.heal)
        await pair.one.start(pair.connect)
        assert not pair.errors and world.loop.time() - began == pytest.approx(31, abs=0.1)

    world.run(scenario())


def test_whoever_gives_up_in_the_turn_of_the_answer_leaves_no_connection() -> None:
    """The same world twice: to learn when the answer comes, and to give up at that moment."""

    def connected_at(give_up_at: float | None) -> float:
        with SimWorld(4) as world:
            pair = Pair(world)

            async def scenario() -> float:
                await pair.two.start(pair.listen)
                attempt = pair.one.start(pair.connect)
                while not pair.servers:  # noqa: ASYNC110
                    await asyncio.sleep(0.00001)
                if give_up_at is not None:
                    world.loop.call_at(give_up_at, attempt.cancel)
                await asyncio.wait([attempt])
                at = world.loop.time()
                await asyncio.sleep(1)
                assert (attempt.cancelled(), len(pair.clients)) == ((False, 1) if give_up_at is None else (True, 0))
                assert bool(pair.servers[0].lost) is attempt.cancelled()
                assert not world.network.failures
                return at

            return world.run(scenario())

    at = connected_at(None)
    assert connected_at(at) == at


def test_a_crash_is_seen_by_the_peer_and_a_power_cut_is_not(world: SimWorld, pair: Pair) -> None:
    async def scenario() -> None:
        client, _ = await pair.open()
        pair.two.crash()
        await asyncio.sleep(0.1)
        assert client.lost
        client, _ = await pair.open()
        pair.two.power_cut()
        await asyncio.sleep(100)
        assert not client.lost, "nothing was sent, so nothing is known"
        pair.two.start(pair.listen)
        pair.write(pair.one, client, b"still there?")
        await asyncio.sleep(1)
        assert isinstance(client.lost[0][1], ConnectionResetError), "the new life does not know the connection"

    world.run(scenario())


def test_half_open(world: SimWorld, pair: Pair) -> None:
    async def scenario() -> None:
        client, server = await pair.open()
        assert world.network.half_open("two", "one") == 1
        await asyncio.sleep(60)
        assert server.lost and not client.lost
        pair.write(pair.one, client, b"x")
        await asyncio.sleep(1)
        assert isinstance(client.lost[0][1], ConnectionResetError)
        assert not server.received

    world.run(scenario())


def test_a_reset_reaches_both(world: SimWorld, pair: Pair) -> None:
    async def scenario() -> None:
        client, server = await pair.open()
        assert world.network.reset_connections("one", "two") == 1
        await asyncio.sleep(1)
        assert len(client.lost) == len(server.lost) == 1

    world.run(scenario())


def test_a_paused_host_slows_its_peer_and_loses_nothing(world: SimWorld, pair: Pair) -> None:
    async def scenario() -> None:
        client, server = await pair.open()
        pair.two.pause()
        for _ in range(100):
            pair.write(pair.one, client, b"x" * 10_000)
        await asyncio.sleep(60)
        assert client.is_paused and not server.received and not client.lost
        pair.two.resume()
        await asyncio.sleep(1)
        assert not client.is_paused and server.received == b"x" * 1_000_000

    world.run(scenario())


def test_loss_delays_and_splits_but_never_loses(world: SimWorld, pair: Pair) -> None:
    async def scenario() -> None:
        client, server = await pair.open()
        link = world.network.link_between("one", "two")
        link.loss, link.split = 0.3, 0.5
        sent = b"".join(b"%d," % number for number in range(300))
        began = world.loop.time()
        for start in range(0, len(sent), 50):
            pair.write(pair.one, client, sent[start : start + 50])
            await asyncio.sleep(0.01)
        await until(lambda: len(server.received) >= len(sent))
        assert server.received == sent
        assert world.loop.time() - began > 0.2
        assert world.trace.faults["packet loss"] > 1

    world.run(scenario())


def test_bandwidth(world: SimWorld, pair: Pair) -> None:
    async def scenario() -> None:
        client, server = await pair.open()
        world.network.link_between("one", "two").bytes_per_s = 1_000_000
        began = world.loop.time()
        for _ in range(20):
            pair.write(pair.one, client, b"x" * 100_000)
        await until(lambda: len(server.received) == 2_000_000)
        assert world.loop.time() - began == pytest.approx(2, rel=0.1)

    world.run(scenario())


def test_regions(world: SimWorld, pair: Pair) -> None:
    async def scenario() -> None:
        three = world.host("three")
        world.network.set_regions({"east": ["one"], "west": ["two", "three"]})
        for source, target in (("one", "two"), ("two", "one"), ("one", "three")):
            assert 0.040 <= world.network.link_between(source, target).delay_s <= 0.120
        assert world.network.link_between("two", three.name).delay_s < 0.001
        began = world.loop.time()
        await pair.two.start(pair.listen)
        await pair.one.start(pair.connect)
        assert 0.080 < world.loop.time() - began < 0.26

    world.run(scenario())


def test_partitions_cut_what_they_should(world: SimWorld) -> None:
    names = ["a", "b", "c", "d", "e"]
    for name in names:
        world.host(name)
    network = world.network
    network.partition([["a", "b"], ["c", "d", "e"]])
    assert len(network.cut_links()) == 12 and ("a", "b") not in network.cut_links()
    network.heal()
    network.ring(names)
    cut = network.cut_links()
    assert all(len([link for link in cut if link[0] == name]) == 2 for name in names)
    assert ("a", "b") not in cut and ("a", "e") not in cut and ("a", "c") in cut
    network.heal()
    assert network.ring_links(["a", "b", "c"]) == [("a", "c"), ("c", "a")]
    network.isolate("a")
    assert len(network.cut_links()) == 8


def test_an_error_in_a_protocol_ends_its_connection_and_is_reported() -> None:
    class Faulty(End):
        def data_received(self, data: bytes) -> None:
            raise ValueError("as planned")

    with SimWorld(1) as world:
        pair = Pair(world)

        async def scenario() -> None:
            await pair.open()
            pair.clients[-1].__class__ = Faulty
            pair.write(pair.two, pair.servers[-1], b"x")
            await asyncio.sleep(1)
            assert pair.clients[-1].lost and pair.servers[-1].lost

        world.run(scenario())
        [(host, method, error)] = world.network.failures
        assert (host, method, str(error)) == ("one", "data_received", "as planned")
