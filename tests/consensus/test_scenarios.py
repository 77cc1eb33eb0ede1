"""Known ways in which replicated logs went wrong (the numbers of consensus-pitfalls), each replayed against the engine."""

from __future__ import annotations

from itertools import permutations

import pytest

from loggos.base.errors import PeerError
from loggos.base.ids import Ballot, Incarnation, NodeId, Slot, make_ballot
from loggos.consensus.codec import encode_rejoin
from loggos.consensus.core import Bounds
from loggos.consensus.engine import Paxos
from loggos.consensus.types import (
    Accept,
    Accepted,
    Entry,
    Fetch,
    HardState,
    Heartbeat,
    HeartbeatReply,
    Kind,
    Learn,
    Member,
    Membership,
    Nack,
    Prepare,
    PreVote,
    PreVoteReply,
    Promise,
    Ready,
    Rejoin,
    Restored,
)
from tests.consensus import planted
from tests.consensus.harness import BrokenRule, Node, World

LIFE = Incarnation(1)
MEMBERS = Membership({NodeId(node): Member(LIFE, Slot(0)) for node in (1, 2, 3)}, {})


def lone(node: int = 1, restored: Restored | None = None, bounds: Bounds = Bounds(), engine: type[Paxos] = Paxos) -> Paxos:
    """An engine of a cell of three, driven by hand."""
    found = engine(
        NodeId(node),
        restored or Restored(HardState(Ballot(0), Slot(0)), Slot(0), MEMBERS),
        now_ms=0,
        random=lambda bound: bound - 1,
        bounds=bounds,
    )
    drain(found)
    return found


def drain(engine: Paxos, *, persist: bool = True) -> list[Ready]:
    found = []
    while (ready := engine.ready()) is not None:
        found.append(ready)
        if ready.committed:
            engine.applied(ready.committed[-1].slot)
        if persist:
            engine.persisted(ready.number)
    return found


def sent(readys: list[Ready], kind: type, *, after: bool = False) -> list[object]:
    outgoing = [out for ready in readys for out in (ready.messages_after if after else ready.messages)]
    return [out.message for out in outgoing if isinstance(out.message, kind)]


def data(slot: int, ballot: int, payload: bytes = b"x", origin: int = 0) -> Entry:
    return Entry(Slot(slot), Ballot(ballot), Ballot(origin or ballot), Kind.DATA, payload)


def noop(slot: int, ballot: int) -> Entry:
    return Entry(Slot(slot), Ballot(ballot), Ballot(ballot), Kind.NOOP, b"")


B1, B2, B3 = make_ballot(1, NodeId(1)), make_ballot(2, NodeId(2)), make_ballot(3, NodeId(3))


# --- elections -----------------------------------------------------------------------------------------------------------


def test_03_an_isolated_node_spends_no_ballot_and_disturbs_nobody() -> None:
    world = World(seed=1)
    leader = world.elect()
    ballot = leader.engine.status().ballot
    victim = next(node for node in world.nodes.values() if node is not leader)
    world.isolate(victim.node)
    world.run(5_000)
    world.isolate(victim.node, cut=False)
    world.run(500)
    assert world.leader() is leader and leader.engine.status().ballot == ballot == victim.engine.status().ballot


@pytest.mark.parametrize(("sender", "to"), list(permutations((1, 2, 3), 2)))
def test_04_one_way_cuts_leave_a_leader(sender: int, to: int) -> None:
    for seed in range(3):
        world = World(seed=seed)
        world.elect()
        world.cut[(sender, to)] = True
        world.run(3_000)
        leader = world.leader()
        assert leader is not None and world.propose(leader, b"x")
        world.run(300)
        assert leader.state[-1:] == [b"x"], (seed, sender, to)


def test_04_five_nodes_half_deaf_make_progress() -> None:
    """Nodes 4 and 5 can send and hear nothing: the three others are a connected quorum and must not be kept from leading."""
    world = World(seed=2, voters=range(1, 6))
    world.elect()
    for deaf in (4, 5):
        for other in range(1, 6):
            world.cut[(other, deaf)] = True
    world.run(3_000)
    leader = world.leader()
    assert leader is not None and leader.node in (1, 2, 3) and world.propose(leader, b"x")
    world.run(300)
    assert leader.state == [b"x"]


