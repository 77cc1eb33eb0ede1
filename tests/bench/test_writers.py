"""The fail-over writers: they come back with their session, tell gaps, and notice lost and doubled writes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from loggos.app.bench import writers
from loggos.app.bench.writers import Plan, write_until_closed
from tests.bench.fake_server import FakeServer

PATIENT_S = 30.0  # no test machine is this slow


def run(server: FakeServer, during: Callable[[], object], *, seconds: float = 0.5, **plan: float) -> list[dict[str, Any]]:
    """Write for a while; `during` is called in the middle."""
    events: list[dict[str, Any]] = []

    limits = {"gap_ms": PATIENT_S * 1000, "silence_s": PATIENT_S, **plan}
    settings = Plan(addresses=(server.address,), writers=2, gap_ms=limits["gap_ms"], silence_s=limits["silence_s"])

    async def main() -> None:
        closed = asyncio.Event()
        loop = asyncio.get_running_loop()
        loop.call_later(seconds / 2, during)
        loop.call_later(seconds, closed.set)
        await write_until_closed(settings, events.append, closed)

    asyncio.run(main())
    return events


def test_undisturbed_writers_acknowledge_and_tell_no_gap() -> None:
    with FakeServer() as server:
        events = run(server, lambda: None)
    result = events[-1]
    assert result["acknowledged"] > 2
    assert result["acknowledged_writes_lost"] == result["writes_done_twice"] == result["reconnects"] == 0
    assert [event for event in events if event["event"] == "gap"] == []
    assert result["errors"] == {}


def test_broken_connections_are_opened_again_with_the_same_session() -> None:
    class Noting(FakeServer):
        def greet(self, request: bytes) -> bytes:
            self.__dict__.setdefault("asked", []).append(int.from_bytes(request[20:28], "big"))
            return super().greet(request)

    with Noting() as server:
        result = run(server, server.hang_up)[-1]
        asked = server.__dict__["asked"]
    assert result["reconnects"] >= 2
    assert result["sessions_expired"] == 0
    assert sum(1 for session in asked if session) == result["reconnects"]
    assert result["acknowledged_writes_lost"] == result["writes_done_twice"] == 0


def test_a_silent_server_is_left_and_its_gap_is_told() -> None:
    with FakeServer() as server:

        def for_a_while() -> None:
            server.mute = True
            server.loop.call_soon_threadsafe(server.loop.call_later, 0.3, lambda: setattr(server, "mute", False))

        events = run(server, for_a_while, seconds=2.0, gap_ms=100.0, silence_s=0.2)
    gaps = [event["end"] - event["start"] for event in events if event["event"] == "gap"]
    assert max(gaps) >= 0.3
    assert events[-1]["reconnects"] >= 2


@pytest.mark.parametrize(("change", "counted"), [(-3, "acknowledged_writes_lost"), (+3, "writes_done_twice")])
def test_versions_that_jump_are_counted(change: int, counted: str) -> None:
    with FakeServer() as server:

        def jump() -> None:
            server.versions[b"/failover/w00"] += change

        result = run(server, lambda: server.loop.call_soon_threadsafe(jump))[-1]
    other = {"acknowledged_writes_lost", "writes_done_twice"} - {counted}
    assert result[counted] == 1
    assert [result[name] for name in other] == [0]


def test_an_expired_session_is_replaced_by_a_new_one() -> None:
    class Forgetting(FakeServer):
        def greet(self, request: bytes) -> bytes:
            good = super().greet(request)
            return good[:8] + bytes(12) + good[20:] if any(request[20:28]) else good

    with Forgetting() as server:
        result = run(server, server.hang_up)[-1]
    assert result["sessions_expired"] == 2
    assert result["acknowledged"] > 2
    assert writers.SESSION_MS > 1000
