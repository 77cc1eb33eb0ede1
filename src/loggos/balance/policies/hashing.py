"""Hashes that are the same in every process and on every machine, and what all hashing policies share.

A key goes to the same end point wherever it is asked, as long as the end points are the same; their order does not matter. A key
whose end point may not be chosen now goes on along its own way (`_way`), so only the keys of that end point move, and spread.

Bounded load (`c`): an end point that would get more than c × its share of all requests on their way is passed over, so a hot key
cannot drown its server. The bound is ceil(c × total × weight / all weights), the new request counted in the total: with equal
weights ceil(c × mean). While every end point may be chosen there is always one below its bound.

Source: Mirrokni, Thorup, Zadimoghaddam, "Consistent hashing with bounded loads", SODA 2018 (arXiv 1608.01350).
"""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from collections.abc import Iterable, Sequence
from math import ceil
from typing import Final

from loggos.balance.policies.checks import above
from loggos.balance.policies.views import Ledger, Load, Views
from loggos.balance.types import Dice, Endpoint, Policy, Report

MASK: Final = (1 << 64) - 1


def stable_hash(data: bytes) -> int:
    """64 bits."""
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "big")


def mix(left: int, right: int) -> int:
    """64 bits out of two hashes; cheap, since one is made for every pair of key and end point (multipliers: SplitMix64)."""
    value = ((left ^ right) * 0xBF58476D1CE4E5B9) & MASK
    value = ((value ^ (value >> 31)) * 0x94D049BB133111EB) & MASK
    return value ^ (value >> 32)


class Hashing(Policy):
    """A key's way over the end points, and the bound on their load. Those who inherit say what the way is.

    Weights are those of the last `update`; a view that changes them (slow start) does not move keys.
    """

    def __init__(self, dice: Dice, c: float | None) -> None:
        if c is not None:
            above("c", c, 1)
        self._dice = dice
        self._c = c
        self._ledger = Ledger(Load)
        self._endpoints: tuple[Endpoint, ...] = ()
        self._in_flight = 0
        self._views = Views(self._view)

    @abstractmethod
    def _build(self, endpoints: tuple[Endpoint, ...]) -> None:
        """Makes the tables for `endpoints`, which are sorted by name and at least one. ConfigError: no table holds them; the old
        one stays."""

    @abstractmethod
    def _way(self, key_hash: int) -> Iterable[int]:
        """Places in `_endpoints`, the key's own first. Every place comes sooner or later, some again and again."""

    def update(self, endpoints: Sequence[Endpoint], now_s: float) -> None:
        ordered = tuple(sorted(endpoints, key=lambda endpoint: endpoint.name))
        if ordered and ordered != self._endpoints:
            self._build(ordered)
        self._endpoints = ordered
        self._ledger.update(ordered)
        self._in_flight = self._ledger.in_flight()
        self._views.clear()

    def pick(self, now_s: float, among: Sequence[Endpoint], key: bytes | None = None) -> Endpoint | None:
        if not among:
            return None
        allowed, weights = self._views.of(among)
        key_hash = int(self._dice.random() * 2.0**64) if key is None else stable_hash(key)
        share = None if self._c is None else self._c * (self._in_flight + 1) / weights
        for place in self._way(key_hash):
            endpoint = allowed[place]
            if endpoint is None:
                continue
            if share is None or self._ledger[endpoint.name].in_flight < ceil(share * endpoint.weight):
                return endpoint
        raise AssertionError("no end point is below its share of the load")

    def started(self, name: str, now_s: float) -> None:
        self._ledger.started(name)
        self._in_flight += name in self._ledger

    def finished(self, name: str, now_s: float, latency_s: float, ok: bool, report: Report | None = None) -> None:
        self._ledger.finished(name)
        self._in_flight -= name in self._ledger

    def _view(self, among: Sequence[Endpoint]) -> tuple[list[Endpoint | None], float]:
        here = {endpoint.name: endpoint for endpoint in among}
        return [here.get(endpoint.name) for endpoint in self._endpoints], sum(endpoint.weight for endpoint in among)
