"""Catching up over a slow way: what is sent twice, what heartbeats wait behind, and what is asked again when it was lost."""

from __future__ import annotations

from itertools import pairwise

import pytest

from loggos.base.ids import Ballot, Incarnation, NodeId, Slot, make_ballot
from loggos.base.limits import ELECTION_TIMEOUT_MS, LEARN_BYTES_MAX
from loggos.consensus.engine import Paxos
from loggos.consensus.types import Entry, Fetch, HardState, Heartbeat, Kind, Learn, Member, Membership, Message, Restored

LIFE = Incarnation(1)
MEMBERS = Membership({NodeId(node): Member(LIFE, Slot(0)) for node in (1, 2, 3)}, {})
BALLOT = make_ballot(1, NodeId(2))
ENTRY_BYTES = 64 << 10
AHEAD, BEHIND = NodeId(2), NodeId(1)


def engine(node: NodeId, slots: int) -> Paxos:
    """One that knows the first `slots` slots as chosen."""
    entries = tuple(Entry(Slot(slot), BALLOT, BALLOT, Kind.NOOP, b"x" * ENTRY_BYTES) for slot in range(1, slots + 1))
    hard_state = HardState(Ballot(BALLOT if slots else 0), Slot(slots))
    return Paxos(node, Restored(hard_state, Slot(0), MEMBERS, entries), now_ms=0, random=lambda bound: bound - 1)


class Way:
    """From the node that is ahead to the one behind: bytes leave one after another, at a bandwidth, and take a while."""

    def __init__(self, bytes_per_ms: float, delay_ms: int) -> None:
        self.bytes_per_ms, self.delay_ms = bytes_per_ms, delay_ms
        self.free_ms = 0.0  # when all that was posted has left
        self.under_way: list[tuple[float, Message]] = []
        self.learned_bytes = 0
        self.heartbeat_waited_ms = 0.0

    def post(self, now: int, message: Message) -> None:
        size = sum(len(entry.payload) for entry in message.entries) if isinstance(message, Learn) else 50
        self.free_ms = max(self.free_ms, now) + size / self.bytes_per_ms
        self.under_way.append((self.free_ms + self.delay_ms, message))
        if isinstance(message, Learn):
            self.learned_bytes += size
        else:
            self.heartbeat_waited_ms = max(self.heartbeat_waited_ms, self.free_ms - now)

    def arrived(self, now: int) -> list[Message]:
        found = [message for at_ms, message in self.under_way if at_ms <= now]
        self.under_way = self.under_way[len(found) :]
        return found


def settle(driven: Paxos) -> list[Message]:
    """Carry out what it wants done; what it sends to the other one."""
    sent: list[Message] = []
    while (ready := driven.ready()) is not None:
        driven.persisted(ready.number)
        if ready.committed:
            driven.applied(ready.committed[-1].slot)
        other = BEHIND if driven.node == AHEAD else AHEAD
        sent += [message for to, message in (*ready.messages, *ready.messages_after) if to == other]
    return sent


def catch_up(slots: int, way: Way, limit_ms: int) -> tuple[int, Paxos]:
    """How long it takes, in ms, with a heartbeat every 50 ms; fails when it takes longer than the limit."""
    ahead, behind = engine(AHEAD, slots), engine(BEHIND, 0)
    settle(ahead)
    settle(behind)
    asked: list[tuple[int, Message]] = []
    for now in range(10, limit_ms, 10):
        ahead.now = now
        behind.tick(now)
        if now % 50 == 0:
            way.post(now, Heartbeat(BALLOT, Slot(slots), 0))
        for message in way.arrived(now):
            behind.step(AHEAD, LIFE, message)
            asked += [(now + way.delay_ms, sent) for sent in settle(behind) if isinstance(sent, Fetch)]
        asked += [(now + way.delay_ms, sent) for sent in settle(behind) if isinstance(sent, Fetch)]
        for _, message in [one for one in asked if one[0] <= now]:
            ahead.step(BEHIND, LIFE, message)
            for sent in settle(ahead):
                if isinstance(sent, Learn):
                    way.post(now, sent)
        asked = [one for one in asked if one[0] > now]
        if behind.log.chosen == slots:
            return now, behind
    raise AssertionError(f"at slot {behind.log.chosen} of {slots} after {limit_ms} ms")


@pytest.mark.parametrize(("bytes_per_ms", "delay_ms"), [(6_000, 1), (6_000, 60), (2_000, 1), (1_000, 100), (100_000, 120)])
def test_little_is_sent_twice_and_heartbeats_get_through(bytes_per_ms: int, delay_ms: int) -> None:
    slots = 160
    total = slots * ENTRY_BYTES
    way = Way(bytes_per_ms, delay_ms)
    rounds = total / LEARN_BYTES_MAX
    ideal_ms = total / bytes_per_ms + rounds * (2 * delay_ms + 30)
    took_ms, behind = catch_up(slots, way, limit_ms=int(2 * ideal_ms) + 2_000)
    assert way.learned_bytes <= total + 4 * LEARN_BYTES_MAX, (way.learned_bytes / total, took_ms)
    assert way.heartbeat_waited_ms <= max(3 * LEARN_BYTES_MAX / bytes_per_ms, 50), way.heartbeat_waited_ms
    if bytes_per_ms >= 6_000:
        assert way.heartbeat_waited_ms < ELECTION_TIMEOUT_MS / 2
    assert behind.leader == AHEAD