def test_04_check_quorum_is_what_frees_the_cell() -> None:
    """The same one-way cut with check-quorum planted out: the mute quorum never gets a leader."""
    world = World(seed=1, engine=planted.NoCheckQuorum)
    leader = world.elect()
    for other in world.nodes:
        if other != leader.node:
            world.cut[(other, leader.node)] = True
    world.run(3_000)
    world.propose(leader, b"x")
    world.run(500)
    assert world.leader() is leader and leader.state == []


def test_27_a_leader_told_to_step_down_is_replaced_at_once() -> None:
    for seed in range(10):
        world = World(seed=seed)
        old = world.elect()
        world.run(200)
        old.engine.step_down("the disk does not answer")
        old.pump()
        began = world.now
        new = world.elect()
        assert new is not old and world.now - began <= 60, seed


def test_36_duelling_candidates_settle() -> None:
    for seed in range(20):
        world = World(seed=seed, voters=range(1, 6))
        world.now += 10_000
        for node in list(world.nodes.values()):
            node.engine.tick(world.now)
            node.engine.start_pre_vote()
            node.pump()
        began = world.now
        world.elect()
        assert world.now - began <= 1_000, seed


def test_36_a_candidate_is_not_heard_of_before_its_promise_is_durable() -> None:
    engine = lone()
    engine.tick(10_000)
    (asked,) = {message.ballot for message in sent(drain(engine), PreVote) if isinstance(message, PreVote)}
    engine.on_pre_vote_reply(NodeId(2), LIFE, PreVoteReply(asked, True, Ballot(0), NodeId(0)))
    readys = drain(engine, persist=False)
    assert not sent(readys, Prepare) and len(sent(readys, Prepare, after=True)) == 2
    assert readys[-1].must_sync and readys[-1].hard_state is not None and readys[-1].hard_state.promised == asked
    for node in (2, 3):  # even promises of all others do not make it leader before its own
        engine.step(NodeId(node), LIFE, Promise(asked, Slot(1), (), Slot(0), Slot(0), Slot(0)))
    assert engine.lead is None
    engine.persisted(readys[-1].number)
    assert engine.lead is not None


# --- acceptors and disks -------------------------------------------------------------------------------------------------


def test_36_a_stale_accept_after_a_higher_promise_is_refused() -> None:
    engine = lone()
    engine.step(NodeId(2), LIFE, Prepare(B2, Slot(1)))
    drain(engine)
    engine.step(NodeId(3), LIFE, Accept(make_ballot(1, NodeId(3)), (noop(1, make_ballot(1, NodeId(3))),), Slot(0)))
    readys = drain(engine)
    assert sent(readys, Nack) == [Nack(make_ballot(1, NodeId(3)), B2)]
    assert not any(ready.entries for ready in readys) and not sent(readys, Accepted, after=True)


def test_11_promise_and_acceptance_wait_for_the_disk() -> None:
    engine = lone()
    engine.step(NodeId(2), LIFE, Prepare(B2, Slot(1)))
    (ready,) = drain(engine, persist=False)[:1]
    assert ready.hard_state == HardState(B2, Slot(0)) and ready.must_sync
    assert not sent([ready], Promise) and sent([ready], Promise, after=True)
    engine.step(NodeId(2), LIFE, Accept(B2, (noop(1, B2),), Slot(0)))
    (ready,) = drain(engine, persist=False)[:1]
    assert ready.entries == (noop(1, B2),) and ready.must_sync
    assert not sent([ready], Accepted) and sent([ready], Accepted, after=True) == [Accepted(B2, Slot(1), Slot(1), Slot(0))]


def test_12_a_cell_of_one_acknowledges_only_what_its_disk_has() -> None:
    world = World(voters=[1], eager_disk=False)
    node = world.nodes[NodeId(1)]
    for _ in range(20):
        world.tick()
        node.persist()
        node.pump()
    assert world.propose(node, b"x") and node.state == []
    node.persist()
    node.pump()
    assert node.state == [b"x"]


