"""Maglev: a table of M slots, filled by the end points in turn, each in its own pseudo-random order. One lookup per key.

Spread is near perfect (M=65537, 100 end points: the fullest has 1.001 times the mean), and a change of the end points moves
little more than it must. The order of an end point is offset + i × skip (mod M), taken one step at a time: no permutation is
stored. With weights an end point sits out turns, so that it fills slots in proportion.

The table is filled when end points come, go or change weight (about 0.1 s at M=65537). If one is merely not to be chosen now, its
keys step on through the table (double hashing, so they spread) and everybody else's stay.

Sources: Eisenbud et al., "Maglev: a fast and reliable software network load balancer", NSDI 2016, section 3.4; weights as Envoy's
Maglev; bounded load: see hashing.py.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Sequence

from loggos.balance.policies.checks import whole
from loggos.balance.policies.hashing import Hashing, stable_hash
from loggos.balance.types import Dice, Endpoint
from loggos.base import limits
from loggos.base.errors import ConfigError


class Maglev(Hashing):
    """Maglev hashing.

    size     slots: a prime, 100 times the end points or more, the same in all balancers
    c        bounded load as in ring hash; None: no bound
    """

    def __init__(self, dice: Dice, *, size: int = 65_537, c: float | None = None) -> None:
        whole("size", size, 2, limits.MAGLEV_SLOTS_MAX)
        if not is_prime(size):
            raise ConfigError(f"size = {size}: a Maglev table needs a prime number of slots, such as 1009, 65537 or 655373")
        super().__init__(dice, c)
        self._size = size
        self._slots: array[int] = array("l")

    def slots(self) -> Sequence[str]:
        """The name that owns each slot."""
        return [self._endpoints[owner].name for owner in self._slots]

    def _build(self, endpoints: tuple[Endpoint, ...]) -> None:
        if len(endpoints) > self._size:
            count = len(endpoints)
            raise ConfigError(f"{count} end points do not fit a Maglev table of size = {self._size}: give a larger prime")
        size = self._size
        seeds = [stable_hash(endpoint.name.encode()) for endpoint in endpoints]
        at = [seed % size for seed in seeds]
        skips = [(seed >> 32) % (size - 1) + 1 for seed in seeds]
        slots = array("l", [-1]) * size
        for owner in self._turns(endpoints):
            slot, skip = at[owner], skips[owner]
            while slots[slot] >= 0:
                slot += skip
                if slot >= size:
                    slot -= size
            slots[slot] = owner
            at[owner] = slot
        self._slots = slots

    def _turns(self, endpoints: tuple[Endpoint, ...]) -> Iterator[int]:
        """Whose turn it is to take a slot, `size` times: in rounds, in which an end point sits out unless its share is due."""
        most = max(endpoint.weight for endpoint in endpoints)
        shares = [endpoint.weight / most for endpoint in endpoints]
        taken = [0] * len(shares)
        left, turn = self._size, 0
        while True:
            turn += 1
            for owner, share in enumerate(shares):
                if share * turn >= taken[owner] + (share < 1):
                    taken[owner] += 1
                    yield owner
                    left -= 1
                    if left == 0:
                        return

    def _way(self, key_hash: int) -> Iterable[int]:
        size, slots = self._size, self._slots
        slot = key_hash % size
        yield slots[slot]
        skip = (key_hash // size) % (size - 1) + 1
        for _ in range(size - 1):
            slot = (slot + skip) % size
            yield slots[slot]


def is_prime(number: int) -> bool:
    return number >= 2 and all(number % divisor for divisor in range(2, int(number**0.5) + 1))
