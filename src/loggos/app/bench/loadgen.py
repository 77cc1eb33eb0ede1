"""The load generator: one process, one uvloop, many ZooKeeper clients, a few microseconds per operation.

`python -m loggos.app.bench.loadgen` reads a `Plan` as JSON from stdin and prints one JSON object per line: `{"event": "begin"}`
when the warm-up is over, `{"event": "end"}` when the measured time is, then `{"event": "result", …}` or
`{"event": "failed", "why": …}`.

- A client keeps `depth` requests in flight (1: one at a time) on a znode of its own; clients are spread over all servers.
- setData and getData requests are encoded before the clock starts, as a ring of frames; sending is a slice of it.
- Replies have a fixed size, so one `iter_unpack` per arrival checks them all: frame length, xid in order, err 0, and the content
  (setData: the version grows by exactly one; getData: the value; create: the path). The first wrong reply fails the run.
- Only operations that complete inside the measured time count.
"""

from __future__ import annotations

import asyncio
import json
import struct
import sys
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final, cast

import msgspec
import uvloop

from loggos.app.bench import histogram, wire
from loggos.base.limits import BENCH_REPLY_DEADLINE_S

RING: Final = 1024  # frames encoded ahead per client; more than any depth, so xids in flight are distinct
SUB_BITS: Final = histogram.SUB_BITS
VALUE_SEED: Final = b"loggos-benchmark-value."


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """One load. Times in seconds."""

    addresses: tuple[wire.Address, ...]
    operation: str  # a key of CLIENTS
    clients: int = 50
    depth: int = 1
    value_bytes: int = 100
    warmup_s: float = 2.0
    seconds: float = 5.0
    root: str = "/bench"  # a parent znode for this run; created if absent


class LoadError(Exception):
    """A wrong reply, a lost connection, or no reply at all: the load has failed and no figure of it may be used."""


class Crowd:
    """What the clients of one load share: the histogram in use, and whether to go on."""

    def __init__(self) -> None:
        self.counts = [0] * histogram.BUCKETS  # of the warm-up; replaced when the measured time begins and ends
        self.sending = True
        self.in_flight = 0
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def fail(self, why: str) -> None:
        self.sending = False
        if not self.done.done():
            self.done.set_exception(LoadError(why))

    def drained(self) -> None:
        if not self.done.done():
            self.done.set_result(None)

    def swap(self) -> list[int]:
        """Start a fresh histogram; gives the finished one."""
        finished, self.counts = self.counts, [0] * histogram.BUCKETS
        return finished


