"""What a client must not be able to do to others: every kind of bad input to a real node, while a good client works beside it."""

from __future__ import annotations

import resource
import socket
import struct
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager

import psutil
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from loggos.base.limits import (
    CLIENTS_HELD_BYTES_MAX,
    CLIENTS_HELD_LOOK_MS,
    CLIENTS_HELD_PAUSE_BYTES,
    JUTE_FRAME_BYTES_MAX,
    LOG_EVENTS_BURST,
)
from loggos.coordination.service import ServiceOptions
from tests.chaos.load import client
from tests.interop.cluster import Cluster, Node, eventually
from tests.interop.frames import Closed, RawSession, i32

pytestmark = [pytest.mark.process]

SILENCE_S = 20.0
MEMORY_GROWTH_MAX = 64 << 20  # of a node, by anything that one bad client does
MEMORY_PER_IDLE_MAX = 20_000  # bytes per idle connection


def dial(node: Node) -> socket.socket:
    sock = socket.create_connection(node.endpoint, SILENCE_S)
    sock.settimeout(SILENCE_S)
    return sock


def ended(sock: socket.socket) -> bytes:
    """What the server still said before it closed the connection."""
    said = b""
    try:
        while chunk := sock.recv(65_536):
            said += chunk
    except ConnectionResetError:
        pass
    return said


def resident(node: Node) -> int:
    assert node.process is not None
    return int(psutil.Process(node.process.pid).memory_info().rss)


@contextmanager
def unharmed(node: Node, growth_max: int = MEMORY_GROWTH_MAX) -> Iterator[None]:
    """A good client of the same node works before, beside and after; the node does not grow by more than this."""
    good = client(node.address)
    good.ensure_path("/good")
    before = resident(node)
    session = good.client_id
    yield
    for number in range(20):
        good.create(f"/good/n{number:04d}", b"v")
    assert len(good.get_children("/good")) == 20 and good.client_id == session
    good.delete("/good", recursive=True)
    assert resident(node) - before < growth_max
    good.stop()
    good.close()


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """A follower of a cluster of three."""
    knobs = {"connections_per_address_max": 20_000}  # all of ours come from one
    with Cluster.running(tmp_path_factory.mktemp("bad-input"), coordination=knobs) as cluster:
        yield cluster[cluster.followers()[0]]


GARBAGE = {
    "text": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    "negative length": i32(-5),
    "most negative length": i32(-0x80000000),
    "over-long": i32(JUTE_FRAME_BYTES_MAX + 1),
    "longest": i32(0x7FFFFFFF) + b"x" * 100,
    "zero length": i32(0) * 10,
    "short connect": i32(10) + bytes(10),
    "tls": bytes.fromhex("16030100a5010000a10303") + bytes(150),
    "ones": b"\xff" * 200,
}


@pytest.mark.parametrize("data", GARBAGE.values(), ids=GARBAGE.keys())
def test_garbage_before_connecting_is_hung_up_on(node: Node, data: bytes) -> None:
    with unharmed(node), closing(dial(node)) as sock:
        sock.sendall(data)
        assert ended(sock) == b""


@pytest.mark.parametrize("size", [-1, -0x80000000, 0, 7, JUTE_FRAME_BYTES_MAX + 1, 0x7FFFFFFF])
def test_an_impossible_length_ends_the_connection(node: Node, size: int) -> None:
    with unharmed(node):
        session = RawSession(node.endpoint)
        session.send(i32(size) + bytes(20))
        with pytest.raises(Closed):
            session.frame()


def test_the_longest_frame_that_is_allowed_is_answered(node: Node) -> None:
    with unharmed(node):
        session = RawSession(node.endpoint)
        xid, frame = session.encode("setData", (b"/nothing", bytes(1_000_000), -1))
        session.send(frame)
        assert session.receive("setData", xid)[3] == -101


def received_bytes(node: Node) -> int:
    """From all clients since it started."""
    (line,) = [line for line in node.words(b"mntr").splitlines() if line.startswith("zk_loggos_bytes_received\t")]
    return int(line.split("\t")[1])


