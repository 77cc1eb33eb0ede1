"""Ring hash: every end point owns many points on a circle of 64-bit hashes; a key belongs to the next point clockwise.

When an end point leaves, only its own keys move. Its cost is the spread: with 100 points each, the busiest of 100 end points has
about 1.27 times the mean. Weights multiply the points.

Sources: Karger et al. 1997; bounded load: see hashing.py.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from itertools import chain

from loggos.balance.policies.checks import whole
from loggos.balance.policies.hashing import Hashing, stable_hash
from loggos.balance.types import Dice
from loggos.base import limits
from loggos.base.errors import ConfigError


class RingHash(Hashing):
    """Consistent hashing with bounded load.

    points   on the ring per unit of weight
    c        no end point gets more than c × its share of the requests on their way; None: no bound
    """

    def __init__(self, dice: Dice, *, points: int = 100, c: float | None = 1.25) -> None:
        whole("points", points, 1, limits.RING_POINTS_MAX)
        super().__init__(dice, c)
        self._points = points
        self._hashes: list[int] = []
        self._owners: list[int] = []

    def _build(self) -> None:
        counts = [max(1, round(self._points * endpoint.weight)) for endpoint in self._endpoints]
        if sum(counts) > limits.RING_POINTS_MAX:
            raise ConfigError(
                f"a ring of {sum(counts):,} points (points = {self._points} × weights): {limits.RING_POINTS_MAX:,} at the most; "
                "give smaller weights or fewer points"
            )
        ring = sorted(
            (stable_hash(f"{endpoint.name}#{number}".encode()), place)
            for place, endpoint in enumerate(self._endpoints)
            for number in range(counts[place])
        )
        self._hashes = [point for point, _ in ring]
        self._owners = [owner for _, owner in ring]

    def _way(self, key_hash: int) -> Iterable[int]:
        start = bisect_left(self._hashes, key_hash)
        owners = self._owners
        return chain((owners[at] for at in range(start, len(owners))), (owners[at] for at in range(start)))
