"""Sixty seeds of the default scenarios, each twice with equal hashes, and the rare paths they reach together (rules 30 to 33).

One item is a chunk of seeds, run over all cores. `loggos sim --seeds 0..299` is the same with more seeds.
"""

from __future__ import annotations

import pytest

from loggos.app.simulation.explore import Finding
from loggos.app.simulation.jobs import Task
from loggos.app.simulation.report import Totals
from loggos.app.simulation.scenario import DEFAULT_ROTATION
from tests.sim.seeds import complaints, explored

SEEDS = 60
CHUNK = 10
# What sixty seeds must reach together. Not per seed: rare paths are rare.
REACHED = (
    "leader",
    "steps down",
    "disk full",
    "node stops",
    "damaged data set aside",
    "snapshot",
    "snapshot sent",
    "snapshot installed",
)
FAULTS = (
    "crash",
    "power cut",
    "wipe",
    "pause",
    "clock jump",
    "clock drift",
    "bit rot",
    "lost write",
    "misdirected write",
    "EIO on sync",
    "EIO on write",
    "ENOSPC",
    "slow disk",
    "hung disk",
    "partition",
    "swizzle",
    "packet loss",
    "slow link",
    "half-open",
    "reset",
)


class Sample:
    """The seeds that were run so far; a chunk is run when it is first asked for."""

    def __init__(self) -> None:
        self._chunks: dict[int, list[Finding]] = {}

    def chunk(self, first: int) -> list[Finding]:
        if first not in self._chunks:
            self._chunks[first] = explored([Task(seed) for seed in range(first, first + CHUNK)])
        return self._chunks[first]


@pytest.fixture(scope="module")
def sample() -> Sample:
    return Sample()


@pytest.mark.timeout(900)
@pytest.mark.parametrize("first", range(0, SEEDS, CHUNK), ids=lambda first: f"{first}..{first + CHUNK - 1}")
def test_seeds_pass_twice_with_equal_hashes(sample: Sample, first: int) -> None:
    findings = sample.chunk(first)
    assert len(findings) == CHUNK
    assert all(finding.again is not None for finding in findings)
    failed = complaints(findings)
    assert not failed, "\n" + "\n".join(failed)


@pytest.mark.timeout(900 * SEEDS // CHUNK)
def test_seeds_did_real_work_and_reached_rare_paths(sample: Sample) -> None:
    findings = [finding for first in range(0, SEEDS, CHUNK) for finding in sample.chunk(first)]
    totals = Totals()
    for finding in findings:
        totals.add(finding)
        report = finding.report
        assert report is not None
        minimum = finding.task.played.operations_min
        assert report.simulated_s >= 60 and report.operations >= minimum and sum(report.faults.values()) > 0, report
    assert sorted(totals.scenarios) == sorted(dict.fromkeys(DEFAULT_ROTATION))
    assert [name for name in REACHED if name not in totals.probes] == []
    assert [kind for kind in FAULTS if kind not in totals.faults] == []
    assert totals.acknowledged > 10 * totals.unknown, "most operations are answered even under chaos"
    assert len(dict.fromkeys(finding.report.digest for finding in findings if finding.report)) == SEEDS, "seeds differ"
