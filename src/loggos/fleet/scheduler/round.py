"""One round of scheduling: who is served in which order, and what is tried for each.

1. Priorities first, then the queues by their dominant shares (fairness.py), then first come, first served; one task, or
   one gang, at a time. Whoever holds a promise goes first among its priority.
2. A queue's limit keeps a job back.
3. The cheapest place that its shape, its topology and the promise allow.
4. Otherwise the fewest tasks of lower priority make room.
5. Otherwise the first such job is promised the earliest start that can be (backfill.py), and is out of this round.
"""

from __future__ import annotations

from bisect import insort
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from loggos.fleet.scheduler.backfill import End, Promise, ends, promise
from loggos.fleet.scheduler.bins import Bin, Devices
from loggos.fleet.scheduler.candidates import Accept, Candidates, Choice
from loggos.fleet.scheduler.explain import why_pending, why_quota
from loggos.fleet.scheduler.fleet import Fleet, JobState, placement_of
from loggos.fleet.scheduler.gangs import Trial
from loggos.fleet.scheduler.plan import Decision, Evicted, Pending, Placed, Plan, Reserved, RunnerUp, Why
from loggos.fleet.scheduler.preemption import Evictable, victims
from loggos.fleet.scheduler.scores.score import Score
from loggos.fleet.scheduler.shapes import Shape
from loggos.fleet.scheduler.topology import Topology
from loggos.fleet.scheduler.values import Placement, TaskId

if TYPE_CHECKING:
    from loggos.fleet.scheduler.scheduler import Policy

FOREVER = float("inf")


class Memory:
    """What one round leaves to the next: candidates and evictable nodes per shape, the promise, who was told why it waits, and
    which shapes had no room anywhere, so that they are not tried again until something became free."""

    def __init__(self, fleet: Fleet) -> None:
        self.fleet = fleet
        self.promise: Promise | None = None
        self.told: dict[str, None] = {}  # jobs that wait, and whose reason was in a plan
        self._candidates: dict[int, Candidates] = {}  # by the shape's number
        self._evictable: dict[tuple[int, int], Evictable] = {}  # by that and the priority
        self._none: dict[int, int] = {}

    def forget_candidates(self) -> None:
        """The score is another one."""
        self._candidates.clear()

    def candidates(self, shape: Shape, score: Score) -> Candidates:
        """The places for tasks of this shape."""
        found = self._candidates.get(shape.number)
        if found is None:
            found = self._candidates[shape.number] = Candidates(self.fleet, shape, score)
        return found

    def evictable(self, shape: Shape, priority: int) -> Evictable:
        key = (shape.number, priority)
        if key not in self._evictable:
            self._evictable[key] = Evictable(self.fleet, shape, priority)
        return self._evictable[key]

    def none(self, fleet: Fleet, shape: Shape) -> bool:
        return self._none.get(shape.number) == fleet.freed

    def note(self, fleet: Fleet, shape: Shape) -> None:
        self._none[shape.number] = fleet.freed


class Order:
    """Who is served next: jobs by priority, queue and arrival. A job that was blocked is not asked again."""

    def __init__(self, fleet: Fleet, first: JobState | None) -> None:
        self.fleet, self.first = fleet, first
        self._bands: dict[int, dict[str, deque[JobState]]] = {}
        self._priorities: list[int] = []  # the bands that exist, highest first, negated
        self._known: dict[str, None] = {}
        for state in sorted(fleet.waiting.values(), key=lambda state: state.arrival):
            self.add(state)

    def add(self, state: JobState) -> None:
        """It waits too; one that was evicted goes where it would have been."""
        if state.job.name in self._known:
            return
        self._known[state.job.name] = None
        band = self._bands.setdefault(state.job.priority, {})
        if not band and -state.job.priority not in self._priorities:
            insort(self._priorities, -state.job.priority)
        line = band.setdefault(state.job.queue, deque())
        place = len(line)
        while place and line[place - 1].arrival > state.arrival:
            place -= 1
        line.insert(place, state)

    def next(self) -> JobState | None:
        while self._priorities:
            band = self._bands[-self._priorities[0]]
            if not band:
                del self._priorities[0]
                continue
            if self.first is not None and self.first.job.priority == -self._priorities[0]:
                return self.first
            if len(band) == 1:
                return next(iter(band.values()))[0]
            return band[self.fleet.queues.next({queue: line[0].shape for queue, line in band.items()})][0]
        return None

    def served(self, state: JobState) -> None:
        """One of its turns is over."""
        if not state.pending:
            self.block(state)
            del self._known[state.job.name]

    def block(self, state: JobState) -> None:
        """It is out of this round."""
        if state is self.first:
            self.first = None
        band = self._bands[state.job.priority]
        line = band[state.job.queue]
        if line[0] is state:
            line.popleft()
        else:
            line.remove(state)
        if not line:
            del band[state.job.queue]


