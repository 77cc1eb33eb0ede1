"""Times as machines and people write them, to seconds since the epoch: epoch numbers and ISO 8601, with zones.

Rules: a time with an offset is exact. One without is local time of the zone that was named, or UTC if none was, and the reader
says so. A local hour that happens twice (the clock goes back) is told apart by the order of the lines; one that never happens
(the clock goes forward) is read with the offset before the change. Dates are written year first: 03/04/2024 is two days.

Source: ISO 8601-1:2019 §5.2-5.4 (calendar dates, basic and extended format); RFC 3339.
"""

from __future__ import annotations

import math
import re
import zoneinfo
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from loggos.base.errors import ConfigError

HOUR_S = 3_600.0
_DATE = r"(\d{4})([-/])(\d{1,2})\2(\d{1,2})"
_CLOCK = r"(?:[Tt ]\s?(\d{1,2}):(\d{2})(?::(\d{2})(?:[.,](\d{1,9})\d*)?)?)?"
_ZONE = r"\s?([Zz]|UTC|GMT|[+-]\d{2}(?::?\d{2})?)?(?: UTC| GMT)?"
_EXTENDED = re.compile(_DATE + _CLOCK + _ZONE, re.ASCII)
_BASIC = re.compile(
    r"(\d{4})()(\d{2})(\d{2})[Tt](\d{2})(\d{2})(?:(\d{2})(?:[.,](\d{1,9})\d*)?)?([Zz]|[+-]\d{2}(?::?\d{2})?)?", re.ASCII
)
_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?", re.ASCII)
_OFFSET = re.compile(r"([+-])(\d{2}):?(\d{2})?", re.ASCII)
_TEXT_MAX = 64  # no time is longer; keeps a hostile cell from the expressions above

# Of a number that may be seconds, milliseconds, microseconds or nanoseconds since 1970: the unit in which it lies in 1973-5138.
EPOCH_UNITS = (("s", 1e8, 1e11, 1.0), ("ms", 1e11, 1e14, 1e-3), ("us", 1e14, 1e17, 1e-6), ("ns", 1e17, 1e20, 1e-9))
UNIT_SECONDS = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}


class Moment(NamedTuple):
    """A time that was read. `offset_s` None: `seconds` is wall-clock time of a zone that was not written."""

    seconds: float
    offset_s: float | None


def number(text: str) -> float | None:
    """A plain decimal number (no underscores, no words), or None."""
    return float(text) if len(text) <= _TEXT_MAX and _NUMBER.fullmatch(text) else None


def iso_moment(text: str) -> Moment | None:
    """An ISO 8601 date or date and time; None if it is none, or names a day or an hour that does not exist."""
    text = text.strip()
    match = (_EXTENDED.fullmatch(text) or _BASIC.fullmatch(text)) if len(text) <= _TEXT_MAX else None
    if match is None:
        return None
    year, _, month, day, hour, minute, second, fraction, zone = match.groups()
    days = _days(int(year), int(month), int(day))
    clock = (int(hour or 0), int(minute or 0), int(second or 0))
    if days is None or clock[1] > 59 or clock[2] > 60 or (clock[0] > 23 and clock != (24, 0, 0)):
        return None
    seconds = days * 86_400.0 + clock[0] * HOUR_S + clock[1] * 60.0 + clock[2] + (float(f"0.{fraction}") if fraction else 0.0)
    if zone is None:
        return Moment(seconds, None)
    offset = _offset_s(zone)
    return None if offset is None else Moment(seconds - offset, offset)


@lru_cache(maxsize=4_096)
def _days(year: int, month: int, day: int) -> int | None:
    try:
        return int(np.datetime64(f"{year:04d}-{month:02d}-{day:02d}", "D").astype(np.int64))
    except ValueError:
        return None  # the 30th of February


def _offset_s(zone: str) -> float | None:
    """ "Z", "UTC", "+02:00", "+0200", "+02" to seconds east of Greenwich."""
    if zone.upper() in ("Z", "UTC", "GMT"):
        return 0.0
    match = _OFFSET.fullmatch(zone)
    if match is None or int(match[2]) > 23 or int(match[3] or 0) > 59:
        return None
    return (1.0 if match[1] == "+" else -1.0) * (int(match[2]) * HOUR_S + int(match[3] or 0) * 60.0)


def epoch_unit(numbers: list[float]) -> str | None:
    """The unit of a column of epoch times by the size of its median; None: too small for times since 1970 (elapsed seconds?)."""
    finite = sorted(abs(value) for value in numbers if math.isfinite(value))
    middle = finite[len(finite) // 2] if finite else 0.0
    return next((unit for unit, low, high, _ in EPOCH_UNITS if low <= middle < high), None)


class LocalClock:
    """Wall-clock times of one zone, in the order of the lines, to seconds since the epoch.

    `zone`: "UTC", an offset ("+02:00") or an IANA name ("Europe/Berlin"). ConfigError if there is no such zone.
    """

    def __init__(self, zone: str) -> None:
        self.zone = zone
        self._fixed_s = _offset_s(zone)
        self._named: zoneinfo.ZoneInfo | None = None
        self._previous_s = -math.inf
        if self._fixed_s is None:
            try:
                self._named = zoneinfo.ZoneInfo(zone)
            except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError) as error:
                raise ConfigError(
                    f'there is no time zone {zone!r}; write "UTC", an offset such as "+02:00", or an IANA name'
                ) from error

    def utc(self, local_s: float) -> tuple[float, str]:
        """Seconds since the epoch, and what is odd about this local time: "", "twice" or "never"."""
        if self._fixed_s is not None:
            return local_s - self._fixed_s, ""
        first, second = self._offsets(local_s)
        time_s, odd = local_s - first, ""
        if first > second:  # the hour happens twice: the first of them, until the lines go back
            odd = "twice"
            if time_s <= self._previous_s:
                time_s = local_s - second
        elif first < second:
            odd = "never"
        self._previous_s = time_s
        return time_s, odd

    def _offsets(self, local_s: float) -> tuple[float, float]:
        """Seconds east of Greenwich before and after a change around this local time; equal when there is none."""
        assert self._named is not None
        if not -6e10 < local_s < 2.5e11:  # outside the years 1 to 9999
            return 0.0, 0.0
        wall = np.datetime64(math.floor(local_s), "s").item()
        pair = [self._named.utcoffset(wall.replace(fold=fold)) for fold in (0, 1)]
        before, after = (0.0 if offset is None else offset.total_seconds() for offset in pair)
        return before, after
