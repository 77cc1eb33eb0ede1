"""Facts of the machine: taken on every platform that the benchmarks run on."""

from __future__ import annotations

import os
from itertools import count
from pathlib import Path

from loggos.app.bench import histogram, probe
from loggos.host.disk import data_sync


def test_each_write_is_synced_and_timed_and_nothing_is_left(tmp_path: Path) -> None:
    synced: list[int] = []

    def sync(descriptor: int) -> None:
        written = os.pread(descriptor, probe.SYNC_BYTES, len(synced) * probe.SYNC_BYTES)
        assert len(written) == probe.SYNC_BYTES and written.strip(b"\0"), "the block is written before it is synced"
        synced.append(descriptor)

    ticks = count()
    counts = probe.fdatasync_us(tmp_path, count=3, clock=lambda: next(ticks) / 1000, sync=sync)
    assert len(synced) == 3 and sum(counts) == counts[histogram.bucket_of(1_000)] == 3
    assert list(tmp_path.iterdir()) == []


def test_it_is_synced_as_a_node_does_on_this_platform(tmp_path: Path) -> None:
    """os.fdatasync is not everywhere; the node's own call knows what to do instead."""
    defaults = probe.fdatasync_us.__kwdefaults__
    assert defaults is not None and defaults["sync"] is data_sync
    assert sum(probe.fdatasync_us(tmp_path, count=2)) == 2
    assert "fdatasync of 4 KiB" in probe.machine_facts(tmp_path)["file system"]
