"""What the tests of the kernel share: streams of chance, and a station driven by arrivals and works."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from itertools import islice

from loggos.des.arrivals import feed, poisson, renewal
from loggos.des.dice import Dice, Streams
from loggos.des.kernel import Kernel
from loggos.des.laws import Law
from loggos.des.station import FifoStation, SharingStation, Station

Kind = type[FifoStation] | type[SharingStation]


def streams(seed: object) -> Streams:
    return lambda purpose: random.Random(f"{seed} {purpose}")


class Driven:
    """A station that has served these jobs: when each left (None: refused or lost), and the station afterwards."""

    def __init__(
        self, kind: Kind, times: Sequence[float], works: Sequence[float], servers: int = 1, room: float = math.inf
    ) -> None:
        self.kernel = Kernel()
        self.left: list[float | None] = [None] * len(times)
        self.station: Station = kind(self.kernel, self._done, servers=servers, room=room)
        self._works = works
        numbers = iter(range(len(times)))
        feed(self.kernel, times, lambda _: self._arrive(next(numbers)))

    def run(self) -> Driven:
        self.kernel.run()
        return self

    def _arrive(self, number: int) -> None:
        self.station.arrive(self._works[number], number)

    def _done(self, number: int) -> None:
        self.left[number] = self.kernel.now_s


def sojourns(
    kind: Kind, gaps: Law, work: Law, seed: object, *, jobs: int, servers: int = 1, warm_up: int = 0
) -> tuple[list[float], Station]:
    """The times that jobs spend in a station, those after the warm-up, and the station."""
    of = streams(seed)
    times = list(islice(renewal(gaps, of("arrivals")), jobs))
    draw = work.sampler(of("works"))
    driven = Driven(kind, times, [draw() for _ in range(jobs)], servers).run()
    return [left - time for left, time in zip(driven.left, times, strict=True) if left is not None][warm_up:], driven.station


def poisson_times(rate: float, dice: Dice, jobs: int) -> list[float]:
    return list(islice(poisson(rate, dice), jobs))
