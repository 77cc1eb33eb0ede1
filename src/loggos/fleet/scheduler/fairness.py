"""Queues: who is served next. Weighted dominant-resource fairness in a tree of queues with quotas.

A queue's dominant share is the largest part of any one resource that it uses; the queue with the smallest share over its
weight is served next, one task at a time (progressive filling). Below a queue's guarantee it goes before all that have
theirs; its limit is never passed. In a tree, the same choice is made among siblings from the root down, and quotas count all
that is used below them.

Rules: equal shares are served in the order of the queues. A share is one division of whole numbers, so equal shares compare
equal. Source: Ghodsi et al., "Dominant Resource Fairness", NSDI 2011, section 4 and algorithm 1; 4.3 for weights.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from loggos.base.errors import ConfigError, InputError
from loggos.fleet.scheduler.shapes import Shape
from loggos.fleet.scheduler.values import GPU, Job, Node, Queue


class Share:
    """A queue in the tree, and what is used by it and all below it."""

    __slots__ = ("below", "order", "parent", "queue", "used")

    def __init__(self, queue: Queue, order: int, parent: Share | None) -> None:
        self.queue = queue
        self.order = order
        self.parent = parent
        self.below: list[Share] = []
        self.used: dict[str, int] = {}

    def dominant(self, capacity: Mapping[str, int]) -> float:
        """Its dominant share over its weight; of a resource that no node has, any use is all of it."""
        weight = self.queue.weight
        return max((used / (max(1, capacity.get(name, 0)) * weight) for name, used in self.used.items()), default=0.0)

    def within(self, quota: Mapping[str, int], shape: Shape, times: int) -> bool:
        """Whether it would keep to the quota with so many tasks of this shape more. Resources without a quota do not count."""
        more = dict(shape.totals)
        return all(self.used.get(name, 0) + times * more.get(name, 0) <= amount for name, amount in quota.items())


class QueueTree:
    """All queues. A tree without any has one, "default"."""

    def __init__(self, queues: Sequence[Queue]) -> None:
        self.capacity: dict[str, int] = {}
        self.shares: dict[str, Share] = {}
        self.tops: list[Share] = []
        for queue in queues or (Queue("default"),):
            if queue.name in self.shares:
                raise ConfigError(f"queue {queue.name} is there twice: give each its own name")
            if queue.parent is not None and queue.parent not in self.shares:
                raise ConfigError(f"queue {queue.name}: no parent {queue.parent} above it; list parents before their children")
            parent = self.shares[queue.parent] if queue.parent is not None else None
            share = self.shares[queue.name] = Share(queue, len(self.shares), parent)
            (parent.below if parent else self.tops).append(share)

    def check(self, job: Job) -> None:
        """InputError: its queue is none, or has queues below it (only the lowest hold jobs)."""
        share = self.shares.get(job.queue)
        if share is None:
            raise InputError(f"job {job.name}: no queue {job.queue}; there are {', '.join(self.shares)}")
        if share.below:
            raise InputError(
                f"job {job.name}: queue {job.queue} holds queues, not jobs: use {share.below[0].queue.name} or another"
            )

    def grow(self, node: Node, sign: int) -> None:
        """A node more (`sign` 1) or less (-1)."""
        for name, amount in [*node.amounts.items(), (GPU, node.gpus * 1_000)]:
            self.capacity[name] = self.capacity.get(name, 0) + sign * amount

    def charge(self, queue: str, shape: Shape, sign: int) -> None:
        """A task of this shape runs (`sign` 1) or stops (-1) for the queue."""
        for share in self.line(queue):
            for name, amount in shape.totals:
                share.used[name] = share.used.get(name, 0) + sign * amount
                assert share.used[name] >= 0

    def line(self, queue: str) -> list[Share]:
        """The queue and those above it, from below."""
        line = []
        at: Share | None = self.shares[queue]
        while at is not None:
            line.append(at)
            at = at.parent
        return line

    @staticmethod
    def owed(share: Share, shape: Shape, times: int) -> bool:
        """Whether so many tasks more are within the queue's guarantee; tasks that use nothing of it are not guaranteed
        anything."""
        quota = share.queue.guaranteed
        return any(name in quota for name, _ in shape.totals) and share.within(quota, shape, times)

    def over_limit(self, queue: str, shape: Shape, times: int) -> Share | None:
        """The first queue from below whose limit so many tasks more would pass."""
        return next((share for share in self.line(queue) if not share.within(share.queue.limit, shape, times)), None)

    def guaranteed(self, queue: str, shape: Shape, times: int = 1) -> bool:
        """Whether so many tasks more (or fewer, below 0) stay within a guarantee of the queue or of one above it."""
        return any(self.owed(share, shape, times) for share in self.line(queue))

    def next(self, heads: Mapping[str, Shape]) -> str:
        """The queue to serve next among those with a head, given their heads' shapes."""
        assert heads, "ask only when somebody waits"
        if len(heads) == 1:
            return next(iter(heads))
        reach: dict[str, list[Shape]] = {}
        for name, shape in heads.items():
            for share in self.line(name):
                reach.setdefault(share.queue.name, []).append(shape)
        level: Collection[Share] = self.tops
        while True:
            chosen = min((share for share in level if share.queue.name in reach), key=lambda share: self._key(share, reach))
            if not chosen.below:
                return chosen.queue.name
            level = chosen.below

    def _key(self, share: Share, reach: Mapping[str, Sequence[Shape]]) -> tuple[bool, float, int]:
        owed = any(self.owed(share, shape, 1) for shape in reach[share.queue.name])
        return not owed, share.dominant(self.capacity), share.order
