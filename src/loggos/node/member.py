"""One member of the cell, from its data directory to a running replica: recovery, first start, and coming back from
loss.

    identity    journal and snapshots      becomes
    none        none                       a founding voter, if every other voter answers and none has begun; else a
      lost voter (rule 6)
    present     sound                      what it was
    begun       damaged, not a torn tail   set aside, then a lost voter; the only voter of its cell stops instead
    damaged, or missing    any             the same
    of another cell, other voters, or a newer version    ConfigError, nothing touched

A lost voter takes a fresh incarnation, vouches for nothing, and follows until the log has taken it back
(docs/ARCHITECTURE.md). A founding voter does not campaign before it has seen that every voter has an identity. The lowest
founding voter draws the cell's founding, and the others have it from there: by it a node knows the nodes of its cell from those
of another with the same name. One that finds itself among a majority of strangers stops. Must not know any service.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import msgspec

from loggos.base.errors import ConfigError, DamageError
from loggos.base.ids import Ballot, Incarnation, NodeId, Slot
from loggos.base.limits import FIRST_START_LOG_MS, PEER_NEWCOMERS_MAX
from loggos.base.ports import Disk, World
from loggos.consensus.engine import Paxos
from loggos.consensus.types import HardState, Membership, Restored
from loggos.consensus.types import Member as Voter
from loggos.node.config import NodeConfig
from loggos.node.metrics import Metrics
from loggos.node.peers import Mesh
from loggos.node.registry import Machine, Registry
from loggos.node.replica import Engine, Logger, Replica, Sizes
from loggos.node.transfer import decode_meta
from loggos.node.wire import PROTOCOL, Hello, Standing, Type
from loggos.storage import identity as identities
from loggos.storage.identity import FIRST_FOUNDING, FOUNDING_BITS, NO_FOUNDING, Identity
from loggos.storage.journal import Journal, Recovered, open_journal
from loggos.storage.records import entries_bytes
from loggos.storage.recovery import Recovery
from loggos.storage.snapshots import SnapshotReader, SnapshotStore

FOUNDING = Incarnation(1)
HAVE_IDENTITIES = (Standing.VIRGIN, Standing.ESTABLISHED)
INCARNATION_BITS = 48


@dataclass(frozen=True, slots=True)
class MemberParts:
    """What a member is made of. Tests hand over subclasses that break one rule each."""

    engine: Callable[..., Engine] = Paxos
    journal: type[Journal] = Journal
    recovery: type[Recovery] = Recovery
    snapshots: type[SnapshotStore] = SnapshotStore
    registry: type[Registry] = Registry
    replica: type[Replica] = Replica
    sizes: Sizes = field(default_factory=Sizes)


@dataclass(slots=True)
class _Found:
    """What the data directory holds."""

    identity: Identity
    recovered: Recovered
    snapshots: SnapshotStore
    reader: SnapshotReader | None


async def _load_identity(config: NodeConfig, disk: Disk) -> Identity | None:
    voters = [int(node) for node in config.voter_ids]
    return await identities.load(disk, cell=config.cell, node=config.node, voters=voters)


async def refuse_strange(config: NodeConfig, disk: Disk) -> None:
    """ConfigError if the data directory is another's by its identity, or that is of a newer format. Nothing is written. A damaged
    one passes: what to do about it is the member's to know."""
    with suppress(DamageError):
        await _load_identity(config, disk)


