"""Scenarios that are not in the default rotation's sample by name: each passes, and is what it says it is."""

from __future__ import annotations

import pytest

from loggos.app.simulation.jobs import Task
from loggos.app.simulation.scenario import SCENARIOS, RunReport
from tests.sim.seeds import complaints, explored


def played(seed: int, scenario: str) -> RunReport:
    findings = explored([Task(seed, SCENARIOS[scenario])], once=True)
    failed = complaints(findings)
    assert not failed, "\n" + "\n".join(failed)
    report = findings[0].report
    assert report is not None
    return report


@pytest.mark.timeout(300)
def test_calm_answers_almost_everything() -> None:
    report = played(1_000, "calm")
    assert report.unknown <= report.operations // 50, "only clients that leave by themselves lose answers"
    assert not report.stops
    assert set(report.faults) <= {"pause", "crash"} and report.faults["crash"] == 1, (
        "stalls, and the leader's end after the chaos"
    )


@pytest.mark.timeout(300)
def test_three_regions_far_apart_make_progress_under_chaos() -> None:
    report = played(1_000, "regions")
    calm = played(1_000, "calm")
    assert report.operations < calm.operations / 2, "40 to 120 ms between nodes slow every write"
    assert sum(report.faults.values()) > 5


@pytest.mark.timeout(300)
def test_five_nodes_take_faults_on_two_at_a_time() -> None:
    report = played(1_000, "five")
    hosts = {str(step.args.get("host")) for step in report.schedule.steps}
    assert {"n4", "n5"} & hosts
    assert report.acknowledged > report.unknown
