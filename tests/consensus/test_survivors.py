"""What a mutation run found that no other test would have noticed: one test per gap, named after what would go wrong."""

from __future__ import annotations

import pytest

from loggos.base.errors import PeerError
from loggos.base.ids import Ballot, Incarnation, NodeId, Slot, make_ballot
from loggos.consensus import codec
from loggos.consensus.core import Bounds, Mark
from loggos.consensus.log import Log
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
    Prepare,
    PreVote,
    PreVoteReply,
    Promise,
    ReadAsk,
    Ready,
    Rejoin,
    Restored,
    Role,
    SnapshotOffer,
)
from tests.consensus.harness import World
from tests.consensus.test_scenarios import B1, B2, B3, LIFE, MEMBERS, data, drain, lead_by_hand, lone, noop, sent

# --- bytes ---------------------------------------------------------------------------------------------------------------


def test_the_bytes_of_messages_with_entries_are_pinned() -> None:
    """Nodes of two versions talk to each other, and snapshots keep memberships: a change of these bytes must be meant."""
    entry = Entry(Slot(3), Ballot(514), Ballot(257), Kind.DATA, b"xy")
    accept = bytes.fromhex("05 0000000000000202 0000000000000002 00000001")
    packed = bytes.fromhex("0000000000000003 0000000000000202 0000000000000101 01 00000002") + b"xy"
    assert codec.encode_message(Accept(Ballot(514), (entry,), Slot(2))) == accept + packed
    assert codec.encode_entry_header(entry) == packed[:-2]


def test_the_bytes_of_memberships_are_pinned() -> None:
    membership = Membership({NodeId(2): Member(Incarnation(9), Slot(5))}, {NodeId(7): Incarnation(8)})
    packed = bytes.fromhex("01 01 01 02 0000000000000009 0000000000000005 07 0000000000000008")
    assert codec.encode_membership(membership) == packed
    assert codec.encode_rejoin(Rejoin(NodeId(2), Incarnation(9))) == bytes.fromhex("02 0000000000000009")
    for version in (0, 2):
        with pytest.raises(PeerError):
            codec.decode_membership(bytes((version,)) + packed[1:])


def test_a_boolean_on_the_wire_is_0_or_1() -> None:
    reply = codec.encode_message(PreVoteReply(Ballot(257), True, Ballot(0), NodeId(0)))
    heartbeat = codec.encode_message(Heartbeat(Ballot(257), Slot(0), 0, True))
    for encoded, place in ((reply, 9), (heartbeat, 25)):
        assert encoded[place] == 1
        for value in (2, 255):
            with pytest.raises(PeerError, match="neither yes nor no"):
                codec.decode_message(encoded[:place] + bytes((value,)) + encoded[place + 1 :])


def test_a_count_of_entries_that_cannot_be_there_is_refused_before_any_is_read() -> None:
    encoded = codec.encode_message(Accept(Ballot(257), (), Slot(0)))
    with pytest.raises(PeerError, match="cannot hold"):
        codec.decode_message(encoded[:-1] + b"\1")


# --- elections -----------------------------------------------------------------------------------------------------------


def test_a_prepare_that_was_lost_is_sent_again_under_the_same_ballot() -> None:
    engine = lone()
    engine.tick(10_000)
    assert engine.campaign is not None
    ballot = engine.campaign.ballot
    engine.step(NodeId(2), LIFE, PreVoteReply(ballot, True, Ballot(0), NodeId(0)))
    assert len(sent(drain(engine), Prepare, after=True)) == 2
    engine.tick(10_000 + Bounds().retransmit_ms)
    assert sent(drain(engine), Prepare, after=True) == [Prepare(ballot, Slot(1))] * 2


def test_a_grant_of_an_earlier_pre_vote_counts_no_more() -> None:
    engine = lone()
    engine.tick(10_000)
    assert engine.campaign is not None
    earlier = engine.campaign.ballot
    engine.step(NodeId(3), LIFE, PreVoteReply(earlier, False, make_ballot(7, NodeId(3)), NodeId(0)))  # it asks anew, above that
    assert engine.campaign is not None and engine.campaign.ballot > earlier
    engine.step(NodeId(2), LIFE, PreVoteReply(earlier, True, Ballot(0), NodeId(0)))
    assert not engine.campaign.preparing
    engine.step(NodeId(2), LIFE, PreVoteReply(engine.campaign.ballot, True, Ballot(0), NodeId(0)))
    assert engine.campaign.preparing