def test_half_a_frame_of_many_clients_harms_nobody(node: Node) -> None:
    """Those who stop in the middle of a connect request or of a long request, together far more than a node may hold for all."""
    count = 3 * (CLIENTS_HELD_BYTES_MAX >> 20)
    growth_max = CLIENTS_HELD_BYTES_MAX + CLIENTS_HELD_BYTES_MAX // 8 + MEMORY_GROWTH_MAX
    before, seen, looks = resident(node), [], [0]
    with unharmed(node, growth_max):
        waiting = [dial(node) for _ in range(50)]
        for sock in waiting:
            sock.sendall(i32(44) + bytes(20))
        sessions = [RawSession(node.endpoint) for _ in range(count)]
        frame = i32((1 << 20) - 40) + bytes(8) + bytes((1 << 20) - 60)
        for session in sessions:
            try:
                session.sock.sendall(frame)
            except (BrokenPipeError, ConnectionResetError):
                pass  # it was this one's turn to go

        def has_read_all_it_will() -> bool:
            seen.append(resident(node))
            looks.append(received_bytes(node))
            time.sleep(CLIENTS_HELD_LOOK_MS / 1000)
            return looks[-1] > CLIENTS_HELD_PAUSE_BYTES and looks[-1] - looks[-2] < 10_000

        eventually("it has read all that it will", has_read_all_it_will)
        assert max(seen) - before < growth_max
    for sock in waiting:
        sock.close()
    for session in sessions:
        session.drop()


