"""The learner: which slots are chosen, delivery in order, and catching up from others.

Rules: a commit index makes a held entry chosen only if it was accepted at the commit sender's ballot, else the entry
is fetched (rule 3). Chosen entries and snapshots may come from anyone, for chosen is chosen; one Fetch is out at a
time.

Primary order (rule 1): of each leader's batches a prefix is applied, in its order. A leader proposes batches only
after its opening no-op is chosen, one slot after another; so a batch is applied only if every slot from that no-op to
it carries the same origin, which is one comparison with the origin of the run so far. What follows a hole in the run
is a no-op on every node, configuration too. To compare with the highest origin applied is not enough: a hole may be
filled by a batch that an older leader had left there, which is superseded but raises nothing
(tests/golden/consensus/primary_order_hole_filled_by_older_leader.txt).
"""

from __future__ import annotations

from abc import abstractmethod

from loggos.base.ids import NO_BALLOT, NO_NODE, Ballot, Incarnation, NodeId, Slot
from loggos.consensus.acceptor import Acceptor
from loggos.consensus.codec import decode_rejoin
from loggos.consensus.core import Bounds, Mark, Random
from loggos.consensus.types import Entry, Fetch, Kind, Learn, Membership, Restored, SnapshotOffer

_NEVER = -(1 << 62)


class Learner(Acceptor):
    """Learning, delivery, Fetch and Learn, snapshots."""

    def __init__(self, node: NodeId, restored: Restored, *, now_ms: int, random: Random, bounds: Bounds = Bounds()) -> None:
        super().__init__(node, restored, now_ms=now_ms, random=random, bounds=bounds)
        self.fetch_from = NO_NODE  # who was asked last, or should be next; 0: nothing is missing
        self.fetch_sent_ms = _NEVER
        self.snapshot_until_ms = _NEVER  # a snapshot was offered: do not ask for entries until then
        self.sending: dict[NodeId, Slot] = {}  # snapshots on their way to peers

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
        if self.is_leading() or self.now < max(self.fetch_sent_ms + self.bounds.retransmit_ms, self.snapshot_until_ms):
            if self.fetch_from == NO_NODE:
                self.fetch_from = source
            return
        self.fetch_from = source
        self.fetch_sent_ms = self.now
        self.send(source, Fetch(Slot(self.log.chosen + 1)))

    def on_learn(self, sender: NodeId, incarnation: Incarnation, message: Learn) -> None:
        if self.is_leading():
            return
        before = self.log.chosen
        self.learn_chosen(message.entries, message.chosen)
        if self.log.chosen > before:
            self.fetch_sent_ms = self.snapshot_until_ms = _NEVER
            self.fetch_from = NO_NODE
        self.note_ahead(sender, message.chosen)

    def on_snapshot_offer(self, sender: NodeId, incarnation: Incarnation, message: SnapshotOffer) -> None:
        if message.slot > self.log.chosen:
            self.snapshot_until_ms = self.now + self.bounds.snapshot_wait_ms

    def tick_fetch(self) -> None:
        """Ask again if the answer did not come."""
        if self.fetch_from != NO_NODE and not self.is_leading():
            target = self.leader if self.leader not in (NO_NODE, self.node) else self.fetch_from
            waits_until = max(self.fetch_sent_ms + self.bounds.retransmit_ms, self.snapshot_until_ms)
            if self.now >= waits_until:
                self.fetch(target)
                self.fetch_from = NO_NODE  # whoever is still ahead says so again

    def new_leader_heard(self) -> None:
        self.fetch_sent_ms = self.snapshot_until_ms = _NEVER

    # --- answering -----------------------------------------------------------------------------------------------------------

    def on_fetch(self, sender: NodeId, incarnation: Incarnation, message: Fetch) -> None:
        log = self.log
        if message.first > log.chosen:
            return
        if message.first <= log.compacted:
            self.offer_snapshot(sender)
            return
        self.send(sender, Learn(log.since(message.first, log.chosen, self.bounds.entries_bytes), log.chosen))

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

    def snapshot_installed(self, slot: Slot, membership: Membership, origin_applied: Ballot) -> None:
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
        self.membership = membership
        self._index_members()
        for node in membership.voters:
            if before.voters.get(node) != membership.voters[node]:
                self.voter_changed(node)
        if before.voters.get(self.node) != membership.voters.get(self.node):
            self.own_standing_changed()
        self.marks.clear()
        self.applied_mark = Mark(slot, membership, origin_applied)
        self.fetch_sent_ms = self.snapshot_until_ms = _NEVER
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
