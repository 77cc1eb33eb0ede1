"""Packing of GPUs: keep whole devices and whole GPU nodes free for those that need them.

A shared task goes to the fullest device that takes it, whole ones to the node with the fewest GPUs left, and a task without GPUs
to where it takes CPU from no GPU, or from the fewest.
"""

from __future__ import annotations

from loggos.fleet.scheduler.bins import Bin, Devices
from loggos.fleet.scheduler.scores.score import Score
from loggos.fleet.scheduler.shapes import Shape


class GpuPacking(Score):
    """GPU-aware best fit."""

    name = "gpu_packing"

    def cost(self, bin_: Bin, shape: Shape, devices: Devices) -> float:
        amounts, gpus = bin_.free
        cpu_left = sum(free / whole for free, whole in zip(amounts, self.scale, strict=False)) * 1e-3
        if not shape.gpus:
            return round(sum(gpus) + cpu_left, 9)
        left_there = sum(gpus[number] for number in devices) - len(devices) * shape.gpu_milli
        return round(left_there * 100 + sum(gpus) / 100 + cpu_left, 9)