def test_a_candidate_that_must_catch_up_stands_again_only_when_its_patience_ends() -> None:
    engine = lone()
    engine.tick(10_000)
    assert engine.campaign is not None
    engine.start_prepare(engine.campaign)
    ballot = engine.campaign.ballot
    drain(engine)
    engine.step(NodeId(2), LIFE, Promise(ballot, Slot(1), (), Slot(9), Slot(9), Slot(0)))
    engine.tick(10_000 + Bounds().election_timeout_ms - 10)
    assert not sent(drain(engine), PreVote)
    engine.tick(10_000 + Bounds().election_timeout_ms + Bounds().election_jitter_ms)
    assert sent(drain(engine), PreVote)


def test_a_voter_that_has_promised_leaves_its_candidate_time() -> None:
    engine = lone(node=1)
    engine.tick(10_000)
    engine.step(NodeId(2), LIFE, Prepare(make_ballot(50, NodeId(2)), Slot(1)))
    drain(engine)
    assert engine.campaign is None
    ask = PreVote(make_ballot(60, NodeId(3)), Slot(0))

    def is_granted(after_ms: int) -> bool:
        engine.tick(10_000 + after_ms)
        engine.step(NodeId(3), LIFE, ask)
        readys = drain(engine)
        assert not sent(readys, PreVote), "nor does it stand itself"
        (reply,) = sent(readys, PreVoteReply)
        assert isinstance(reply, PreVoteReply)
        return reply.granted

    grace_ms = Bounds().candidate_grace_ms
    assert [is_granted(after_ms) for after_ms in (0, grace_ms - 1, grace_ms)] == [False, False, True]


# --- supplying -----------------------------------------------------------------------------------------------------------


def test_what_is_proposed_at_once_leaves_in_messages_of_bounded_size() -> None:
    engine = lone(bounds=Bounds(entries_bytes=100))
    ballot = lead_by_hand(engine, [2])
    drain(engine)
    engine.step(NodeId(2), LIFE, Accepted(ballot, Slot(1), Slot(1), Slot(0)))
    drain(engine)
    for size in (50, 50, 1, 300, 100):
        if not engine.can_propose():
            drain(engine)
            for node in (2, 3):
                engine.step(NodeId(node), LIFE, Accepted(ballot, Slot(2), Slot(engine.log.last), Slot(1)))
            assert engine.can_propose()
        assert engine.propose(b"x" * size)
    runs = engine.runs([entry for slot in range(2, 7) if (entry := engine.log.get(slot)) is not None])
    assert [[len(entry.payload) for entry in run] for run in runs] == [[50, 50], [1], [300], [100]]


def test_a_silent_follower_does_not_keep_the_next_from_being_supplied() -> None:
    engine = lone()
    ballot = lead_by_hand(engine, [2, 3])
    drain(engine)
    for now in range(engine.now + 50, engine.now + 650, 50):  # node 2 is silent, node 3 answers, and its Accepts are lost
        engine.tick(now)
        engine.step(NodeId(3), LIFE, HeartbeatReply(ballot, Slot(0), Slot(0), 0))
        outgoing = [out for ready in drain(engine) for out in ready.messages if isinstance(out.message, Accept)]
    engine.tick(engine.now + Bounds().retransmit_ms)
    outgoing = [out for ready in drain(engine) for out in ready.messages if isinstance(out.message, Accept)]
    assert [out.to for out in outgoing] == [3] and outgoing[0].message.entries == (noop(1, ballot),)


# --- learning ------------------------------------------------------------------------------------------------------------


def test_the_clock_alone_asks_again_for_what_a_last_heartbeat_made_known() -> None:
    engine = lone(node=3)
    engine.step(NodeId(2), LIFE, Heartbeat(B2, Slot(9), 0))
    assert sent(drain(engine), Fetch) == [Fetch(Slot(1))]
    asked = []
    for now in range(10, 400, 10):
        engine.tick(now)
        if now == 110:
            engine.step(NodeId(2), LIFE, Heartbeat(B2, Slot(9), 0))
        asked += [now for _ in sent(drain(engine), Fetch)]
    assert asked == [100, 300]


def test_a_snapshot_of_what_is_delivered_already_changes_nothing() -> None:
    engine = lone(node=3)
    engine.step(NodeId(2), LIFE, Accept(B2, (noop(1, B2), data(2, B2)), Slot(2)))
    assert [entry.slot for entry in (engine.ready() or Ready(0)).committed] == [1, 2]
    engine.snapshot_installed(Slot(2), MEMBERS, B2)
    assert engine.status().applied == 0, "the state machine has not said so"


