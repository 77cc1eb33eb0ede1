"""The simulated network: hosts by address, directed links with their faults, listeners, and the making of connections.

Rules: a link is what one host's packets to another go through; each direction has its own delay, loss and cut. A host reaches
itself always. Connections to a machine that is off, or over a cut link, time out; to a machine without a listener they are
refused. A connection whose answer is lost is a ghost: open at the server, unknown to the client.

`partition*` cut links, `heal*` mend them; nothing else about connections changes by hand: they find out as TCP does
(transport.py).
"""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Iterable, Sequence
from contextvars import Context, copy_context
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from loggos.base.ports import ProtocolFactory
from loggos.sim.life import Life, current_life
from loggos.sim.loop import SimError, SimLoop
from loggos.sim.trace import Draws, Trace
from loggos.sim.transport import SimTransport, Wire

_ANY_ADDRESSES: Final = ("0.0.0.0", "", "::")
_LOOPBACK: Final = ("localhost", "127.0.0.1", "::1")
_LOOPBACK_DELAY_S: Final = 20e-6
_FIRST_FREE_PORT: Final = 30_000


@dataclass
class TcpModel:
    """What all connections share: times in seconds, sizes in bytes."""

    window_bytes: int = 256 << 10  # on the way and unread, per direction
    send_buffer_bytes: int = 64 << 10  # taken by the sender's machine before the application notices
    retransmit_s: float = 0.2
    retransmit_max_s: float = 3.2
    break_after_s: float = 15.0  # without progress
    # a SYN without an answer is sent again after 1, 2, 4, … 64 s, as Linux does it: whoever cannot wait gives up by himself
    connect_retry_s: float = 1.0
    connect_timeout_s: float = 127.0


@dataclass
class Link:
    """One direction between two hosts. Probabilities are per piece sent."""

    source: str
    target: str
    delay_s: float = 0.0002
    jitter_s: float = 0.0002  # mean of an exponential tail
    loss: float = 0.0  # a piece is lost: it comes a retransmission later, and all behind it
    split: float = 0.02  # a piece arrives as two
    bytes_per_s: float = 125e6
    extra_s: float = 0.0  # a fault: so much slower than it should be
    cuts: int = 0  # how many partitions cut it now
    rejects: int = 0  # how many firewalls refuse new connections over it now
    free_at: float = 0.0  # when it has sent all that was given to it so far

    def clear_faults(self) -> None:
        self.loss, self.extra_s, self.cuts, self.rejects = 0.0, 0.0, 0, 0


class Conditions(NamedTuple):
    """What a link is set to."""

    delay_s: float
    jitter_s: float


@dataclass(eq=False)
class SimServer(asyncio.AbstractServer):
    """A listening end point; both asyncio's server and ports.Server."""

    network: SimNetwork
    host: str
    address: str
    port: int
    factory: ProtocolFactory
    life: Life
    context: Context
    is_open: bool = True
    _closed: list[asyncio.Future[None]] = field(default_factory=list)

    def close(self) -> None:
        if self.is_open and not self.life.dead:
            self.is_open = False
            self.network.unlisten(self)
            for future in self._closed:
                if not future.done():
                    future.set_result(None)

    def get_loop(self) -> asyncio.AbstractEventLoop:
        return self.network.loop

    def is_serving(self) -> bool:
        return self.is_open

    async def start_serving(self) -> None:
        return

    async def serve_forever(self) -> None:
        future = self.network.loop.create_future()
        self._closed.append(future)
        try:
            await future
        finally:
            self.close()

    async def wait_closed(self) -> None:
        return

    @property
    def sockets(self) -> tuple[Any, ...]:
        return (_SocketName((self.address, self.port)),)


class _SocketName:
    """What servers are asked for: `server.sockets[0].getsockname()`."""

    def __init__(self, name: tuple[str, int]) -> None:
        self._name = name

    def getsockname(self) -> tuple[str, int]:
        return self._name


