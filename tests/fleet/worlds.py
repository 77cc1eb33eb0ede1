"""Small fleets for tests, and a second bookkeeper: it follows plans by the rules alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hypothesis import strategies as st

from loggos.fleet.scheduler import events
from loggos.fleet.scheduler.plan import Evicted, Moved, Placed, Plan
from loggos.fleet.scheduler.values import Affinity, Constraint, Job, Match, Node, Placement, Queue, Request, Spread, TaskId

ZONES = ("a", "b", "c")


def node(name: str, cpu: int = 8, memory: int = 16, gpus: int = 0, **labels: str) -> Node:
    return Node(name, {"cpu": cpu, "memory": memory}, gpus, labels)


def job(name: str, cpu: int = 1, memory: int = 1, count: int = 1, gpus: int = 0, gpu_milli: int = 1_000, **more: object) -> Job:
    request = Request({"cpu": cpu, "memory": memory}, gpus, gpu_milli)
    return Job(name, request, count, **more)  # type: ignore[arg-type]


class Ledger:
    """What runs where, by events and decisions. Each method checks what must hold after every single one of them."""

    def __init__(self, queues: Sequence[Queue] = ()) -> None:
        self.nodes: dict[str, Node] = {}
        self.jobs: dict[str, Job] = {}
        self.running: dict[TaskId, Placement] = {}
        self.ended: dict[TaskId, None] = {}
        self.queues = {queue.name: queue for queue in queues}

    def happen(self, event: events.Event) -> None:
        match event:
            case events.NodeJoined():
                self.nodes[event.node.name] = event.node
            case events.NodeLeft():
                del self.nodes[event.name]
                lost = [task for task, placement in self.running.items() if placement.node == event.name]
                gangs = {task.job: None for task in lost if self.jobs[task.job].gang}
                for task in lost:
                    del self.running[task]
                for name in gangs:
                    if len(self.running_of(name)) < self.gang_of(name):
                        for task in self.running_of(name):
                            del self.running[task]
            case events.NodeOpened():
                old = self.nodes[event.name]
                self.nodes[event.name] = Node(old.name, old.amounts, old.gpus, old.labels, old.taints, event.open)
            case events.JobSubmitted():
                self.jobs[event.job.name] = event.job
            case events.JobWithdrawn():
                for task in self.running_of(event.name):
                    del self.running[task]
                del self.jobs[event.name]
            case events.TaskEnded():
                del self.running[event.task]
                self.ended[event.task] = None

    def running_of(self, name: str) -> list[TaskId]:
        return [task for task in self.running if task.job == name]

    def gang_of(self, name: str) -> int:
        ended = sum(task.job == name for task in self.ended)
        return min(self.jobs[name].gang, self.jobs[name].count - ended)

    def follow(self, plan: Plan) -> None:
        """Carry out the plan. AssertionError: something in it breaks a rule."""
        for decision in plan.decisions:
            match decision:
                case Placed():
                    self._start(decision.task, decision.placement)
                case Evicted():
                    assert self.running.pop(decision.task) == decision.placement
                    victim, winner = self.jobs[decision.task.job], self.jobs[decision.for_job]
                    assert victim.priority < winner.priority and victim.preemptible
                case Moved():
                    assert self.running.pop(decision.task) == decision.origin
                    self._start(decision.task, decision.placement)
        for name in self.jobs:
            count = len(self.running_of(name))
            assert count == 0 or count >= self.gang_of(name), f"the gang of {name} is partial"

    def _start(self, task: TaskId, placement: Placement) -> None:
        wanted, place = self.jobs[task.job], self.nodes[placement.node]
        assert task not in self.running and task not in self.ended and 0 <= task.number < wanted.count
        assert place.open and all(taint in wanted.tolerates for taint in place.taints)
        assert all(constraint.holds(place.labels) for constraint in wanted.constraints)
        self._topology(task, placement)
        self.running[task] = placement
        assert len(placement.devices) == len(set(placement.devices)) == wanted.request.gpus
        self.check_node(place)
        self.check_limits()

    def _topology(self, task: TaskId, placement: Placement) -> None:
        wanted = self.jobs[task.job]
        for rule in [*wanted.affinity, *(rule for other in self.jobs.values() for rule in turned(other, wanted))]:
            here = self.domain(placement.node, rule.key)
            there = [self.domain(self.running[other].node, rule.key) for other in self.running_of(rule.job)]
            if rule.near:
                alone = rule.job == task.job and not there
                assert here is not None and (here in there or alone)
            else:
                assert here is None or here not in there
        for spread in wanted.spread:
            usable = [
                self.domain(name, spread.key)
                for name, place in self.nodes.items()
                if place.open
                and all(taint in wanted.tolerates for taint in place.taints)
                and all(constraint.holds(place.labels) for constraint in wanted.constraints)
            ]
            there = [self.domain(self.running[other].node, spread.key) for other in self.running_of(task.job)]
            fewest = min(there.count(name) for name in usable if name is not None)
            here = self.domain(placement.node, spread.key)
            assert here is not None and there.count(here) + 1 - fewest <= spread.skew

    def domain(self, name: str, key: str) -> str | None:
        return self.nodes[name].labels.get(key) if key else name

    def check_node(self, place: Node) -> None:
        """Nothing on the node is used twice."""
        used: dict[str, int] = {}
        devices = [0] * place.gpus
        for task, placement in self.running.items():
            if placement.node == place.name:
                request = self.jobs[task.job].request
                for name, amount in request.amounts.items():
                    used[name] = used.get(name, 0) + amount
                for number in placement.devices:
                    assert devices[number] == 0 or request.gpu_milli < 1_000
                    devices[number] += request.gpu_milli
        assert all(amount <= place.amounts.get(name, 0) for name, amount in used.items()), f"{place.name} is over its capacity"
        assert all(milli <= 1_000 for milli in devices), f"a device of {place.name} is over its capacity"

    def check_limits(self) -> None:
        for queue in self.queues.values():
            below = [other.name for other in self.queues.values() if queue.name in self.line(other.name)]
            mine = [self.jobs[task.job].request.totals() for task in self.running if self.jobs[task.job].queue in below]
            for name, limit in queue.limit.items():
                used = sum(totals.get(name, 0) for totals in mine)
                assert used <= limit, f"queue {queue.name} is over its limit of {name}"

    def line(self, name: str) -> list[str]:
        parent = self.queues[name].parent
        return [name, *(self.line(parent) if parent else [])]


def turned(other: Job, wanted: Job) -> list[Affinity]:
    """What another job's wish to be far from this one asks of this one."""
    return [Affinity(other.name, False, rule.key) for rule in other.affinity if rule.job == wanted.name and not rule.near]


