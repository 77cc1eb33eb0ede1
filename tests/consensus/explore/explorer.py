"""An explicit-state model checker over the real engine: breadth first through every interleaving of a small instance.

A state is all engines, all disks, all writes under way and all messages under way. From each state every action is taken:
deliver any message (leaving it there if copies remain), finish the oldest write of a node, let a node stand for election,
propose, crash a node (any number of its writes under way reach the disk, nothing else survives). Messages that are never
delivered are the lost ones. States that are equal but for the numbering of Readys are one state.

Three reductions keep it small without hiding anything: a write of a node that will not crash any more is done at once (to
delay it is to delay its messages, which is explored); an answer to a ballot that its proposer has left for good is
dropped; a node's key leaves out what only elections by the clock and retransmission look at.

Checked in every state: agreement (all that was ever taken for chosen at a slot, by anyone, is one value), validity (it
was proposed), counting (whoever takes a slot for chosen because of votes finds it on the disks of those voters). Time
stands still: elections are started by the checker, so pre-votes and heartbeats play no part unless an instance asks for
them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from loggos.app.simulation.counting import Voter, counting
from loggos.base.ids import NO_BALLOT, Ballot, Incarnation, NodeId, Slot, ballot_node
from loggos.consensus.core import Bounds
from loggos.consensus.election import Campaign, Testimony
from loggos.consensus.engine import Paxos
from loggos.consensus.leader import Leadership, Peer
from loggos.consensus.log import Log
from loggos.consensus.reads import Round
from loggos.consensus.types import (
    Accept,
    Accepted,
    Entry,
    HardState,
    Kind,
    Member,
    Membership,
    Message,
    Prepare,
    Promise,
    Ready,
    Restored,
    Role,
)

LIFE = Incarnation(1)
PHASES = (Prepare, Promise, Accept, Accepted)


class Found(AssertionError):
    """A rule is broken; `trace` is a shortest schedule that leads there."""

    def __init__(self, why: str, trace: list[str]) -> None:
        super().__init__(why + "\n  " + "\n  ".join(trace))
        self.trace = trace


@dataclass
class Instance:
    """What is explored, and its bounds."""

    engine: type[Paxos] = Paxos
    voters: tuple[int, ...] = (1, 2, 3)
    stands: dict[int, int] = field(default_factory=lambda: {1: 1, 2: 1})  # how often each node may stand for election
    slots: int = 1  # nothing is proposed beyond
    proposals: int = 0  # batches, by whoever may propose
    crashes: int = 1
    crash_nodes: tuple[int, ...] = (1, 2, 3)
    copies: int = 1  # how often one message may be delivered
    messages: tuple[type, ...] = PHASES
    news: bool = False  # deliver commit news (Accepts without entries) too
    depth: int | None = None  # None: exhaustively
    states_max: int = 3_000_000


class Packet(NamedTuple):
    sender: int
    to: int
    message: Message


class Member_:
    """One node in one state. Never changed once it is part of a state: actions work on clones."""

    __slots__ = ("disk", "engine", "key", "writes")

    def __init__(self, engine: Paxos, disk: Restored, writes: tuple[Ready, ...]) -> None:
        self.engine, self.disk, self.writes = engine, disk, writes
        self.key = -1


class State(NamedTuple):
    members: tuple[Member_, ...]
    network: tuple[tuple[int, int], ...]  # (interned packet, copies left), sorted
    stands: tuple[int, ...]
    crashes: int
    proposals: int
    taken: tuple[tuple[int, int, int, bytes], ...]  # (slot, origin, kind, payload) ever taken for chosen


def clone(value: Any) -> Any:
    """A copy of the mutable parts; immutable values are shared."""
    kind = type(value)
    if kind is dict:
        return {key: clone(item) for key, item in value.items()}
    if kind is list:
        return [clone(item) for item in value]
    if kind is deque:
        return deque(clone(item) for item in value)
    if kind in (Log, Campaign, Testimony, Leadership, Peer, Round):
        copied = kind.__new__(kind)
        for name in kind.__slots__ if hasattr(kind, "__slots__") else value.__dict__:
            setattr(copied, name, clone(getattr(value, name)))
        return copied
    return value


def clone_engine(engine: Paxos) -> Paxos:
    copied = type(engine).__new__(type(engine))
    for name, value in engine.__dict__.items():
        setattr(copied, name, clone(value))
    if copied.lead is not None and copied.lead.campaign is not None:
        copied.lead.campaign = copied.campaign
    return copied


def campaign_key(campaign: Campaign | None) -> Any:
    if campaign is None:
        return None
    promises = tuple(sorted((node, t.covered, t.vouches_from) for node, t in campaign.promises.items()))
    return campaign.ballot, campaign.preparing, campaign.first, promises, tuple(sorted(campaign.best.values()))


def lead_key(lead: Leadership | None) -> Any:
    if lead is None:
        return None
    votes = tuple(sorted(lead.votes.items()))
    told = tuple((node, peer.voted, peer.told) for node, peer in lead.peers.items())
    return lead.ballot, lead.next, lead.max_seen, lead.own_slot, votes, lead.voted, told, campaign_key(lead.campaign)


def member_key(member: Member_, catching_up: bool) -> Any:
    """Everything of a node that can matter later."""
    engine, log = member.engine, member.engine.log
    following = (engine.leader, engine.leader_ballot if engine.leader else 0)
    fetching = (engine.fetch_from, engine.fetch_sent_ms) if catching_up else None
    return (
        engine.promised, engine.saved, engine.durable_chosen, max(engine.ballot_seen, engine.promised),
        log.chosen, tuple(sorted(log.entries.values())), engine.origin_applied, fetching,
        following, engine.held_here, engine.held_by_leader,
        campaign_key(engine.campaign), lead_key(engine.lead),
        tuple((p.number - engine.number, p.promise, p.ballot, p.votes, p.held, p.chosen) for p in engine.persists),
        tuple((r.number - engine.number, r.hard_state, r.entries, r.messages_after) for r in member.writes),
        member.disk.hard_state, member.disk.entries,
    )  # fmt: skip


def holds(disk: Restored, slot: Slot, ballot: Ballot) -> bool:
    """Was the slot accepted here at the ballot or later?"""
    return any(entry.slot == slot and entry.ballot >= ballot for entry in disk.entries)


class Explorer:
    """Breadth-first search over one instance."""

    def __init__(self, instance: Instance) -> None:
        self.instance = instance
        self.bounds = Bounds(window_slots=instance.slots)
        self.packets: list[Packet] = []
        self.packet_ids: dict[Packet, int] = {}
        self.keys: dict[Any, int] = {}
        self.visited: dict[Any, tuple[Any, str]] = {}  # state key -> (parent's key, action)
        self.transitions = 0
        self.depth = 0
        self.sent: list[Packet] = []
        self.ballots: set[Ballot] = set()
        slots = instance.slots
        self.engine = counting(type("Bounded", (instance.engine,), {"window_end": lambda self: slots}), self.check_counted)
        self.before: State | None = None  # before the action that is being taken
        self.opened: Member_ | None = None  # the one that it changes
        self.broken: list[str] = []

    # --- the search ----------------------------------------------------------------------------------------------------------

    def run(self) -> int:
        """How many states there are (up to the depth). Found: a rule is broken."""
        start = self.start()
        self.visited[self.key(start)] = (None, "start")
        frontier = [start]
        while frontier and (self.instance.depth is None or self.depth < self.instance.depth):
            self.depth += 1
            following: list[State] = []
            for state in frontier:
                here = self.key(state)
                for action, successor in self.successors(state):
                    self.transitions += 1
                    if self.broken:
                        raise Found(self.broken[0], [*self.trace(here), action])
                    key = self.key(successor)
                    if key not in self.visited:
                        self.visited[key] = (here, action)
                        self.check(successor, key)
                        following.append(successor)
            frontier = following
            assert len(self.visited) <= self.instance.states_max, "the instance is too large: bound it more tightly"
        return len(self.visited)

    def start(self) -> State:
        membership = Membership({NodeId(node): Member(LIFE, Slot(0)) for node in self.instance.voters}, {})
        disk = Restored(HardState(NO_BALLOT, Slot(0)), Slot(0), membership, (), LIFE)
        members = []
        for node in self.instance.voters:
            members.append(self.settle(Member_(self.boot(node, disk), disk, ()), eager=False))
        stands = tuple(self.instance.stands.get(node, 0) for node in self.instance.voters)
        return State(tuple(members), (), stands, self.instance.crashes, self.instance.proposals, ())

    def boot(self, node: int, disk: Restored) -> Paxos:
        engine: Paxos = self.engine(NodeId(node), disk, now_ms=0, random=lambda bound: 0, bounds=self.bounds)
        return engine

    def key(self, state: State) -> Any:
        return tuple(member.key for member in state.members), *state[1:]

    def trace(self, key: Any) -> list[str]:
        steps: list[str] = []
        while key is not None:
            key, action = self.visited[key]
            steps.append(action)
        return steps[::-1]

    # --- actions -------------------------------------------------------------------------------------------------------------

    def successors(self, state: State) -> Iterator[tuple[str, State]]:
        self.before = state
        for position in range(len(state.network)):
            delivered = self.deliver(state, position)
            if delivered is not None:
                yield f"deliver {self.packets[state.network[position][0]]}", delivered
        for position, member in enumerate(state.members):
            node = self.instance.voters[position]
            if member.writes:
                yield f"write of node {node} done", self.persist(state, position)
            if state.stands[position] and member.engine.log.chosen < self.instance.slots and member.engine.lead is None:
                yield f"node {node} stands", self.stand(state, position)
            if state.proposals and member.engine.can_propose():
                yield f"node {node} proposes", self.propose(state, position)
            if state.crashes and node in self.instance.crash_nodes:
                for kept in range(len(member.writes) + 1):
                    yield f"node {node} crashes, {kept} writes done", self.crash(state, position, kept)

    def deliver(self, state: State, position: int) -> State | None:
        """None if it changes nothing: then its loss is explored anyway."""
        packet_id, copies = state.network[position]
        packet = self.packets[packet_id]
        where = self.instance.voters.index(packet.to)
        old = state.members[where]
        member = self.open(old)
        member.engine.step(NodeId(packet.sender), LIFE, packet.message)
        self.settle(member, self.is_safe(state, where))
        if member.key == old.key and not self.sent:
            return None
        left = ((packet_id, copies - 1),) if copies > 1 else ()
        network = state.network[:position] + left + state.network[position + 1 :]
        return self.close(state._replace(network=network), where, member)

    def persist(self, state: State, where: int) -> State:
        member = self.open(state.members[where])
        self.write(member)
        return self.close(state, where, self.settle(member, self.is_safe(state, where)))

    def stand(self, state: State, where: int) -> State:
        """As after a won pre-vote, which protects liveness only."""
        member = self.open(state.members[where])
        engine = member.engine
        engine.abandon()
        engine.lose_leader()
        engine.role = Role.CANDIDATE
        campaign = engine.campaign = Campaign(engine.next_ballot())
        self.ballots.add(campaign.ballot)
        engine.start_prepare(campaign)
        stands = (*state.stands[:where], state.stands[where] - 1, *state.stands[where + 1 :])
        return self.close(state._replace(stands=stands), where, self.settle(member, self.is_safe(state, where)))

    def propose(self, state: State, where: int) -> State:
        member = self.open(state.members[where])
        assert member.engine.propose(b"%d-%d" % (self.instance.voters[where], state.proposals), Kind.DATA)
        return self.close(state._replace(proposals=state.proposals - 1), where, self.settle(member, self.is_safe(state, where)))

    def crash(self, state: State, where: int, kept: int) -> State:
        member = self.open(state.members[where])
        for _ in range(kept):
            self.save(member)
        self.sent = []
        fresh = Member_(self.boot(self.instance.voters[where], member.disk), member.disk, ())
        after = self.all_written(state._replace(crashes=state.crashes - 1), but=where)
        self.sent = []
        return self.close(after, where, self.settle(fresh, self.is_safe(after, where)))

    def is_safe(self, state: State, where: int) -> bool:
        """Will this node not crash any more?"""
        return state.crashes == 0 or self.instance.voters[where] not in self.instance.crash_nodes

    def all_written(self, state: State, but: int) -> State:
        """After the last crash every write under way is as good as done."""
        for where, member in enumerate(state.members):
            if where != but and member.writes and self.is_safe(state, where):
                opened = self.open(member)
                while opened.writes:
                    self.write(opened)
                state = self.close(state, where, self.settle(opened, eager=True))
        return state

    # --- a node's work -------------------------------------------------------------------------------------------------------

    def open(self, member: Member_) -> Member_:
        self.sent = []
        self.opened = Member_(clone_engine(member.engine), member.disk, member.writes)
        return self.opened

    def save(self, member: Member_) -> Ready:
        ready, *rest = member.writes
        member.writes = tuple(rest)
        entries = {entry.slot: entry for entry in (*member.disk.entries, *ready.entries)}
        member.disk = Restored(
            ready.hard_state or member.disk.hard_state, Slot(0), member.disk.membership, tuple(sorted(entries.values())), LIFE
        )
        return ready

    def write(self, member: Member_) -> None:
        ready = self.save(member)
        member.engine.persisted(ready.number)
        self.post(member, ready.messages_after)

    def post(self, member: Member_, messages: Any) -> None:
        for to, message in messages:
            is_news = isinstance(message, Accept) and not message.entries
            if isinstance(message, self.instance.messages) and (self.instance.news or not is_news):
                self.sent.append(Packet(member.engine.node, to, message))

    def settle(self, member: Member_, eager: bool) -> Member_:
        """Carry out every Ready; what needs no disk is done at once, and everything if `eager`."""
        while (ready := member.engine.ready()) is not None:
            self.post(member, ready.messages)
            if ready.entries or ready.hard_state or ready.messages_after:
                member.writes = (*member.writes, ready)
            elif not member.writes:
                member.engine.persisted(ready.number)
            if ready.committed:
                member.engine.applied(ready.committed[-1].slot)
            while member.writes and (eager or not (member.writes[0].entries or member.writes[0].hard_state)):
                self.write(member)
        member.key = self.keys.setdefault(member_key(member, self.instance.news), len(self.keys))
        return member

    def close(self, state: State, where: int, member: Member_) -> State:
        network = dict(state.network)
        for packet in self.sent:
            packet_id = self.packet_ids.setdefault(packet, len(self.packets))
            if packet_id == len(self.packets):
                self.packets.append(packet)
            network[packet_id] = self.instance.copies
        members = (*state.members[:where], member, *state.members[where + 1 :])
        for packet_id in [each for each in network if self.is_dead(self.packets[each], members)]:
            del network[packet_id]
        taken = set(state.taken)
        log = member.engine.log
        for slot in range(1, log.chosen + 1):
            entry = log.get(slot)
            assert entry is not None
            taken.add((int(slot), int(entry.origin), int(entry.kind), entry.payload))
        return state._replace(members=members, network=tuple(sorted(network.items())), taken=tuple(sorted(taken)))

    def is_dead(self, packet: Packet, members: tuple[Member_, ...]) -> bool:
        """An answer to a ballot that its proposer has left and, having it on disk, will not use again; or the vote of the leader
        of such a ballot."""
        if not isinstance(packet.message, Promise | Accepted):
            return False
        target = members[self.instance.voters.index(packet.to)]
        if ballot_node(packet.message.ballot) == packet.sender:
            return target.disk.hard_state.promised > packet.message.ballot
        ballot, campaign = packet.message.ballot, target.engine.campaign
        if target.disk.hard_state.promised < ballot or target.engine.own_ballot() == ballot:
            return False
        return campaign is None or campaign.ballot != ballot

    # --- rules ---------------------------------------------------------------------------------------------------------------

    def check_counted(self, engine: Paxos, slot: Slot, ballot: Ballot, voters: list[Voter]) -> None:
        """Called in the middle of an action. Once a slot is taken for chosen nothing can go wrong with it but agreement: who
        knows that may vote without storing anything."""
        assert self.before is not None and self.opened is not None
        if any(taken[0] == slot for taken in self.before.taken):
            return
        disks = {member.engine.node: member.disk for member in self.before.members}
        disks[engine.node] = self.opened.disk
        holders = [node for node, _ in voters if holds(disks[node], slot, ballot)]
        if len(holders) < engine.quorum:
            self.broken.append(f"counting: node {engine.node} takes slot {slot} for chosen at {ballot}, held by {holders} only")

    def check(self, state: State, key: Any) -> None:
        slots = [slot for slot, _, _, _ in state.taken]
        if len(slots) != len({*slots}):
            raise Found(f"agreement: {state.taken}", self.trace(key))
        for slot, origin, _, _ in state.taken:
            if origin not in self.ballots:
                raise Found(f"validity: slot {slot} has an origin {origin} that nobody stood with", self.trace(key))
        for first in range(1, self.instance.slots + 1):
            self.check_accepted(state, first, key)

    def check_accepted(self, state: State, slot: int, key: Any) -> None:
        """At one ballot no two values are ever accepted."""
        seen: dict[int, tuple[Any, ...]] = {}
        for member in state.members:
            entry: Entry | None = member.engine.log.get(slot)
            if entry is not None and seen.setdefault(entry.ballot, entry[2:]) != entry[2:]:
                raise Found(f"two values at slot {slot}, ballot {entry.ballot}", self.trace(key))
