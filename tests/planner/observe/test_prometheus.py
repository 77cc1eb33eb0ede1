"""The HTTP API over real loopback HTTP: a small server that answers as Prometheus does, refuses as it does, and misbehaves."""

from __future__ import annotations

import base64
import json
import math
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from typing import NamedTuple
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loggos.base.errors import ConfigError, InputError
from loggos.planner.observe.findings import Kind
from loggos.planner.observe.prometheus import Prometheus, pieces

HOUR = 3600.0
START = 1_700_000_400.0


class Asked(NamedTuple):
    method: str
    path: str
    form: dict[str, str]
    authorization: str


class Reply(NamedTuple):
    status: int
    body: bytes
    headers: dict[str, str] = {}
    claimed: int | None = None  # a Content-Length that is not true


Behaviour = Callable[[Asked], Reply]


@contextmanager
def server(behave: Behaviour) -> Iterator[tuple[str, list[Asked]]]:
    """Its address, and what it was asked."""
    asked: list[Asked] = []

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            parts = urlsplit(self.path)
            body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
            form = {key: values[0] for key, values in parse_qs(body or parts.query).items()}
            asked.append(Asked(self.command, parts.path, form, self.headers.get("Authorization", "")))
            reply = behave(asked[-1])
            self.send_response(reply.status)
            for key, value in reply.headers.items():
                self.send_header(key, value)
            self.send_header("Content-Length", str(len(reply.body) if reply.claimed is None else reply.claimed))
            self.end_headers()
            self.wfile.write(reply.body)

        do_GET = do_POST = answer

        def log_message(self, format: str, *args: object) -> None:
            pass

    http_server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=http_server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{http_server.server_port}", asked
    finally:
        http_server.shutdown()
        http_server.server_close()
        thread.join()


def load(time_s: float) -> float:
    return 100.0 + 50.0 * math.sin(time_s / 7_000.0)


def prometheus(asked: Asked) -> Reply:
    """Evaluates `load` on the asked grid, with the limits and error texts of the real one; hides the sixth hour."""
    if asked.form.get("query") != "load":
        return error(400, "bad_data", 'invalid parameter "query": 1:5: parse error: unexpected end of input')
    if asked.path.endswith("/query"):
        result = [{"metric": {"__name__": "load"}, "value": [float(asked.form.get("time", START)), "42"]}]
        return success("vector", result)
    start, end, step = (float(asked.form[key]) for key in ("start", "end", "step"))
    if (end - start) / step > 11_000:
        return error(400, "bad_data", "exceeded maximum resolution of 11,000 points per timeseries")
    times = [start + step * i for i in range(math.floor((end - start) / step + 1e-9) + 1)]
    values = [[t, str(load(t))] for t in times if not START + 5 * HOUR <= t < START + 6 * HOUR]
    return success("matrix", [{"metric": {"__name__": "load", "job": "web"}, "values": values}])


def success(kind: str, result: object) -> Reply:
    return Reply(200, json.dumps({"status": "success", "data": {"resultType": kind, "result": result}}).encode())


def error(status: int, kind: str, text: str) -> Reply:
    return Reply(status, json.dumps({"status": "error", "errorType": kind, "error": text}, separators=(",", ":")).encode())


def test_a_long_range_is_asked_in_pieces_on_one_grid() -> None:
    end = START + 300 * HOUR
    with server(prometheus) as (address, asked):
        seen = Prometheus(address + "/prefix/").query_range("load", START, end, 60.0)
    series = seen.one("load", job="web")
    assert [one.path for one in asked] == ["/prefix/api/v1/query_range"] * 2 and {one.method for one in asked} == {"POST"}
    assert all((float(one.form["end"]) - float(one.form["start"])) / 60.0 <= 11_000 for one in asked)
    hidden = (np.arange(18_001) >= 300) & (np.arange(18_001) < 360)
    assert np.array_equal(series.times_s, (START + 60.0 * np.arange(18_001))[~hidden])
    assert series.values == pytest.approx([load(t) for t in series.times_s])
    found = {finding.kind: finding.what for finding in seen.findings}
    assert "60 of 18,001 steps of 1 min have no value" in found[Kind.MISSING]
    assert "1 gap(s)" in found[Kind.GAP]


def test_an_instant_query_gives_one_point() -> None:
    with server(prometheus) as (address, asked):
        seen = Prometheus(address).query("load", START + 0.25)
        Prometheus(address).query("load")
    assert seen.one("load").times_s.tolist() == [START + 0.25] and seen.one("load").values.tolist() == [42.0]
    assert asked[0].form["time"] == "1700000400.25" and "time" not in asked[1].form


def test_credentials_are_sent_and_never_shown() -> None:
    with server(prometheus) as (address, asked):
        seen = Prometheus(address, token="s3cret").query("load")
        Prometheus(address, user="ann", password="pä:ss").query("load")
    assert asked[0].authorization == "Bearer s3cret"
    assert asked[1].authorization == "Basic " + base64.b64encode("ann:pä:ss".encode()).decode()
    assert any(finding.kind is Kind.SERVER and "unencrypted" in finding.what for finding in seen.findings)
    assert "s3cret" not in repr(Prometheus(address, token="s3cret")) and "pw" not in repr(
        Prometheus(address, user="a", password="pw")
    )


