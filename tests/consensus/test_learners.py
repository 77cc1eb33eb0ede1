"""Who learns is each node's configuration: a snapshot, which may be older, takes no learner away."""

from __future__ import annotations

from loggos.base.ids import Ballot, Incarnation, NodeId, Slot
from loggos.consensus.core import Bounds
from loggos.consensus.engine import Paxos
from loggos.consensus.types import Member, Membership
from tests.consensus.harness import World

VOTERS = {NodeId(node): Member(Incarnation(1), Slot(1)) for node in (1, 2, 3)}


def test_a_node_keeps_its_learners_over_a_snapshot_that_does_not_know_them() -> None:
    world = World(seed=2, learners=[4], engine=Paxos, bounds=Bounds())
    engine = world.nodes[NodeId(1)].engine
    engine.snapshot_installed(Slot(9), Membership(VOTERS, {NodeId(5): Incarnation(0)}), Ballot(0))
    assert dict(engine.membership.voters) == VOTERS
    assert sorted(engine.membership.learners) == [4, 5] and engine.followers == [2, 3, 4, 5]
    assert engine.applied_state().membership == engine.membership, "the next snapshot knows them"


def test_a_voter_never_becomes_a_learner() -> None:
    membership = Membership(VOTERS, {}).with_learners({NodeId(3): Incarnation(0), NodeId(4): Incarnation(0)})
    assert list(membership.learners) == [4] and membership.quorum == 2
