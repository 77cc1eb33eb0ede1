"""Scores that know the workload: how much of what is free on a node can still be used by the tasks that usually come.

- `fgd`: fragmentation gradient descent. A node's fragmentation is the GPU share that is free on it and cannot be used by a task
  drawn from the workload, on average; a placement costs what it adds to it. Source: Weng et al., "Beware of Fragmentation:
  Scheduling GPU-Sharing Workloads with Fragmentation Gradient Descent", USENIX ATC 2023, section 3.
- `fill`: how much GPU share a node would still take if it were filled up with tasks of one class, on average over the
  classes. Where fgd asks whether one more task fits, this asks how many do: so it sees a node's CPUs running out before its
  GPUs.
- `fgd_fill`: both added up, which packs best of all on the production trace that we replay (docs/FLEET.md).

A class is a shape with its weight, the number of its tasks; classes without GPUs can use none, which is the same everywhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from loggos.base.limits import FLEET_MEMO_MAX, FLEET_MIX_CLASSES_MAX
from loggos.fleet.scheduler.bins import Amounts, Bin, Devices, Free
from loggos.fleet.scheduler.scores.score import Potential
from loggos.fleet.scheduler.shapes import Shape
from loggos.fleet.scheduler.values import DEVICE_MILLI, Node

Demand = tuple[int, int]  # devices, and milli of each


class Class(NamedTuple):
    """A part of the workload."""

    shape: Shape
    weight: float


class Slots(NamedTuple):
    """What the free devices of a node offer to a demand: how many tasks, and how much GPU share it could use at all."""

    tasks: int
    usable_milli: int


class Fragmentation(Potential):
    """The potential of all three: minus the weighted sum of what is usable (fgd) and what would be filled (fill)."""

    usable_weight = 0.0
    fill_weight = 0.0

    def __init__(self, workload: Sequence[Class]) -> None:
        super().__init__()
        total = sum(part.weight for part in workload) or 1.0
        most = sorted(workload, key=lambda part: (-part.weight, part.shape.number))[:FLEET_MIX_CLASSES_MAX]
        self._classes = [Class(shape, weight / total) for shape, weight in most if shape.gpus]
        self._by_kind: dict[int, list[tuple[Demand, list[Class]]]] = {}
        self._memo: dict[tuple[int, Amounts, Devices], float] = {}
        self._slots: dict[tuple[Demand, Devices], Slots] = {}

    def potential(self, bin_: Bin, free: Free) -> float:
        if not free.devices:
            return 0.0
        key = (bin_.kind, free.amounts, tuple(sorted(free.devices)))
        value = self._memo.get(key)
        if value is None:
            if len(self._memo) >= FLEET_MEMO_MAX:
                self._memo.clear()
                self._slots.clear()
            value = self._memo[key] = -sum(
                self._useful(free.amounts, classes, self._offer(demand, key[2])) for demand, classes in self._of(bin_)
            )
        return value

    def _of(self, bin_: Bin) -> list[tuple[Demand, list[Class]]]:
        """The classes that nodes of this kind let in, by what they ask of devices."""
        groups = self._by_kind.get(bin_.kind)
        if groups is None:
            by_demand: dict[Demand, list[Class]] = {}
            opened = Node(bin_.node.name, {}, 0, bin_.node.labels, bin_.node.taints)
            for part in self._classes:
                if part.shape.may_use(opened):
                    by_demand.setdefault((part.shape.gpus, part.shape.gpu_milli), []).append(part)
            groups = self._by_kind[bin_.kind] = list(by_demand.items())
        return groups

    def _offer(self, demand: Demand, devices: Devices) -> Slots:
        slots = self._slots.get((demand, devices))
        if slots is None:
            gpus, milli = demand
            if milli < DEVICE_MILLI:
                slots = Slots(sum(free // milli for free in devices), sum(free for free in devices if free >= milli))
            else:
                whole = devices.count(DEVICE_MILLI)
                slots = Slots(whole // gpus, whole * DEVICE_MILLI if whole >= gpus else 0)
            self._slots[demand, devices] = slots
        return slots

    def _useful(self, amounts: Amounts, classes: Sequence[Class], slots: Slots) -> float:
        if not slots.tasks:
            return 0.0
        useful = 0.0
        for shape, weight in classes:
            tasks = slots.tasks
            for index, amount in shape.needs:
                if amounts[index] < tasks * amount:
                    tasks = amounts[index] // amount
            if tasks:
                filled = tasks * shape.gpus * shape.gpu_milli
                useful += weight * (self.usable_weight * slots.usable_milli + self.fill_weight * filled)
        return useful


class FragmentationGradient(Fragmentation):
    name = "fgd"
    usable_weight = 1.0

    def fragments_milli(self, bin_: Bin) -> float:
        """The measure itself: GPU share that is free on the node and, on average over the workload, of no use."""
        return sum(bin_.free.devices) + self.potential(bin_, bin_.free)


class Fill(Fragmentation):
    name = "fill"
    fill_weight = 1.0


class FragmentationFill(Fragmentation):
    name = "fgd_fill"
    usable_weight = 1.0
    fill_weight = 1.0
