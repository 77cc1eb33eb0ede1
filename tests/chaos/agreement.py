"""Do the nodes of a cluster hold the same state? Asked of each node by itself, once nothing is written any more."""

from __future__ import annotations

from typing import Any

from tests.interop.cluster import Cluster, eventually


def states(cluster: Cluster) -> list[tuple[Any, Any]] | None:
    """(index, digest) of every node, if all tell; None otherwise."""
    found = [node.status() for node in cluster.nodes.values()]
    return [(status["index"], status["digest"]) for status in found] if all(found) else None


def wait_voters(cluster: Cluster) -> None:
    """Until every node votes: one that was repaired follows as a learner until the log has taken it back."""
    eventually(
        "all nodes vote", lambda: all(node.status().get("role") in ("leader", "follower") for node in cluster.nodes.values())
    )


def wait_agreed(cluster: Cluster) -> None:
    """Until all nodes have applied the same operations, with the same rolling digest over entries and results."""

    def agreed() -> bool:
        found = states(cluster)
        return found is not None and len(set(found)) == 1

    eventually(f"all nodes agree: {states(cluster)}", agreed)
    stopped = [status for node in cluster.nodes.values() if (status := node.status()).get("writes_stopped")]
    assert not stopped, f"a node found that it differs: {stopped}"
