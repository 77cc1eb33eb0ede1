"""The seam of a filter, and filters in a row.

Rules:
- The answer is a part of what came in, in its order; an end point may come out with another weight (slow start).
- The owner asks again when something it told a filter returned True, when the end points changed, or at `changes_at_s`. Until
  then the answer stands, so that a pick costs nothing here.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from math import inf

from loggos.balance.types import Endpoint


class Filter(ABC):
    """Lets some end points through."""

    def update(self, endpoints: Sequence[Endpoint], now_s: float) -> None:  # noqa: B027
        """These are all end points from now on. What is known of those that stay is kept."""

    @abstractmethod
    def apply(self, endpoints: Sequence[Endpoint], now_s: float) -> tuple[Endpoint, ...]:
        """Those of `endpoints` that may be chosen now."""

    def changes_at_s(self) -> float:
        """When the last answer may be out of date though nothing happens; infinity: never."""
        return inf

    def started(self, name: str, now_s: float) -> bool:
        """A request was sent there. True: the answer may be another one now."""
        return False

    def finished(self, name: str, now_s: float, latency_s: float, ok: bool | None) -> bool:
        """It ended `latency_s` after it was sent, well or not; `ok` None: it was given up, which says nothing of the server.
        True: the answer may be another one now."""
        return False


class Chain(Filter):
    """Filters in a row, each on what the one before let through."""

    def __init__(self, filters: Sequence[Filter]) -> None:
        self._filters = tuple(filters)

    def update(self, endpoints: Sequence[Endpoint], now_s: float) -> None:
        for one in self._filters:
            one.update(endpoints, now_s)

    def apply(self, endpoints: Sequence[Endpoint], now_s: float) -> tuple[Endpoint, ...]:
        through = tuple(endpoints)
        for one in self._filters:
            through = one.apply(through, now_s)
        return through

    def changes_at_s(self) -> float:
        return min((one.changes_at_s() for one in self._filters), default=inf)

    def started(self, name: str, now_s: float) -> bool:
        changed = False
        for one in self._filters:
            changed |= one.started(name, now_s)
        return changed

    def finished(self, name: str, now_s: float, latency_s: float, ok: bool | None) -> bool:
        changed = False
        for one in self._filters:
            changed |= one.finished(name, now_s, latency_s, ok)
        return changed