def test_a_snapshot_with_a_new_life_of_a_voter_voids_what_its_old_one_promised() -> None:
    engine = lone()
    engine.tick(10_000)
    assert engine.campaign is not None
    engine.start_prepare(engine.campaign)
    drain(engine, persist=False)
    engine.step(NodeId(3), LIFE, Promise(engine.campaign.ballot, Slot(1), (), Slot(0), Slot(0), Slot(0)))
    assert NodeId(3) in engine.campaign.promises
    voters = {**MEMBERS.voters, NodeId(3): Member(Incarnation(7), Slot(5))}
    engine.snapshot_installed(Slot(4), Membership(voters, {}), B2)
    assert engine.campaign is not None and NodeId(3) not in engine.campaign.promises


# --- the log in memory ---------------------------------------------------------------------------------------------------


def test_what_is_held_at_a_ballot_is_never_below_the_chosen_prefix() -> None:
    log = Log(Slot(0))
    for slot in range(1, 7):
        log.put(noop(slot, 257 if slot <= 3 else 513))
    assert log.held_at(Ballot(257)) == 3
    for _ in range(5):
        log.choose_next()
    assert log.held_at(Ballot(257)) == 5 and log.held_at(Ballot(513)) == 6


def test_entries_of_exactly_the_bound_are_read_together() -> None:
    log = Log(Slot(0))
    for slot in (1, 2, 3):
        log.put(data(slot, 257, b"x" * 50))
    assert [len(log.since(1, 3, bytes_max)) for bytes_max in (1, 99, 100, 101, 150)] == [1, 1, 2, 2, 3]


# --- patience ------------------------------------------------------------------------------------------------------------


def test_patience_fades_by_a_quarter_with_every_quick_answer() -> None:
    engine = lone(node=3)
    engine.step(NodeId(2), LIFE, Heartbeat(B2, Slot(9), 0))
    drain(engine)
    engine.tick(400)
    patience = []
    for slot in range(1, 4):
        engine.step(NodeId(2), LIFE, Learn((noop(slot, B2),), Slot(9)))
        patience.append(engine.fetch_patience_ms())
    assert patience == [1_200, 900, 675]


def test_a_barrier_that_waits_too_long_is_refused_once() -> None:
    """The leader is heard by a quorum and never settled, so no round can start."""
    engine = lone()
    ballot = lead_by_hand(engine, [2])
    drain(engine)
    began = engine.now
    engine.read_barrier(1)
    refused = []
    for now in range(began + 100, began + 2 * Bounds().barrier_timeout_ms, 100):
        engine.tick(now)
        engine.step(NodeId(2), LIFE, HeartbeatReply(ballot, Slot(0), Slot(0), 0))
        refused += [(now - began, read) for ready in drain(engine) for read in ready.reads]
    assert refused == [(Bounds().barrier_timeout_ms, (1, -1))] and engine.lead is not None


def test_a_followers_barrier_is_refused_at_its_deadline() -> None:
    engine = lone(node=3)
    refused = []
    for now in range(0, 2 * Bounds().barrier_timeout_ms, 100):
        engine.tick(now)
        engine.step(NodeId(2), LIFE, Heartbeat(B2, Slot(0), 0))
        if now == 0:
            engine.read_barrier(1)
        refused += [(now, read) for ready in drain(engine) for read in ready.reads]
    assert refused == [(Bounds().barrier_timeout_ms, (1, -1))]


# --- a node pressed for room ---------------------------------------------------------------------------------------------


def test_a_node_without_room_vouches_only_for_what_comes_before_the_first_entry_it_refused() -> None:
    engine = lone(node=3)
    engine.step(NodeId(2), LIFE, Accept(B2, (noop(1, B2),), Slot(0)))
    engine.step(NodeId(2), LIFE, Accept(B2, (data(3, B2),), Slot(0)))
    drain(engine)
    engine.pressure(True)
    engine.step(NodeId(2), LIFE, Accept(B2, (noop(1, B2), data(2, B2), data(3, B2)), Slot(0)))
    assert sent(drain(engine), Accepted, after=True) == [Accepted(B2, Slot(1), Slot(1), Slot(0))]
    engine.pressure(False)
    engine.step(NodeId(2), LIFE, Accept(B2, (noop(1, B2), data(2, B2), data(3, B2)), Slot(0)))
    assert sent(drain(engine), Accepted, after=True) == [Accepted(B2, Slot(1), Slot(3), Slot(0))]


