"""The Prometheus HTTP API: a shell that asks, in pieces the server allows, and hands the bytes to `api`.

Rules: a range of more than 11,000 steps is cut into consecutive queries on one grid. Every answer has a time limit and a size
limit. Credentials are sent to the named address only: redirects are not followed, and no message holds a secret. A server that
does not know POST (405) is asked by GET. Whatever goes wrong is one InputError line: which address, what it said, what to do.

Source: Prometheus documentation, HTTP API, "Instant queries" and "Range queries"; web/api/v1 for the limit of 11,000.
"""

from __future__ import annotations

import base64
import http.client
import math
import ssl
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from urllib.parse import SplitResult, urlencode, urlsplit

from loggos.base.errors import ConfigError, InputError
from loggos.base.limits import (
    OBSERVE_DOCUMENT_BYTES_MAX,
    PROMETHEUS_PIECES_MAX,
    PROMETHEUS_POINTS_MAX,
    PROMETHEUS_TIMEOUT_S,
)
from loggos.planner.observe.api import finished, take_answer
from loggos.planner.observe.findings import Kind, Ledger, Observation, Severity, described, duration_text, time_text
from loggos.planner.observe.gather import Gatherer

_READ_BYTES = 1 << 20
_ADVICE = {
    400: "check the query and the range",
    401: "give a bearer token, or a user and password",
    403: "these credentials may not query",
    404: "is the address right, with its path prefix?",
    413: "take a coarser step or a shorter range",
    422: "check the query",
    429: "the server is busy: try later, or take a coarser step",
    503: "the server is busy or starting, or the query took too long: try later, or take a coarser step",
}


