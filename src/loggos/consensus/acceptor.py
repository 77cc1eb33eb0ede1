"""The acceptor: promises and acceptances, and when they may be told.

Rules: a promise and an acceptance leave only after they are durable (`send_after`); nothing below the promise is
accepted; a ballot belongs to its node; only slots within the window above the own chosen prefix are accepted, so that
memory and promises stay bounded. Source: Lamport, Paxos Made Simple, section 2.2; safety rules 1-4, 6.
"""

from __future__ import annotations

from abc import abstractmethod

from loggos.base.errors import PeerError
from loggos.base.ids import Ballot, Incarnation, NodeId, Slot, ballot_node
from loggos.consensus.core import Core
from loggos.consensus.types import Accept, Accepted, Entry, Nack, Prepare, Promise, Role

NO_SLOT = Slot(0)


class Acceptor(Core):
    """Phase 1b and 2b."""

    # --- phase 1b ------------------------------------------------------------------------------------------------------------

    def on_prepare(self, sender: NodeId, incarnation: Incarnation, message: Prepare) -> None:
        check_owner(sender, message.ballot)
        if not self.may_vote():
            return
        if not self.may_promise(message.ballot):
            self.nack(sender, message.ballot)
            return
        if message.ballot > self.promised:
            self.abandon()
            self.promise(message.ballot)
            self.lose_leader()
            self.granted_until_ms = self.now + self.bounds.candidate_grace_ms
            self.election_due_ms = self.now + self.patience_ms
        self.save_promise()
        self.send_promise(sender, message.ballot, message.first)

    def may_promise(self, ballot: Ballot) -> bool:
        return ballot >= self.promised

    def promise(self, ballot: Ballot) -> None:
        """Nothing below `ballot` will be accepted from now on."""
        assert ballot > self.promised, (ballot, self.promised)
        self.promised = ballot
        self.save_promise()

    def send_promise(self, to: NodeId, ballot: Ballot, first: Slot) -> None:
        """All that was accepted from `first` on, in as many parts as its bytes need, after all of it is durable."""
        log = self.log
        start = first
        while True:
            entries = self.accepted_since(start)
            whole = not entries or entries[-1].slot >= log.last
            upto = NO_SLOT if whole else entries[-1].slot
            part = Promise(ballot, start, entries, log.chosen, log.compacted, self.own_vouches_from(), upto)
            self.send_after(to, part)
            if whole:
                return
            start = Slot(upto + 1)

    def accepted_since(self, first: Slot) -> tuple[Entry, ...]:
        """What a promise reports: everything accepted from `first` on, as far as one message holds."""
        return self.log.since(first, self.log.last, self.bounds.entries_bytes)

    # --- phase 2b ------------------------------------------------------------------------------------------------------------

    def on_accept(self, sender: NodeId, incarnation: Incarnation, message: Accept) -> None:
        check_owner(sender, message.ballot)
        if not self.may_accept(message.ballot):
            self.nack(sender, message.ballot)
            return
        self.follow(sender, message.ballot)
        if message.entries:
            self.accept_run(sender, message.ballot, message.entries)
        self.learn_upto(sender, message.ballot, message.chosen)

    def may_accept(self, ballot: Ballot) -> bool:
        return ballot >= self.promised

    def accept_run(self, sender: NodeId, ballot: Ballot, entries: tuple[Entry, ...]) -> None:
        """Accept consecutive slots and acknowledge them once durable."""
        log = self.log
        window_end = log.chosen + self.bounds.window_slots
        last = 0
        for entry in entries:
            if entry.slot > window_end:
                break
            if entry.slot > log.chosen and self.is_news(log.get(entry.slot), entry):
                if not self.may_store():
                    break
                self.store(entry)
                self.must_sync = True
            last = entry.slot
        if last:
            self.save_promise()
            self.send_after(sender, Accepted(ballot, entries[0].slot, Slot(last), log.chosen))

    def is_news(self, held: Entry | None, entry: Entry) -> bool:
        """False for a repeat of what was accepted at this very ballot."""
        return held is None or held.ballot < entry.ballot

    def nack(self, to: NodeId, ballot: Ballot) -> None:
        """Tell a proposer that its ballot is over, so that it gives up or raises its round."""
        self.send(to, Nack(ballot, self.promised))

    # --- whom to follow ------------------------------------------------------------------------------------------------------

    def follow(self, leader: NodeId, ballot: Ballot) -> None:
        """A leader of a ballot not below the promise was heard."""
        assert ballot >= self.promised, (ballot, self.promised)
        if ballot != self.leader_ballot or leader != self.leader:
            self.abandon()
            self.lose_leader()
            self.leader, self.leader_ballot = leader, ballot
            self.role = Role.FOLLOWER if self.may_vote() else Role.LEARNER
            self.patience_ms = self.bounds.election_timeout_ms + self.random(self.bounds.election_jitter_ms)
            self.granted_until_ms = self.now  # the candidate has won, or is of no account any more
            self.new_leader_heard()
        # In memory only: no later message claims it before `save_promise` has it persisted.
        self.promised = ballot
        self.leader_heard_ms = self.now
        self.election_due_ms = self.now + self.patience_ms

    # --- hooks ---------------------------------------------------------------------------------------------------------------

    @abstractmethod
    def learn_upto(self, sender: NodeId, ballot: Ballot, upto: Slot) -> None:
        raise NotImplementedError

    @abstractmethod
    def new_leader_heard(self) -> None:
        raise NotImplementedError


def check_owner(sender: NodeId, ballot: Ballot) -> None:
    """A node speaks only for its own ballots."""
    if ballot_node(ballot) != sender:
        raise PeerError(f"node {sender} speaks for ballot {ballot}, which belongs to node {ballot_node(ballot)}")
