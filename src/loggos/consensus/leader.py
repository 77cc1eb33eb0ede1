"""The leader: closing open slots, proposing, counting votes, keeping followers supplied, and knowing when to stop.

Rules: every open slot is closed before anything new, an adopted value keeps its origin, a gap gets a no-op of this ballot
(rule 1); then comes a no-op of its own, and only when that is chosen is the leader settled. It works only on slots up to
its chosen prefix plus the window (rule 4). Votes are bits per slot, at this ballot, of voters in their current life; its
own bit is set only when its own disk has the entry (rule 2). Without answers from a quorum for an election timeout it
steps down (rule 10). Source: van Renesse and Altinbuken, Paxos Made Moderately Complex; Chandra et al., Paxos Made Live;
safety rules 1-6, 10.
"""

from __future__ import annotations

from abc import abstractmethod

from loggos.base.ids import NO_BALLOT, NO_NODE, Ballot, Incarnation, NodeId, Slot
from loggos.consensus.acceptor import NO_SLOT, check_owner
from loggos.consensus.codec import encode_rejoin
from loggos.consensus.core import Bounds, Random
from loggos.consensus.election import Campaign, Election
from loggos.consensus.types import Accept, Accepted, Entry, Heartbeat, HeartbeatReply, Kind, Rejoin, Resign, Restored, Role


