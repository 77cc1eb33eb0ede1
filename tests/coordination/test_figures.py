"""What a node's coordination counts, as a scraper reads it, and what it says in the log of events."""

from __future__ import annotations

import logging
from dataclasses import fields

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from loggos.base.ids import SessionId
from loggos.coordination import figures
from loggos.coordination.commands import ExpireItem, encode_expire
from loggos.coordination.figures import COUNTED, Counters
from loggos.coordination.service import ServiceOptions
from loggos.coordination.zookeeper import codec
from loggos.coordination.zookeeper.codec import INT32, encode_buffer
from loggos.node.metrics import Metrics
from tests.coordination.fake_log import FakeCell
from tests.coordination.raw_client import RawClient, in_loop, settle


def read(cell: FakeCell) -> dict[str, float]:
    metrics = Metrics()
    figures.register(cell.services[1], metrics)
    figures.register_door(cell.doors[1], metrics)
    return {
        sample.name + "".join(f"{{{value}}}" for value in sample.labels.values()): sample.value
        for family in text_string_to_metric_families(metrics.render().decode())
        for sample in family.samples
    }


@in_loop
async def test_clients_requests_bytes_watches_and_latency_are_there() -> None:
    cell = FakeCell().start()
    client = await RawClient(cell).connect()
    before = read(cell)
    assert before["loggos_requests_total{write}"] == 0 and before["loggos_clients"] == 1
    cell.logs[1].held = True
    client.send(client.create(b"/a") + client.create(b"/b"))
    await settle()
    assert read(cell)["loggos_requests_outstanding"] == 2
    cell.clock.now_s += 0.010
    cell.logs[1].held = False
    cell.logs[1].step()
    await client.do(client.exists(b"/a", watch=True), client.sync(), client.ping(), client.add_watch(b"/", 1))
    await client.do(client.set(b"/a", b"x")[:9])
    seen = read(cell)
    expected = {
        "loggos_requests_total{write}": 2,
        "loggos_requests_total{read}": 1,
        "loggos_requests_total{sync}": 1,
        "loggos_requests_total{ping}": 1,
        "loggos_requests_total{watch}": 1,
        "loggos_clients": 1,
        "loggos_client_connections": 1,
        "loggos_requests_outstanding": 0,
        "loggos_watches": 2,
        "loggos_sessions": 1,
        "loggos_sessions_created_total": 1,
        "loggos_clients_held_bytes": 9,
        "loggos_client_sent_bytes_total": len(client.transport.written),
        "loggos_request_latency_seconds_bucket{0.008192}": 4,
        "loggos_request_latency_seconds_bucket{0.016384}": 6,
        "loggos_request_latency_seconds_count": 6,
    }
    assert {name: seen[name] for name in expected} == expected
    assert seen["loggos_request_latency_seconds_sum"] == pytest.approx(0.02)
    assert seen["loggos_znodes"] == before["loggos_znodes"] + 2


def test_every_counter_is_shown() -> None:
    counted = {one.name for one in fields(Counters) if one.type == "int"} - {"writes", "latency_count"}
    assert counted == {attribute for attribute, _, _ in COUNTED}
    assert len({name for _, name, _ in COUNTED}) == len(COUNTED)


# --- the log of events ----------------------------------------------------------------------------------------------------


def events(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str]]:
    """Each event, and why."""
    return [(str(one.msg), str(one.args.get("why", ""))) for one in caplog.records if isinstance(one.args, dict)]


def test_why_a_client_was_refused_or_cut_off_is_said_and_an_ordinary_end_is_not(caplog: pytest.LogCaptureFixture) -> None:
    @in_loop
    async def run() -> None:
        cell = FakeCell(options=ServiceOptions(connections_max=7)).start()
        clients = [await RawClient(cell, address=f"10.0.0.{number}").connect() for number in range(5)]
        stranger, future = RawClient(cell), RawClient(cell)
        stranger.session = 77
        stranger.send(stranger.hello())
        future.send(future.hello(last_zxid=999))
        RawClient(cell)
        await settle()
        clients[0].send(INT32.pack(-1))
        clients[1].send(clients[1].auth(b"no such\r\n", b"x"))
        await settle()
        cell.services[1].close_all("a reason")
        await settle()

    with caplog.at_level(logging.INFO, "loggos"):
        run()
    assert events(caplog) == [
        ("client refused", "too many connections"),
        ("client refused", "it has seen 0x3e7, this node only 0x5"),
        ("client refused", "an unknown session, or a wrong password"),
        ("bad frame", "a request's length is impossible"),
        ("authentication failed", "an authentication scheme that is not known, or a request that cannot be read"),
        ("clients disconnected", "a reason"),
        *[("client disconnected", "a reason")] * 3,
    ]
    assert caplog.records[0].args == {"client": "10.0.0.1:40000", "session": "none", "why": "too many connections"}


def test_sessions_that_end_are_told_apart(caplog: pytest.LogCaptureFixture) -> None:
    @in_loop
    async def run() -> None:
        cell = FakeCell(2).start()
        closing, expiring, elsewhere = [await RawClient(cell, node).connect(timeout_ms=4_000) for node in (1, 1, 2)]
        await closing.do(closing.end())
        gone = RawClient(cell)
        gone.send(b"ruok")
        for client in (expiring, elsewhere):
            client.lose()
        cell.advance(5)
        await settle()
        unknown = encode_expire([ExpireItem(SessionId(4711), cell.services[1].index)])
        assert cell.services[1].propose(unknown)
        await settle()

    with caplog.at_level(logging.INFO, "loggos"):
        run()
    assert [event for event, _ in events(caplog)] == ["session closed", "session expired", "session expired"]


@in_loop
async def test_failed_authentications_are_counted() -> None:
    cell = FakeCell().start()
    for frame in (codec.OP_SASL, codec.OP_AUTH):
        client = await RawClient(cell).connect()
        await client.do(client.request(frame, encode_buffer(b"")))
    assert read(cell)["loggos_authentications_failed_total"] == 2
