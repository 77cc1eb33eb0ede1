"""Deadlines: the time by which an answer must be there. Made once, where the request comes in; everybody below gets what is left.

Inside a process a deadline is a moment of its monotonic clock. Between processes clocks differ, so what is left travels, as text
in gRPC's form: up to eight digits and a unit (H, M, S, m, u or n), rounded down.

Source: gRPC over HTTP2, "Timeout" (grpc-timeout); SRE book, chapter 22, "Latency and deadlines".
"""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite
from typing import Final

from loggos.base.errors import ClientError, ConfigError

UNITS_S: Final = {"n": 1e-9, "u": 1e-6, "m": 1e-3, "S": 1.0, "M": 60.0, "H": 3600.0}
DIGITS_MAX: Final = 8


@dataclass(frozen=True, slots=True, order=True)
class Deadline:
    """A moment of the owner's monotonic clock, in seconds."""

    at_s: float

    @staticmethod
    def after(now_s: float, timeout_s: float) -> Deadline:
        """`timeout_s` from now. ConfigError: that is not a time."""
        if not isfinite(timeout_s) or timeout_s < 0:
            raise ConfigError(f"a timeout of {timeout_s!r} s: give 0 or more seconds")
        return Deadline(now_s + timeout_s)

    @staticmethod
    def parse(text: str, now_s: float) -> Deadline:
        """From what another process says is left. ClientError: not in gRPC's form."""
        digits, unit = text[:-1], text[-1:]
        if not (0 < len(digits) <= DIGITS_MAX and digits.isascii() and digits.isdigit() and unit in UNITS_S):
            raise ClientError(
                f"a timeout of {text[:20]!r}: send one to eight digits and a unit of H, M, S, m, u, n, such as 250m"
            )
        return Deadline(now_s + int(digits) * UNITS_S[unit])

    def text(self, now_s: float) -> str:
        """What is left, for another process, in the finest unit that holds it."""
        left_s = self.left_s(now_s)
        for unit, size_s in UNITS_S.items():
            count = int(left_s / size_s)
            if len(str(count)) <= DIGITS_MAX:
                return f"{count}{unit}"
        return "9" * DIGITS_MAX + "H"

    def left_s(self, now_s: float) -> float:
        """Seconds left, 0 if it is over."""
        return max(0.0, self.at_s - now_s)

    def over(self, now_s: float) -> bool:
        return now_s >= self.at_s

    def leaves(self, needed_s: float, now_s: float) -> bool:
        """Whether what takes `needed_s` can still be done in time."""
        return not self.over(now_s) and needed_s <= self.at_s - now_s

    def within(self, now_s: float, timeout_s: float) -> Deadline:
        """The earlier of this and `timeout_s` from now: what a part of the work gets."""
        return min(self, Deadline.after(now_s, timeout_s))
