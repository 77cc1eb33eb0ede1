"""Numbers out of the lock chapter's story: throughput, waits, gaps. Pure.

Percentiles are by nearest rank (the smallest value that at least that share of all values does not exceed): no interpolation,
so every number shown was really measured.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

from loggos.app.tour.records import Fault, Story

LEADER_FAULTS = ("kill", "pause leader")


class Gap(NamedTuple):
    """The longest silence between accepted increments around a fault, in seconds."""

    fault: Fault
    seconds: float


class Spread(NamedTuple):
    """p50, p99 and the largest of some values; `number` of them."""

    p50: float
    p99: float
    max: float
    number: int


def percentile(values: Sequence[float], share: float) -> float:
    """Nearest rank; 0 for no values. `share`: 0 < share <= 1."""
    assert 0 < share <= 1
    if not values:
        return 0.0
    return sorted(values)[math.ceil(share * len(values)) - 1]


def spread(values: Sequence[float]) -> Spread:
    return Spread(percentile(values, 0.5), percentile(values, 0.99), max(values, default=0.0), len(values))


def moments(story: Story) -> list[float]:
    """When increments were accepted, ascending."""
    return sorted(record.at for record in story.increments)


def waits(story: Story) -> list[float]:
    """Seconds from asking for the lock to having it, of every holding that was used."""
    return [holding.acquired - holding.asked for holding in story.holdings if holding.increments]


def throughput(story: Story) -> float:
    """Accepted increments per second from the first to the last, all faults included."""
    times = moments(story)
    return (len(times) - 1) / (times[-1] - times[0]) if len(times) > 1 and times[-1] > times[0] else 0.0


def longest_gap(times: Sequence[float], begin: float, end: float) -> float:
    """The longest time between two neighbours of `times` (ascending) that overlaps [begin, end]; 0 if there is none."""
    gaps = [later - earlier for earlier, later in pairwise(times) if later > begin and earlier < end]
    return max(gaps, default=0.0)


def gaps(story: Story) -> list[Gap]:
    """One for every fault, in order."""
    times = moments(story)
    return [Gap(fault, longest_gap(times, fault.at, fault.settled)) for fault in story.faults]


def failover_gaps(story: Story) -> list[Gap]:
    """Those of the leader's faults only."""
    return [gap for gap in gaps(story) if gap.fault.kind in LEADER_FAULTS]


def rates(story: Story, step_s: float) -> list[tuple[float, float]]:
    """(seconds since the beginning, increments per second) for every step from the beginning to the last increment."""
    times = moments(story)
    if not times:
        return []
    counts = [0] * (int((times[-1] - story.began) / step_s) + 1)
    for at in times:
        counts[max(0, int((at - story.began) / step_s))] += 1
    return [(number * step_s, count / step_s) for number, count in enumerate(counts)]


def histogram(values: Sequence[float], edges: Sequence[float]) -> list[int]:
    """How many values lie below the first edge, between each two, and at or above the last."""
    counts = [0] * (len(edges) + 1)
    for value in values:
        counts[sum(1 for edge in edges if value >= edge)] += 1
    return counts
