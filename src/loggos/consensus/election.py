"""Elections: who may stand, pre-votes, phase 1 as the proposer sees it.

    FOLLOWER ─ leader lost or silent ─► CANDIDATE (pre-vote) ─ quorum grants ─► CANDIDATE (prepare)
        ─ quorum promises, own promise durable ─► LEADER

Rules: a pre-vote spends no ballot and is refused by whoever hears a leader; a voter that knows its life is not current
keeps silent; a candidate sends Prepare only when its own promise is durable; a proposer behind another's compaction gives
up and catches up (rule 3); a Promise testifies for a slot only from `vouches_from` on (rule 6). Source: Lamport, Paxos
Made Simple, section 2.5; Ongaro, dissertation, section 9.6 (pre-vote).
"""

from __future__ import annotations

from abc import abstractmethod

from loggos.base.ids import NO_BALLOT, NO_NODE, Ballot, Incarnation, NodeId, Slot, ballot_node
from loggos.consensus.acceptor import check_owner
from loggos.consensus.learner import Learner
from loggos.consensus.types import Entry, Nack, Prepare, PreVote, PreVoteReply, Promise, Resign, Role

WHOLE = Slot(1 << 62)  # a testimony without an upper bound


class Testimony:
    """One voter's promise, as far as its parts have arrived."""

    __slots__ = ("covered", "incarnation", "vouches_from")

    def __init__(self, incarnation: Incarnation, first: Slot, vouches_from: Slot) -> None:
        self.incarnation = incarnation
        self.covered = Slot(first - 1)  # all slots up to it are testified
        self.vouches_from = vouches_from

    @property
    def is_whole(self) -> bool:
        return self.covered == WHOLE


class Campaign:
    """One attempt to lead, from the pre-vote to the last open slot closed."""

    __slots__ = ("ballot", "best", "first", "grants", "prepared_ms", "promises")

    def __init__(self, ballot: Ballot) -> None:
        self.ballot = ballot
        self.prepared_ms: int | None = None  # when phase 1 began; None: others are still asked whether they would promise
        self.grants = 0  # bits of voters
        self.first = Slot(0)  # of the Prepare
        self.promises: dict[NodeId, Testimony] = {}
        self.best: dict[Slot, Entry] = {}  # the value accepted at the highest ballot, by open slot

    @property
    def preparing(self) -> bool:
        """Is the ballot spent?"""
        return self.prepared_ms is not None


