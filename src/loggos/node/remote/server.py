"""The cell's end of the Log port over a local socket: what other processes of this node propose and follow.

One hub per machine is that machine's follower in the cell; each connected process gets the machine's state, then all that the
hub is told. Rules:
- A process that does not read never holds back the cell: beyond a bound of unsent bytes it is cut off, and syncs again.
- Whose command is being applied is known by order: the hub hands commands to the log one after another, and the log says which
  of the applied ones are this node's (`Follower.wants`). So nobody else may propose for a machine that is served here.
- A BEGIN, like an INTERRUPTED, makes the fate of everything proposed before it on that connection unknown (rule 12).
- A node's own snapshot goes first: it ends a walk for a connecting process, which then begins again.

It must not know what commands and outcomes mean.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from itertools import chain
from typing import Any, Final, NamedTuple, cast

import msgspec

from loggos.base.errors import InternalError, OverloadedError, PeerError
from loggos.base.ids import Index, NodeId, Stamps
from loggos.base.limits import (
    REMOTE_BARRIERS_MAX,
    REMOTE_BATCH_BYTES,
    REMOTE_CONNECTIONS_MAX,
    REMOTE_CREDIT_BYTES,
    REMOTE_OPEN_DEADLINE_MS,
    REMOTE_QUEUE_BYTES_MAX,
    REMOTE_STALL_MS,
)
from loggos.base.ports import Buffer, Server, World
from loggos.node.batch import RUN_HEADER, runs_of, whole_runs
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
    decode_greeting,
    encode_batch_head,
    encode_item,
    size_of,
    unpack,
)
from loggos.node.replica import Replica
from loggos.node.wire import FrameReader, frame

_WRITE_HIGH_BYTES: Final = 1 << 20  # a socket holds so much of a snapshot before the walk waits


class _Proposed(NamedTuple):
    """A command that a connection has handed over; void once the connection's epoch moved on."""

    connection: _Connection
    epoch: int
    size: int

    @property
    def is_live(self) -> bool:
        return not self.connection.closed and self.connection.epoch == self.epoch


