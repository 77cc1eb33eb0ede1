"""What every part of load balancing speaks of: end points, what they report, and the seam that every policy implements.

Rules:
- Pure: time comes as an argument (seconds of any monotonic clock), chance from a `Dice` that the caller hands in. The same code
  decides in a pool, in a simulated farm and in a replay.
- One policy object is one balancer's view. It is not thread-safe: its owner calls it from one thread, or under a lock.
- A policy only chooses. Who is healthy, near, warm or over its limits is decided before it (filters/), whether a request may be
  sent at all is decided around it (guards/).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol


class Dice(Protocol):
    """Chance. `random.Random(seed)` is one."""

    def random(self) -> float:
        """In [0, 1)."""
        ...

    def randrange(self, stop: int, /) -> int:
        """In 0 … stop - 1."""
        ...


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A server that requests can be sent to. `name` is unique in its pool (an address, as a rule); `weight` > 0 is its share
    relative to others."""

    name: str
    weight: float = 1.0
    zone: str = ""


class Report(NamedTuple):
    """What a backend says of its own load, with an answer or to a probe: the only load that every balancer sees alike."""

    in_flight: int  # requests it is working on
    latency_s: float  # what it expects a request to take that arrives now


class Policy(ABC):
    """Chooses one end point per request. Life of a request: `pick`, `started`, then `finished` exactly once."""

    @abstractmethod
    def update(self, endpoints: Sequence[Endpoint], now_s: float) -> None:
        """These are the end points from now on, in this order. What is known of those that stay is kept."""

    @abstractmethod
    def pick(self, now_s: float, among: Sequence[Endpoint], key: bytes | None = None) -> Endpoint | None:
        """One of `among`: those end points (of the last `update`, in its order) that the filters let through. None: there are
        none. `key`: what requests of one kind share, for policies that hash; others ignore it.
        An end point may come with another weight than in `update` (slow start). Give the same tuple as long as nothing changed:
        a policy keeps what it computed for it. A list is looked at anew each time."""

    def started(self, name: str, now_s: float) -> None:  # noqa: B027
        """A request was sent to this end point."""

    def finished(  # noqa: B027
        self, name: str, now_s: float, latency_s: float, ok: bool, report: Report | None = None
    ) -> None:
        """It ended `latency_s` after `started`, well or not. `report`: what came with the answer, if anything did."""

    def probes_wanted(self, now_s: float) -> Sequence[str]:
        """Names of end points to ask for a Report now, one probe each; asked once after each `pick`. Most policies want none."""
        return ()

    def probed(self, name: str, now_s: float, report: Report) -> None:  # noqa: B027
        """A probe was answered."""