def test_13_an_old_write_does_not_vouch_for_a_new_value() -> None:
    """Slot 1 is written at ballot 1 and, in the node's next term, again: the first write's end says nothing of the second."""
    engine = lone()
    first, numbers = lead_by_hand(engine, [2]), []
    assert engine.lead is not None and engine.lead.ballot == first
    numbers += [ready.number for ready in drain(engine, persist=False) if ready.entries]
    engine.step(NodeId(2), LIFE, Nack(first, B2))
    second = lead_by_hand(engine, [2], persist_upto=None)
    assert second > first and engine.lead is not None
    before = dict(engine.lead.votes)
    engine.persisted(numbers[0])
    assert engine.lead.votes == before, "the older write was taken for the newer"


def lead_by_hand(engine: Paxos, promisers: list[int], persist_upto: int | None = None) -> Ballot:
    """Make an engine lead by feeding it promises; only its own promise's Ready is reported persisted, and all before it."""
    engine.tick(engine.now + 10_000)
    campaign = engine.campaign
    assert campaign is not None
    engine.start_prepare(campaign)
    readys = drain(engine, persist=False)
    engine.persisted(max(ready.number for ready in readys if ready.hard_state is not None))
    for node in promisers:
        engine.step(NodeId(node), LIFE, Promise(campaign.ballot, campaign.first, (), Slot(0), Slot(0), Slot(0)))
    return campaign.ballot


def test_the_chosen_prefix_on_disk_covers_only_durable_entries() -> None:
    """A crash that keeps the hard state and loses the entries beside it must not make an old value of a slot look chosen."""
    engine = lone(node=3)
    engine.step(NodeId(1), LIFE, Accept(B1, (data(1, B1, b"lost"),), Slot(0)))
    drain(engine)
    engine.step(NodeId(2), LIFE, Heartbeat(B2, Slot(1), 0))
    engine.step(NodeId(2), LIFE, Learn((data(1, B2, b"chosen"),), Slot(1)))
    readys = drain(engine, persist=False)
    written = [ready for ready in readys if ready.entries]
    assert written and all(ready.hard_state is None or ready.hard_state.chosen == 0 for ready in readys)
    engine.persisted(written[-1].number)
    engine.step(NodeId(2), LIFE, Accept(B2, (data(2, B2),), Slot(1)))
    assert [ready.hard_state for ready in drain(engine) if ready.entries] == [HardState(B2, Slot(1))]


def test_10_votes_of_an_older_ballot_choose_nothing() -> None:
    engine = lone()
    ballot = lead_by_hand(engine, [2])
    drain(engine)
    for node in (2, 3):
        engine.step(NodeId(node), LIFE, Accepted(Ballot(ballot - 256), Slot(1), Slot(1), Slot(0)))
    assert engine.status().chosen == 0
    engine.step(NodeId(2), LIFE, Accepted(ballot, Slot(1), Slot(1), Slot(0)))
    assert engine.status().chosen == 1 and engine.status().settled


def test_rule_3_a_commit_index_does_not_choose_an_entry_of_another_ballot() -> None:
    engine = lone(node=3)
    engine.step(NodeId(1), LIFE, Accept(B1, (data(1, B1, b"old"),), Slot(0)))
    drain(engine)
    engine.step(NodeId(2), LIFE, Heartbeat(B2, Slot(1), 0))
    readys = drain(engine)
    assert engine.status().chosen == 0 and not any(ready.committed for ready in readys)
    assert [type(message).__name__ for message in sent(readys, object)] == ["Fetch", "HeartbeatReply"]


def test_a_long_promise_comes_in_parts_and_a_lost_part_is_asked_for_again() -> None:
    bounds = Bounds(entries_bytes=100)
    acceptor = lone(node=2, bounds=bounds)
    acceptor.step(NodeId(3), LIFE, Accept(B3, tuple(data(slot, B3, b"y" * 60) for slot in range(1, 8)), Slot(0)))
    drain(acceptor)
    ballot = make_ballot(4, NodeId(1))
    acceptor.step(NodeId(1), LIFE, Prepare(ballot, Slot(1)))
    parts = [part for part in sent(drain(acceptor), Promise, after=True) if isinstance(part, Promise)]
    assert len(parts) == 7 and [part.upto for part in parts] == [1, 2, 3, 4, 5, 6, 0]
    candidate = lone(bounds=bounds)
    candidate.see_ballot(B3)
    candidate.tick(10_000)
    assert candidate.campaign is not None and candidate.campaign.ballot == ballot
    candidate.start_prepare(candidate.campaign)
    drain(candidate)
    for part in (*parts[:3], *parts[4:]):
        candidate.step(NodeId(2), LIFE, part)
    assert candidate.lead is None, "part 4 is missing"
    for part in parts:
        candidate.step(NodeId(2), LIFE, part)
    assert candidate.lead is not None
    accepts = [message for message in sent(drain(candidate), Accept) if isinstance(message, Accept)]
    assert [entry.origin for accept in accepts[::2] for entry in accept.entries][:7] == [B3] * 7