class SimNetwork:
    """All hosts' network. `add_host` before use; hosts are named, addresses are theirs."""

    def __init__(self, loop: SimLoop, trace: Trace, draws: Draws, context: Context) -> None:
        self.loop, self.trace, self.draws, self.context = loop, trace, draws, context
        self.model = TcpModel()
        self.default = Conditions(0.0002, 0.0002)
        self.links: dict[tuple[str, str], Link] = {}
        self.failures: list[tuple[str, str, Exception]] = []  # (host, protocol method, error)
        self._addresses: dict[str, str] = {}  # address or name -> name
        self._address_of: dict[str, str] = {}
        self._is_up: dict[str, bool] = {}
        self._listeners: dict[tuple[str, int], SimServer] = {}
        self._local: dict[tuple[str, str], SimServer] = {}  # (host, path) → who serves there, or did last
        self._ends: dict[SimTransport, None] = {}  # open ends, in the order they were made
        self._next_port: dict[str, int] = {}
        self._regions: dict[str, str] = {}
        self._region_delay: dict[tuple[str, str], Conditions] = {}

    # --- hosts and links ---

    def add_host(self, name: str, address: str) -> None:
        if name in self._address_of or address in self._addresses:
            raise SimError(f"host {name} or address {address} exists already")
        self._addresses[address] = self._addresses[name] = name
        self._address_of[name] = address
        self._is_up[name] = False
        self._next_port[name] = _FIRST_FREE_PORT

    def hosts(self) -> list[str]:
        return list(self._address_of)

    def resolve(self, host: str | None, life: Life | None) -> str:
        """The address for a name or address; loopback means the asking host."""
        if host in _LOOPBACK or not host:
            return self._address_of[life.host] if life is not None else "127.0.0.1"
        if host in self._addresses:
            return self._address_of[self._addresses[host]]
        raise OSError(errno.ENOENT, f"simulated network: no host {host!r}")

    def set_up(self, name: str, is_up: bool) -> None:
        self._is_up[name] = is_up

    def is_up(self, name: str) -> bool:
        return self._is_up[name]

    def link_between(self, source: str, target: str) -> Link:
        link = self.links.get((source, target))
        if link is None:
            conditions = self._conditions(source, target)
            link = self.links[source, target] = Link(source, target, conditions.delay_s, conditions.jitter_s)
        return link

    def _conditions(self, source: str, target: str) -> Conditions:
        if source == target:
            return Conditions(_LOOPBACK_DELAY_S, _LOOPBACK_DELAY_S / 2)
        regions = (self._regions.get(source, ""), self._regions.get(target, ""))
        return self._region_delay.get(regions, self.default)

    def set_regions(self, regions: dict[str, Sequence[str]], delay_s: tuple[float, float] = (0.040, 0.120)) -> None:
        """Place hosts (by name) into regions; each pair of regions gets a one-way delay drawn from `delay_s`."""
        for region, names in regions.items():
            for name in names:
                self._regions[name] = region
        for one in regions:
            for two in regions:
                if one < two:
                    delay = self.draws.uniform(*delay_s)
                    self._region_delay[one, two] = self._region_delay[two, one] = Conditions(delay, delay * 0.02)
        for link in self.links.values():
            link.delay_s, link.jitter_s = self._conditions(link.source, link.target)

    def is_cut(self, link: Link) -> bool:
        return link.cuts > 0 and link.source != link.target

    def draw_delay(self, link: Link, size_bytes: int) -> float:
        """How long something that is sent now takes to arrive."""
        delay = link.delay_s + link.extra_s + self.draws.random() * 2 * link.jitter_s
        if size_bytes:
            now = self.loop.time()
            link.free_at = max(now, link.free_at) + size_bytes / link.bytes_per_s
            delay += link.free_at - now
        retransmit = self.model.retransmit_s
        while self.draws.chance(link.loss):
            self.count_fault("packet loss", link)
            delay += retransmit
            retransmit = min(retransmit * 2, self.model.retransmit_max_s)
        return delay

    def count_fault(self, kind: str, link: Link) -> None:
        self.trace.fault(self.loop.time(), link.source, kind, "to " + link.target)

    # --- partitions ---

    def cut(self, source: str, target: str) -> None:
        """Packets from `source` no longer reach `target` (one way), until mended as often as cut."""
        self.link_between(source, target).cuts += 1
        self.trace.event(self.loop.time(), source, "cut", "to " + target)

    def mend(self, source: str, target: str) -> None:
        link = self.link_between(source, target)
        link.cuts = max(0, link.cuts - 1)
        self.trace.event(self.loop.time(), source, "mended", "to " + target)

    def reject(self, name: str, other: str) -> None:
        """Reset all connections between the two and refuse new ones at once, until allowed as often: both sides know."""
        self.reset_connections(name, other)
        for source, target in ((name, other), (other, name)):
            self.link_between(source, target).rejects += 1
        self.trace.event(self.loop.time(), name, "rejected", "with " + other)

    def allow(self, name: str, other: str) -> None:
        for source, target in ((name, other), (other, name)):
            link = self.link_between(source, target)
            link.rejects = max(0, link.rejects - 1)
        self.trace.event(self.loop.time(), name, "allowed", "with " + other)

    def partition(self, groups: Sequence[Iterable[str]]) -> None:
        """Cut all links between different groups, both ways. Hosts in no group keep their links."""
        members = [list(group) for group in groups]
        for i, group in enumerate(members):
            for other in members[:i] + members[i + 1 :]:
                for source in group:
                    for target in other:
                        self.cut(source, target)

    def isolate(self, name: str, others: Iterable[str] | None = None) -> None:
        """Cut one host off from `others` (default: all), both ways."""
        self.partition([[name], [other for other in (others or self._address_of) if other != name]])

    def ring(self, names: Sequence[str]) -> None:
        """Each host sees only its two neighbours."""
        for source, target in self.ring_links(names):
            self.cut(source, target)

    def ring_links(self, names: Sequence[str]) -> list[tuple[str, str]]:
        """The links to cut for a ring. Of three hosts each pair are neighbours, so there the ring is open: its ends are cut."""
        near = (0, 1, len(names) - 1) if len(names) > 3 else (0, 1)
        return [(a, b) for i, a in enumerate(names) for j, b in enumerate(names) if abs(i - j) not in near]

    def heal(self) -> None:
        """Mend all links and clear their faults."""
        for link in self.links.values():
            link.clear_faults()
        self.trace.event(self.loop.time(), "network", "healed")

    def cut_links(self) -> list[tuple[str, str]]:
        """The links that are cut now, in the order they were made: heal them one by one for a swizzled heal."""
        return [key for key, link in self.links.items() if link.cuts]

    # --- listening and connecting ---

    def listen(self, life: Life, host: str, port: int, factory: ProtocolFactory) -> SimServer:
        name = life.host
        address = self._address_of[name]
        if host not in _ANY_ADDRESSES and self.resolve(host, life) != address:
            raise OSError(errno.EADDRNOTAVAIL, f"{host} is not an address of host {name}")
        if port == 0:
            port = self._free_port(name)
        if (name, port) in self._listeners:
            raise OSError(errno.EADDRINUSE, f"port {port} of host {name} is in use")
        server = SimServer(self, name, address, port, factory, life, copy_context())
        server.context.run(_set_life, life)
        self._listeners[name, port] = server
        return server

    def unlisten(self, server: SimServer) -> None:
        if self._listeners.get((server.host, server.port)) is server:
            del self._listeners[server.host, server.port]

    def listen_local(self, life: Life, path: str, factory: ProtocolFactory) -> SimServer:
        """A local socket: a port of this host that is found by its path."""
        served = self._local.get((life.host, path))
        if served is not None and served.is_open and not served.life.dead:
            raise OSError(errno.EADDRINUSE, f"a process already serves at {path} of host {life.host}")
        server = self._local[life.host, path] = self.listen(life, "", 0, factory)
        return server

    async def connect_local(
        self, life: Life, path: str, factory: ProtocolFactory
    ) -> tuple[asyncio.Transport, asyncio.BaseProtocol]:
        """Open a connection to a path of this host. OSError when nobody serves there."""
        server = self._local.get((life.host, path))
        if server is None:
            raise FileNotFoundError(errno.ENOENT, "nobody has served there", path)
        return await self.connect(life, "127.0.0.1", server.port, factory)

    def _free_port(self, name: str) -> int:
        self._next_port[name] += 1
        return self._next_port[name]

    async def connect(
        self, life: Life, host: str, port: int, factory: ProtocolFactory
    ) -> tuple[asyncio.Transport, asyncio.BaseProtocol]:
        """Open a connection from the host of `life`. ConnectionRefusedError, TimeoutError (both OSError)."""
        target = self._addresses[self.resolve(host, life)]
        context = copy_context()
        context.run(_set_life, life)
        attempt = _Attempt(self, life, context, target, port)
        try:
            transport = await attempt.result
        except asyncio.CancelledError:
            attempt.give_up()
            raise
        protocol = factory()
        transport.start(protocol)
        return transport, protocol

    def make_pair(self, client: SimTransport, server: SimTransport, source: str, target: str) -> None:
        client.out = server.into = Wire(self, client, server, self.link_between(source, target))
        server.out = client.into = Wire(self, server, client, self.link_between(target, source))
        self._ends[client] = self._ends[server] = None

    def listener(self, name: str, port: int) -> SimServer | None:
        return self._listeners.get((name, port))

    def forget(self, end: SimTransport) -> None:
        self._ends.pop(end, None)

    def protocol_failed(self, end: SimTransport, method: str, error: Exception) -> None:
        self.failures.append((end.life.host, method, error))
        self.trace.event(self.loop.time(), end.life.host, "protocol failed", f"{method}: {error!r}")

    # --- what becomes of connections ---

    def ends_of(self, name: str) -> list[SimTransport]:
        return [end for end in self._ends if end.life.host == name]

    def host_died(self, life: Life, silent: bool) -> None:
        """Its listeners are gone. Its connections: reset for the others, or (`silent`) simply no longer answered."""
        for key, server in list(self._listeners.items()):
            if server.life is life:
                del self._listeners[key]
        for end in self.ends_of(life.host):
            if end.life is life:
                if silent:
                    end.out.cut_off()
                elif self.draws.random() < 0.5:
                    end.out.send_reset()
                else:
                    end.out.send(b"")
                end.vanish()

    def half_open(self, name: str, other: str) -> int:
        """The ends at `name` of its connections with `other` break; the ends at `other` hear nothing. How many."""
        ends = [end for end in self.ends_of(name) if end.out.link.target == other]
        for end in ends:
            end.out.cut_off()
            end.fail(ConnectionResetError(errno.ECONNRESET, "connection lost (one side only)"))
        if ends:
            self.trace.fault(self.loop.time(), name, "half-open", f"{len(ends)} with {other}")
        return len(ends)

    def reset_connections(self, name: str, other: str) -> int:
        """Both ends of all connections between the two are reset at once. How many."""
        ends = [end for end in self.ends_of(name) if end.out.link.target == other]
        for end in ends:
            end.out.send_reset()
            end.fail(ConnectionResetError(errno.ECONNRESET, "connection reset"))
        if ends:
            self.trace.fault(self.loop.time(), name, "reset", f"{len(ends)} with {other}")
        return len(ends)