# --- strategies ------------------------------------------------------------------------------------------------------------
def a_node(number: int, cpu: int, memory: int, gpus: int, zone: str, plain: int) -> Node:
    return Node(f"n{number}", {"cpu": cpu, "memory": memory}, gpus, {"zone": zone} if zone else {}, () if plain else ("odd",))


amounts = st.integers(2, 10)
nodes = st.builds(
    a_node, st.integers(0, 5), amounts, amounts, st.integers(0, 3), st.sampled_from(("", *ZONES)), st.integers(0, 4)
)
shares = st.sampled_from((200, 300, 500, 700, 1_000))
requests = st.one_of(
    st.builds(lambda cpu, memory: Request({"cpu": cpu, "memory": memory}), st.integers(0, 4), st.integers(0, 4)),
    st.builds(lambda cpu, milli: Request({"cpu": cpu}, 1, milli), st.integers(0, 3), shares),
    st.builds(lambda gpus: Request({"cpu": 1}, gpus), st.integers(1, 3)),
)


@st.composite
def jobs(draw: st.DrawFn, queues: Sequence[str] = ("default",), plain: bool = False) -> Job:
    """Any job; `plain`: without gangs, topology and budgets."""
    name = f"j{draw(st.integers(0, 11))}"
    count, priority = draw(st.integers(1, 5)), draw(st.integers(0, 3))
    common: dict[str, Any] = {"queue": draw(st.sampled_from(queues)), "priority": priority}
    common["preemptible"] = draw(st.integers(0, 4)) > 0
    if plain:
        return Job(name, draw(requests), count, **common)
    zone = Constraint("zone", draw(st.sampled_from((Match.IS, Match.IS_NOT))), (draw(st.sampled_from(ZONES)),))
    rules = [Affinity(f"j{draw(st.integers(0, 11))}", draw(st.booleans()), draw(st.sampled_from(("", "zone"))))]
    return Job(
        name, draw(requests), count, **common,
        gang=draw(st.sampled_from((0, 0, count, max(1, count - 1)))),
        constraints=(zone,) if draw(st.integers(0, 3)) == 0 else (),
        tolerates=("odd",) if draw(st.integers(0, 3)) else (),
        affinity=tuple(rules) if draw(st.integers(0, 3)) == 0 else (),
        spread=(Spread(draw(st.sampled_from(("", "zone"))), draw(st.integers(1, 2))),) if draw(st.integers(0, 3)) == 0 else (),
        runtime_s=draw(st.sampled_from((None, 5.0, 20.0))),
        disruptions=draw(st.sampled_from((None, None, 0, 1, 2))),
    )  # fmt: skip