class Peer:
    """What the leader knows of one follower."""

    __slots__ = (
        "attended", "backoff_ms", "chosen", "furthest", "heard_ms", "held", "incarnation", "patient_ms", "read_round", "timed",
        "told", "took_ms", "voted",
    )  # fmt: skip

    def __init__(self, now_ms: int) -> None:
        self.incarnation = Incarnation(0)  # of the life that last answered
        self.heard_ms = now_ms
        self.chosen = NO_SLOT
        self.held = NO_SLOT  # it holds everything up to this slot, durable or soon
        self.read_round = 0
        self.voted = NO_SLOT  # its disk has everything up to this slot
        self.attended = True  # somebody there waits for what is chosen, as far as this node knows
        self.patient_ms = now_ms  # entries were sent, or sent again, or it got further: since then it is waited for
        self.start_pacing()

    def start_pacing(self) -> None:
        """Nothing is known of how slow the way to it is, nor of how far it is: what it had in memory only may be lost."""
        self.furthest = NO_SLOT  # of all that it said since
        self.told = NO_SLOT  # it hears of this leader's own votes up to this slot, when the disk has them
        self.backoff_ms = 0  # after what was sent again without effect
        self.timed: tuple[Slot, int] | None = None  # a slot and when it was sent: how long its answer takes is measured
        self.took_ms = 0  # how long answers took lately: the longest, fading

    def note_sent(self, upto: Slot, now_ms: int) -> None:
        """Entries were sent for the first time."""
        self.patient_ms = now_ms
        if self.timed is None:
            self.timed = upto, now_ms

    def note_answer(self, now_ms: int) -> None:
        """It has said how far it is: perhaps further than before."""
        furthest = max(self.held, self.chosen)
        if furthest <= self.furthest:
            return
        self.furthest, self.patient_ms, self.backoff_ms = furthest, now_ms, 0
        if self.timed is not None and self.timed[0] <= furthest:
            self.took_ms = max(now_ms - self.timed[1], self.took_ms * 3 // 4)
            self.timed = None


class Leadership:
    """The state of one term."""

    __slots__ = (
        "announced", "ballot", "campaign", "fresh", "heartbeat_due_ms", "max_seen", "next", "own_slot", "peers", "rejoining",
        "settled", "voted", "votes",
    )  # fmt: skip

    def __init__(self, campaign: Campaign, first: Slot, max_seen: Slot, peers: dict[NodeId, Peer], now_ms: int) -> None:
        self.ballot = campaign.ballot
        self.campaign: Campaign | None = campaign  # None once every open slot is closed
        self.next = first  # the slot to be proposed next
        self.max_seen = max_seen  # the highest slot that anyone had accepted
        self.own_slot = NO_SLOT  # of this leader's opening no-op
        self.settled = False
        self.votes: dict[Slot, int] = {}  # bits of voters, by slot proposed and not yet chosen
        self.voted = NO_SLOT  # this leader's disk has everything up to this slot
        self.peers = peers
        self.fresh: list[Entry] = []  # proposed since the last Ready
        self.announced = NO_SLOT  # the chosen prefix that followers were last told
        self.heartbeat_due_ms = now_ms
        self.rejoining: dict[NodeId, Incarnation] = {}  # Rejoins proposed in this term


class Leader(Election):
    """Phase 2 as the proposer sees it."""

    lead: Leadership | None = None

    def __init__(self, node: NodeId, restored: Restored, *, now_ms: int, random: Random, bounds: Bounds = Bounds()) -> None:
        super().__init__(node, restored, now_ms=now_ms, random=random, bounds=bounds)
        self.admissions: dict[NodeId, Incarnation] = {}  # voters that came back empty, by the word of the driver
        self.voted_again_ms = now_ms

    def is_leading(self) -> bool:
        return self.lead is not None

    def own_ballot(self) -> Ballot:
        return self.lead.ballot if self.lead is not None else NO_BALLOT

    # --- the term's beginning ------------------------------------------------------------------------------------------------

    def promises_changed(self, campaign: Campaign) -> None:
        if self.lead is None:
            if self.has_promise_quorum(campaign):
                self.begin_term(campaign)
        else:
            self.lead.max_seen = max([self.lead.max_seen, *campaign.best])
            self.close_open_slots(self.lead)

    def begin_term(self, campaign: Campaign) -> None:
        first = Slot(self.log.chosen + 1)
        peers = {node: Peer(self.now) for node in self.followers}
        max_seen = max([self.log.chosen, *campaign.best])
        lead = self.lead = Leadership(campaign, first, max_seen, peers, self.now)
        self.role = Role.LEADER
        self.leader, self.leader_ballot = self.node, campaign.ballot
        self.new_leader_heard()
        self.close_open_slots(lead)

    def close_open_slots(self, lead: Leadership) -> None:
        """Adopt or fill every open slot that has testimony enough, in order; then open the term with a no-op of its own."""
        campaign = lead.campaign
        while campaign is not None and lead.next <= self.window_end():
            if self.testimony_count(campaign, lead.next) < self.quorum:
                return
            if lead.next > lead.max_seen:
                lead.own_slot = lead.next
                self.propose_entry(lead, self.opening_entry(lead))
                campaign = lead.campaign = self.campaign = None
            else:
                adopted = campaign.best.get(lead.next)
                self.propose_entry(lead, self.gap_entry(lead) if adopted is None else self.adopted_entry(lead, adopted))

    def adopted_entry(self, lead: Leadership, accepted: Entry) -> Entry:
        """The value that may be chosen already, at this ballot; its origin is kept (rule 1)."""
        return accepted._replace(ballot=lead.ballot)

    def gap_entry(self, lead: Leadership) -> Entry:
        """A quorum accepted nothing here: a no-op of this leader's (rule 1: its origin is this ballot)."""
        return Entry(lead.next, lead.ballot, lead.ballot, Kind.NOOP, b"")

    def opening_entry(self, lead: Leadership) -> Entry:
        return Entry(lead.next, lead.ballot, lead.ballot, Kind.NOOP, b"")

    def window_end(self) -> int:
        """Rule 4: the last slot that may be proposed."""
        return self.log.chosen + self.bounds.window_slots

    # --- proposing -----------------------------------------------------------------------------------------------------------

    def can_propose(self) -> bool:
        """Would `propose` take a batch now?"""
        lead = self.lead
        if lead is None or not lead.settled or not self.may_store():
            return False
        return lead.next <= min(self.log.chosen + self.bounds.in_flight_slots, self.window_end())

    def in_flight(self) -> int:
        """How many slots this leader has proposed that are not chosen yet."""
        lead = self.lead
        return lead.next - 1 - self.log.chosen if lead is not None else 0

    def can_propose_config(self, lead: Leadership) -> bool:
        """A change of the membership need not compete with the load for a place in flight."""
        return lead.settled and self.may_store() and lead.next <= self.window_end()

    def propose(self, payload: bytes, kind: Kind = Kind.DATA) -> bool:
        """Append one batch. False: not the leader, not settled, or as many slots are in flight as may be."""
        lead = self.lead
        if lead is None or not (self.can_propose() or (kind is Kind.CONFIG and self.can_propose_config(lead))):
            return False
        assert kind is not Kind.NOOP or not payload
        self.propose_entry(lead, Entry(lead.next, lead.ballot, lead.ballot, kind, payload))
        return True

    def propose_entry(self, lead: Leadership, entry: Entry) -> None:
        """Accepts leave at once, overlapping this node's own disk; its own vote waits for that disk."""
        assert entry.slot == lead.next, (entry.slot, lead.next)
        assert entry.ballot == lead.ballot == self.promised, (entry.ballot, lead.ballot, self.promised)
        self.store(entry)
        self.must_sync = True
        lead.fresh.append(entry)
        lead.votes[entry.slot] = 0
        lead.next = Slot(entry.slot + 1)
        self.note_own_vote(entry.slot)

    def note_own_vote(self, slot: Slot) -> None:
        """This node's own vote for `slot` comes with the durability of the next Ready."""
        first = slot if self.own_votes is None else self.own_votes[0]
        self.own_votes = (first, slot)

    def own_votes_durable(self, ballot: Ballot, first: Slot, last: Slot) -> None:
        """A Ready with this leader's own entries is on the disk."""
        if self.lead is not None and self.lead.ballot == ballot:
            self.lead.voted = last
            self.count_votes(self.lead, self.voter_bit[self.node], first, last)

    # --- counting ------------------------------------------------------------------------------------------------------------

    def on_accepted(self, sender: NodeId, incarnation: Incarnation, message: Accepted) -> None:
        lead = self.lead
        if lead is None:
            self.on_leader_accepted(sender, incarnation, message)
            return
        if message.ballot != lead.ballot:
            return
        peer = self.heard_from(lead, sender, incarnation)
        if peer is None:
            return
        peer.chosen = max(peer.chosen, message.chosen)
        if message.first <= max(peer.held, peer.chosen) + 1:
            peer.held = max(peer.held, message.last)
        if message.first <= max(peer.voted, peer.chosen) + 1:
            peer.voted = max(peer.voted, message.last)
        peer.note_answer(self.now)
        if self.counts(sender, incarnation):
            self.count_votes(lead, self.voter_bit[sender], message.first, message.last)

    def count_votes(self, lead: Leadership, bit: int, first: Slot, last: Slot) -> None:
        votes = lead.votes
        for slot in range(max(first, self.log.chosen + 1), min(last, lead.next - 1) + 1):
            votes[Slot(slot)] |= bit
        self.advance(lead)

    def advance(self, lead: Leadership) -> None:
        """The chosen prefix grows over slots with a quorum of votes."""
        log = self.log
        while self.is_chosen(lead, Slot(log.chosen + 1)):
            log.choose_next()
            del lead.votes[log.chosen]
        if lead.own_slot and not lead.settled and log.chosen >= lead.own_slot:
            lead.settled = True
        if lead.campaign is not None:
            self.close_open_slots(lead)

    def is_chosen(self, lead: Leadership, slot: Slot) -> bool:
        return lead.votes.get(slot, 0).bit_count() >= self.quorum

    def heard_from(self, lead: Leadership, sender: NodeId, incarnation: Incarnation) -> Peer | None:
        """A follower answered at this ballot. A new life of it starts from nothing."""
        peer = lead.peers.get(sender)
        if peer is None:
            return None
        if peer.incarnation != incarnation:
            if peer.incarnation:
                lead.peers[sender] = peer = Peer(self.now)
            peer.incarnation = incarnation
        if not self.is_in_contact(peer):
            peer.start_pacing()
        peer.heard_ms = self.now
        return peer

    def on_heartbeat_reply(self, sender: NodeId, incarnation: Incarnation, message: HeartbeatReply) -> None:
        lead = self.lead
        if lead is None or message.ballot != lead.ballot:
            return
        peer = self.heard_from(lead, sender, incarnation)
        if peer is None:
            return
        peer.chosen = message.chosen
        peer.held = message.last
        peer.attended = message.attended
        peer.note_answer(self.now)
        if message.read_round > peer.read_round:
            peer.read_round = message.read_round
            self.reads_confirmed(lead)

    # --- heartbeats, as a follower -------------------------------------------------------------------------------------------

    def on_heartbeat(self, sender: NodeId, incarnation: Incarnation, message: Heartbeat) -> None:
        check_owner(sender, message.ballot)
        if not self.may_accept(message.ballot):
            self.nack(sender, message.ballot)
            return
        self.follow(sender, message.ballot)
        self.note_heard(message.heard)
        self.learn_upto(sender, message.ballot, message.chosen)
        log = self.log
        last = log.held_at(message.ballot)
        self.send(sender, HeartbeatReply(message.ballot, log.chosen, last, message.read_round, self.attended))
        if last > message.chosen and self.now - self.voted_again_ms >= self.bounds.heartbeat_ms:
            # The leader does not know these as chosen: perhaps votes were lost, which are cheaper to repeat than entries. What is
            # chosen here is what the leader proposes there, so that vote is true as well.
            self.voted_again_ms = self.now
            self.send_after(sender, Accepted(message.ballot, Slot(message.chosen + 1), last, log.chosen))

    def note_heard(self, heard: bool) -> None:
        """Whether the leader hears this node. If not, it can do nothing for its clients, but it does not disturb the cell: it
        hears the leader, so it does not stand, and its votes count if they arrive."""
        if heard:
            self.heard, self.unheard_since_ms = True, None
        elif self.unheard_since_ms is None:
            self.unheard_since_ms = self.now
        elif self.heard and self.now - self.unheard_since_ms >= self.bounds.unheard_grace_ms:
            self.heard = False
            self.asks_failed()

    # --- supplying -----------------------------------------------------------------------------------------------------------

    def flush_leader(self, lead: Leadership) -> None:
        """What was proposed since the last Ready goes out with the news of what is chosen, or that news alone."""
        if lead.campaign is not None:
            self.close_open_slots(lead)  # a change of the membership that slots waited for may be delivered now, and be void
        chosen = self.log.chosen
        fresh = lead.fresh
        if fresh:
            lead.fresh = []
            for run in self.runs(fresh):
                accept = Accept(lead.ballot, run, chosen)
                for node, peer in lead.peers.items():
                    if self.has_room(peer, run[0].slot):
                        self.send(node, accept)
                        peer.note_sent(run[-1].slot, self.now)
            self.tell_own_vote(lead)
            lead.announced = chosen
        elif lead.announced < chosen:
            self.announce(lead)

    def has_room(self, peer: Peer, slot: int) -> bool:
        """Is the slot within the follower's window? One that lags further fetches what is chosen first."""
        return slot <= peer.chosen + self.bounds.window_slots or not peer.incarnation

    def tell_own_vote(self, lead: Leadership) -> None:
        """Where a follower and its leader are a quorum, a follower at which somebody waits hears of its leader's votes as the
        leader hears of its: both know at the same time that a slot is chosen. Each vote is for all slots that are open, so
        that one that was lost, or not told, leaves no gap."""
        if self.two_are_a_quorum():
            vote = Accepted(lead.ballot, Slot(self.log.chosen + 1), Slot(lead.next - 1), self.log.chosen)
            for node in self.peers_to_ask:
                peer = lead.peers[node]
                if peer.attended and self.may_count(node, peer):
                    peer.told = vote.last
                    self.send_after(node, vote)

    def announce(self, lead: Leadership) -> None:
        """Followers hear at once what is chosen, if anybody there waits for it and they do not find out by themselves."""
        chosen = lead.announced = self.log.chosen
        news = Accept(lead.ballot, (), chosen)
        for node, peer in lead.peers.items():
            if peer.attended and min(peer.voted, peer.told, lead.voted) < chosen:
                self.send(node, news)

    def peer_attended(self, node: NodeId) -> None:
        """Somebody at a peer has begun to wait."""
        peer = self.lead.peers.get(node) if self.lead is not None else None
        if peer is not None:
            peer.attended = True

    def runs(self, entries: list[Entry]) -> list[tuple[Entry, ...]]:
        """Consecutive entries in messages of bounded size."""
        found: list[tuple[Entry, ...]] = []
        run: list[Entry] = []
        size = 0
        for entry in entries:
            size += len(entry.payload)
            if run and size > self.bounds.entries_bytes:
                found.append(tuple(run))
                run, size = [], len(entry.payload)
            run.append(entry)
        return [*found, tuple(run)]

    def heartbeat(self, lead: Leadership) -> None:
        lead.heartbeat_due_ms = self.now + self.bounds.heartbeat_ms
        lead.announced = self.log.chosen
        heard, unheard = (Heartbeat(lead.ballot, self.log.chosen, self.read_round(), told) for told in (True, False))
        for node, peer in lead.peers.items():
            self.send(node, heard if self.is_in_contact(peer) else unheard)

    def retransmit(self, lead: Leadership) -> None:
        """Open slots that a follower in contact seems to lack, a small piece of them; what is chosen it fetches by itself."""
        bounds = self.bounds
        for node, peer in lead.peers.items():
            wait_ms = self.retransmit_wait_ms(peer)
            if self.now - peer.patient_ms < wait_ms or not self.is_in_contact(peer):
                continue
            first = max(peer.held, self.log.chosen) + 1
            if first < lead.next and self.has_room(peer, first):
                peer.patient_ms = self.now
                peer.backoff_ms = min(2 * wait_ms, bounds.retransmit_backoff_ms)
                entries = self.log.since(first, lead.next - 1, bounds.retransmit_bytes)
                self.send(node, Accept(lead.ballot, entries, self.log.chosen))

    def retransmit_wait_ms(self, peer: Peer) -> int:
        """How long an answer is waited for: a few times what answers took lately, for on a slow way copies only queue before
        what is on its way already; and longer after each repeat that had no effect."""
        bounds = self.bounds
        return max(bounds.retransmit_ms, peer.backoff_ms, min(3 * peer.took_ms, bounds.retransmit_backoff_ms))

    def is_in_contact(self, peer: Peer) -> bool:
        return self.now - peer.heard_ms < self.bounds.election_timeout_ms

    # --- the clock -----------------------------------------------------------------------------------------------------------

    def tick_leader(self, lead: Leadership) -> None:
        if not self.quorum_is_heard(lead):
            self.step_down("no answers from a quorum")
            return
        if lead.campaign is not None and self.now >= self.election_due_ms:
            self.ask_promises(lead.campaign)
        if self.now >= lead.heartbeat_due_ms:
            self.heartbeat(lead)
        self.retransmit(lead)
        if self.admissions:
            self.admit_caught_up(lead)

    def quorum_is_heard(self, lead: Leadership) -> bool:
        """Check-quorum: did voters enough, this one included, answer within an election timeout?"""
        heard = 1
        for node in self.peers_to_ask:
            peer = lead.peers[node]
            if self.is_in_contact(peer) and self.may_count(node, peer):
                heard += 1
        return heard >= self.quorum

    def may_count(self, node: NodeId, peer: Peer) -> bool:
        """Is it a voter in its current life, as far as this node knows?"""
        return not peer.incarnation or self.counts(node, peer.incarnation)

    # --- lost voters ---------------------------------------------------------------------------------------------------------

    def admit(self, node: NodeId, incarnation: Incarnation) -> None:
        """The driver says: this voter came back empty under a new incarnation. Whoever leads proposes its Rejoin once it has
        caught up."""
        member = self.membership.voters.get(node)
        if member is None or member.incarnation == incarnation or node == self.node:
            self.admissions.pop(node, None)
        else:
            self.admissions[node] = incarnation

    def admit_caught_up(self, lead: Leadership) -> None:
        for node, incarnation in sorted(self.admissions.items()):
            if self.membership.voters[node].incarnation == incarnation:
                del self.admissions[node]
            elif lead.rejoining.get(node) == incarnation or not self.has_caught_up(lead, node, incarnation):
                continue
            elif self.propose(encode_rejoin(Rejoin(node, incarnation)), Kind.CONFIG):
                lead.rejoining[node] = incarnation

    def has_caught_up(self, lead: Leadership, node: NodeId, incarnation: Incarnation) -> bool:
        peer = lead.peers[node]
        near = peer.chosen + self.bounds.in_flight_slots >= self.log.chosen
        return peer.incarnation == incarnation and self.is_in_contact(peer) and near

    # --- the term's end ------------------------------------------------------------------------------------------------------

    def step_down(self, why: str) -> None:
        """Give up leading or standing; the followers are told, so that they need not wait for silence."""
        if self.lead is not None:
            self.broadcast(self.lead.peers, Resign(self.lead.ballot))
        if self.lead is not None or self.campaign is not None:
            self.abandon()
            self.lose_leader()
            self.election_due_ms = self.now + self.patience_ms

    def abandon(self) -> None:
        if self.lead is not None:
            self.reads_failed(self.lead)
            self.lead = None
        self.campaign = None
        self.own_votes = None
        if self.role in (Role.LEADER, Role.CANDIDATE):
            self.role = Role.FOLLOWER

    def lose_leader(self) -> None:
        if self.leader != NO_NODE:
            self.leader = NO_NODE
            self.note_heard(True)
            self.asks_failed()

    def peer_lost(self, node: NodeId) -> None:
        super().peer_lost(node)
        if self.lead is not None and node in self.lead.peers:
            self.lead.peers[node].start_pacing()  # what was on its way is lost, and the way may be another

    def voter_changed(self, node: NodeId) -> None:
        super().voter_changed(node)
        if self.lead is not None:
            bit = ~self.voter_bit.get(node, 0)
            for slot in self.lead.votes:
                self.lead.votes[slot] &= bit

    def config_delivered(self) -> None:
        """A change of the membership holds from here on: slots that waited for it may be closed, promises may be wanted again."""
        lead = self.lead
        if lead is not None and lead.campaign is not None:
            self.election_due_ms = self.now
            self.close_open_slots(lead)

    # --- hooks ---------------------------------------------------------------------------------------------------------------

    @abstractmethod
    def read_round(self) -> int:
        raise NotImplementedError

    @abstractmethod
    def reads_confirmed(self, lead: Leadership) -> None:
        raise NotImplementedError

    @abstractmethod
    def reads_failed(self, lead: Leadership) -> None:
        raise NotImplementedError

    @abstractmethod
    def asks_failed(self) -> None:
        raise NotImplementedError
