"""What people write down about a fleet: nodes, requests, jobs and queues. Frozen values that are checked once, when made.

Rules:
- Amounts are whole numbers in the smallest unit (cpu_milli, memory_mib, gpu_milli): sums are exact, and so are plans.
- A node's GPUs are devices of 1,000 milli each. A request takes whole devices, or a part of one.
- "gpu_milli" is also the name under which GPUs count in quotas and shares, summed over devices.
- A value that cannot mean anything raises InputError with its owner's name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Final, NamedTuple

from loggos.base.errors import InputError
from loggos.base.limits import FLEET_DEVICES_PER_NODE_MAX, FLEET_TASKS_PER_JOB_MAX

GPU: Final = "gpu_milli"
DEVICE_MILLI: Final = 1_000  # one whole GPU


class TaskId(NamedTuple):
    """One task of a job: the job's name and the task's number from 0."""

    job: str
    number: int

    def __str__(self) -> str:
        return f"{self.job}/{self.number}"


class Placement(NamedTuple):
    """Where a task runs: the node, and which of its devices."""

    node: str
    devices: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Request:
    """What one task takes. `amounts`: resource name → amount ≥ 0. `gpus` devices with `gpu_milli` of each: a part (under 1,000)
    of one device, or whole ones."""

    amounts: Mapping[str, int] = field(default_factory=dict)
    gpus: int = 0
    gpu_milli: int = DEVICE_MILLI

    def __post_init__(self) -> None:
        check_amounts("a request", self.amounts)
        if self.gpus < 0 or not 0 < self.gpu_milli <= DEVICE_MILLI:
            raise InputError(f"{self.gpus} GPUs of {self.gpu_milli} milli are asked for: it is 0 or more, of 1 to 1,000 milli")
        if self.gpus > 1 and self.gpu_milli < DEVICE_MILLI:
            raise InputError(
                f"{self.gpu_milli} milli of {self.gpus} GPUs are asked for: only one device is shared; ask for whole ones"
            )

    def totals(self) -> dict[str, int]:
        """All that it takes, with its GPUs under "gpu_milli"; amounts of zero are left out."""
        totals = {name: amount for name, amount in sorted(self.amounts.items()) if amount}
        if self.gpus:
            totals[GPU] = self.gpus * self.gpu_milli
        return totals


def check_amounts(owner: str, amounts: Mapping[str, int]) -> None:
    """InputError for an amount below zero, and for "gpu_milli", which is counted by device."""
    for name, amount in amounts.items():
        if amount < 0:
            raise InputError(f"{owner}: {amount} of {name}; an amount is 0 or more")
        if name == GPU:
            raise InputError(f"{owner}: {GPU} among the amounts; GPUs are counted by device: use `gpus`")


@dataclass(frozen=True, slots=True)
class Node:
    """A machine. `gpus`: its devices. `taints`: names that a job must tolerate to run here. A node that is not `open` takes no
    new task; rebalancing empties it."""

    name: str
    amounts: Mapping[str, int]
    gpus: int = 0
    labels: Mapping[str, str] = field(default_factory=dict)
    taints: tuple[str, ...] = ()
    open: bool = True

    def __post_init__(self) -> None:
        check_amounts(f"node {self.name}", self.amounts)
        if not 0 <= self.gpus <= FLEET_DEVICES_PER_NODE_MAX:
            raise InputError(f"node {self.name}: {self.gpus} GPUs; 0 to {FLEET_DEVICES_PER_NODE_MAX} are possible")


class Match(Enum):
    """How a constraint looks at a label."""

    IS = "="
    IS_NOT = "!="
    ONE_OF = "in"
    EXISTS = "exists"
    AT_LEAST = ">="
    AT_MOST = "<="


@dataclass(frozen=True, slots=True)
class Constraint:
    """What a node's label must be. IS_NOT also holds where the label is missing; the numeric tests fail where it is no number."""

    label: str
    test: Match
    values: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        wanted = {Match.EXISTS: 0, Match.ONE_OF: max(1, len(self.values))}.get(self.test, 1)
        if len(self.values) != wanted:
            raise InputError(f"constraint {self}: {self.test.value} takes {wanted} values, not {len(self.values)}")
        if self.test in (Match.AT_LEAST, Match.AT_MOST) and as_number(self.values[0]) is None:
            raise InputError(f"constraint {self}: {self.values[0]!r} is no number")

    def holds(self, labels: Mapping[str, str]) -> bool:
        value = labels.get(self.label)
        if self.test is Match.EXISTS:
            return value is not None
        if self.test is Match.IS_NOT:
            return value != self.values[0]
        if value is None:
            return False
        if self.test in (Match.IS, Match.ONE_OF):
            return value in self.values
        number, bound = as_number(value), as_number(self.values[0])
        assert bound is not None, "checked when made"
        return number is not None and (number >= bound if self.test is Match.AT_LEAST else number <= bound)

    def __str__(self) -> str:
        return " ".join([self.label, self.test.value, *([",".join(self.values)] if self.values else [])])


