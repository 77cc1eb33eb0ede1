"""What one journal batch costs on the real disk: write and fdatasync as two system calls, and as one.

    PYTHONPATH=src python bench/micro_disk.py [--data DIR] [--batches 400] [--rounds 5] [--asyncio]

The ways take turns within each round, so that other load on the machine hits them alike. `busy`: the loop computes for 0.2 ms in
every turn, as a leader with clients does. Prints medians over the rounds, in microseconds: CPU of this process per batch (busy:
with what the loop computes meanwhile), and p50 and p99 of the time from write_sync to its result.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import tempfile
import time
from pathlib import Path

from loggos.base.ports import Disk
from loggos.host.disk import HostDisk, SystemCalls
from loggos.host.loop import run

BATCH = [b"h" * 40, b"e" * 300, b"\0" * 172]
SEGMENT_BYTES = 4 << 20
SPIN_S = 0.0002
Figures = tuple[float, float, float]


class SeparateCalls(SystemCalls):
    can_join = False


WAYS: dict[str, type[SystemCalls]] = {"two calls": SeparateCalls, "one call": SystemCalls}


class Spinner:
    """Keeps the loop busy."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop, self.is_on = loop, True

    def turn(self) -> None:
        until = time.perf_counter() + SPIN_S
        while time.perf_counter() < until:
            pass
        if self.is_on:
            self.loop.call_soon(self.turn)


async def measure(disk: Disk, batches: int) -> Figures:
    file = await disk.open("segment", create=True)
    await file.write(0, [bytes(SEGMENT_BYTES)])
    await file.sync()
    times = []
    cpu = time.process_time()
    for number in range(batches):
        began = time.perf_counter()
        await file.write_sync(number * 512 % SEGMENT_BYTES, BATCH)
        times.append(time.perf_counter() - began)
    cpu = time.process_time() - cpu
    await file.close()
    await disk.remove("segment")
    times.sort()
    return cpu / batches * 1e6, times[batches // 2] * 1e6, times[batches * 99 // 100] * 1e6


async def one(calls: SystemCalls, root: Path, batches: int, is_busy: bool) -> Figures:
    loop = asyncio.get_running_loop()
    disk, spinner = HostDisk(root, loop, calls), Spinner(loop)
    try:
        if is_busy:
            spinner.turn()
        return await measure(disk, batches)
    finally:
        spinner.is_on = False
        await disk.finish()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=None, help="a directory on the disk to measure")
    parser.add_argument("--batches", type=int, default=400)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--asyncio", action="store_true", help="asyncio's own loop instead of uvloop")
    options = parser.parse_args()
    found: dict[tuple[str, str], list[Figures]] = {}
    with tempfile.TemporaryDirectory(dir=options.data) as parent:
        root = Path(parent) / "data"
        for _ in range(options.rounds):
            for load in ("idle", "busy"):
                for name, make in WAYS.items():
                    figures = run(lambda: one(make(), root, options.batches, load == "busy"), not options.asyncio)  # noqa: B023
                    found.setdefault((load, name), []).append(figures)
    print(f"{'loop':5} {'way':10} {'CPU us':>8} {'p50 us':>8} {'p99 us':>8}")
    for (load, name), rows in found.items():
        print(f"{load:5} {name:10} " + " ".join(f"{statistics.median(column):8.0f}" for column in zip(*rows, strict=True)))


if __name__ == "__main__":
    main()
