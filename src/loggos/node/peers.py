"""The mesh: one dialled connection to each peer for sending, one accepted from each for receiving.

Sending is gathered per loop turn (`post`, then `flush`) and never waits: what a slow or lost peer cannot take is
dropped, for consensus sends again what matters. A connection begins with the dialler's hello; both ends check cell
and version. A peer whose way to us broke, or that dials anew though its old connection still stands here, was away: our
own connection to it may be dead without a sign, or wait long before it sends again, so it is dialled anew as well. An
attempt to dial has a deadline, and ends at once when the peer is heard: its first packet may have been lost, and the
system would repeat it ever more seldom. Connections that have said no hello are few and short-lived: the oldest makes
room for the newest, since a peer says it at once. It must not know what frames mean beyond hello.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Protocol, cast

from loggos.base.errors import PeerError
from loggos.base.ids import NO_NODE, Incarnation, NodeId
from loggos.base.limits import (
    PEER_DIAL_MS,
    PEER_HELLO_BYTES_MAX,
    PEER_HELLO_DEADLINE_MS,
    PEER_NEWCOMERS_MAX,
    PEER_QUEUE_BYTES_MAX,
    PEER_RECONNECT_MS,
    PEER_REFUSAL_LOG_MS,
    PEER_REFUSALS_KNOWN_MAX,
    PEER_SUSPECT_MS,
    SNAPSHOT_TRANSFER_STALL_MS,
)
from loggos.base.ports import Buffer, Server, World
from loggos.node.levels import shown
from loggos.node.wire import PROTOCOL, FrameReader, Hello, Standing, Type, decode_hello, encode_hello, frame


class MeshOwner(Protocol):
    """Whom the mesh tells."""

    def peer_hello(self, node: NodeId, hello: Hello) -> None: ...

    def peer_frame(self, node: NodeId, incarnation: Incarnation, kind: Type, body: bytes) -> None: ...

    def peer_lost(self, node: NodeId) -> None: ...

    def peer_foreign(self, node: NodeId) -> None:
        """A node at a peer's place is of another cell with the same name. It is refused."""
        ...