@pytest.mark.full
@pytest.mark.parametrize("connected", [False, True])
def test_a_request_that_never_ends_is_hung_up_on(node: Node, connected: bool) -> None:
    """A connect request, and any other: after a deadline of the door; a byte now and then does not help."""
    session = RawSession(node.endpoint) if connected else None
    with closing(session.sock if session is not None else dial(node)) as sock:
        sock.sendall(i32(900_000 if connected else 44) + bytes(20))
        sock.settimeout(1.0)
        for _ in range(ServiceOptions().frame_deadline_ms // 1000 + 15):
            try:
                sock.sendall(b"\0")
                assert sock.recv(1) == b""
            except TimeoutError:
                continue
            except (BrokenPipeError, ConnectionResetError):
                pass
            return
    raise AssertionError("it was let wait for ever")


def test_what_was_wrong_is_in_the_log_of_events_and_in_the_figures_but_fills_neither(node: Node) -> None:
    path = node.data / "node.log"
    with unharmed(node):
        for _ in range(5 * LOG_EVENTS_BURST):
            with closing(dial(node)) as sock:
                sock.sendall(i32(-5))
                assert ended(sock) == b""
    lines = [line for line in path.read_text().splitlines() if "bad frame: " in line]
    assert lines and all(f"node={node.number} " in line and "client=127.0.0.1:" in line and "why=" in line for line in lines)
    assert len(lines) <= 3 * LOG_EVENTS_BURST
    with urllib.request.urlopen(f"http://127.0.0.1:{node.ports.console}/metrics", timeout=SILENCE_S) as answer:
        families = {family.name: family for family in text_string_to_metric_families(answer.read().decode())}
    values = {sample.name: sample.value for family in families.values() for sample in family.samples if not sample.labels}
    assert values["loggos_client_bad_frames_total"] >= 5 * LOG_EVENTS_BURST
    assert values["loggos_clients"] >= 0 and values["loggos_request_latency_seconds_count"] > 0
    if sys.platform == "linux":  # elsewhere nobody knows
        assert values["process_resident_memory_bytes"] == pytest.approx(resident(node), rel=0.5)
        assert 0 < values["process_open_fds"] < values["process_max_fds"] and values["process_cpu_seconds_total"] > 0


def test_a_wrong_password_gets_no_session(node: Node) -> None:
    with unharmed(node):
        rightful = RawSession(node.endpoint)
        thief = RawSession(node.endpoint, session=rightful.session, password=b"x" * 16)
        assert (thief.session, thief.timeout_ms, thief.password) == (0, 0, bytes(16))
        with pytest.raises(Closed):
            thief.frame()
        xid, frame = rightful.encode("exists", (b"/", False))
        rightful.send(frame)
        assert rightful.receive("exists", xid)[3] == 0, "the rightful owner goes on"


def test_an_unknown_session_gets_none(node: Node) -> None:
    with unharmed(node):
        stranger = RawSession(node.endpoint, session=0x123456789ABC, password=b"y" * 16)
        assert (stranger.session, stranger.timeout_ms) == (0, 0)


def test_a_client_from_the_future_is_sent_away_without_a_word(node: Node) -> None:
    with unharmed(node), pytest.raises(Closed):
        RawSession(node.endpoint, zxid=1 << 40)


def test_an_unknown_opcode_is_answered(node: Node) -> None:
    with unharmed(node):
        session = RawSession(node.endpoint)
        xid, frame = session.encode("op4711", (b"junk",))
        session.send(frame)
        assert session.receive("op4711", xid)[3] == -6


def test_a_client_that_never_reads_is_held_back_or_dropped(node: Node) -> None:
    """It asks for megabytes, again and again, and takes nothing."""
    with unharmed(node):
        session = RawSession(node.endpoint)
        for kind, arguments in (("create", (b"/big", bytes(900_000), ((31, b"world", b"anyone"),), 0)),):
            xid, frame = session.encode(kind, arguments)
            session.send(frame)
            session.receive(kind, xid)
        session.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        session.sock.settimeout(2.0)
        frame = b"".join(session.encode("getData", (b"/big", False))[1] for _ in range(1_000))
        try:
            for _ in range(50):
                session.sock.sendall(frame)
        except (TimeoutError, BrokenPipeError, ConnectionResetError):
            pass  # held back, or dropped
    session.drop()


def test_a_client_that_sends_without_waiting_is_bounded(node: Node) -> None:
    """A hundred thousand requests in one go: all answered in order, or the connection ended."""
    with unharmed(node):
        session = RawSession(node.endpoint)
        count = 20_000
        data = b"".join(session.encode("exists", (b"/", False))[1] for _ in range(count))
        session.sock.setblocking(False)
        sent = answered = 0
        held = bytearray()
        session.sock.settimeout(SILENCE_S)
        while answered < count:
            if sent < len(data):
                sent += session.sock.send(data[sent : sent + 100_000])
            chunk = session.sock.recv(1 << 20)
            assert chunk, "hung up on"
            held += chunk
            while len(held) >= 4 and len(held) >= 4 + struct.unpack_from(">i", held)[0]:
                answered += 1
                (xid,) = struct.unpack_from(">i", held, 4)
                assert xid == answered
                del held[: 4 + struct.unpack_from(">i", held)[0]]


def idle(node: Node, count: int) -> list[socket.socket]:
    """Connections that say nothing, or half a word."""
    found = []
    for number in range(count):
        sock = socket.create_connection(node.endpoint, SILENCE_S)
        if number % 2:
            sock.sendall(b"\0\0")
        found.append(sock)
    return found


def many_idle(node: Node, count: int) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < count + 200:
        if hard != resource.RLIM_INFINITY and hard < count + 200:
            pytest.skip(f"file descriptors: {hard} at the most, {count + 200} are needed")
        resource.setrlimit(resource.RLIMIT_NOFILE, (count + 200, hard))
    before = resident(node)
    sockets: list[socket.socket] = []
    try:
        with unharmed(node):
            sockets = idle(node, count)
        grown = resident(node) - before
        assert grown < MEMORY_GROWTH_MAX + count * MEMORY_PER_IDLE_MAX
    finally:
        for sock in sockets:
            sock.close()
    eventually("the node serves newcomers", node.serves)


def test_five_hundred_idle_connections(node: Node) -> None:
    many_idle(node, 500)


@pytest.mark.full
@pytest.mark.timeout(300)
def test_ten_thousand_idle_connections(node: Node) -> None:
    many_idle(node, 10_000)