@dataclass(frozen=True, slots=True)
class Prometheus:
    """A server to ask. `address`: http(s)://host[:port][/prefix]. `token` or `user` and `password` are sent with every query.

    `timeout_s`: for one answer; with `clock` (a monotonic clock in seconds) for all of it, without one between two reads.
    `tls`: how certificates are checked; by default as the system does. ConfigError: an address or credentials that cannot be.
    """

    address: str
    token: str = field(default="", repr=False)
    user: str = ""
    password: str = field(default="", repr=False)
    timeout_s: float = PROMETHEUS_TIMEOUT_S
    tls: ssl.SSLContext | None = None
    clock: Callable[[], float] | None = None
    points_max: int = PROMETHEUS_POINTS_MAX

    def __post_init__(self) -> None:
        parts = _split(self.address)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
            raise ConfigError(f"{_shown(self.address)!r} is no address of a Prometheus server; write http://host:9090")
        if parts.username is not None or parts.password is not None:
            raise ConfigError(
                "the address holds a user or password: give them as user and password, so that no message shows them"
            )
        if self.token and self.user:
            raise ConfigError("give a bearer token or a user and password, not both")
        if not all(32 < ord(char) < 127 for char in self.token):
            raise ConfigError("the bearer token holds characters that no header may; does a line end stick to it?")
        if not (math.isfinite(self.timeout_s) and self.timeout_s > 0):
            raise ConfigError(f"the time limit is {self.timeout_s} s; it must be more than 0")
        if not 2 <= self.points_max <= PROMETHEUS_POINTS_MAX:
            raise ConfigError(f"one query takes 2 to {PROMETHEUS_POINTS_MAX:,} steps, not {self.points_max}")

    def query_range(self, expression: str, start_s: float, end_s: float, step_s: float) -> Observation:
        """The values of an expression at start_s, start_s + step_s, ... up to end_s (seconds since the epoch).

        Series without a name (sums, rates) are called by the expression. Steps without a value are a finding.
        InputError: the server cannot be reached, refuses, or has no data for it; or the range is impossible.
        """
        ledger = self._ledger()
        gatherer = Gatherer(self.address, ledger)
        for first, last in pieces(start_s, end_s, step_s, self.points_max):
            query = {"query": expression, "start": _number(first), "end": _number(last), "step": _number(step_s)}
            take_answer(self._ask("query_range", query), self.address, expression, gatherer, ledger)
        found = finished(gatherer, ledger)
        if not found.series:
            span = f"between {time_text(start_s)} and {time_text(end_s)}"
            raise InputError(f"{self.address} has no data for {expression!r} {span}; check the name, the labels and the range")
        steps = _steps(start_s, end_s, step_s)
        for one in found.series:
            _note_absent(one.name, one.labels, len(one.times_s), steps, step_s, ledger)
        return Observation(found.series, ledger.findings(), found.metric_types)

    def query(self, expression: str, at_s: float | None = None) -> Observation:
        """The values of an expression at one time (the server's now, unless given): series of one point, or what a range selector
        such as `up[1h]` holds. Errors as in query_range."""
        ledger = self._ledger()
        gatherer = Gatherer(self.address, ledger)
        query = {"query": expression} | ({} if at_s is None else {"time": _number(at_s)})
        take_answer(self._ask("query", query), self.address, expression, gatherer, ledger)
        found = finished(gatherer, ledger)
        if not found.series:
            raise InputError(f"{self.address} has no data for {expression!r}; check the name and the labels")
        return found

    def _ledger(self) -> Ledger:
        ledger = Ledger()
        if (self.token or self.user) and self.address.lower().startswith("http://"):
            ledger.add(
                Kind.SERVER,
                Severity.WARNING,
                "credentials are sent unencrypted",
                self.address,
                "use https where the way is not safe",
            )
        return ledger

    def _ask(self, what: str, query: dict[str, str]) -> bytes:
        """The body of one answer, by POST, or by GET where that is not allowed."""
        form = urlencode(query | {"timeout": f"{self.timeout_s:g}s"})
        status, reason, body = self._exchange("POST", what, form)
        if status == 405:
            status, reason, body = self._exchange("GET", what, form)
        if status == 200 or body.lstrip().startswith(b'{"status":"error"'):
            return body
        if 300 <= status < 400:
            raise InputError(
                f"{self.address} answers {status} {reason} and sends us to {reason!r}; give that address, if you trust it"
            )
        said = " ".join(body[:300].decode("utf-8", errors="replace").split())
        raise InputError(
            f"{self.address} answers {status} {reason}: {said or 'nothing more'}; {_ADVICE.get(status, 'see its log')}"
        )

    def _exchange(self, method: str, what: str, form: str) -> tuple[int, str, bytes]:
        """Status, reason (the target, for a redirect) and body. A connection for each: pieces are few, and none is ever stale."""
        parts = _split(self.address)
        path = f"{parts.path.rstrip('/')}/api/v1/{what}"
        headers = {"Accept": "application/json", "Accept-Encoding": "identity", "Connection": "close"} | self._credentials()
        if method == "POST":
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        connection = self._connection(parts.scheme, parts.hostname or "", parts.port)
        started = self.clock() if self.clock else 0.0
        try:
            connection.request(
                method, path if method == "POST" else f"{path}?{form}", form if method == "POST" else None, headers
            )
            answer = connection.getresponse()
            target = answer.getheader("Location") if 300 <= answer.status < 400 else None
            return answer.status, _shown(target or answer.reason), self._body(answer, started)
        except TimeoutError as error:
            raise InputError(
                f"{self.address} did not answer within {self.timeout_s:g} s; take a coarser step or a shorter range, or more time"
            ) from error
        except (OSError, http.client.HTTPException, ValueError) as error:
            why = (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__
            raise InputError(f"{self.address} cannot be reached: {why}; is it running, and is the address right?") from error
        finally:
            connection.close()

    def _connection(self, scheme: str, host: str, port: int | None) -> http.client.HTTPConnection:
        if scheme == "http":
            return http.client.HTTPConnection(host, port, timeout=self.timeout_s)
        return http.client.HTTPSConnection(host, port, timeout=self.timeout_s, context=self.tls or ssl.create_default_context())

    def _credentials(self) -> dict[str, str]:
        if self.token:
            return {"Authorization": f"Bearer {self.token}"}
        if self.user:
            pair = base64.b64encode(f"{self.user}:{self.password}".encode()).decode("ascii")
            return {"Authorization": f"Basic {pair}"}
        return {}

    def _body(self, answer: http.client.HTTPResponse, started_s: float) -> bytes:
        """All of it, within the limits of size and time."""
        chunks, size = [], 0
        while chunk := answer.read1(_READ_BYTES):
            chunks.append(chunk)
            size += len(chunk)
            if size > OBSERVE_DOCUMENT_BYTES_MAX:
                raise InputError(
                    f"{self.address} answers more than {OBSERVE_DOCUMENT_BYTES_MAX:,} bytes; sum over labels, or widen the step"
                )
            if self.clock is not None and self.clock() - started_s > self.timeout_s:
                raise TimeoutError
        if answer.length:
            raise http.client.IncompleteRead(b"", answer.length)
        return b"".join(chunks)


def pieces(start_s: float, end_s: float, step_s: float, points_max: int = PROMETHEUS_POINTS_MAX) -> Iterator[tuple[float, float]]:
    """First and last time of consecutive queries that together ask for every step from start to end once, to the millisecond.

    InputError: no such range, or one of more than 1,000 pieces.
    """
    steps = _steps(start_s, end_s, step_s)
    if steps > points_max * PROMETHEUS_PIECES_MAX:
        raise InputError(
            f"{duration_text(end_s - start_s)} in steps of {duration_text(step_s)} is {steps:,} points; "
            f"take a step of {duration_text((end_s - start_s) / (points_max * 10))} or more"
        )
    start_ms, step_ms = round(start_s * 1_000), round(step_s * 1_000)
    for first in range(0, steps, points_max):
        last = min(first + points_max, steps) - 1
        yield (start_ms + first * step_ms) / 1_000, (start_ms + last * step_ms) / 1_000


def _steps(start_s: float, end_s: float, step_s: float) -> int:
    """How many steps a range has, both ends included; counted in milliseconds, as the server does."""
    if not all(math.isfinite(value) for value in (start_s, end_s, step_s)) or step_s < 0.001 or end_s < start_s:
        raise InputError(
            f"a range from {start_s:g} to {end_s:g} in steps of {step_s:g} s; it needs start <= end and a step above 0"
        )
    return (round(end_s * 1_000) - round(start_s * 1_000)) // round(step_s * 1_000) + 1


def _note_absent(name: str, labels: dict[str, str], points: int, steps: int, step_s: float, ledger: Ledger) -> None:
    if points >= steps:
        return
    severity = Severity.SERIOUS if points < 0.8 * steps else Severity.WARNING
    what = f"{described(name, labels)}: {steps - points:,} of {steps:,} steps of {duration_text(step_s)} have no value"
    ledger.add(Kind.MISSING, severity, what, advice="scraping failed, or the series was not there all the time: see `up`")


def _split(address: str) -> SplitResult:
    """The parts of an address; ConfigError if it has none (a port that is no number, brackets left open)."""
    try:
        parts = urlsplit(address)
        _ = parts.port
    except ValueError as error:
        raise ConfigError(f"{_shown(address)!r} is no address: {error}") from error
    return parts


def _shown(address: str) -> str:
    """An address for a message: without credentials, of bounded length, printable."""
    scheme, mark, rest = address.partition("://")
    host, slash, path = rest.partition("/")
    bare = f"{scheme}{mark}{host.rpartition('@')[2]}{slash}{path}" if mark else address
    return "".join(char if char.isprintable() else "?" for char in bare[:200])


def _number(value: float) -> str:
    """As few digits as say it exactly; milliseconds are what the server keeps."""
    return f"{value:.3f}".rstrip("0").rstrip(".")
