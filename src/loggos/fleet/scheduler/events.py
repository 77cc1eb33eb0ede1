"""What happens to a fleet: the only things that change its state besides its own plans."""

from __future__ import annotations

from dataclasses import dataclass

from loggos.fleet.scheduler.values import Job, Node, TaskId


@dataclass(frozen=True, slots=True)
class NodeJoined:
    """A node is new, or back. One of this name that is already there is an InputError."""

    node: Node


@dataclass(frozen=True, slots=True)
class NodeLeft:
    """A node is gone; its tasks are pending again (gangs that fall below their number as a whole)."""

    name: str


@dataclass(frozen=True, slots=True)
class NodeOpened:
    """A node takes new tasks (`open`), or takes none and is to be emptied."""

    name: str
    open: bool


@dataclass(frozen=True, slots=True)
class JobSubmitted:
    """A job waits from now on. A second one of this name is an InputError."""

    job: Job


@dataclass(frozen=True, slots=True)
class JobWithdrawn:
    """A job is no longer wanted: what runs of it stops."""

    name: str


@dataclass(frozen=True, slots=True)
class TaskEnded:
    """A task is done, well or not, and will not run again."""

    task: TaskId


Event = NodeJoined | NodeLeft | NodeOpened | JobSubmitted | JobWithdrawn | TaskEnded
