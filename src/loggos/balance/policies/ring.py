"""Ring hash: every end point owns many points on a circle of 64-bit hashes; a key belongs to the next point clockwise.

When an end point leaves, only its own keys move. Its cost is the spread: with 100 points each, the busiest of 100 end points has
about 1.27 times the mean. Weights multiply the points.

Sources: Karger et al. 1997; bounded load: see hashing.py.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_left
from collections.abc import Iterable
from itertools import chain
from struct import Struct
from typing import Final

from loggos.balance.policies.checks import whole
from loggos.balance.policies.hashing import Hashing
from loggos.balance.types import Dice, Endpoint
from loggos.base import limits
from loggos.base.errors import ConfigError

EIGHT: Final = Struct(">8Q")


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

    def _build(self, endpoints: tuple[Endpoint, ...]) -> None:
        counts = [max(1, round(self._points * endpoint.weight)) for endpoint in endpoints]
        if sum(counts) > limits.RING_POINTS_MAX:
            raise ConfigError(
                f"a ring of {sum(counts):,} points (points = {self._points} × weights): {limits.RING_POINTS_MAX:,} at the most; "
                "give smaller weights or fewer points"
            )
        owners = {
            point: place for place, endpoint in enumerate(endpoints) for point in points_of(endpoint.name.encode(), counts[place])
        }
        self._hashes = sorted(owners)
        self._owners = [owners[point] for point in self._hashes]

    def _way(self, key_hash: int) -> Iterable[int]:
        start = bisect_left(self._hashes, key_hash)
        owners = self._owners
        return chain((owners[at] for at in range(start, len(owners))), (owners[at] for at in range(start)))


def points_of(name: bytes, count: int) -> list[int]:
    """The first `count` points of an end point, 64 bits each; eight come from one hash."""
    points: list[int] = []
    for number in range(0, count, 8):
        digest = hashlib.blake2b(b"%d " % number + name, digest_size=64).digest()
        points += EIGHT.unpack(digest)
    return points[:count]
