"""Percentiles by nearest rank, gaps around faults, throughput in steps."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loggos.app.tour import figures
from loggos.draw import charts
from tests.tour.stories import changed, story


def test_percentiles_are_measured_values() -> None:
    assert figures.percentile([], 0.5) == 0.0
    assert figures.percentile([3.0, 1.0, 2.0], 0.5) == 2.0
    assert figures.percentile([float(n) for n in range(1, 101)], 0.99) == 99.0
    assert figures.spread([5.0, 1.0]) == (1.0, 5.0, 5.0, 2)


def test_the_longest_gap_is_that_around_the_fault() -> None:
    times = [1.0, 2.0, 2.5, 6.0, 6.1, 20.0]
    assert figures.longest_gap(times, 3.0, 6.05) == 3.5
    assert figures.longest_gap(times, 1.1, 2.2) == 1.0
    assert figures.longest_gap([], 0.0, 9.0) == 0.0


def test_fail_over_counts_leader_faults_only() -> None:
    assert [gap.fault.kind for gap in figures.failover_gaps(story())] == ["kill", "kill", "pause leader"]
    assert [gap.seconds for gap in figures.gaps(story())] == [1.0] * 4


def test_throughput_is_over_the_whole_time() -> None:
    assert figures.throughput(story()) == pytest.approx(1.0)


@given(st.lists(st.floats(0, 100), min_size=1), st.sampled_from([0.1, 0.25, 1.0]))
def test_every_increment_is_in_one_step(times: list[float], step: float) -> None:
    told = story()
    told.increments = [changed(record, at=at) for record, at in zip(told.increments * 9, times, strict=False)]
    assert sum(rate * step for _, rate in figures.rates(told, step)) == pytest.approx(len(told.increments))


@given(st.lists(st.floats(0, 10_000)))
def test_every_value_is_in_one_column(values: list[float]) -> None:
    counts = figures.histogram(values, (5, 10, 100))
    assert sum(counts) == len(values)
    assert counts[0] == sum(value < 5 for value in values)
    assert counts[3] == sum(value >= 100 for value in values)


@given(st.floats(0.001, 1e6))
def test_ticks_are_few_and_reach_the_maximum(maximum: float) -> None:
    found = charts.ticks(maximum)
    assert found[0] == 0 and found[-1] >= maximum * 0.999999
    assert 2 <= len(found) <= 6