class _Attempt:
    """One call of connect: SYN, SYN-ACK, their losses and repetitions."""

    def __init__(self, network: SimNetwork, life: Life, context: Context, target: str, port: int) -> None:
        self.network, self.life, self.context, self.target, self.port = network, life, context, target, port
        self.result: asyncio.Future[SimTransport] = network.loop.create_future()
        self._deadline = network.loop.time() + network.model.connect_timeout_s
        self._retry_s = network.model.connect_retry_s
        self._there = network.link_between(life.host, target)
        self._back = network.link_between(target, life.host)
        self._send_syn()

    def _later(self, delay: float, step: Any, *args: Any) -> None:
        self.network.loop.call_later(delay, step, *args, context=self.network.context)

    def _send_syn(self) -> None:
        if self._is_over():
            return
        network = self.network
        if self._there.rejects:
            error = ConnectionRefusedError(errno.ECONNREFUSED, f"a firewall refuses connections to {self.target}")
            self._later(network.draw_delay(self._there, 0), self._fail, error)
        elif not network.is_cut(self._there) and not network.draws.chance(self._there.loss):
            self._later(network.draw_delay(self._there, 0), self._syn_arrives)
        else:
            self._again()

    def _again(self) -> None:
        left = self._deadline - self.network.loop.time()
        if left <= 0:
            self._fail(TimeoutError(errno.ETIMEDOUT, f"connect to {self.target}:{self.port} timed out"))
            return
        self._later(min(self._retry_s, left), self._send_syn)
        self._retry_s *= 2

    def _syn_arrives(self) -> None:
        network = self.network
        if self._is_over():
            return
        if network.is_cut(self._there) or not network.is_up(self.target):
            self._again()
            return
        listener = network.listener(self.target, self.port)
        lost = network.is_cut(self._back) or network.draws.chance(self._back.loss)
        delay = network.draw_delay(self._back, 0)
        if listener is None:
            if lost:
                self._again()
            else:
                error = ConnectionRefusedError(errno.ECONNREFUSED, f"{self.target}:{self.port} refused the connection")
                self._later(delay, self._fail, error)
            return
        client = self._accept(listener)
        if lost:
            network.count_fault("ghost connection", self._back)
            client.vanish()
            client.out.cut_off()
            self._again()
        else:
            self._later(delay, self._established, client)

    def _accept(self, listener: SimServer) -> SimTransport:
        network = self.network
        here = (network.resolve(None, self.life), network._free_port(self.life.host))
        there = (listener.address, listener.port)
        client = SimTransport(network, self.life, self.context, here, there)
        server = SimTransport(network, listener.life, listener.context, there, here)
        network.make_pair(client, server, self.life.host, self.target)
        network.loop.call_soon(_accepted, listener, server, context=listener.context)
        return client

    def _established(self, client: SimTransport) -> None:
        if self._is_over() or client.gone:
            client.out.send_reset()
            client.vanish()
            if not self._is_over():
                self._fail(ConnectionResetError(errno.ECONNRESET, "connection reset while connecting"))
            return
        self.result.set_result(client)

    def _is_over(self) -> bool:
        return self.result.done() or self.life.dead

    def _fail(self, error: OSError) -> None:
        if not self._is_over():
            self.result.set_exception(error)

    def give_up(self) -> None:
        """The caller was cancelled: a connection that was made meanwhile is dropped."""
        if self.result.done() and not self.result.cancelled() and self.result.exception() is None:
            client = self.result.result()
            client.out.send_reset()
            client.vanish()


def _accepted(listener: SimServer, transport: SimTransport) -> None:
    """In the listener's context: hand the connection to a fresh protocol, or drop it if nobody listens any more."""
    if transport.gone:
        return
    if not listener.is_open:
        transport.set_protocol(asyncio.Protocol())
        transport.abort()
        return
    protocol = listener.factory()
    transport.set_protocol(protocol)
    transport.start(protocol)


def _set_life(life: Life) -> None:
    current_life.set(life)
