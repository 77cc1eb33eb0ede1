"""What a reader or a cleaning step has to say about the data: findings, and the observation that carries them.

A finding says what is odd, where (file and line, or time), and what to do about it. Nothing is repaired in silence: whatever is
dropped, merged, moved or filled leaves a finding. Input that cannot be used at all raises InputError instead.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np

from loggos.base.errors import InputError
from loggos.base.limits import FINDINGS_PER_KIND_MAX
from loggos.planner.types import Series


class Severity(StrEnum):
    """How much a finding weighs: NOTE changes nothing, WARNING may mislead, SERIOUS means that data was lost or is wrong."""

    NOTE = "note"
    WARNING = "warning"
    SERIOUS = "serious"


class Kind(StrEnum):
    """What was found."""

    TIME_ZONE = "time zone"
    DAYLIGHT_SAVING = "daylight saving"
    OUT_OF_ORDER = "out of order"
    DUPLICATE = "duplicate time"
    GAP = "gap"
    BAD_TIME = "unreadable time"
    BAD_VALUE = "unreadable value"
    BAD_LINE = "unreadable line"
    TRUNCATED = "truncated"
    MISSING = "missing value"
    NOT_FINITE = "value without bound"
    RESET = "counter reset"
    NEGATIVE = "negative value"
    CONSTANT = "constant"
    TOO_FEW = "too few points"
    IRREGULAR = "irregular times"
    OUTLIER = "outlier"
    RESAMPLED = "resampled"
    FILLED = "filled"
    BUCKETS = "histogram buckets"
    SATURATED = "beyond capacity"
    UNSUPPORTED = "not supported"
    SERVER = "server"
    SEASON = "season"
    LEVEL_SHIFT = "level shift"
    HORIZON = "horizon"
    MODEL = "model"
    EVENT = "event"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is odd. `where`: file:line or a time; `advice`: what to do or to measure next. `more`: it stands for so many
    others of its kind, which were not kept."""

    kind: Kind
    severity: Severity
    what: str
    where: str = ""
    advice: str = ""
    more: int = 0

    def __str__(self) -> str:
        place = f"{self.where}: " if self.where else ""
        advice = f"; {self.advice}" if self.advice else ""
        return f"{self.severity}: {place}{self.what}{advice}"


class Ledger:
    """Gathers findings. Of one kind and severity only the first few are kept; the others are counted, so that a file of a million
    bad lines costs no more than one of ten."""

    def __init__(self, kept_max: int = FINDINGS_PER_KIND_MAX) -> None:
        self._kept_max = kept_max
        self._kept: dict[tuple[Kind, Severity], list[Finding]] = {}
        self._more: dict[tuple[Kind, Severity], int] = {}

    def add(self, kind: Kind, severity: Severity, what: str, where: str = "", advice: str = "") -> None:
        kept = self._kept.setdefault((kind, severity), [])
        if len(kept) < self._kept_max:
            kept.append(Finding(kind, severity, what, where, advice))
        else:
            self._more[kind, severity] = self._more.get((kind, severity), 0) + 1

    def extend(self, findings: Iterable[Finding]) -> None:
        for finding in findings:
            if finding.more:
                key = finding.kind, finding.severity
                self._kept.setdefault(key, [])
                self._more[key] = self._more.get(key, 0) + finding.more
            else:
                self.add(finding.kind, finding.severity, finding.what, finding.where, finding.advice)

    def count(self, kind: Kind) -> int:
        """How many findings of a kind there were, of any severity, the ones not kept included."""
        kept = sum(len(found) for (which, _), found in self._kept.items() if which is kind)
        return kept + sum(more for (which, _), more in self._more.items() if which is kind)

    def findings(self) -> tuple[Finding, ...]:
        """All that were kept, in order of kind; a kind with more ends in one finding that counts them."""
        found: list[Finding] = []
        for (kind, severity), kept in self._kept.items():
            found += kept
            if more := self._more.get((kind, severity)):
                found.append(Finding(kind, severity, f"and {more:,} more: {kind}", more=more))
        return tuple(found)


@dataclass(frozen=True, slots=True)
class Observation:
    """What a source holds: its series, what was odd, and which metrics are counters, gauges or histograms where it says so.

    `metric_types`: metric name -> "counter", "gauge", "histogram", "summary", "unknown".
    """

    series: tuple[Series, ...]
    findings: tuple[Finding, ...] = ()
    metric_types: dict[str, str] = field(default_factory=dict)

    def is_counter(self, series: Series) -> bool:
        """By the type that the source tells, or by the name's end."""
        return self.metric_types.get(series.name) == "counter" or series.name.endswith("_total")

    def select(self, name: str, **labels: str) -> tuple[Series, ...]:
        """The series of that name that carry all the given labels; none gives an empty tuple."""
        return tuple(
            series for series in self.series if series.name == name and all(series.labels.get(k) == v for k, v in labels.items())
        )

    def one(self, name: str, **labels: str) -> Series:
        """The only such series. InputError names what there is instead."""
        found = self.select(name, **labels)
        if len(found) == 1:
            return found[0]
        wanted = described(name, labels)
        if found:
            some = ", ".join(described(series.name, series.labels) for series in found[:5])
            raise InputError(f"{len(found)} series are called {wanted}: {some}; name the labels that tell them apart")
        names = sorted({series.name for series in self.series})
        some = ", ".join(names[:10]) + (" …" if len(names) > 10 else "")
        raise InputError(f"there is no series {wanted}; the source holds {some or 'none at all'}")


def described(name: str, labels: dict[str, str]) -> str:
    """A series as Prometheus writes it: name{label="value"}."""
    inside = ",".join(f'{key}="{value}"' for key, value in labels.items())
    return f"{name}{{{inside}}}" if inside else name


def time_text(time_s: float) -> str:
    """Seconds since the epoch as ISO 8601 in UTC; small numbers (elapsed seconds) and impossible ones as they are."""
    if not 1e8 <= abs(time_s) <= 2e11:
        return f"{time_s:g} s"
    return str(np.datetime_as_string(np.datetime64(round(time_s), "s"))) + "Z"


def duration_text(seconds: float) -> str:
    """A length of time in its largest unit: 90 s, 12 min, 36 h, 14 d."""
    for unit, size in (("d", 86_400.0), ("h", 3_600.0), ("min", 60.0)):
        if seconds >= 2 * size or seconds == size:
            return f"{seconds / size:.4g} {unit}"
    return f"{seconds:.4g} s"
