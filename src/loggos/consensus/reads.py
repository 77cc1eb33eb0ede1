"""Read barriers: a linearizable read point without a log entry.

A round, numbered by the leader, goes out with a heartbeat after the asks it serves; when a quorum has answered it at this
ballot, no other leader can have had anything chosen before the asks, so what this one's disk had at the round's start
covers all that was acknowledged (its chosen prefix alone does not: a follower may know first). Never before the leader
is settled (rule 8): until then it may not know what its predecessors acknowledged. Followers ask the leader; every
barrier is answered once, by a slot or by -1. Source: Ongaro, dissertation, section 6.4, with ballots for terms.
"""

from __future__ import annotations

from collections import deque

from loggos.base.ids import NO_NODE, Incarnation, NodeId, Slot
from loggos.consensus.core import Bounds, Random
from loggos.consensus.leader import Leader, Leadership
from loggos.consensus.types import ReadAsk, ReadGrant, Restored

REFUSED = Slot(-1)
Ask = tuple[NodeId, int]  # who asked, and its context


class Round:
    """One quorum round and the barriers it serves."""

    __slots__ = ("asks", "number", "slot", "started_ms")

    def __init__(self, number: int, slot: Slot, asks: list[Ask], started_ms: int) -> None:
        self.number, self.slot, self.asks, self.started_ms = number, slot, asks, started_ms


class Reads(Leader):
    """Barriers of this node, and of those that ask it."""

    def __init__(self, node: NodeId, restored: Restored, *, now_ms: int, random: Random, bounds: Bounds = Bounds()) -> None:
        super().__init__(node, restored, now_ms=now_ms, random=random, bounds=bounds)
        self.asked: dict[int, int] = {}  # follower: context -> deadline in ms, oldest first
        self.waiting: list[Ask] = []  # leader: for the next round
        self.waiting_since_ms = now_ms
        self.rounds: deque[Round] = deque()  # leader: on their way, oldest first
        self.round_number = 0  # of the last round begun, in whichever term

    # --- asking --------------------------------------------------------------------------------------------------------------

    def read_barrier(self, context: int) -> None:
        """Answered in Ready.reads. `context` must be new in this life of the node."""
        if self.lead is not None:
            self.take_ask(self.node, context)
        elif self.leader == NO_NODE or len(self.asked) >= self.bounds.read_waiting:
            self.reads_done.append((context, REFUSED))
        else:
            self.asked[context] = self.now + self.bounds.barrier_timeout_ms
            self.send(self.leader, ReadAsk(context))

    def on_read_grant(self, sender: NodeId, incarnation: Incarnation, message: ReadGrant) -> None:
        if self.asked.pop(message.context, None) is not None:
            self.reads_done.append((message.context, Slot(message.slot)))

    def asks_failed(self) -> None:
        self.reads_done.extend([(context, REFUSED) for context in self.asked])
        self.asked.clear()

    # --- answering -----------------------------------------------------------------------------------------------------------

    def on_read_ask(self, sender: NodeId, incarnation: Incarnation, message: ReadAsk) -> None:
        if self.lead is None:
            self.send(sender, ReadGrant(message.context, REFUSED))
        else:
            self.take_ask(sender, message.context)

    def take_ask(self, asker: NodeId, context: int) -> None:
        if len(self.waiting) >= self.bounds.read_waiting:
            self.answer([(asker, context)], REFUSED)
            return
        if not self.waiting:
            self.waiting_since_ms = self.now
        self.waiting.append((asker, context))

    def answer(self, asks: list[Ask], slot: Slot) -> None:
        for asker, context in asks:
            if asker == self.node:
                self.reads_done.append((context, slot))
            else:
                self.send(asker, ReadGrant(context, slot))

    def reads_are_open(self, lead: Leadership) -> bool:
        """Rule 8: not before this leader's first own entry is chosen."""
        return lead.settled

    def start_round(self, lead: Leadership) -> None:
        """All barriers asked since the last round share a new one, and it leaves at once."""
        if not self.waiting or not self.reads_are_open(lead) or len(self.rounds) >= self.bounds.read_rounds:
            return
        self.round_number += 1
        self.rounds.append(Round(self.round_number, self.may_be_acknowledged(lead), self.waiting, self.now))
        self.waiting = []
        self.heartbeat(lead)
        self.reads_confirmed(lead)

    def may_be_acknowledged(self, lead: Leadership) -> Slot:
        """The last slot that somebody may know as chosen: a follower may before its leader does, but not before its leader's
        disk has the entry (learner.py)."""
        return max(self.log.chosen, lead.voted) if self.two_are_a_quorum() else self.log.chosen

    def read_round(self) -> int:
        return self.round_number

    def reads_confirmed(self, lead: Leadership) -> None:
        rounds = self.rounds
        while rounds and self.is_confirmed(lead, rounds[0].number):
            done = rounds.popleft()
            self.answer(done.asks, done.slot)

    def is_confirmed(self, lead: Leadership, number: int) -> bool:
        """Has a quorum, this leader included, answered the round or a later one at this ballot?"""
        confirmed = 1
        for node in self.peers_to_ask:
            peer = lead.peers[node]
            if peer.read_round >= number and self.counts(node, peer.incarnation):
                confirmed += 1
        return confirmed >= self.quorum

    # --- giving up -----------------------------------------------------------------------------------------------------------

    def reads_failed(self, lead: Leadership) -> None:
        for round_ in self.rounds:
            self.answer(round_.asks, REFUSED)
        self.answer(self.waiting, REFUSED)
        self.rounds.clear()
        self.waiting = []

    def tick_reads(self) -> None:
        """Barriers do not wait for ever."""
        late = self.now - self.bounds.barrier_timeout_ms
        while self.rounds and self.rounds[0].started_ms <= late:
            self.answer(self.rounds.popleft().asks, REFUSED)
        if self.waiting and self.waiting_since_ms <= late:
            self.answer(self.waiting, REFUSED)
            self.waiting = []
        while self.asked:
            context, deadline = next(iter(self.asked.items()))
            if deadline > self.now:
                break
            del self.asked[context]
            self.reads_done.append((context, REFUSED))
