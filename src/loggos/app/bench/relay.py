"""A TCP relay that delays what nodes say to each other, or holds it back: the network between the nodes of a benchmark.

`python -m loggos.app.bench.relay` reads its `Plan` as JSON from the first line of stdin, prints `{"event": "ready"}`, then obeys
one JSON object per line: `{"cut": [pids], "ports": [ports]}` holds all bytes to and from these processes back, in both
directions and on new connections too; `{"heal": true}` lets them go on. It ends when stdin does.

Connections reach it by a redirect rule (`links`); it learns where they were going from SO_ORIGINAL_DST and marks its own, which
the rule lets pass. It runs on a `select` loop, whose timers are exact to some 50 µs where epoll's are to a millisecond.
"""

from __future__ import annotations

import asyncio
import json
import selectors
import socket
import struct
import sys
import time
from collections import deque
from typing import Any, Final

import msgspec
import psutil

from loggos.app.bench import wire
from loggos.base.limits import BENCH_RELAY_BYTES_MAX

MARK: Final = 0x1066  # on the relay's own connections (SO_MARK)
SO_MARK: Final = 36
SO_ORIGINAL_DST: Final = 80


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    port: int
    delay_ms: float


class Switch:
    """Which processes and ports are cut off now, and every open link."""

    def __init__(self, delay_s: float) -> None:
        self.delay_s = delay_s
        self.pids: list[int] = []
        self.ports: list[int] = []
        self.links: list[Link] = []

    def is_cut(self, source_port: int, target_port: int) -> bool:
        if target_port in self.ports:
            return True
        return any(source_port in local_ports(pid) for pid in self.pids)

    def set(self, pids: list[int], ports: list[int]) -> None:
        """Cut these off and nothing else; what was held and no longer is goes out at once."""
        self.pids, self.ports = pids, ports
        for link in self.links:
            link.hold(self.is_cut(link.source_port, link.target[1]))


def local_ports(pid: int) -> list[int]:
    """The local ports of a process's TCP sockets."""
    try:
        return [item.laddr.port for item in psutil.Process(pid).net_connections("tcp") if item.laddr]
    except psutil.NoSuchProcess:
        return []


class Pipe:
    """One direction of one link: bytes with the time they are due. Empty bytes are the end of a stream, None of a connection."""

    def __init__(self, switch: Switch) -> None:
        self.switch = switch
        self.queue: deque[tuple[float, bytes | None]] = deque()
        self.queued_bytes = 0
        self.source: asyncio.Transport | None = None
        self.target: asyncio.Transport | None = None
        self.timer: asyncio.TimerHandle | None = None
        self.held = self.ended = False
        self.twin: Pipe | None = None  # the other direction

    def put(self, data: bytes | None) -> None:
        self.queue.append((time.monotonic() + self.switch.delay_s, data))
        self.queued_bytes += len(data or b"")
        if self.queued_bytes > BENCH_RELAY_BYTES_MAX and self.source is not None:
            self.source.pause_reading()
        self.arm()

    def arm(self) -> None:
        """Wake up when the first piece is due, if it may go at all."""
        if self.queue and self.timer is None and self.target is not None and not self.held:
            self.timer = asyncio.get_running_loop().call_at(self.queue[0][0], self.flush)

    def flush(self) -> None:
        self.timer = None
        now = time.monotonic()
        while self.queue and not self.held and self.target is not None and self.queue[0][0] <= now:
            data = self.queue.popleft()[1]
            if data:
                self.target.write(data)
                self.queued_bytes -= len(data)
            elif data is None:
                self.target.close()
            elif not self.target.is_closing():
                self.end()
        if self.source is not None and not self.source.is_closing() and not self.source.is_reading() and not self.held:
            self.source.resume_reading()
        self.arm()

    def end(self) -> None:
        """Nothing more comes this way; when nothing comes the other way either, the connection is over."""
        assert self.target is not None
        try:
            self.target.write_eof()
        except OSError:  # the other side has gone already
            self.target.abort()
        self.ended = True
        if self.twin is not None and self.twin.ended:
            self.target.close()
            if self.source is not None:
                self.source.close()


class End(asyncio.Protocol):
    """One end of a link: puts what it reads into its pipe."""

    def __init__(self, pipe: Pipe) -> None:
        self.pipe = pipe

    def data_received(self, data: bytes) -> None:
        self.pipe.put(data)

    def eof_received(self) -> bool:
        self.pipe.put(b"")
        return True  # the other direction goes on

    def connection_lost(self, exc: Exception | None) -> None:
        self.pipe.put(None)


class Link(End):
    """A connection that a node opened, its twin to where that node wanted to go, and the pipes between them."""

    def __init__(self, switch: Switch) -> None:
        self.switch = switch
        self.forth, self.back = Pipe(switch), Pipe(switch)
        self.forth.twin, self.back.twin = self.back, self.forth
        super().__init__(self.forth)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        sock = transport.get_extra_info("socket")
        self.target = self.destination(sock)
        self.source_port = transport.get_extra_info("peername")[1]
        self.back.target = self.forth.source = transport
        self.switch.links.append(self)
        if self.switch.pids or self.switch.ports:
            self.hold(self.switch.is_cut(self.source_port, self.target[1]))
        self.dialling = asyncio.get_running_loop().create_task(self.dial(), name=f"dial {self.target[1]}")

    def destination(self, sock: socket.socket) -> wire.Address:
        """Where the node wanted to go before it was redirected here."""
        port, packed = struct.unpack("!2xH4s8x", sock.getsockopt(socket.SOL_IP, SO_ORIGINAL_DST, 16))
        return socket.inet_ntoa(packed), port

    def outgoing(self) -> socket.socket:
        """A socket that the redirect rule lets pass. Its protocol is named, for else asyncio would leave Nagle's algorithm on."""
        sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        sock.setsockopt(socket.SOL_SOCKET, SO_MARK, MARK)
        return sock

    async def dial(self) -> None:
        """Connect to where the node wanted to go; close the node's connection if that cannot be reached."""
        loop = asyncio.get_running_loop()
        sock = self.outgoing()
        sock.setblocking(False)
        try:
            await loop.sock_connect(sock, self.target)
            transport, _ = await loop.create_connection(lambda: End(self.back), sock=sock)
        except OSError:
            sock.close()
            self.back.put(None)
            return
        self.back.source = self.forth.target = transport
        self.forth.arm()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self.switch.links.remove(self)

    def hold(self, held: bool) -> None:
        for pipe in (self.forth, self.back):
            pipe.held = held
            pipe.arm()


def obey(switch: Switch, line: bytes) -> None:
    order: dict[str, Any] = json.loads(line)
    switch.set(order.get("cut", []), order.get("ports", []))
    print(json.dumps({"event": "done"}), flush=True)


async def relay(plan: Plan) -> None:
    """Serve until stdin ends."""
    loop = asyncio.get_running_loop()
    switch = Switch(plan.delay_ms / 1000)
    server = await loop.create_server(lambda: Link(switch), "127.0.0.1", plan.port)
    orders = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(orders), sys.stdin)
    print(json.dumps({"event": "ready"}), flush=True)
    while line := await orders.readline():
        obey(switch, line)
    server.close()


def main() -> int:
    with open(sys.stdin.fileno(), "rb", buffering=0, closefd=False) as raw:  # unbuffered: the rest of stdin belongs to the loop
        plan = msgspec.json.decode(raw.readline(), type=Plan)
    with asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(selectors.SelectSelector())) as runner:
        runner.run(relay(plan))
    return 0


if __name__ == "__main__":
    sys.exit(main())