def test_a_ballot_belongs_to_its_node() -> None:
    engine = lone()
    for message in (PreVote(B3, Slot(0)), Prepare(B3, Slot(1)), Accept(B3, (noop(1, B3),), Slot(0)), Heartbeat(B3, Slot(0), 0)):
        with pytest.raises(PeerError):
            engine.step(NodeId(2), LIFE, message)


# --- reads ---------------------------------------------------------------------------------------------------------------


def deposed_but_unaware(engine: type[Paxos]) -> tuple[World, Node]:
    """Node 1 led, was paused, and wakes up; meanwhile another had a batch chosen."""
    world = World(seed=4, engine=engine)
    old = world.elect()
    world.run(100)
    world.isolate(old.node)
    paused = world.nodes.pop(old.node)
    for node in world.nodes.values():
        node.engine.peer_lost(old.node)
        node.pump()
    new = world.elect()
    assert world.propose(new, b"newer")
    world.flush()
    world.nodes[old.node] = paused
    world.isolate(old.node, cut=False)
    return world, old


def test_08_a_paused_leader_answers_no_stale_read() -> None:
    world, old = deposed_but_unaware(Paxos)
    context = world.ask_read(old)
    world.flush()
    assert old.reads == [(context, -1)]
    world, old = deposed_but_unaware(planted.ReadsUnconfirmed)
    with pytest.raises(BrokenRule, match="reads"):
        world.ask_read(old)


def test_08_a_round_is_confirmed_only_by_replies_to_it() -> None:
    engine = lone()
    ballot = lead_by_hand(engine, [2])
    drain(engine)
    engine.step(NodeId(2), LIFE, Accepted(ballot, Slot(1), Slot(1), Slot(0)))
    drain(engine)
    for context in (1, 2, 3):
        engine.read_barrier(context)
    readys = drain(engine)
    assert [type(message).__name__ for message in sent(readys, Heartbeat)] == ["Heartbeat"] * 2, "three barriers, one round"
    engine.step(NodeId(2), LIFE, HeartbeatReply(ballot, Slot(1), Slot(1), 0))
    assert not any(ready.reads for ready in drain(engine))
    engine.step(NodeId(2), Incarnation(9), HeartbeatReply(ballot, Slot(1), Slot(1), 1))
    assert not any(ready.reads for ready in drain(engine)), "a life that is not the member's confirms nothing"
    engine.step(NodeId(3), LIFE, HeartbeatReply(ballot, Slot(1), Slot(1), 1))
    assert [read for ready in drain(engine) for read in ready.reads] == [(1, 1), (2, 1), (3, 1)]


def test_07_reads_wait_for_the_opening_entry() -> None:
    engine = lone()
    ballot = lead_by_hand(engine, [2])
    engine.read_barrier(1)
    assert not sent(drain(engine), Heartbeat)
    engine.step(NodeId(3), LIFE, Accepted(ballot, Slot(1), Slot(1), Slot(0)))
    engine.step(NodeId(2), LIFE, Accepted(ballot, Slot(1), Slot(1), Slot(0)))
    assert len(sent(drain(engine), Heartbeat)) == 2


def test_barriers_do_not_wait_for_ever() -> None:
    world = World(seed=1)
    leader = world.elect()
    follower = next(node for node in world.nodes.values() if node is not leader)
    world.run(100)
    world.cut[(follower.node, leader.node)] = True  # its asks are lost, the leader is still heard
    context = world.ask_read(follower)
    world.run(5_100)
    assert follower.reads == [(context, -1)]


