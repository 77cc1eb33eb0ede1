"""Where two voters are a quorum, a follower and its leader are one: it knows what is chosen when both disks have it, two ways
after it was asked for and not four."""

from __future__ import annotations

import pytest

from loggos.base.ids import Ballot, Incarnation, NodeId, Slot, ballot_round, make_ballot
from loggos.consensus.core import Bounds
from loggos.consensus.types import Accept, Accepted, Entry, Kind
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


class Terms:
    """A slot that two leaders propose, one after the other, as one of their followers sees it. What reaches that one is
    written by hand, for the sender may have died meanwhile."""

    def __init__(self) -> None:
        self.world, self.old, (self.one, self.new) = settled()
        self.before = self.one.engine.log.chosen
        self.slot = Slot(self.before + 1)
        self.first = self.old.engine.status().ballot
        self.second = make_ballot(ballot_round(self.first) + 1, self.new.node)
        self.third = make_ballot(ballot_round(self.second) + 1, self.old.node)

    def accept(self, leader: Node, ballot: Ballot) -> None:
        self.step(leader, Accept(ballot, (Entry(self.slot, ballot, ballot, Kind.NOOP, b""),), self.before))

    def vote(self, leader: Node, ballot: Ballot) -> None:
        self.step(leader, Accepted(ballot, self.slot, self.slot, self.before))

    def step(self, leader: Node, message: Accept | Accepted) -> None:
        self.one.engine.step(leader.node, leader.disk.incarnation, message)
        self.one.pump()

    def hold_disk(self) -> None:
        self.world.held[self.one.node] = True

    def assert_open(self, ballot: Ballot) -> None:
        held = self.one.engine.log.get(self.slot)
        assert held is not None and held.ballot == ballot, "it accepted the entry"
        assert self.one.engine.log.chosen == self.before, "but it is on no quorum's disks at that ballot"


def test_the_vote_of_an_earlier_leader_is_none_of_the_next() -> None:
    terms = Terms()
    terms.vote(terms.old, terms.first)  # its entry was lost
    terms.accept(terms.new, terms.second)
    terms.assert_open(terms.second)


@pytest.mark.parametrize("on_disk_before", [True, False])
def test_an_own_vote_for_an_earlier_leader_is_none_for_the_next(on_disk_before: bool) -> None:
    terms = Terms()
    if not on_disk_before:
        terms.hold_disk()
    terms.accept(terms.old, terms.first)
    terms.hold_disk()
    terms.accept(terms.new, terms.second)
    terms.vote(terms.new, terms.second)
    if not on_disk_before:
        terms.one.engine.persisted(terms.one.engine.persists[0].number)  # the write of what the first one proposed
    terms.assert_open(terms.second)


def test_a_vote_of_an_earlier_term_of_the_same_leader_is_none() -> None:
    terms = Terms()
    terms.accept(terms.old, terms.third)
    terms.vote(terms.old, terms.first)
    terms.assert_open(terms.third)


def test_a_vote_of_another_than_the_leader_is_none() -> None:
    terms = Terms()
    terms.accept(terms.new, terms.second)
    terms.vote(terms.old, terms.second)
    terms.assert_open(terms.second)


def test_a_vote_with_a_gap_before_it_is_none() -> None:
    """Leaders send none; but what stands between the chosen prefix and such a vote is on no disk known of."""
    terms = Terms()
    terms.accept(terms.new, terms.second)
    terms.step(terms.new, Accepted(terms.second, Slot(terms.slot + 1), Slot(terms.slot + 1), terms.before))
    terms.assert_open(terms.second)


def test_the_next_vote_makes_up_for_a_lost_one() -> None:
    world, leader, (one, _) = settled()
    assert world.propose(leader, b"x")
    world.network = [p for p in world.network if p.to != one.node or not isinstance(p.message, Accepted)]
    deliver(world, leader, one)
    assert one.state == []
    assert world.propose(leader, b"y")
    deliver(world, leader, one)
    assert one.state == [b"x", b"y"]


def test_a_follower_attended_while_slots_are_in_flight_learns_of_those_before_too() -> None:
    world, leader, (one, other) = settled()
    one.engine.attend(False)
    world.run(200)
    leader.sent.clear()
    assert world.propose(leader, b"x") and told_votes(leader, one) == []
    leader.engine.peer_attended(one.node)
    one.engine.attend(True)
    assert world.propose(leader, b"y")
    deliver(world, leader, one)
    assert one.state == [b"x", b"y"] and other.state == []


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
    engine = followers[0].engine
    log = engine.log
    engine.step(leader.node, leader.disk.incarnation, Accepted(engine.leader_ballot, log.last, log.last, log.chosen))
    followers[0].pump()
    assert followers[0].state == [], "nor does it count two votes"
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
