"""What is free on one node, and the arithmetic of taking and giving back. A fleet is a list of bins.

Rules:
- `free` and `devices` are tuples that are replaced, never changed: whoever holds one may compare it later.
- A device that is partly taken is no whole one: a request for whole devices takes only those with all 1,000 milli free.
- `version` is new after every change, and no two bins of a fleet ever have the same one.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from loggos.fleet.scheduler.shapes import Shape
from loggos.fleet.scheduler.values import DEVICE_MILLI, Node, TaskId

Amounts = tuple[int, ...]  # by index of the resource
Devices = tuple[int, ...]  # milli free on each device; or, as a choice, numbers of devices

NO_DEVICE: Final[tuple[Devices, ...]] = ((),)
NO_OPTION: Final[tuple[Devices, ...]] = ()


class Free(NamedTuple):
    """What is free on a node."""

    amounts: Amounts
    devices: Devices

    def options(self, shape: Shape) -> tuple[Devices, ...]:
        """The choices of devices with which a task of this shape fits, none of them alike, the fullest device first; () if it
        does not fit."""
        amounts, devices = self
        for index, amount in shape.needs:
            if amounts[index] < amount:
                return NO_OPTION
        if not shape.gpus:
            return NO_DEVICE
        if shape.shares_device:
            levels = sorted({free for free in devices if free >= shape.gpu_milli})
            return tuple((devices.index(free),) for free in levels)
        whole = [number for number, free in enumerate(devices) if free == DEVICE_MILLI]
        return (tuple(whole[: shape.gpus]),) if len(whole) >= shape.gpus else NO_OPTION

    def less(self, shape: Shape, chosen: Devices) -> Free:
        """What is left when a task of this shape takes those devices."""
        return self._moved(shape, chosen, -1)

    def plus(self, shape: Shape, chosen: Devices) -> Free:
        """What is free when a task of this shape gives them back."""
        return self._moved(shape, chosen, 1)

    def _moved(self, shape: Shape, chosen: Devices, sign: int) -> Free:
        amounts = list(self.amounts)
        for index, amount in shape.needs:
            amounts[index] += sign * amount
        if not chosen:
            return Free(tuple(amounts), self.devices)
        devices = list(self.devices)
        for number in chosen:
            devices[number] += sign * shape.gpu_milli
        return Free(tuple(amounts), tuple(devices))

    def holds(self, shape: Shape, chosen: Devices) -> bool:
        """Whether a task of this shape fits with exactly those devices."""
        amounts, devices = self
        return all(amounts[index] >= amount for index, amount in shape.needs) and all(
            devices[number] >= shape.gpu_milli for number in chosen
        )


class Bin:
    """A node with what is free on it and the tasks that it runs. Changed by its fleet only. Nodes of one `kind` are alike in
    all but their names and what is free on them."""

    __slots__ = ("capacity", "free", "kind", "node", "number", "tasks", "version")

    def __init__(self, number: int, node: Node, kind: int, capacity: Free, version: int) -> None:
        self.number = number
        self.node = node
        self.kind = kind
        self.capacity = capacity
        self.free = capacity
        self.tasks: dict[TaskId, Devices] = {}
        self.version = version

    def take(self, task: TaskId, shape: Shape, chosen: Devices, version: int) -> None:
        assert task not in self.tasks and self.free.holds(shape, chosen), f"{task} does not fit {self.node.name}"
        self.free = self.free.less(shape, chosen)
        self.tasks[task] = chosen
        self.version = version

    def give(self, task: TaskId, shape: Shape, version: int) -> None:
        self.free = self.free.plus(shape, self.tasks.pop(task))
        assert all(free <= whole for free, whole in zip(self.free.amounts, self.capacity.amounts, strict=True))
        self.version = version