# --- memory --------------------------------------------------------------------------------------------------------------


def test_34_without_a_quorum_memory_is_bounded() -> None:
    world = World(seed=1)
    leader = world.elect()
    for node in list(world.nodes):
        if node != leader.node:
            world.crash(node)
    taken = sum(world.propose(leader, b"%d" % number) for number in range(1_000))
    assert taken == Bounds().in_flight_slots
    for _ in range(10_000):
        world.ask_read(leader)
    assert len(leader.engine.waiting) + sum(len(each.asks) for each in leader.engine.rounds) <= 2 * Bounds().read_waiting
    world.network.clear()
    world.run(60_000)
    assert leader.engine.status().last <= leader.slot + Bounds().window_slots


def test_34_an_accept_beyond_the_window_is_not_stored() -> None:
    engine = lone(bounds=Bounds(window_slots=4))
    engine.step(NodeId(2), LIFE, Accept(B2, tuple(data(slot, B2) for slot in range(3, 8)), Slot(0)))
    readys = drain(engine)
    assert engine.status().last == 4
    assert sent(readys, Accepted, after=True) == [Accepted(B2, Slot(3), Slot(4), Slot(0))]


# --- snapshots and lost voters -------------------------------------------------------------------------------------------


def test_20_an_older_snapshot_changes_nothing_and_a_newer_one_keeps_what_is_above() -> None:
    engine = lone(node=3)
    engine.step(NodeId(2), LIFE, Accept(B2, (noop(1, B2), data(2, B2), data(3, B2)), Slot(3)))
    drain(engine)
    engine.step(NodeId(2), LIFE, Accept(B2, (data(6, B2), data(7, B2)), Slot(3)))
    drain(engine)
    before = engine.status()
    engine.snapshot_installed(Slot(2), MEMBERS, B2)
    assert engine.status() == before and not engine.snapshot_wanted(Slot(3)) and engine.snapshot_wanted(Slot(5))
    engine.snapshot_installed(Slot(5), MEMBERS, B2)
    after = engine.status()
    assert (after.chosen, after.applied, after.first, after.last) == (5, 5, 6, 7)
    engine.step(NodeId(1), LIFE, Prepare(make_ballot(9, NodeId(1)), Slot(6)))
    (promise,) = sent(drain(engine), Promise, after=True)
    assert isinstance(promise, Promise) and [entry.slot for entry in promise.entries] == [6, 7] and promise.compacted == 5


def test_20_a_peer_is_offered_one_snapshot_at_a_time() -> None:
    world = World(seed=1)
    leader = world.elect()
    for number in range(4):
        assert world.propose(leader, b"%d" % number)
        world.flush()
    leader.compact()
    asker = next(node.node for node in world.nodes.values() if node is not leader)
    for _ in range(3):
        leader.engine.step(asker, LIFE, Fetch(Slot(1)))
        leader.pump()
    assert len(world.snapshots) == 1
    leader.engine.snapshot_sent(asker, Slot(5), False)
    leader.engine.step(asker, LIFE, Fetch(Slot(1)))
    leader.pump()
    assert len(world.snapshots) == 2


def test_rule_3_a_proposer_behind_anothers_compaction_gives_up() -> None:
    engine = lone()
    engine.tick(10_000)
    assert engine.campaign is not None
    engine.start_prepare(engine.campaign)
    ballot = engine.campaign.ballot
    drain(engine)
    engine.step(NodeId(2), LIFE, Promise(ballot, Slot(1), (), Slot(9), Slot(9), Slot(0)))
    readys = drain(engine)
    assert engine.campaign is None and engine.lead is None
    assert [type(message).__name__ for message in sent(readys, object)] == ["Fetch"]


