"""What a leader sends again: less and less often while that has no effect, in small pieces, and never so that copies fill a slow
way."""

from __future__ import annotations

from collections import deque

from loggos.base.ids import Ballot, Incarnation, NodeId, Slot
from loggos.consensus.core import Bounds
from loggos.consensus.engine import Paxos
from loggos.consensus.leader import Peer
from loggos.consensus.types import Accept, Accepted, HardState, HeartbeatReply, Promise, Restored
from tests.consensus.test_scenarios import B1, LIFE, MEMBERS, data, drain, lead_by_hand, lone

STEP_MS = 10
QUIET = NodeId(3)  # the follower that lacks entries


def accepts(engine: Paxos) -> list[Accept]:
    """Those with entries that leave for the quiet follower now."""
    outgoing = [out for ready in drain(engine) for out in ready.messages if out.to == QUIET]
    return [out.message for out in outgoing if isinstance(out.message, Accept) and out.message.entries]


def slots(found: list[Accept]) -> list[list[int]]:
    return [[entry.slot for entry in accept.entries] for accept in found]


def say(engine: Paxos, ballot: Ballot, held: int, chosen: int = 0) -> None:
    """The follower is heard, and holds everything up to `held`."""
    engine.step(QUIET, LIFE, HeartbeatReply(ballot, Slot(chosen), Slot(held), 0))


def repeats(engine: Paxos, ballot: Ballot, for_ms: int, held: int = 0) -> list[int]:
    """When something is sent again to the follower, which is heard all the time and gets no further; in ms from now."""
    began, found = engine.now, []
    while engine.now - began < for_ms:
        engine.tick(engine.now + STEP_MS)
        say(engine, ballot, held)
        found += [engine.now - began for _ in accepts(engine)]
    return found


def leader_of_open_slots(count: int, bounds: Bounds = Bounds(), size_bytes: int = 1) -> tuple[Paxos, Ballot]:
    """A new leader that has sent all of `count` adopted slots and its opening no-op at once."""
    engine = lone(bounds=bounds)
    engine.tick(10_000)
    campaign = engine.campaign
    assert campaign is not None
    engine.start_prepare(campaign)
    drain(engine)
    accepted = tuple(data(slot, B1, b"x" * size_bytes) for slot in range(1, count + 1))
    engine.step(NodeId(2), LIFE, Promise(campaign.ballot, Slot(1), accepted, Slot(0), Slot(0), Slot(0)))
    assert sum(len(accept.entries) for accept in accepts(engine)) == count + 1
    return engine, campaign.ballot


def test_what_has_no_effect_is_repeated_less_and_less_often() -> None:
    engine = lone()
    ballot = lead_by_hand(engine, [2])
    drain(engine)
    assert repeats(engine, ballot, 9_200) == [100, 300, 700, 1_500, 3_100, 5_100, 7_100, 9_100]


def test_once_it_has_effect_the_next_repeat_comes_soon_again() -> None:
    engine, ballot = leader_of_open_slots(2)
    assert repeats(engine, ballot, 1_000) == [100, 300, 700]
    say(engine, ballot, held=1)
    assert repeats(engine, ballot, 400, held=1) == [100, 300]
    say(engine, ballot, held=1, chosen=2)
    assert repeats(engine, ballot, 200, held=2) == [100]


def test_a_vote_alone_is_an_effect_too() -> None:
    engine, ballot = leader_of_open_slots(2)
    assert repeats(engine, ballot, 1_000) == [100, 300, 700]
    engine.step(QUIET, LIFE, Accepted(ballot, Slot(1), Slot(1), Slot(0)))
    assert repeats(engine, ballot, 150, held=1) == [100]


def test_what_is_new_has_its_time_from_when_it_leaves() -> None:
    engine, ballot = leader_of_open_slots(0)
    engine.step(NodeId(2), LIFE, Accepted(ballot, Slot(1), Slot(1), Slot(0)))
    assert repeats(engine, ballot, 500, held=1) == []
    assert engine.propose(b"x") and slots(accepts(engine)) == [[2]]
    assert repeats(engine, ballot, 150, held=1) == [100]