class Round:
    """State of one round."""

    def __init__(self, fleet: Fleet, topology: Topology, policy: Policy, score: Score, memory: Memory, now_s: float) -> None:
        self.fleet, self.topology, self.policy, self.score = fleet, topology, policy, score
        self.memory, self.now_s = memory, now_s
        promised = memory.promise
        self.promise: Promise | None = None
        holder = fleet.waiting.get(promised.job) if promised is not None else None
        self.order = Order(fleet, holder)
        self.budget = policy.evictions_max
        self.decisions: list[Decision] = []
        self.pending: list[Pending] = []
        self.reserved: Reserved | None = None
        self._ending: list[End] | None = None
        self._whys: dict[int, Why] = {}
        self._told: dict[str, None] = {}

    def run(self) -> Plan:
        while (state := self.order.next()) is not None:
            if self._serve(state):
                self.order.served(state)
            else:
                self.order.block(state)
        self.memory.promise, self.memory.told = self.promise, self._told
        return Plan(tuple(self.decisions), tuple(self.pending), self.reserved)

    def _serve(self, state: JobState) -> bool:
        """Start the job's next task or gang; False: it waits, and why is noted."""
        wanted = state.wanted()
        over = self.fleet.queues.over_limit(state.job.queue, state.shape, wanted)
        if over is not None:
            self._note(state, lambda: why_quota(state, over))
            return False
        trial = Trial(self.fleet)
        budget = self.budget
        for _ in range(wanted):
            if not (self._place(state, trial) or (self.policy.preempt and self._make_room(state, trial))):
                trial.undo()
                self.budget = budget
                self._wait(state)
                return False
        self._keep(state, trial)
        return True

    # --- a place ---------------------------------------------------------------------------------------------------------
    def _place(self, state: JobState, trial: Trial) -> bool:
        """The cheapest place for its next task."""
        accept = self._accept(state)
        if accept is None and self.memory.none(self.fleet, state.shape):
            return False
        found = self.memory.candidates(state.shape, self.score).ranked(1 + self.policy.runners_up, accept)
        if not found:
            if accept is None:
                self.memory.note(self.fleet, state.shape)
            return False
        self._start(state, trial, found)
        return True

    def _start(self, state: JobState, trial: Trial, found: list[tuple[Bin, Choice]]) -> None:
        bin_, choice = found[0]
        task = TaskId(state.job.name, state.pending[0])
        trial.place(task, bin_, choice.devices, self.now_s)
        others = tuple(RunnerUp(other.node.name, rank.cost) for other, rank in found[1:])
        placement = Placement(bin_.node.name, choice.devices)
        trial.decisions.append(Placed(task, placement, self.score.name, choice.cost, others))

    def _accept(self, state: JobState) -> Accept | None:
        """What its topology and the promise to another job allow; None: anything."""
        topology, held = self.topology.accept(state), self.promise
        if held is None or held.job == state.job.name:
            return topology
        shape, end_s = state.shape, self._end_s(state)

        def accepted(bin_: Bin, devices: Devices) -> bool:
            return held.admits(bin_.number, shape, devices, end_s) and (topology is None or topology(bin_, devices))

        return accepted

    def _end_s(self, state: JobState) -> float:
        return self.now_s + state.job.runtime_s if state.job.runtime_s is not None else FOREVER

    # --- room for it -------------------------------------------------------------------------------------------------------
    def _make_room(self, state: JobState, trial: Trial) -> bool:
        """Evict the fewest for its next task, and start it in their place."""
        below = min((priority for priority, count in self.fleet.running_at.items() if count), default=state.job.priority)
        if below >= state.job.priority or not self.budget:
            return False
        accept = self._accept(state)
        where = self.memory.evictable(state.shape, state.job.priority).bins()
        chosen = victims(self.fleet, state, accept, self.budget, where)
        if chosen is None:
            return False
        for task in chosen.tasks:
            other = self.fleet.jobs[task.job]
            placement = placement_of(other.running[task.number])
            trial.evict(task)
            gone = Evicted(task, placement, state.job.name, other.job.priority, state.job.priority, chosen.size)
            trial.decisions.append(gone)
        self.budget -= chosen.size

        def there(bin_: Bin, devices: Devices) -> bool:
            return bin_.number == chosen.number and (accept is None or accept(bin_, devices))

        found = self.memory.candidates(state.shape, self.score).ranked(1, there)
        assert found, "that is what they were evicted for"
        self._start(state, trial, found)
        return True

    # --- outcomes ----------------------------------------------------------------------------------------------------------
    def _keep(self, state: JobState, trial: Trial) -> None:
        end_s = self._end_s(state)
        for decision in trial.decisions:
            if isinstance(decision, Evicted):
                self.order.add(self.fleet.jobs[decision.task.job])
                self._ending = None
            elif isinstance(decision, Placed) and self.promise is not None:
                running = state.running.get(decision.task.number)
                if running is not None:
                    self.promise.note(running.bin.number, state.shape, running.devices, end_s)
        self.decisions.extend(trial.decisions)
        if state.job.runtime_s is not None:
            self._ending = None

    def _wait(self, state: JobState) -> None:
        """It has no room: note why, and promise it a start if it is the first."""
        self._note(state, lambda: self._why(state))
        if self.promise is not None or not self.policy.backfill:
            return
        if self._ending is None:
            self._ending = ends(self.fleet, self.now_s)
        if self._ending:
            self.promise = promise(self.fleet, state, self._ending, self.topology.accept(state))
        if self.promise is not None:
            names = [bin_.node.name for number in self.promise.shadows if (bin_ := self.fleet.bins[number]) is not None]
            self.reserved = Reserved(state.job.name, self.promise.tasks, self.promise.start_s, tuple(names))

    def _note(self, state: JobState, why: Callable[[], Why]) -> None:
        """It waits; why is said once."""
        name = state.job.name
        tell = self.policy.explain and name not in self.memory.told
        self._told[name] = None
        self.pending.append(Pending(name, len(state.pending), why() if tell else None))

    def _why(self, state: JobState) -> Why:
        """Jobs of one shape that demand nothing else wait for the same reason; it is found once a round."""
        if state.job.gang or self.topology.rules(state):
            return why_pending(self.fleet, self.topology, state, self.promise)
        why = self._whys.get(state.shape.number)
        if why is None:
            why = self._whys[state.shape.number] = why_pending(self.fleet, self.topology, state, self.promise)
        return why