def test_get_is_used_where_post_is_not_allowed() -> None:
    def only_get(asked: Asked) -> Reply:
        return prometheus(asked) if asked.method == "GET" else Reply(405, b"")

    with server(only_get) as (address, asked):
        assert Prometheus(address).query("load").one("load").values.tolist() == [42.0]
    assert [one.method for one in asked] == ["POST", "GET"]


@pytest.mark.parametrize(
    ("reply", "says"),
    [
        (
            error(422, "execution", "query timed out\nin expression evaluation"),
            "refused the query: execution: query timed out in expr",
        ),
        (Reply(401, b"no\nway"), "answers 401 Unauthorized: no way; give a bearer token"),
        (Reply(404, b""), "answers 404 Not Found: nothing more; is the address right"),
        (Reply(503, b"<html>busy</html>"), "answers 503 Service Unavailable: <html>busy</html>; the server is busy"),
        (
            Reply(302, b"", {"Location": "https://u:pw@elsewhere/login"}),
            "sends us to 'https://elsewhere/login'; give that address",
        ),
        (Reply(200, b"<html>login</html>"), "no answer of the Prometheus HTTP API"),
        (Reply(200, b'{"status":', {}, claimed=5_000), "cannot be reached"),
        (success("matrix", []), "has no data for 'load'"),
    ],
)
def test_server_errors_are_one_clear_line(reply: Reply, says: str) -> None:
    with server(lambda asked: reply) as (address, asked), pytest.raises(InputError) as caught:
        Prometheus(address, token="s3cret").query_range("load", START, START + HOUR, 60.0)
    text = str(caught.value)
    assert says in text and address in text and "\n" not in text and "s3cret" not in text and "pw" not in text
    assert len(asked) == 1


def test_a_bad_query_shows_the_servers_reason() -> None:
    with server(prometheus) as (address, _), pytest.raises(InputError, match="bad_data: invalid parameter"):
        Prometheus(address).query("sum(")


def test_a_silent_server_and_a_slow_one_are_given_up() -> None:
    release = threading.Event()

    def silent(asked: Asked) -> Reply:
        release.wait(20.0)
        return Reply(200, b"{}")

    with server(silent) as (address, _):
        with pytest.raises(InputError, match=r"did not answer within 0.2 s; take a coarser step"):
            Prometheus(address, timeout_s=0.2).query("load")
        release.set()
    seconds = iter(range(0, 1_000, 40))  # a clock on which every read takes 40 s
    with server(prometheus) as (address, _), pytest.raises(InputError, match="did not answer within 30 s"):
        Prometheus(address, clock=lambda: float(next(seconds))).query("load")


def test_nobody_there_is_one_clear_line() -> None:
    with server(prometheus) as (address, _):
        pass
    with pytest.raises(InputError, match="cannot be reached: Connection refused; is it running"):
        Prometheus(address).query("load")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"address": "localhost:9090"}, "no address of a Prometheus server"),
        ({"address": "ftp://x"}, "no address"),
        ({"address": "http://u:pw@x"}, "give them as user and password"),
        ({"address": "http://x:port"}, "no address"),
        ({"address": "http://[::1"}, "no address"),
        ({"address": "http://x", "token": "a\r\nX: y"}, "no header may"),
        ({"address": "http://x", "token": "a", "user": "b"}, "not both"),
        ({"address": "http://x", "timeout_s": 0.0}, "time limit"),
    ],
)
def test_impossible_servers_are_refused_at_once(options: dict[str, object], says: str) -> None:
    with pytest.raises(ConfigError, match=says) as caught:
        Prometheus(**options)  # type: ignore[arg-type]
    assert "pw" not in str(caught.value)


@given(st.integers(1, 200_000), st.sampled_from([1.0, 15.0, 0.1, 60.0, 3600.0]), st.integers(2, 11_000))
def test_pieces_cover_every_step_once(steps: int, step_s: float, points_max: int) -> None:
    end = START + (steps - 1) * step_s
    if steps > points_max * 1_000:
        with pytest.raises(InputError, match="take a step of"):
            list(pieces(START, end, step_s, points_max))
        return
    parts = list(pieces(START, end, step_s, points_max))
    counts = [round((last - first) / step_s) + 1 for first, last in parts]
    assert sum(counts) == steps and max(counts) <= points_max
    assert parts[0][0] == START and parts[-1][1] == pytest.approx(end)
    assert all(b[0] - a[1] == pytest.approx(step_s, rel=1e-3) for a, b in pairwise(parts))


@pytest.mark.parametrize(("start", "end", "step"), [(2.0, 1.0, 1.0), (0.0, 1.0, 0.0), (0.0, math.inf, 1.0), (math.nan, 1.0, 1.0)])
def test_impossible_ranges_are_refused(start: float, end: float, step: float) -> None:
    with pytest.raises(InputError, match="it needs start <= end"):
        list(pieces(start, end, step))
