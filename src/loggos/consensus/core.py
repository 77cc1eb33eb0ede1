"""What the parts of the engine share: the state of one acceptor, the outbox that becomes the next Ready, and who counts as a
voter.

The engine is one object in layers, each a file, each only calling downwards or through the hooks declared here:

    engine.Paxos → reads.Reads → leader.Leader → election.Election → learner.Learner → acceptor.Acceptor → core.Core

Every decision that safety hangs on is a small method of its own. Knows no bytes' meaning, no clock (time is an argument)
and no entropy (`random` is).
"""

from __future__ import annotations

from abc import abstractmethod
from collections import deque
from collections.abc import Callable, Iterable
from typing import NamedTuple

from loggos.base import limits
from loggos.base.ids import NO_BALLOT, NO_NODE, Ballot, Incarnation, NodeId, Slot, ballot_round, make_ballot
from loggos.consensus.log import Log
from loggos.consensus.types import Entry, HardState, HeartbeatReply, Member, Membership, Message, Outgoing, Restored, Role

Random = Callable[[int], int]  # below(n): a uniform integer in [0, n)


Standing = tuple[Role, NodeId, bool, Ballot, bool]  # role, leader, settled, promised, heard


class Bounds(NamedTuple):
    """The engine's bounds; the defaults are those of base/limits.py, tests pass smaller ones."""

    heartbeat_ms: int = limits.HEARTBEAT_MS
    election_timeout_ms: int = limits.ELECTION_TIMEOUT_MS
    election_jitter_ms: int = limits.ELECTION_JITTER_MS
    election_stagger_ms: int = limits.ELECTION_STAGGER_MS
    candidate_grace_ms: int = limits.CANDIDATE_GRACE_MS
    pre_vote_retry_ms: int = limits.PRE_VOTE_RETRY_MS
    retransmit_ms: int = limits.RETRANSMIT_MS
    retransmit_backoff_ms: int = limits.RETRANSMIT_BACKOFF_MS_MAX
    retransmit_bytes: int = limits.RETRANSMIT_BYTES_MAX
    unheard_grace_ms: int = limits.UNHEARD_GRACE_MS
    barrier_timeout_ms: int = limits.BARRIER_TIMEOUT_MS
    snapshot_wait_ms: int = limits.SNAPSHOT_WAIT_MS
    in_flight_slots: int = limits.IN_FLIGHT_SLOTS_MAX
    window_slots: int = limits.WINDOW_SLOTS
    entries_bytes: int = limits.MESSAGE_ENTRIES_BYTES_MAX
    learn_bytes: int = limits.LEARN_BYTES_MAX
    fetch_backoff_ms: int = limits.FETCH_BACKOFF_MS_MAX
    fetch_patience_ms: int = limits.FETCH_PATIENCE_MS_MAX
    read_rounds: int = limits.READ_ROUNDS_MAX
    read_waiting: int = limits.READ_WAITING_MAX


class Persist(NamedTuple):
    """What a Ready's durability will mean for this node itself (rule 2: known by the Ready's number, never by a slot)."""

    number: int
    promise: Ballot  # this node's own promise as a candidate; NO_BALLOT: none
    ballot: Ballot  # of the votes: its own as a leader, or its leader's
    votes: tuple[Slot, Slot] | None  # as a leader: the first and the last slot proposed since the Ready before; None: none was
    held: Slot  # as a follower: all slots after the chosen prefix up to this one are held at `ballot`
    chosen: Slot  # the chosen prefix at that time: from now on its entries are durable


def attending(message: Message) -> Message:
    return message._replace(attended=True) if isinstance(message, HeartbeatReply) else message


class Mark(NamedTuple):
    """What consensus knew once `slot` was delivered; part of a snapshot at `slot`."""

    slot: Slot
    membership: Membership
    origin_applied: Ballot


