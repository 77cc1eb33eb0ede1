"""Shapes: what a task demands of a single node. Tasks of one shape are alike to every node, so they share a list of candidates.

A shape knows its amounts by index (a fleet numbers the names of resources), and which nodes it may use at all. What a job demands
of other tasks' places (affinity, spread) is not in it: topology.py.
"""

from __future__ import annotations

from dataclasses import dataclass

from loggos.fleet.scheduler.values import DEVICE_MILLI, Constraint, Node


@dataclass(frozen=True, slots=True)
class Shape:
    """`needs`: (index of a resource, amount above 0), by index. `totals`: the same by name, GPUs under "gpu_milli"."""

    needs: tuple[tuple[int, int], ...]
    gpus: int
    gpu_milli: int
    constraints: tuple[Constraint, ...]
    tolerates: tuple[str, ...]
    totals: tuple[tuple[str, int], ...]
    number: int  # in its fleet, from 0

    @property
    def shares_device(self) -> bool:
        return self.gpus == 1 and self.gpu_milli < DEVICE_MILLI

    def may_use(self, node: Node) -> bool:
        """Whether the node's labels, taints and openness let such a task in, whatever is free there."""
        return (
            node.open
            and all(taint in self.tolerates for taint in node.taints)
            and all(constraint.holds(node.labels) for constraint in self.constraints)
        )