class _Hub:
    """One machine: its Follower in the cell, and the processes that follow it."""

    def __init__(self, server: LogServer, machine: int) -> None:
        self.server, self.machine = server, machine
        self.connections: dict[int, _Connection] = {}
        self.held: deque[tuple[_Proposed, bytes]] = deque()  # the log was full: tried again when something was applied
        self.wanting: deque[_Connection] = deque()  # connections that need the state, in order
        self.wanted = asyncio.Event()
        self._proposed: deque[_Proposed] = deque()  # with the log, in order
        self._applying: _Connection | None = None
        self._led = False  # by this node, as far as the processes were told
        self._items: list[list[Buffer]] = []  # of the batch that is being applied
        self._own: dict[int, dict[int, list[Buffer]]] = {}  # connection → place in the batch → the item with its replies
        self._items_bytes = 0

    # --- Follower ------------------------------------------------------------------------------------------------------------

    def wants(self, command: bytes) -> bool:
        """Asked exactly for this node's commands, in the order in which they were proposed."""
        assert self._proposed, f"somebody else proposes for machine {self.machine}, which is served to other processes"
        proposed = self._proposed.popleft()
        assert proposed.size == len(command) + RUN_HEADER.size, (proposed.size, len(command))
        if not proposed.is_live:
            return False
        self._applying = proposed.connection
        self._applying.outstanding_bytes -= proposed.size
        return self._applying.opened.replies

    def is_attended(self) -> bool:
        return bool(self.connections)

    def needs_all(self) -> bool:
        return True  # each process has a copy of the machine

    def applied_plainly(self, index: Index, plain: object) -> None:
        raise InternalError("a follower that needs to be told all was not")

    def applied(self, index: Index, command: bytes, outcome: Any) -> None:
        owner, self._applying = self._applying, None
        if self.connections:
            encode = self.server.codecs[self.machine].encode
            item = Item(owner.number if owner else 0, self.machine, index, len(outcome.codes), command, encode(outcome, False))
            if owner is not None and owner.opened.replies:
                own = encode_item(item._replace(outcome=encode(outcome, True)))
                self._own.setdefault(owner.number, {})[len(self._items)] = own
            self._add(item)

    def on_events(self, index: Index, stamps: Stamps, machine: int, outcome: Any) -> None:
        """Another machine's outcome, for a machine that listens to the others."""
        codec = self.server.codecs.get(machine)
        if self.connections and machine != self.machine and codec is not None:
            self._add(Item(0, machine, index, len(outcome.codes), b"", codec.encode(outcome, False)))

    def batch_done(self, index: Index) -> None:
        self._emit(is_done=True)
        self._retry_held()

    def interrupted(self) -> None:
        self._proposed.clear()
        self._end_epochs()

    def leader_changed(self, leader: NodeId, is_self: bool) -> None:
        self._post_all(self._leader_frame())
        if self._led and not is_self:
            self._end_epochs()  # behind the news: what a process proposes under the next epoch it does not judge as leader
        self._led = is_self

    def _end_epochs(self) -> None:
        """What processes judged while this node led is no other leader's to take, nor what is still on its way here (rule 13).
        What the log has, it may yet apply."""
        self.held.clear()
        for connection in list(self.connections.values()):
            connection.interrupt()
            connection.post(frame(Type.INTERRUPTED))

    def restored(self) -> None:
        """The state was replaced: every process needs it anew."""
        for connection in list(self.connections.values()):
            self.sync(connection)

    def peer_note(self, sender: NodeId, note: bytes) -> None:
        self._post_all(frame(Type.NOTE, bytes((sender,)), note))

    # --- to the processes ----------------------------------------------------------------------------------------------------

    def _add(self, item: Item) -> None:
        self._items.append(encode_item(item))
        self._items_bytes += size_of(self._items[-1])
        if self._items_bytes > REMOTE_BATCH_BYTES:
            self._emit(is_done=False)

    def _emit(self, is_done: bool) -> None:
        registry = self.server.replica.registry
        items, self._items, self._items_bytes = self._items, [], 0
        owned, self._own = self._own, {}
        head = encode_batch_head(registry.stamps, registry.index, is_done)
        common: list[Buffer] = []
        for connection in list(self.connections.values()):
            own = owned.get(connection.number)
            if own is not None:
                connection.post(frame(Type.BATCH, head, *chain(*(own.get(i, item) for i, item in enumerate(items)))))
            else:
                common = common or frame(Type.BATCH, head, *chain(*items))
                connection.post(common)

    def _post_all(self, buffers: list[Buffer]) -> None:
        for connection in list(self.connections.values()):
            connection.post(buffers)

    def _leader_frame(self) -> list[Buffer]:
        replica = self.server.replica
        return frame(Type.LEADER, LEADER.pack(replica.leader, replica.leader == replica.node, replica.cell_ms))

    # --- from the processes --------------------------------------------------------------------------------------------------

    def propose(self, connection: _Connection, command: bytes) -> None:
        proposed = _Proposed(connection, connection.epoch, len(command) + RUN_HEADER.size)
        connection.outstanding_bytes += proposed.size
        if self.held or not self._hand_over(proposed, command):
            self.held.append((proposed, command))

    def _hand_over(self, proposed: _Proposed, command: bytes) -> bool:
        try:
            self.server.replica.propose(self.machine, command)
        except OverloadedError:
            return False
        self._proposed.append(proposed)
        return True

    def _retry_held(self) -> None:
        while self.held:
            proposed, command = self.held[0]
            if proposed.is_live and not self._hand_over(proposed, command):
                return
            self.held.popleft()

    # --- state ---------------------------------------------------------------------------------------------------------------

    def sync(self, connection: _Connection) -> None:
        """It shall have the state; until then it hears nothing."""
        self.connections.pop(connection.number, None)
        if connection not in self.wanting:
            self.wanting.append(connection)
        self.wanted.set()

    async def keep_syncing(self) -> None:
        """One connection after another: a machine's state is walked over by one at a time."""
        while True:
            await self.wanted.wait()
            self.wanted.clear()
            while self.wanting:
                await self.server.replica.keeper.rests()
                connection = self.wanting.popleft()
                if not connection.closed and not await self._send_state(connection):
                    self.sync(connection)

    async def _send_state(self, connection: _Connection) -> bool:
        """From BEGIN on the connection hears everything. False: the walk was ended, the state must be sent again."""
        registry = self.server.replica.registry
        assert not self._items, "a batch is being applied"
        slices = registry.machine_snapshot(self.machine) if connection.opened.state else iter(())
        walk, restores = registry.walks, registry.restores
        self._begin(connection)
        while not connection.closed:
            if registry.restores != restores or (connection.opened.state and registry.walks != walk):
                return False
            piece = next(slices, None)
            if piece is None:
                break
            connection.post(frame(Type.CHUNK, piece))
            if not await connection.room():
                connection.cut_off("it takes nothing of its snapshot")
                return True
        connection.post(frame(Type.END))
        connection.post(self._leader_frame())
        return True

    def _begin(self, connection: _Connection) -> None:
        registry = self.server.replica.registry
        connection.interrupt()
        self.connections[connection.number] = connection
        connection.post(frame(Type.BEGIN, PLACE.pack(registry.index, *registry.stamps)))

    def forget(self, connection: _Connection) -> None:
        self.connections.pop(connection.number, None)


