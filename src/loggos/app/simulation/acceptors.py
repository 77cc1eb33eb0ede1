"""What an acceptor has told, it must hold: a check that does not wait for the loss to be felt.

Every Promise and Accepted that a node may send is written down, by life. When the same life (node and incarnation)
comes back from its disk, it must know a promise and entries no lower than what it told: else it voted and forgot
(rules 2, 6, 7). What it knew as chosen when it voted it may hold at a lower ballot: a later leader can only propose the
same value there. Nor may it know an entry that it was never given. A node that lost its state comes back under another
incarnation, of which nothing is asked.

What a leader takes for chosen in its term, a quorum must hold on disk at its ballot, itself counted like the others;
what a follower takes for chosen by its own vote and its leader's, these two must. A voter that lost its state counts in
the life that the cell knows.
And no batch is applied of which its leader's run of slots, from its opening no-op on, has a hole before it, nor does a
leader propose a slot and leave one before it open (rule 1).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from crc32c import crc32c

from loggos.app.simulation.counting import Voter, counting
from loggos.base.ids import Ballot, Incarnation, NodeId, Slot
from loggos.check.history import Violation
from loggos.consensus.core import Bounds
from loggos.consensus.engine import Paxos
from loggos.consensus.types import Accepted, Entry, Kind, Outgoing, Promise, Ready, Restored

TOLD_MAX = 5  # violations by life: enough to see what is wrong
HELD = Ballot(1)  # at whatever ballot


class _Life:
    __slots__ = ("accepted", "chosen", "given", "promised", "proposed", "stored")

    def __init__(self) -> None:
        self.promised = Ballot(0)
        self.chosen = Slot(0)  # the prefix that it said to know as chosen, with a vote
        self.stored: dict[Slot, Ballot] = {}  # durable, as far as the driver says
        self.accepted: dict[Slot, Ballot] = {}
        self.proposed = (Ballot(0), Slot(0))  # its newest ballot as a leader, and the last slot of it
        self.given: dict[tuple[Slot, Ballot], int] = {}  # all that was ever handed to the disk: checksums of the payloads


class AcceptorWitness:
    """One per run."""

    def __init__(self, violations: list[Violation]) -> None:
        self._lives: dict[tuple[NodeId, Incarnation], _Life] = {}
        self._violations = violations
        self._has_reported_choice = False
        self._runs: dict[Slot, Ballot] = {}  # by slot: whose unbroken run it ends; 0: a broken one

    def began(self, node: NodeId, restored: Restored) -> None:
        """A node comes up with what its disk gave: is all there that this life has told?"""
        life = self._lives.setdefault((node, restored.incarnation), _Life())
        held = {entry.slot: entry.ballot for entry in restored.entries}
        promised = max([restored.hard_state.promised, *held.values()])
        if promised < life.promised:
            self._report(f"node {node} promised {life.promised}, and came back with {promised}")
        lost = [
            slot
            for slot, ballot in life.accepted.items()
            if slot > restored.snapshot_slot and held.get(slot, Ballot(0)) < ballot
        ]
        for slot in sorted(lost)[:TOLD_MAX]:
            told = life.accepted[slot]
            self._report(f"node {node} accepted slot {slot} at {told}, and came back with {held.get(slot, 'nothing')} there")
        for entry in restored.entries:
            if entry.slot > restored.snapshot_slot and life.given.get((entry.slot, entry.ballot)) != crc32c(entry.payload):
                self._report(f"node {node} came back with an entry in slot {entry.slot} at {entry.ballot} that it never had")
                break
        life.stored = held
        life.accepted = {slot: ballot for slot, ballot in life.accepted.items() if slot > restored.snapshot_slot}

    def told(self, node: NodeId, incarnation: Incarnation, messages: Iterable[Outgoing]) -> None:
        """These may leave the node now."""
        life = self._lives[node, incarnation]
        for _, message in messages:
            if isinstance(message, Accepted):
                life.chosen = max(life.chosen, message.chosen)
                for slot in range(message.first, message.last + 1):
                    ballot = message.ballot if slot > message.chosen else HELD
                    life.accepted[Slot(slot)] = max(ballot, life.accepted.get(Slot(slot), Ballot(0)))
            elif isinstance(message, Promise):
                life.promised = max(life.promised, message.ballot)

    def proposed(self, node: NodeId, incarnation: Incarnation, ballot: Ballot, slots: Iterable[Slot], chosen: Slot) -> None:
        """A leader closes slot after slot from its chosen prefix on, and leaves none open. (Not all that it proposes leaves it at
        once: a follower that lags gets it later.)"""
        life = self._lives[node, incarnation]
        earlier, last = life.proposed
        upto = max(last if earlier == ballot else Slot(0), chosen)
        for slot in slots:
            if slot > upto + 1:
                what = f"node {node} proposed slot {slot} at {ballot}, and left slot {upto + 1} open"
                self._violations.append(Violation("primary-order", what))
            upto = max(upto, slot)
        life.proposed = (ballot, upto)

    def given(self, node: NodeId, incarnation: Incarnation, entries: Iterable[Entry]) -> None:
        """These are on their way to the disk."""
        given = self._lives[node, incarnation].given
        for entry in entries:
            given[entry.slot, entry.ballot] = crc32c(entry.payload)

    def stored(self, node: NodeId, incarnation: Incarnation, entries: Iterable[Entry]) -> None:
        """These are durable."""
        stored = self._lives[node, incarnation].stored
        for entry in entries:
            stored[entry.slot] = entry.ballot

    def chosen(self, by: NodeId, ballot: Ballot, slot: Slot, voters: Iterable[Voter], quorum: int) -> None:
        """By the votes of these voters, as far as it knows of any, a node takes the entry of a slot for chosen."""
        holders = [voter[0] for voter in voters if self._holds(voter, slot, ballot)]
        if len(holders) < quorum and not self._has_reported_choice:
            self._has_reported_choice = True
            self._report(f"node {by} took slot {slot} for chosen at {ballot}, which is on the disks of {holders} only")

    def _holds(self, voter: Voter, slot: Slot, ballot: Ballot) -> bool:
        life = self._lives.get(voter)
        return life is not None and (life.chosen >= slot or life.stored.get(slot, Ballot(0)) >= ballot)

    def delivered(self, node: NodeId, chosen: Entry, applied: Entry) -> None:
        """What was chosen in a slot, and as what the state machine gets it."""
        slot, run = chosen.slot, self._runs.get(Slot(chosen.slot - 1), Ballot(0))
        if chosen.kind is Kind.NOOP:
            run = chosen.origin
        elif chosen.origin != run:
            run = Ballot(0)
            if applied.kind is not Kind.NOOP and self._runs.get(slot) is None:
                what = f"slot {slot}, proposed at {chosen.origin}, though what that leader proposed before it is lost"
                self._violations.append(Violation("primary-order", f"node {node} applied {what}"))
        self._runs[slot] = run

    def _report(self, message: str) -> None:
        self._violations.append(Violation("durability", message))


def watched_engine(
    base: type[Any],
    witness: AcceptorWitness,
    bounds: Bounds = Bounds(),
    settled: Callable[[NodeId], None] = lambda node: None,
) -> type[Any]:
    """An engine type that tells the witness what it may send, and what it began with; `settled` is told of each leader whose
    first entry is chosen, before any of its clients is."""

    def counted(engine: Paxos, slot: Slot, ballot: Ballot, voters: list[Voter]) -> None:
        witness.chosen(engine.node, ballot, slot, voters, engine.quorum)

    class WatchedEngine(counting(base, counted)):  # type: ignore[misc]
        def __init__(self, node: NodeId, restored: Restored, **more: Any) -> None:
            witness.began(node, restored)
            self._untold: dict[int, tuple[Outgoing, ...]] = {}
            self._unstored: dict[int, tuple[Entry, ...]] = {}
            super().__init__(node, restored, **{"bounds": bounds, **more})

        def ready(self) -> Ready | None:
            ready: Ready | None = super().ready()
            if ready is not None:
                witness.told(self.node, self.incarnation, ready.messages)
                if ready.messages_after:
                    self._untold[ready.number] = ready.messages_after
                if ready.entries and self.lead is not None:
                    ballot = self.lead.ballot
                    slots = [entry.slot for entry in ready.entries if entry.ballot == ballot]
                    witness.proposed(self.node, self.incarnation, ballot, slots, self.log.chosen)
                if ready.entries:
                    witness.given(self.node, self.incarnation, ready.entries)
                    self._unstored[ready.number] = ready.entries
                for entry in ready.committed:
                    witness.delivered(self.node, self.log.get(entry.slot), entry)
                    if self.lead is not None and (entry.ballot, entry.slot) == (self.lead.ballot, self.lead.own_slot):
                        settled(self.node)
            return ready

        def persisted(self, number: int) -> None:
            witness.stored(self.node, self.incarnation, self._unstored.pop(number, ()))
            witness.told(self.node, self.incarnation, self._untold.pop(number, ()))
            super().persisted(number)

    return WatchedEngine
