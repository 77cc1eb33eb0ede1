"""How terms begin, change hands and end, by hand: what a mutation run found that no other test would have noticed."""

from __future__ import annotations

from loggos.base.ids import NO_NODE, Incarnation, NodeId, Slot, make_ballot
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
    Rejoin,
    Restored,
    Role,
)
from tests.consensus.test_scenarios import B1, B2, LIFE, MEMBERS, data, drain, lead_by_hand, lone, noop, sent

OTHER_LIFE = Incarnation(7)


def rejoin(slot: int, node: int) -> Entry:
    return Entry(Slot(slot), B2, B2, Kind.CONFIG, encode_rejoin(Rejoin(NodeId(node), OTHER_LIFE)))


def leading_with_an_open_slot() -> Paxos:
    """It leads, but of slot 1 it does not know yet what another voter accepted there."""
    engine = lone()
    engine.tick(10_000)
    assert engine.campaign is not None
    engine.start_prepare(engine.campaign)
    drain(engine)
    engine.step(NodeId(2), LIFE, Promise(engine.campaign.ballot, Slot(1), (), Slot(0), Slot(0), vouches_from=Slot(5)))
    assert engine.is_leading() and engine.campaign is not None
    return engine


def test_who_is_no_member_is_not_heard_and_neither_is_a_node_by_itself() -> None:
    engine = lone()
    for sender in (NodeId(9), NodeId(1)):
        ballot = make_ballot(5, sender)
        accept = Accept(ballot, (noop(1, ballot),), Slot(0))
        for message in (PreVote(ballot, Slot(0)), Prepare(ballot, Slot(1)), accept, Heartbeat(ballot, Slot(0), 0)):
            engine.step(sender, LIFE, message)
        assert not drain(engine) and engine.promised == 0 and not engine.log.entries


def test_only_what_a_promise_waits_for_must_reach_the_disk_at_once() -> None:
    engine = lone()
    engine.step(NodeId(2), LIFE, Prepare(B2, Slot(1)))
    promising = drain(engine)
    assert [ready.must_sync for ready in promising if ready.hard_state is not None] == [True]
    engine.step(NodeId(2), LIFE, PreVote(make_ballot(60, NodeId(2)), Slot(0)))
    assert not any(ready.must_sync for ready in drain(engine))


# --- beginning -----------------------------------------------------------------------------------------------------------


def test_a_leader_asks_for_the_testimony_it_lacks_once_in_a_while() -> None:
    engine = leading_with_an_open_slot()
    asked = []
    for now in range(10_010, 10_010 + 2 * Bounds().retransmit_ms, 10):
        engine.tick(now)
        asked += [now for _ in sent(drain(engine), Prepare, after=True)]
    assert asked == [10_000 + Bounds().retransmit_ms, 10_000 + 2 * Bounds().retransmit_ms], "the third voter, at its intervals"


def test_a_leader_that_must_catch_up_after_all_gives_its_term_up() -> None:
    engine = leading_with_an_open_slot()
    engine.step(NodeId(3), LIFE, Promise(engine.own_ballot(), Slot(1), (), Slot(9), Slot(9), Slot(0)))
    status = engine.status()
    assert status.role is Role.FOLLOWER and status.leader == NO_NODE and not engine.is_leading()
    assert sent(drain(engine), Fetch) == [Fetch(Slot(1))]


def test_slots_that_waited_for_a_change_of_the_membership_are_closed_when_it_turns_out_void() -> None:
    """A Rejoin whose leader's run is broken: delivered as a no-op, it changes nothing, and nothing else happens then."""
    found = Restored(HardState(B2, Slot(0)), Slot(0), MEMBERS, (rejoin(1, 3), data(2, B2)))
    engine = lone(restored=found)
    ballot = lead_by_hand(engine, [2])
    (first,) = sent(drain(engine), Accept)[:1]
    assert isinstance(first, Accept) and [entry.slot for entry in first.entries] == [1]
    engine.step(NodeId(2), LIFE, Accepted(ballot, Slot(1), Slot(1), Slot(0)))
    accepts = sent(drain(engine), Accept)
    slots = [entry.slot for accept in accepts if isinstance(accept, Accept) for entry in accept.entries]
    assert engine.membership == MEMBERS and set(slots) == {2, 3}, "the open one, and the opening no-op of the term"