class Election(Learner):
    """Pre-vote and phase 1."""

    campaign: Campaign | None = None

    # --- when to stand -------------------------------------------------------------------------------------------------------

    def tick_election(self) -> None:
        if self.role is Role.LEARNER or self.now < self.election_due_ms:
            return
        campaign = self.campaign
        prepared_ms = campaign.prepared_ms if campaign is not None else None
        if campaign is not None and prepared_ms is not None and self.now - prepared_ms < self.bounds.election_timeout_ms:
            self.ask_promises(campaign)
        else:
            self.start_pre_vote()

    def hears_leader(self) -> bool:
        """Is a leader known, not lost and not silent?"""
        return self.leader != NO_NODE and self.now - self.leader_heard_ms < self.bounds.election_timeout_ms

    def leader_gone(self) -> None:
        """The leader's connection broke, or it resigned: stand at once, voters one after another (rule 10)."""
        old = self.leader
        self.lose_leader()
        if self.role is Role.LEARNER:
            return
        rank = [node for node in sorted(self.voter_bit) if node != old].index(self.node)
        self.election_due_ms = self.now + rank * self.bounds.election_stagger_ms
        if rank == 0:
            self.start_pre_vote()

    def peer_lost(self, node: NodeId) -> None:
        """The connection to a peer broke."""
        if node == self.leader:
            self.leader_gone()
        elif self.granted_until_ms > self.now:
            self.granted_until_ms = self.now  # it may have been the candidate: let the next one try
        if node == self.fetch_from:
            self.fetch_from = NO_NODE
            self.new_leader_heard()

    def on_resign(self, sender: NodeId, incarnation: Incarnation, message: Resign) -> None:
        check_owner(sender, message.ballot)
        if sender == self.leader and message.ballot == self.leader_ballot:
            self.leader_gone()

    # --- pre-vote ------------------------------------------------------------------------------------------------------------

    def start_pre_vote(self) -> None:
        assert not self.is_leading()
        self.lose_leader()
        self.role = Role.CANDIDATE
        campaign = self.campaign = Campaign(self.next_ballot())
        self.election_due_ms = self.now + self.bounds.pre_vote_retry_ms + self.random(self.bounds.pre_vote_retry_ms)
        self.broadcast(self.peers_to_ask, PreVote(campaign.ballot, self.log.chosen))
        self.count_grant(campaign, self.node)

    def on_pre_vote(self, sender: NodeId, incarnation: Incarnation, message: PreVote) -> None:
        check_owner(sender, message.ballot)
        self.note_ahead(sender, message.chosen)
        granted = self.may_vote() and self.grants_pre_vote(sender, incarnation, message)
        if granted and self.campaign is None:
            self.election_due_ms = max(self.election_due_ms, self.now + self.bounds.candidate_grace_ms)
        self.send(sender, PreVoteReply(message.ballot, granted, self.promised, self.leader, self.log.chosen))

    def grants_pre_vote(self, sender: NodeId, incarnation: Incarnation, message: PreVote) -> bool:
        """Would a Prepare by this candidate be of use? A leader with a quorum, or still heard here, is not disturbed."""
        if not self.counts(sender, incarnation) or message.ballot <= self.promised:
            return False
        if message.chosen + self.bounds.window_slots < self.log.chosen or message.chosen < self.log.compacted:
            return False  # it must catch up first, and this node may stand itself
        if self.is_leading() or (self.hears_leader() and self.leader != sender):
            return False
        return self.now >= self.granted_until_ms or ballot_node(self.promised) == sender

    def on_pre_vote_reply(self, sender: NodeId, incarnation: Incarnation, message: PreVoteReply) -> None:
        self.see_ballot(message.promised)
        self.note_ahead(sender, message.chosen)
        campaign = self.campaign
        if campaign is None or campaign.preparing or message.ballot != campaign.ballot or not self.counts(sender, incarnation):
            return
        if message.granted:
            self.count_grant(campaign, sender)
        elif message.promised >= campaign.ballot:
            self.start_pre_vote()  # again at once, above that promise

    def count_grant(self, campaign: Campaign, voter: NodeId) -> None:
        campaign.grants |= self.voter_bit[voter]
        if campaign.grants.bit_count() >= self.quorum:
            self.start_prepare(campaign)

    # --- phase 1 -------------------------------------------------------------------------------------------------------------

    def start_prepare(self, campaign: Campaign) -> None:
        """Spend the ballot: this node's own promise first, and the others' only when that is durable."""
        campaign.prepared_ms = self.now
        campaign.first = Slot(self.log.chosen + 1)
        self.promise(campaign.ballot)
        self.own_promise = campaign.ballot
        self.must_sync = True
        self.ask_promises(campaign)

    def ask_promises(self, campaign: Campaign) -> None:
        """Prepare to every voter whose promise is not whole yet."""
        self.election_due_ms = self.now + self.bounds.retransmit_ms
        prepare = Prepare(campaign.ballot, campaign.first)
        for node in self.peers_to_ask:
            testimony = campaign.promises.get(node)
            if testimony is None or not testimony.is_whole:
                self.send_prepare(node, prepare)

    def send_prepare(self, to: NodeId, prepare: Prepare) -> None:
        """A restarted candidate must not use a ballot twice: its own promise is durable before anyone hears of the ballot."""
        self.send_after(to, prepare)

    def own_promise_durable(self, ballot: Ballot) -> None:
        """A Ready with this node's own promise is on the disk: it counts now."""
        campaign = self.campaign
        if campaign is not None and campaign.preparing and campaign.ballot == ballot:
            self.count_own_promise(campaign)
            self.promises_changed(campaign)

    def count_own_promise(self, campaign: Campaign) -> None:
        """Everything accepted here is testimony too; nothing below the ballot was accepted since the promise."""
        own = Testimony(self.incarnation, campaign.first, self.own_vouches_from())
        own.covered = WHOLE
        campaign.promises[self.node] = own
        self.collect(campaign, self.log.since(campaign.first, self.log.last, 1 << 62))

    def on_promise(self, sender: NodeId, incarnation: Incarnation, message: Promise) -> None:
        campaign = self.campaign
        if campaign is None or not campaign.preparing or message.ballot != campaign.ballot:
            return
        if not self.counts(sender, incarnation):
            return
        if self.must_catch_up(message):
            self.give_up(sender)
            return
        testimony = campaign.promises.get(sender)
        if testimony is None or testimony.incarnation != incarnation:
            vouches_from = self.vouches_from(sender, message.vouches_from)
            testimony = campaign.promises[sender] = Testimony(incarnation, campaign.first, vouches_from)
        if message.first > testimony.covered + 1:
            return  # a part before this one is missing: the Prepare will be sent again
        self.collect(campaign, message.entries)
        if not self.is_leading():
            self.learn_chosen(message.entries, message.chosen)
        testimony.covered = max(testimony.covered, message.upto or WHOLE)
        self.promises_changed(campaign)

    def must_catch_up(self, message: Promise) -> bool:
        """Rule 3: what the replier has forgotten is chosen, and this node cannot learn it by phase 1."""
        return message.compacted > self.log.chosen

    def give_up(self, ahead: NodeId) -> None:
        self.abandon()
        self.lose_leader()
        self.election_due_ms = self.now + self.patience_ms
        self.fetch(ahead)

    def collect(self, campaign: Campaign, entries: tuple[Entry, ...]) -> None:
        """Remember, per slot, the value accepted at the highest ballot."""
        best = campaign.best
        for entry in entries:
            known = best.get(entry.slot)
            if known is None or known.ballot < entry.ballot:
                best[entry.slot] = entry

    def testimony_count(self, campaign: Campaign, slot: int) -> int:
        """How many voters have said, of this slot, what they accepted there or that they accepted nothing (rule 6)."""
        if self.may_void_promises(slot):
            return 0
        return sum(1 for testimony in campaign.promises.values() if testimony.is_whole and self.is_known(testimony, slot))

    def may_void_promises(self, slot: int) -> bool:
        """A change of the membership that lies below the slot and is not delivered yet may begin a voter's new life, for which
        the promise of the old one says nothing: its accepts up there are not in that promise."""
        return self.log.has_config_between(self.delivered, slot)

    def is_known(self, testimony: Testimony, slot: int) -> bool:
        return slot >= testimony.vouches_from

    def has_promise_quorum(self, campaign: Campaign) -> bool:
        """A quorum of whole promises, this node's own durable one among them."""
        if self.node not in campaign.promises:
            return False
        return sum(1 for testimony in campaign.promises.values() if testimony.is_whole) >= self.quorum

    def on_nack(self, sender: NodeId, incarnation: Incarnation, message: Nack) -> None:
        """Someone has promised a higher ballot: this one is over."""
        self.see_ballot(message.promised)
        if not self.counts(sender, incarnation) or message.promised <= message.ballot:
            return
        campaign = self.campaign
        is_preparing = campaign is not None and campaign.preparing and campaign.ballot == message.ballot
        if is_preparing or self.own_ballot() == message.ballot:
            self.abandon()
            self.lose_leader()
            self.election_due_ms = self.now + self.random(self.bounds.pre_vote_retry_ms)

    # --- hooks ---------------------------------------------------------------------------------------------------------------

    def voter_changed(self, node: NodeId) -> None:
        campaign = self.campaign
        if campaign is not None:
            campaign.promises.pop(node, None)
            campaign.grants &= ~self.voter_bit.get(node, 0)

    def own_standing_changed(self) -> None:
        if self.may_vote() and self.role is Role.LEARNER:
            self.role = Role.FOLLOWER  # of the leader it follows already
        elif not self.may_vote():
            self.abandon()
            self.lose_leader()
            self.role = Role.LEARNER
        self.election_due_ms = self.now + self.patience_ms

    def own_ballot(self) -> Ballot:
        return NO_BALLOT

    @abstractmethod
    def promises_changed(self, campaign: Campaign) -> None:
        """Perhaps there is a quorum now, or enough testimony for a slot that waited."""
        raise NotImplementedError
