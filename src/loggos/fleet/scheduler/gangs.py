"""All or nothing: placements and evictions that are tried one after the other, and kept or undone together."""

from __future__ import annotations

from typing import NamedTuple

from loggos.fleet.scheduler.bins import Bin, Devices
from loggos.fleet.scheduler.fleet import Fleet, Running
from loggos.fleet.scheduler.plan import Decision
from loggos.fleet.scheduler.values import TaskId


class Step(NamedTuple):
    """One thing that was done, and what is needed to undo it."""

    task: TaskId
    stopped: Running | None  # what ran before, if this was an eviction
    was_down: bool


class Trial:
    """Changes to a fleet that may be taken back. `decisions` is what they amount to."""

    def __init__(self, fleet: Fleet) -> None:
        self.fleet = fleet
        self.decisions: list[Decision] = []
        self._steps: list[Step] = []
        self._freed = fleet.freed

    def place(self, task: TaskId, bin_: Bin, devices: Devices, now_s: float) -> None:
        self._steps.append(Step(task, None, task.number in self.fleet.jobs[task.job].down))
        self.fleet.place(task, bin_, devices, now_s)

    def evict(self, task: TaskId) -> None:
        self._steps.append(Step(task, self.fleet.jobs[task.job].running[task.number], False))
        self.fleet.evict(task)

    def undo(self) -> None:
        """As if nothing had been tried."""
        for task, stopped, was_down in reversed(self._steps):
            if stopped is None:
                self.fleet.evict(task, undo=True)
                if was_down:
                    self.fleet.jobs[task.job].down[task.number] = None
            else:
                self.fleet.place(task, stopped.bin, stopped.devices, stopped.started_s)
        self._steps.clear()
        self.decisions.clear()
        self.fleet.freed = self._freed
