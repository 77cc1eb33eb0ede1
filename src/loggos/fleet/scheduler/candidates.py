"""The cheapest node for a shape, without asking every node every time.

A list of candidates is a heap of (cost, node, devices) of one shape under one score. When it is asked, it first looks again
at the nodes that changed since it was last asked, and only at these; what it held of them is out of date by the bin's version
and is dropped when it comes to the top. So ten thousand equal tasks cost one look at every node and then about one look each.
Equal costs go to the node that joined first, and there to the fullest device.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from operator import attrgetter
from typing import NamedTuple

from loggos.fleet.scheduler.bins import Bin, Devices, Free
from loggos.fleet.scheduler.fleet import Fleet
from loggos.fleet.scheduler.scores.score import Score
from loggos.fleet.scheduler.shapes import Shape

Accept = Callable[[Bin, Devices], bool]  # a test that a shape alone does not know: topology, reservations


class Choice(NamedTuple):
    """A place for a task. Smaller is better; `version` tells whether it is still true of the bin."""

    cost: float
    number: int
    devices: Devices
    version: int


cost_of = attrgetter("cost")  # of choices on one node: of equal ones the first, which has the fullest device


class Candidates:
    """Of one shape, under one score."""

    def __init__(self, fleet: Fleet, shape: Shape, score: Score) -> None:
        self.fleet, self.shape, self.score = fleet, shape, score
        self._heap: list[Choice] = []
        self._cursor = -1
        self._epoch = -1

    def best(self, accept: Accept | None = None) -> tuple[Bin, Choice] | None:
        """The cheapest place that is accepted, or None."""
        found = self.ranked(1, accept)
        return found[0] if found else None

    def ranked(self, count: int, accept: Accept | None = None) -> list[tuple[Bin, Choice]]:
        """Up to `count` places that are accepted, on different nodes, cheapest first."""
        self._repair()
        heap, bins = self._heap, self.fleet.bins
        found: list[tuple[Bin, Choice]] = []
        looked: list[Choice] = []
        while heap and len(found) < count:
            choice = heap[0]
            bin_ = bins[choice.number]
            if bin_ is None or bin_.version != choice.version:
                heapq.heappop(heap)
                continue
            if accept is None or accept(bin_, choice.devices):
                found.append((bin_, choice))
            elif accept is not None and self.shape.gpus and (other := self._other(bin_, accept)):
                found.append((bin_, other))
            if len(found) < count:
                looked.append(heapq.heappop(heap))
        for choice in looked:
            heapq.heappush(heap, choice)
        found.sort(key=lambda pair: pair[1])
        return found

    def _other(self, bin_: Bin, accept: Accept) -> Choice | None:
        """The cheapest accepted choice of devices on a node whose cheapest one was not."""
        options = [devices for devices in bin_.free.options(self.shape) if accept(bin_, devices)]
        return min((self._choice(bin_, devices) for devices in options), key=cost_of, default=None)

    def _repair(self) -> None:
        fleet = self.fleet
        changed = fleet.changes_since(self._cursor) if self._epoch == fleet.epoch else None
        if changed is None or len(changed) > len(fleet.by_name) or len(self._heap) > 4 * len(fleet.bins):
            self.score.prepare(fleet)
            self._heap = self._look_at_all()
            heapq.heapify(self._heap)
        else:
            for number in dict.fromkeys(changed):
                bin_ = fleet.bins[number]
                choice = self._look(bin_) if bin_ is not None else None
                if choice is not None:
                    heapq.heappush(self._heap, choice)
        self._cursor, self._epoch = fleet.cursor, fleet.epoch

    def _look_at_all(self) -> list[Choice]:
        """Every node; those that are alike, and have the same free, cost the same."""
        alike: dict[tuple[int, Free], Choice | None] = {}
        heap = []
        for bin_ in self.fleet.present():
            if bin_.node.open:
                key = (bin_.kind, bin_.free)
                if key not in alike:
                    alike[key] = self._look(bin_)
                choice = alike[key]
                if choice is not None:
                    heap.append(Choice(choice.cost, bin_.number, choice.devices, bin_.version))
        return heap

    def _look(self, bin_: Bin) -> Choice | None:
        options = bin_.free.options(self.shape)
        if not options or not self.shape.may_use(bin_.node):
            return None
        if len(options) == 1:
            return self._choice(bin_, options[0])
        return min([self._choice(bin_, devices) for devices in options], key=cost_of)

    def _choice(self, bin_: Bin, devices: Devices) -> Choice:
        return Choice(self.score.cost(bin_, self.shape, devices), bin_.number, devices, bin_.version)
