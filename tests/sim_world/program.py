"""A busy program for the determinism tests: three servers with disks, clients, sets of tasks, generators, and a nemesis.

Run as a module with a seed, it prints the trace hash: `python -m tests.sim_world.program 7`.
"""

from __future__ import annotations

import asyncio
import random
import sys
import time
import uuid
from collections.abc import AsyncIterator

from loggos.base.errors import LoggosError
from loggos.base.ports import File, World
from loggos.sim.nemesis import Nemesis, make_schedule
from loggos.sim.world import SimHost, SimWorld

SERVERS = ("one", "two", "three")


async def serve(ports: World) -> None:
    """Echo lines, each one journalled first."""
    name = f"log-{len(await ports.disk.list(''))}"
    file = await ports.disk.open(name, create=True)
    await ports.disk.sync_dir("")
    offset = 0

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal offset
        try:
            async for line in lines(reader):
                await journal(file, offset, line)
                offset += len(line)
                writer.write(line)
                await writer.drain()
        except (OSError, LoggosError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(handle, port=7000)
    await server.serve_forever()


async def journal(file: File, offset: int, line: bytes) -> None:
    await file.write_sync(offset, [line])


async def lines(reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
    while line := await reader.readline():
        yield line


async def talk(ports: World, counts: dict[str, int]) -> None:
    """Several conversations at once, gathered in a set, which has an order only because tasks are hashed by a counter."""
    while True:
        waiting = {asyncio.ensure_future(converse(name, counts)) for name in SERVERS}
        while waiting:
            done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                counts["done"] += task.result()
            await asyncio.sleep(random.random() / 100)


async def converse(name: str, counts: dict[str, int]) -> int:
    try:
        async with asyncio.timeout(3):
            reader, writer = await asyncio.open_connection(name, 7000)
            try:
                for _ in range(5):
                    writer.write(f"{uuid.uuid4()} {time.time():.6f} {time.monotonic():.6f}\n".encode())
                    if not await reader.readline():
                        return 0
                    counts["operations"] += 1
            finally:
                writer.close()
    except OSError:
        await asyncio.sleep(0.2)
        return 0
    return 1


class Recovery:
    def restart(self, host: SimHost) -> None:
        host.start(serve)

    def is_whole(self, host: SimHost) -> bool:
        return True


def run(seed: int, chaos_s: float = 12.0, record: bool = False) -> tuple[SimWorld, dict[str, int]]:
    """One run; the world as it was left, and what was counted."""
    counts = {"operations": 0, "done": 0, "before": 0}
    with SimWorld(seed, record) as world:
        for name in SERVERS:
            world.host(name).start(serve)
        client = world.host("client")

        async def scenario() -> None:
            client.start(lambda ports: talk(ports, counts))
            schedule = make_schedule(world.draws("nemesis"), SERVERS, chaos_s, mean_gap_s=1.0, others=["client"])
            nemesis = Nemesis(world, SERVERS, schedule, Recovery())
            await nemesis.chaos()
            nemesis.heal()
            counts["before"] = counts["operations"]
            await asyncio.sleep(10)

        world.run(scenario())
        world.digest()
    return world, counts


if __name__ == "__main__":
    print(run(int(sys.argv[1]))[0].digest())
