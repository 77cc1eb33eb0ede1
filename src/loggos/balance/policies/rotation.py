"""Policies that take turns: round robin, and nginx's smooth weighted round robin.

Neither knows load. Round robin is fair to one request within a view; it starts at a random place, so that many balancers that
start together do not all begin with the same server. Smooth weighted round robin spreads the turns of a heavy end point evenly
among those of the light ones (a=5, b=1, c=1 gives a a b a c a a) where plain weighted round robin would send bursts.

Source: nginx, commit 52327e0627f4 "Upstream: smooth weighted round-robin balancing" (its message has the algorithm).
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence

from loggos.balance.policies.views import Views
from loggos.balance.types import Dice, Endpoint, Policy


class _Turn:
    """Whose turn is next in one view."""

    __slots__ = ("next",)

    def __init__(self, place: int) -> None:
        self.next = place


class RoundRobin(Policy):
    """Each in turn. Each view has its own turn, which begins after the end point that was chosen last: zones among which chance
    decides are each served evenly."""

    def __init__(self, dice: Dice) -> None:
        self._dice = dice
        self._ranks: dict[str, int] = {}
        self._last = ""  # who was chosen last
        self._rank = -1  # where that is, should it have left
        self._turns = Views(self._turn)

    def update(self, endpoints: Sequence[Endpoint], now_s: float) -> None:
        if self._ranks:
            self._rank = self._ranks.get(self._last, self._rank + 1) - 1
        elif endpoints:
            self._rank = self._dice.randrange(len(endpoints))
        self._ranks = {endpoint.name: rank for rank, endpoint in enumerate(endpoints)}
        self._turns.clear()

    def pick(self, now_s: float, among: Sequence[Endpoint], key: bytes | None = None) -> Endpoint | None:
        if not among:
            return None
        turn = self._turns.of(among)
        place = turn.next
        endpoint = among[place]
        turn.next = place + 1 if place + 1 < len(among) else 0
        self._last = endpoint.name
        return endpoint

    def _turn(self, among: Sequence[Endpoint]) -> _Turn:
        last = self._ranks.get(self._last, self._rank)
        return _Turn(bisect_right([self._ranks[endpoint.name] for endpoint in among], last) % len(among))


class _Credit:
    """How far behind its share an end point is, in units of weight."""

    __slots__ = ("current",)

    def __init__(self) -> None:
        self.current = 0.0


class SmoothWeightedRoundRobin(Policy):
    """Each pick everyone gains its weight, the richest is chosen and pays the sum. O(n) a pick."""

    def __init__(self, dice: Dice) -> None:
        self._credits: dict[str, _Credit] = {}
        self._rows = Views(self._table)

    def update(self, endpoints: Sequence[Endpoint], now_s: float) -> None:
        before = self._credits
        self._credits = {endpoint.name: before.get(endpoint.name) or _Credit() for endpoint in endpoints}
        self._rows.clear()

    def pick(self, now_s: float, among: Sequence[Endpoint], key: bytes | None = None) -> Endpoint | None:
        if not among:
            return None
        rows, total = self._rows.of(among)
        richest = rows[0]
        most = float("-inf")
        for row in rows:
            credit = row[0]
            credit.current = current = credit.current + row[1]
            if current > most:
                most, richest = current, row
        richest[0].current = most - total
        return richest[2]

    def _table(self, among: Sequence[Endpoint]) -> tuple[list[tuple[_Credit, float, Endpoint]], float]:
        rows = [(self._credits[endpoint.name], endpoint.weight, endpoint) for endpoint in among]
        return rows, sum(endpoint.weight for endpoint in among)
