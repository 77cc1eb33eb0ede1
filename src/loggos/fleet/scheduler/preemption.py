"""Preemption: the fewest tasks whose leaving makes room for one of higher priority.

Rules:
- Only tasks of lower priority that may be preempted; a gang goes whole, wherever its tasks are, and counts as that many.
- Never more of a job than it may lose, never a queue below its guarantee for the sake of another queue, never more per round than
  the budget.
- Fewest tasks first, then those of the lowest priority, then those that started last, then the node that joined first.
- Exact for up to FLEET_VICTIM_SETS_MAX sets on each of FLEET_VICTIM_NODES_MAX nodes; a greedy choice without superfluous
  victims beyond that.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import NamedTuple

from loggos.base.limits import FLEET_VICTIM_NODES_MAX, FLEET_VICTIM_SETS_MAX
from loggos.fleet.scheduler.bins import Bin, Devices, Free
from loggos.fleet.scheduler.candidates import Accept
from loggos.fleet.scheduler.fleet import Fleet, JobState
from loggos.fleet.scheduler.shapes import Shape
from loggos.fleet.scheduler.values import TaskId


class Unit(NamedTuple):
    """What leaves together, as seen from one node: a task, or a gang with all its tasks."""

    size: int
    priority: int
    newest: float  # minus the time of its start
    tasks: tuple[TaskId, ...]
    here: tuple[TaskId, ...]


class Victims(NamedTuple):
    """Who leaves which node. Smaller is better."""

    size: int
    priority: int
    newest: float
    number: int
    tasks: tuple[TaskId, ...]


class Evictable:
    """The nodes on which tasks of a shape would fit if all went that their priority may evict, budgets aside: where to look at
    all. Like a list of candidates, it looks again only at nodes that changed."""

    def __init__(self, fleet: Fleet, shape: Shape, priority: int) -> None:
        self.fleet, self.shape, self.priority = fleet, shape, priority
        self._hopes: dict[int, None] = {}
        self._cursor = -1

    def bins(self) -> list[Bin]:
        """By number."""
        changed = self.fleet.changes_since(self._cursor)
        if changed is None:
            self._hopes.clear()
            changed = range(len(self.fleet.bins))
        for number in dict.fromkeys(changed):
            bin_ = self.fleet.bins[number]
            if bin_ is not None and self._could_hold(bin_):
                self._hopes[number] = None
            else:
                self._hopes.pop(number, None)
        self._cursor = self.fleet.cursor
        return [bin_ for number in sorted(self._hopes) if (bin_ := self.fleet.bins[number]) is not None]

    def _could_hold(self, bin_: Bin) -> bool:
        if not self.shape.may_use(bin_.node):
            return False
        free = bin_.free
        for task, devices in bin_.tasks.items():
            other = self.fleet.jobs[task.job]
            if other.job.preemptible and other.job.priority < self.priority:
                free = free.plus(other.shape, devices)
        return bool(free.options(self.shape))


def victims(fleet: Fleet, state: JobState, accept: Accept | None, budget: int, where: Sequence[Bin]) -> Victims | None:
    """Who must go for the job's next task, at most `budget` of them; None if nobody may, or it would not help. `where`: the nodes
    that an Evictable of its shape and priority names."""
    hopes = []
    for bin_ in where:
        units = sorted(_units(fleet, state, bin_, budget), key=lambda unit: unit[:3])
        if units and _fits(fleet, state, bin_, units, accept) is not None:
            hopes.append((_at_least(fleet, state, bin_, units), bin_.number, bin_, units))
    hopes.sort(key=lambda hope: hope[:2])
    best: Victims | None = None
    for fewest, _, bin_, units in hopes[:FLEET_VICTIM_NODES_MAX]:
        if best is not None and fewest > best.size:
            break
        found = _smallest(fleet, state, bin_, units, accept, min(budget, best.size if best else budget))
        if found is not None and (best is None or found < best):
            best = found
    return best


def _units(fleet: Fleet, state: JobState, bin_: Bin, budget: int) -> Iterator[Unit]:
    """What may leave this node for the job's sake, each by itself."""
    gangs: dict[str, None] = {}
    for task in bin_.tasks:
        other = fleet.jobs[task.job]
        if not other.job.preemptible or other.job.priority >= state.job.priority or task.job in gangs:
            continue
        if other.job.gang:
            gangs[task.job] = None
            tasks = tuple(TaskId(task.job, number) for number in sorted(other.running))
        else:
            tasks = (task,)
        here = tuple(one for one in tasks if one in bin_.tasks)
        unit = Unit(len(tasks), other.job.priority, -other.running[task.number].started_s, tasks, here)
        if len(tasks) <= budget and _permitted(fleet, state, [unit]):
            yield unit


