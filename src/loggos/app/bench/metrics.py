"""Reads what a server says of its own journal syncs: ZooKeeper's `mntr`, Loggos's OpenMetrics page.

Pure: text in, figures in milliseconds out. A server that does not tell gives None.
"""

from __future__ import annotations

import re
from typing import Final

BUCKET: Final = re.compile(r'^(?P<name>\w*fdatasync\w*)_bucket\{(?P<labels>[^}]*)\}\s+(?P<count>[0-9.eE+]+)')
EDGE: Final = re.compile(r'le="(?P<edge>[^"]+)"')


def fsync_of_mntr(text: str) -> dict[str, float] | None:
    """Average and worst log sync in ms out of `mntr`; None if it says nothing of it."""
    pairs = dict(line.split("\t", 1) for line in text.splitlines() if "\t" in line)
    keys = {"mean_ms": "zk_avg_fsynctime", "max_ms": "zk_max_fsynctime", "count": "zk_cnt_fsynctime"}
    if any(key not in pairs for key in keys.values()):
        return None
    return {name: float(pairs[key]) for name, key in keys.items()}


def fsync_of_openmetrics(text: str) -> dict[str, float] | None:
    """p50, p99 (upper bucket edges, ms) and count of the histogram of seconds whose name holds `fdatasync`; None without one."""
    buckets: dict[float, float] = {}
    for line in text.splitlines():
        match, edge = BUCKET.match(line), EDGE.search(line)
        if match and edge:
            key = float(edge["edge"])
            buckets[key] = buckets.get(key, 0.0) + float(match["count"])
    total = buckets.get(float("inf"), 0.0)
    if not total:
        return None
    edges = sorted(buckets)
    return {
        "p50_ms": next(edge for edge in edges if buckets[edge] >= total * 0.5) * 1000,
        "p99_ms": next(edge for edge in edges if buckets[edge] >= total * 0.99) * 1000,
        "count": total,
    }
