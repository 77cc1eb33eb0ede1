"""What policies keep: a table per view, and the load per end point.

A view is the tuple of end points that the filters let through. It stays the same object until something changes, so what a policy
computes for it (cumulative weights, an order, the loads in its order) is kept as long as the view is. Recognising it by `is` only
saves work: a view that is equal and not the same finds the same table. What must survive a change of view (load, place in a
rotation) belongs in a `Ledger`, or in the policy.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from loggos.balance.types import Endpoint
from loggos.base import limits

Table = TypeVar("Table")


class Views(Generic[Table]):
    """The table of each view seen lately, made when it is asked for first."""

    def __init__(self, make: Callable[[Sequence[Endpoint]], Table], kept: int = limits.BALANCE_VIEWS_MAX) -> None:
        assert kept >= 1
        self._make = make
        self._kept = kept
        self._last: Sequence[Endpoint] | None = None
        self._table: Table
        self._others: list[tuple[Sequence[Endpoint], Table]] = []  # oldest first; holds the last one, too

    def of(self, among: Sequence[Endpoint]) -> Table:
        if among is self._last:
            return self._table
        return self._seldom(among)

    def clear(self) -> None:
        """The end points changed: every table is made anew."""
        self._last = None
        self._others.clear()

    def _seldom(self, among: Sequence[Endpoint]) -> Table:
        for view, table in self._others:
            if view is among:
                self._last, self._table = view, table
                return table
        unchanging = tuple(among)
        for view, table in self._others:
            if view == unchanging:
                return table
        table = self._make(among)
        if unchanging is not among:
            return table  # a list: its owner may change it, and uses it once as a rule
        if len(self._others) >= self._kept:
            del self._others[0]
        self._others.append((among, table))
        self._last, self._table = among, table
        return table


class Load:
    """What one balancer knows of its own requests to one end point."""

    __slots__ = ("in_flight",)

    def __init__(self) -> None:
        self.in_flight = 0


AnyLoad = TypeVar("AnyLoad", bound=Load)


class Ledger(Generic[AnyLoad]):
    """One load per end point, kept while the end point is there or a request to it is on its way."""

    def __init__(self, make: Callable[[], AnyLoad]) -> None:
        self._make = make
        self._here: dict[str, AnyLoad] = {}
        self._gone: dict[str, AnyLoad] = {}

    def __getitem__(self, name: str) -> AnyLoad:
        """The load of an end point that is there. KeyError otherwise."""
        return self._here[name]

    def __contains__(self, name: str) -> bool:
        return name in self._here

    def update(self, endpoints: Sequence[Endpoint]) -> None:
        before = self._here | self._gone
        self._here = {endpoint.name: before.pop(endpoint.name, None) or self._make() for endpoint in endpoints}
        self._gone = {name: load for name, load in before.items() if load.in_flight > 0}

    def started(self, name: str) -> AnyLoad:
        """Counts one request more, also to an end point that left between the choice and the sending."""
        load = self._here.get(name)
        if load is None:
            load = self._gone.setdefault(name, self._make())
        load.in_flight += 1
        return load

    def finished(self, name: str) -> AnyLoad:
        """Counts one request less, also from an end point that has left."""
        load = self._here.get(name)
        if load is not None:
            assert load.in_flight > 0, f"a request to {name} finished that was not started"
            load.in_flight -= 1
            return load
        load = self._gone[name]
        load.in_flight -= 1
        if load.in_flight == 0:
            del self._gone[name]
        return load

    def in_flight(self) -> int:
        """Requests on their way to all end points that are there."""
        return sum(load.in_flight for load in self._here.values())
