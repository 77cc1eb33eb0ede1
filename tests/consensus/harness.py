"""A small deterministic world for engines: a lossy network, disks that forget what was not yet persisted, and rules that are
checked at every step.

It drives engines exactly as the package docstring of loggos.consensus demands, with bytes on the wire. One seed is one
run. Rules: agreement (a slot has one value for ever), validity (only what was proposed), prefix (every node delivers 1,
2, 3, … once per life), primary order (of each leader's batches a prefix is applied, in its order), reads (a granted slot
covers everything delivered anywhere before the ask), counting (whoever takes a slot for chosen because of votes finds it on
the disks of those voters).
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from loggos.app.simulation.counting import Voter, counting
from loggos.base.ids import Ballot, Incarnation, NodeId, Slot
from loggos.consensus.codec import decode_message, encode_message
from loggos.consensus.core import Bounds
from loggos.consensus.engine import Paxos
from loggos.consensus.types import Entry, HardState, Kind, Member, Membership, Message, Outgoing, Ready, Restored, Role, Status

FIRST_LIFE = Incarnation(1)


class BrokenRule(AssertionError):
    """A safety rule does not hold; the message says which and where."""


@dataclass
class Snapshot:
    slot: Slot
    membership: Membership
    origin_applied: Ballot
    state: list[bytes]


@dataclass
class Disk:
    """What survives a crash."""

    incarnation: Incarnation
    snapshot: Snapshot
    hard_state: HardState = field(default_factory=lambda: HardState(Ballot(0), Slot(0)))
    entries: dict[Slot, Entry] = field(default_factory=dict)

    def persist(self, ready: Ready) -> None:
        if ready.hard_state is not None:
            self.hard_state = ready.hard_state
        for entry in ready.entries:
            self.entries[entry.slot] = entry

    def persist_torn(self, readys: list[Ready], kept: int) -> None:
        """A power cut in the middle of one write of several Readys: the hard state came first, then `kept` of the entries."""
        states = [ready.hard_state for ready in readys if ready.hard_state is not None]
        if states:
            self.hard_state = states[-1]
        for entry in [entry for ready in readys for entry in ready.entries][:kept]:
            self.entries[entry.slot] = entry

    def holds(self, slot: Slot, ballot: Ballot) -> bool:
        """Was this slot accepted here at the ballot or later?"""
        entry = self.entries.get(slot)
        return entry is not None and entry.ballot >= ballot

    def restored(self) -> Restored:
        snapshot = self.snapshot
        entries = tuple(entry for slot, entry in sorted(self.entries.items()) if slot > snapshot.slot)
        return Restored(self.hard_state, snapshot.slot, snapshot.membership, entries, self.incarnation, snapshot.origin_applied)


@dataclass
class Packet:
    sender: NodeId
    incarnation: Incarnation
    to: NodeId
    message: Message


class Node:
    """One member: an engine, its disk, and the state it applied."""

    def __init__(self, world: World, node: NodeId, disk: Disk) -> None:
        self.world, self.node, self.disk = world, node, disk
        below = world.random.randrange if world.bounds_random else (lambda bound: 0)
        self.engine = world.make(node)(node, disk.restored(), now_ms=world.now, random=below, bounds=world.bounds)
        self.state = list(disk.snapshot.state)
        self.slot = disk.snapshot.slot
        self.unpersisted: deque[Ready] = deque()
        self.reads: list[tuple[int, Slot]] = []
        self.committed: list[Entry] = []
        self.sent: list[Outgoing] = []

    def pump(self) -> None:
        """Carry out every Ready; persistence stays pending until `persist`."""
        while (ready := self.engine.ready()) is not None:
            self.sent += ready.messages
            for to, message in ready.messages:
                self.world.post(self, to, message)
            self.unpersisted.append(ready)
            for entry in ready.committed:
                self.apply(entry)
            if ready.committed:
                self.engine.applied(self.slot)
            if ready.status is not None:
                self.world.note(f"{self.node} is {show_status(ready.status)}")
            for context, slot in ready.reads:
                self.world.note(f"{self.node} barrier {context} " + (f"at slot {slot}" if slot >= 0 else "refused"))
                self.reads.append((context, slot))
                self.world.check_read(context, slot)
            for peer in ready.send_snapshot:
                self.world.note(f"{self.node} sends a snapshot to {peer}")
                self.world.snapshots.append((self.node, peer, self.make_snapshot()))
            if self.world.eager_disk and self.node not in self.world.held:
                self.persist()

    def apply(self, entry: Entry) -> None:
        if entry.slot != self.slot + 1:
            raise BrokenRule(f"prefix: node {self.node} at slot {self.slot} is given slot {entry.slot}")
        self.slot = entry.slot
        self.committed.append(entry)
        self.world.note(f"{self.node} applies {show_entry(entry)}")
        self.world.check_delivery(self.node, entry)
        if entry.kind is Kind.DATA:
            self.state.append(entry.payload)

    def persist(self, count: int = 1 << 30) -> None:
        """The oldest pending Readys reach the disk."""
        while self.unpersisted and count > 0:
            count -= 1
            ready = self.unpersisted.popleft()
            self.disk.persist(ready)
            if ready.hard_state is not None or ready.entries:
                self.world.note(f"{self.node} wrote {show_write(ready)}")
            self.engine.persisted(ready.number)
            self.sent += ready.messages_after
            for to, message in ready.messages_after:
                self.world.post(self, to, message)

    def make_snapshot(self) -> Snapshot:
        mark = self.engine.applied_state()
        assert mark.slot == self.slot
        return Snapshot(mark.slot, mark.membership, mark.origin_applied, list(self.state))

    def compact(self, keep: int = 0) -> None:
        """Snapshot to the disk, and forget the log up to it but for `keep` slots."""
        self.disk.snapshot = self.make_snapshot()
        self.engine.compact(Slot(max(0, self.slot - keep)))

    def install(self, snapshot: Snapshot) -> bool:
        if snapshot.slot <= self.slot:
            return False
        self.disk.snapshot = snapshot
        self.state, self.slot = list(snapshot.state), snapshot.slot
        self.engine.snapshot_installed(snapshot.slot, snapshot.membership, snapshot.origin_applied)
        return True


class World:
    """Nodes and the network between them."""

    def __init__(
        self,
        seed: int = 0,
        voters: Iterable[int] = (1, 2, 3),
        learners: Iterable[int] = (),
        *,
        engine: type[Paxos] = Paxos,
        engines: dict[int, type[Paxos]] | None = None,
        bounds: Bounds = Bounds(),
        eager_disk: bool = True,
        bounds_random: bool = True,
    ) -> None:
        self.random = random.Random(seed)
        self.bounds, self.bounds_random, self.eager_disk = bounds, bounds_random, eager_disk
        self._engine = counting(engine, self.check_counted)
        self._engines = {node: counting(other, self.check_counted) for node, other in (engines or {}).items()}
        self.now = 1_000
        self.note: Callable[[str], None] = lambda line: None
        self.held: dict[NodeId, bool] = {}  # nodes whose disk does not answer
        self.network: list[Packet] = []
        self.snapshots: list[tuple[NodeId, NodeId, Snapshot]] = []
        self.cut: dict[tuple[int, int], bool] = {}  # one-way links that lose everything
        self.values: dict[Slot, tuple[Kind, Ballot, bytes]] = {}
        self.proposed: dict[Ballot, list[bytes]] = {}
        self.applied_of: dict[Ballot, int] = {}
        self.checked = 0
        self.asked: dict[int, int] = {}
        self.contexts = 0
        self.membership = Membership(
            {NodeId(node): Member(FIRST_LIFE, Slot(0)) for node in voters}, {NodeId(node): FIRST_LIFE for node in learners}
        )
        empty = Snapshot(Slot(0), self.membership, Ballot(0), [])
        self.disks = {node: Disk(FIRST_LIFE, empty) for node in [*self.membership.voters, *self.membership.learners]}
        self.lives: dict[Voter, Disk] = {}  # of the dead, too: what a voter's former life told stays told
        self.nodes: dict[NodeId, Node] = {}
        for node in self.disks:
            self.start(node)

    def make(self, node: int) -> Callable[..., Paxos]:
        return self._engines.get(node, self._engine)

    # --- nodes ---------------------------------------------------------------------------------------------------------------

    def start(self, node: int) -> Node:
        disk = self.disks[NodeId(node)]
        self.lives[NodeId(node), disk.incarnation] = disk
        found = self.nodes[NodeId(node)] = Node(self, NodeId(node), disk)
        found.pump()
        return found

    def crash(self, node: int) -> None:
        """Everything that did not reach the disk is gone; every connection breaks."""
        del self.nodes[NodeId(node)]
        for peer in self.nodes.values():
            peer.engine.peer_lost(NodeId(node))
            peer.pump()

    def wipe(self, node: int, incarnation: int) -> None:
        """The node (crashed) comes back with an empty disk, as a lost voter."""
        self.disks[NodeId(node)] = Disk(Incarnation(incarnation), Snapshot(Slot(0), self.membership, Ballot(0), []))
        self.start(node)
        for peer in self.nodes.values():
            if peer.node != node:
                peer.engine.admit(NodeId(node), Incarnation(incarnation))

    def leader(self) -> Node | None:
        """The settled leader with the highest ballot."""
        leaders = [node for node in self.nodes.values() if node.engine.status().settled]
        return max(leaders, key=lambda node: node.engine.status().ballot) if leaders else None

    # --- network -------------------------------------------------------------------------------------------------------------

    def post(self, sender: Node, to: NodeId, message: Message) -> None:
        copied = decode_message(encode_message(message))
        assert copied == message, (copied, message)
        self.note(f"{sender.node} → {to} {show_message(message)}")
        self.network.append(Packet(sender.node, sender.disk.incarnation, to, copied))

    def deliver(self, packet: Packet) -> None:
        target = self.nodes.get(packet.to)
        if target is None or self.cut.get((packet.sender, packet.to)):
            return
        target.engine.step(packet.sender, packet.incarnation, packet.message)
        target.pump()

    def isolate(self, node: int, cut: bool = True) -> None:
        for other in self.disks:
            self.cut[(node, other)] = self.cut[(other, node)] = cut

    def flush(self, rounds: int = 200) -> None:
        """Deliver everything in order until the network is silent."""
        for _ in range(rounds):
            if not self.network and not self.snapshots:
                return
            packets, self.network = self.network, []
            for packet in packets:
                self.deliver(packet)
            self.carry_snapshots()
        raise AssertionError("the network does not fall silent")

    def carry_snapshots(self) -> None:
        transfers, self.snapshots = self.snapshots, []
        for sender, to, snapshot in transfers:
            target, source = self.nodes.get(to), self.nodes.get(sender)
            ok = target is not None and not self.cut.get((sender, to)) and target.install(snapshot)
            if target is not None:
                target.pump()
            if source is not None:
                source.engine.snapshot_sent(to, snapshot.slot, ok)
                source.pump()

    def tick(self, ms: int = 10) -> None:
        self.now += ms
        for node in list(self.nodes.values()):
            node.engine.tick(self.now)
            node.pump()

    def run(self, ms: int) -> None:
        """Time passes on a good network."""
        for _ in range(ms // 10):
            self.tick()
            self.flush()

    def elect(self, limit_ms: int = 5_000) -> Node:
        """Run until somebody is settled."""
        for _ in range(limit_ms // 10):
            self.tick()
            self.flush()
            if (found := self.leader()) is not None:
                return found
        raise AssertionError("no leader")

    # --- clients -------------------------------------------------------------------------------------------------------------

    def propose(self, node: Node, payload: bytes) -> bool:
        ballot = node.engine.status().ballot
        if not node.engine.propose(payload):
            return False
        self.proposed.setdefault(ballot, []).append(payload)
        node.pump()
        return True

    def ask_read(self, node: Node) -> int:
        self.contexts += 1
        self.asked[self.contexts] = max((slot for slot in self.values), default=0)
        node.engine.read_barrier(self.contexts)
        node.pump()
        return self.contexts

    # --- rules ---------------------------------------------------------------------------------------------------------------

    def check_delivery(self, node: NodeId, entry: Entry) -> None:
        value = (entry.kind, entry.origin, entry.payload)
        known = self.values.get(entry.slot)
        if known is not None:
            if known != value:
                raise BrokenRule(f"agreement: slot {entry.slot} is {known} and, on node {node}, {value}")
            return
        if entry.slot != len(self.values) + 1:
            raise BrokenRule(f"prefix: slot {entry.slot} is delivered before those below it")
        self.values[entry.slot] = value
        if entry.kind is Kind.DATA:
            sequence = self.proposed.get(entry.origin, [])
            position = self.applied_of.get(entry.origin, 0)
            if entry.payload not in sequence:
                raise BrokenRule(f"validity: slot {entry.slot}: ballot {entry.origin} never proposed {entry.payload!r}")
            if sequence.index(entry.payload) != position:
                raise BrokenRule(f"primary order: slot {entry.slot}: {entry.payload!r} of ballot {entry.origin} after {position}")
            self.applied_of[entry.origin] = position + 1

    def check_counted(self, engine: Paxos, slot: Slot, ballot: Ballot, voters: list[Voter]) -> None:
        if slot in self.values:  # chosen it is, and agreement is checked; who knows that may vote without storing anything
            return
        holders = [voter for voter in voters if voter in self.lives and self.lives[voter].holds(slot, ballot)]
        if len(holders) < engine.quorum:
            raise BrokenRule(f"counting: node {engine.node} takes slot {slot} for chosen at {ballot}, held by {holders} only")

    def check_read(self, context: int, slot: Slot) -> None:
        if slot >= 0 and slot < self.asked[context]:
            raise BrokenRule(f"reads: barrier {context} is granted at {slot}, after slot {self.asked[context]} was delivered")

    def check_converged(self) -> None:
        states = {node.node: (node.slot, node.state) for node in self.nodes.values()}
        first = next(iter(states.values()))
        for node, state in states.items():
            if state != first:
                raise BrokenRule(f"convergence: node {node} is at slot {state[0]}, another at {first[0]}")


def roles(world: World) -> dict[int, Role]:
    return {int(node.node): node.engine.status().role for node in world.nodes.values()}


# --- for people ----------------------------------------------------------------------------------------------------------


def show_entry(entry: Entry) -> str:
    payload = f" {entry.payload!r}" if entry.payload else ""
    origin = "" if entry.origin == entry.ballot else f" from {show_ballot(entry.origin)}"
    return f"{entry.slot}:{entry.kind.name} at {show_ballot(entry.ballot)}{origin}{payload}"


def show_ballot(ballot: int) -> str:
    """round.node"""
    return f"{ballot >> 8}.{ballot & 255}"


def show_message(message: Message) -> str:
    fields = []
    for name, value in message._asdict().items():
        if name == "entries":
            fields.append("[" + ", ".join(show_entry(entry) for entry in value) + "]")
        elif name in ("ballot", "promised"):
            fields.append(f"{name}={show_ballot(value)}")
        else:
            fields.append(f"{name}={value}")
    return f"{type(message).__name__} {' '.join(fields)}"


def show_write(ready: Ready) -> str:
    hard = ready.hard_state
    parts = [] if hard is None else [f"promised={show_ballot(hard.promised)} chosen={hard.chosen}"]
    return ", ".join(parts + [show_entry(entry) for entry in ready.entries])


def show_status(status: Status) -> str:
    settled = " settled" if status.settled else ""
    unheard = "" if status.heard else " unheard"
    return f"{status.role.name.lower()}{settled}{unheard}, leader {status.leader}, promised {show_ballot(status.ballot)}"
