"""Answers of the Prometheus HTTP API to series, and what promtool prints: pure, bytes and text in.

Read are the envelope of /api/v1/query and /api/v1/query_range ({"status", "data"}), the bare result that `promtool query -o json`
prints, and promtool's plain output (`up{job="a"} =>` and lines `1 @[1700000000.5]`). Result types: matrix, vector, scalar.

Source: Prometheus documentation, HTTP API, "Format overview" and "Expression query result formats".
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from loggos.base.errors import InputError
from loggos.planner.observe.csvfile import unit_of
from loggos.planner.observe.exposition import metric_value, parse_sample
from loggos.planner.observe.findings import Kind, Ledger, Observation, Severity
from loggos.planner.observe.gather import Gatherer, Key, Labels
from loggos.planner.observe.moments import number
from loggos.planner.observe.textfile import document

T = TypeVar("T")
Point = tuple[float, str]
_PLAIN_POINT = re.compile(r"(\S+) @\[([0-9.]+)\]\s*$", re.ASCII)


class _One(msgspec.Struct):
    """One series of a matrix (values) or of a vector (value)."""

    metric: dict[str, str] = {}
    values: list[Point] = []
    value: Point | None = None
    histograms: list[Any] = []
    histogram: Any = None


class _Scalar(msgspec.Struct):
    resultType: str
    result: Point


class _ManyData(msgspec.Struct):
    resultType: str
    result: list[_One]


class _Envelope(msgspec.Struct):
    status: str
    data: msgspec.Raw = msgspec.Raw(b"null")
    errorType: str = ""
    error: str = ""
    warnings: list[str] = []
    infos: list[str] = []


class _Kind(msgspec.Struct):
    resultType: str = ""


def read_dump(path: Path | str) -> Observation:
    """The series of a saved answer of the API, or of promtool's output. InputError: no file, or none of these."""
    raw = document(Path(path))
    if raw.lstrip()[:1] in (b"{", b"["):
        return parse_answer(raw, str(path))
    return parse_plain(raw.decode("utf-8", errors="replace").splitlines(), str(path))


def parse_answer(raw: bytes, source: str = "answer", expression: str = "") -> Observation:
    """The series of one answer. `expression`: the name of series that have none (sums, rates)."""
    ledger = Ledger()
    gatherer = Gatherer(source, ledger)
    take_answer(raw, source, expression, gatherer, ledger)
    return finished(gatherer, ledger)


def finished(gatherer: Gatherer, ledger: Ledger) -> Observation:
    """What was gathered, with the types that names tell: the API does not send any."""
    series = gatherer.series()
    types = {one.name: "counter" for one in series if one.name.endswith(("_total", "_count", "_sum", "_bucket"))}
    return Observation(series, ledger.findings(), types)


def take_answer(raw: bytes, source: str, expression: str, gatherer: Gatherer, ledger: Ledger) -> None:
    """Put the points of one answer into a gatherer: pieces of a long range are joined that way. InputError: the server's error,
    or no answer of the API."""
    if raw.lstrip()[:1] == b"[":
        _take_series(_decoded(raw, list[_One], source), source, expression, gatherer, ledger)
        return
    envelope = _decoded(raw, _Envelope, source)
    if envelope.status != "success":
        why = " ".join((envelope.error or "no reason given").split())[:500]
        raise InputError(f"{source} refused the query: {envelope.errorType or 'error'}: {why}")
    for warning in (*envelope.warnings, *envelope.infos):
        ledger.add(Kind.SERVER, Severity.WARNING, " ".join(warning.split())[:500], source)
    data = bytes(envelope.data)
    kind = _decoded(data, _Kind, source).resultType if data != b"null" else ""
    if kind == "scalar":
        _take_point(_decoded(data, _Scalar, source).result, Key(expression or "scalar", "", ()), source, gatherer, ledger)
    elif kind in ("matrix", "vector"):
        _take_series(_decoded(data, _ManyData, source).result, source, expression, gatherer, ledger)
    else:
        raise InputError(f"{source}: a result of type {kind or 'none'}; a query must give numbers (matrix, vector or scalar)")


def parse_plain(lines: Iterable[str], source: str = "input") -> Observation:
    """The plain output of promtool query."""
    ledger = Ledger()
    gatherer = Gatherer(source, ledger)
    key: Key | None = None
    points = 0
    for line, text in enumerate(lines, 1):
        head, arrow, rest = text.partition(" => ")
        if text.rstrip().endswith(" =>"):
            head, arrow, rest = text.rstrip()[:-3], "=>", ""
        if arrow:
            key = _plain_key(head.strip())
            text = rest
        found = _PLAIN_POINT.match(text.strip())
        if found and key:
            points += _take_point((number(found[2]) or 0.0, found[1]), key, source, gatherer, ledger, line)
        elif text.strip():
            ledger.add(Kind.BAD_LINE, Severity.SERIOUS, f"{text[:60]!r} is no point: left out", f"{source}:{line}")
    if not points:
        raise InputError(f"{source} holds no points; expected JSON of the HTTP API, or what promtool query prints")
    return finished(gatherer, ledger)


def _plain_key(head: str) -> Key | None:
    sample = parse_sample(f"{head} 0") or parse_sample(f"value{head} 0")  # without a name: {job="a"}
    return None if sample is None else Key(sample[0], unit_of(sample[0])[1], sample[1])


def _take_series(result: list[_One], source: str, expression: str, gatherer: Gatherer, ledger: Ledger) -> None:
    for one in result:
        name = one.metric.get("__name__", expression or "value")
        labels: Labels = tuple(sorted((key, value) for key, value in one.metric.items() if key != "__name__"))
        key = Key(name, unit_of(name)[1], labels)
        if one.histograms or one.histogram is not None:
            advice = "query a number of it, such as histogram_quantile(0.99, …) or histogram_count(…)"
            ledger.add(Kind.UNSUPPORTED, Severity.SERIOUS, f"{name} is a native histogram: left out", source, advice)
        for point in _points(one):
            _take_point(point, key, source, gatherer, ledger)


def _points(one: _One) -> Iterator[Point]:
    yield from one.values
    if one.value is not None:
        yield one.value


def _take_point(point: Point, key: Key, source: str, gatherer: Gatherer, ledger: Ledger, line: int = 0) -> bool:
    value = metric_value(point[1])
    if value is None:
        where = f"{source}:{line}" if line else source
        ledger.add(Kind.BAD_VALUE, Severity.SERIOUS, f"{key.name}: {point[1][:40]!r} is no number: left out", where)
        return False
    gatherer.add(key, point[0], value, line)
    return True


def _decoded(raw: bytes, shape: type[T], source: str) -> T:
    try:
        return msgspec.json.decode(raw, type=shape)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        start = raw[:60].decode("utf-8", errors="replace").strip()
        raise InputError(
            f"{source} is no answer of the Prometheus HTTP API: {error}; it begins {start!r}; is the address right?"
        ) from error
