"""The load of the fail-over benchmark: writers that never give up, and the gaps in what was acknowledged to any of them.

`python -m loggos.app.bench.writers` reads a `Plan` as JSON from stdin, writes until stdin is closed, and prints one JSON object
per line: `ready`; `gap` (start and end on the monotonic clock, which all processes of a machine share) whenever no writer was
acknowledged for longer than `gap_ms`; `beat` with the time of the last acknowledgement, some times a second; at the end `result`.

- Each writer does setData of its own znode, one at a time, on a session of its own.
- A lost connection, a refusal, or silence for `silence_s`: it goes to the next server at once, with its session and the last
  zxid it saw. A round over all servers that failed is followed by `PAUSE_S`. Of the writers that begin at one server half go
  round one way and half the other, for ZooKeeper's clients have an order of their own each; with one order for all, every
  fault drives them closer together, until all are at one server and next go to the one that hangs.
- Each acknowledgement carries the znode's version. A version that is not above the last acknowledged one means that an
  acknowledged write was lost; one that grew by more than the writes sent means that something was done twice. Both are
  counted, never forgiven.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any, Final, cast

import msgspec
import uvloop

from loggos.app.bench import wire
from loggos.app.bench.loadgen import value_of

PAUSE_S: Final = 0.01
BEAT_S: Final = 0.1
SESSION_MS: Final = 20_000


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    addresses: tuple[wire.Address, ...]
    writers: int = 8
    value_bytes: int = 100
    root: str = "/failover"
    gap_ms: float = 10.0
    silence_s: float = 1.0


class Tally:
    """What all writers share: the time of the last acknowledgement, and the counts of what went wrong."""

    def __init__(self, plan: Plan, tell: Callable[[dict[str, Any]], None]) -> None:
        self.tell, self.gap_s = tell, plan.gap_ms / 1000
        self.last = time.monotonic()
        self.acknowledged = self.reconnects = self.expired = self.lost = self.repeated = 0
        self.errors: dict[str, int] = {}

    def acknowledge(self, now: float) -> None:
        if now - self.last > self.gap_s:
            self.tell({"event": "gap", "start": self.last, "end": now})
        self.last = now
        self.acknowledged += 1

    def error(self, code: int) -> None:
        self.errors[str(code)] = self.errors.get(str(code), 0) + 1

    def result(self) -> dict[str, Any]:
        return {
            "event": "result",
            "acknowledged": self.acknowledged,
            "reconnects": self.reconnects,
            "sessions_expired": self.expired,
            "acknowledged_writes_lost": self.lost,
            "writes_done_twice": self.repeated,
            "errors": self.errors,
        }


class Link(asyncio.Protocol):
    """One connection of a writer: first the connect reply, then one write after another until it breaks."""

    def __init__(self, writer: Writer) -> None:
        self.writer = writer
        self.rest = b""
        self.greeted = False
        self.over: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        writer = self.writer
        self.transport.write(wire.connect_request(SESSION_MS, writer.session, writer.password, writer.zxid))

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.over.done():
            self.over.set_result(None)

    def data_received(self, data: bytes) -> None:
        data = self.rest + data
        while len(data) >= 4 and len(data) >= (size := 4 + wire.FRAME_HEAD.unpack_from(data)[0]):
            frame, data = data[:size], data[size:]
            if self.greeted:
                self.writer.answered(self, frame)
            else:
                self.greeted = self.writer.welcomed(self, frame)
        self.rest = data


class Writer:
    """One writer: its session, its znode, and what it knows of the znode's version."""

    def __init__(self, plan: Plan, number: int, tally: Tally) -> None:
        self.plan, self.tally, self.server = plan, tally, number % len(plan.addresses)
        self.step = 1 if number // len(plan.addresses) % 2 == 0 else -1  # the way round
        path = f"{plan.root}/w{number:02d}".encode()
        with_znode = wire.Session(plan.addresses[self.server])
        with_znode.ensure(plan.root.encode())
        with_znode.ensure(path)
        with_znode.close()
        self.body = wire.set_data(path, value_of(plan.value_bytes))
        self.session, self.password, self.zxid = 0, wire.NO_PASSWORD, 0
        self.xid = self.version = self.unknown = 0  # unknown: writes sent since the last acknowledgement
        self.heard = 0.0

    def welcomed(self, link: Link, frame: bytes) -> bool:
        """The connect reply: go on with the old session, or with a new one if the old has expired."""
        _, _, timeout_ms, session, _, password = wire.CONNECT_REPLY.unpack_from(frame)
        if timeout_ms <= 0:
            self.tally.expired += 1
            self.session, self.password = 0, wire.NO_PASSWORD
            link.transport.close()
            return False
        self.session, self.password = session, password
        self.write(link)
        return True

    def write(self, link: Link) -> None:
        self.xid += 1
        self.unknown += 1
        self.heard = time.monotonic()
        link.transport.write(wire.request(self.xid, wire.OP_SET_DATA, self.body))

    def answered(self, link: Link, frame: bytes) -> None:
        """One reply: count it, check it, write the next."""
        _, xid, zxid, err = wire.REPLY_HEAD.unpack_from(frame)
        self.zxid = max(self.zxid, zxid)
        if xid != self.xid or err or len(frame) != wire.SET_DATA_REPLY_BYTES:
            self.tally.error(err)
            link.transport.close()
            return
        self.check_version(wire.SET_DATA_REPLY.unpack(frame)[4])
        self.tally.acknowledge(time.monotonic())
        self.write(link)

    def check_version(self, version: int) -> None:
        """Every acknowledged write is still there, and none was done twice."""
        if version <= self.version:
            self.tally.lost += 1
        elif version > self.version + self.unknown:
            self.tally.repeated += 1
        self.version, self.unknown = version, 0

    async def run(self) -> None:
        """Write until cancelled, on one server after another."""
        failures = 0
        while True:
            before = self.tally_mark()
            await self.one_connection()
            self.tally.reconnects += 1
            self.server = (self.server + self.step) % len(self.plan.addresses)
            failures = failures + 1 if before == self.tally_mark() else 0
            if failures and failures % len(self.plan.addresses) == 0:
                await asyncio.sleep(PAUSE_S)

    def tally_mark(self) -> int:
        """Changes with every acknowledgement to this writer."""
        return self.version

    async def one_connection(self) -> None:
        """Connect and write until the connection breaks or is silent for too long."""
        loop = asyncio.get_running_loop()
        host, port = self.plan.addresses[self.server]
        self.heard = time.monotonic()
        try:
            connecting = loop.create_connection(lambda: Link(self), host, port)
            transport, link = await asyncio.wait_for(connecting, self.plan.silence_s)
        except (OSError, TimeoutError):
            return
        try:
            while not link.over.done():
                left = self.heard + self.plan.silence_s - time.monotonic()
                if left <= 0:
                    return
                await asyncio.wait([link.over], timeout=left)
        finally:
            transport.abort()


