"""The replica: the only place that runs the Ready loop. It implements the Log port for this node's services.

A turn of the loop: hand what services proposed to the engine (leader) or forward it (follower), then carry out every
Ready: send, persist, apply, answer barriers. Everything that arrives only schedules a turn, so work is per turn, not
per message. It must not know what a command means, nor how bytes reach a peer or a disk.

Rules it keeps: 2 and 7 (persister.py), 8 (barriers.py), 10 (step down when the disk hangs), 12 (outbox.py), 14
(stamps), 15 (levels.py), 18 (agreement.py).
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from loggos.base.errors import InternalError, OutOfSpaceError, PeerError
from loggos.base.ids import NO_NODE, Incarnation, Index, NodeId, Slot, Stamps
from loggos.base.limits import (
    BARRIER_TIMEOUT_MS,
    BATCH_BYTES_MAX,
    DISK_ANSWER_TIMEOUT_MS,
    DISK_HANG_STOP_MS,
    DISK_RESERVE_BYTES,
    EARLY_SLOT_BYTES,
    EARLY_SLOT_MS,
    GATHER_MS,
    GATHER_SHARE,
    GATHERS_LEFT_OUT_MAX,
    LOG_TAIL_BYTES,
    SEGMENT_BYTES,
    SNAPSHOT_JOURNAL_BYTES,
    TICK_MS,
    TURN_MS_MAX,
)
from loggos.base.ports import Buffer, Follower, World
from loggos.consensus.codec import decode_message, encode_parts
from loggos.consensus.types import Entry, Kind, Outgoing, Ready, Role, Status
from loggos.node.agreement import Agreement
from loggos.node.barriers import Barriers
from loggos.node.batch import encode_batch, whole_runs
from loggos.node.levels import NO_LEVEL, CellLevels
from loggos.node.metrics import Metrics
from loggos.node.outbox import Outbox
from loggos.node.peers import Mesh
from loggos.node.persister import Persister, Waiting
from loggos.node.registry import Registry
from loggos.node.space import SpaceWatch
from loggos.node.tail import LogTail
from loggos.node.transfer import SnapshotKeeper
from loggos.node.wire import EPOCH, Hello, Standing, Type, frame
from loggos.storage.journal import Journal
from loggos.storage.snapshots import SnapshotStore

Logger = Callable[..., None]


class Engine(Protocol):
    """The consensus seam as the replica drives it (loggos/consensus/__init__.py)."""

    def step(self, sender: NodeId, incarnation: Incarnation, message: Any) -> None: ...
    def tick(self, now_ms: int) -> None: ...
    def peer_lost(self, node: NodeId) -> None: ...
    def propose(self, payload: bytes, kind: Kind = ...) -> bool: ...
    def can_propose(self) -> bool: ...
    def in_flight(self) -> int: ...
    def attend(self, on: bool) -> None: ...
    def peer_attended(self, node: NodeId) -> None: ...
    def read_barrier(self, context: int) -> None: ...
    def admit(self, node: NodeId, incarnation: Incarnation) -> None: ...
    def ready(self) -> Ready | None: ...
    def has_news(self) -> bool: ...
    def persisted(self, number: int) -> None: ...
    def applied(self, slot: Slot) -> None: ...
    def compact(self, slot: Slot) -> None: ...
    def snapshot_installed(self, slot: Slot, membership: Any, origin_applied: Any, sender: NodeId = ...) -> None: ...
    def snapshot_arriving(self) -> None: ...
    def snapshot_wanted(self, slot: Slot) -> bool: ...
    def snapshot_sent(self, node: NodeId, slot: Slot, ok: bool) -> None: ...
    def step_down(self, why: str) -> None: ...
    def status(self) -> Status: ...
    def applied_state(self) -> Any: ...
    def pressure(self, on: bool) -> None: ...
    def peer_chosen(self, node: NodeId) -> Slot: ...
    @property
    def membership(self) -> Any: ...


@dataclass(frozen=True, slots=True)
class Sizes:
    """When the journal turns over, a snapshot is made, and applied entries leave memory; simulation makes them small."""

    segment_bytes: int = SEGMENT_BYTES
    snapshot_journal_bytes: int = SNAPSHOT_JOURNAL_BYTES
    log_tail_bytes: int = LOG_TAIL_BYTES
    disk_reserve_bytes: int = DISK_RESERVE_BYTES


class Replica:
    """Runs one member of the cell. `fatal(error)` is told once if this node can no longer be trusted."""

    def __init__(
        self,
        world: World,
        node: NodeId,
        engine: Engine,
        journal: Journal,
        snapshots: SnapshotStore,
        mesh: Mesh,
        make_registry: Callable[[Callable[[NodeId, int], bool]], Registry],
        metrics: Metrics,
        log: Logger,
        fatal: Callable[[BaseException], None],
        begun: Callable[[], None],
        recovered: Callable[[], None],
        sizes: Sizes,
    ) -> None:
        self.world, self.node, self.engine, self.mesh, self.metrics, self.log = world, node, engine, mesh, metrics, log
        self._fatal, self._begun, self._recovered = fatal, begun, recovered
        self._loop = world.loop
        self.outbox = Outbox(node, world.entropy.below(1 << 16))
        self.registry = make_registry(self.outbox.is_mine)
        self.levels = self.make_levels()
        self.persister = self.make_persister(journal)
        self.space = SpaceWatch(world.disk, self, world.clock, sizes.disk_reserve_bytes)
        self.barriers = self.make_barriers()
        self.agreement = self.make_agreement()
        self.tail = LogTail(sizes.log_tail_bytes)
        self.keeper = self.make_keeper(journal, snapshots, sizes.snapshot_journal_bytes)
        self._status = engine.status()  # as this node acts on it
        self._found_chosen = self._status.chosen  # before this life
        self._has_recovered = False  # that much is applied
        self._level = NO_LEVEL  # in force, as people have been told
        self._news: Status | None = None  # not yet acted on
        self._leader_told = NO_NODE
        self._ticking = False
        self._turn_scheduled = False
        self._in_turn = False
        self.stopped = False
        self._term_cell_ms = 0  # the cell's clock when this node's term as leader began
        self._term_began = 0.0
        self._has_led = False  # since the last interruption
        self._proposed_s = 0.0  # when the last slot was proposed
        self._proposed_runs = 0  # how many runs it took; 0 once it is chosen
        self._awaited_runs = 0  # how many the next one waits for
        self._awaited_until_s = 0.0
        self._has_waited = False  # for writers of the last slot
        self._gathers_left_out = 0  # so many slots wait for nobody
        self._in_vain = 0  # how many were left out after the last wait, which was in vain
        self._wakes = False
        self.writes_stopped = ""
        self._handlers: dict[Type, Callable[[NodeId, Incarnation, bytes], None]] = {
            Type.MESSAGE: self._on_message,
            Type.FORWARD: self._on_forward,
            Type.REFUSED: self._on_refused,
            Type.NOTE: self._on_note,
            Type.DIGEST: self.agreement.on_rolling,
            Type.FULL_DIGEST: self.agreement.on_full,
            Type.SNAPSHOT_BEGIN: self.keeper.on_begin,
            Type.SNAPSHOT_CHUNK: self.keeper.on_chunk,
            Type.SNAPSHOT_END: self.keeper.on_end,
            Type.SNAPSHOT_ACK: self.keeper.on_ack,
        }

    def make_levels(self) -> CellLevels:
        return CellLevels(self.registry.levels, self.mesh.links)

    def make_barriers(self) -> Barriers:
        return Barriers(BARRIER_TIMEOUT_MS / 1000, self.world.entropy.below(1 << 48))

    def make_agreement(self) -> Agreement:
        return Agreement(self)

    def make_persister(self, journal: Journal) -> Persister:
        return Persister(journal, self, self.world.clock)

    def make_keeper(self, journal: Journal, snapshots: SnapshotStore, journal_bytes: int) -> SnapshotKeeper:
        return SnapshotKeeper(self, journal, snapshots, journal_bytes)

    # --- life ----------------------------------------------------------------------------------------------------------------

    def start(self, *, campaign: bool) -> None:
        """Begin. Without `campaign` time does not pass for the engine until a peer's message arrives or
        `allow_campaign` is called."""
        if campaign:
            self.allow_campaign()
        self.tell_level()
        self.world.spawner.spawn(self.persister.run(), "persister")
        self.world.spawner.spawn(self.space.run(), "disk-space")
        self.schedule()
        self._loop.call_later(TICK_MS / 1000, self._tick)

    def allow_campaign(self) -> None:
        if not self._ticking:
            self._ticking = True
            self._begun()

    def stop(self) -> None:
        """Leave at once: no more turns. What was acknowledged is durable."""
        self.stopped = True
        self.barriers.fail_all()
        self.keeper.stop()

    def resign(self, why: str) -> None:
        """Give up leadership before a planned stop, so that the others need not wait."""
        self.engine.step_down(why)
        self.schedule()

    def fatal(self, error: BaseException) -> None:
        if not self.stopped:
            self.stopped = True
            self.log("node stops", error=f"{type(error).__name__}: {error}")
            self._fatal(error)

    def _tick(self) -> None:
        if self.stopped:
            return
        self._loop.call_later(TICK_MS / 1000, self._tick)
        now = self.world.clock.monotonic()
        self.engine.attend(any(follower.is_attended() for follower in self.registry.followers.values()))
        if not self._disk_hangs() and self._ticking:
            self.engine.tick(int(now * 1000))
        self.barriers.expire(now)
        self.keeper.tick()
        self.agreement.tick(now)
        if not self._has_recovered and self.registry.slot >= self._found_chosen:
            self._has_recovered = True
            self._recovered()
        if self.tell_level() and self._level > self.registry.levels[0]:
            self.keeper.make()  # a later release that does not know the level before can start from it
        self._turn()

    def tell_level(self) -> bool:
        """Has the feature level in force changed since people were told? Now they are."""
        level = self.registry.stamps.level
        if level == self._level:
            return False
        self._level = level
        self.log("feature level", level=level, slot=self.registry.slot)
        return True

    def _disk_hangs(self) -> bool:
        """Rule 10: a leader whose disk does not answer gives up; a node whose disk never answers stops."""
        busy_ms = self.persister.busy_seconds() * 1000
        if busy_ms < DISK_ANSWER_TIMEOUT_MS:
            return False
        if busy_ms > DISK_HANG_STOP_MS and not self.persister.waits_for_space:
            self.fatal(InternalError(f"the disk has not answered for {busy_ms / 1000:.0f} s: check it, then restart this node"))
        elif self._status.role in (Role.LEADER, Role.CANDIDATE):
            self.log("steps down", why="the disk does not answer", busy_ms=int(busy_ms))
            self.metrics.count("step_downs_by_disk")
            self.engine.step_down("the disk does not answer")
        return True

    # --- the Log port --------------------------------------------------------------------------------------------------------

    def propose(self, machine: int, command: bytes) -> None:
        self.outbox.put(machine, command)
        self.schedule()

    def follow(self, machine: int, follower: Follower) -> None:
        self.registry.follow(machine, follower)

    def tell(self, node: NodeId, machine: int, note: bytes) -> None:
        if node == self.node:
            self.registry.followers[machine].peer_note(self.node, note)
        else:
            self.mesh.post(node, frame(Type.NOTE, bytes((machine,)), note))
            self.schedule()

    def read_barrier(self, done: Callable[[Index | None], None]) -> None:
        self.barriers.add(done, self.world.clock.monotonic())
        self.schedule()

    @property
    def index(self) -> Index:
        return self.registry.index

    @property
    def level(self) -> int:
        return self.registry.stamps.level

    @property
    def leader(self) -> NodeId:
        """Who leads and takes proposals; 0 while nobody known does, or hears what this node sends."""
        status = self._status
        if not status.heard or (status.leader == self.node and not status.settled):
            return NO_NODE
        return status.leader

    @property
    def cell_ms(self) -> int:
        if self._status.settled:
            return self._term_cell_ms + int((self.world.clock.monotonic() - self._term_began) * 1000)
        return self.registry.stamps.cell_ms

    @property
    def status(self) -> Status:
        """As it is now; what services were told of it changes at the next turn."""
        return self.engine.status()

    # --- from peers ----------------------------------------------------------------------------------------------------------

    def peer_frame(self, node: NodeId, incarnation: Incarnation, kind: Type, body: bytes) -> None:
        if self.stopped:
            return
        handler = self._handlers.get(kind)
        if handler is None:
            return
        try:
            handler(node, incarnation, body)
            if kind is not Type.MESSAGE or self.engine.has_news():
                self.schedule()
        except PeerError:
            raise  # theirs: the mesh closes the connection
        except struct.error as error:
            raise PeerError(f"a {kind.name} frame of {len(body)} bytes is too short: {error}") from None
        except Exception as error:  # supervision: ours, and half a step may have been taken; a transport would only log it
            self.fatal(error)

    def peer_hello(self, node: NodeId, hello: Hello) -> None:
        if self.stopped:
            return
        if hello.standing in (Standing.VIRGIN, Standing.ESTABLISHED):
            self.engine.admit(node, Incarnation(hello.incarnation))
        self.levels.heard(node, hello.known_levels)
        self.schedule()

    def peer_lost(self, node: NodeId) -> None:
        if self.stopped:
            return
        if node == self._status.leader:
            self._interrupt()
        self.engine.peer_lost(node)
        self.levels.lost(node)
        self.keeper.peer_lost(node)
        self.schedule()

    def _on_message(self, node: NodeId, incarnation: Incarnation, body: bytes) -> None:
        self.allow_campaign()
        self.engine.step(node, incarnation, decode_message(body))

    def _on_forward(self, node: NodeId, incarnation: Incarnation, body: bytes) -> None:
        runs = body[EPOCH.size :]
        self.engine.peer_attended(node)
        if self._status.role is not Role.LEADER or self.writes_stopped or not self._takes(runs):
            self.mesh.post(node, frame(Type.REFUSED, body[: EPOCH.size]))

    def _takes(self, runs: bytes) -> bool:
        count = whole_runs(runs, self.registry.machines)
        return count >= 0 and self.outbox.put_forwarded(runs, count)

    def _on_refused(self, node: NodeId, incarnation: Incarnation, body: bytes) -> None:
        if len(body) == EPOCH.size and EPOCH.unpack(body)[0] == self.outbox.epoch:
            self._interrupt()

    def _on_note(self, node: NodeId, incarnation: Incarnation, body: bytes) -> None:
        follower = self.registry.followers.get(body[0]) if body else None
        if follower is not None:
            follower.peer_note(node, body[1:])

    # --- the turn ------------------------------------------------------------------------------------------------------------

    def schedule(self) -> None:
        if not self._turn_scheduled and not self.stopped:
            self._turn_scheduled = True
            self._loop.call_soon(self._turn)

    def _turn(self) -> None:
        self._turn_scheduled = False
        if self.stopped:
            return
        started = self.world.clock.monotonic()
        try:
            self._submit()
            while (ready := self.engine.ready()) is not None:
                self._carry_out(ready)
                if self.world.clock.monotonic() - started > TURN_MS_MAX / 1000 and self.engine.has_news():
                    self.schedule()  # a long log after a start, say: peers and clients are heard meanwhile
                    break
            self.mesh.flush()
        except Exception as error:  # supervision: a turn that fails leaves this node's state unknown
            self.fatal(error)
        self.metrics.loop_turn.observe(self.world.clock.monotonic() - started)

    def _submit(self) -> None:
        """Queued runs and barriers to the engine, or to the leader."""
        leader = self.leader
        if leader == NO_NODE:
            return
        if self._proposed_runs and not self.engine.in_flight():
            self._await_others()
        if self.barriers.has_waiting:
            self.engine.read_barrier(self.barriers.start())
        if not self.outbox.queue or self.writes_stopped:
            return
        if leader == self.node:
            while self.outbox.queue and not self.space.is_low and self._is_time_to_propose():
                self._proposed_s, self._proposed_runs = self.world.clock.monotonic(), self.outbox.queue_runs
                taken = self.engine.propose(encode_batch(self._stamp(), self.outbox.take(BATCH_BYTES_MAX)))
                assert taken, "the engine refused what it said it would take"
        elif self.mesh.takes(leader):
            self.engine.attend(True)  # before the next tick asks: a heartbeat's answer behind this must not say otherwise
            while self.outbox.queue:
                runs = self.outbox.take(BATCH_BYTES_MAX)
                self.mesh.post(leader, frame(Type.FORWARD, EPOCH.pack(self.outbox.epoch), *runs))

    def _is_time_to_propose(self) -> bool:
        """Group commit: what waits behind a slot in flight leaves together, but large batches and far peers are pipelined."""
        if not self.engine.can_propose():
            return False
        if self.outbox.queue_bytes >= EARLY_SLOT_BYTES:
            return True
        now = self.world.clock.monotonic()
        if self.engine.in_flight():
            is_late = (now - self._proposed_s) * 1000 >= EARLY_SLOT_MS
            if not is_late:
                self._wake_in_time(EARLY_SLOT_MS)
            return is_late
        if self.outbox.queue_runs < self._awaited_runs and now < self._awaited_until_s:
            self._has_waited = True
            self._wake_in_time(GATHER_MS)
            return False
        if self._has_waited:
            self._learn_from_wait()
        return True

    def _await_others(self) -> None:
        """The last slot was just chosen. Whoever wrote in it or waits behind it will soon have something to write, as a rule."""
        if self._gathers_left_out:
            self._gathers_left_out -= 1
            self._awaited_runs = 0
        else:
            self._awaited_runs = int(GATHER_SHARE * (self._proposed_runs + self.outbox.queue_runs))
        self._awaited_until_s = self.world.clock.monotonic() + GATHER_MS / 1000
        self._proposed_runs = 0
        self._has_waited = False

    def _learn_from_wait(self) -> None:
        """If not half of the awaited came, they are further away than GATHER_MS, or have gone: they are awaited less often."""
        self._has_waited = False
        if 2 * self.outbox.queue_runs >= self._awaited_runs:
            self._in_vain = 0
        else:
            self._gathers_left_out = self._in_vain = min(2 * self._in_vain + 1, GATHERS_LEFT_OUT_MAX)

    def _wake_in_time(self, ms: int) -> None:
        if not self._wakes:
            self._wakes = True
            self._loop.call_later(ms / 1000, self._wake)

    def _wake(self) -> None:
        self._wakes = False
        self.schedule()

    def _stamp(self) -> Stamps:
        """Rule 14: the cell's clock is the previous value plus this leader's monotonic elapsed time. Rule 15: a level that
        every node knows."""
        return Stamps(self.world.clock.wall_ms(), self.cell_ms, self.levels.next(self.registry.stamps.level))

    def _carry_out(self, ready: Ready) -> None:
        self.persister.add(ready)
        self.persister.pump()  # the disk first: it works while the rest of this turn goes on
        self._send(ready.messages)
        self.mesh.flush()
        self._news = ready.status or self._news
        self._tell_news()
        if ready.committed:
            self._apply(ready.committed)
            self._tell_news()
        for context, slot in ready.reads:
            self.barriers.granted(context, slot)
        self.barriers.met(self.registry.slot, self.registry.index)
        for node in ready.send_snapshot:
            self.keeper.send(node)

    def ready_durable(self, ready: Waiting) -> None:
        self.engine.persisted(ready.number)
        self._send(ready.messages_after)

    def _send(self, messages: tuple[Outgoing, ...]) -> None:
        """Post each message; one that goes to several peers in a row is encoded once."""
        encoded: object = None
        buffers: list[Buffer] = []
        for to, message in messages:
            if message is not encoded:
                encoded, buffers = message, frame(Type.MESSAGE, *encode_parts(message))
            self.mesh.post(to, buffers)

    def disk_full(self, error: OutOfSpaceError) -> None:
        self.metrics.count("disk_full")
        self.log("disk full", why=str(error))

    def disk_pressed(self, on: bool) -> None:
        """As much waits for the disk as memory may hold: what others send is not taken; or it is again."""
        self.engine.pressure(on)
        self.metrics.count("disk_pressed" if on else "disk_relieved")
        self.log("waits for the disk" if on else "takes entries again")
        if not on:
            self.schedule()  # what could not be proposed can be now, though the engine has no news

    def space_changed(self, is_low: bool, free_bytes: int) -> None:
        """While there is too little room this node takes no writes as a leader; then it goes on with what waits."""
        self.metrics.count("disk_low" if is_low else "disk_room_again")
        self.log("disk nearly full: no writes here" if is_low else "disk has room again", free_bytes=free_bytes)
        self.schedule()

    def make_room(self) -> None:
        self.keeper.make_room()

    def yield_lead(self) -> None:
        if self._status.role is Role.LEADER and len(self.engine.membership.voters) > 1:
            self.resign("the disk is nearly full")

    def durable_done(self) -> None:
        """A batch's Readys are all released: let the engine go on, if it can."""
        self.mesh.flush()
        if self.engine.has_news():
            self.schedule()

    def _apply(self, committed: tuple[Entry, ...]) -> None:
        registry = self.registry
        for entry in committed:
            if entry.slot <= registry.slot:
                continue  # a snapshot that was installed meanwhile covers it
            before_ms = registry.stamps.cell_ms
            registry.apply(entry.slot, entry.payload if entry.kind is Kind.DATA else b"")
            self.tail.applied(entry.slot, len(entry.payload))
            self.agreement.applied(entry.slot, before_ms)
        self.engine.applied(registry.slot)
        compactable = self.tail.compactable()
        if compactable:
            self.engine.compact(compactable)

    # --- leadership ----------------------------------------------------------------------------------------------------------

    def _tell_news(self) -> None:
        """A term begins once all that was chosen before it is applied here: its clock goes on from there (rule 14)."""
        news = self._news
        if news is not None and not (news.settled and self.registry.slot < news.chosen):
            self._news = None
            self._status_changed(news)

    def _status_changed(self, new: Status) -> None:
        old = self._status
        if new.settled and not old.settled:
            self._begin_term()
        self._status = new
        if (old.leader, old.ballot) != (new.leader, new.ballot):
            if new.leader != NO_NODE:  # until another leads, what is on its way may yet be applied, and where should clients go?
                self._interrupt()
            self.log("leader", leader=new.leader, ballot=new.ballot, role=new.role.name.lower())
        if old.heard and not new.heard:
            self._interrupt()  # what is on its way may never arrive
            self.log("not heard by the leader", leader=new.leader)
        self._has_led = self._has_led or new.settled
        if self.leader != self._leader_told:
            self._leader_told = self.leader
            self.schedule()  # what waited for a leader goes on
            self.metrics.count("leader_changes")
            for follower in self.registry.followers.values():
                follower.leader_changed(self._leader_told, self._leader_told == self.node)

    def _begin_term(self) -> None:
        self._term_cell_ms = self.registry.stamps.cell_ms
        self._term_began = self.world.clock.monotonic()

    def _interrupt(self) -> None:
        has_led, self._has_led = self._has_led, self._status.settled
        if self.outbox.interrupt(has_led):
            self.metrics.count("interruptions")
            for follower in self.registry.followers.values():
                follower.interrupted()

    def state_replaced(self) -> None:
        """A snapshot takes the place of log entries: what this node waits for may lie among them, and is never seen applied."""
        self._interrupt()

    def stop_writes(self, why: str) -> None:
        """For good, until an operator has found out which node is right."""
        if not self.writes_stopped:
            self.writes_stopped = why
            self.log("writes stop", why=why)
