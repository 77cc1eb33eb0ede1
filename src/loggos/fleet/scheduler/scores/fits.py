"""The classic scores: first fit, best fit, worst fit, spread, dot product. Vector bin packing as everybody knows it.

Source: Panigrahy et al., "Heuristics for Vector Bin Packing", 2011 (dot product); the others are older than their papers.
"""

from __future__ import annotations

from loggos.fleet.scheduler.bins import Bin, Devices, Free
from loggos.fleet.scheduler.scores.score import Potential, Score
from loggos.fleet.scheduler.shapes import Shape
from loggos.fleet.scheduler.values import DEVICE_MILLI


class FirstFit(Score):
    """The node that joined first, and its first device."""

    name = "first_fit"

    def cost(self, bin_: Bin, shape: Shape, devices: Devices) -> float:
        return 0.0


class BestFit(Score):
    """The node with the least left of all resources together, as parts of the largest node."""

    name = "best_fit"

    def cost(self, bin_: Bin, shape: Shape, devices: Devices) -> float:
        amounts, gpus = bin_.free.less(shape, devices)
        left = sum([free / whole for free, whole in zip(amounts, self.scale, strict=False)])
        return round(left + sum(gpus) / self.device_scale, 12)


class WorstFit(BestFit):
    """The opposite: the node with the most left."""

    name = "worst_fit"

    def cost(self, bin_: Bin, shape: Shape, devices: Devices) -> float:
        return -super().cost(bin_, shape, devices)


class Spread(Potential):
    """The sum of the squares of what is used, as parts of the node itself: load is spread over nodes in proportion to their
    size, and no resource of a node runs far ahead of its others."""

    name = "spread"

    def potential(self, bin_: Bin, free: Free) -> float:
        used = sum(
            ((whole - left) / whole) ** 2 for whole, left in zip(bin_.capacity.amounts, free.amounts, strict=True) if whole
        )
        return used + sum((1 - left / DEVICE_MILLI) ** 2 for left in free.devices) / max(1, len(free.devices))


class DotProduct(Score):
    """The node whose free amounts point the same way as the request: big where the task is big, so that nothing is left
    lopsided."""

    name = "dot_product"

    def cost(self, bin_: Bin, shape: Shape, devices: Devices) -> float:
        amounts, gpus = bin_.free
        product = sum(amounts[index] * amount / self.scale[index] ** 2 for index, amount in shape.needs)
        taken = len(devices) * shape.gpu_milli
        return -round(product + taken * sum(gpus) / self.device_scale**2, 12)