async def beat(tally: Tally) -> None:
    """Tell the time of the last acknowledgement again and again."""
    while True:
        await asyncio.sleep(BEAT_S)
        tally.tell({"event": "beat", "last": tally.last})


async def write_until_closed(plan: Plan, tell: Callable[[dict[str, Any]], None], closed: asyncio.Event) -> None:
    """Run all writers until `closed` is set; tells `ready`, the gaps, and the result."""
    tally = Tally(plan, tell)
    writers = [Writer(plan, number, tally) for number in range(plan.writers)]
    tally.last = time.monotonic()
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(writer.run(), name=f"writer {number}") for number, writer in enumerate(writers)]
        tell({"event": "ready"})
        tasks.append(group.create_task(beat(tally), name="beat"))
        await closed.wait()
        for task in tasks:
            task.cancel()
    tell(tally.result())


def print_event(event: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(event) + "\n")
    sys.stdout.flush()


async def serve_stdin(plan: Plan) -> None:
    """Write until stdin reaches its end."""
    closed = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_reader(sys.stdin.fileno(), lambda: None if os.read(sys.stdin.fileno(), 4096) else closed.set())
    await write_until_closed(plan, print_event, closed)
    loop.remove_reader(sys.stdin.fileno())


def main() -> int:
    plan = msgspec.json.decode(sys.stdin.buffer.readline(), type=Plan)
    try:
        uvloop.run(serve_stdin(plan))
    except (OSError, wire.WireError) as error:
        print_event({"event": "failed", "why": str(error)})
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