def test_how_far_a_peer_is_follows_from_its_answers_or_from_what_it_asked_for() -> None:
    engine = lone()
    assert engine.peer_chosen(NodeId(2)) == 0
    engine.step(NodeId(2), LIFE, Fetch(Slot(5)))
    assert engine.peer_chosen(NodeId(2)) == 4
    ballot = lead_by_hand(engine, [2])
    drain(engine)
    assert engine.peer_chosen(NodeId(2)) == 4, "it has not answered the leader yet"
    engine.step(NodeId(2), LIFE, HeartbeatReply(ballot, Slot(7), Slot(7), 0))
    assert engine.peer_chosen(NodeId(2)) == 7 and engine.peer_chosen(NodeId(3)) == 0


def test_votes_are_repeated_once_a_heartbeat_interval() -> None:
    follower = lone(node=3)
    follower.step(NodeId(2), LIFE, Accept(B2, (noop(1, B2),), Slot(0)))
    drain(follower)
    repeated = []
    for now in range(10, 200, 10):
        follower.tick(now)
        follower.step(NodeId(2), LIFE, Heartbeat(B2, Slot(0), 0))
        repeated += [now for _ in sent(drain(follower), Accepted, after=True)]
    assert repeated == [50, 100, 150]


def test_an_offered_snapshot_is_waited_for_and_one_that_brings_nothing_is_not() -> None:
    for slot, asked_at in ((9, Bounds().snapshot_wait_ms), (0, 100)):
        engine = lone(node=3)
        engine.step(NodeId(2), LIFE, Heartbeat(B2, Slot(9), 0))
        drain(engine)
        engine.step(NodeId(2), LIFE, SnapshotOffer(B2, Slot(slot)))
        asked = []
        for now in range(10, Bounds().snapshot_wait_ms + 10, 10):
            engine.tick(now)
            engine.step(NodeId(2), LIFE, Heartbeat(B2, Slot(9), 0))
            asked += [now for _ in sent(drain(engine), Fetch)]
        assert asked[0] == asked_at


def test_a_lost_voter_votes_again_when_a_snapshot_tells_of_its_new_life() -> None:
    life = Incarnation(7)
    engine = lone(node=3, restored=Restored(HardState(Ballot(0), Slot(0)), Slot(0), MEMBERS, (), life))
    engine.step(NodeId(2), LIFE, Heartbeat(B2, Slot(9), 0))
    assert engine.status().role is Role.LEARNER
    engine.snapshot_installed(Slot(8), MEMBERS, B2)
    assert engine.status().role is Role.LEARNER
    voters = {**MEMBERS.voters, NodeId(3): Member(life, Slot(5))}
    engine.snapshot_installed(Slot(9), Membership(voters, {}), B2)
    assert engine.status().role is Role.FOLLOWER and engine.may_vote()


def test_what_was_delivered_before_a_snapshot_does_not_come_back_into_the_next() -> None:
    engine = lone(node=3)
    engine.step(NodeId(2), LIFE, Accept(B2, (noop(1, B2),), Slot(1)))
    assert engine.ready() is not None  # delivered, and applied only by way of the snapshot
    voters = {**MEMBERS.voters, NodeId(1): Member(Incarnation(7), Slot(5))}
    membership = Membership(voters, {})
    engine.snapshot_installed(Slot(5), membership, B3)
    assert engine.applied_state() == Mark(Slot(5), membership, B3)
    engine.step(NodeId(2), LIFE, Learn((data(6, B3),), Slot(6)))
    drain(engine)
    assert engine.applied_state() == Mark(Slot(6), membership, B3)


def test_an_acceptance_of_no_slot_is_refused() -> None:
    for first, last in ((0, 0), (0, 1), (2, 1)):
        with pytest.raises(PeerError):
            codec.decode_message(codec.encode_message(Accepted(B2, Slot(first), Slot(last), Slot(0))))


def test_a_pre_vote_without_answers_is_repeated_at_its_interval_only() -> None:
    engine = lone()
    asked = []
    for now in range(10_000, 10_250, 10):
        engine.tick(now)
        asked += [now for _ in sent(drain(engine), PreVote)]
    assert asked == [10_000] * 2 + [10_100] * 2 + [10_200] * 2


