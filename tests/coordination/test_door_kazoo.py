"""Stock kazoo, in threads, against the door on a real loop and real sockets: the recipes that users run."""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO

import pytest
import uvloop
from kazoo.client import KazooClient
from kazoo.exceptions import AuthFailedError, NoAuthError, NodeExistsError, NoNodeError
from kazoo.protocol.states import KazooState, WatchedEvent
from kazoo.security import make_digest_acl

from loggos.coordination.commands import ExpireItem, encode_expire
from loggos.coordination.service import ServiceOptions
from loggos.coordination.zookeeper.codec import OP_GET_DATA, encode_buffer, encode_request
from tests.coordination.fake_log import FakeCell, LoopNetwork


class RealClock:
    def monotonic(self) -> float:
        return time.monotonic()

    def wall_ms(self) -> int:
        return int(time.time() * 1000)


class Server:
    """A fake cell of three nodes with real doors on a loop in a thread of its own."""

    def __init__(self, new_loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
        self.loop = new_loop()
        self.ports: list[int] = []
        self.cell: FakeCell
        started = threading.Event()
        self.thread = threading.Thread(target=self._run, args=(started,), daemon=True)
        self.thread.start()
        assert started.wait(10)

    def _run(self, started: threading.Event) -> None:
        asyncio.set_event_loop(self.loop)
        self.loop.run_until_complete(self._start())
        started.set()
        self.loop.run_forever()

    async def _start(self) -> None:
        options = ServiceOptions(tick_ms=200, environment=(("loggos.version", "test"),))
        self.cell = FakeCell(3, clock=RealClock(), live_ticks=True, options=options).start()
        for door in self.cell.doors.values():
            self.ports.append((await door.listen(LoopNetwork(), "127.0.0.1", 0)).port)

    def call(self, function: Callable[[], Any]) -> Any:
        """Run something on the loop and wait."""

        async def run() -> Any:
            return function()

        return asyncio.run_coroutine_threadsafe(run(), self.loop).result(10)

    def hosts(self, *nodes: int) -> str:
        return ",".join([f"127.0.0.1:{self.ports[node - 1]}" for node in nodes or (1, 2, 3)])

    def stop(self) -> None:
        self.call(self.cell.stop)
        self.call(lambda: [task.cancel() for task in self.cell.spawner.tasks])
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(10)


@pytest.fixture(params=[asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    server = Server(request.param)
    yield server
    server.stop()


@pytest.fixture
def connect(server: Server) -> Iterator[Callable[..., KazooClient]]:
    clients: list[KazooClient] = []

    def connect(*nodes: int, **options: Any) -> KazooClient:
        client = KazooClient(hosts=server.hosts(*nodes), timeout=options.pop("timeout", 4.0), **options)
        clients.append(client)
        client.start(timeout=10)
        return client

    yield connect
    for client in clients:
        client.stop()
        client.close()


Connect = Callable[..., KazooClient]


def eventually(condition: Callable[[], bool], seconds: float = 5.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(0.01)


def test_create_get_set_watch_delete(connect: Connect) -> None:
    one, two = connect(1), connect(2)
    assert one.create("/a", b"x") == "/a"
    events: list[WatchedEvent] = []
    two.sync("/a")
    data, stat = two.get("/a", watch=events.append)
    assert (data, stat.version) == (b"x", 0)
    one.set("/a", b"y")
    eventually(lambda: [event.type for event in events] == ["CHANGED"])
    assert two.get("/a")[0] == b"y"
    with pytest.raises(NodeExistsError):
        one.create("/a")
    assert one.create("/a/s-", sequence=True) == "/a/s-0000000000"
    assert one.get_children("/a") == ["s-0000000000"]
    one.delete("/a", recursive=True)
    with pytest.raises(NoNodeError):
        one.get("/a")
    assert one.exists("/a") is None
    transaction = one.transaction()
    transaction.create("/m")
    transaction.set_data("/m", b"1")
    assert transaction.commit()[0] == "/m"


def test_lock_recipe_over_three_nodes(connect: Connect) -> None:
    clients = [connect(node) for node in (1, 2, 3)]
    inside, worst, done = [0], [0], [0]
    guard = threading.Lock()

    def work(client: KazooClient, name: str) -> None:
        lock = client.Lock("/lock", name)
        for _ in range(5):
            with lock:
                with guard:
                    inside[0] += 1
                    worst[0] = max(worst[0], inside[0])
                time.sleep(0.001)
                with guard:
                    inside[0] -= 1
                    done[0] += 1

    threads = [threading.Thread(target=work, args=(client, str(n))) for n, client in enumerate(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert (worst[0], done[0]) == (1, 15)


def test_election_recipe(connect: Connect) -> None:
    clients = [connect(node) for node in (1, 2)]
    led: list[str] = []
    threads = []
    for number, client in enumerate(clients):
        election = client.Election("/election", str(number))
        threads.append(threading.Thread(target=election.run, args=(led.append, str(number))))
        threads[-1].start()
    for thread in threads:
        thread.join(20)
    assert sorted(led) == ["0", "1"]


def test_counter_recipe(connect: Connect) -> None:
    counters = [connect(node).Counter("/counter") for node in (1, 2)]
    threads = []
    for counter in counters:

        def add(counter: Any = counter) -> None:
            for _ in range(10):
                counter += 1

        threads.append(threading.Thread(target=add))
        threads[-1].start()
    for thread in threads:
        thread.join(20)
    assert counters[0].value == 20


def test_children_and_data_watch_recipes(connect: Connect) -> None:
    one, two = connect(1), connect(3)
    one.ensure_path("/w")
    two.sync("/w")
    seen_children: list[list[str]] = []
    seen_data: list[bytes | None] = []
    two.ChildrenWatch("/w", lambda children: seen_children.append(sorted(children)))
    two.DataWatch("/w/d", lambda data, stat: seen_data.append(data))
    one.create("/w/d", b"1")
    eventually(lambda: bool(seen_children) and seen_children[-1] == ["d"])
    eventually(lambda: seen_data[-1] == b"1")
    one.set("/w/d", b"2")
    eventually(lambda: seen_data[-1] == b"2")
    one.delete("/w/d")
    eventually(lambda: seen_data[-1] is None and seen_children[-1] == [])


def test_a_session_survives_a_move_to_another_node(connect: Connect, server: Server) -> None:
    client = connect(1, 2)
    session = client.client_id[0]
    client.create("/e", ephemeral=True)
    states: list[str] = []
    client.add_listener(states.append)
    server.call(lambda: [service.close_all("test") for service in server.cell.services.values()])
    eventually(lambda: KazooState.CONNECTED in states and client.connected)
    assert client.client_id[0] == session
    assert client.exists("/e").owner_session_id == session


def test_an_expired_session_is_told_so(connect: Connect, server: Server) -> None:
    client = connect(1, timeout=4.0)
    client.create("/e", ephemeral=True)
    states: list[str] = []
    client.add_listener(states.append)
    session = client.client_id[0]

    def expire() -> None:
        state = server.cell.services[1].machine.sessions[session]
        server.cell.append(1, encode_expire([ExpireItem(state.id, state.last_seen)]))

    server.call(expire)
    eventually(lambda: KazooState.LOST in states and client.connected)
    assert client.client_id[0] != session
    assert client.exists("/e") is None


def test_digest_auth(connect: Connect) -> None:
    one = connect(1, auth_data=[("digest", "u:p")])
    one.create("/secret", b"s", acl=[make_digest_acl("u", "p", all=True)])
    other = connect(1)
    with pytest.raises(NoAuthError):
        other.get("/secret")
    other.add_auth("digest", "u:p")
    assert other.get("/secret")[0] == b"s"
    with pytest.raises(AuthFailedError):
        connect(1).add_auth("nonsense", "x")


def test_closing_ends_the_session(connect: Connect) -> None:
    one, two = connect(1), connect(2)
    one.create("/e", ephemeral=True)
    one.stop()
    two.sync("/")
    assert two.exists("/e") is None


def test_the_words_that_kazoo_sends(connect: Connect) -> None:
    client = connect(1)
    assert client.server_version() == (3, 8, 4)
    assert client.command(b"ruok") == "imok"
    assert "Mode: leader" in client.command(b"srvr")
    assert "loggos.version=test" in client.command(b"envi")
    assert client.command(b"mntr").startswith("zk_version\t3.8.4")


def test_pipelined_writes_and_reads_keep_their_order(connect: Connect) -> None:
    client = connect(3)
    client.create("/p", b"")
    pending = []
    for number in range(300):
        pending.append((client.set_async("/p", str(number).encode()), client.get_async("/p"), number))
    for written, read, number in pending:
        assert written.get(timeout=10).version == number + 1
        assert read.get(timeout=10)[0] == str(number).encode()


def test_a_slow_reader_holds_up_nobody_and_gets_everything_in_the_end(connect: Connect, server: Server) -> None:
    client = connect(1)
    client.create("/big", bytes(900_000))
    count = 30
    with socket.create_connection(("127.0.0.1", server.ports[0]), timeout=10) as slow:
        slow.sendall(struct.pack(">iiqiqi16sB", 45, 0, 0, 4000, 0, 16, bytes(16), 0))
        reader = slow.makefile("rb")
        assert len(read_frame(reader)) == 37
        slow.sendall(b"".join([encode_request(n, OP_GET_DATA, encode_buffer(b"/big") + b"\0") for n in range(count)]))

        def unread() -> int:
            return max(c.transport.get_write_buffer_size() for c in server.cell.doors[1].connections)

        eventually(lambda: server.call(unread) > 0)
        assert client.exists("/big") is not None
        assert server.call(unread) < 4_000_000
        for number in range(count):
            frame = read_frame(reader)
            assert struct.unpack_from(">i", frame)[0] == number and len(frame) > 900_000


def read_frame(reader: BinaryIO) -> bytes:
    (size,) = struct.unpack(">i", reader.read(4))
    return reader.read(size)