def lagging() -> Paxos:
    """One that has just asked node 2 for what it lacks."""
    behind = engine(BEHIND, 0)
    settle(behind)
    behind.step(AHEAD, LIFE, Heartbeat(BALLOT, Slot(9), 0))
    assert [message for message in settle(behind) if isinstance(message, Fetch)] == [Fetch(Slot(1))]
    return behind


def fetch_times(behind: Paxos, upto_ms: int) -> list[int]:
    """When it asks, hearing a heartbeat every 50 ms and no answer."""
    found = []
    for now in range(10, upto_ms, 10):
        behind.tick(now)
        if now % 50 == 0:
            behind.step(AHEAD, LIFE, Heartbeat(BALLOT, Slot(9), 0))
        found += [now for message in settle(behind) if isinstance(message, Fetch)]
    return found


def test_a_lost_question_or_answer_is_repeated_ever_more_slowly_and_for_ever() -> None:
    times = fetch_times(lagging(), 12_000)
    assert times[0] == 100
    gaps = [after - before for before, after in pairwise(times)]
    assert gaps[:4] == [200, 400, 800, 1_600] and gaps[4:] == [2_000] * len(gaps[4:]) and len(gaps) > 6


def test_patience_grows_with_what_answers_take_and_fades() -> None:
    behind = lagging()
    behind.tick(400)
    settle(behind)
    behind.step(AHEAD, LIFE, Learn((Entry(Slot(1), BALLOT, BALLOT, Kind.NOOP, b""),), Slot(9)))
    assert [message for message in settle(behind) if isinstance(message, Fetch)] == [Fetch(Slot(2))]
    assert behind.fetch_patience_ms() == 1_200
    for slot in range(2, 9):
        behind.step(AHEAD, LIFE, Learn((Entry(Slot(slot), BALLOT, BALLOT, Kind.NOOP, b""),), Slot(9)))
    assert behind.fetch_patience_ms() < 200


def test_a_repeat_is_not_answered_at_once_but_is_answered() -> None:
    ahead = engine(AHEAD, 20)
    settle(ahead)
    answered = []
    for now in range(0, 2_000, 10):
        ahead.now = now
        ahead.step(BEHIND, LIFE, Fetch(Slot(1)))
        answered += [now for message in settle(ahead) if isinstance(message, Learn)]
    assert answered == [0, 50, 150, 350, 750, 1_550]
    ahead.step(BEHIND, LIFE, Fetch(Slot(5)))  # within what was answered
    assert not settle(ahead)
    ahead.step(BEHIND, LIFE, Fetch(Slot(9)))  # progress
    ahead.step(NodeId(3), LIFE, Fetch(Slot(1)))  # another peer
    ready = [message for message in settle(ahead) if isinstance(message, Learn)]
    assert [message.entries[0].slot for message in ready] == [9]
    ahead.step(BEHIND, LIFE, Fetch(Slot(1)))  # it lost what it had
    assert [type(message) for message in settle(ahead)] == [Learn]


def fetches(behind: Paxos) -> list[tuple[int, int]]:
    """Whom it asks, from which slot on."""
    found = []
    while (ready := behind.ready()) is not None:
        found += [(int(to), int(message.first)) for to, message in ready.messages if isinstance(message, Fetch)]
        if ready.committed:
            behind.applied(ready.committed[-1].slot)
    return found


def fetches_until(behind: Paxos, upto_ms: int) -> list[tuple[int, int]]:
    """The same while time passes and the leader is heard."""
    found = []
    for now in range(behind.now, upto_ms + 1, 10):
        behind.tick(now)
        behind.step(AHEAD, LIFE, Heartbeat(BALLOT, Slot(61), 0))
        found += fetches(behind)
    return found


def test_who_sent_the_snapshot_is_asked_for_what_follows_while_it_has_more() -> None:
    other = NodeId(3)
    behind = lagging()
    behind.snapshot_arriving()
    assert not fetches_until(behind, 1_990), "a snapshot arrives"
    behind.snapshot_installed(Slot(40), MEMBERS, BALLOT, other)
    assert fetches(behind) == [(3, 41)]
    behind.step(other, LIFE, Learn((Entry(Slot(41), BALLOT, BALLOT, Kind.NOOP, b""),), Slot(41)))
    behind.step(AHEAD, LIFE, Heartbeat(BALLOT, Slot(61), 0))
    assert fetches(behind) == [(3, 42)]
    behind.step(other, LIFE, Learn((), Slot(41)))  # no more
    behind.step(AHEAD, LIFE, Heartbeat(BALLOT, Slot(61), 0))
    assert fetches(behind) == [(2, 42)]


def test_a_supplier_that_is_silent_is_given_up() -> None:
    behind = lagging()
    behind.snapshot_installed(Slot(40), MEMBERS, BALLOT, NodeId(3))
    assert fetches(behind) == [(3, 41)]
    assert not fetches_until(behind, 1_990)
    assert fetches_until(behind, 2_010) == [(2, 41)]


def test_who_asks_beyond_the_end_is_told_so() -> None:
    ahead = engine(AHEAD, 20)
    settle(ahead)
    ahead.step(BEHIND, LIFE, Fetch(Slot(21)))
    assert settle(ahead) == [Learn((), Slot(20))]
    assert ahead.peer_chosen(BEHIND) == 20