def test_an_answer_that_brings_nothing_new_is_no_effect() -> None:
    engine, ballot = leader_of_open_slots(2)
    say(engine, ballot, held=1)
    assert repeats(engine, ballot, 350, held=1) == [100, 300]
    engine.step(QUIET, LIFE, Accepted(ballot, Slot(1), Slot(1), Slot(0)))
    assert repeats(engine, ballot, 400, held=1) == [350]


def test_a_piece_sent_again_is_small_but_never_empty() -> None:
    bounds = Bounds(retransmit_bytes=100)
    for size_bytes, expected in ((40, [1, 2]), (101, [1])):
        engine, ballot = leader_of_open_slots(4, bounds, size_bytes)
        engine.tick(engine.now + bounds.retransmit_ms)
        assert slots(accepts(engine)) == [expected]
        say(engine, ballot, held=expected[-1])
        engine.tick(engine.now + bounds.retransmit_ms)
        assert slots(accepts(engine))[0][0] == expected[-1] + 1


def test_only_open_slots_are_sent_again_and_only_those_that_this_leader_has_sent() -> None:
    held = tuple(data(slot, B1) for slot in range(1, 6))
    restored = Restored(HardState(B1, Slot(0)), Slot(0), MEMBERS, held)
    engine = lone(restored=restored, bounds=Bounds(window_slots=2))
    ballot = lead_by_hand(engine, [2])
    assert slots(accepts(engine)) == [[1, 2]]
    engine.tick(engine.now + Bounds().retransmit_ms)
    (again,) = accepts(engine)
    assert slots([again]) == [[1, 2]] and {entry.ballot for entry in again.entries} == {ballot}, "the window ends there"
    engine.step(NodeId(2), LIFE, Accepted(ballot, Slot(1), Slot(1), Slot(0)))
    assert slots(accepts(engine)) == [[3]], "the window has moved on, and nothing was ever heard of the follower"
    say(engine, ballot, held=0)
    engine.tick(engine.now + 2 * Bounds().retransmit_ms)
    assert slots(accepts(engine)) == [[2, 3]], "1 is chosen: that it fetches"
    engine.step(NodeId(2), LIFE, Accepted(ballot, Slot(2), Slot(2), Slot(1)))
    assert slots(accepts(engine)) == [] and engine.log.chosen == 2
    assert repeats(engine, ballot, 500) == [], "3 and 4 are beyond the follower's own window"


def test_a_hole_in_what_it_holds_is_filled() -> None:
    engine, ballot = leader_of_open_slots(3)
    engine.step(QUIET, LIFE, Accepted(ballot, Slot(3), Slot(4), Slot(0)))
    engine.tick(engine.now + Bounds().retransmit_ms)
    assert slots(accepts(engine)) == [[1, 2, 3, 4]]
    engine.step(QUIET, LIFE, Accepted(ballot, Slot(1), Slot(2), Slot(0)))
    engine.tick(engine.now + Bounds().retransmit_backoff_ms)
    assert engine.log.chosen == 4, "its votes and this node's own"


def test_a_new_life_of_a_follower_is_paced_anew() -> None:
    engine, ballot = leader_of_open_slots(1)
    assert repeats(engine, ballot, 1_000) == [100, 300, 700]
    for node, life in ((QUIET, Incarnation(7)), (NodeId(2), LIFE)):
        engine.step(node, life, HeartbeatReply(ballot, Slot(0), Slot(0), 0))
    engine.tick(engine.now + Bounds().retransmit_ms)
    assert slots(accepts(engine)) == [[1, 2]]


def test_where_answers_take_long_they_are_waited_for() -> None:
    engine, ballot = leader_of_open_slots(1)
    engine.tick(engine.now + 90)
    say(engine, ballot, held=2)  # 90 ms: three times that is waited from now on
    engine.step(NodeId(2), LIFE, Accepted(ballot, Slot(1), Slot(2), Slot(0)))
    assert engine.propose(b"x")
    assert slots(accepts(engine)) == [[3]]
    assert repeats(engine, ballot, 300, held=2) == [270]