def test_when_the_candidate_promised_last_is_lost_the_next_is_granted_at_once() -> None:
    for lost in (True, False):
        engine = lone()
        engine.tick(10_000)
        engine.step(NodeId(2), LIFE, Prepare(make_ballot(50, NodeId(2)), Slot(1)))
        if lost:
            engine.peer_lost(NodeId(2))
        drain(engine)
        engine.step(NodeId(3), LIFE, PreVote(make_ballot(60, NodeId(3)), Slot(0)))
        (reply,) = sent(drain(engine), PreVoteReply)
        assert isinstance(reply, PreVoteReply) and reply.granted is lost


def test_when_the_one_that_was_asked_for_entries_is_lost_another_is_asked_at_once() -> None:
    for lost, asked in ((2, [Fetch(Slot(1))]), (1, [])):
        engine = lone(node=3)
        engine.step(NodeId(2), LIFE, PreVote(make_ballot(1, NodeId(2)), Slot(9)))
        assert sent(drain(engine), Fetch) == [Fetch(Slot(1))]
        engine.peer_lost(NodeId(lost))
        engine.step(NodeId(1), LIFE, PreVote(make_ballot(1, NodeId(1)), Slot(9)))
        assert sent(drain(engine), Fetch) == asked, lost


def test_a_pre_vote_for_a_ballot_that_is_promised_or_below_is_refused() -> None:
    engine = lone()
    engine.tick(10_000)
    promised = make_ballot(50, NodeId(2))
    engine.step(NodeId(2), LIFE, Prepare(promised, Slot(1)))
    engine.tick(10_000 + Bounds().candidate_grace_ms)
    drain(engine)
    for round_number, granted in ((49, False), (50, False), (51, True)):
        engine.step(NodeId(2), LIFE, PreVote(make_ballot(round_number, NodeId(2)), Slot(0)))
        (reply,) = sent(drain(engine), PreVoteReply)
        assert isinstance(reply, PreVoteReply) and reply.granted is granted and reply.promised == promised


def test_a_node_whose_vote_is_gone_by_a_snapshot_follows_as_a_learner() -> None:
    engine = lone(node=3)
    voters = {**MEMBERS.voters, NodeId(3): Member(Incarnation(7), Slot(5))}
    engine.snapshot_installed(Slot(9), Membership(voters, {}), B2)
    assert engine.status().role is Role.LEARNER and not engine.may_vote()


def test_what_a_follower_has_acknowledged_is_not_sent_again() -> None:
    engine = lone()
    ballot = lead_by_hand(engine, [2])
    drain(engine, persist=False)
    engine.step(NodeId(2), LIFE, Accepted(ballot, Slot(1), Slot(1), Slot(0)))
    engine.step(NodeId(3), LIFE, HeartbeatReply(ballot, Slot(0), Slot(0), 0))
    engine.tick(engine.now + Bounds().retransmit_ms)
    readys = drain(engine, persist=False)
    assert [out.to for ready in readys for out in ready.messages if isinstance(out.message, Accept)] == [3]


def test_open_slots_beyond_the_window_are_closed_as_it_moves_on() -> None:
    engine = lone(bounds=Bounds(window_slots=4))
    engine.tick(10_000)
    campaign = engine.campaign
    assert campaign is not None
    engine.start_prepare(campaign)
    drain(engine)
    ballot, accepted = campaign.ballot, tuple(data(slot, B1, b"%d" % slot) for slot in range(1, 9))
    engine.step(NodeId(2), LIFE, Promise(ballot, Slot(1), accepted, Slot(0), Slot(0), Slot(0)))
    drain(engine)
    for first, last in ((1, 4), (5, 8), (9, 9)):
        assert engine.log.last == last and not engine.status().settled
        engine.step(NodeId(2), LIFE, Accepted(ballot, Slot(first), Slot(last), Slot(0)))
        drain(engine)
    assert engine.status().settled and engine.status().chosen == 9


def test_who_gave_entries_is_asked_for_more_until_it_offers_a_snapshot_instead() -> None:
    engine = lone(node=1)
    engine.step(NodeId(2), LIFE, Heartbeat(B2, Slot(9), 0))

    def asked() -> list[int]:
        return [out.to for ready in drain(engine) for out in ready.messages if isinstance(out.message, Fetch)]

    assert asked() == [2]
    engine.step(NodeId(3), LIFE, Learn((noop(1, B2),), Slot(9)))
    assert asked() == [3]
    engine.step(NodeId(3), LIFE, Learn((noop(2, B2),), Slot(2)))
    engine.step(NodeId(2), LIFE, Heartbeat(B2, Slot(9), 0))
    assert asked() == [3], "it gave the last entries"
    engine.step(NodeId(2), LIFE, Learn((noop(3, B2),), Slot(3)))
    engine.supplier = NodeId(3)
    engine.step(NodeId(3), LIFE, SnapshotOffer(B2, Slot(2)))
    engine.step(NodeId(2), LIFE, Heartbeat(B2, Slot(9), 0))
    assert asked() == [2], "it has nothing but a snapshot"


