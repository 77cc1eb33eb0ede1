"""The latency histogram against exact percentiles."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from loggos.app.bench import histogram


def filled(values: list[int]) -> list[int]:
    counts = [0] * histogram.BUCKETS
    for value in values:
        counts[histogram.bucket_of(value)] += 1
    return counts


@given(st.lists(st.integers(0, 10**8), min_size=1, max_size=300), st.floats(0.001, 1.0))
def test_percentile_is_within_a_64th_of_the_exact_one(values: list[int], quantile: float) -> None:
    exact = sorted(values)[max(1, math.ceil(len(values) * quantile)) - 1]
    found = histogram.percentile(filled(values), quantile)
    assert exact <= found <= exact + exact // 64 + 1


@given(st.integers(0, 2**50))
def test_a_value_lies_in_its_bucket_and_above_the_one_before(value: int) -> None:
    bucket = histogram.bucket_of(value)
    assert value <= histogram.highest_of(bucket)
    assert bucket == 0 or histogram.highest_of(bucket - 1) < value


def test_small_values_are_exact() -> None:
    assert [histogram.highest_of(histogram.bucket_of(value)) for value in range(128)] == list(range(128))


def test_summary_is_in_milliseconds() -> None:
    counts = filled([100] * 98 + [5_000, 1_000_000])
    found = histogram.summary(counts)
    assert found["p50_ms"] == 0.1
    assert 5.0 <= found["p99_ms"] <= 5.08
    assert 1000 <= found["max_ms"] <= 1016


def test_nothing_has_percentile_zero() -> None:
    assert histogram.percentile([0] * histogram.BUCKETS, 0.99) == 0