def _permitted(fleet: Fleet, state: JobState, units: Sequence[Unit]) -> bool:
    """Whether their jobs and queues may lose them all together."""
    lost: dict[str, int] = {}
    for unit in units:
        lost[unit.tasks[0].job] = lost.get(unit.tasks[0].job, 0) + unit.size
    if any(count > fleet.jobs[name].may_lose() for name, count in lost.items()):
        return False
    return all(_above_guarantee(fleet, state, name, count) for name, count in lost.items())


def _above_guarantee(fleet: Fleet, state: JobState, victim: str, count: int) -> bool:
    other = fleet.jobs[victim]
    if other.job.queue == state.job.queue:
        return True
    # what is within a guarantee before it leaves is protected
    return not fleet.queues.guaranteed(other.job.queue, other.shape, 1 - count)


def _without(fleet: Fleet, bin_: Bin, units: Sequence[Unit]) -> Free:
    free = bin_.free
    for unit in units:
        for task in unit.here:
            free = free.plus(fleet.jobs[task.job].shape, bin_.tasks[task])
    return free


def _fits(fleet: Fleet, state: JobState, bin_: Bin, units: Sequence[Unit], accept: Accept | None) -> Devices | None:
    """The devices on which the job's next task fits once these have left, as (); or None."""
    options = _without(fleet, bin_, units).options(state.shape)
    return next((devices for devices in options if accept is None or accept(bin_, devices)), None)


def _at_least(fleet: Fleet, state: JobState, bin_: Bin, units: Sequence[Unit]) -> int:
    """No fewer tasks than this can make room: for each resource, as many of its largest holders as cover what is short."""
    fewest = min(unit.size for unit in units)
    tasks = [task for unit in units for task in unit.here]
    for index, amount in state.shape.needs:
        short = amount - bin_.free.amounts[index]
        if short <= 0:
            continue
        held = sorted((dict(fleet.jobs[task.job].shape.needs).get(index, 0) for task in tasks), reverse=True)
        count = 0
        while short > 0 and count < len(held):
            short -= held[count]
            count += 1
        fewest = max(fewest, count)
    return fewest


def _smallest(
    fleet: Fleet, state: JobState, bin_: Bin, units: Sequence[Unit], accept: Accept | None, at_most: int
) -> Victims | None:
    """The best set on this node of at most that many tasks."""
    best: Victims | None = None
    tried = 0
    for count in range(1, len(units) + 1):
        if count > (best.size if best else at_most):
            return best
        for chosen in combinations(units, count):
            tried += 1
            if tried > FLEET_VICTIM_SETS_MAX:
                return best or _greedy(fleet, state, bin_, units, accept, at_most)
            found = _as_victims(bin_, chosen)
            if found.size > at_most or (best is not None and found >= best):
                continue
            if _permitted(fleet, state, chosen) and _fits(fleet, state, bin_, chosen, accept) is not None:
                best = found
    return best


def _greedy(
    fleet: Fleet, state: JobState, bin_: Bin, units: Sequence[Unit], accept: Accept | None, at_most: int
) -> Victims | None:
    """Lowest priority first until there is room; then whoever turns out not to be needed stays, highest priority first."""
    chosen: list[Unit] = []
    for unit in sorted(units, key=lambda unit: (unit.priority, unit.size, unit.newest)):
        if _permitted(fleet, state, [*chosen, unit]):
            chosen.append(unit)
        if _fits(fleet, state, bin_, chosen, accept) is not None:
            break
    else:
        return None
    for unit in reversed(list(chosen)):
        rest = [other for other in chosen if other is not unit]
        if _fits(fleet, state, bin_, rest, accept) is not None:
            chosen = rest
    found = _as_victims(bin_, chosen)
    return found if found.size <= at_most else None


def _as_victims(bin_: Bin, chosen: Sequence[Unit]) -> Victims:
    return Victims(
        sum(unit.size for unit in chosen),
        max(unit.priority for unit in chosen),
        sum(unit.newest for unit in chosen),
        bin_.number,
        tuple(task for unit in chosen for task in unit.tasks),
    )
