"""A latency histogram that costs well under a microsecond per value: log-linear buckets, as HdrHistogram has them.

Values are whole microseconds. Below 128 each value has its own bucket; above, each power of two is cut in 64, so a percentile is
off by less than 1/64. The hot loop of the load generator repeats `bucket_of` inline; all others call the functions here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

SUB_BITS: Final = 6
BUCKETS: Final = (64 - SUB_BITS) << SUB_BITS  # enough for 2**63 microseconds


def bucket_of(value_us: int) -> int:
    """The bucket that counts `value_us` (≥ 0)."""
    shift = value_us.bit_length() - SUB_BITS - 1
    return value_us if shift <= 0 else (shift << SUB_BITS) + (value_us >> shift)


def highest_of(bucket: int) -> int:
    """The highest value (µs) that falls into a bucket."""
    if bucket < 2 << SUB_BITS:
        return bucket
    shift = (bucket >> SUB_BITS) - 1
    return ((bucket - (shift << SUB_BITS) + 1) << shift) - 1


def percentile(counts: Sequence[int], quantile: float) -> int:
    """The smallest bucket top (µs) at or below which at least `quantile` (0..1] of the values lie; 0 of nothing."""
    assert 0.0 < quantile <= 1.0, quantile
    total = sum(counts)
    wanted = max(1, math.ceil(total * quantile))
    seen = 0
    for bucket, count in enumerate(counts):
        seen += count
        if count and seen >= wanted:
            return highest_of(bucket)
    return 0


def summary(counts: Sequence[int]) -> dict[str, float]:
    """p50, p99, p99.9 and max in milliseconds."""
    names = (("p50_ms", 0.5), ("p99_ms", 0.99), ("p999_ms", 0.999), ("max_ms", 1.0))
    return {name: percentile(counts, quantile) / 1000 for name, quantile in names}
