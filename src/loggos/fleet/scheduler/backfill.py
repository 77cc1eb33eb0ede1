"""EASY backfilling: the first job that does not fit is promised the earliest time at which it will, and whoever goes ahead of
it must not delay that.

Run times are upper bounds that jobs give. A task without one runs for ever, as far as anyone can promise; one that has
outlived its own is expected to end at any moment. A promise is a set of nodes as they will be at its start, the promised
tasks already on them: a later task is let in on such a node only if it ends by then, or fits beside them. Source: Lifka, "The
ANL/IBM SP Scheduling System", JSSPP 1995; Mu'alem and Feitelson, IEEE TPDS 12(6), 2001, section 2 (EASY).
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from typing import NamedTuple

from loggos.fleet.scheduler.bins import Bin, Devices, Free
from loggos.fleet.scheduler.candidates import Accept
from loggos.fleet.scheduler.fleet import Fleet, JobState
from loggos.fleet.scheduler.shapes import Shape


class End(NamedTuple):
    """A task that will have ended by `at_s`, and what it gives back."""

    at_s: float
    number: int  # of its bin
    shape: Shape
    devices: Devices


class Promise:
    """The head's reservation."""

    def __init__(self, job: str, tasks: int, start_s: float, shadows: dict[int, Free]) -> None:
        self.job, self.tasks, self.start_s = job, tasks, start_s
        self.shadows = shadows  # number of a bin → what will be free on it at the start, beside the promised tasks

    def admits(self, number: int, shape: Shape, devices: Devices, end_s: float) -> bool:
        """Whether a task that ends by `end_s` may start there now."""
        shadow = self.shadows.get(number)
        return shadow is None or end_s <= self.start_s or shadow.holds(shape, devices)

    def note(self, number: int, shape: Shape, devices: Devices, end_s: float) -> None:
        """Such a task has started."""
        shadow = self.shadows.get(number)
        if shadow is not None and end_s > self.start_s:
            self.shadows[number] = shadow.less(shape, devices)


def ends(fleet: Fleet, now_s: float) -> list[End]:
    """What runs and has a run time, by the time of its end."""
    found = []
    for state in fleet.jobs.values():
        if state.job.runtime_s is not None:
            for running in state.running.values():
                at_s = max(now_s, running.started_s + state.job.runtime_s)
                found.append(End(at_s, running.bin.number, state.shape, running.devices))
    return sorted(found, key=lambda end: (end.at_s, end.number, end.devices))


def promise(fleet: Fleet, state: JobState, ending: list[End], accept: Accept | None) -> Promise | None:
    """The earliest start that can be promised to the job's next tasks; None if what ends does not make room for them."""
    wanted, shape = state.wanted(), state.shape
    bins = [bin_ for bin_ in fleet.present() if shape.may_use(bin_.node)]
    shadows = {bin_.number: bin_.free for bin_ in bins}
    fits = {bin_.number: fill(bin_, bin_.free, shape, wanted, accept) for bin_ in bins}
    room = sum(len(slots) for slots in fits.values())
    for at_s, group in groupby(ending, key=lambda end: end.at_s):
        touched: dict[int, None] = {}
        for end in group:
            if end.number in shadows:
                shadows[end.number] = shadows[end.number].plus(end.shape, end.devices)
                touched[end.number] = None
        for number in touched:
            bin_ = fleet.bins[number]
            assert bin_ is not None, "it runs something"
            slots = fill(bin_, shadows[number], shape, wanted, accept)
            room += len(slots) - len(fits[number])
            fits[number] = slots
        if room >= wanted:
            return Promise(state.job.name, wanted, at_s, dict(_take(shadows, fits, shape, wanted)))
    return None


def fill(bin_: Bin, free: Free, shape: Shape, wanted: int, accept: Accept | None) -> list[Devices]:
    """The devices of as many tasks of this shape as fit into `free`, up to `wanted`."""
    slots: list[Devices] = []
    while len(slots) < wanted:
        devices = next((chosen for chosen in free.options(shape) if accept is None or accept(bin_, chosen)), None)
        if devices is None:
            break
        slots.append(devices)
        free = free.less(shape, devices)
    return slots


def _take(shadows: dict[int, Free], fits: dict[int, list[Devices]], shape: Shape, wanted: int) -> Iterator[tuple[int, Free]]:
    """The bins that are promised, with what is left beside the promised tasks; those that hold most first."""
    for number in sorted(fits, key=lambda number: (-len(fits[number]), number)):
        free = shadows[number]
        for devices in fits[number][:wanted]:
            free = free.less(shape, devices)
        if wanted and fits[number]:
            yield number, free
        wanted -= min(wanted, len(fits[number]))
