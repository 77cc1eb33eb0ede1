"""Where two voters are a quorum, a follower and its leader are one: it knows what is chosen when both disks have it, two ways
after it was asked for and not four."""

from __future__ import annotations

import pytest

from loggos.base.ids import Incarnation, NodeId, Slot
from loggos.base.limits import HEARTBEAT_MS
from loggos.consensus.core import Bounds
from loggos.consensus.types import Accept, Accepted, Kind
from tests.consensus import planted
from tests.consensus.harness import BrokenRule, Node, World


def settled(voters: tuple[int, ...] = (1, 2, 3), **more: object) -> tuple[World, Node, list[Node]]:
    """A settled leader, and its followers, who have all learned everything; what was sent is forgotten."""
    world = World(seed=1, voters=voters, **more)  # type: ignore[arg-type]
    leader = world.elect()
    world.run(200)
    followers = [node for node in world.nodes.values() if node is not leader]
    assert all(node.slot == leader.slot for node in followers)
    leader.sent.clear()
    return world, leader, followers


def deliver(world: World, sender: Node, to: Node) -> None:
    """What is on its way from one to the other, and nothing else."""
    packets = [packet for packet in world.network if (packet.sender, packet.to) == (sender.node, to.node)]
    world.network = [packet for packet in world.network if packet not in packets]
    for packet in packets:
        world.deliver(packet)


def told_votes(leader: Node, to: Node) -> list[Accepted]:
    return [message for receiver, message in leader.sent if receiver == to.node and isinstance(message, Accepted)]


def news(leader: Node, to: Node) -> list[Accept]:
    return [m for receiver, m in leader.sent if receiver == to.node and isinstance(m, Accept) and not m.entries]


def test_a_follower_applies_before_its_leader_has_heard_of_its_vote() -> None:
    world, leader, (one, other) = settled()
    assert world.propose(leader, b"x")
    deliver(world, leader, one)
    assert one.state == [b"x"] and leader.state == other.state == []
    deliver(world, one, leader)
    assert leader.state == [b"x"] and news(leader, one) == [], "it knows already"


def test_it_waits_for_its_own_disk() -> None:
    world, leader, (one, _) = settled()
    world.held[one.node] = True
    assert world.propose(leader, b"x")
    deliver(world, leader, one)
    assert one.state == []
    one.persist()
    one.pump()
    assert one.state == [b"x"]


def test_it_waits_for_its_leaders_disk() -> None:
    world, leader, (one, _) = settled()
    world.held[leader.node] = True
    assert world.propose(leader, b"x")
    deliver(world, leader, one)
    assert one.state == [] and told_votes(leader, one) == []
    leader.persist()
    deliver(world, leader, one)
    assert one.state == [b"x"]


def test_a_leader_with_a_slow_disk_tells_what_the_others_chose() -> None:
    world, leader, followers = settled()
    world.held[leader.node] = True
    assert world.propose(leader, b"x")
    world.flush()
    assert leader.state == [b"x"] and all(node.state == [b"x"] for node in followers)
    assert all(len(news(leader, node)) == 1 for node in followers)


def test_a_follower_with_a_slow_disk_is_told_what_the_others_chose() -> None:
    world, leader, (slow, quick) = settled()
    world.held[slow.node] = True
    assert world.propose(leader, b"x")
    world.flush()
    assert leader.state == slow.state == quick.state == [b"x"], "applying does not wait for the disk"
    assert len(news(leader, slow)) == 1


def test_a_vote_of_another_term_is_none() -> None:
    """An old leader's disk has the slot; whether the new one's has it is another question."""
    world, old, (one, other) = settled()
    world.cut[old.node, other.node] = True
    assert world.propose(old, b"x")
    [_, vote] = [packet for packet in world.network if packet.to == one.node]
    assert isinstance(vote.message, Accepted)
    world.network.clear()
    world.deliver(vote)  # the entries were lost
    world.crash(old.node)
    world.held[other.node] = world.held[one.node] = True
    for _ in range(200):
        world.tick()
        for node in (one, other):
            if (lead := node.engine.lead) is not None and lead.next > vote.message.last:
                follower = other if node is one else one
                deliver(world, node, follower)
                follower.persist()
                follower.pump()
                assert follower.engine.log.get(vote.message.last) is not None, "it accepted the new leader's entry"
                assert follower.slot < vote.message.last, "but the new leader's disk has not said so"
                return
            node.persist()
            node.pump()
        world.network = [packet for packet in world.network if not isinstance(packet.message, Accept)] or world.network
        for sender, to in ((one, other), (other, one)):
            deliver(world, sender, to)
    raise AssertionError("nobody proposed")


