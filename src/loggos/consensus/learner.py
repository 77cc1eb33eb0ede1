"""The learner: which slots are chosen, delivery in order, and catching up from others.

Rules: a commit index makes a held entry chosen only if it was accepted at the commit sender's ballot, else the entry
is fetched (rule 3). Where two voters are a quorum, a follower's own vote and its leader's make it chosen, too. Chosen
entries and snapshots may come from anyone, for chosen is chosen; one Fetch is out at a time, and one answer to each
peer is on its way at a time: an answer takes as long as the way to the peer is slow, so a repeat comes late, later each
time, and is not answered at once. Whoever answered each repeat would fill a slow way with copies, and its heartbeats
would queue behind them.

Primary order (rule 1): of each leader's batches a prefix is applied, in its order. A leader proposes batches only
after its opening no-op is chosen, one slot after another; so a batch is applied only if every slot from that no-op to
it carries the same origin, which is one comparison with the origin of the run so far. What follows a hole in the run
is a no-op on every node, configuration too. To compare with the highest origin applied is not enough: a hole may be
filled by a batch that an older leader had left there, which is superseded but raises nothing
(tests/golden/consensus/primary_order_hole_filled_by_older_leader.txt).
"""

from __future__ import annotations

from abc import abstractmethod
from typing import NamedTuple

from loggos.base.ids import NO_BALLOT, NO_NODE, Ballot, Incarnation, NodeId, Slot
from loggos.consensus.acceptor import NO_SLOT, Acceptor
from loggos.consensus.codec import decode_rejoin
from loggos.consensus.core import Bounds, Mark, Random
from loggos.consensus.types import Accepted, Entry, Fetch, Kind, Learn, Membership, Restored, SnapshotOffer

_NEVER = -(1 << 62)
_BACKOFF_STEPS_MAX = 16  # beyond any bound on a backoff, and far from a shift that grows


class Answer(NamedTuple):
    """The last Learn to one peer."""

    first: Slot
    last: Slot
    sent_ms: int
    pause_ms: int  # a repeat of the question that comes sooner than this is not answered


