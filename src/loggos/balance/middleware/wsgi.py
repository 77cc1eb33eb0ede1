"""Load reports for a WSGI application (Flask, Django, Pyramid, …).

    app = ReportLoadWSGI(app)

The same header and the same probe path as asgi.py. A request is in flight from its arrival until the server has closed the answer
(PEP 3333: `close()` is called also when the client went away), or the application has raised. Threads share one meter under a
lock; processes do not: a server that forks workers reports the load of the worker that answers.
Must not know: pools, policies. Source: PEP 3333.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

from loggos.balance.middleware.asgi import probe_body
from loggos.balance.middleware.header import HEADER, PROBE_PATH, render_report
from loggos.balance.middleware.meter import LoadMeter, Ticket

if TYPE_CHECKING:
    from types import TracebackType
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

    ExcInfo = tuple[type[BaseException], BaseException, TracebackType] | tuple[None, None, None] | None


class ReportLoadWSGI:
    """`app` with load reports; arguments and `drain` as in `ReportLoadASGI`."""

    def __init__(
        self,
        app: WSGIApplication,
        *,
        probe_path: str | None = PROBE_PATH,
        meter: LoadMeter | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._app = app
        self._probe_path = probe_path
        self._clock = clock
        self._lock = threading.Lock()
        self.meter = meter if meter is not None else LoadMeter()
        self.draining = False

    def drain(self) -> None:
        self.draining = True

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        method = environ.get("REQUEST_METHOD", "GET")
        if environ.get("PATH_INFO", "") == self._probe_path and method in ("GET", "HEAD"):
            return self._answer_probe(method, start_response)

        def start_with_report(
            status: str, headers: list[tuple[str, str]], exc_info: ExcInfo = None, /
        ) -> Callable[[bytes], object]:
            with self._lock:
                report = self.meter.report(self._clock(), besides=1)
            return start_response(status, [*headers, (HEADER, render_report(report))], exc_info)

        with self._lock:
            ticket = self.meter.started(self._clock())
        try:
            body = self._app(environ, start_with_report)
        except BaseException:
            self._finished(ticket)
            raise
        return _Answer(body, lambda: self._finished(ticket))

    def _finished(self, ticket: Ticket) -> None:
        with self._lock:
            self.meter.finished(ticket, self._clock())

    def _answer_probe(self, method: str, start_response: StartResponse) -> Iterable[bytes]:
        with self._lock:
            report = self.meter.report(self._clock())
        body = probe_body(report)
        headers = [
            ("content-type", "application/json"),
            ("content-length", str(len(body))),
            ("cache-control", "no-store"),
            (HEADER, render_report(report)),
        ]
        start_response("503 Service Unavailable" if self.draining else "200 OK", headers)
        return [body] if method == "GET" else []


class _Answer:
    """The application's answer; tells once that it is over, when the server closes it."""

    def __init__(self, body: Iterable[bytes], over: Callable[[], None]) -> None:
        self._body = body
        self._over: Callable[[], None] | None = over

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._body)

    def close(self) -> None:
        over, self._over = self._over, None
        try:
            close = getattr(self._body, "close", None)
            if close is not None:
                close()
        finally:
            if over is not None:
                over()