def test_what_came_after_a_lost_vote_is_not_taken_for_it() -> None:
    world, leader, (one, _) = settled()
    assert world.propose(leader, b"x")
    world.network = [p for p in world.network if p.to != one.node or not isinstance(p.message, Accepted)]
    assert world.propose(leader, b"y")
    deliver(world, leader, one)
    world.flush()
    assert one.state == []
    world.run(HEARTBEAT_MS)
    assert one.state == [b"x", b"y"], "as any lost news it comes with the next heartbeat"


def test_an_older_life_of_the_leader_does_not_count() -> None:
    world, leader, (one, _) = settled()
    assert world.propose(leader, b"x")
    for packet in [packet for packet in world.network if packet.to == one.node]:
        packet.incarnation = Incarnation(9)
        world.deliver(packet)
    assert one.engine.log.last == leader.engine.log.last and one.state == []


def test_a_voter_that_lost_its_state_does_not_count_itself() -> None:
    world, leader, (lost, _) = settled()
    world.crash(lost.node)
    world.wipe(lost.node, 77)
    world.held[leader.node] = True  # no Rejoin is chosen meanwhile
    world.nodes[lost.node].pump()
    fresh = world.nodes[lost.node]
    before = fresh.slot
    assert fresh.engine.leader in (leader.node, 0)
    ballot = leader.engine.status().ballot
    entry = leader.engine.log.get(1)
    assert entry is not None
    for message in (Accept(ballot, (entry._replace(ballot=ballot),), Slot(0)), Accepted(ballot, Slot(1), Slot(1), Slot(0))):
        fresh.engine.step(leader.node, leader.disk.incarnation, message)
    fresh.pump()
    assert fresh.slot == before and fresh.engine.log.chosen == 0


@pytest.mark.parametrize(("voters", "quorum"), [((1, 2, 3, 4), 3), ((1, 2, 3, 4, 5), 3)])
def test_where_it_takes_more_than_two_nobody_is_told(voters: tuple[int, ...], quorum: int) -> None:
    world, leader, followers = settled(voters)
    assert leader.engine.quorum == quorum
    assert world.propose(leader, b"x")
    deliver(world, leader, followers[0])
    assert followers[0].state == [] and told_votes(leader, followers[0]) == []
    world.flush()
    assert all(node.state == [b"x"] for node in world.nodes.values())


def test_learners_and_unattended_followers_are_told_of_choices_only() -> None:
    world, leader, nodes = settled(learners=[4])
    learner = world.nodes[NodeId(4)]
    [idle, busy] = [node for node in nodes if node is not learner]
    idle.engine.attend(False)
    world.run(200)
    leader.sent.clear()
    assert world.propose(leader, b"x")
    assert (len(told_votes(leader, idle)), len(told_votes(leader, busy)), len(told_votes(leader, learner))) == (0, 1, 0)
    world.flush()
    assert learner.state == busy.state == [b"x"] and idle.state == []
    assert (len(news(leader, idle)), len(news(leader, learner))) == (0, 1)


@pytest.mark.parametrize("engine", [planted.ReadsOwnPrefix, None])
def test_a_barrier_covers_what_a_follower_acknowledged_first(engine: type | None) -> None:
    """The leader has not heard of the follower's vote; somebody who saw the follower's answer asks elsewhere."""
    more = {} if engine is None else {"engine": engine}
    world, leader, (one, other) = settled(**more)
    assert world.propose(leader, b"x")
    deliver(world, leader, one)
    assert one.state == [b"x"] and leader.state == []
    world.cut[one.node, leader.node] = True
    context = world.ask_read(other)
    if engine is None:
        world.flush()
        assert other.reads == [(context, one.slot)] and other.slot == one.slot
        return
    deliver(world, other, leader)
    world.network = [packet for packet in world.network if not isinstance(packet.message, Accept)]  # they were slow
    with pytest.raises(BrokenRule, match="reads: barrier"):
        world.flush()


def test_a_change_of_the_membership_is_learned_so_as_well() -> None:
    world, leader, (lost, other) = settled(bounds=Bounds())
    world.crash(lost.node)
    world.wipe(lost.node, 77)
    world.run(1_000)
    for node in world.nodes.values():
        assert node.engine.membership.voters[lost.node].incarnation == 77
        assert any(entry.kind is Kind.CONFIG for entry in node.committed) or node.node == lost.node
    assert world.propose(leader, b"x")
    fresh = world.nodes[lost.node]
    deliver(world, leader, fresh)
    assert fresh.state[-1:] == [b"x"], "its new life counts"
    assert other.state == []