class Client(asyncio.Protocol, ABC):
    """One client: sends as many requests as replies arrive. What a request and a reply look like is the subclass's."""

    layout: struct.Struct

    def __init__(self, crowd: Crowd, plan: Plan, path: bytes) -> None:
        self.crowd, self.path, self.depth = crowd, path, plan.depth
        self.value = value_of(plan.value_bytes)
        self.rest = b""
        self.position = 0  # in the ring: the next frame to send
        self.sent: deque[list[Any]] = deque()  # [time, how many] per write, oldest first
        self.name = path.decode()

    def prepare(self, session: wire.Session) -> None:
        """Make the znode this client works on, and all frames, before the clock starts."""
        session.ensure(self.path, self.value)

    @abstractmethod
    def frames(self, count: int) -> bytes:
        """The next `count` requests."""

    @abstractmethod
    def verify(self, data: bytes) -> None:
        """Check whole replies; LoadError if one is not what was asked for."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        if self.sent:
            self.crowd.fail(f"{self.name}: connection lost with requests in flight ({exc})")

    def start(self) -> None:
        self.send(self.depth, time.perf_counter())

    def send(self, count: int, now: float) -> None:
        self.sent.append([now, count])
        self.crowd.in_flight += count
        self.transport.write(self.frames(count))

    def data_received(self, data: bytes) -> None:
        if self.rest:
            data = self.rest + data
        count, over = divmod(len(data), self.layout.size)
        if over:
            whole = len(data) - over
            data, self.rest = data[:whole], data[whole:]
            if over >= 4:
                self.check_length(self.rest)
        else:
            self.rest = b""
        if not count:
            return
        try:
            self.verify(data)
        except LoadError as error:
            self.crowd.fail(str(error))
            return
        self.count(count, time.perf_counter())

    def check_length(self, partial: bytes) -> None:
        """An error reply is shorter than a good one: notice it before waiting for the missing bytes for ever."""
        if wire.FRAME_HEAD.unpack_from(partial)[0] == self.layout.size - 4:
            return
        whole_head = len(partial) >= wire.REPLY_HEAD_BYTES
        why = f"error {wire.REPLY_HEAD.unpack_from(partial)[3]}" if whole_head else "a frame of another length"
        self.crowd.fail(f"{self.name}: expected a reply of {self.layout.size} bytes, got {why}")

    def count(self, count: int, now: float) -> None:
        """Put the latencies of `count` replies into the histogram and send as many requests anew."""
        crowd, sent, left = self.crowd, self.sent, count
        while left:
            if not sent:
                crowd.fail(f"{self.name}: more replies than requests")
                return
            first = sent[0]
            taken = first[1] if first[1] <= left else left
            value_us = int((now - first[0]) * 1e6)
            shift = value_us.bit_length() - SUB_BITS - 1
            crowd.counts[value_us if shift <= 0 else (shift << SUB_BITS) + (value_us >> shift)] += taken
            left -= taken
            if taken == first[1]:
                sent.popleft()
            else:
                first[1] -= taken
        crowd.in_flight -= count
        if crowd.sending:
            self.send(count, now)
        elif not crowd.in_flight:
            crowd.drained()


class RingClient(Client):
    """A client whose requests repeat: frames with xids 1..RING, encoded once."""

    operation: int

    @abstractmethod
    def body(self) -> bytes:
        """The body that every request repeats."""

    def prepare(self, session: wire.Session) -> None:
        super().prepare(session)
        body = self.body()
        self.frame_bytes = wire.REQUEST_HEAD.size + len(body)
        self.ring = b"".join(wire.request(xid, self.operation, body) for xid in range(1, RING + 1))
        self.last_xid = 0

    def frames(self, count: int) -> bytes:
        size, start = self.frame_bytes, self.position
        end = start + count
        if end <= RING:
            self.position = end if end < RING else 0
            return self.ring[start * size : end * size]
        self.position = end - RING
        return self.ring[start * size :] + self.ring[: self.position * size]


class SetDataClient(RingClient):
    """setData of a znode that nobody else writes: its version counts this client's writes."""

    operation = wire.OP_SET_DATA
    layout = wire.SET_DATA_REPLY

    def prepare(self, session: wire.Session) -> None:
        super().prepare(session)
        err, stat = session.call(wire.OP_SET_DATA, self.body())
        if err:
            raise LoadError(f"{self.name}: the first setData failed with {err}")
        self.version = int.from_bytes(stat[32:36], "big", signed=True)

    def body(self) -> bytes:
        return wire.set_data(self.path, self.value)

    def verify(self, data: bytes) -> None:
        last, version, wanted = self.last_xid, self.version, wire.SET_DATA_REPLY_BYTES - 4
        for length, xid, _, err, found in wire.SET_DATA_REPLY.iter_unpack(data):
            last = last + 1 if last < RING else 1
            version += 1
            if xid != last or err or found != version or length != wanted:
                got = f"{length=} {xid=} {err=} version={found}"
                raise LoadError(f"{self.name}: got {got}, expected {wanted}, {last}, 0, {version}")
        self.last_xid, self.version = last, version


class GetDataClient(RingClient):
    """getData of a znode whose value never changes."""

    operation = wire.OP_GET_DATA

    def __init__(self, crowd: Crowd, plan: Plan, path: bytes) -> None:
        super().__init__(crowd, plan, path)
        self.layout = wire.get_data_reply(plan.value_bytes)

    def body(self) -> bytes:
        return wire.get_data(self.path)

    def verify(self, data: bytes) -> None:
        last, wanted, expected = self.last_xid, self.layout.size - 4, self.value
        for length, xid, _, err, _, value, _ in self.layout.iter_unpack(data):
            last = last + 1 if last < RING else 1
            if xid != last or err or value != expected or length != wanted:
                raise LoadError(f"{self.name}: got {length=} {xid=} {err=} value={value[:20]!r}…, expected {wanted}, {last}, 0")
        self.last_xid = last