def as_number(text: str) -> float | None:
    """The number that a label says, or None ("nan" is none)."""
    try:
        number = float(text)
    except ValueError:
        return None
    return number if number == number else None


@dataclass(frozen=True, slots=True)
class Affinity:
    """Near or far from a job's tasks: in (`near`) or not in a domain that already holds one. A domain is the nodes with the same
    value of the label `key`; "" makes each node its own. The first task of a job that wants to be near itself goes anywhere."""

    job: str
    near: bool
    key: str = ""


@dataclass(frozen=True, slots=True)
class Spread:
    """The job's tasks over the domains of `key`: no domain that the job may use has `skew` more than the emptiest, or less."""

    key: str
    skew: int = 1

    def __post_init__(self) -> None:
        if self.skew < 1:
            raise InputError(f"spread over {self.key!r} with skew {self.skew}: it is 1 or more")


@dataclass(frozen=True, slots=True)
class Job:
    """`count` equal tasks. Higher `priority` first. `gang` > 0: no task runs unless that many do, and they are evicted together.
    `runtime_s`: how long a task takes at the most, if known: what backfilling needs. `disruptions`: how many of its tasks may be
    down at once because of us (None: any number); a gang goes whole, so 0 forbids it and anything else allows it."""

    name: str
    request: Request
    count: int = 1
    queue: str = "default"
    priority: int = 0
    gang: int = 0
    constraints: tuple[Constraint, ...] = ()
    tolerates: tuple[str, ...] = ()
    affinity: tuple[Affinity, ...] = ()
    spread: tuple[Spread, ...] = ()
    runtime_s: float | None = None
    preemptible: bool = True
    disruptions: int | None = None

    def __post_init__(self) -> None:
        if not 1 <= self.count <= FLEET_TASKS_PER_JOB_MAX:
            raise InputError(f"job {self.name}: {self.count} tasks; 1 to {FLEET_TASKS_PER_JOB_MAX:,} are possible")
        if not 0 <= self.gang <= self.count:
            raise InputError(f"job {self.name}: a gang of {self.gang} among {self.count} tasks; 0 to {self.count} are possible")
        if self.runtime_s is not None and not 0 < self.runtime_s < float("inf"):
            raise InputError(f"job {self.name}: a run time of {self.runtime_s} s; give more than 0, or nothing if unknown")
        if self.disruptions is not None and self.disruptions < 0:
            raise InputError(f"job {self.name}: {self.disruptions} disruptions; 0 or more are possible")

    def tasks(self) -> list[TaskId]:
        return [TaskId(self.name, number) for number in range(self.count)]


@dataclass(frozen=True, slots=True)
class Queue:
    """Who shares. `weight`: its share relative to its siblings. `guaranteed` is served first, and never preempted by others;
    `limit` is never passed. `parent`: the queue it is a part of, whose quotas hold for all below it together."""

    name: str
    weight: int = 1
    guaranteed: Mapping[str, int] = field(default_factory=dict)
    limit: Mapping[str, int] = field(default_factory=dict)
    parent: str | None = None

    def __post_init__(self) -> None:
        if self.weight < 1:
            raise InputError(f"queue {self.name}: weight {self.weight}; it is 1 or more")
        for name, amount in [*self.guaranteed.items(), *self.limit.items()]:
            if amount < 0:
                raise InputError(f"queue {self.name}: {amount} of {name}; a quota is 0 or more")
        for name, amount in self.guaranteed.items():
            if amount > self.limit.get(name, amount):
                raise InputError(f"queue {self.name}: {amount} of {name} guaranteed, but limited to {self.limit[name]}")
