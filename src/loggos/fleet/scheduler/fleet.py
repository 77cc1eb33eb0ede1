"""The state of a fleet: its nodes, its jobs, and what runs where. Events change it, and the decisions that are carried out.

Rules:
- Nothing runs that does not fit: `place` asserts it. Every task is pending, running or ended, never two of these.
- Nodes are numbered; a number is free again when its node left, so that numbers stay small. Order by number is the order of
  joining.
- Whoever keeps something per node (candidates.py) reads `changes_since`, and starts anew when it says so.
- It decides nothing.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from loggos.base.errors import InputError
from loggos.base.limits import FLEET_CHANGES_KEPT
from loggos.fleet.scheduler import events
from loggos.fleet.scheduler.bins import Bin, Devices, Free
from loggos.fleet.scheduler.fairness import QueueTree
from loggos.fleet.scheduler.shapes import Shape
from loggos.fleet.scheduler.values import DEVICE_MILLI, GPU, Affinity, Constraint, Job, Node, Placement, Queue, Request, TaskId


class Running(NamedTuple):
    """A task that runs, on which bin and since when."""

    bin: Bin
    devices: Devices
    started_s: float


class JobState:
    """A job and what has become of its tasks. `down`: those that wait because they were interrupted."""

    __slots__ = ("_tallies", "arrival", "down", "job", "pending", "running", "shape")

    def __init__(self, job: Job, shape: Shape, arrival: int) -> None:
        self.job = job
        self.shape = shape
        self.arrival = arrival
        self.pending = list(range(job.count))  # a heap
        self.running: dict[int, Running] = {}
        self.down: dict[int, None] = {}
        self._tallies: dict[str, dict[str, int]] = {}

    @property
    def rank(self) -> tuple[int, int]:
        """Its place among all jobs: higher priority first, then first come."""
        return -self.job.priority, self.arrival

    def may_lose(self) -> int:
        """How many more of its tasks may be interrupted now; a gang is all or nothing."""
        if self.job.disruptions is None:
            return len(self.running)
        if self.job.gang:
            return len(self.running) if self.job.disruptions and not self.down else 0
        return max(0, min(len(self.running), self.job.disruptions - len(self.down)))

    def gang(self) -> int:
        """How many of its tasks must run for any to run: what was asked, or all that have not ended."""
        return min(self.job.gang, len(self.running) + len(self.pending))

    def wanted(self) -> int:
        """How many of its tasks must be placed together next: 1, or what its gang lacks."""
        return max(1, self.gang() - len(self.running))

    def tally(self, key: str) -> dict[str, int]:
        """How many of its tasks run in each domain of the label `key` ("": on each node); kept up from the first question on."""
        counts = self._tallies.get(key)
        if counts is None:
            counts = self._tallies[key] = {}
            for running in self.running.values():
                count_in(counts, running.bin, key, 1)
        return counts

    def count(self, bin_: Bin, sign: int) -> None:
        for key, counts in self._tallies.items():
            count_in(counts, bin_, key, sign)


def domain(bin_: Bin, key: str) -> str | None:
    """The domain of the label `key` that a node is in; "" makes each node its own. None: in none."""
    return bin_.node.labels.get(key) if key else bin_.node.name


def count_in(counts: dict[str, int], bin_: Bin, key: str, sign: int) -> None:
    where = domain(bin_, key)
    if where is not None:
        counts[where] = counts.get(where, 0) + sign


class Fleet:
    """Nodes, jobs and placements; see the module's rules."""

    def __init__(self, queues: Sequence[Queue] = ()) -> None:
        self.bins: list[Bin | None] = []
        self.by_name: dict[str, Bin] = {}
        self.jobs: dict[str, JobState] = {}
        self.waiting: dict[str, JobState] = {}  # the jobs with pending tasks
        self.queues = QueueTree(queues)
        self.resources: dict[str, int] = {}  # name → index
        self.scale: list[int] = []  # by index: the largest amount on any node so far, at least 1
        self.devices_max = 1
        self.epoch = 0  # new when costs on all nodes are to be asked again
        self.nodes_seen = 0  # new when a node joined, left, or opened
        self.averse: dict[str, dict[Affinity, None]] = {}  # job → what others that keep away from it ask of it in turn
        self.freed = 0  # how often something became free: what did not fit may fit now
        self.running_at: dict[int, int] = {}  # priority → how many tasks of it run that may be preempted
        self.tasks_seen = 0
        self._shapes: dict[object, Shape] = {}
        self._kinds: dict[object, int] = {}
        self._changes: list[int] = []
        self._forgotten = 0
        self._free_numbers: list[int] = []
        self._version = 0
        self._arrivals = 0

    # --- what it knows ---------------------------------------------------------------------------------------------------
    def present(self) -> Iterator[Bin]:
        """The bins of all nodes, by number."""
        return (bin_ for bin_ in self.bins if bin_ is not None)

    def shape(self, request: Request, constraints: tuple[Constraint, ...] = (), tolerates: tuple[str, ...] = ()) -> Shape:
        """The shape of such tasks; the same object for equal demands."""
        totals = tuple(request.totals().items())
        key = (totals, request.gpus, request.gpu_milli, constraints, tolerates)
        shape = self._shapes.get(key)
        if shape is None:
            needs = tuple(sorted((self._index(name), amount) for name, amount in totals if name != GPU))
            milli = request.gpu_milli if request.gpus else DEVICE_MILLI
            shape = Shape(needs, request.gpus, milli, constraints, tolerates, totals, len(self._shapes))
            self._shapes[key] = shape
        return shape

    def changes_since(self, cursor: int) -> Sequence[int] | None:
        """Numbers of the bins that changed since; None: too many to say."""
        start = cursor - self._forgotten
        return None if start < 0 else self._changes[start:]

    @property
    def cursor(self) -> int:
        return self._forgotten + len(self._changes)

    # --- events ----------------------------------------------------------------------------------------------------------
    def apply(self, event: events.Event) -> None:
        """Let it happen. InputError: it cannot have (an unknown name, one that is taken); nothing has changed then."""
        match event:
            case events.NodeJoined():
                self._join(event.node)
            case events.NodeLeft():
                self._leave(self._bin(event.name))
            case events.NodeOpened():
                self._open(self._bin(event.name), event.open)
            case events.JobSubmitted():
                self._submit(event.job)
            case events.JobWithdrawn():
                self._withdraw(self.job(event.name))
            case events.TaskEnded():
                self._end(event.task)

    def job(self, name: str) -> JobState:
        if name not in self.jobs:
            raise InputError(f"no job {name}: it was never submitted, or is over")
        return self.jobs[name]

    def _bin(self, name: str) -> Bin:
        if name not in self.by_name:
            raise InputError(f"no node {name}: it never joined, or has left")
        return self.by_name[name]

    def _join(self, node: Node) -> None:
        if node.name in self.by_name:
            raise InputError(f"node {node.name} is there already: let it leave first")
        for name in sorted(node.amounts):
            index = self._index(name)
            if node.amounts[name] > self.scale[index]:
                self.scale[index] = node.amounts[name]
                self.epoch += 1
        if node.gpus > self.devices_max:
            self.devices_max = node.gpus
            self.epoch += 1
        number = heapq.heappop(self._free_numbers) if self._free_numbers else len(self.bins)
        capacity = Free(tuple(node.amounts.get(name, 0) for name in self.resources), (DEVICE_MILLI,) * node.gpus)
        bin_ = Bin(number, node, self._kind(node), capacity, 0)
        if number == len(self.bins):
            self.bins.append(None)
        self.bins[number] = self.by_name[node.name] = bin_
        self._changed(bin_)
        self.freed += 1
        self.nodes_seen += 1
        self.queues.grow(node, 1)

    def _leave(self, bin_: Bin) -> None:
        for task in list(bin_.tasks):
            state = self.jobs[task.job]
            if task.number in state.running:  # a gang's eviction below may have taken it
                self.evict(task)
                if 0 < len(state.running) < state.gang():
                    for number in sorted(state.running):
                        self.evict(TaskId(task.job, number))
        del self.by_name[bin_.node.name]
        self.bins[bin_.number] = None
        heapq.heappush(self._free_numbers, bin_.number)
        self._changed(bin_)
        self.nodes_seen += 1
        self.queues.grow(bin_.node, -1)

    def _open(self, bin_: Bin, is_open: bool) -> None:
        old = bin_.node
        bin_.node = Node(old.name, old.amounts, old.gpus, old.labels, old.taints, is_open)
        self._changed(bin_)
        self.freed += 1
        self.nodes_seen += 1

    def _submit(self, job: Job) -> None:
        if job.name in self.jobs:
            raise InputError(f"job {job.name} is there already: withdraw it first, or choose another name")
        self.queues.check(job)
        self._arrivals += 1
        state = JobState(job, self.shape(job.request, job.constraints, job.tolerates), self._arrivals)
        self.jobs[job.name] = self.waiting[job.name] = state
        self.tasks_seen += job.count
        for rule in job.affinity:
            if not rule.near:
                self.averse.setdefault(rule.job, {})[Affinity(job.name, False, rule.key)] = None

    def _withdraw(self, state: JobState) -> None:
        for number in sorted(state.running):
            self._release(TaskId(state.job.name, number))
        self._forget(state.job)

    def _forget(self, job: Job) -> None:
        del self.jobs[job.name]
        self.waiting.pop(job.name, None)
        for rule in job.affinity:
            self.averse.get(rule.job, {}).pop(Affinity(job.name, False, rule.key), None)

    def _end(self, task: TaskId) -> None:
        state = self.job(task.job)
        if task.number not in state.running:
            raise InputError(f"task {task} ended, but does not run")
        self._release(task)
        if not state.running and not state.pending:
            self._forget(state.job)

    # --- decisions carried out ---------------------------------------------------------------------------------------------
    def place(self, task: TaskId, bin_: Bin, devices: Devices, now_s: float) -> None:
        """The task runs there from now on. It was pending, and fits."""
        state = self.jobs[task.job]
        if state.pending[0] == task.number:
            heapq.heappop(state.pending)
        else:
            state.pending.remove(task.number)
            heapq.heapify(state.pending)
        if not state.pending:
            del self.waiting[task.job]
        state.down.pop(task.number, None)
        self._version += 1
        bin_.take(task, state.shape, devices, self._version)
        self._changes.append(bin_.number)
        state.running[task.number] = Running(bin_, devices, now_s)
        self._note_running(state, bin_, 1)
        self.queues.charge(state.job.queue, state.shape, 1)

    def evict(self, task: TaskId, undo: bool = False) -> None:
        """The task is pending again. `undo`: as if it had never run, rather than interrupted."""
        state = self.jobs[task.job]
        self._release(task)
        heapq.heappush(state.pending, task.number)
        self.waiting[task.job] = state
        if not undo:
            state.down[task.number] = None

    def _release(self, task: TaskId) -> None:
        state = self.jobs[task.job]
        running = state.running.pop(task.number)
        running.bin.give(task, state.shape, 0)
        self._note_running(state, running.bin, -1)
        self._changed(running.bin)
        self.freed += 1
        self.queues.charge(state.job.queue, state.shape, -1)

    def _note_running(self, state: JobState, bin_: Bin, sign: int) -> None:
        state.count(bin_, sign)
        if state.job.preemptible:
            self.running_at[state.job.priority] = self.running_at.get(state.job.priority, 0) + sign

    def _changed(self, bin_: Bin) -> None:
        self._version += 1
        bin_.version = self._version
        self._changes.append(bin_.number)
        if len(self._changes) > FLEET_CHANGES_KEPT:
            self._forgotten += len(self._changes)
            self._changes.clear()

    def _kind(self, node: Node) -> int:
        alike = (tuple(sorted(node.amounts.items())), node.gpus, tuple(sorted(node.labels.items())), node.taints)
        return self._kinds.setdefault(alike, len(self._kinds))

    def _index(self, name: str) -> int:
        """The index of a resource; a name that is new becomes one of which no node has any."""
        index = self.resources.get(name)
        if index is None:
            index = self.resources[name] = len(self.resources)
            self.scale.append(1)
            for bin_ in self.present():
                bin_.capacity = Free((*bin_.capacity.amounts, 0), bin_.capacity.devices)
                bin_.free = Free((*bin_.free.amounts, 0), bin_.free.devices)
        return index


def placement_of(running: Running) -> Placement:
    return Placement(running.bin.node.name, running.devices)