def test_a_quicker_answer_shortens_the_wait_little_by_little() -> None:
    engine, ballot = leader_of_open_slots(1)
    engine.tick(engine.now + 80)
    say(engine, ballot, held=2)
    for slot, wait_ms in ((3, 240), (4, 180), (5, 135), (6, 100)):
        engine.step(NodeId(2), LIFE, Accepted(ballot, Slot(1), Slot(slot - 1), Slot(0)))
        assert engine.propose(b"x") and slots(accepts(engine)) == [[slot]]
        assert engine.lead is not None
        assert engine.retransmit_wait_ms(engine.lead.peers[QUIET]) == wait_ms
        say(engine, ballot, held=slot)
    assert engine.lead is not None
    engine.lead.peers[QUIET].took_ms = 10_000
    assert engine.retransmit_wait_ms(engine.lead.peers[QUIET]) == Bounds().retransmit_backoff_ms, "but not for ever"


def test_what_was_measured_is_void_after_a_lost_connection_and_after_silence() -> None:
    def lose(engine: Paxos, ballot: Ballot) -> None:
        engine.peer_lost(QUIET)

    def fall_silent(engine: Paxos, ballot: Ballot) -> None:
        for _ in range(Bounds().election_timeout_ms // STEP_MS):
            engine.tick(engine.now + STEP_MS)
            engine.step(NodeId(2), LIFE, HeartbeatReply(ballot, Slot(0), Slot(0), 0))
            assert len(accepts(engine)) <= 1

    for happens in (lose, fall_silent):
        engine, ballot = leader_of_open_slots(1)
        assert repeats(engine, ballot, 1_600) == [100, 300, 700, 1_500]
        assert engine.lead is not None
        engine.lead.peers[QUIET].took_ms = 1_000
        happens(engine, ballot)
        say(engine, ballot, held=0)
        peer = engine.lead.peers[QUIET]
        assert (peer.backoff_ms, peer.took_ms) == (0, 0), happens
        engine.tick(engine.now + Bounds().retransmit_ms)
        assert slots(accepts(engine)) == [[1, 2]]


def test_another_peer_that_is_lost_changes_nothing() -> None:
    engine, ballot = leader_of_open_slots(1)
    assert repeats(engine, ballot, 200) == [100]
    engine.peer_lost(NodeId(2))
    assert repeats(engine, ballot, 200) == [100]
    engine.peer_lost(NodeId(9))  # nobody that it knows


def test_copies_do_not_fill_a_slow_way() -> None:
    """The way to the only other voter takes 150 ms for each entry, one after another; its heartbeats find room between them."""
    engine, ballot = leader_of_open_slots(0)
    way: deque[int] = deque([1])
    free_ms, held, carried, proposed = engine.now + 150, 0, 0, 1
    for _ in range(3_000):
        engine.tick(engine.now + STEP_MS)
        if way and engine.now >= free_ms:
            slot = way.popleft()
            carried += 1
            free_ms = engine.now + 150
            held = max(held, slot)
            engine.step(QUIET, LIFE, Accepted(ballot, Slot(slot), Slot(slot), Slot(held - 1)))
        say(engine, ballot, held, max(0, held - 1))
        while engine.can_propose():
            assert engine.propose(b"x")
            proposed += 1
        if not way:
            free_ms = engine.now + 150
        way.extend(entry.slot for accept in accepts(engine) for entry in accept.entries)
    assert held > 190, "of the 200 that fit in 30 s"
    assert carried - held <= 5, "copies"
    assert proposed - held <= Bounds().in_flight_slots


def test_a_follower_that_lost_what_it_held_in_memory_makes_progress_again() -> None:
    """It restarts in the same life, so what it says it holds goes down: each step up from there ends the backoff."""
    peer = Peer(0)
    peer.held = Slot(8)
    peer.note_answer(10)
    peer.start_pacing()  # its connection was lost
    peer.held = Slot(2)
    peer.note_answer(20)
    peer.backoff_ms = 1_600
    peer.held = Slot(3)
    peer.note_answer(30)
    assert peer.backoff_ms == 0 and peer.patient_ms == 30