class CreateClient(Client):
    """create of one new child after another, each with a name of its own."""

    def __init__(self, crowd: Crowd, plan: Plan, path: bytes) -> None:
        super().__init__(crowd, plan, path)
        self.sample = wire.create(self.child(0), self.value)
        self.layout = wire.create_reply(len(self.child(0)))
        self.replied = 0

    def child(self, number: int) -> bytes:
        return b"%s/%010d" % (self.path, number)

    def frames(self, count: int) -> bytes:
        start, tail = self.position, self.sample[4 + len(self.child(0)) :]
        self.position += count
        bodies = (wire.buffer(self.child(number)) + tail for number in range(start, self.position))
        return b"".join(wire.request(start + offset, wire.OP_CREATE, body) for offset, body in enumerate(bodies))

    def verify(self, data: bytes) -> None:
        wanted = self.layout.size - 4
        for length, xid, _, err, _, path in self.layout.iter_unpack(data):
            expected = self.child(self.replied)
            if xid != self.replied or err or path != expected or length != wanted:
                got = f"{length=} {xid=} {err=} {path=}"
                raise LoadError(f"{self.name}: got {got}, expected {wanted}, {self.replied}, 0, {expected!r}")
            self.replied += 1


CLIENTS: Final[dict[str, type[Client]]] = {"setData": SetDataClient, "getData": GetDataClient, "create": CreateClient}


def value_of(size: int) -> bytes:
    """The value every client writes: `size` bytes that are neither zero nor all the same."""
    return (VALUE_SEED * (size // len(VALUE_SEED) + 1))[:size]


async def connect_clients(plan: Plan, crowd: Crowd) -> list[Client]:
    """All clients, prepared and connected, spread over the servers."""
    loop = asyncio.get_running_loop()
    clients = []
    for number in range(plan.clients):
        session = wire.Session(plan.addresses[number % len(plan.addresses)])
        session.ensure(plan.root.encode())
        client = CLIENTS[plan.operation](crowd, plan, b"%s/c%04d" % (plan.root.encode(), number))
        client.prepare(session)
        await loop.create_connection(lambda client=client: client, sock=session.detach())  # type: ignore[misc]
        clients.append(client)
    return clients


async def wait(crowd: Crowd, seconds: float) -> None:
    """Let the load run; LoadError as soon as it fails, or when nothing is answered for too long."""
    until = time.perf_counter() + seconds
    seen, seen_at = -1, time.perf_counter()
    while (left := until - time.perf_counter()) > 0:
        finished, _ = await asyncio.wait([crowd.done], timeout=min(left, 1.0))
        if finished:
            crowd.done.result()
            return
        total = sum(crowd.counts)
        if total != seen:
            seen, seen_at = total, time.perf_counter()
        elif time.perf_counter() - seen_at > BENCH_REPLY_DEADLINE_S:
            raise LoadError(f"no reply for {BENCH_REPLY_DEADLINE_S:.0f} s")


async def drive(plan: Plan, tell: Callable[[dict[str, Any]], None]) -> None:
    """Run one load and tell its events, the result last. LoadError, WireError or OSError when it failed."""
    crowd = Crowd()
    clients = await connect_clients(plan, crowd)
    for client in clients:
        client.start()
    await wait(crowd, plan.warmup_s)
    crowd.swap()
    began, began_cpu = time.perf_counter(), time.process_time()
    tell({"event": "begin"})
    await wait(crowd, plan.seconds)
    elapsed, cpu = time.perf_counter() - began, time.process_time() - began_cpu
    counts = crowd.swap()
    tell({"event": "end"})
    crowd.sending = False
    await wait(crowd, BENCH_REPLY_DEADLINE_S)
    if crowd.in_flight:
        raise LoadError(f"{crowd.in_flight} requests were never answered")
    for client in clients:
        client.transport.close()
    tell(result_of(counts, elapsed, cpu))


def result_of(counts: Sequence[int], elapsed_s: float, cpu_s: float) -> dict[str, Any]:
    """The result line: operations, rate, latencies, and the generator's own CPU per operation."""
    operations = sum(counts)
    if not operations:
        raise LoadError("nothing was answered within the measured time")
    figures = histogram.summary(counts)
    return {
        "event": "result",
        "operations": operations,
        "seconds": elapsed_s,
        "ops_per_s": operations / elapsed_s,
        **figures,
        "generator_cpu_us_per_op": cpu_s / operations * 1e6,
    }


def print_event(event: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(event) + "\n")
    sys.stdout.flush()


def main() -> int:
    plan = msgspec.json.decode(sys.stdin.buffer.read(), type=Plan)
    try:
        uvloop.run(drive(plan, print_event))
    except (LoadError, wire.WireError, OSError) as error:
        print_event({"event": "failed", "why": str(error)})
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
