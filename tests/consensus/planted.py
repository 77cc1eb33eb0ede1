"""Engines with one decision broken each: the harness, the schedules, the transcripts and the explorer are tested by these."""

from __future__ import annotations

from typing import Any

from loggos.base.ids import Ballot, Incarnation, NodeId, Slot
from loggos.consensus.election import Campaign
from loggos.consensus.engine import Paxos
from loggos.consensus.leader import Leadership
from loggos.consensus.types import Accepted, Entry, Message, Outgoing


class PromiseBeforeDisk(Paxos):
    """Promise and Accepted leave before they are durable."""

    def send_after(self, to: NodeId, message: Message) -> None:
        self.send(to, message)


class AcceptedBeforeDisk(Paxos):
    def send_after(self, to: NodeId, message: Message) -> None:
        (self.messages if isinstance(message, Accepted) else self.messages_after).append(Outgoing(to, message))


class SelfVoteBeforeDisk(Paxos):
    """The leader counts itself before its own disk has the entry."""

    def note_own_vote(self, slot: Slot) -> None:
        assert self.lead is not None
        self.lead.votes[slot] |= self.voter_bit[self.node]


class PromiseNotSaved(Paxos):
    def save_promise(self) -> None:
        pass


class ForgetsAccepted(Paxos):
    """A promise reports nothing of what was accepted."""

    def accepted_since(self, first: Slot) -> tuple[Entry, ...]:
        return ()


class AnyAccept(Paxos):
    """A stale leader's Accept is taken after a higher promise."""

    def may_accept(self, ballot: Ballot) -> bool:
        return True

    def follow(self, leader: NodeId, ballot: Ballot) -> None:
        if ballot >= self.promised:
            super().follow(leader, ballot)


class PersistedByWatermark(Paxos):
    """The durability of any write is taken for that of every vote outstanding (rule 2)."""

    def own_votes_durable(self, ballot: Ballot, first: Slot, last: Slot) -> None:
        if self.lead is not None:
            self.count_votes(self.lead, self.voter_bit[self.node], Slot(1), Slot(self.lead.next - 1))


class PrimaryOrderDropped(Paxos):
    def is_superseded(self, entry: Entry) -> bool:
        return False


class PrimaryOrderByHighestOrigin(Paxos):
    """The obvious rule, which is not enough."""

    highest = 0

    def deliver_one(self, entry: Entry) -> Entry:
        delivered = super().deliver_one(entry)
        self.highest = max(self.highest, entry.origin)
        return delivered

    def is_superseded(self, entry: Entry) -> bool:
        return entry.origin < self.highest


class AdoptsAsItsOwn(Paxos):
    """The origin is not kept on adoption."""

    def adopted_entry(self, lead: Leadership, accepted: Entry) -> Entry:
        return accepted._replace(ballot=lead.ballot, origin=lead.ballot)


class FillsOverAccepted(Paxos):
    """Open slots are filled with no-ops, whatever was accepted there."""

    def adopted_entry(self, lead: Leadership, accepted: Entry) -> Entry:
        return self.gap_entry(lead)


class LowestBallotWins(Paxos):
    def collect(self, campaign: Campaign, entries: tuple[Entry, ...]) -> None:
        for entry in entries:
            campaign.best.setdefault(entry.slot, entry)


class LearnsAnyBallot(Paxos):
    """Rule 3 dropped: whatever is held below the commit index is taken for chosen."""

    def may_learn(self, entry: Entry, ballot: Ballot) -> bool:
        return True


class AnyLifeVotes(Paxos):
    """A wiped voter votes as if nothing had happened."""

    def counts(self, sender: NodeId, incarnation: Incarnation) -> bool:
        return sender in self.membership.voters


class ReadsOwnPrefix(Paxos):
    """A barrier covers what the leader knows as chosen, not what a follower may know before it."""

    def may_be_acknowledged(self, lead: Leadership) -> Slot:
        return self.log.chosen


class ReadsUnsettled(ReadsOwnPrefix):
    """And that before the leader's first own entry is chosen."""

    def reads_are_open(self, lead: Leadership) -> bool:
        return True


class LearnsBeforeOwnDisk(Paxos):
    """A follower takes the leader's vote and its own for a quorum before its own disk has the entry."""

    def note_persist(self, has_entries: bool) -> None:
        super().note_persist(has_entries)
        if self.persists:
            self.own_held_durable(self.persists[-1].ballot, self.persists[-1].held)


class KeepsVotesOfAnotherLeader(Paxos):
    """What an earlier leader's disk had passes for what the new one's has."""

    def new_leader_heard(self) -> None:
        held = self.held_by_leader
        super().new_leader_heard()
        self.held_by_leader = held


class KeepsOwnVotesForAnotherLeader(Paxos):
    """What this disk held at an earlier ballot passes for what it holds at the new leader's."""

    def new_leader_heard(self) -> None:
        held = self.held_here
        super().new_leader_heard()
        self.held_here = held


class OwnVoteOfAnyBallot(Paxos):
    """A write that was on its way when the leader changed counts for the new one."""

    def own_held_durable(self, ballot: Ballot, upto: Slot) -> None:
        super().own_held_durable(self.leader_ballot, upto)


class LeadersVoteOfAnyBallot(Paxos):
    """The vote of the same leader in an earlier term of its counts for the present one."""

    def on_leader_accepted(self, sender: NodeId, incarnation: Incarnation, message: Accepted) -> None:
        super().on_leader_accepted(sender, incarnation, message._replace(ballot=self.leader_ballot))


class ReadsUnconfirmed(Paxos):
    """A leader answers barriers without asking anyone."""

    def is_confirmed(self, lead: Leadership, number: int) -> bool:
        return True


class MinorityIsEnough(Paxos):
    def is_chosen(self, lead: Leadership, slot: Slot) -> bool:
        return lead.votes.get(slot, 0).bit_count() >= self.quorum - 1 and slot in lead.votes


class AloneWithOwnPromise(Paxos):
    def has_promise_quorum(self, campaign: Campaign) -> bool:
        return self.node in campaign.promises

    def testimony_count(self, campaign: Campaign, slot: int) -> int:
        return self.quorum


class IgnoresCompaction(Paxos):
    """A proposer behind another's compaction goes on."""

    def must_catch_up(self, message: Any) -> bool:
        return False


class NoCheckQuorum(Paxos):
    def quorum_is_heard(self, lead: Leadership) -> bool:
        return True


# Those that a few random schedules find; the others are for the explorer and the scenarios.
FOUND_BY_CHAOS: tuple[type[Paxos], ...] = (
    PromiseBeforeDisk, AcceptedBeforeDisk, ForgetsAccepted, PrimaryOrderDropped, AdoptsAsItsOwn, FillsOverAccepted,
    LearnsAnyBallot, LearnsBeforeOwnDisk, KeepsVotesOfAnotherLeader, KeepsOwnVotesForAnotherLeader, OwnVoteOfAnyBallot,
    AnyLifeVotes, ReadsOwnPrefix, ReadsUnsettled, MinorityIsEnough, AloneWithOwnPromise, IgnoresCompaction,
    PersistedByWatermark,
)  # fmt: skip
