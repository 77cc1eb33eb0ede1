"""Chance, as the kernel takes it: handed in, never imported.

Every purpose (arrivals, work, each policy) has a stream of its own, so that two policies meet the same requests at the same times
whatever either of them draws: common random numbers, with which differences show in shorter runs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeAlias


class Dice(Protocol):
    """Chance. `random.Random(seed)` is one."""

    def random(self) -> float:
        """In [0, 1)."""
        ...


# The stream for a purpose, the same for the same name. `lambda purpose: random.Random(f"{seed} {purpose}")` is one.
Streams: TypeAlias = Callable[[str], Dice]
