"""A follower that the leader does not hear: told so by heartbeats, it counts as leaderless for its services and leaves the cell
in peace."""

from __future__ import annotations

from loggos.base.ids import Incarnation, NodeId, Slot, make_ballot
from loggos.base.limits import ELECTION_TIMEOUT_MS, HEARTBEAT_MS, UNHEARD_GRACE_MS
from loggos.consensus.types import Heartbeat, PreVote, Role
from tests.consensus.harness import Node, World
from tests.consensus.test_scenarios import drain, lone

LIFE = Incarnation(1)
BALLOT = make_ballot(2, NodeId(2))


def cut_to_leader(world: World) -> tuple[Node, Node]:
    """A leader, and a follower of which nothing reaches it."""
    leader = world.elect()
    victim = next(node for node in world.nodes.values() if node is not leader)
    world.run(200)
    assert victim.engine.status().heard and victim.engine.status().leader == leader.node
    world.cut[(victim.node, leader.node)] = True
    return leader, victim


def test_it_learns_that_it_is_not_heard_and_stands_for_nothing() -> None:
    world = World(seed=3)
    leader, victim = cut_to_leader(world)
    ballot = leader.engine.status().ballot
    other = next(node for node in world.nodes.values() if node not in (leader, victim))
    world.run(ELECTION_TIMEOUT_MS - 2 * HEARTBEAT_MS)
    assert victim.engine.status().heard, "an election timeout has not passed"
    world.run(3 * HEARTBEAT_MS + UNHEARD_GRACE_MS + HEARTBEAT_MS)
    assert not victim.engine.status().heard and other.engine.status().heard and leader.engine.status().heard
    victim.sent.clear()
    world.run(5_000)
    status = victim.engine.status()
    assert (status.role, status.leader, status.ballot, status.heard) == (Role.FOLLOWER, leader.node, ballot, False)
    assert not any(isinstance(message, PreVote) for _, message in victim.sent)
    assert leader.engine.status().settled and leader.engine.status().ballot == ballot


def test_it_still_follows_the_log_and_is_heard_again_once_the_way_is_open() -> None:
    world = World(seed=4)
    leader, victim = cut_to_leader(world)
    world.run(1_000)
    assert not victim.engine.status().heard
    assert world.propose(leader, b"meanwhile")
    world.run(200)
    assert victim.state == [b"meanwhile"]
    world.cut.clear()
    world.run(3 * HEARTBEAT_MS)
    assert victim.engine.status().heard and victim.engine.status().leader == leader.node


def test_its_votes_count_if_they_arrive() -> None:
    """The leader is told to distrust what it hears of it: nothing in how votes are counted asks."""
    world = World(seed=5)
    leader, victim = cut_to_leader(world)
    world.run(1_000)
    other = next(node for node in world.nodes.values() if node not in (leader, victim))
    world.isolate(other.node)
    world.cut[(victim.node, leader.node)] = False
    assert not victim.engine.status().heard
    assert world.propose(leader, b"two of three")
    world.flush()
    assert leader.state == [b"two of three"]


def test_barriers_that_it_asked_for_are_refused_at_once() -> None:
    world = World(seed=6)
    _, victim = cut_to_leader(world)
    context = world.ask_read(victim)
    world.run(ELECTION_TIMEOUT_MS + UNHEARD_GRACE_MS + 3 * HEARTBEAT_MS)
    assert victim.reads == [(context, Slot(-1))]


def test_one_word_after_a_pause_is_not_believed() -> None:
    """A follower that stood still is told so too, by heartbeats older than its answers."""
    follower = lone(node=3)
    follower.tick(1_000)
    for heard in (True, False, False, False):
        follower.step(NodeId(2), LIFE, Heartbeat(BALLOT, Slot(0), 0, heard))
    assert follower.status().heard
    follower.tick(1_050)
    follower.step(NodeId(2), LIFE, Heartbeat(BALLOT, Slot(0), 0, True))
    follower.tick(1_000 + UNHEARD_GRACE_MS)
    follower.step(NodeId(2), LIFE, Heartbeat(BALLOT, Slot(0), 0, False))
    assert follower.status().heard, "it was heard in between"


def test_the_news_reaches_the_driver_and_ends_with_the_leader() -> None:
    follower = lone(node=3)
    for now_ms in (1_000, 1_000 + UNHEARD_GRACE_MS):
        follower.tick(now_ms)
        follower.step(NodeId(2), LIFE, Heartbeat(BALLOT, Slot(0), 0, False))
    assert [ready.status.heard for ready in drain(follower) if ready.status is not None][-1] is False
    follower.peer_lost(NodeId(2))
    told = [ready.status for ready in drain(follower) if ready.status is not None][-1]
    assert (told.leader, told.heard) == (0, True)
