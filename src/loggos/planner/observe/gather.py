"""Points in any order to series with strictly increasing times: what all readers share.

Rules: values that are missing (NaN) or without bound are left out; points are sorted; of several at one time the last line
counts, unless told otherwise. Each of these leaves a finding with its line. The number of points and of series is bounded before
they are kept. Pure.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Callable
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from loggos.base.errors import InputError
from loggos.base.limits import OBSERVE_POINTS_MAX, OBSERVE_SERIES_MAX
from loggos.planner.observe.findings import Kind, Ledger, Severity, described, duration_text, time_text
from loggos.planner.types import Floats, Series

Duplicates = Literal["last", "first", "mean", "max", "sum"]
Places = NDArray[np.int64]
Labels = tuple[tuple[str, str], ...]

GAP_STEPS = 1.5  # a step longer than this many usual steps is a gap
VALUE_MAX = 1e150  # no measurement is larger; beyond it squares overflow
TIME_MAX_S = 1e12  # 30,000 years


class Key(NamedTuple):
    """What tells one series of a source from another."""

    name: str
    unit: str
    labels: Labels


class _Points(NamedTuple):
    times_s: array[float]
    values: array[float]
    places: array[int]  # line numbers, or positions


class Gatherer:
    """Points in, series out. InputError when there are more than the limits allow: take a coarser step or a shorter span."""

    def __init__(
        self, source: str, ledger: Ledger, points_max: int = OBSERVE_POINTS_MAX, series_max: int = OBSERVE_SERIES_MAX
    ) -> None:
        self.source = source
        self._ledger = ledger
        self._points_max, self._series_max = points_max, series_max
        self._series: dict[Key, _Points] = {}
        self._points = 0

    def add(self, key: Key, time_s: float, value: float, place: int) -> None:
        """One point; `place`: its line (0: the source has none). A value that is not finite is left out, and counted."""
        points = self._series.get(key)
        if points is None:
            if len(self._series) >= self._series_max:
                raise InputError(
                    f"{self.source} holds more than {self._series_max:,} series; select fewer by name or label, or sum them first"
                )
            points = self._series[key] = _Points(array("d"), array("d"), array("q"))
        if not -VALUE_MAX <= value <= VALUE_MAX:  # NaN is not either
            where = self._where(place) or time_text(time_s)
            name = described(key.name, dict(key.labels))
            if math.isnan(value):
                self._ledger.add(Kind.MISSING, Severity.NOTE, f"{name} has no value", where)
            else:
                self._ledger.add(Kind.NOT_FINITE, Severity.WARNING, f"{name} is {value}: left out", where)
            return
        if not abs(time_s) <= TIME_MAX_S:
            self._ledger.add(Kind.BAD_TIME, Severity.SERIOUS, f"{time_s:g} s is no time: left out", self._where(place))
            return
        self._points += 1
        if self._points > self._points_max:
            raise InputError(f"{self.source} holds more than {self._points_max:,} values; take a coarser step or a shorter span")
        points.times_s.append(time_s)
        points.values.append(value)
        points.places.append(place)

    def series(self, duplicates: Duplicates = "last") -> tuple[Series, ...]:
        """All series that have a value, in the order in which they first came."""
        done = []
        for key, points in self._series.items():
            times = np.frombuffer(points.times_s, dtype=np.float64) if points.times_s else np.empty(0)
            if not len(times):
                name = described(key.name, dict(key.labels))
                self._ledger.add(
                    Kind.TOO_FEW, Severity.SERIOUS, f"{name} has no value at all", self.source, "the series is left out"
                )
                continue
            values = np.frombuffer(points.values, dtype=np.float64)
            places = np.frombuffer(points.places, dtype=np.int64)
            name = described(key.name, dict(key.labels))
            times, values = ordered(name, times, values, self._ledger, places=places, where=self._where, duplicates=duplicates)
            done.append(Series(key.name, key.unit, times, values, dict(key.labels), self.source))
        for one in done:
            note_gaps(one, self._ledger)
        return tuple(done)

    def _where(self, place: int) -> str:
        return f"{self.source}:{place}" if place > 0 else ""


def ordered(
    name: str,
    times_s: Floats,
    values: Floats,
    ledger: Ledger,
    *,
    places: Places | None = None,
    where: Callable[[int], str] = lambda place: "",
    duplicates: Duplicates = "last",
) -> tuple[Floats, Floats]:
    """The same points with strictly increasing times. `places`: line numbers, shown through `where` in findings."""
    assert len(times_s) == len(values), "as many times as values"
    places = np.arange(len(times_s)) if places is None else places
    back = np.flatnonzero(times_s < np.maximum.accumulate(times_s)) if len(times_s) else np.empty(0, dtype=np.int64)
    if len(back):
        first = int(back[0])
        what = (
            f"{name}: {len(back):,} point(s) earlier than a point before them, first {time_text(float(times_s[first]))}: sorted"
        )
        advice = "if several sources were joined, keep them apart by a label; if a clock was set back, these times are doubtful"
        ledger.add(Kind.OUT_OF_ORDER, Severity.WARNING, what, where(int(places[first])), advice)
        order = np.argsort(times_s, kind="stable")
        times_s, values, places = times_s[order], values[order], places[order]
    starts = np.flatnonzero(np.concatenate(([True], np.diff(times_s) > 0.0))) if len(times_s) else np.empty(0, dtype=np.int64)
    if len(starts) == len(times_s):
        return np.array(times_s), np.array(values)
    merged = _merge(values, starts, duplicates)
    repeated = np.setdiff1d(np.arange(len(times_s)), starts)
    differ = np.maximum.reduceat(values, starts) > np.minimum.reduceat(values, starts)
    first = int(repeated[0])
    what = f"{name}: {len(repeated):,} further point(s) at a time that has one, first {time_text(float(times_s[first]))}: "
    if differ.any():
        what += f"at {int(differ.sum()):,} time(s) the values differ, the {duplicates} counts"
        advice = "series that were mixed up need a label; counts of parts are joined with duplicates='sum'"
        ledger.add(Kind.DUPLICATE, Severity.WARNING, what, where(int(places[first])), advice)
    else:
        ledger.add(Kind.DUPLICATE, Severity.NOTE, what + "the values agree", where(int(places[first])))
    return np.array(times_s[starts]), merged


def _merge(values: Floats, starts: Places, duplicates: Duplicates) -> Floats:
    ends = np.append(starts[1:], len(values))
    merged: Floats
    if duplicates == "first":
        merged = values[starts].copy()
    elif duplicates == "last":
        merged = values[ends - 1].copy()
    elif duplicates == "max":
        merged = np.maximum.reduceat(values, starts)
    else:
        merged = np.add.reduceat(values, starts)
        merged = merged / (ends - starts) if duplicates == "mean" else merged
    return merged


def note_gaps(series: Series, ledger: Ledger) -> None:
    """A finding on the gaps of a series, judged by its median step: how many, the longest, what share of the span is missing."""
    if len(series.times_s) < 3:
        return
    steps = np.diff(series.times_s)
    usual = float(np.median(steps))
    gaps = np.flatnonzero(steps > GAP_STEPS * usual)
    if not len(gaps):
        return
    longest = int(gaps[np.argmax(steps[gaps])])
    missing = float(np.sum(steps[gaps] - usual)) / float(series.times_s[-1] - series.times_s[0])
    what = (
        f"{described(series.name, series.labels)}: {len(gaps):,} gap(s) between points usually {duration_text(usual)} apart; "
        f"the longest, {duration_text(float(steps[longest]))}, follows {time_text(float(series.times_s[longest]))}; "
        f"{missing:.1%} of the span has no data"
    )
    severity = Severity.SERIOUS if missing > 0.2 else Severity.WARNING
    ledger.add(Kind.GAP, severity, what, series.source, "nothing was filled in; fill explicitly, or use the part without gaps")
