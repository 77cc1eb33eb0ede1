"""Unequal servers on this machine, and one load that several policies serve side by side.

Every policy has servers of its own, all real HTTP servers on loopback: each works on one request at a time, so requests queue
there, and some are slower than the others. Their work is sleeping, so that the machine's own speed matters little. Requests
leave at times that were drawn beforehand, the same for every policy, however late the answers are; a latency counts from that
time (open loop: nobody waits politely for a slow server). Every policy runs in the same seconds, so what else the machine does
hits all alike.

Must not know: proofs, pages.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final, NamedTuple

from loggos.balance import HttpProbe, Pool
from loggos.balance.middleware.header import HEADER, PROBE_PATH, parse_report, render_report
from loggos.balance.middleware.meter import LoadMeter
from loggos.balance.pool.calls import Verdict
from loggos.balance.pool.http1 import Answer, Getter
from loggos.balance.types import Endpoint

HEAD_BYTES_MAX: Final = 4 << 10
WORK_PATH: Final = "/work"


class Contender(NamedTuple):
    """A policy as people would call it, and as it is made."""

    title: str
    policy: str
    options: Mapping[str, object] = MappingProxyType({})


CONTENDERS: Final = (
    Contender("round robin", "round_robin"),
    Contender("two choices, own counts", "p2c"),
    Contender("two choices, reported load", "p2c", MappingProxyType({"load": "reported", "probe": True})),
    Contender("Prequal", "prequal"),
)


@dataclass(frozen=True, slots=True)
class Load:
    """What every policy gets. `utilisation`: of all servers together, if the work were shared in proportion to their speeds."""

    clients: int = 8  # each with a pool of its own that sees only what it sends itself
    servers: int = 8
    slow: int = 2
    slow_speed: float = 0.4
    service_s: float = 0.03  # mean at speed 1, exponential
    utilisation: float = 0.7
    seconds: float = 9.0
    seed: int = 1

    @property
    def speeds(self) -> list[float]:
        return [self.slow_speed if number < self.slow else 1.0 for number in range(self.servers)]

    @property
    def rate_per_s(self) -> float:
        return self.utilisation * sum(self.speeds) / self.service_s

    def departures_s(self) -> list[float]:
        """When requests leave, from the beginning on: a Poisson stream."""
        dice, at, found = random.Random(self.seed), 0.0, []
        while (at := at + dice.expovariate(self.rate_per_s)) < self.seconds:
            found.append(at)
        return found


@dataclass(slots=True)
class Side:
    """How one policy did."""

    contender: Contender
    speeds: list[float]
    sent: int = 0
    failed: int = 0
    left_s: list[float] = field(default_factory=list)  # of those answered: when they were due, from the beginning
    latencies_s: list[float] = field(default_factory=list)
    served: list[int] = field(default_factory=list)  # by server, as the servers counted

    def slow_share(self) -> float:
        """Of all requests, those that slow servers worked on."""
        slow = sum(count for count, speed in zip(self.served, self.speeds, strict=True) if speed < max(self.speeds))
        return slow / max(1, sum(self.served))


class Server:
    """One request at a time, first come first served; reports its load with every answer and at the probe path."""

    def __init__(self, speed: float, service_s: float, dice: random.Random) -> None:
        self.speed, self._service_s, self._dice = speed, service_s, dice
        self.served = 0
        self.address = ""
        self._meter = LoadMeter()
        self._turn = asyncio.Lock()
        self._server: asyncio.Server | None = None
        self._open: dict[asyncio.StreamWriter, None] = {}

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, limit=HEAD_BYTES_MAX)
        host, port = self._server.sockets[0].getsockname()
        self.address = f"{host}:{port}"

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        for writer in self._open:
            writer.close()
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open[writer] = None
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                if not head.startswith(b"GET " + PROBE_PATH.encode() + b" "):
                    await self._work()
                if writer.is_closing():
                    return  # stopped meanwhile
                report = self._meter.report(time.monotonic())
                answer = f"HTTP/1.1 200 OK\r\n{HEADER}: {render_report(report)}\r\ncontent-length: 0\r\n\r\n"
                writer.write(answer.encode("ascii"))
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, ConnectionError):
            pass  # the client has gone
        except asyncio.CancelledError:
            pass  # the tour is interrupted; the task ends here, and asyncio's streams would print that it was cancelled
        finally:
            del self._open[writer]
            writer.close()

    async def _work(self) -> None:
        ticket = self._meter.started(time.monotonic())
        try:
            async with self._turn:
                await asyncio.sleep(self._dice.expovariate(1.0) * self._service_s / self.speed)
            self.served += 1
        finally:
            self._meter.finished(ticket, time.monotonic())


def verdict(answer: Answer) -> Verdict:
    return Verdict(ok=answer.status == 200, report=parse_report(answer.headers.get(HEADER)))


class Bench:
    """One policy, its servers, and the load on them."""

    def __init__(self, contender: Contender, load: Load) -> None:
        dice = random.Random(load.seed + 1)
        self._servers = [Server(speed, load.service_s, random.Random(dice.random())) for speed in load.speeds]
        self._getter = Getter(WORK_PATH)
        self._load = load
        self.side = Side(contender, load.speeds)

    async def run(self, departures_s: list[float], begin_s: float) -> Side:
        """Send everything, wait for every answer, stop the servers."""
        contender, side = self.side.contender, self.side
        for server in self._servers:
            await server.start()
        probe = HttpProbe()
        addresses = [server.address for server in self._servers]
        pools = [
            Pool(addresses, contender.policy, options=contender.options, probe=probe, seed=client)
            for client in range(self._load.clients)
        ]
        try:
            async with AsyncExitStack() as stack, asyncio.TaskGroup() as requests:
                for pool in pools:
                    await stack.enter_async_context(pool)
                for departure_s in departures_s:
                    due_s = begin_s + departure_s
                    await asyncio.sleep(max(0.0, due_s - time.monotonic()))
                    requests.create_task(self._request(pools[side.sent % len(pools)], departure_s, due_s))
                    side.sent += 1
        finally:
            self._getter.close()
            probe.close()
            for server in self._servers:
                await server.stop()
        side.served = [server.served for server in self._servers]
        return side

    async def _request(self, pool: Pool, departure_s: float, due_s: float) -> None:
        try:
            await pool.call(self._send, judge=verdict)
        except OSError:
            self.side.failed += 1
        else:
            self.side.left_s.append(departure_s)
            self.side.latencies_s.append(time.monotonic() - due_s)

    async def _send(self, endpoint: Endpoint) -> Answer:
        return await self._getter.get(endpoint.name)


async def side_by_side(load: Load, contenders: tuple[Contender, ...] = CONTENDERS) -> list[Side]:
    """Every contender under the same load in the same seconds."""
    departures_s = load.departures_s()
    begin_s = time.monotonic() + 0.2  # when every server listens
    return list(await asyncio.gather(*(Bench(one, load).run(departures_s, begin_s) for one in contenders)))
