"""Facts of the machine that a figure is worth nothing without: cores, memory, kernel, file system, what one fdatasync costs."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import psutil

from loggos.app.bench import histogram
from loggos.host.disk import data_sync

SYNCS: Final = 400
SYNC_BYTES: Final = 4096
BUSY_SHARE: Final = 0.25  # of the cores in use before the run; above it figures are doubtful


def fdatasync_us(
    directory: Path,
    *,
    count: int = SYNCS,
    clock: Callable[[], float] = time.perf_counter,
    sync: Callable[[int], None] = data_sync,
) -> list[int]:
    """A histogram of `count` times: write 4 KiB into a preallocated file of this directory and sync it as a node does: by
    fdatasync, or by the nearest that the platform has."""
    path = directory / "fdatasync.probe"
    counts = [0] * histogram.BUCKETS
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        os.pwrite(descriptor, bytes(count * SYNC_BYTES), 0)
        os.fsync(descriptor)
        block = os.urandom(SYNC_BYTES)
        for number in range(count):
            began = clock()
            os.pwrite(descriptor, block, number * SYNC_BYTES)
            sync(descriptor)
            counts[histogram.bucket_of(int((clock() - began) * 1e6))] += 1
    finally:
        os.close(descriptor)
        path.unlink()
    return counts


def file_system(directory: Path) -> str:
    """The type of the file system that holds a directory."""
    target = directory.resolve()
    mounts = sorted(psutil.disk_partitions(all=True), key=lambda part: len(part.mountpoint), reverse=True)
    return next((part.fstype for part in mounts if target.is_relative_to(part.mountpoint)), "unknown")


def first_line(*command: str) -> str:
    """The first line a program prints; empty if it is not there."""
    if shutil.which(command[0]) is None:
        return ""
    done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    return ((done.stdout or done.stderr).splitlines() or [""])[0].strip()


def warnings() -> list[str]:
    """What makes figures taken now doubtful."""
    load, cores = os.getloadavg()[0], os.cpu_count() or 1
    if load <= BUSY_SHARE * cores:
        return []
    return [f"the machine was busy before the run (load {load:.1f} on {cores} cores): the figures show what was left over"]


def machine_facts(directory: Path) -> dict[str, str]:
    """What to print above every table."""
    sync = histogram.summary(fdatasync_us(directory))
    load, memory = os.getloadavg(), psutil.virtual_memory().total / 2**30
    kernel = f"{platform.system()} {platform.release()} {platform.machine()}"
    return {
        "machine": f"{os.cpu_count()} cores, {memory:.0f} GiB RAM, {kernel}",
        "file system": f"{file_system(directory)}; fdatasync of 4 KiB: p50 {sync['p50_ms']:.2f} ms, p99 {sync['p99_ms']:.2f} ms",
        "load average before": f"{load[0]:.2f} {load[1]:.2f} {load[2]:.2f}",
    }