class Learner(Acceptor):
    """Learning, delivery, Fetch and Learn, snapshots."""

    def __init__(self, node: NodeId, restored: Restored, *, now_ms: int, random: Random, bounds: Bounds = Bounds()) -> None:
        super().__init__(node, restored, now_ms=now_ms, random=random, bounds=bounds)
        self.fetch_from = NO_NODE  # who was asked last, or should be next; 0: nothing is missing
        # who gave entries or a snapshot last, and is asked first: it keeps what follows, where others may have forgotten it
        self.supplier = NO_NODE
        self.fetch_sent_ms = _NEVER  # the last Fetch; _NEVER: none is out
        self.fetch_began_ms = _NEVER  # the first Fetch for what is missing now
        self.fetch_repeats = 0  # since then
        self.answer_took_ms = 0  # how long answers took lately: the longest, fading
        self.answers: dict[NodeId, Answer] = {}  # by the peer that asked
        self.asked_from: dict[NodeId, Slot] = {}  # the first slot of each peer's last Fetch
        self.snapshot_until_ms = _NEVER  # a snapshot was offered: do not ask for entries until then
        self.sending: dict[NodeId, Slot] = {}  # snapshots on their way to peers
        # durable at the leader's ballot, all slots after the chosen prefix up to:
        self.held_here = NO_SLOT
        self.held_by_leader = NO_SLOT

    # --- learning ------------------------------------------------------------------------------------------------------------

    def learn_upto(self, sender: NodeId, ballot: Ballot, upto: Slot) -> None:
        """News from the leader of `ballot`: all slots up to `upto` are chosen."""
        log = self.log
        while log.chosen < upto:
            entry = log.get(log.chosen + 1)
            if entry is None or not self.may_learn(entry, ballot):
                self.fetch(sender)
                return
            log.choose_next()

    def on_leader_accepted(self, sender: NodeId, incarnation: Incarnation, message: Accepted) -> None:
        """The leader's own vote. Where two voters are a quorum, this one and its leader are: what both hold durably at the
        leader's ballot is chosen, and this node need not wait until the leader has heard so and says so."""
        if sender != self.leader or message.ballot != self.leader_ballot or not self.counts(sender, incarnation):
            return
        if message.first <= max(self.held_by_leader, message.chosen) + 1:
            self.held_by_leader = max(self.held_by_leader, message.last)
        self.learn_by_votes()

    def own_held_durable(self, ballot: Ballot, upto: Slot) -> None:
        """A Ready is on the disk, and with it all that this follower holds at `ballot` up to a slot."""
        if self.leader != NO_NODE and ballot == self.leader_ballot:
            self.held_here = max(self.held_here, upto)
            self.learn_by_votes()

    def learn_by_votes(self) -> None:
        upto = min(self.held_here, self.held_by_leader)
        if upto > self.log.chosen and self.two_are_a_quorum() and self.may_vote():
            self.learn_upto(self.leader, self.leader_ballot, upto)

    def may_learn(self, entry: Entry, ballot: Ballot) -> bool:
        """Rule 3: an entry accepted under another ballot may not be the one that was chosen."""
        return entry.ballot == ballot

    def learn_chosen(self, entries: tuple[Entry, ...], upto: Slot) -> None:
        """Entries known to be chosen, those up to `upto`, in slot order."""
        log = self.log
        for entry in entries:
            if entry.slot > upto or entry.slot > log.chosen + 1:
                break
            if entry.slot == log.chosen + 1:
                held = log.get(entry.slot)
                if held is None or held.ballot < entry.ballot:
                    if not self.may_store():
                        break
                    self.store(entry)
                else:  # whoever knows a slot as chosen holds it at the choosing ballot or above, so this is the same value
                    assert held.origin == entry.origin and held.kind is entry.kind, (held[:4], entry[:4])
                log.choose_next()

    # --- delivery ------------------------------------------------------------------------------------------------------------

    def deliver(self) -> tuple[Entry, ...]:
        """The next chosen entries for the state machine, as many as one Ready holds."""
        if self.delivered == self.log.chosen:
            return ()
        entries = self.log.since(self.delivered + 1, self.log.chosen, self.bounds.entries_bytes)
        assert entries and entries[0].slot == self.delivered + 1, (entries[:1], self.delivered)
        return tuple([self.deliver_one(entry) for entry in entries])

    def deliver_one(self, entry: Entry) -> Entry:
        """The entry as the state machine sees it: a superseded one is a no-op."""
        assert entry.slot == self.delivered + 1, (entry.slot, self.delivered)
        self.delivered = entry.slot
        membership, origin = self.membership, self.origin_applied
        if entry.kind is Kind.NOOP:
            self.origin_applied = entry.origin
        elif self.is_superseded(entry):
            self.origin_applied = NO_BALLOT
            entry = entry._replace(kind=Kind.NOOP, payload=b"")
        elif entry.kind is Kind.CONFIG:
            rejoin = decode_rejoin(entry.payload)
            self.change_member(rejoin.node, rejoin.incarnation, entry.slot)
            self.config_slot = entry.slot
            self.config_delivered()
        if self.membership is not membership or self.origin_applied != origin:
            self.marks.append(Mark(entry.slot, self.membership, self.origin_applied))
        return entry

    def is_superseded(self, entry: Entry) -> bool:
        """Primary order: a batch counts only if its leader's run is unbroken from the leader's opening no-op up to it."""
        return entry.origin != self.origin_applied

    @abstractmethod
    def config_delivered(self) -> None:
        raise NotImplementedError

    # --- asking --------------------------------------------------------------------------------------------------------------

    def note_ahead(self, sender: NodeId, chosen: Slot) -> None:
        """A peer says how far it is."""
        if chosen > self.log.chosen:
            self.fetch(sender)

    def fetch(self, source: NodeId) -> None:
        """Ask for what comes after the chosen prefix, unless an answer is still to be expected."""
        if self.is_leading() or self.now < self.fetch_due_ms() or not self.may_store():
            if self.fetch_from == NO_NODE:
                self.fetch_from = source
            return
        if self.fetch_sent_ms == _NEVER:
            self.fetch_began_ms = self.now
        else:
            self.fetch_repeats += 1
            self.supplier = NO_NODE  # it does not answer
        target = source if self.supplier == NO_NODE else self.supplier
        self.fetch_from = target
        self.fetch_sent_ms = self.now
        self.send(target, Fetch(Slot(self.log.chosen + 1)))

    def fetch_due_ms(self) -> int:
        """Not before then may entries be asked for (again)."""
        return max(self.fetch_sent_ms + self.fetch_patience_ms(), self.snapshot_until_ms)

    def fetch_patience_ms(self) -> int:
        """How long an answer is waited for: a few times what answers took lately, and longer after each repeat."""
        bounds = self.bounds
        backoff_ms = min(bounds.retransmit_ms << min(self.fetch_repeats, _BACKOFF_STEPS_MAX), bounds.fetch_backoff_ms)
        return max(backoff_ms, min(3 * self.answer_took_ms, bounds.fetch_patience_ms))

    def note_answered(self) -> None:
        """An answer brought something new: ask for the rest at once."""
        if self.fetch_sent_ms != _NEVER:
            self.answer_took_ms = max(self.now - self.fetch_began_ms, self.answer_took_ms * 3 // 4)
        self.fetch_from = NO_NODE
        self.fetch_again()

    def fetch_again(self) -> None:
        """What was asked for is not waited for any more."""
        self.fetch_sent_ms = self.snapshot_until_ms = _NEVER
        self.fetch_repeats = 0

    def on_learn(self, sender: NodeId, incarnation: Incarnation, message: Learn) -> None:
        if self.is_leading():
            return
        before = self.log.chosen
        self.learn_chosen(message.entries, message.chosen)
        if self.log.chosen > before:
            self.note_answered()
            self.supplier = sender
        elif sender == self.supplier and message.chosen <= before:
            self.supplier = NO_NODE  # it has no more
            self.fetch_again()
        self.note_ahead(sender, message.chosen)

    def on_snapshot_offer(self, sender: NodeId, incarnation: Incarnation, message: SnapshotOffer) -> None:
        if sender == self.supplier:
            self.supplier = NO_NODE
        if message.slot > self.log.chosen:
            self.snapshot_until_ms = self.now + self.bounds.snapshot_wait_ms

    def tick_fetch(self) -> None:
        """Ask again if the answer did not come."""
        if self.fetch_from != NO_NODE:
            target = self.leader if self.leader not in (NO_NODE, self.node) else self.fetch_from
            if self.now >= self.fetch_due_ms():
                self.fetch(target)
                self.fetch_from = NO_NODE  # whoever is still ahead says so again

    def new_leader_heard(self) -> None:
        self.held_here = self.held_by_leader = NO_SLOT
        self.supplier = NO_NODE
        self.fetch_again()

    # --- answering -----------------------------------------------------------------------------------------------------------

    def on_fetch(self, sender: NodeId, incarnation: Incarnation, message: Fetch) -> None:
        log = self.log
        self.asked_from[sender] = message.first
        if message.first > log.chosen:
            self.send(sender, Learn((), log.chosen))  # no more here
            return
        if message.first <= log.compacted:
            self.offer_snapshot(sender)
            return
        if self.answers_fetch(sender, message.first):
            self.answer_fetch(sender, message.first)

    def answers_fetch(self, sender: NodeId, first: Slot) -> bool:
        """False for what was answered a moment ago: that answer is on its way still, or the repeat will come again."""
        last = self.answers.get(sender)
        return last is None or not last.first <= first <= last.last or self.now >= last.sent_ms + last.pause_ms

    def answer_fetch(self, to: NodeId, first: Slot) -> None:
        last, bounds = self.answers.get(to), self.bounds
        pause_ms = bounds.heartbeat_ms  # less than the asker's own patience, so that its first repeat is answered
        if last is not None and last.first <= first <= last.last:
            pause_ms = min(2 * last.pause_ms, bounds.fetch_backoff_ms)
        entries = self.log.since(first, self.log.chosen, bounds.learn_bytes)
        self.answers[to] = Answer(first, entries[-1].slot, self.now, pause_ms)
        self.send(to, Learn(entries, self.log.chosen))

    def offer_snapshot(self, to: NodeId) -> None:
        """What the peer needs is forgotten here: have the driver send a snapshot, once at a time."""
        if to not in self.sending:
            self.sending[to] = self.log.compacted
            self.snapshots_wanted.append(to)
        self.send(to, SnapshotOffer(self.promised, self.log.compacted))

    def snapshot_sent(self, node: NodeId, slot: Slot, ok: bool) -> None:
        """The transfer to a peer ended, well or not; if it still needs one it will ask again."""
        self.sending.pop(node, None)

    # --- snapshots and compaction --------------------------------------------------------------------------------------------

    def snapshot_wanted(self, slot: Slot) -> bool:
        """Would a snapshot at `slot` bring this node further?"""
        return slot > self.log.chosen

    def snapshot_arriving(self) -> None:
        """A part of a snapshot came, from whomever: to ask for entries, or for another snapshot, would be of no use."""
        self.snapshot_until_ms = self.now + self.bounds.snapshot_wait_ms

    def snapshot_installed(self, slot: Slot, membership: Membership, origin_applied: Ballot, sender: NodeId = NO_NODE) -> None:
        """The state machine was replaced by a durable snapshot at `slot`. What was accepted above it stays: it may be chosen."""
        if slot <= self.delivered:
            return
        if slot > self.log.chosen:
            if self.is_leading():
                self.abandon()
                self.lose_leader()
            self.log.jump(slot)
        self.delivered = self.applied_slot = slot
        self.origin_applied = origin_applied
        before = self.membership
        self.membership = membership = membership.with_learners(before.learners)
        self._index_members()
        for node in membership.voters:
            if before.voters.get(node) != membership.voters[node]:
                self.voter_changed(node)
        if before.voters.get(self.node) != membership.voters.get(self.node):
            self.own_standing_changed()
        self.marks.clear()
        self.applied_mark = Mark(slot, membership, origin_applied)
        self.fetch_again()
        if sender != NO_NODE:  # it keeps what follows, and others may not: give it the time that a snapshot has
            self.answer_took_ms = max(self.answer_took_ms, self.bounds.snapshot_wait_ms // 3)
            self.supplier = sender
            self.fetch(sender)
        self.must_save = True

    def applied(self, slot: Slot) -> None:
        """The state machine has applied everything up to `slot`."""
        assert slot <= self.delivered, (slot, self.delivered)
        self.applied_slot = max(self.applied_slot, slot)
        while self.marks and self.marks[0].slot <= slot:
            self.applied_mark = self.marks.popleft()

    def applied_state(self) -> Mark:
        """What a snapshot of the state machine must keep of consensus: membership and origin as of the applied slot."""
        return self.applied_mark._replace(slot=self.applied_slot)

    def compact(self, slot: Slot) -> None:
        """Forget entries up to `slot`, as far as they are applied. Which tail to keep, and what a travelling snapshot pins, the
        driver decides."""
        self.log.forget(min(slot, self.applied_slot))

    # --- hooks ---------------------------------------------------------------------------------------------------------------

    @abstractmethod
    def is_leading(self) -> bool:
        raise NotImplementedError
