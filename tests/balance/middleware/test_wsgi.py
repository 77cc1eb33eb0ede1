"""The WSGI middleware, driven by hand, and under the standard library's validator."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any
from wsgiref.util import setup_testing_defaults
from wsgiref.validate import validator

import pytest

from loggos.balance.middleware import HEADER, PROBE_PATH, ReportLoadWSGI, parse_report

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIEnvironment


class Call:
    """One request: what `start_response` was given, and the body."""

    def __init__(self, app: Any, path: str = "/", method: str = "GET") -> None:
        environ: dict[str, Any] = {"PATH_INFO": path, "REQUEST_METHOD": method, "QUERY_STRING": "", "SCRIPT_NAME": ""}
        setup_testing_defaults(environ)
        self.status = ""
        self.headers: dict[str, str] = {}
        self.answer = app(environ, self.start)

    def start(self, status: str, headers: list[tuple[str, str]], exc_info: object = None) -> Callable[[bytes], object]:
        self.status, self.headers = status, dict(headers)
        return lambda data: None

    def read(self) -> bytes:
        body = b"".join(self.answer)
        close = getattr(self.answer, "close", None)
        if close is not None:
            close()
        return body


def hello(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    start_response("200 OK", [("content-type", "text/plain")])
    return [b"hello"]


def test_it_keeps_to_the_standard_on_both_sides() -> None:
    app = validator(ReportLoadWSGI(validator(hello)))
    call = Call(app)
    assert call.read() == b"hello" and call.status == "200 OK"
    assert parse_report(call.headers[HEADER]) == (0, 0.0)


def test_a_request_is_in_flight_until_its_answer_is_closed() -> None:
    wrapped = ReportLoadWSGI(hello)
    first, second = Call(wrapped), Call(wrapped)
    assert wrapped.meter.in_flight == 2
    assert parse_report(second.headers[HEADER]).in_flight == 1  # type: ignore[union-attr]
    assert first.read() == b"hello"
    assert wrapped.meter.in_flight == 1
    second.answer.close()
    second.answer.close()
    assert wrapped.meter.in_flight == 0, "closing twice, or unread, counts once"


def test_a_failing_application_and_a_failing_answer_are_over() -> None:
    def fails(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        raise RuntimeError("the application's own")

    class Broken:
        def __iter__(self) -> Iterator[bytes]:
            return iter(())

        def close(self) -> None:
            raise RuntimeError("cannot close")

    wrapped = ReportLoadWSGI(fails)
    with pytest.raises(RuntimeError, match="own"):
        Call(wrapped)
    assert wrapped.meter.in_flight == 0
    wrapped = ReportLoadWSGI(lambda environ, start_response: Broken())
    with pytest.raises(RuntimeError, match="cannot close"):
        Call(wrapped).answer.close()
    assert wrapped.meter.in_flight == 0


def test_probes_do_not_enter_the_application() -> None:
    def never(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        raise AssertionError("entered")

    wrapped = ReportLoadWSGI(never)
    probe = Call(wrapped, PROBE_PATH)
    assert probe.status == "200 OK" and b"in_flight" in probe.read()
    assert parse_report(probe.headers[HEADER]) == (0, 0.0)
    wrapped.drain()
    assert Call(wrapped, PROBE_PATH, "HEAD").status == "503 Service Unavailable"
    with pytest.raises(AssertionError, match="entered"):
        Call(ReportLoadWSGI(never, probe_path=None), PROBE_PATH)
