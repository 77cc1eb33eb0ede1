"""The engine: the seam of the package on top of its layers. Messages find their handler in a table; effects leave through
`ready`.

The driver's duties are in the package docstring. Sans-IO: no clock, no socket, no entropy of its own; the same calls give
the same effects.
"""

from __future__ import annotations

from typing import Final

from loggos.base.ids import NO_BALLOT, Incarnation, NodeId, Slot
from loggos.consensus.acceptor import NO_SLOT
from loggos.consensus.core import Persist, Standing
from loggos.consensus.reads import Reads
from loggos.consensus.types import (
    Accept,
    Accepted,
    Entry,
    Fetch,
    HardState,
    Heartbeat,
    HeartbeatReply,
    Learn,
    Message,
    Nack,
    Prepare,
    PreVote,
    PreVoteReply,
    Promise,
    ReadAsk,
    ReadGrant,
    Ready,
    Resign,
    SnapshotOffer,
    Status,
)

HANDLERS: Final[dict[type, str]] = {
    PreVote: "on_pre_vote",
    PreVoteReply: "on_pre_vote_reply",
    Prepare: "on_prepare",
    Promise: "on_promise",
    Accept: "on_accept",
    Accepted: "on_accepted",
    Nack: "on_nack",
    Heartbeat: "on_heartbeat",
    HeartbeatReply: "on_heartbeat_reply",
    Fetch: "on_fetch",
    Learn: "on_learn",
    ReadAsk: "on_read_ask",
    ReadGrant: "on_read_grant",
    SnapshotOffer: "on_snapshot_offer",
    Resign: "on_resign",
}


class Paxos(Reads):
    """One node's part in one replicated log: `Paxos(node, restored, now_ms=…, random=below)`."""

    # --- events --------------------------------------------------------------------------------------------------------------

    def step(self, sender: NodeId, incarnation: Incarnation, message: Message) -> None:
        """A peer's message, with the life of the sender that sent it. PeerError: close that connection."""
        if self.is_member(sender) and sender != self.node:
            getattr(self, HANDLERS[type(message)])(sender, incarnation, message)

    def tick(self, now_ms: int) -> None:
        """Time passes. `now_ms` is monotonic."""
        self.now = max(self.now, now_ms)
        if self.lead is not None:
            self.tick_leader(self.lead)
        else:
            self.tick_election()
        self.tick_fetch()
        self.tick_reads()

    def persisted(self, number: int) -> None:
        """Everything of the Readys up to `number` is durable: only now does this node count on itself."""
        while self.persists and self.persists[0].number <= number:
            persist = self.persists.popleft()
            self.durable_chosen = max(self.durable_chosen, persist.chosen)
            if persist.promise != NO_BALLOT:
                self.own_promise_durable(persist.promise)
            if persist.votes is not None:
                self.own_votes_durable(persist.ballot, *persist.votes)
            if persist.held:
                self.own_held_durable(persist.ballot, persist.held)
        if not self.persists and not self.unsaved:
            self.durable_chosen = self.log.chosen  # no write with entries is under way; perhaps that is to be saved now

    # --- effects -------------------------------------------------------------------------------------------------------------

    def has_news(self) -> bool:
        """Would `ready` give something? If not, and nobody proposes or asks, nothing is left to do before the next event."""
        lead = self.lead
        return bool(
            self.messages
            or self.messages_after
            or self.unsaved
            or self.delivered != self.log.chosen
            or self.reads_done
            or self.snapshots_wanted
            or (lead is not None and (lead.fresh or lead.announced < self.log.chosen or lead.campaign is not None))
            or self.waiting
            or self.must_save
            or self.must_save_config()
            or self.standing() != self.status_told
        )

    def ready(self) -> Ready | None:
        """What the driver must do now, or None."""
        if not self.has_news():
            return None
        committed = self.deliver()
        lead = self.lead
        if lead is not None:
            self.flush_leader(lead)
            self.start_round(lead)
        hard_state, entries = self.take_unsaved()
        status = self.status_news()
        outbox = self.messages or self.messages_after or self.reads_done or self.snapshots_wanted
        if not (entries or hard_state or outbox or committed or status):
            return None
        self.number += 1
        ready = Ready(
            self.number,
            hard_state,
            entries,
            self.must_sync,
            tuple(self.messages),
            tuple(self.messages_after),
            committed,
            tuple(self.snapshots_wanted),
            tuple(self.reads_done),
            status,
        )
        self.note_persist(bool(entries))
        self.messages, self.messages_after, self.reads_done, self.snapshots_wanted = [], [], [], []
        self.must_sync = False
        return ready

    def take_unsaved(self) -> tuple[HardState | None, tuple[Entry, ...]]:
        """Entries and hard state to persist. The chosen prefix is a hint, which waits for company and covers only entries known
        to be durable: a crash may keep the hard state of a write and lose the entries beside it."""
        entries = tuple(self.unsaved)
        hard_state = None
        if not self.persists and not entries:
            self.durable_chosen = self.log.chosen  # no write with entries is under way
        if self.must_save_config():
            self.must_save = self.must_sync = True
        if entries or self.must_save:
            hard_state = HardState(self.promised, self.durable_chosen)
            if hard_state == self.saved:
                hard_state = None
            else:
                self.saved = hard_state
        self.unsaved = []
        self.must_save = False
        return hard_state, entries

    def must_save_config(self) -> bool:
        """That a change of the membership is chosen is no mere hint: after a crash of all, a voter that rejoined could not vote
        without it, and another's loss would then leave no quorum."""
        return self.saved.chosen < self.config_slot <= self.durable_chosen

    def note_persist(self, has_entries: bool) -> None:
        """Remember what the durability of this Ready will mean here (rule 2)."""
        if has_entries or self.own_promise != NO_BALLOT:
            lead, log = self.lead, self.log
            if lead is not None:
                ballot, held = lead.ballot, NO_SLOT
            else:
                ballot, held = self.leader_ballot, log.held_at(self.leader_ballot)
            self.persists.append(Persist(self.number, self.own_promise, ballot, self.own_votes, held, log.chosen))
            self.own_promise = NO_BALLOT
            self.own_votes = None

    def standing(self) -> Standing:
        """The parts of the status that others wait for."""
        return self.role, self.leader, self.lead is not None and self.lead.settled, self.promised, self.heard

    def status_news(self) -> Status | None:
        """The status, if its standing changed."""
        standing = self.standing()
        if standing == self.status_told:
            return None
        self.status_told = standing
        return self.status()

    def peer_chosen(self, node: NodeId) -> Slot:
        """How far a peer is, as far as this node has heard: by its answers to the leader, or by what it asked for."""
        peer = self.lead.peers.get(node) if self.lead is not None else None
        if peer is not None and peer.incarnation:
            return peer.chosen
        return Slot(max(0, self.asked_from.get(node, Slot(0)) - 1))

    def status(self) -> Status:
        """For people, metrics and doors."""
        log = self.log
        settled = self.lead is not None and self.lead.settled
        return Status(
            self.role, self.leader, self.promised, log.chosen, self.applied_slot, log.last, log.first, settled, self.heard
        )