def test_a_candidate_that_hears_that_it_is_behind_asks_for_what_it_lacks() -> None:
    engine = lone()
    engine.tick(10_000)
    (ask,) = set(sent(drain(engine), PreVote))
    assert isinstance(ask, PreVote)
    engine.step(NodeId(2), LIFE, PreVoteReply(ask.ballot, False, B1, NO_NODE, Slot(4)))
    assert sent(drain(engine), Fetch) == [Fetch(Slot(1))]


# --- voters and their lives ----------------------------------------------------------------------------------------------


def test_votes_of_a_life_that_is_over_count_no_more_for_slots_still_open() -> None:
    """It accepted, and lost its disk before the slot was chosen: that vote is on no disk any more."""
    engine = lone()
    ballot = lead_by_hand(engine, [2, 3])
    engine.step(NodeId(2), LIFE, Accepted(ballot, Slot(1), Slot(1), Slot(0)))
    engine.step(NodeId(3), LIFE, Accepted(ballot, Slot(1), Slot(1), Slot(0)))
    drain(engine, persist=False)
    assert engine.propose(encode_rejoin(Rejoin(NodeId(3), OTHER_LIFE)), Kind.CONFIG) and engine.propose(b"x")
    drain(engine, persist=False)
    engine.step(NodeId(3), LIFE, Accepted(ballot, Slot(2), Slot(3), Slot(1)))
    engine.step(NodeId(2), LIFE, Accepted(ballot, Slot(2), Slot(2), Slot(1)))
    drain(engine)
    assert engine.membership.voters[NodeId(3)].incarnation == OTHER_LIFE and engine.status().chosen == 2
    engine.step(NodeId(2), LIFE, Accepted(ballot, Slot(3), Slot(3), Slot(2)))
    assert engine.status().chosen == 3


def test_a_leader_whose_own_life_is_over_follows_nobody_as_a_learner() -> None:
    engine = lone()
    ballot = lead_by_hand(engine, [2])
    drain(engine)
    engine.step(NodeId(2), LIFE, Accepted(ballot, Slot(1), Slot(1), Slot(0)))
    drain(engine)
    assert engine.propose(encode_rejoin(Rejoin(NodeId(1), OTHER_LIFE)), Kind.CONFIG)
    drain(engine)
    engine.step(NodeId(2), LIFE, Accepted(ballot, Slot(2), Slot(2), Slot(1)))
    drain(engine)
    status = engine.status()
    assert status.role is Role.LEARNER and status.leader == NO_NODE and not engine.is_leading()


def test_a_voter_that_has_its_vote_again_leaves_the_leader_its_time() -> None:
    engine = lone(node=3, restored=Restored(HardState(B2, Slot(0)), Slot(0), MEMBERS, (), OTHER_LIFE))
    engine.tick(10_000)
    engine.step(NodeId(2), LIFE, Learn((noop(1, B2), rejoin(2, 3)), Slot(2)))
    drain(engine)
    assert engine.status().role is Role.FOLLOWER and engine.may_vote()
    engine.tick(10_010)
    assert not sent(drain(engine), PreVote)
    engine.tick(10_000 + Bounds().election_timeout_ms + Bounds().election_jitter_ms)
    assert sent(drain(engine), PreVote)


def test_a_rejoin_of_a_node_that_is_no_voter_changes_nothing() -> None:
    engine = lone(node=3)
    engine.step(NodeId(2), LIFE, Heartbeat(B2, Slot(0), 0))
    engine.step(NodeId(2), LIFE, Learn((noop(1, B2), rejoin(2, 9)), Slot(2)))
    assert drain(engine)[-1] and engine.status().chosen == 2 and engine.membership == MEMBERS


# --- ending --------------------------------------------------------------------------------------------------------------


def test_a_term_given_up_before_its_entries_were_handed_out_has_no_votes_of_its_own() -> None:
    engine = lone()
    ballot = lead_by_hand(engine, [2])
    drain(engine)
    engine.step(NodeId(2), LIFE, Accepted(ballot, Slot(1), Slot(1), Slot(0)))
    assert engine.propose(b"x")
    engine.step_down("a test")
    (ready,) = drain(engine, persist=False)
    assert [entry.slot for entry in ready.entries] == [2] and [persist.votes for persist in engine.persists] == [None]