class _Outbound(asyncio.Protocol):
    """Our dialled connection to one peer: we write; the peer writes nothing."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._reader = FrameReader(self._unexpected)
        self.writable = asyncio.Event()
        self.writable.set()

    def _unexpected(self, kind: Type, body: bytes) -> None:
        raise PeerError(f"peer {self._link.node} answered on a one-way connection")

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._link.opened(cast(asyncio.WriteTransport, transport), self)

    def connection_lost(self, error: Exception | None) -> None:
        self.writable.set()
        self._link.closed(self)

    def pause_writing(self) -> None:
        self.writable.clear()

    def resume_writing(self) -> None:
        self.writable.set()


class Link:
    """The way to one peer."""

    def __init__(self, mesh: Mesh, node: NodeId, address: tuple[str, int]) -> None:
        self._mesh = mesh
        self.node = node
        self.address = address
        self.transport: asyncio.WriteTransport | None = None
        self._protocol: _Outbound | None = None
        self._outgoing: list[Buffer] = []
        self._opened_s = 0.0
        self._attempt: asyncio.Timeout | None = None  # to connect, under way
        self._attempted_s = 0.0  # when it began
        self._is_heard = False  # the peer reached us meanwhile
        self.dropped = 0
        self.closed_event = asyncio.Event()

    def takes(self) -> bool:
        return self.transport is not None and self.transport.get_write_buffer_size() <= PEER_QUEUE_BYTES_MAX

    def post(self, buffers: list[Buffer]) -> None:
        if self.takes():
            self._outgoing.extend(buffers)
        else:
            self.dropped += 1

    def flush(self) -> None:
        if self._outgoing and self.transport is not None:
            self.transport.writelines(self._outgoing)
            self._outgoing = []

    async def drained(self) -> bool:
        """Wait until the peer takes more; False if the connection broke meanwhile, or the peer takes nothing for too long."""
        self.flush()
        protocol = self._protocol
        if protocol is None:
            return False
        if not protocol.writable.is_set():
            try:
                await asyncio.wait_for(protocol.writable.wait(), SNAPSHOT_TRANSFER_STALL_MS / 1000)
            except TimeoutError:
                return False
        return self._protocol is protocol

    def opened(self, transport: asyncio.WriteTransport, protocol: _Outbound) -> None:
        self.transport, self._protocol = transport, protocol
        self._outgoing = []
        self._opened_s = self._mesh.world.clock.monotonic()
        self.say_hello()

    def say_hello(self) -> None:
        if self.transport is not None:
            self.post(frame(Type.HELLO, encode_hello(self._mesh.hello)))
            self.flush()

    def redial(self) -> bool:
        """Give up the connection and dial anew, unless it is young; the peer counts as lost at once. True: it was done."""
        transport, protocol = self.transport, self._protocol
        if transport is None or protocol is None or self._mesh.closing or not self.is_suspect():
            return False
        self.closed(protocol)
        protocol.writable.set()
        transport.abort()
        return True

    def is_suspect(self) -> bool:
        """Not a young connection: two ends that dial anew because of each other come to rest."""
        return (self._mesh.world.clock.monotonic() - self._opened_s) * 1000 >= PEER_SUSPECT_MS

    def closed(self, protocol: _Outbound) -> None:
        if self._protocol is protocol:
            self.transport, self._protocol = None, None
            self._outgoing = []
            self.closed_event.set()
            self._mesh.lost(self.node)

    async def keep_dialling(self) -> None:
        while not self._mesh.closing:
            self.closed_event.clear()
            self._is_heard = False
            if await self._dial():
                self._is_heard = False
                await self.closed_event.wait()
            if not self._is_heard:
                await asyncio.sleep(PEER_RECONNECT_MS / 1000)

    async def _dial(self) -> bool:
        """True: the connection stands, and `closed_event` will say when it does no more."""
        network, (host, port) = self._mesh.world.network, self.address
        try:
            for address in await network.resolve(host):
                if await self._attempt_at(address, port):
                    return True
                if self._is_heard:
                    break
        except OSError:  # nobody knows the name now
            pass
        return False

    async def _attempt_at(self, address: str, port: int) -> bool:
        protocol = _Outbound(self)
        self._attempted_s = self._mesh.world.loop.time()
        try:
            async with asyncio.timeout(PEER_DIAL_MS / 1000) as self._attempt:
                await self._mesh.world.network.connect(address, port, lambda: protocol)
        except OSError:  # TimeoutError is one
            self.closed(protocol)  # given up just when it was made: not every loop says then that it is lost
            return False
        finally:
            self._attempt = None
        return True

    def heard(self) -> None:
        """The peer has reached us, so it can be reached: an attempt begun before gives way to a new one, unless it has hardly
        had the time to succeed."""
        attempt = self._attempt
        if self.transport is None and attempt is not None and not attempt.expired():
            self._is_heard = True
            attempt.reschedule(max(self._mesh.world.loop.time(), self._attempted_s + PEER_RECONNECT_MS / 1000))


class _Inbound(asyncio.Protocol):
    """A connection that a peer dialled: it writes, we read."""

    def __init__(self, mesh: Mesh) -> None:
        self._mesh = mesh
        self._reader = FrameReader(self._frame)
        self.hello: Hello | None = None
        self._early_bytes = 0  # sent before the hello was whole
        self._transport: asyncio.Transport | None = None
        self._deadline: asyncio.TimerHandle | None = None  # of the hello

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._deadline = self._mesh.world.loop.call_later(PEER_HELLO_DEADLINE_MS / 1000, self._mesh.give_up, self)
        self._mesh.came(self)

    def data_received(self, data: bytes) -> None:
        try:
            self._reader.feed(data)
            if self.hello is None:
                self._early_bytes += len(data)
                if self._early_bytes > PEER_HELLO_BYTES_MAX:
                    raise PeerError(f"no hello in the first {self._early_bytes} bytes")
        except PeerError as error:
            self._mesh.note_bad_peer(self.hello, error)
            self.abort()

    def _frame(self, kind: Type, body: bytes) -> None:
        if kind is Type.HELLO:
            self._greet(decode_hello(body))
        elif self.hello is None:
            raise PeerError("a connection that does not begin with a hello")
        elif self._transport is not None and not self._transport.is_closing():
            self._mesh.owner.peer_frame(NodeId(self.hello.node), Incarnation(self.hello.incarnation), kind, body)

    def _greet(self, hello: Hello) -> None:
        self._mesh.check_hello(hello)
        node = NodeId(hello.node)
        older = self._mesh.receiving.get(node)
        self.hello = hello
        self._is_known()
        self._mesh.receiving[node] = self
        link = self._mesh.links[node]
        if older is not None and older is not self:
            older.abort()
            if not link.redial():
                link.say_hello()  # young, and perhaps dead all the same: where nobody knows it any more, a reset comes back
        link.heard()
        self._mesh.owner.peer_hello(node, hello)

    def _is_known(self) -> None:
        """No newcomer any more: it has said who it is, or it is gone."""
        self._mesh.newcomers.pop(self, None)
        if self._deadline is not None:
            self._deadline.cancel()

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def connection_lost(self, error: Exception | None) -> None:
        self._mesh.inbound.pop(self, None)
        self._is_known()
        self._transport = None
        node = NodeId(self.hello.node) if self.hello is not None else NO_NODE
        if self._mesh.receiving.get(node) is self:
            del self._mesh.receiving[node]
            if not self._mesh.links[node].redial():
                self._mesh.lost(node)


class Mesh:
    """All connections of one node to its peers. `count(name)`: of the metrics."""

    def __init__(
        self,
        world: World,
        owner: MeshOwner,
        hello: Hello,
        addresses: dict[NodeId, tuple[str, int]],
        log: Callable[..., Any],
        count: Callable[[str], None],
        newcomers_max: int = PEER_NEWCOMERS_MAX,
    ) -> None:
        self.world, self.owner, self.hello, self._log, self._count = world, owner, hello, log, count
        self.closing = False
        self.inbound: dict[_Inbound, None] = {}
        self.newcomers: dict[_Inbound, None] = {}  # those of them that have said no hello, the oldest first
        self._newcomers_max = newcomers_max
        self.receiving: dict[NodeId, _Inbound] = {}
        self.links = {node: Link(self, node, address) for node, address in addresses.items() if node != hello.node}
        self._server: Server | None = None
        self._posted: dict[NodeId, None] = {}
        self._quiet_until_s: dict[str, float] = {}  # by what was said of a peer that was refused

    async def start(self, host: str, port: int) -> None:
        """Listen and begin to dial. OSError: the port is taken."""
        self._server = await self.world.network.listen(host, port, lambda: _Inbound(self))
        for link in self.links.values():
            self.world.spawner.spawn(link.keep_dialling(), f"dial-{link.node}")

    def came(self, inbound: _Inbound) -> None:
        """Somebody has connected."""
        self.inbound[inbound] = self.newcomers[inbound] = None
        if len(self.newcomers) > self._newcomers_max:
            self.give_up(next(iter(self.newcomers)))

    def give_up(self, inbound: _Inbound) -> None:
        """A connection that has said no hello, in time or before others needed its place."""
        self.newcomers.pop(inbound, None)
        self._count("peer_connections_refused")
        inbound.abort()

    def become(self, hello: Hello) -> None:
        """This node's identity has changed: tell everyone. Who was let in before this one knew its cell may be a stranger."""
        self.hello = hello
        for inbound in list(self.inbound):
            if inbound.hello is not None and self.is_foreign(inbound.hello):
                self.owner.peer_foreign(NodeId(inbound.hello.node))
                inbound.abort()
        for link in self.links.values():
            link.say_hello()

    def post(self, node: NodeId, buffers: list[Buffer]) -> None:
        link = self.links.get(node)
        if link is not None:
            link.post(buffers)
            self._posted[node] = None

    def flush(self) -> None:
        for node in self._posted:
            self.links[node].flush()
        self._posted.clear()

    def takes(self, node: NodeId) -> bool:
        """Would bytes posted to this peer now be sent rather than dropped?"""
        link = self.links.get(node)
        return link is not None and link.takes()

    def is_up(self, node: NodeId) -> bool:
        """Both directions stand."""
        return node in self.receiving and self.links[node].transport is not None

    def is_foreign(self, hello: Hello) -> bool:
        """Is it of another cell, as far as both are known?"""
        return bool(hello.founding and self.hello.founding) and hello.founding != self.hello.founding

    def check_hello(self, hello: Hello) -> None:
        mine = self.hello
        if hello.protocol != PROTOCOL:
            raise PeerError(f"node {hello.node} speaks peer protocol {hello.protocol}, this node {PROTOCOL}: run one version")
        if hello.cell != mine.cell:
            raise PeerError(f"node {hello.node} is of cell {hello.cell!r}, this node of {mine.cell!r}: check its configuration")
        if hello.node not in self.links:
            raise PeerError(f"node {hello.node} is not in this node's configuration: add it to voters or learners")
        if self.is_foreign(hello):
            self.owner.peer_foreign(NodeId(hello.node))
            raise PeerError(
                f"node {hello.node} is of another cell with the name {mine.cell!r}: check its data directory and this one"
            )
        if hello.voters != mine.voters:
            raise PeerError(f"node {hello.node} has voters {hello.voters}, this node {mine.voters}: configure all nodes alike")
        theirs, ours = hello.known_levels, mine.known_levels
        if theirs and ours and not range(max(theirs[0], ours[0]), min(theirs[-1], ours[-1]) + 1):
            levels = f"the feature levels {shown(theirs)}, this node {shown(ours)}"
            raise PeerError(f"node {hello.node} knows {levels}: run releases that share one")
        if hello.standing not in tuple(Standing):
            raise PeerError(f"node {hello.node} has unknown standing {hello.standing}")

    def note_bad_peer(self, hello: Hello | None, error: PeerError) -> None:
        """Said once in a while: whoever is refused dials again and again."""
        why, now_s = str(error), self.world.clock.monotonic()
        self._quiet_until_s = {said: until_s for said, until_s in self._quiet_until_s.items() if now_s < until_s}
        if why not in self._quiet_until_s and len(self._quiet_until_s) < PEER_REFUSALS_KNOWN_MAX:
            self._quiet_until_s[why] = now_s + PEER_REFUSAL_LOG_MS / 1000
            self._log("peer refused", peer=hello.node if hello else 0, why=why)

    def lost(self, node: NodeId) -> None:
        if not self.closing:
            self.owner.peer_lost(node)

    def close(self) -> None:
        self.closing = True
        if self._server is not None:
            self._server.close()
        for inbound in list(self.inbound):
            inbound.abort()
        for link in self.links.values():
            if link.transport is not None:
                link.flush()
                link.transport.close()
