"""What is decided, and why: the typed decisions of a plan, in the order in which they are carried out.

Every decision carries its reason as data; `str` of it is one sentence for people.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from loggos.fleet.scheduler.values import Placement, TaskId


class RunnerUp(NamedTuple):
    """A place that was possible, and dearer."""

    node: str
    cost: float


@dataclass(frozen=True, slots=True)
class Placed:
    """A task starts. Why here: `score` made it `cost`, the least of all; `runners_up` are the next best nodes."""

    task: TaskId
    placement: Placement
    score: str
    cost: float
    runners_up: tuple[RunnerUp, ...] = ()

    def __str__(self) -> str:
        devices = f" on GPU {','.join(map(str, self.placement.devices))}" if self.placement.devices else ""
        others = "; ".join(f"{other.node} {other.cost:.6g}" for other in self.runners_up)
        tail = f" (next: {others})" if others else ""
        return f"{self.task} starts at {self.placement.node}{devices}: {self.score} {self.cost:.6g}{tail}"


@dataclass(frozen=True, slots=True)
class Evicted:
    """A task stops, and waits again, because a job of higher priority takes its place. `together`: how many had to go for
    that."""

    task: TaskId
    placement: Placement
    for_job: str
    priority: int
    for_priority: int
    together: int

    def __str__(self) -> str:
        who = f"{self.task} (priority {self.priority}) leaves {self.placement.node}"
        return f"{who} for {self.for_job} (priority {self.for_priority}); no fewer than {self.together} would do"


@dataclass(frozen=True, slots=True)
class Moved:
    """A task stops at one node and starts at another. `gain`: by how much that lowers the potential; None: its node is closed."""

    task: TaskId
    origin: Placement
    placement: Placement
    gain: float | None

    def __str__(self) -> str:
        why = "its node takes no tasks" if self.gain is None else f"gains {self.gain:.6g}"
        return f"{self.task} moves from {self.origin.node} to {self.placement.node}: {why}"


@dataclass(frozen=True, slots=True)
class Reserved:
    """What is promised to the first job that does not fit: its next `tasks` tasks start by `start_s` at these nodes, if
    nothing runs longer than its run time says. Nobody of its priority or below may delay that."""

    job: str
    tasks: int
    start_s: float
    nodes: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.job} is promised {', '.join(self.nodes)} by {self.start_s:g} s for {self.tasks} tasks"


class Failure(NamedTuple):
    """A test that nodes fail. `least_short`: how much the nearest of them lacks, where the test is about an amount, and
    `node` which that is; `only`: how many fail nothing but this."""

    test: str
    nodes: int
    only: int
    node: str
    least_short: int | None = None

    def __str__(self) -> str:
        short = f", {self.node} by the least: {self.least_short}" if self.least_short is not None else ""
        return f"{self.test}: {self.nodes} nodes{short}"


@dataclass(frozen=True, slots=True)
class Why:
    """Why something waits. `failures`: most nodes first; a node counts under every test that it fails. `remedy`: what would
    help."""

    summary: str
    nodes: int = 0
    failures: tuple[Failure, ...] = ()
    remedy: str = ""

    def __str__(self) -> str:
        parts = [self.summary, *map(str, self.failures)]
        return "; ".join(parts) + (f". {self.remedy}" if self.remedy else "")


@dataclass(frozen=True, slots=True)
class Pending:
    """So many tasks of a job wait, and why: said in the round in which it begins to wait, None later (ask Scheduler.why_pending)
    and where the policy wants no explanations."""

    job: str
    tasks: int
    why: Why | None

    def __str__(self) -> str:
        return f"{self.job}: {self.tasks} tasks wait{f': {self.why}' if self.why else ''}"


Decision = Placed | Evicted | Moved


@dataclass(frozen=True, slots=True)
class Plan:
    """One round's outcome: decisions in order, what is promised, and what waits."""

    decisions: tuple[Decision, ...]
    pending: tuple[Pending, ...] = ()
    reserved: Reserved | None = None

    @property
    def placed(self) -> tuple[Placed, ...]:
        return tuple(decision for decision in self.decisions if isinstance(decision, Placed))

    @property
    def evicted(self) -> tuple[Evicted, ...]:
        return tuple(decision for decision in self.decisions if isinstance(decision, Evicted))

    @property
    def moved(self) -> tuple[Moved, ...]:
        return tuple(decision for decision in self.decisions if isinstance(decision, Moved))