class _Connection(asyncio.Protocol):
    """One process."""

    opened: Open

    def __init__(self, server: LogServer, number: int) -> None:
        self._server, self.number = server, number
        self._reader = FrameReader(self._frame, Type)
        self._transport: asyncio.Transport | None = None
        self._hub: _Hub | None = None
        self._outgoing: list[Buffer] = []
        self._outgoing_bytes = 0
        self._writable = asyncio.Event()
        self._writable.set()
        self._barriers = 0
        self.closed = False
        self.epoch = 0
        self.outstanding_bytes = 0
        self._handlers: dict[Type, Callable[[_Hub, bytes], None]] = {
            Type.PROPOSE: self._on_propose,
            Type.BARRIER: self._on_barrier,
            Type.TELL: self._on_tell,
        }

    # --- the socket ----------------------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=_WRITE_HIGH_BYTES)
        self._server.world.loop.call_later(REMOTE_OPEN_DEADLINE_MS / 1000, self._open_deadline)

    def _open_deadline(self) -> None:
        if self._hub is None:
            self.cut_off("it did not say what it wants")

    def data_received(self, data: bytes) -> None:
        if self.closed:
            return
        try:
            self._reader.feed(data)
        except PeerError as error:
            self.refuse(str(error), is_final=self._hub is None)

    def connection_lost(self, error: Exception | None) -> None:
        self.closed = True
        self._writable.set()
        self._server.forget(self)
        if self._hub is not None:
            self._hub.forget(self)

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    # --- out -----------------------------------------------------------------------------------------------------------------

    def post(self, buffers: Iterable[Buffer]) -> None:
        """Queue for the end of the turn."""
        if self.closed or self._transport is None:
            return
        if not self._outgoing:
            self._server.world.loop.call_soon(self.flush)
        before = len(self._outgoing)
        self._outgoing.extend(buffers)
        self._outgoing_bytes += size_of(self._outgoing[before:])
        if self._outgoing_bytes + self._transport.get_write_buffer_size() > self._server.queue_bytes_max:
            self.cut_off("it does not read")

    def flush(self) -> None:
        if self._outgoing and self._transport is not None and not self.closed:
            self._transport.writelines(self._outgoing)
        self._outgoing, self._outgoing_bytes = [], 0

    async def room(self) -> bool:
        """Wait until it takes more; False: it takes nothing. A broken connection has room for what goes nowhere."""
        self.flush()
        if not self._writable.is_set():
            try:
                await asyncio.wait_for(self._writable.wait(), REMOTE_STALL_MS / 1000)
            except TimeoutError:
                return False
        else:
            await asyncio.sleep(0)  # one slice of the walk in each turn
        return True

    def refuse(self, why: str, is_final: bool) -> None:
        """Say why, then close. `is_final`: trying again will not help."""
        self.post(frame(Type.REFUSED, bytes((is_final,)), why.encode()))
        self.flush()
        self._server.log("following process refused", connection=self.number, why=why)
        self._close()
        if self._transport is not None:
            self._transport.close()

    def cut_off(self, why: str) -> None:
        if not self.closed:
            self._server.log("following process cut off", connection=self.number, why=why)
            self._close()
            if self._transport is not None:
                self._transport.abort()

    def _close(self) -> None:
        self.closed = True
        self._outgoing, self._outgoing_bytes = [], 0
        self._writable.set()
        if self._hub is not None:
            self._hub.forget(self)

    def interrupt(self) -> None:
        self.epoch += 1
        self.outstanding_bytes = 0

    # --- in ------------------------------------------------------------------------------------------------------------------

    def _frame(self, kind: Type, body: bytes) -> None:
        if self._hub is None:
            self._open(kind, body)
            return
        handler = self._handlers.get(kind)
        if handler is None:
            raise PeerError(f"a following process sent {kind.name}")
        handler(self._hub, body)

    def _open(self, kind: Type, body: bytes) -> None:
        if kind is not Type.OPEN:
            raise PeerError("a connection that does not begin with what it wants")
        opened, server = decode_greeting(body, Open), self._server
        if opened.cell != server.cell:
            raise PeerError(f"it is of cell {opened.cell!r}, this node of {server.cell!r}: check its configuration")
        hub = server.hubs.get(opened.machine)
        if hub is None:
            raise PeerError(f"it follows machine {opened.machine}, which this node does not serve: run one version of Loggos")
        self.opened, self._hub = opened, hub
        welcome = Welcome(PROTOCOL, self.number, server.replica.node, server.credit_bytes)
        self.post(frame(Type.WELCOME, msgspec.json.encode(welcome)))
        hub.sync(self)
        server.log("following process connected", connection=self.number, process=opened.name[:100], machine=opened.machine)

    def _on_propose(self, hub: _Hub, body: bytes) -> None:
        (epoch,) = unpack(EPOCH, body)
        if epoch > self.epoch:
            raise PeerError(f"commands of epoch {epoch}; this connection is at {self.epoch}")
        runs = body[EPOCH.size :]
        if whole_runs(runs, (hub.machine,)) < 0:
            raise PeerError("a proposal that is no run of commands for its machine")
        if epoch == self.epoch:
            for _, _, _, at, end in runs_of(runs):
                self._refuse_beyond_credit(end - at + RUN_HEADER.size)
                hub.propose(self, runs[at:end])

    def _refuse_beyond_credit(self, size: int) -> None:
        if self.outstanding_bytes and self.outstanding_bytes + size > self._server.credit_bytes:
            raise PeerError(f"{self.outstanding_bytes} bytes are with the log, and {size} more pass its credit")

    def _on_barrier(self, hub: _Hub, body: bytes) -> None:
        (context,) = unpack(CONTEXT, body)
        if self._barriers >= REMOTE_BARRIERS_MAX:
            raise PeerError(f"more than {REMOTE_BARRIERS_MAX} read barriers at once")
        self._barriers += 1
        self._server.replica.read_barrier(lambda index: self._barrier_done(context, index))

    def _barrier_done(self, context: int, index: Index | None) -> None:
        self._barriers -= 1
        self.post(frame(Type.BARRIER_DONE, GRANT.pack(context, -1 if index is None else index)))

    def _on_tell(self, hub: _Hub, body: bytes) -> None:
        if not body:
            raise PeerError("a note to nobody")
        self._server.replica.tell(NodeId(body[0]), hub.machine, body[1:])


