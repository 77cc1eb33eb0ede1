"""Load reports for an ASGI 3 application (Starlette, FastAPI, Django, Quart, …).

    app = ReportLoadASGI(app)

Every HTTP answer gets the header `endpoint-load-metrics` (header.py). GET and HEAD of the probe path are answered here, without
entering the application and without being counted; everything that is not HTTP (lifespan, websocket) passes through uncounted.
A request is in flight from its arrival until the application has returned from it, also when it fails or is cancelled.
Must not know: pools, policies. Source: ASGI specification, HTTP connection scope.
"""

from __future__ import annotations

import json
import time
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any, Final

from loggos.balance.middleware.header import HEADER, PROBE_PATH, render_report
from loggos.balance.middleware.meter import LoadMeter
from loggos.balance.types import Report

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

_HEADER: Final = HEADER.encode("ascii")


def probe_body(report: Report) -> bytes:
    """What a person or a monitoring system reads at the probe path."""
    return json.dumps({"in_flight": report.in_flight, "latency_s": round(report.latency_s, 9)}).encode("ascii") + b"\n"


class ReportLoadASGI:
    """`app` with load reports. `probe_path=None`: probes go to the application like everything else.

    `drain()` makes probes answer 503 from now on, so that health checks of pools take this server out of rotation while it
    finishes what it has.
    """

    def __init__(
        self,
        app: Application,
        *,
        probe_path: str | None = PROBE_PATH,
        meter: LoadMeter | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._app = app
        self._probe_path = probe_path
        self._clock = clock
        self.meter = meter if meter is not None else LoadMeter()
        self.draining = False

    def drain(self) -> None:
        self.draining = True

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
        elif scope["path"] == self._probe_path and scope["method"] in ("GET", "HEAD"):
            await self._answer_probe(scope["method"], send)
        else:
            await self._serve(scope, receive, send)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_report(message: Message) -> None:
            if message["type"] == "http.response.start":
                report = self.meter.report(self._clock(), besides=1)
                headers: Iterable[tuple[bytes, bytes]] = message.get("headers") or ()
                message = {**message, "headers": [*headers, (_HEADER, render_report(report).encode("ascii"))]}
            await send(message)

        ticket = self.meter.started(self._clock())
        try:
            await self._app(scope, receive, send_with_report)
        finally:
            self.meter.finished(ticket, self._clock())

    async def _answer_probe(self, method: str, send: Send) -> None:
        report = self.meter.report(self._clock())
        body = probe_body(report)
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(body)).encode("ascii")),
            (b"cache-control", b"no-store"),
            (_HEADER, render_report(report).encode("ascii")),
        ]
        await send({"type": "http.response.start", "status": 503 if self.draining else 200, "headers": headers})
        await send({"type": "http.response.body", "body": body if method == "GET" else b""})
