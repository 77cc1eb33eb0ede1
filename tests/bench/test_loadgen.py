"""The load generator against a server in a thread: right answers are counted, each kind of wrong one fails the run."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from loggos.app.bench import loadgen, wire
from loggos.app.bench.loadgen import LoadError, Plan, drive
from tests.bench.fake_server import FakeServer


def run(server: FakeServer, operation: str, *, clients: int = 3, depth: int = 1) -> list[dict[str, Any]]:
    events: list[dict[str, Any]] = []
    plan = Plan(addresses=(server.address,), operation=operation, clients=clients, depth=depth, warmup_s=0.02, seconds=0.2)
    asyncio.run(drive(plan, events.append))
    return events


@pytest.mark.parametrize("operation", sorted(loadgen.CLIENTS))
@pytest.mark.parametrize("depth", [1, 64])
def test_every_operation_runs_and_is_counted(operation: str, depth: int) -> None:
    with FakeServer() as server:
        events = run(server, operation, depth=depth)
    assert [event["event"] for event in events] == ["begin", "end", "result"]
    result = events[-1]
    assert result["operations"] > 0
    assert result["ops_per_s"] == pytest.approx(result["operations"] / result["seconds"])
    assert 0 < result["p50_ms"] <= result["p99_ms"] <= result["p999_ms"] <= result["max_ms"] < 10_000


def test_writes_reach_the_server_with_the_value_of_the_plan() -> None:
    with FakeServer() as server:
        result = run(server, "setData", clients=2, depth=8)[-1]
    assert server.values[b"/bench/c0000"] == server.values[b"/bench/c0001"] == loadgen.value_of(100)
    assert sum(server.versions.values()) > result["operations"]  # warm-up, preparation and the tail are done, and not counted


def test_creates_leave_one_znode_each() -> None:
    with FakeServer() as server:
        result = run(server, "create", clients=2)[-1]
    children = [path for path in server.values if path.count(b"/") == 3]
    assert len(children) > result["operations"]
    assert b"/bench/c0001/0000000000" in children


class Splitting(FakeServer):
    """Sends every reply in small pieces."""

    def write(self, transport: asyncio.Transport, data: bytes) -> None:
        for start in range(0, len(data), 37):
            transport.write(data[start : start + 37])


def test_replies_in_pieces_are_put_together() -> None:
    with Splitting() as server:
        assert run(server, "setData", depth=16)[-1]["operations"] > 0


class WrongXid(FakeServer):
    def set_data(self, xid: int, path: bytes, value: bytes) -> bytes:
        return super().set_data(xid + 1 if self.versions[path] == 2 else xid, path, value)


class Failing(FakeServer):
    def set_data(self, xid: int, path: bytes, value: bytes) -> bytes:
        return self.frame(xid, -4, b"") if self.versions[path] == 2 else super().set_data(xid, path, value)


class FailingAtFullLength(FakeServer):
    def set_data(self, xid: int, path: bytes, value: bytes) -> bytes:
        good = super().set_data(xid, path, value)
        return good[:16] + b"\xff\xff\xff\xfc" + good[20:] if self.versions[path] == 2 else good


class LosingAWrite(FakeServer):
    def set_data(self, xid: int, path: bytes, value: bytes) -> bytes:
        if self.versions[path] == 2:
            self.versions[path] -= 1
        return super().set_data(xid, path, value)


class WritingTwice(FakeServer):
    def set_data(self, xid: int, path: bytes, value: bytes) -> bytes:
        if self.versions[path] == 2:
            self.versions[path] += 1
        return super().set_data(xid, path, value)


class AnsweringTwice(FakeServer):
    def set_data(self, xid: int, path: bytes, value: bytes) -> bytes:
        good = super().set_data(xid, path, value)
        return good + super().set_data(xid % loadgen.RING + 1, path, value) if self.versions[path] == 2 else good


class HangingUp(FakeServer):
    def set_data(self, xid: int, path: bytes, value: bytes) -> bytes:
        if self.versions[path] == 2:
            self.hang_up()
        return super().set_data(xid, path, value)


@pytest.mark.parametrize(
    ("fault", "why"),
    [
        (WrongXid, "xid="),
        (Failing, "error -4"),
        (FailingAtFullLength, "err=-4"),
        (LosingAWrite, "version=2"),
        (WritingTwice, "version=4"),
        (AnsweringTwice, "more replies than requests"),
        (HangingUp, "connection lost"),
    ],
)
def test_a_wrong_reply_fails_the_run(fault: type[FakeServer], why: str) -> None:
    with fault() as server, pytest.raises(LoadError, match=why):
        run(server, "setData", clients=1)


class WrongValue(FakeServer):
    def answer(self, xid: int, operation: int, body: bytes) -> bytes:
        good = super().answer(xid, operation, body)
        return good.replace(b"loggos", b"sogglo") if operation == wire.OP_GET_DATA else good


def test_a_wrong_value_fails_the_run() -> None:
    with WrongValue() as server, pytest.raises(LoadError, match="sogglo"):
        run(server, "getData")


class Refusing(FakeServer):
    def greet(self, request: bytes) -> bytes:
        return wire.CONNECT_REPLY.pack(37, 0, 0, 0, 16, bytes(16)) + b"\x00"


def test_a_refused_session_fails_the_run() -> None:
    with Refusing() as server, pytest.raises(wire.WireError, match="refused"):
        run(server, "setData")


def test_the_ring_goes_round_at_any_position() -> None:
    plan = Plan(addresses=(), operation="setData")
    client = loadgen.SetDataClient.__new__(loadgen.SetDataClient)
    client.path, client.value, client.position = b"/x", loadgen.value_of(plan.value_bytes), loadgen.RING - 2
    body = client.body()
    client.frame_bytes = wire.REQUEST_HEAD.size + len(body)
    client.ring = b"".join(wire.request(xid, wire.OP_SET_DATA, body) for xid in range(1, loadgen.RING + 1))
    sent = client.frames(5)
    xids = [wire.REQUEST_HEAD.unpack_from(sent, at)[1] for at in range(0, len(sent), client.frame_bytes)]
    assert xids == [loadgen.RING - 1, loadgen.RING, 1, 2, 3]
    assert client.position == 3
