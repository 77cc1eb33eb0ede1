"""What a score is: the cost of a placement. Smaller is better, and equal costs go to the node that joined first,
there to the fullest device.

A score sees one node at a time, as it is and as it would be: so a cost stays true until that node changes, and candidates.py can
keep it. Amounts are compared as parts of the largest amount on any node (`Fleet.scale`).

A potential is a score that is a property of the node alone: a placement costs what it raises the potential by. The sum over all
nodes is then something that placements keep small and that moves can only lower, which is why rebalancing with one ends.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar

from loggos.fleet.scheduler.bins import Bin, Devices, Free
from loggos.fleet.scheduler.shapes import Shape
from loggos.fleet.scheduler.values import DEVICE_MILLI

if TYPE_CHECKING:
    from loggos.fleet.scheduler.fleet import Fleet


class Score(ABC):
    """The cost of placements."""

    name: ClassVar[str]

    def __init__(self) -> None:
        self.scale: tuple[int, ...] = ()
        self.device_scale = DEVICE_MILLI

    def prepare(self, fleet: Fleet) -> None:
        """Costs are asked for all nodes next; called whenever the fleet's epoch is new."""
        self.scale = tuple(fleet.scale)
        self.device_scale = fleet.devices_max * DEVICE_MILLI

    @abstractmethod
    def cost(self, bin_: Bin, shape: Shape, devices: Devices) -> float:
        """Of a task of this shape on these devices, where it fits."""


class Potential(Score):
    """A score that is a property of a node."""

    @abstractmethod
    def potential(self, bin_: Bin, free: Free) -> float:
        """Of the node if this were free on it."""

    def cost(self, bin_: Bin, shape: Shape, devices: Devices) -> float:
        return round(self.potential(bin_, bin_.free.less(shape, devices)) - self.potential(bin_, bin_.free), 9)