def test_rule_6_a_new_life_votes_only_after_its_rejoin() -> None:
    engine = lone()
    ballot = lead_by_hand(engine, [2])
    drain(engine)
    engine.step(NodeId(3), Incarnation(7), Accepted(ballot, Slot(1), Slot(1), Slot(0)))
    engine.step(NodeId(2), LIFE, Accepted(ballot, Slot(1), Slot(1), Slot(0)))
    drain(engine)
    assert engine.status().chosen == 1, "by the votes of 1 and 2"
    engine.admit(NodeId(3), Incarnation(7))
    engine.step(NodeId(3), Incarnation(7), HeartbeatReply(ballot, Slot(1), Slot(1), 0))
    engine.tick(engine.now + 10)
    config = [entry for ready in drain(engine) for entry in ready.entries]
    assert [(entry.kind, entry.payload) for entry in config] == [(Kind.CONFIG, encode_rejoin(Rejoin(NodeId(3), Incarnation(7))))]
    engine.step(NodeId(3), Incarnation(7), Accepted(ballot, Slot(2), Slot(2), Slot(1)))
    assert engine.status().chosen == 1, "its own vote does not choose its rejoin"
    engine.step(NodeId(2), LIFE, Accepted(ballot, Slot(2), Slot(2), Slot(1)))
    drain(engine)
    assert engine.membership.voters[NodeId(3)] == Member(Incarnation(7), Slot(3))
    assert engine.propose(b"x")
    drain(engine)
    engine.step(NodeId(3), LIFE, Accepted(ballot, Slot(3), Slot(3), Slot(2)))
    assert not engine.counts(NodeId(3), LIFE), "the old life votes no more"


def test_rule_6_testimony_counts_from_vouches_from_on() -> None:
    """Slot 1 was accepted by nobody who can speak for it in a quorum: it waits for the third voter."""
    engine = lone()
    engine.tick(10_000)
    assert engine.campaign is not None
    engine.start_prepare(engine.campaign)
    ballot = engine.campaign.ballot
    drain(engine)
    engine.step(NodeId(3), LIFE, Promise(ballot, Slot(1), (), Slot(0), Slot(0), Slot(5)))
    drain(engine)
    assert engine.lead is not None and engine.lead.next == 1, "node 3 cannot speak for slots below 5"
    engine.step(NodeId(2), LIFE, Promise(ballot, Slot(1), (data(1, B1, b"kept"),), Slot(0), Slot(0), Slot(0)))
    accepts = [message for message in sent(drain(engine), Accept) if isinstance(message, Accept)]
    assert [(entry.kind, entry.payload) for entry in accepts[0].entries] == [(Kind.DATA, b"kept"), (Kind.NOOP, b"")]


def test_rule_6_that_a_rejoin_is_chosen_survives_a_crash_of_all() -> None:
    """Voter 3 rejoins and all is quiet; then everything crashes and voter 2 is lost for good: 1 and 3 must go on."""
    world = World(seed=1)
    leader = world.elect()
    victim = next(node for node in world.nodes if node != leader.node)
    world.crash(victim)
    world.wipe(victim, 77)
    world.run(1_000)
    assert leader.engine.membership.voters[victim].incarnation == 77
    other = next(node for node in world.disks if node not in (victim, leader.node))
    for node in list(world.nodes):
        world.crash(node)
    world.network.clear()
    world.start(victim)
    world.start(leader.node)
    assert world.elect().node in (victim, leader.node) and other not in world.nodes


def test_22_learned_history_has_no_gaps() -> None:
    engine = lone(node=3)
    engine.step(NodeId(2), LIFE, Learn((data(2, B2), data(3, B2)), Slot(3)))
    assert engine.status().chosen == 0
    engine.step(NodeId(2), LIFE, Learn((noop(1, B2), data(2, B2), data(3, B2)), Slot(3)))
    assert [entry.slot for ready in drain(engine) for entry in ready.committed] == [1, 2, 3]


def test_votes_lost_for_a_slot_that_followers_know_as_chosen_are_repeated() -> None:
    """Followers know slot 1 as chosen from an earlier term; the new leader, which re-proposed it, lost their votes."""
    follower = lone(node=3)
    follower.step(NodeId(2), LIFE, Accept(B2, (noop(1, B2),), Slot(1)))
    ballot = make_ballot(3, NodeId(1))
    follower.step(NodeId(1), LIFE, Accept(ballot, (noop(1, B2)._replace(ballot=ballot), noop(2, ballot)), Slot(0)))
    drain(follower)
    follower.tick(100)
    follower.step(NodeId(1), LIFE, Heartbeat(ballot, Slot(0), 0))
    assert sent(drain(follower), Accepted, after=True) == [Accepted(ballot, Slot(1), Slot(2), Slot(1))]