class LogServer:
    """One per node. Make it where services are attached, before anything is applied; then `await start(path)`.

    `machines`: whose log other processes follow; no service of the cell's process follows them or proposes for them.
    `codecs`: of these machines, and of those whose events they hear.
    """

    def __init__(
        self,
        world: World,
        replica: Replica,
        machines: Iterable[int],
        codecs: Mapping[int, OutcomeCodec],
        *,
        cell: str,
        log: Callable[..., Any],
        credit_bytes: int = REMOTE_CREDIT_BYTES,
        queue_bytes_max: int = REMOTE_QUEUE_BYTES_MAX,
    ) -> None:
        self.world, self.replica, self.codecs, self.cell, self.log = world, replica, dict(codecs), cell, log
        self.credit_bytes, self.queue_bytes_max = credit_bytes, queue_bytes_max
        self.hubs = {machine: _Hub(self, machine) for machine in machines}
        self._connections: dict[_Connection, None] = {}
        self._server: Server | None = None
        self._last_number = 0
        for machine, hub in self.hubs.items():
            assert machine in self.codecs, f"machine {machine} has no codec for its outcomes"
            assert machine not in replica.registry.followers, f"machine {machine} is followed in this process already"
            replica.follow(machine, hub)
            if hasattr(replica.registry.machines[machine], "on_events"):
                replica.registry.listen(hub)

    async def start(self, path: str) -> None:
        """Serve at `path`. OSError when another process does, or the path is too long."""
        self._server = await self.world.network.listen_local(path, self._accept)
        for machine, hub in self.hubs.items():
            self.world.spawner.spawn(hub.keep_syncing(), f"serve-state-{machine}")

    def stop(self) -> None:
        if self._server is not None:
            self._server.close()
        for connection in list(self._connections):
            connection.cut_off("this node stops")

    def _accept(self) -> asyncio.BaseProtocol:
        self._last_number += 1
        connection = _Connection(self, self._last_number)
        if len(self._connections) >= REMOTE_CONNECTIONS_MAX:
            self.log("following process refused", connection=self._last_number, why="too many connections")
            return _Refusing()
        self._connections[connection] = None
        return connection

    def forget(self, connection: _Connection) -> None:
        self._connections.pop(connection, None)


class _Refusing(asyncio.Protocol):
    """One connection too many."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        cast(asyncio.Transport, transport).abort()
