"""Writes, conditional writes and reads behind a sync are linearizable: searched for on short histories under faults."""

from __future__ import annotations

import pytest

from loggos.app.simulation.jobs import Crash, Processes
from loggos.check.linearizable import Verdict
from tests.sim.registers import KEYS, play, play_careless

SEEDS = range(5)


@pytest.fixture(scope="module")
def processes() -> Processes:
    return Processes()


def test_registers_are_linearizable_under_elections(processes: Processes) -> None:
    kinds: dict[tuple[str, bool], int] = {}
    for result in processes.run([(play, (seed,)) for seed in SEEDS]):
        assert not isinstance(result, Crash), result.text
        findings, others, calls = result
        assert not others
        assert [finding.key for finding in findings if finding.verdict is not Verdict.LEGAL] == [], findings
        assert sorted(finding.key for finding in findings) == list(KEYS)
        for call in calls:
            kind = (call.action, call.returned_at is not None)
            kinds[kind] = kinds.get(kind, 0) + 1
    assert min(kinds["read", True], kinds["write", True], kinds["cas", True]) > 100
    assert kinds.get(("write", False), 0) + kinds.get(("cas", False), 0) > 0, "some outcomes are unknown"


def test_a_sync_that_asks_nobody_is_found(processes: Processes) -> None:
    """The search can fail: without the barrier a follower's reads are stale."""
    for seed in SEEDS:
        result = processes.call(play_careless, seed)
        assert not isinstance(result, Crash), result.text
        if any(finding.verdict is Verdict.ILLEGAL for finding in result[0]):
            return
    pytest.fail("no seed showed a stale read")