def test_a_leader_that_takes_a_snapshot_beyond_what_it_knows_as_chosen_leads_no_more() -> None:
    engine = lone()
    lead_by_hand(engine, [2])
    drain(engine)
    voters = {**MEMBERS.voters, NodeId(3): Member(OTHER_LIFE, Slot(5))}
    engine.snapshot_installed(Slot(9), Membership(voters, {}), B2)
    status = engine.status()
    assert not engine.is_leading() and status.role is Role.FOLLOWER and status.leader == NO_NODE
    assert not engine.propose(b"x")


# --- words that come late, or from strangers -----------------------------------------------------------------------------


def test_a_refusal_by_a_life_that_does_not_vote_ends_no_term() -> None:
    engine = lone()
    ballot = lead_by_hand(engine, [2])
    higher = make_ballot(99, NodeId(3))
    engine.step(NodeId(3), OTHER_LIFE, Nack(ballot, higher))
    assert engine.is_leading()
    engine.step(NodeId(3), LIFE, Nack(ballot, higher))
    assert not engine.is_leading()


def test_an_answer_to_an_earlier_terms_heartbeat_is_nobodys() -> None:
    engine = lone()
    engine.step(NodeId(2), LIFE, HeartbeatReply(B1, Slot(0), Slot(0), 0, False))
    earlier = lead_by_hand(engine, [2])
    engine.step_down("a test")
    drain(engine)
    later = lead_by_hand(engine, [2])
    assert later > earlier and engine.lead is not None
    engine.step(NodeId(3), LIFE, HeartbeatReply(earlier, Slot(7), Slot(7), 0, False))
    assert engine.lead.peers[NodeId(3)].chosen == 0
    engine.step(NodeId(3), LIFE, HeartbeatReply(later, Slot(7), Slot(7), 0, False))
    assert engine.lead.peers[NodeId(3)].chosen == 7


def test_a_leader_keeps_no_votes_of_what_is_chosen() -> None:
    engine = lone()
    ballot = lead_by_hand(engine, [2])
    drain(engine)
    engine.step(NodeId(2), LIFE, Accepted(ballot, Slot(1), Slot(1), Slot(0)))
    assert engine.status().chosen == 1 and engine.lead is not None and not engine.lead.votes


def test_a_lost_voter_is_taken_back_only_when_it_has_caught_up() -> None:
    engine = lone(bounds=Bounds(in_flight_slots=4))
    ballot = lead_by_hand(engine, [2])
    for slot in range(1, 11):
        drain(engine)
        engine.step(NodeId(2), LIFE, Accepted(ballot, Slot(slot), Slot(slot), Slot(slot - 1)))
        assert engine.propose(b"x")
    engine.admit(NodeId(3), OTHER_LIFE)
    proposed = []
    for chosen in (5, 6):
        engine.step(NodeId(3), OTHER_LIFE, HeartbeatReply(ballot, Slot(chosen), Slot(chosen), 0, False))
        engine.tick(engine.now + 10)
        accepts = [accept for accept in sent(drain(engine), Accept) if isinstance(accept, Accept)]
        proposed.append(any(entry.kind is Kind.CONFIG for accept in accepts for entry in accept.entries))
    assert engine.status().chosen == 10 and proposed == [False, True]


def test_a_peer_that_is_lost_is_not_asked_for_entries() -> None:
    engine = lone(node=3)
    engine.step(NodeId(2), LIFE, PreVote(make_ballot(1, NodeId(2)), Slot(9)))
    assert sent(drain(engine), Fetch)
    engine.peer_lost(NodeId(2))
    for now in range(10, 5_000, 10):
        engine.tick(now)
        assert not sent(drain(engine), Fetch), "whoever is ahead says so again"


def test_promises_are_wanted_again_as_soon_as_a_change_of_the_membership_holds() -> None:
    """The new life's promise may be what the open slots wait for."""
    found = Restored(HardState(B2, Slot(0)), Slot(0), MEMBERS, (noop(1, B2), rejoin(2, 3), data(3, B2)))
    engine = lone(restored=found)
    ballot = lead_by_hand(engine, [3])
    drain(engine)
    engine.step(NodeId(2), LIFE, Accepted(ballot, Slot(1), Slot(2), Slot(0)))
    drain(engine)
    assert engine.status().chosen == 2 and engine.campaign is not None, "slot 3 lacks the testimony of a second voter"
    engine.tick(engine.now + 1)
    assert len(sent(drain(engine), Prepare, after=True)) == 2