class Member:
    """`start` returns when the replica runs; it may still wait for its peers. `attach(replica)` gives services their place before
    anything is applied."""

    def __init__(
        self,
        config: NodeConfig,
        world: World,
        make_machines: Callable[[], Iterable[Machine]],
        log: Logger,
        fatal: Callable[[BaseException], None],
        parts: MemberParts | None = None,
        newcomers_max: int = PEER_NEWCOMERS_MAX,
    ) -> None:
        self.config, self.world, self.log = config, world, log
        self.metrics = Metrics()
        self.replica: Replica | None = None
        self._parts = parts or MemberParts()
        self._make_machines = make_machines
        self._fatal = fatal
        self._voters = config.voter_ids
        self._hellos: dict[NodeId, Hello] = {}
        self._foreign: set[NodeId] = set()  # peers' places taken by nodes of another cell
        self._heard = asyncio.Event()
        hello, addresses = self._hello(Standing.EMPTY, 0, NO_FOUNDING), config.peer_addresses()
        self.mesh = Mesh(world, self, hello, addresses, log, self.metrics.count, newcomers_max)

    # --- start ---------------------------------------------------------------------------------------------------------------

    async def start(self, attach: Callable[[Replica], None]) -> None:
        """ConfigError: the directory or the addresses cannot be used. DamageError: the only voter of its cell is damaged."""
        identity = await self._load()
        found = None if identity is None else await self._open_or_set_aside(identity)
        if found is not None:
            self.mesh.hello = self._hello_of(found)
        await self.mesh.start(self.config.host, self._peer_port())
        if found is None:
            found = await self._open_new(await self._first_identity())
            self.mesh.become(self._hello_of(found))
            self._hellos = {node: hello for node, hello in self._hellos.items() if not self.mesh.is_foreign(hello)}
        await self._run(found, attach)

    async def _load(self) -> Identity | None:
        """The identity; None: there is none, or it is lost, and the other voters must say which cell this is."""
        try:
            identity = await _load_identity(self.config, self.world.disk)
        except DamageError as damage:
            if len(self._voters) == 1:
                raise
            await self._set_aside(self._identity(self._fresh_incarnation(), NO_FOUNDING), damage)
            self._lose()
            return None
        if identity is not None and identity.founding == NO_FOUNDING:
            if await identities.has_data(self.world.disk):
                await self._set_aside(identity, DamageError(identities.PATH, 0, "to set its data aside was not finished"))
            self._lose()
            return None
        return identity

    def _lose(self) -> None:
        """Whatever this directory's earlier lives promised, nobody knows any more."""
        self.mesh.hello = msgspec.structs.replace(self.mesh.hello, standing=Standing.LOST)

    def _peer_port(self) -> int:
        return self.config.peer_addresses()[self.config.node][1]

    def _hello(self, standing: Standing, incarnation: int, founding: int) -> Hello:
        cell, voters = self.config.cell, [int(n) for n in self._voters]
        return Hello(PROTOCOL, cell, self.config.id, incarnation, standing, voters, founding, self.config.client_address)

    def _hello_of(self, found: _Found) -> Hello:
        standing = Standing.VIRGIN if self._is_virgin(found) else Standing.ESTABLISHED
        return self._hello(standing, found.identity.incarnation, found.identity.founding)

    def _is_virgin(self, found: _Found) -> bool:
        """A founding voter that has promised and accepted nothing."""
        recovered = found.recovered
        is_empty = found.reader is None and not recovered.hard_state.promised and not recovered.entries
        return is_empty and found.identity.incarnation == FOUNDING

    async def _open(self, identity: Identity) -> _Found:
        snapshots = await self._parts.snapshots.open(self.world.disk)
        reader = await snapshots.latest()
        recovered = await open_journal(
            self.world.disk,
            clock=self.world.clock.monotonic,
            observe_sync=self.metrics.fdatasync.observe,
            journal_type=self._parts.journal,
            recovery_type=self._parts.recovery,
            segment_bytes=self._parts.sizes.segment_bytes,
        )
        if recovered.cut_bytes:
            self.metrics.count("torn_tails_cut")
            self.log("torn tail cut", bytes=recovered.cut_bytes)
        found = _Found(identity, recovered, snapshots, reader)
        self._refuse_gap(found)
        return found

    def _refuse_gap(self, found: _Found) -> None:
        """What was chosen here must be whole from the snapshot on, or this directory has lost something."""
        held = found.recovered.entries
        first = (decode_meta(found.reader.meta).slot if found.reader is not None else 0) + 1
        for slot in range(first, found.recovered.hard_state.chosen + 1):
            if Slot(slot) not in held:
                raise DamageError("journal", 0, f"slot {slot} was chosen here and is neither in the journal nor in a snapshot")

    async def _open_new(self, identity: Identity) -> _Found:
        """Make an empty journal, and only then say that this identity has begun: a begun identity without a journal
        has lost it."""
        await identities.write(self.world.disk, identity)
        found = await self._open(identity)
        found.identity = msgspec.structs.replace(identity, has_journal=True)
        await identities.write(self.world.disk, found.identity)
        self.log("identity taken", incarnation=identity.incarnation)
        return found

    async def _open_or_set_aside(self, identity: Identity) -> _Found:
        if not identity.has_journal and not identity.is_lost:
            return await self._open_new(identity)
        try:
            found = await self._open(identity)
            if not self._has_lost_journal(found):
                return found
            error = DamageError("journal", 0, "it is gone, with what this incarnation promised")
        except DamageError as damage:
            error = damage
        if len(self._voters) == 1:
            raise error
        await self._set_aside(identity, error)
        return await self._open_new(self._identity(self._fresh_incarnation(), identity.founding))

    def _has_lost_journal(self, found: _Found) -> bool:
        return found.recovered.is_fresh or found.identity.is_lost

    async def _set_aside(self, identity: Identity, error: DamageError) -> None:
        """`set_aside_damaged` marks the identity as lost first, so no crash in between can pass for a sound voter."""
        self.metrics.count("directories_set_aside")
        place = await identities.set_aside_damaged(self.world.disk, identity)
        self.log("damaged data set aside", why=str(error), to=place)

    def _fresh_incarnation(self) -> Incarnation:
        return Incarnation(2 + self.world.entropy.below(1 << INCARNATION_BITS))

    def _identity(self, incarnation: Incarnation, founding: int) -> Identity:
        voters = [int(node) for node in self._voters]
        return Identity(cell=self.config.cell, node=self.config.node, incarnation=incarnation, voters=voters, founding=founding)

    # --- first start ---------------------------------------------------------------------------------------------------------

    async def _first_identity(self) -> Identity:
        """An empty directory: wait until the other voters say what this node is to be."""
        while (identity := self._identity_among_others()) is None:
            self._heard.clear()
            try:
                await asyncio.wait_for(self._heard.wait(), FIRST_START_LOG_MS / 1000)
            except TimeoutError:
                self.log("first start waits for voters", **self._what_is_awaited())
        return identity

    def _what_is_awaited(self) -> dict[str, Any]:
        """For people: whom this node waits for, and if all are here, what they do not agree on."""
        missing = [int(n) for n in self._voters if n != self.config.node and n not in self._hellos]
        lost = [int(n) for n, hello in sorted(self._hellos.items()) if hello.standing == Standing.LOST]
        awaited: dict[str, Any] = {"missing": missing, **({"lost": lost} if lost else {})}
        if not missing and not lost:
            named = ", ".join(f"{n} names {hello.founding:x}" for n, hello in sorted(self._hellos.items()) if hello.founding)
            awaited["why"] = f"no majority of the {len(self._voters)} voters names one cell: {named or 'none does'}"
        return awaited

    def _identity_among_others(self) -> Identity | None:
        """Rule 6: a founding voter only if all initial voters are here and none has begun; None: not known yet."""
        others = [self._hellos.get(node) for node in self._voters if node != self.config.node]
        met = [hello for hello in others if hello is not None]
        named = Counter([hello.founding for hello in met if hello.founding])
        is_lost = self.mesh.hello.standing == Standing.LOST
        if is_lost or self.config.node not in self._voters or any(hello.standing == Standing.ESTABLISHED for hello in met):
            majority = [founding for founding, voters in named.items() if 2 * voters > len(self._voters)]
            return self._identity(self._fresh_incarnation(), majority[0]) if majority else None
        if len(met) < len(others) or len(named) > 1 or any(hello.standing == Standing.LOST for hello in met):
            return None
        if not named and self.config.node == self._voters[0]:
            named[FIRST_FOUNDING + self.world.entropy.below(1 << FOUNDING_BITS)] = 1
        return self._identity(FOUNDING, next(iter(named))) if named else None

    def _all_have_identities(self) -> bool:
        others = [self._hellos.get(node) for node in self._voters if node != self.config.node]
        return all(hello is not None and hello.standing in HAVE_IDENTITIES for hello in others)

    # --- running -------------------------------------------------------------------------------------------------------------

    async def _run(self, found: _Found, attach: Callable[[Replica], None]) -> None:
        restored, chunks = await self._restored(found)
        engine = self._parts.engine(
            self.config.node,
            restored,
            now_ms=int(self.world.clock.monotonic() * 1000),
            random=self.world.entropy.below,
        )
        machines = list(self._make_machines())
        replica = self._parts.replica(
            self.world,
            self.config.node,
            engine,
            found.recovered.journal,
            found.snapshots,
            self.mesh,
            lambda mine: self._parts.registry(machines, mine),
            self.metrics,
            self.log,
            self._fatal,
            self._begun,
            self._recovered,
            self._parts.sizes,
        )
        if chunks:
            replica.registry.restore(chunks)
        snapshot_bytes = found.reader.size_bytes if found.reader is not None else 0
        replica.keeper.go_on(entries_bytes(restored.entries), snapshot_bytes)
        attach(replica)
        self.replica = replica
        self.world.spawner.spawn(found.recovered.journal.keep_prepared(), "prepare-segments")
        replica.start(campaign=not self._is_virgin(found) or self._all_have_identities())
        for node in sorted(self._hellos):
            replica.peer_hello(node, self._hellos[node])

    def _begun(self) -> None:
        """Time passes for the engine: from now on this node may promise, so an empty peer must not take it for a virgin."""
        self.mesh.become(msgspec.structs.replace(self.mesh.hello, standing=Standing.ESTABLISHED))

    def _recovered(self) -> None:
        """All that was chosen here before is applied: from now on the others may count on what this release knows (rule 15)."""
        levels = self._parts.registry.levels
        self.mesh.become(msgspec.structs.replace(self.mesh.hello, levels=(levels[0], levels[-1])))

    async def _restored(self, found: _Found) -> tuple[Restored, list[bytes]]:
        membership = Membership(
            voters={node: Voter(FOUNDING, Slot(1)) for node in self._voters},
            learners={NodeId(int(name)): Incarnation(0) for name in sorted(self.config.learners, key=int)},
        )
        slot, origin, chunks = Slot(0), Ballot(0), []
        if found.reader is not None:
            meta = decode_meta(found.reader.meta)
            slot, origin = Slot(meta.slot), Ballot(meta.origin_applied)
            membership = meta.decode_membership().with_learners(membership.learners)
            chunks = [chunk async for chunk in found.reader.chunks()]
        hard_state = found.recovered.hard_state
        entries = tuple(entry for _, entry in sorted(found.recovered.entries.items()) if entry.slot > slot)
        chosen, incarnation = Slot(max(hard_state.chosen, slot)), Incarnation(found.identity.incarnation)
        return Restored(HardState(hard_state.promised, chosen), slot, membership, entries, incarnation, origin), chunks

    def stop(self) -> None:
        if self.replica is not None:
            self.replica.stop()
        self.mesh.close()

    def client_addresses(self) -> dict[NodeId, str]:
        """Where clients reach each node of the cell, by its own word; "" where this one has not heard it."""
        heard = {node: hello.client for node, hello in self._hellos.items()}
        heard[self.config.node] = self.config.client_address
        return {node: heard.get(node, "") for node in self.config.peer_addresses()}

    # --- from the mesh -------------------------------------------------------------------------------------------------------

    def peer_hello(self, node: NodeId, hello: Hello) -> None:
        self._hellos[node] = hello
        self._foreign.discard(node)
        self._heard.set()
        if self.replica is not None:
            if self._all_have_identities():
                self.replica.allow_campaign()
            self.replica.peer_hello(node, hello)

    def peer_foreign(self, node: NodeId) -> None:
        """A majority of strangers, and nobody of ours: it is this node that is in the wrong place."""
        self._foreign.add(node)
        if 2 * len(self._foreign.intersection(self._voters)) > len(self._voters) and not self.mesh.receiving:
            self._fatal(
                ConfigError(
                    f"the data directory belongs to another cell with the name {self.config.cell!r} than those of nodes "
                    f"{', '.join(str(int(other)) for other in sorted(self._foreign))}: use the right one, or an empty one"
                )
            )

    def peer_frame(self, node: NodeId, incarnation: Incarnation, kind: Type, body: bytes) -> None:
        if self.replica is not None:
            self.replica.peer_frame(node, incarnation, kind, body)

    def peer_lost(self, node: NodeId) -> None:
        hello = self._hellos.get(node)
        if hello is not None and (hello.standing not in HAVE_IDENTITIES or not self.mesh.hello.founding):
            del self._hellos[node]  # it may come back as another: before this node has an identity only those count that are here
        if self.replica is not None:
            self.replica.peer_lost(node)
