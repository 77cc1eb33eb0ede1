"""Load balancing over real HTTP: unequal servers on loopback, every policy in turn, Debian's HAProxy beside them.

    PYTHONPATH=src nice -n 19 python bench/balance_http.py [--seconds 20] [--seeds 3] [--load 0.7] [--only prequal,p2c] [--json]

Servers: asyncio HTTP/1.1 on free ports in one process, by default six of speed 1 and two of speed 0.4. Each works on one request
at a time, in the order of arrival; working is sleeping for the time that the request names, divided by the speed, so queueing is
real and costs no CPU. Each answer carries the load report of `loggos.balance.middleware`; the probe path answers at once.
Clients: one process with several pools that know nothing of each other (`--balancers`); HAProxy has as many back ends, each with
counts of its own, in one process. Arrivals are Poisson and open loop; times of arrival, balancers and amounts of work are drawn
once per seed, so every policy gets the very same requests. Latency is measured from the moment a request was due.
The generator's lag (how late a request really left) is watched: a run in which its p99 passes `--lag-max` measures the machine
and not the policy. It is repeated, whatever its result, up to REPEATS_MAX times, and the run with the least lag counts. The table
says how many were disturbed, and what the lag was.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import platform
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field

import uvloop

from loggos.balance import HttpProbe, Pool
from loggos.balance.middleware import HEADER, PROBE_PATH, LoadMeter, parse_report, render_report

HOST = "127.0.0.1"
ANSWER_TIMEOUT_S = 60.0
REPEATS_MAX = 5
DRAIN_S = 0.5  # between two runs, so that no queue of one is left to the next


@dataclass(frozen=True, slots=True)
class Row:
    """One way of balancing."""

    title: str
    policy: str
    options: Mapping[str, object] = field(default_factory=dict)
    probes: bool = False


ROWS = {
    "round_robin": Row("round robin", "round_robin"),
    "random": Row("random", "random"),
    "p2c": Row("P2C, local counts", "p2c"),
    "least_request": Row("least request, local counts", "least_request"),
    "peak_ewma": Row("peak EWMA", "peak_ewma"),
    "p2c_reported": Row("P2C, reported with answers", "p2c", {"load": "reported"}),
    "p2c_probed": Row("P2C, reported, probed", "p2c", {"load": "reported", "probe": True}, True),
    "prequal": Row("Prequal", "prequal", {}, True),
}
HAPROXY = {"haproxy_random2": "random(2)", "haproxy_leastconn": "leastconn"}


# --- servers ---------------------------------------------------------------------------------------------------------------


class Worker:
    """One server: one request at a time, first come, first served.

    When a request will be done is known when it arrives; a loop that wakes late delays that one answer and not those behind it:
    a busy machine does not make servers slower than they are said to be.
    """

    def __init__(self, speed: float) -> None:
        self.speed = speed
        self.meter = LoadMeter()
        self._free_at_s = 0.0

    async def work(self, work_s: float) -> None:
        now_s = time.monotonic()
        self._free_at_s = max(self._free_at_s, now_s) + work_s / self.speed
        await asyncio.sleep(self._free_at_s - now_s)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                target = head.split(b" ", 2)[1]
                if target.startswith(PROBE_PATH.encode()):
                    report = self.meter.report(time.monotonic())
                else:
                    ticket = self.meter.started(time.monotonic())
                    await self.work(float(target.rpartition(b"=")[2]))
                    self.meter.finished(ticket, time.monotonic())
                    report = self.meter.report(time.monotonic())
                writer.write(f"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n{HEADER}: {render_report(report)}\r\n\r\nok".encode())
        writer.close()


async def serve(speeds: Sequence[float]) -> None:
    """The server process: prints its ports as JSON, ends with its standard input."""
    servers = [await asyncio.start_server(Worker(speed).serve, HOST, 0, backlog=1024) for speed in speeds]
    sys.stdout.write(json.dumps([server.sockets[0].getsockname()[1] for server in servers]) + "\n")
    sys.stdout.flush()
    await asyncio.to_thread(sys.stdin.read)


# --- the client ------------------------------------------------------------------------------------------------------------


class Client:
    """GETs on kept connections: no more HTTP than the servers here need."""

    def __init__(self) -> None:
        self._idle: dict[str, deque[tuple[asyncio.StreamReader, asyncio.StreamWriter]]] = {}

    async def get(self, address: str, work_s: float) -> str | None:
        """The load report that came with the answer."""
        idle = self._idle.setdefault(address, deque())
        if idle:
            reader, writer = idle.pop()
        else:
            host, _, port = address.rpartition(":")
            reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(f"GET /?work={work_s:.9f} HTTP/1.1\r\nhost: {address}\r\n\r\n".encode())
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        if not head.startswith("HTTP/1.1 200"):
            raise ConnectionError(head.splitlines()[0])
        await reader.readexactly(2)
        idle.append((reader, writer))
        for line in head.split("\r\n"):
            name, _, value = line.partition(": ")
            if name.lower() == HEADER:
                return value
        return None

    def close(self) -> None:
        for idle in self._idle.values():
            for _, writer in idle:
                writer.close()


@dataclass(frozen=True, slots=True)
class Request:
    due_s: float
    balancer: int
    work_s: float


@dataclass(slots=True)
class Result:
    """Latencies and lags in seconds, without the warm-up; requests per server."""

    latencies_s: list[float] = field(default_factory=list)
    lags_s: list[float] = field(default_factory=list)
    failures: int = 0
    repeats: int = 0  # how many runs had been disturbed before this one

    def lag_p99_s(self) -> float:
        return percentile(self.lags_s, 0.99)


def requests(seed: int, rate_s: float, seconds: float, balancers: int, mean_s: float) -> list[Request]:
    """The same for every policy."""
    dice = random.Random(seed)
    drawn, now_s = [], 0.0
    while now_s < seconds:
        now_s += dice.expovariate(rate_s)
        drawn.append(Request(now_s, dice.randrange(balancers), dice.expovariate(1 / mean_s)))
    return drawn


async def through_pool(pool: Pool, client: Client, request: Request) -> None:
    lease = pool.lease()
    async with lease as endpoint:
        lease.report(parse_report(await client.get(endpoint.name, request.work_s)))


async def load(targets: Sequence[Pool | str], drawn: Sequence[Request], warm_up_s: float, result: Result) -> None:
    """Sends every request when it is due, whatever became of the others."""
    client = Client()
    begin_s = time.monotonic() + 0.05

    async def one(request: Request) -> None:
        lag_s = time.monotonic() - begin_s - request.due_s
        target = targets[request.balancer]
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT_S):
                if isinstance(target, Pool):
                    await through_pool(target, client, request)
                else:
                    await client.get(target, request.work_s)
        except (OSError, EOFError):
            result.failures += 1
            return
        if request.due_s >= warm_up_s:
            result.latencies_s.append(time.monotonic() - begin_s - request.due_s)
            result.lags_s.append(lag_s)

    async with asyncio.TaskGroup() as group:
        for request in drawn:
            wait_s = begin_s + request.due_s - time.monotonic()
            if wait_s > 0:
                await asyncio.sleep(wait_s)
            group.create_task(one(request))
    client.close()


# --- HAProxy ---------------------------------------------------------------------------------------------------------------


def haproxy_config(algorithm: str, ports: Sequence[int], servers: Sequence[int]) -> str:
    """As many listeners as there are balancers, each with counts of its own; one thread."""
    lines = ["global", "  nbthread 1", "  maxconn 4000", "defaults", "  mode http", "  option http-keep-alive"]
    lines += [f"  timeout {what} 60s" for what in ("client", "server", "connect", "queue")]
    for number, port in enumerate(ports):
        lines += [f"listen balancer{number}", f"  bind {HOST}:{port}", f"  balance {algorithm}"]
        lines += [f"  server s{place} {HOST}:{server}" for place, server in enumerate(servers)]
    return "\n".join(lines) + "\n"


def free_ports(count: int) -> list[int]:
    import socket

    sockets = [socket.create_server((HOST, 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


@contextlib.asynccontextmanager
async def haproxy(algorithm: str, balancers: int, servers: Sequence[int]) -> AsyncIterator[list[str]]:
    """Addresses of a HAProxy that runs as long as this is entered."""
    ports = free_ports(balancers)
    with tempfile.NamedTemporaryFile("w", suffix=".cfg", encoding="ascii") as config:
        config.write(haproxy_config(algorithm, ports, servers))
        config.flush()
        process = await asyncio.create_subprocess_exec("haproxy", "-db", "-q", "-f", config.name)
        try:
            for port in ports:
                await reachable(port)
            yield [f"{HOST}:{port}" for port in ports]
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
            await process.wait()


async def reachable(port: int) -> None:
    for _ in range(200):
        with contextlib.suppress(OSError):
            _, writer = await asyncio.open_connection(HOST, port)
            writer.close()
            return
        await asyncio.sleep(0.02)
    raise SystemExit(f"nothing listens on port {port} after 4 s")


# --- the run ---------------------------------------------------------------------------------------------------------------


async def measure(
    name: str, drawn: Sequence[Request], servers: Sequence[int], options: argparse.Namespace, result: Result
) -> None:
    """One policy, one seed."""
    if name in HAPROXY:
        async with haproxy(HAPROXY[name], options.balancers, servers) as addresses:
            await load(addresses, drawn, options.warm_up, result)
        return
    row = ROWS[name]
    pools = [
        Pool(
            [f"{HOST}:{port}" for port in servers],
            row.policy,
            options=row.options,
            probe=HttpProbe() if row.probes else None,
            seed=number,
            name=f"{name} {number}",
        )
        for number in range(options.balancers)
    ]
    try:
        await load(pools, drawn, options.warm_up, result)
    finally:
        for pool in pools:
            await pool.aclose()


async def run(options: argparse.Namespace, names: Sequence[str]) -> dict[str, list[Result]]:
    """Every policy under every seed; policies alternate within a seed."""
    results: dict[str, list[Result]] = {name: [] for name in names}
    speeds = [1.0] * options.fast + [options.slow_speed] * options.slow
    rate_s = options.load * sum(speeds) / options.mean
    for seed in range(options.seeds):
        drawn = requests(seed, rate_s, options.seconds, options.balancers, options.mean)
        for name in names:
            tries: list[Result] = []
            while not tries or (tries[-1].lag_p99_s() > options.lag_max and len(tries) <= REPEATS_MAX):
                tries.append(Result(repeats=len(tries)))
                async with farm(speeds) as servers:
                    await measure(name, drawn, servers, options, tries[-1])
                sys.stderr.write(f"seed {seed}: {name}: {summary([tries[-1]])}\n")
                await asyncio.sleep(DRAIN_S)
            results[name].append(min(tries, key=Result.lag_p99_s))
    return results


@contextlib.asynccontextmanager
async def farm(speeds: Sequence[float]) -> AsyncIterator[list[int]]:
    """Ports of fresh servers: no policy inherits the queues of another."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, __file__, "--serve", json.dumps(list(speeds)), stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout is not None and process.stdin is not None
    try:
        yield json.loads(await process.stdout.readline())
    finally:
        process.stdin.close()
        await process.wait()


