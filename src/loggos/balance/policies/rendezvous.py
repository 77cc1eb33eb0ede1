"""Rendezvous hashing (highest random weight): every end point bids for every key, the highest bid wins.

No table, exact weights, and a change moves only the keys it must: those of the end point that left, or those the new one wins.
O(n) a pick. Weights are those of the view, so keys come back one by one while an end point warms up.

Sources: Thaler, Ravishankar 1998; weights by -weight / ln(hash): Schindelhauer, Schomaker 2005.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import log

from loggos.balance.policies.hashing import mix, stable_hash
from loggos.balance.policies.sampling import cumulative_weights
from loggos.balance.policies.views import Views
from loggos.balance.types import Dice, Endpoint, Policy

SCALE = 2.0**-64


class Rendezvous(Policy):
    """Weighted highest random weight. Without a key, a random one."""

    def __init__(self, dice: Dice) -> None:
        self._dice = dice
        self._views = Views(_view)

    def update(self, endpoints: Sequence[Endpoint], now_s: float) -> None:
        self._views.clear()

    def pick(self, now_s: float, among: Sequence[Endpoint], key: bytes | None = None) -> Endpoint | None:
        if not among:
            return None
        key_hash = int(self._dice.random() * 2.0**64) if key is None else stable_hash(key)
        hashes, weights = self._views.of(among)
        bids = [mix(key_hash, endpoint_hash) for endpoint_hash in hashes]
        if weights is None:
            return among[bids.index(max(bids))]
        scores = [score(bid, weight) for bid, weight in zip(bids, weights, strict=True)]
        return among[scores.index(max(scores))]


def score(bid: int, weight: float) -> float:
    """A bid of 64 bits, weighted: the highest wins in proportion to the weights."""
    return -weight / log((bid + 0.5) * SCALE)


def _view(among: Sequence[Endpoint]) -> tuple[list[int], list[float] | None]:
    hashes = [stable_hash(endpoint.name.encode()) for endpoint in among]
    return hashes, [endpoint.weight for endpoint in among] if among and cumulative_weights(among) else None
