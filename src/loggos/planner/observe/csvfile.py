"""CSV to series: delimiter, header, time column and units detected, or named in `CsvFormat`.

Rules: the first row is a header if none of its cells is a number or a time. The time column is the one that was named, or is
called time, timestamp, date, ..., or is the first whose first cells read as times. Every other column with a number in its first
rows is a series; columns named as labels tell series apart (one row per time and label). Epoch times are seconds to nanoseconds
by their size; times without a zone are UTC unless a zone is named. Lines beginning with # are comments. A cell that cannot be
read is left out and reported with its line; if most cannot be read, InputError.

Source: RFC 4180 (quoting), as Python's csv module reads it.
"""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

import numpy as np

from loggos.base.errors import InputError
from loggos.base.limits import OBSERVE_COLUMNS_MAX
from loggos.planner.observe.findings import Kind, Ledger, Observation, Severity
from loggos.planner.observe.gather import Duplicates, Gatherer, Key, Labels
from loggos.planner.observe.moments import EPOCH_UNITS, UNIT_SECONDS, LocalClock, epoch_unit, iso_moment, number
from loggos.planner.observe.textfile import lines as text_lines
from loggos.planner.types import Series

DELIMITERS = (",", ";", "\t", "|")
TIME_NAMES = (
    "time",
    "timestamp",
    "date",
    "datetime",
    "ts",
    "when",
    "_time",
    "@timestamp",
    "epoch",
    "clock",
    "unix_time",
    "date_time",
)
MISSING = ("", "-", "null", "none", "nan", "na", "n/a", "undefined", "undef")  # lower case; an empty cell in many dialects
_SAMPLE_ROWS = 50  # rows that detection looks at
_BAD_SHARE_MAX = 0.5
_UNIT_IN_NAME = re.compile(r"^(.*?)\s*[(\[]\s*([^()\[\]]{1,16})\s*[)\]]$")
_UNIT_SUFFIXES = (
    ("_milliseconds", "ms"), ("_seconds", "s"), ("_ms", "ms"), ("_bytes", "B"), ("_ratio", "1"), ("_percent", "%"),
    ("_celsius", "°C"), ("_per_second", "1/s"), ("_rps", "1/s"), ("_qps", "1/s"),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class CsvFormat:
    """What is known about a file; everything else is detected.

    `units`: column -> unit. `zone`: of times without one. `time_unit`: "s", "ms", "us" or "ns" of epoch times. `decimal`: "," for
    1,5 (then the delimiter is not a comma). `duplicates`: which of several values at one time counts.
    """

    delimiter: str | None = None
    header: bool | None = None
    time_column: str | None = None
    value_columns: Sequence[str] | None = None
    label_columns: Sequence[str] = ()
    units: Mapping[str, str] = field(default_factory=dict)
    zone: str | None = None
    time_unit: str | None = None
    decimal: str = "."
    duplicates: Duplicates = "last"

    def __post_init__(self) -> None:
        if self.delimiter is not None and len(self.delimiter) != 1:
            raise InputError(f"the delimiter is one character, not {self.delimiter!r}")
        if self.time_unit is not None and self.time_unit not in UNIT_SECONDS:
            raise InputError(f"the unit of epoch times is one of {', '.join(UNIT_SECONDS)}, not {self.time_unit!r}")
        if self.decimal not in (".", ",") or self.decimal == self.delimiter:
            raise InputError(f'the decimal mark is "." or ",", and not the delimiter: {self.decimal!r}')


def read_csv(path: Path | str, wanted: CsvFormat | None = None) -> Observation:
    """The series of a CSV file (gzip is read too). InputError: no file, no text, no time column, nothing readable."""
    ledger = Ledger()
    return parse_csv(text_lines(Path(path), ledger), str(path), wanted, ledger)


def parse_csv(
    lines: Iterable[str], source: str = "input", wanted: CsvFormat | None = None, ledger: Ledger | None = None
) -> Observation:
    """The same from lines of text. `source`: what messages call it."""
    ledger = Ledger() if ledger is None else ledger
    wanted = CsvFormat() if wanted is None else wanted
    return _Reader(source, wanted, ledger).read(iter(lines))


def unit_of(column: str) -> tuple[str, str]:
    """A column's name without its unit, and the unit: "latency (ms)", "cpu [%]", "request_seconds"; "" if it names none."""
    if match := _UNIT_IN_NAME.match(column):
        return match[1], match[2].strip()
    base = column.removesuffix("_total").lower()
    return column, next((unit for suffix, unit in _UNIT_SUFFIXES if base.endswith(suffix)), "")


class _Layout:
    """Which column is what."""

    def __init__(self, names: list[str], time: int, values: list[int], labels: list[int]) -> None:
        self.names, self.time, self.values, self.labels = names, time, values, labels


class _Reader:
    """One reading of one file."""

    def __init__(self, source: str, wanted: CsvFormat, ledger: Ledger) -> None:
        self.source, self.wanted, self.ledger = source, wanted, ledger
        self.gatherer = Gatherer(source, ledger)
        self.clocks: dict[Labels, LocalClock] = {}
        self.naive = 0
        self.epoch_s: float | None = None  # seconds in one unit of the epoch times
        self.rows = self.bad_rows = self.cells = self.bad_cells = 0

    def read(self, lines: Iterator[str]) -> Observation:
        head = list(self._first_lines(lines))
        if not head:
            raise InputError(f"{self.source} holds no rows; expected a header and lines of a time and numbers")
        delimiter = self.wanted.delimiter or detect_delimiter(head, self.wanted.decimal)
        rows = self._rows(chain(head, lines), delimiter)
        first = [row for _, row in zip(range(_SAMPLE_ROWS), rows, strict=False)]
        if not first:
            raise InputError(f"{self.source} holds no rows; expected a header and lines of a time and numbers")
        layout, headed = self._layout(first)
        self._choose_epoch_unit([row for _, row in first[headed:]], layout)
        keys: dict[Labels, list[Key]] = {}
        for line, row in chain(first[headed:], rows):
            self._take(line, row, layout, keys)
        self._judge()
        series = self.gatherer.series(self.wanted.duplicates)
        if not series:
            raise InputError(f"{self.source} holds no value that can be read; name the value columns, or the decimal mark")
        if self.naive:
            self._note_naive_times(series)
        return Observation(series, self.ledger.findings())

    def _first_lines(self, lines: Iterator[str]) -> Iterator[str]:
        """Enough of the beginning to detect the delimiter, comments included: line numbers must stay true."""
        seen = 0
        for line in lines:
            yield line
            seen += bool(line.strip()) and not line.startswith("#")
            if seen >= _SAMPLE_ROWS:
                return

    def _rows(self, lines: Iterator[str], delimiter: str) -> Iterator[tuple[int, list[str]]]:
        """(line number, cells) of every row that is no comment and not empty."""
        blanked = ("\n" if line.startswith("#") else line for line in lines)
        reader = csv.reader(blanked, delimiter=delimiter, skipinitialspace=True)
        while True:
            try:
                row = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                raise InputError(f"{self.source}:{reader.line_num}: {error}; is a quote missing?") from error
            if len(row) > OBSERVE_COLUMNS_MAX:
                raise InputError(
                    f"{self.source}:{reader.line_num}: more than {OBSERVE_COLUMNS_MAX:,} columns; name the delimiter"
                )
            cells = [cell.strip() for cell in row]
            if any(cells):
                yield reader.line_num, cells

    # --- what is where ---

    def _layout(self, first: list[tuple[int, list[str]]]) -> tuple[_Layout, int]:
        """The columns, and the number of header rows (0 or 1)."""
        line, top = first[0]
        headed = self.wanted.header
        if headed is None:
            headed = not any(self._is_number(cell) or iso_moment(cell) for cell in top)
        body = [row for _, row in first[headed:]]
        if not body:
            raise InputError(f"{self.source}:{line}: a header and no rows")
        width = max(len(row) for row in body)
        names = [name or f"column {i + 1}" for i, name in enumerate(top)] if headed else []
        names += [f"column {i + 1}" for i in range(len(names), width)]
        if len(set(names)) < len(names):
            raise InputError(f"{self.source}:{line}: two columns have the same name; rename one")
        time = self._time_column(names, body, line)
        labels = [self._column(names, name, line) for name in self.wanted.label_columns]
        if self.wanted.value_columns is not None:
            values = [self._column(names, name, line) for name in self.wanted.value_columns]
        else:
            values = [i for i in range(len(names)) if i != time and i not in labels and self._looks_numeric(i, body)]
        if not values:
            raise InputError(
                f"{self.source}:{line}: no column holds numbers; name the value columns, the delimiter or the decimal mark"
            )
        ignored = [names[i] for i in range(len(names)) if i not in (time, *labels, *values)]
        if ignored and self.wanted.value_columns is None:
            what = f"columns without numbers are not read: {', '.join(ignored[:8])}{' …' if len(ignored) > 8 else ''}"
            self.ledger.add(
                Kind.UNSUPPORTED, Severity.NOTE, what, f"{self.source}:{line}", "name them as labels if they tell series apart"
            )
        return _Layout(names, time, values, labels), int(headed)

    def _column(self, names: list[str], name: str, line: int) -> int:
        if name in names:
            return names.index(name)
        stripped = [unit_of(one)[0] for one in names]
        if stripped.count(name) == 1:
            return stripped.index(name)
        raise InputError(f"{self.source}:{line}: there is no column {name!r}; the columns are {', '.join(names[:20])}")

    def _time_column(self, names: list[str], body: list[list[str]], line: int) -> int:
        if self.wanted.time_column is not None:
            return self._column(names, self.wanted.time_column, line)
        taken = (*self.wanted.label_columns, *(self.wanted.value_columns or ()))
        free = [i for i, name in enumerate(names) if name not in taken]
        for i in free:
            if unit_of(names[i])[0].lower() in TIME_NAMES:
                return i
        for i in free:
            cells = [row[i] for row in body if i < len(row) and row[i]]
            if cells and all(iso_moment(cell) is not None for cell in cells):
                return i
        for i in free:
            numbers = [number(row[i]) for row in body if i < len(row) and row[i]]
            if numbers and None not in numbers and epoch_unit([value for value in numbers if value is not None]):
                return i
        raise InputError(f"{self.source}:{line}: no column holds times (epoch or ISO 8601, year first); name the time column")

    def _looks_numeric(self, column: int, body: list[list[str]]) -> bool:
        return any(column < len(row) and self._is_number(row[column]) for row in body)

    def _is_number(self, cell: str) -> bool:
        return number(self._plain(cell)) is not None

    def _plain(self, cell: str) -> str:
        return cell.replace(",", ".") if self.wanted.decimal == "," and cell.count(",") == 1 and "." not in cell else cell

    def _choose_epoch_unit(self, body: list[list[str]], layout: _Layout) -> None:
        """Seconds, milliseconds, ... for a time column of numbers, by their size unless it was named."""
        found = [number(row[layout.time]) for row in body if layout.time < len(row)]
        numbers = [value for value in found if value is not None]
        if not numbers or len(numbers) * 2 < len(found):
            return
        named = self.wanted.time_unit or unit_of(layout.names[layout.time])[1]
        unit = named if named in UNIT_SECONDS else epoch_unit(numbers)
        if unit is None:
            what = "times are too small for seconds since 1970: taken as elapsed seconds"
            advice = "seasons by hour of day or day of week cannot be known; name the unit or give full times"
            self.ledger.add(Kind.TIME_ZONE, Severity.WARNING, what, self.source, advice)
        self.epoch_s = UNIT_SECONDS[unit or "s"]

    # --- rows ---

    def _take(self, line: int, row: list[str], layout: _Layout, keys: dict[Labels, list[Key]]) -> None:
        self.rows += 1
        where = f"{self.source}:{line}"
        needed = max(layout.time, *layout.values, *layout.labels)
        if len(row) <= needed or len(row) > len(layout.names):
            what = f"{len(row)} cells where the header or the first rows have {len(layout.names)}"
            self.ledger.add(
                Kind.BAD_LINE, Severity.WARNING, what, where, "the last line may be cut; a cell may hold the delimiter"
            )
            if len(row) <= layout.time:
                self.bad_rows += 1
                return
        cells = dict(enumerate(row))
        labels = tuple((layout.names[i], cells.get(i, "")) for i in layout.labels)
        time_s = self._time(row[layout.time], labels, where)
        if time_s is None:
            self.bad_rows += 1
            return
        if labels not in keys:
            keys[labels] = [self._key(layout.names[i], labels) for i in layout.values]
        for key, i in zip(keys[labels], layout.values, strict=True):
            if i in cells:
                self.gatherer.add(key, time_s, self._value(cells[i], key.name, where), line)

    def _key(self, column: str, labels: Labels) -> Key:
        name, unit = unit_of(column)
        return Key(name, self.wanted.units.get(column, self.wanted.units.get(name, unit)), labels)

    def _value(self, cell: str, name: str, where: str) -> float:
        """NaN for what is missing or cannot be read."""
        self.cells += 1
        value = number(self._plain(cell))
        if value is not None:
            return value
        lowered = cell.lower()
        if lowered in MISSING:
            return math.nan
        if lowered.lstrip("+-") in ("inf", "infinity"):
            return -math.inf if lowered.startswith("-") else math.inf
        self.bad_cells += 1
        advice = "name decimal=',' if commas are decimal marks; take out units and thousands marks"
        self.ledger.add(Kind.BAD_VALUE, Severity.SERIOUS, f"{name}: {cell[:40]!r} is no number: left out", where, advice)
        return math.nan

    def _time(self, cell: str, labels: Labels, where: str) -> float | None:
        value = number(cell)
        if value is not None and self.epoch_s is not None:
            unit = next((seconds for _, low, high, seconds in EPOCH_UNITS if low <= abs(value) < high), self.epoch_s)
            if unit != self.epoch_s and self.wanted.time_unit is None and abs(value * self.epoch_s) >= 1e11:
                what = f"time {cell[:40]} is not in the unit of the other times: left out"
                self.ledger.add(Kind.BAD_TIME, Severity.SERIOUS, what, where)
                return None
            return value * self.epoch_s
        moment = iso_moment(cell)
        if moment is None:
            advice = "write the year first (2024-03-01T12:00:00Z), or epoch seconds"
            self.ledger.add(Kind.BAD_TIME, Severity.SERIOUS, f"{cell[:40]!r} is no time: the row is left out", where, advice)
            return None
        if moment.offset_s is not None:
            return moment.seconds
        if self.wanted.zone is None:
            self.naive += 1
            return moment.seconds
        return self._local(moment.seconds, labels, where)

    def _local(self, local_s: float, labels: Labels, where: str) -> float:
        assert self.wanted.zone is not None
        clock = self.clocks.get(labels)
        if clock is None:
            clock = self.clocks[labels] = LocalClock(self.wanted.zone)
        time_s, odd = clock.utc(local_s)
        if odd == "twice":
            what = "this local time happens twice as the clock goes back: told apart by the order of the lines"
            self.ledger.add(Kind.DAYLIGHT_SAVING, Severity.NOTE, what, where, "export times in UTC")
        elif odd == "never":
            what = "this local time does not exist, the clock goes forward: read as an hour later"
            self.ledger.add(Kind.DAYLIGHT_SAVING, Severity.WARNING, what, where, "export times in UTC; is the zone right?")
        return time_s

    # --- the whole ---

    def _judge(self) -> None:
        if self.bad_rows > _BAD_SHARE_MAX * self.rows:
            first = next((f for f in self.ledger.findings() if f.kind in (Kind.BAD_TIME, Kind.BAD_LINE)), None)
            raise InputError(
                f"{self.source}: {self.bad_rows:,} of {self.rows:,} rows have no readable time ({first}); "
                "name the time column or its unit"
            )
        if self.bad_cells > _BAD_SHARE_MAX * self.cells:
            first = next((f for f in self.ledger.findings() if f.kind is Kind.BAD_VALUE), None)
            raise InputError(f"{self.source}: {self.bad_cells:,} of {self.cells:,} values are no numbers ({first})")

    def _note_naive_times(self, series: tuple[Series, ...]) -> None:
        what = f"{self.naive:,} times name no zone: taken as UTC"
        self.ledger.add(Kind.TIME_ZONE, Severity.NOTE, what, self.source, "name the zone if they are local time")
        if any(_hour_missing(one) for one in series):
            what = "one hour is missing on a Sunday night: this looks like local time across a change to daylight saving"
            advice = 'name the zone (such as "Europe/Berlin"), or export times in UTC'
            self.ledger.add(Kind.DAYLIGHT_SAVING, Severity.WARNING, what, self.source, advice)


def _hour_missing(series: Series) -> bool:
    """A single hour is missing in the small hours of one or two Sundays: what local time does when the clock goes forward."""
    steps = np.diff(series.times_s)
    usual = float(np.median(steps)) if len(steps) else math.inf
    if usual > 3_600.0:
        return False
    holes = series.times_s[:-1][np.abs(steps - usual - 3_600.0) < 1.0]
    sundays = (holes // 86_400.0 + 4) % 7 == 0  # the first of January 1970 was a Thursday
    return 1 <= len(holes) <= 2 and bool(np.all(sundays & (holes % 86_400.0 <= 4 * 3_600.0)))


def detect_delimiter(lines: Iterable[str], decimal: str = ".") -> str:
    """The mark that splits most lines into the same number of cells, and into most cells; "," if there is none."""
    sample = [line for line in lines if line.strip() and not line.startswith("#")][:_SAMPLE_ROWS]
    best, best_score = ",", (0.0, 0)
    for mark in DELIMITERS:
        if mark == decimal:
            continue
        counts = [len(row) for row in _split(sample, mark)]
        columns = max(counts, key=counts.count, default=1)
        if columns > 1 and (score := (counts.count(columns) / len(counts), columns)) > best_score:
            best, best_score = mark, score
    return best


def _split(sample: Sequence[str], mark: str) -> list[list[str]]:
    try:
        return [row for row in csv.reader(sample, delimiter=mark, skipinitialspace=True) if row]
    except csv.Error:
        return []
