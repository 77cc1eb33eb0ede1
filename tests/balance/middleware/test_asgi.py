"""The ASGI middleware, driven by hand: no server, no clock of the machine."""

from __future__ import annotations

import asyncio
import json

import pytest

from loggos.balance.middleware import HEADER, PROBE_PATH, ReportLoadASGI, parse_report
from loggos.balance.middleware.asgi import Message, Receive, Scope, Send


class Clock:
    """Time that moves when told."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


class Caller:
    """What a server would do for one request; keeps what was sent."""

    def __init__(self, path: str = "/", method: str = "GET", type_: str = "http") -> None:
        self.scope: Scope = {"type": type_, "path": path, "method": method, "headers": []}
        self.sent: list[Message] = []

    async def receive(self) -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(self, message: Message) -> None:
        self.sent.append(message)

    @property
    def headers(self) -> dict[str, str]:
        return {name.decode(): value.decode() for name, value in self.sent[0]["headers"]}


async def answer(send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"x-app", b"1")]})
    await send({"type": "http.response.body", "body": b"hello"})


def run(app: ReportLoadASGI, caller: Caller) -> Caller:
    asyncio.run(app(caller.scope, caller.receive, caller.send))
    return caller


def test_every_answer_says_the_load() -> None:
    clock = Clock()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        clock.now_s += 0.25
        await answer(send)

    wrapped = ReportLoadASGI(app, clock=clock)
    first = run(wrapped, Caller())
    assert parse_report(first.headers[HEADER]) == (0, 0.0), "nothing has ended before"
    assert first.headers["x-app"] == "1" and first.sent[1]["body"] == b"hello"
    assert parse_report(run(wrapped, Caller()).headers[HEADER]) == (0, 0.25)


def test_a_request_is_in_flight_until_the_application_returns() -> None:
    async def scenario() -> list[int]:
        gate, counts = asyncio.Event(), []
        entered = [asyncio.Event() for _ in range(3)]

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            await answer(send)
            entered[int(scope["path"][1:])].set()
            await gate.wait()

        wrapped = ReportLoadASGI(app)
        async with asyncio.TaskGroup() as group:
            for number in range(3):
                caller = Caller(f"/{number}")
                group.create_task(wrapped(caller.scope, caller.receive, caller.send))
            await asyncio.gather(*(arrived.wait() for arrived in entered))
            probe = Caller(PROBE_PATH)
            await wrapped(probe.scope, probe.receive, probe.send)
            report = parse_report(probe.headers[HEADER])
            assert report is not None
            counts.append(report.in_flight)
            gate.set()
        counts.append(wrapped.meter.in_flight)
        return counts

    seen = asyncio.run(scenario())
    assert seen == [3, 0], "the probe itself is not counted"


def test_a_failing_and_a_cancelled_request_are_over() -> None:
    async def scenario() -> int:
        async def fails(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["path"] == "/fails":
                raise RuntimeError("the application's own")
            await asyncio.Event().wait()

        wrapped = ReportLoadASGI(fails)
        caller = Caller("/fails")
        with pytest.raises(RuntimeError, match="own"):
            await wrapped(caller.scope, caller.receive, caller.send)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(wrapped(Caller("/hangs").scope, caller.receive, caller.send), 0.01)
        return wrapped.meter.in_flight

    assert asyncio.run(scenario()) == 0


def test_probes_do_not_enter_the_application() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        raise AssertionError("entered")

    wrapped = ReportLoadASGI(app)
    probe = run(wrapped, Caller(PROBE_PATH))
    assert probe.sent[0]["status"] == 200
    assert json.loads(probe.sent[1]["body"]) == {"in_flight": 0, "latency_s": 0.0}
    assert run(wrapped, Caller(PROBE_PATH, "HEAD")).sent[1]["body"] == b""
    wrapped.drain()
    assert run(wrapped, Caller(PROBE_PATH)).sent[0]["status"] == 503


def test_what_is_not_a_probe_enters() -> None:
    entered: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        entered.append(scope["type"])
        if scope["type"] == "http":
            await answer(send)

    run(ReportLoadASGI(app), Caller(PROBE_PATH, "POST"))
    run(ReportLoadASGI(app, probe_path=None), Caller(PROBE_PATH))
    wrapped = ReportLoadASGI(app)
    run(wrapped, Caller(PROBE_PATH, type_="lifespan"))
    assert entered == ["http", "http", "lifespan"] and wrapped.meter.report(0.0).latency_s == 0.0
