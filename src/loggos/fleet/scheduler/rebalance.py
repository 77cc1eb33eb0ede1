"""Moves under a disruption budget: off closed nodes first, then wherever the potential falls.

Every move but those off closed nodes lowers the sum of the nodes' potentials by at least `gain_min`, and no move goes to a
closed node: so repeated rounds come to an end. A move interrupts its task: it counts against the job's `disruptions`,
together with tasks that are down already. Gangs are not moved.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from loggos.fleet.scheduler.bins import Bin, Devices
from loggos.fleet.scheduler.candidates import Candidates, Choice
from loggos.fleet.scheduler.fleet import Fleet, JobState, placement_of
from loggos.fleet.scheduler.gangs import Trial
from loggos.fleet.scheduler.plan import Moved
from loggos.fleet.scheduler.scores.score import Potential
from loggos.fleet.scheduler.shapes import Shape
from loggos.fleet.scheduler.topology import Topology
from loggos.fleet.scheduler.values import Placement, TaskId


class Wish(NamedTuple):
    """A task that may move; smaller goes first. `relief`: minus what its leaving lowers its node's potential by."""

    stays: bool
    relief: float
    number: int
    task: TaskId


def rebalance(
    fleet: Fleet, topology: Topology, score: Potential, now_s: float, moves_max: int, gain_min: float
) -> Iterator[Moved]:
    """Make up to `moves_max` moves, each worth `gain_min` > 0."""
    assert gain_min > 0, "or it would not come to an end"
    score.prepare(fleet)
    lists: dict[Shape, Candidates] = {}
    moved: dict[str, int] = {}
    for wish in sorted(_wishes(fleet, score)):
        state = fleet.jobs[wish.task.job]
        if moves_max <= 0:
            return
        if moved.get(state.job.name, 0) >= state.may_lose():
            continue
        places = lists.setdefault(state.shape, Candidates(fleet, state.shape, score))
        move = _try(fleet, topology, score, places, state, wish.task, now_s, gain_min)
        if move is not None:
            moved[state.job.name] = moved.get(state.job.name, 0) + 1
            moves_max -= 1
            yield move


def _wishes(fleet: Fleet, score: Potential) -> Iterator[Wish]:
    for bin_ in fleet.present():
        for task, devices in bin_.tasks.items():
            state = fleet.jobs[task.job]
            if not state.job.gang:
                yield Wish(bin_.node.open, -_relief(score, bin_, state.shape, devices), bin_.number, task)


def _relief(score: Potential, bin_: Bin, shape: Shape, devices: Devices) -> float:
    """By how much the node's potential falls when such a task leaves it."""
    return score.potential(bin_, bin_.free) - score.potential(bin_, bin_.free.plus(shape, devices))


def _try(
    fleet: Fleet, topology: Topology, score: Potential, places: Candidates, state: JobState, task: TaskId, now_s: float,
    gain_min: float,
) -> Moved | None:  # fmt: skip
    """Move the task where it is cheapest if that is worth it; otherwise nothing has changed."""
    running = state.running[task.number]
    origin = running.bin
    relief = _relief(score, origin, state.shape, running.devices)
    trial = Trial(fleet)
    trial.evict(task)
    demanded = topology.accept(state)

    def elsewhere(bin_: Bin, devices: Devices) -> bool:
        return bin_.number != origin.number and (demanded is None or demanded(bin_, devices))

    found: tuple[Bin, Choice] | None = places.best(elsewhere)
    if found is None or (origin.node.open and relief - found[1].cost < gain_min):
        trial.undo()
        return None
    bin_, choice = found
    fleet.place(task, bin_, choice.devices, now_s)
    gain = relief - choice.cost if origin.node.open else None
    return Moved(task, placement_of(running), Placement(bin_.node.name, choice.devices), gain)
