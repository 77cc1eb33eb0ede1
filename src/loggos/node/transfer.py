"""Snapshots of one node: made when the journal has grown, sent to peers that lag beyond the log, received and
installed.

A snapshot file's chunks are the registry's; its meta is JSON (slot, index, membership and origin of consensus).
Transfer: BEGIN, CHUNKs with at most SNAPSHOT_CHUNKS_AHEAD unacknowledged, END; the last ACK says that it is
installed. One is received at a time, and other senders are told so. A transfer that breaks leaves nothing behind.
Everything runs in tasks beside the log: an installed state is made in steps beside the present one, and then takes its place.

The log that a snapshot needs to be of use is kept from before it is made (LogTail's pins) until the receiver has caught
up with what is kept anyway, or stands still: a receiver that finds the log gone would need the next snapshot, for ever.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec

from loggos.base.errors import OutOfSpaceError, PeerError
from loggos.base.ids import Ballot, Incarnation, NodeId, Slot
from loggos.base.limits import (
    LOG_PIN_IDLE_MS,
    PEER_FRAME_BYTES_MAX,
    SNAPSHOT_CHUNKS_AHEAD,
    SNAPSHOT_LOW_DIVISOR,
    SNAPSHOT_TRANSFER_STALL_MS,
    SNAPSHOT_TRIES_MAX,
    SNAPSHOT_YIELD_MS,
)
from loggos.base.steps import Steps
from loggos.consensus.codec import decode_membership, encode_membership
from loggos.consensus.types import Membership
from loggos.node.wire import CHUNK, SLOT, SNAPSHOT_REFUSED, Type, frame
from loggos.storage.journal import Journal
from loggos.storage.snapshots import SnapshotReader, SnapshotStore, SnapshotWriter

if TYPE_CHECKING:
    from loggos.node.replica import Replica


class SnapshotMeta(msgspec.Struct, frozen=True):
    """What consensus must know of a snapshot."""

    slot: int
    index: int
    origin_applied: int
    membership: str  # base64 of the consensus codec's bytes

    def encode(self) -> bytes:
        return msgspec.json.encode(self)

    def decode_membership(self) -> Membership:
        return decode_membership(base64.b64decode(self.membership))


def decode_meta(data: bytes) -> SnapshotMeta:
    try:
        return msgspec.json.decode(data, type=SnapshotMeta)
    except msgspec.MsgspecError as error:
        raise PeerError(f"a snapshot's meta cannot be read: {error}") from None


class _Sending:
    def __init__(self) -> None:
        self.slot = Slot(0)
        self.acknowledged = 0
        self.moved = asyncio.Event()
        self.broken = False


class _Receiving:
    def __init__(self, sender: NodeId, slot: Slot, meta: bytes, now: float) -> None:
        self.sender, self.slot, self.meta = sender, slot, meta
        self.heard_s = now
        self.is_whole = False  # all chunks are here: what remains is this node's own work
        self.queue: asyncio.Queue[bytes | None] = asyncio.Queue()
        self.taken = 0
        self.broken = False


class _CatchingUp:
    """A peer that has got its snapshot, and fetches what came after it."""

    def __init__(self, now: float) -> None:
        self.chosen = Slot(0)
        self.moved_s = now


class SnapshotKeeper:
    """One per replica."""

    def __init__(self, replica: Replica, journal: Journal, store: SnapshotStore, journal_bytes: int) -> None:
        self._replica, self._journal, self._store, self._every_bytes = replica, journal, store, journal_bytes
        self._making: asyncio.Task[None] | None = None
        self._mark = journal.bytes_written  # at the newest snapshot
        self._last_bytes = 0  # of the newest snapshot
        self._is_wanted = False  # however little has been written since
        self._sending: dict[NodeId, _Sending] = {}
        self._catching_up: dict[NodeId, _CatchingUp] = {}
        self._receiving: _Receiving | None = None
        self._stopped = False

    def go_on(self, journal_bytes: int, snapshot_bytes: int) -> None:
        """What was found at the start: the journal behind the newest snapshot, and that snapshot's size. A node that is restarted
        often must not forget each time how much its journal has grown."""
        self._mark -= journal_bytes
        self._last_bytes = snapshot_bytes

    def tick(self) -> None:
        grown = self._journal.bytes_written - self._mark
        if (self._is_wanted or grown > max(self._every_bytes, self._last_bytes)) and self._making is None:
            self._is_wanted = False
            self._spawn_make()
        now = self._now()
        if self._catching_up:
            self._let_log_go(now)
        if self._receiving is not None and self._has_stalled(self._receiving, now, SNAPSHOT_TRANSFER_STALL_MS):
            self._replica.log("snapshot not received", peer=self._receiving.sender, slot=self._receiving.slot)
            self._replica.metrics.count("snapshots_stalled")
            self._refuse(self._receiving)

    def make(self) -> None:
        """One of the state as it is now, or later; soon."""
        self._is_wanted = True

    def make_room(self) -> None:
        """The disk is nearly full: a snapshot lets the journal shrink, if it has grown by enough since the last."""
        grown = self._journal.bytes_written - self._mark
        if grown > self._every_bytes // SNAPSHOT_LOW_DIVISOR and self._making is None and not self._stopped:
            self._spawn_make()

    def _now(self) -> float:
        return self._replica.world.clock.monotonic()

    async def rests(self) -> None:
        """Return once no snapshot of this node is being made."""
        while self._making is not None:
            await asyncio.wait([self._making])

    def stop(self) -> None:
        self._stopped = True

    def peer_lost(self, node: NodeId) -> None:
        sending = self._sending.get(node)
        if sending is not None:
            sending.broken = True
            sending.moved.set()
        if self._receiving is not None and self._receiving.sender == node:
            self._drop_receiving()

    # --- making --------------------------------------------------------------------------------------------------------------

    def _spawn_make(self) -> asyncio.Task[None]:
        if self._making is None:
            self._making = self._replica.world.spawner.spawn(self._make(), "snapshot")
        return self._making

    async def _make(self) -> None:
        try:
            await self._write_snapshot()
        except OutOfSpaceError as error:
            self._replica.log("no snapshot", why=str(error))
        finally:
            self._mark = self._journal.bytes_written
            self._making = None

    async def _write_snapshot(self) -> None:
        registry, engine = self._replica.registry, self._replica.engine
        chunks = registry.snapshot()
        head = next(chunks)  # the state is fixed here, with what consensus knew at the same slot
        slot = registry.slot
        state = engine.applied_state()
        membership = base64.b64encode(encode_membership(state.membership)).decode()
        meta = SnapshotMeta(slot, registry.index, state.origin_applied, membership)
        restores, written = registry.restores, len(head)
        writer = await self._store.begin(slot)
        await writer.add(head)
        for chunk in chunks:
            await writer.add(chunk)
            written += len(chunk)
            if registry.restores != restores or self._stopped:  # the state was replaced under the walk
                await writer.abort()
                return
        await writer.commit(meta.encode())
        self._last_bytes = written
        self._replica.metrics.count("snapshots_made")
        self._replica.log("snapshot", slot=slot, bytes=written)
        await self._forget_journal()

    async def _forget_journal(self) -> None:
        """The journal from the older kept snapshot on stays, so that either can be started from."""
        oldest = self._store.oldest_slot()
        if oldest is not None:
            await self._journal.remove_before(oldest)

    # --- sending -------------------------------------------------------------------------------------------------------------

    def send(self, node: NodeId) -> None:
        if node not in self._sending and not self._stopped:
            self._sending[node] = _Sending()
            self._replica.world.spawner.spawn(self._send(node, self._sending[node]), f"send-snapshot-{node}")

    async def _send(self, node: NodeId, sending: _Sending) -> None:
        slot, ok = Slot(0), False
        self._catching_up.pop(node, None)
        try:
            reader = await self._joining(node)
            if reader is not None:
                slot = reader.slot
                ok = await self._stream(node, sending, reader)
        finally:
            del self._sending[node]
            if ok:
                self._catching_up[node] = _CatchingUp(self._now())
            else:
                self._replica.tail.unpin(node)
            if not self._stopped:
                self._replica.log("snapshot sent" if ok else "snapshot not sent", peer=node, slot=slot)
                self._replica.engine.snapshot_sent(node, slot, ok)
                self._replica.schedule()

    async def _joining(self, node: NodeId) -> SnapshotReader | None:
        """The newest snapshot, if the log in memory joins on to it, or else one that is made now; the log after it is kept for
        `node`. None: there is no room, or more was written meanwhile than may be kept."""
        self._keep_log(node)
        for tries in range(SNAPSHOT_TRIES_MAX + 1):
            reader = await self._store.latest()
            if reader is not None and reader.slot + 1 >= self._replica.engine.status().first:
                self._replica.tail.pin(node, reader.slot)
                return reader
            if self._stopped or tries == SNAPSHOT_TRIES_MAX:
                break
            await self._spawn_make()  # perhaps one that began before the log was kept
        return None

    def _keep_log(self, node: NodeId) -> None:
        """Before the snapshot is made: from now on nothing after it goes."""
        self._replica.tail.pin(node, Slot(self._replica.engine.status().first - 1))

    def _let_log_go(self, now: float) -> None:
        """What a peer has fetched need not be kept, and nothing once it is near or stands still."""
        tail = self._replica.tail
        for node, peer in list(self._catching_up.items()):
            chosen = self._replica.engine.peer_chosen(node)
            if chosen > peer.chosen:
                peer.chosen, peer.moved_s = chosen, now
            if tail.is_near(chosen) or now - peer.moved_s > LOG_PIN_IDLE_MS / 1000:
                del self._catching_up[node]
                tail.unpin(node)

    async def _stream(self, node: NodeId, sending: _Sending, reader: SnapshotReader) -> bool:
        slot, mesh = reader.slot, self._replica.mesh
        sending.slot = slot
        mesh.post(node, frame(Type.SNAPSHOT_BEGIN, SLOT.pack(slot), reader.meta))
        number = 0
        async for chunk in reader.chunks():
            if len(chunk) + 64 > PEER_FRAME_BYTES_MAX or not await self._room(node, sending, number):
                return False
            mesh.post(node, frame(Type.SNAPSHOT_CHUNK, CHUNK.pack(slot, number), chunk))
            mesh.flush()
            number += 1
        mesh.post(node, frame(Type.SNAPSHOT_END, CHUNK.pack(slot, number)))
        mesh.flush()
        return await self._moved(sending, number + 1)

    async def _room(self, node: NodeId, sending: _Sending, number: int) -> bool:
        if not await self._moved(sending, number - SNAPSHOT_CHUNKS_AHEAD):
            return False
        return await self._replica.mesh.links[node].drained()

    async def _moved(self, sending: _Sending, wanted: int) -> bool:
        """Wait until the peer has acknowledged `wanted` chunks; False when it breaks or stalls."""
        while sending.acknowledged < wanted and not sending.broken and not self._stopped:
            sending.moved.clear()
            try:
                await asyncio.wait_for(sending.moved.wait(), SNAPSHOT_TRANSFER_STALL_MS / 1000)
            except TimeoutError:
                return False
        return not sending.broken and not self._stopped

    def on_ack(self, node: NodeId, incarnation: Incarnation, body: bytes) -> None:
        sending = self._sending.get(node)
        slot, taken = CHUNK.unpack_from(body)
        if sending is None or slot != sending.slot:
            return
        if taken == SNAPSHOT_REFUSED:
            sending.broken = True
        else:
            sending.acknowledged = max(sending.acknowledged, taken)
        sending.moved.set()

    # --- receiving -----------------------------------------------------------------------------------------------------------

    def on_begin(self, node: NodeId, incarnation: Incarnation, body: bytes) -> None:
        (slot,) = SLOT.unpack_from(body)
        if decode_meta(body[SLOT.size :]).slot != slot:
            raise PeerError(f"a snapshot at slot {slot} whose meta is of another slot")
        if not self._replica.engine.snapshot_wanted(Slot(slot)):
            self._acknowledge(node, Slot(slot), SNAPSHOT_REFUSED)
            return
        if self._receiving is not None:
            if not self._gives_way(self._receiving, node):
                self._acknowledge(node, Slot(slot), SNAPSHOT_REFUSED)
                return
            self._drop_receiving()
        self._receiving = _Receiving(node, Slot(slot), body[SLOT.size :], self._now())
        self._replica.world.spawner.spawn(self._receive(self._receiving), f"receive-snapshot-{slot}")

    def _gives_way(self, receiving: _Receiving, node: NodeId) -> bool:
        """May a transfer from `node` take the place of the one under way? A sender's own may; the leader's, if that one halts."""
        if receiving.sender == node:
            return True
        return node == self._replica.leader and self._has_stalled(receiving, self._now(), SNAPSHOT_YIELD_MS)

    def _has_stalled(self, receiving: _Receiving, now: float, bound_ms: int) -> bool:
        return not receiving.is_whole and now - receiving.heard_s > bound_ms / 1000

    def on_chunk(self, node: NodeId, incarnation: Incarnation, body: bytes) -> None:
        receiving = self._receiving
        slot, number = CHUNK.unpack_from(body)
        if receiving is None or receiving.sender != node or receiving.slot != slot:
            return
        if number != receiving.taken or receiving.queue.qsize() > 2 * SNAPSHOT_CHUNKS_AHEAD:
            self._refuse(receiving)
            return
        receiving.taken += 1
        receiving.heard_s = self._now()
        self._replica.engine.snapshot_arriving()
        receiving.queue.put_nowait(body[CHUNK.size :])

    def on_end(self, node: NodeId, incarnation: Incarnation, body: bytes) -> None:
        receiving = self._receiving
        slot, count = CHUNK.unpack_from(body)
        if receiving is not None and receiving.sender == node and receiving.slot == slot:
            if count != receiving.taken:
                self._refuse(receiving)
            else:
                receiving.is_whole = True
                receiving.queue.put_nowait(None)

    def _refuse(self, receiving: _Receiving) -> None:
        """Give it up, and tell its sender."""
        assert receiving is self._receiving
        self._acknowledge(receiving.sender, receiving.slot, SNAPSHOT_REFUSED)
        self._drop_receiving()

    def _drop_receiving(self) -> None:
        receiving, self._receiving = self._receiving, None
        if receiving is not None:
            receiving.broken = True
            receiving.queue.put_nowait(None)

    async def _receive(self, receiving: _Receiving) -> None:
        try:
            await self._receive_all(receiving)
        except OutOfSpaceError as error:
            self._replica.log("snapshot not stored", why=str(error))
            if self._receiving is receiving:
                self._refuse(receiving)

    async def _receive_all(self, receiving: _Receiving) -> None:
        writer = await self._store.begin(receiving.slot)
        stored = await self._store_chunks(receiving, writer)
        if not stored or self._stopped:
            await writer.abort()
            return
        await writer.commit(receiving.meta)
        await self._install(receiving)
        self._acknowledge(receiving.sender, receiving.slot, receiving.taken + 1)
        if self._receiving is receiving:
            self._receiving = None

    async def _store_chunks(self, receiving: _Receiving, writer: SnapshotWriter) -> bool:
        done = 0
        while (chunk := await receiving.queue.get()) is not None:
            await writer.add(chunk)
            done += 1
            self._acknowledge(receiving.sender, receiving.slot, done)
        return not receiving.broken

    def _acknowledge(self, sender: NodeId, slot: Slot, taken: int) -> None:
        self._replica.mesh.post(sender, frame(Type.SNAPSHOT_ACK, CHUNK.pack(slot, taken)))
        self._replica.mesh.flush()

    async def _install(self, receiving: _Receiving) -> None:
        """The newest stored snapshot becomes this node's state, unless the log has brought it further already. Its sender keeps
        what follows."""
        reader = await self._store.latest()
        if reader is None:
            return
        meta = decode_meta(reader.meta)
        chunks = [chunk async for chunk in reader.chunks()]
        replica = self._replica
        replace = await self._made(replica.registry.restoring(chunks), receiving)
        if self._stopped or replica.registry.slot >= meta.slot:
            return
        replica.state_replaced()
        replace()
        replica.tell_level()
        replica.tail.reset()
        origin = Ballot(meta.origin_applied)
        replica.engine.snapshot_installed(Slot(meta.slot), meta.decode_membership(), origin, receiving.sender)
        replica.metrics.count("snapshots_installed")
        replica.log("snapshot installed", slot=meta.slot, index=meta.index)
        replica.schedule()

    async def _made(self, steps: Steps, receiving: _Receiving) -> Callable[[], None]:
        """Take the steps and let the loop turn between them. Meanwhile nothing is asked for that the snapshot brings, and its
        sender hears now and then that it is not in vain to keep what follows."""
        told_s = self._now()
        while True:
            try:
                next(steps)
            except StopIteration as stop:
                replace: Callable[[], None] = stop.value
                return replace
            self._replica.engine.snapshot_arriving()
            if (self._now() - told_s) * 1000 > SNAPSHOT_YIELD_MS:
                told_s = self._now()
                self._acknowledge(receiving.sender, receiving.slot, receiving.taken)
            await self.pause()

    async def pause(self) -> None:
        """Between two steps."""
        await asyncio.sleep(0)