def test_a_follower_asks_for_no_more_barriers_at_once_than_its_bound() -> None:
    engine = lone(node=3, bounds=Bounds(read_waiting=2))
    engine.step(NodeId(2), LIFE, Heartbeat(B2, Slot(0), 0))
    drain(engine)
    for context in (1, 2, 3):
        engine.read_barrier(context)
    readys = drain(engine)
    assert len(sent(readys, ReadAsk)) == 2 and [read for ready in readys for read in ready.reads] == [(3, -1)]


def test_a_cut_header_of_an_entry_is_told_as_such() -> None:
    with pytest.raises(PeerError, match="header is cut off"):
        codec.decode_entry(memoryview(bytes(codec.ENTRY_HEADER.size - 1)), 0)


def test_a_snapshot_drops_the_entries_that_it_covers_and_nothing_lies_before_it() -> None:
    log = Log(Slot(0))
    for slot in (1, 2, 3):
        log.put(data(slot, B1, b"x"))
    log.jump(Slot(2))
    assert list(log.entries) == [3] and log.last == 3
    log.jump(Slot(9))
    assert list(log.entries) == [] and log.last == 9


def test_a_node_does_not_know_as_chosen_what_it_does_not_hold() -> None:
    """The hard state may be ahead of entries that were lost with it."""
    engine = lone(restored=Restored(HardState(B1, Slot(5)), Slot(0), MEMBERS, (noop(1, B1),)))
    assert engine.log.chosen == 1


def test_who_answers_a_pre_vote_claims_nothing_by_default() -> None:
    assert PreVoteReply(B1, True, B1, NodeId(0)).chosen == 0


def test_a_barrier_too_many_is_refused_at_once() -> None:
    world = World(seed=1, bounds=Bounds(read_waiting=1, read_rounds=1))
    leader = world.elect()
    for node in world.nodes:
        world.isolate(node)
    contexts = [world.ask_read(leader) for _ in range(3)]
    assert leader.reads == [(contexts[2], -1)], "one has a round, one waits for the next"


def test_voters_stand_one_after_another_when_their_leader_is_gone() -> None:
    world = World(seed=1)
    leader = world.elect()
    world.crash(leader.node)
    second = max(world.nodes)
    assert world.nodes[second].engine.election_due_ms == world.now + Bounds().election_stagger_ms


def test_what_a_follower_holds_does_not_shrink_with_an_older_vote() -> None:
    world = World(seed=1)
    leader = world.elect()
    assert world.propose(leader, b"x") and leader.engine.lead is not None
    world.flush()
    node, peer = next(iter(leader.engine.lead.peers.items()))
    held, ballot = peer.held, leader.engine.lead.ballot
    leader.engine.step(node, world.disks[node].incarnation, Accepted(ballot, Slot(1), Slot(1), Slot(0)))
    assert held > 1 and peer.held == held


def test_a_candidate_whose_vote_is_gone_by_a_snapshot_stands_no_more() -> None:
    """Its own promise, durable only now, was of the life that votes no more."""
    engine = lone(node=3)
    engine.tick(10_000)
    assert engine.campaign is not None
    engine.start_prepare(engine.campaign)
    ballot = engine.campaign.ballot
    voters = {**MEMBERS.voters, NodeId(3): Member(Incarnation(7), Slot(5))}
    engine.snapshot_installed(Slot(9), Membership(voters, {}), B2)
    drain(engine)
    engine.step(NodeId(2), LIFE, Promise(ballot, Slot(1), (), Slot(9), Slot(0), Slot(0)))
    assert engine.campaign is None and engine.status().role is Role.LEARNER


def test_voters_that_start_together_stand_one_after_another() -> None:
    """Each after a time of its own, within the bound on it."""
    engine = lone()  # which draws the longest
    due_ms = Bounds().pre_vote_retry_ms - 1
    engine.tick(due_ms - 1)
    assert not sent(drain(engine), PreVote)
    engine.tick(due_ms)
    assert len(sent(drain(engine), PreVote)) == 2