def percentile(values: Sequence[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(int(share * len(ordered)), len(ordered) - 1)]


def summary(results: Sequence[Result]) -> dict[str, float]:
    """Milliseconds over all seeds; p99 of the seeds from best to worst."""
    latencies = [value * 1e3 for result in results for value in result.latencies_s]
    by_seed = sorted(percentile(result.latencies_s, 0.99) * 1e3 for result in results)
    return {
        "requests": len(latencies),
        "mean": round(sum(latencies) / len(latencies), 1),
        "p50": round(percentile(latencies, 0.5), 1),
        "p99": round(percentile(latencies, 0.99), 1),
        "p99_best": round(by_seed[0], 1),
        "p99_worst": round(by_seed[-1], 1),
        "p999": round(percentile(latencies, 0.999), 1),
        "lag_p99": round(percentile([v * 1e3 for r in results for v in r.lags_s], 0.99), 1),
        "repeats": sum(result.repeats for result in results),
        "failures": sum(result.failures for result in results),
    }


def table(results: Mapping[str, list[Result]], options: argparse.Namespace) -> str:
    """Markdown, with the facts of the machine."""
    load_1 = " ".join(f"{value:.2f}" for value in os.getloadavg())
    lines = [
        f"- machine: {os.cpu_count()} cores, {platform.system()} {platform.release()} {platform.machine()}, "
        f"Python {platform.python_version()}, uvloop; load average after: {load_1}",
        f"- {options.fast} servers of speed 1 and {options.slow} of speed {options.slow_speed}, one request at a time each; "
        f"exponential work, mean {options.mean * 1e3:g} ms; {options.balancers} independent balancers; load {options.load}",
        f"- {options.seeds} seeds of {options.seconds:g} s, the first {options.warm_up:g} s of each not counted; milliseconds",
        "",
        "| policy | mean | p50 | p99 | p99 of the seeds | p99.9 | requests | failed | lag p99 | disturbed runs |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name, row in results.items():
        s = summary(row)
        title = f"HAProxy {HAPROXY[name]}" if name in HAPROXY else ROWS[name].title
        lines.append(
            f"| {title} | {s['mean']} | {s['p50']} | {s['p99']} | {s['p99_best']}–{s['p99_worst']} | {s['p999']} "
            f"| {s['requests']:.0f} | {s['failures']:.0f} | {s['lag_p99']} | {s['repeats']:.0f} |"
        )
    return "\n".join(lines)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--warm-up", type=float, default=3.0)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--load", type=float, default=0.7)
    parser.add_argument("--mean", type=float, default=0.03, help="seconds of work of a request, on the average")
    parser.add_argument("--fast", type=int, default=6)
    parser.add_argument("--slow", type=int, default=2)
    parser.add_argument("--slow-speed", type=float, default=0.4)
    parser.add_argument("--balancers", type=int, default=10)
    parser.add_argument("--lag-max", type=float, default=0.02, help="seconds of lag (p99) beyond which a run is repeated")
    parser.add_argument("--only", help=f"some of {','.join([*ROWS, *HAPROXY])}")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    options = arguments()
    if options.serve:
        uvloop.run(serve(json.loads(options.serve)))
        return
    names = options.only.split(",") if options.only else [*ROWS, *HAPROXY]
    if unknown := [name for name in names if name not in ROWS and name not in HAPROXY]:
        sys.exit(f"--only {','.join(unknown)}: there is {', '.join([*ROWS, *HAPROXY])}")
    if shutil.which("haproxy") is None:
        sys.stderr.write("HAProxy is not installed (apt install haproxy): its rows are left out\n")
        names = [name for name in names if name not in HAPROXY]
    results = uvloop.run(run(options, names))
    if options.json:
        print(json.dumps({name: summary(row) for name, row in results.items()}))
    else:
        print(table(results, options))


if __name__ == "__main__":
    main()