class Core:
    """State, outbox, membership."""

    def __init__(self, node: NodeId, restored: Restored, *, now_ms: int, random: Random, bounds: Bounds = Bounds()) -> None:
        self.node = node
        self.incarnation = restored.incarnation
        self.bounds = bounds
        self.random = random
        self.now = now_ms
        self.membership = restored.membership
        self.log = Log(restored.snapshot_slot)
        for entry in restored.entries:
            if entry.slot > restored.snapshot_slot:
                self.log.put(entry)
        while self.log.chosen < restored.hard_state.chosen and self.log.get(self.log.chosen + 1) is not None:
            self.log.choose_next()
        # Having accepted at a ballot is having promised it, whatever became of the hard state.
        self.promised = Ballot(max([restored.hard_state.promised, *(entry.ballot for entry in restored.entries)]))
        self.saved = HardState(self.promised, self.log.chosen)  # the newest handed out to be persisted
        self.durable_chosen = self.log.chosen  # the chosen prefix whose entries are durable here
        self.ballot_seen = self.promised  # the highest heard of; the promise may have gone above it since
        self.delivered = restored.snapshot_slot
        self.applied_slot = restored.snapshot_slot
        self.origin_applied = restored.origin_applied
        self.config_slot = restored.snapshot_slot  # of the newest change of the membership
        self.marks: deque[Mark] = deque()
        self.applied_mark = Mark(restored.snapshot_slot, restored.membership, restored.origin_applied)

        self.role = Role.FOLLOWER if self.may_vote() else Role.LEARNER
        self.leader = NO_NODE
        self.leader_ballot = NO_BALLOT  # of `leader`; means nothing while that is nobody
        self.leader_heard_ms = now_ms
        self.heard = True  # False: the leader keeps saying that it does not hear this node
        self.unheard_since_ms: int | None = None  # when it said so first
        self.election_due_ms = now_ms + random(bounds.pre_vote_retry_ms)  # at once: pre-vote protects a leader there may be
        self.patience_ms = bounds.election_timeout_ms + random(bounds.election_jitter_ms)
        self.granted_until_ms = now_ms  # nobody but the candidate promised last is granted a pre-vote until then

        self.number = 0
        self.persists: deque[Persist] = deque()
        self.messages: list[Outgoing] = []
        self.messages_after: list[Outgoing] = []
        self.unsaved: list[Entry] = []
        self.must_save = False  # the promise must be persisted with the next Ready
        self.must_sync = False
        self.attended = True  # somebody at this node waits for what is chosen
        self.is_pressed = False  # as much waits for the disk as may
        self.own_promise = NO_BALLOT
        self.own_votes: tuple[Slot, Slot] | None = None  # the first and the last slot proposed here since the last Ready
        self.snapshots_wanted: list[NodeId] = []
        self.reads_done: list[tuple[int, Slot]] = []
        self.status_told: Standing | None = None
        self._index_members()

    # --- membership ----------------------------------------------------------------------------------------------------------

    def _index_members(self) -> None:
        voters = sorted(self.membership.voters)
        self.voter_bit = {node: 1 << position for position, node in enumerate(voters)}
        self.quorum = self.membership.quorum
        self.peers_to_ask = [node for node in voters if node != self.node]
        self.followers = [node for node in sorted({*voters, *self.membership.learners}) if node != self.node]

    def is_member(self, node: NodeId) -> bool:
        return node in self.voter_bit or node in self.membership.learners

    def counts(self, sender: NodeId, incarnation: Incarnation) -> bool:
        """Is this a voter in its current life? Only then is anything it says a vote or testimony (rule 6)."""
        member = self.membership.voters.get(sender)
        return member is not None and member.incarnation == incarnation

    def two_are_a_quorum(self) -> bool:
        """Does it take one more voter than the leader to choose?"""
        return self.quorum == 2

    def may_vote(self) -> bool:
        """Does this node know itself as a voter in its current life? If not it follows and keeps silent in elections."""
        return self.counts(self.node, self.incarnation)

    def own_vouches_from(self) -> Slot:
        """The first slot of which this life of the node can say that nothing was accepted here (rule 6)."""
        return self.membership.voters[self.node].vouches_from

    def vouches_from(self, sender: NodeId, claimed: Slot) -> Slot:
        """From which slot on a voter's silence means "nothing accepted": what it says, never less than what the log says."""
        return max(claimed, self.membership.voters[sender].vouches_from)

    def change_member(self, node: NodeId, incarnation: Incarnation, slot: Slot) -> None:
        """A Rejoin chosen at `slot` takes effect: the new life's votes count, for later slots only."""
        old = self.membership.voters.get(node)
        if old is None or old.incarnation == incarnation:
            return
        voters = {**self.membership.voters, node: Member(incarnation, Slot(slot + 1))}
        self.membership = Membership(voters, self.membership.learners)
        self._index_members()
        self.voter_changed(node)
        if node == self.node:
            self.own_standing_changed()

    # --- outbox --------------------------------------------------------------------------------------------------------------

    def send(self, to: NodeId, message: Message) -> None:
        self.messages.append(Outgoing(to, message))

    def send_after(self, to: NodeId, message: Message) -> None:
        """Send only once everything handed out to be persisted so far, and with this Ready, is durable."""
        self.messages_after.append(Outgoing(to, message))

    def broadcast(self, to: Iterable[NodeId], message: Message) -> None:
        for node in to:
            self.messages.append(Outgoing(node, message))

    def pressure(self, on: bool) -> None:
        """The driver says: as much waits for the disk as memory may hold; or no longer."""
        self.is_pressed = on

    def attend(self, on: bool) -> None:
        """The driver says: somebody at this node waits for what is chosen; or nobody does. What this node is about to answer a
        heartbeat leaves behind what the driver sends of itself, so it must not say otherwise."""
        if on and not self.attended:
            self.messages = [Outgoing(to, attending(message)) for to, message in self.messages]
        self.attended = on

    def may_store(self) -> bool:
        """May this node take entries that it does not hold? What it does not take is sent again, or fetched, later."""
        return not self.is_pressed

    def store(self, entry: Entry) -> None:
        """Into the log, and to the disk with the next Ready."""
        self.log.put(entry)
        self.unsaved.append(entry)
        self.see_ballot(entry.ballot)

    def save_promise(self) -> None:
        """The current promise must be durable before what is sent after this Ready."""
        if self.promised != self.saved.promised:
            self.must_save = self.must_sync = True

    # --- ballots -------------------------------------------------------------------------------------------------------------

    def see_ballot(self, ballot: Ballot) -> None:
        if ballot > self.ballot_seen:
            self.ballot_seen = ballot

    def next_ballot(self) -> Ballot:
        """Above every ballot heard of, and this node's own."""
        return make_ballot(ballot_round(max(self.ballot_seen, self.promised)) + 1, self.node)

    # --- hooks of the layers above --------------------------------------------------------------------------------------------

    @abstractmethod
    def voter_changed(self, node: NodeId) -> None:
        """A voter began a new life: forget what its old one testified or voted."""
        raise NotImplementedError

    @abstractmethod
    def own_standing_changed(self) -> None:
        """This node gained or lost its vote."""
        raise NotImplementedError

    @abstractmethod
    def abandon(self) -> None:
        """Stop leading or standing for election, if this node does; follow nobody until heard from."""
        raise NotImplementedError

    @abstractmethod
    def lose_leader(self) -> None:
        """Nobody leads any more, as far as this node knows."""
        raise NotImplementedError
