"""Prometheus and OpenMetrics text to series: one scrape, or many that were appended to one file.

Where a sample's time comes from, in this order: its own timestamp; a comment before the scrape that is a time (`# 1700000000`,
`# scrape 2024-03-01T12:00:00Z`, as `echo "# $(date -Is)"` writes it); `start_s` and `interval_s`, for scrapes at a known pace. A
new scrape begins after `# EOF`, at such a comment, or when a sample comes again. OpenMetrics (`# EOF` ends it) writes timestamps
in seconds, Prometheus text in milliseconds; which it is shows in their size.

A parser of its own, line by line: the one of prometheus-client stops at the first bad line and cannot name it. Tests compare
both. Source: Prometheus text format 0.0.4; OpenMetrics 1.0 §4.1.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from pathlib import Path

from loggos.base.errors import InputError
from loggos.planner.observe.csvfile import unit_of
from loggos.planner.observe.findings import Kind, Ledger, Observation, Severity
from loggos.planner.observe.gather import Gatherer, Key, Labels
from loggos.planner.observe.moments import EPOCH_UNITS, iso_moment, number
from loggos.planner.observe.textfile import lines as text_lines

_NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*", re.ASCII)
_LABEL = re.compile(r'\s*(?:([a-zA-Z_][a-zA-Z0-9_.]*)|"((?:[^"\\]|\\.)*)")\s*(?:=\s*"((?:[^"\\]|\\.)*)")?\s*(,|\})', re.ASCII)
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_ESCAPED = {"n": "\n"}
_TYPE = re.compile(r"#\s*TYPE\s+(\S+)\s+(\w+)\s*$", re.ASCII)
_STAMP = re.compile(r"#+\s*(?:scraped?|time|timestamp|date|at)?[\s:=]*([0-9][0-9T:.,+\-Zz ]{7,40})\s*$", re.ASCII | re.IGNORECASE)
_FAMILY_SUFFIXES = ("_total", "_bucket", "_count", "_sum", "_created", "_info")
_BAD_SHARE_MAX = 0.5
_LABELS_MAX = 64  # of one sample; servers allow about 30

Sample = tuple[str, Labels, float, float | None]


def read_exposition(path: Path | str, *, start_s: float | None = None, interval_s: float | None = None) -> Observation:
    """The series of a file of scrapes. `start_s`, `interval_s`: when the first scrape was made and how far apart they are, where
    the file does not say. InputError: no file, nothing readable, or no way to know the times."""
    ledger = Ledger()
    return parse_exposition(text_lines(Path(path), ledger), str(path), start_s=start_s, interval_s=interval_s, ledger=ledger)


def parse_exposition(
    lines: Iterable[str],
    source: str = "input",
    *,
    start_s: float | None = None,
    interval_s: float | None = None,
    ledger: Ledger | None = None,
) -> Observation:
    """The same from lines of text."""
    if interval_s is not None and not (math.isfinite(interval_s) and interval_s > 0):
        raise InputError(f"the interval between scrapes is {interval_s} s; it must be more than 0")
    scrapes = _Scrapes(source, Ledger() if ledger is None else ledger, start_s, interval_s)
    for line, text in enumerate(lines, 1):
        scrapes.line(line, text.strip())
    return scrapes.observation()


def parse_sample(text: str) -> Sample | None:
    """One sample: name, labels, value, its timestamp in seconds if it has one. None: not of the format. Exemplars are skipped."""
    head = _NAME.match(text)
    name, at = (head[0], head.end()) if head else ("", 0)
    labels: list[tuple[str, str]] = []
    if text.startswith("{", at):
        at += 1
        while not text.startswith("}", at):
            pair = _LABEL.match(text, at)
            if pair is None or len(labels) >= _LABELS_MAX:
                return None
            bare, quoted, value, end = pair.groups()
            if value is None:  # a quoted metric name in the braces, as UTF-8 names are written
                if name or quoted is None:
                    return None
                name = _unescaped(quoted)
            else:
                labels.append((bare if bare is not None else _unescaped(quoted), _unescaped(value)))
            at = pair.end() - (end == "}")
        at += 1
    fields = text[at:].split(" # ", 1)[0].split()
    if not name or not 1 <= len(fields) <= 2 or len({key for key, _ in labels}) < len(labels):
        return None
    value_read = metric_value(fields[0])
    stamp = number(fields[1]) if len(fields) == 2 else None
    if value_read is None or (len(fields) == 2 and stamp is None):
        return None
    return name, tuple(labels), value_read, None if stamp is None else _stamp_seconds(stamp)


def metric_value(text: str) -> float | None:
    """A number as Prometheus writes it, with NaN, +Inf and -Inf; None if it is none."""
    value = number(text)
    if value is None:
        return {"nan": math.nan, "inf": math.inf, "+inf": math.inf, "-inf": -math.inf}.get(text.lower())
    return value


def _stamp_seconds(stamp: float) -> float:
    """Milliseconds in Prometheus text, seconds in OpenMetrics: told apart by size, from 1973 on."""
    return stamp * next((seconds for _, low, high, seconds in EPOCH_UNITS if low <= abs(stamp) < high), 1.0)


def _unescaped(text: str) -> str:
    return _ESCAPE.sub(lambda found: _ESCAPED.get(found[1], found[1]), text) if "\\" in text else text


class _Scrapes:
    """Lines in, observation out; knows which scrape it is in."""

    def __init__(self, source: str, ledger: Ledger, start_s: float | None, interval_s: float | None) -> None:
        self.source, self.ledger, self.start_s, self.interval_s = source, ledger, start_s, interval_s
        self.gatherer = Gatherer(source, ledger)
        self.types: dict[str, str] = {}
        self.stamp_s: float | None = None  # of this scrape, by its comment
        self.scrape = 0
        self.seen: dict[tuple[str, Labels], None] = {}  # samples of this scrape
        self.samples = self.bad = self.timeless = 0

    def line(self, line: int, text: str) -> None:
        if text.startswith("#"):
            self._comment(text)
        elif text:
            sample = parse_sample(text)
            if sample is None:
                self.bad += 1
                what = f"{text[:60]!r} is no sample: left out"
                self.ledger.add(
                    Kind.BAD_LINE, Severity.SERIOUS, what, f"{self.source}:{line}", "the scrape may be cut or mixed up"
                )
            else:
                self._sample(line, sample)

    def _comment(self, text: str) -> None:
        if text == "# EOF":
            self._next_scrape()
        elif found := _TYPE.match(text):
            self.types[found[1]] = "unknown" if found[2] == "untyped" else found[2].lower()
        elif found := _STAMP.match(text):
            self._next_scrape()
            value = number(found[1].strip())
            moment = iso_moment(found[1].strip())
            if value is not None:
                self.stamp_s = _stamp_seconds(value)
            elif moment is not None:
                self.stamp_s = moment.seconds

    def _next_scrape(self) -> None:
        """The same place twice (`# EOF`, then a comment) is one end."""
        if self.seen:
            self.scrape += 1
            self.seen.clear()
            self.stamp_s = None

    def _sample(self, line: int, sample: Sample) -> None:
        name, labels, value, own_s = sample
        self.samples += 1
        if own_s is None and (name, labels) in self.seen:
            self._next_scrape()
        self.seen[name, labels] = None
        if name.endswith("_created"):
            return  # when a counter was made; no measurement
        time_s = own_s if own_s is not None else self._scrape_time()
        if time_s is None:
            self.timeless += 1
            time_s = float(self.scrape)
        self.gatherer.add(Key(name, unit_of(name)[1], labels), time_s, value, line)

    def _scrape_time(self) -> float | None:
        if self.stamp_s is not None:
            return self.stamp_s
        if self.interval_s is not None:
            return (self.start_s or 0.0) + self.scrape * self.interval_s
        return self.start_s if self.scrape == 0 else None

    def observation(self) -> Observation:
        total = self.samples + self.bad
        if not self.samples or self.bad > _BAD_SHARE_MAX * total:
            first = next((str(f) for f in self.ledger.findings() if f.kind is Kind.BAD_LINE), "it holds no samples")
            raise InputError(f"{self.source} is no Prometheus text: {self.bad:,} of {total:,} lines are no samples ({first})")
        scrapes = self.scrape + bool(self.seen)
        if self.timeless and scrapes > 1:
            raise InputError(
                f"{self.source} holds {scrapes:,} scrapes without times: give the interval between them, or write a line "
                '"# <time>" before each scrape'
            )
        if self.timeless:
            what = "one scrape without a time: levels can be read, rates cannot"
            self.ledger.add(Kind.TOO_FEW, Severity.WARNING, what, self.source, "scrape again later and append, with the time")
        series = self.gatherer.series()
        types = {one.name: self._type(one.name) for one in series}
        return Observation(series, self.ledger.findings(), types)

    def _type(self, name: str) -> str:
        """By its TYPE line, or that of its family; a name in _total is a counter in any case."""
        if name in self.types:
            return self.types[name]
        for suffix in _FAMILY_SUFFIXES:
            if name.endswith(suffix) and (family := name.removesuffix(suffix)) in self.types:
                return self.types[family]
        return "counter" if name.endswith("_total") else "unknown"
