"""`RemoteLog`: the Log port in a process of its own, over a local socket to the cell's process of this node (server.py).

As in one process, with these differences:
- Replies are asked for once and for all (`replies`), not by `Follower.wants`.
- While the cell cannot be reached no leader is known, commands and barriers wait here, and notes are lost. What was sent when the
  connection broke has an unknown fate: `interrupted()`. After it stands again the machine comes anew: `restored()`.
- A note to this node reaches every process that follows this machine here, the sender too.

Nothing is sent before the state is whole, and what follows the state waits for it. It must not know what commands mean.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, cast

import msgspec

from loggos.base.errors import ConfigError, InternalError, LoggosError, PeerError
from loggos.base.ids import NO_NODE, Index, NodeId, Slot, Stamps
from loggos.base.limits import (
    BARRIER_TIMEOUT_MS,
    BATCH_BYTES_MAX,
    COMMAND_BYTES_MAX,
    HEARTBEAT_MS,
    REMOTE_BACKLOG_BYTES_MAX,
    REMOTE_BARRIERS_MAX,
    REMOTE_CREDIT_BYTES,
    REMOTE_QUEUE_BYTES_MAX,
    REMOTE_RECONNECT_MS,
)
from loggos.base.ports import Buffer, Follower, World
from loggos.node.barriers import Barriers
from loggos.node.levels import KNOWN_LEVELS, NO_LEVEL, refuse_unknown_level
from loggos.node.outbox import Outbox
from loggos.node.remote.codec import (
    CONTEXT,
    EPOCH,
    GRANT,
    LEADER,
    PLACE,
    PROTOCOL,
    Item,
    Open,
    OutcomeCodec,
    Type,
    Welcome,
    decode_batch,
    decode_greeting,
    unpack,
)
from loggos.node.remote.mirror import Mirror
from loggos.node.wire import FrameReader, frame

_AFTER_STATE = (Type.BATCH, Type.BARRIER_DONE, Type.LEADER, Type.NOTE)  # kept while the state is still arriving


class RemoteLog:
    """Implements Log for one machine. `codecs`: of this machine and of those whose events it hears. `fatal(error)` is told once
    if this process's copy can no longer be trusted. Make it inside a running loop, then `await start()`."""

    levels = KNOWN_LEVELS  # those that this process knows

    def __init__(
        self,
        world: World,
        path: str,
        machine: int,
        codecs: Mapping[int, OutcomeCodec],
        mirror: Mirror | None,
        *,
        cell: str,
        node: NodeId,
        name: str,
        log: Callable[..., Any],
        fatal: Callable[[BaseException], None],
        replies: bool = True,
    ) -> None:
        self.world, self.machine, self.node, self.log = world, machine, node, log
        self._path, self._codecs, self._mirror, self._fatal = path, dict(codecs), mirror, fatal
        self._open = Open(PROTOCOL, cell, machine, name, mirror is not None, replies)
        self._outbox = Outbox(node, 0, REMOTE_CREDIT_BYTES)
        self._barriers = Barriers(BARRIER_TIMEOUT_MS / 1000)
        self._asked: dict[int, None] = {}  # contexts on their way
        self._follower: Follower | None = None
        self._index = Index(0)
        self._stamps = Stamps(0, 0, NO_LEVEL)
        self._leader, self._leader_cell_ms, self._leader_heard = NO_NODE, 0, 0.0
        self._stream: _Stream | None = None
        self._connection = self._epoch = 0
        self._chunks: list[bytes] = []
        self._place = Index(0), self._stamps
        self._backlog: list[tuple[Type, bytes]] = []
        self._backlog_bytes = 0
        self._flush_scheduled = self._stopped = False
        self._refused = ""
        self.synced = False  # the state is whole and up to date with the stream
        self._moved = asyncio.Event()  # synced, refused or stopped
        self._lost = asyncio.Event()
        self._handlers: dict[Type, Callable[[bytes], None]] = {
            Type.WELCOME: self._on_welcome,
            Type.BEGIN: self._on_begin,
            Type.CHUNK: self._on_chunk,
            Type.END: self._on_end,
            Type.BATCH: self._on_batch,
            Type.INTERRUPTED: self._on_interrupted,
            Type.LEADER: self._on_leader,
            Type.NOTE: self._on_note,
            Type.BARRIER_DONE: self._on_barrier_done,
            Type.REFUSED: self._on_refused,
        }

    # --- life ----------------------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Returns when the state is here, however long the cell takes. ConfigError: it will never take this process."""
        self.world.spawner.spawn(self._keep_connected(), f"follow-log-{self.machine}")
        self.world.loop.call_later(HEARTBEAT_MS / 1000, self._tick)
        while not self.synced and not self._stopped:
            await self._moved.wait()
            self._moved.clear()
            if self._refused:
                self.stop()
                raise ConfigError(f"the cell at {self._path} does not take this process: {self._refused}")

    def stop(self) -> None:
        """No more calls to the follower."""
        self._stopped = True
        self._follower = None
        self._moved.set()
        self._lost.set()
        self._barriers.fail_all()
        if self._stream is not None:
            self._stream.abort()

    async def _keep_connected(self) -> None:
        while not self._stopped:
            self._lost.clear()
            try:
                await self.world.network.connect_local(self._path, lambda: _Stream(self))
                await self._lost.wait()
            except OSError:
                pass  # not there yet, or no more
            await asyncio.sleep(REMOTE_RECONNECT_MS / 1000)

    def _tick(self) -> None:
        if not self._stopped:
            self.world.loop.call_later(HEARTBEAT_MS / 1000, self._tick)
            self._barriers.expire(self.world.clock.monotonic())
            self._flush()

    # --- the Log port --------------------------------------------------------------------------------------------------------

    def propose(self, machine: int, command: bytes) -> None:
        assert machine == self.machine, (machine, self.machine)
        assert len(command) <= COMMAND_BYTES_MAX, len(command)
        self._outbox.put(machine, command)
        self._schedule()

    def follow(self, machine: int, follower: Follower) -> None:
        assert machine == self.machine, (machine, self.machine)
        self._follower = follower

    def tell(self, node: NodeId, machine: int, note: bytes) -> None:
        assert machine == self.machine, (machine, self.machine)
        if self.synced and self._stream is not None:
            self._stream.send(frame(Type.TELL, bytes((node,)), note))

    @property
    def index(self) -> Index:
        return self._index

    @property
    def level(self) -> int:
        return self._stamps.level

    @property
    def leader(self) -> NodeId:
        return self._leader

    @property
    def cell_ms(self) -> int:
        """Where this node leads: the cell's own clock, late by what the news of it took to arrive."""
        if self._leader != self.node:
            return self._stamps.cell_ms
        return max(self._stamps.cell_ms, self._leader_cell_ms + int((self.world.clock.monotonic() - self._leader_heard) * 1000))

    def read_barrier(self, done: Callable[[Index | None], None]) -> None:
        self._barriers.add(done, self.world.clock.monotonic())
        self._schedule()

    # --- out -----------------------------------------------------------------------------------------------------------------

    def _schedule(self) -> None:
        if not self._flush_scheduled:
            self._flush_scheduled = True
            self.world.loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._flush_scheduled = False
        stream = self._stream
        if not self.synced or stream is None:
            return
        while self._outbox.queue:
            runs = self._outbox.take(BATCH_BYTES_MAX)
            stream.send(frame(Type.PROPOSE, EPOCH.pack(self._epoch), *runs))
        if self._barriers.has_waiting and len(self._asked) < REMOTE_BARRIERS_MAX:
            context = self._barriers.start()
            self._asked[context] = None
            stream.send(frame(Type.BARRIER, CONTEXT.pack(context)))

    # --- the connection ------------------------------------------------------------------------------------------------------

    def connected(self, stream: _Stream) -> None:
        self._stream = stream
        self._connection = self._epoch = 0
        stream.send(frame(Type.OPEN, msgspec.json.encode(self._open)))

    def disconnected(self, stream: _Stream) -> None:
        if stream is not self._stream:
            return
        self._stream, self.synced = None, False
        self._drop_backlog()
        self._chunks = []
        for context in self._asked:
            self._barriers.granted(context, Slot(-1))
        self._asked = {}
        self._interrupt()
        self._set_leader(NO_NODE)
        self._lost.set()

    def received(self, kind: Type, body: bytes) -> None:
        handler = self._handlers.get(kind)
        if handler is None:
            raise PeerError(f"the cell sent {kind.name}")
        if not self._connection and kind not in (Type.WELCOME, Type.REFUSED):
            raise PeerError(f"the cell sent {kind.name} before its welcome")
        if not self.synced and kind in _AFTER_STATE:
            self._keep(kind, body)
        else:
            handler(body)

    def failed(self, error: LoggosError) -> None:
        if isinstance(error, ConfigError):
            self._refused = str(error)
        self.stop()
        self._fatal(error)

    def _keep(self, kind: Type, body: bytes) -> None:
        self._backlog.append((kind, body))
        self._backlog_bytes += len(body)
        if self._backlog_bytes > REMOTE_BACKLOG_BYTES_MAX:
            raise PeerError(f"{self._backlog_bytes} bytes of log came before the state was whole")

    def _drop_backlog(self) -> None:
        """The state begins anew: batches are in it, barriers are asked again, news stay."""
        backlog, self._backlog, self._backlog_bytes = self._backlog, [], 0
        for kind, body in backlog:
            if kind is Type.BARRIER_DONE:
                self._refuse_barrier(unpack(GRANT, body)[0])
            elif kind is not Type.BATCH and self._stream is not None:
                self._backlog.append((kind, body))

    # --- in ------------------------------------------------------------------------------------------------------------------

    def _on_welcome(self, body: bytes) -> None:
        welcome = decode_greeting(body, Welcome)
        if welcome.node != self.node:
            raise PeerError(f"the cell at {self._path} is node {welcome.node}, this process belongs to node {self.node}")
        self._connection = welcome.connection
        self._outbox.limit(welcome.credit_bytes)

    def _on_refused(self, body: bytes) -> None:
        why = body[1:].decode(errors="replace")
        self.log("log refused", why=why)
        if body[:1] == b"\x01":
            self._refused = why
            self._moved.set()

    def _on_begin(self, body: bytes) -> None:
        index, wall_ms, cell_ms, level = unpack(PLACE, body)
        self._epoch += 1
        self._place = Index(index), self._checked(Stamps(wall_ms, cell_ms, level))
        self._chunks, self.synced = [], False
        self._drop_backlog()
        self._interrupt()

    def _checked(self, stamps: Stamps) -> Stamps:
        """Rule 15. ConfigError: what the cell applies now is of a feature level that this process does not know."""
        if stamps.level not in (NO_LEVEL, self._stamps.level):
            refuse_unknown_level(stamps.level, self.levels, "what the cell applies")
        return stamps

    def _on_chunk(self, body: bytes) -> None:
        self._chunks.append(body)

    def _on_end(self, body: bytes) -> None:
        chunks, self._chunks = self._chunks, []
        if self._mirror is not None:
            self._mirror.restore(chunks)
        self._index, self._stamps = self._place
        self.synced = True
        if self._follower is not None:
            self._follower.restored()
        backlog, self._backlog, self._backlog_bytes = self._backlog, [], 0
        for kind, kept in backlog:
            self._handlers[kind](kept)
        self._moved.set()
        self._schedule()

    def _on_batch(self, body: bytes) -> None:
        batch = decode_batch(body)
        self._stamps = self._checked(batch.stamps)
        for item in batch.items:
            if item.machine == self.machine:
                self._apply(item)
            elif self._mirror is not None:
                self._mirror.hear(item.last, self._stamps, item.machine, self._codec(item.machine).decode(item.outcome))
        if batch.is_done:
            self._index = batch.applied
            if self._follower is not None:
                self._follower.batch_done(batch.applied)

    def _apply(self, item: Item) -> None:
        outcome = self._codec(item.machine).decode(item.outcome)
        if item.owner == self._connection and not self._outbox.is_mine(self.node, self._outbox.epoch):
            raise PeerError(f"the cell says that this process proposed what took index {item.last}; it did not")
        if self._mirror is not None:
            self._mirror.apply(Index(item.last - item.operations + 1), self._stamps, item.command, outcome)
        self._index = item.last
        if self._follower is not None:
            self._follower.applied(item.last, item.command, outcome)

    def _codec(self, machine: int) -> OutcomeCodec:
        codec = self._codecs.get(machine)
        if codec is None:
            raise InternalError(f"no codec for the outcomes of machine {machine}: run one version of Loggos")
        return codec

    def _on_interrupted(self, body: bytes) -> None:
        self._epoch += 1
        self._interrupt()

    def _interrupt(self) -> None:
        if self._outbox.interrupt(queued_too=self._leader == self.node) and self._follower is not None:
            self._follower.interrupted()

    def _on_leader(self, body: bytes) -> None:
        leader, _, cell_ms = unpack(LEADER, body)
        self._leader_cell_ms, self._leader_heard = cell_ms, self.world.clock.monotonic()
        self._set_leader(NodeId(leader))

    def _set_leader(self, leader: NodeId) -> None:
        if self._leader == self.node != leader:
            self._interrupt()  # what it judged as leader, and has not sent yet
        changed, self._leader = leader != self._leader, leader
        if changed and self._follower is not None:
            self._follower.leader_changed(leader, leader == self.node)

    def _on_note(self, body: bytes) -> None:
        if self._follower is not None and body:
            self._follower.peer_note(NodeId(body[0]), body[1:])

    def _on_barrier_done(self, body: bytes) -> None:
        context, index = unpack(GRANT, body)
        if index < 0:
            self._refuse_barrier(context)
            return
        self._asked.pop(context, None)
        self._barriers.granted(context, Slot(0))
        self._barriers.met(Slot(0), self._index)

    def _refuse_barrier(self, context: int) -> None:
        """Its callers ask again, at a tick, until their deadline."""
        self._asked.pop(context, None)
        self._barriers.granted(context, Slot(-1))


class _Stream(asyncio.Protocol):
    """One connection to the cell."""

    def __init__(self, owner: RemoteLog) -> None:
        self._owner = owner
        self._reader = FrameReader(self._frame, Type)
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._owner.connected(self)

    def data_received(self, data: bytes) -> None:
        try:
            self._reader.feed(data)
        except PeerError as error:
            self._owner.log("log connection broken off", why=str(error))
            self.abort()
        except (InternalError, ConfigError) as error:
            self._owner.failed(error)

    def _frame(self, kind: Type, body: bytes) -> None:
        if self._transport is not None:
            self._owner.received(kind, body)

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None
        self._owner.disconnected(self)

    def send(self, buffers: list[Buffer]) -> None:
        if self._transport is None or self._transport.is_closing():
            return
        self._transport.writelines(buffers)
        if self._transport.get_write_buffer_size() > REMOTE_QUEUE_BYTES_MAX:
            self.abort()

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()
