"""The simulator finds what is broken, and nothing where nothing is. `python -m tests.sim.planted` is the long form."""

from __future__ import annotations

import pytest

from loggos.app.build import Parts
from tests.sim.planted import BUGS
from tests.sim.planted.hunt import base_seed, hunt, run

# Cheap to find, one of each kind: consensus, storage beside the log, sessions, apply, watches, reads.
CHEAP = (
    "minority-chooses", "double-apply-after-restart", "touches-not-relayed", "clock-read-at-apply", "multi-fires",
    "sync-is-local",
)  # fmt: skip
SEEDS_SMOKE = 8
SEEDS_FULL = 200


@pytest.mark.parametrize("name", CHEAP)
def test_a_cheap_bug_is_found(name: str) -> None:
    assert hunt(BUGS[name], base_seed(), SEEDS_SMOKE).seed is not None


def test_the_unplanted_system_passes_the_first_seed() -> None:
    assert run(base_seed(), Parts()).violations == []


@pytest.mark.full
@pytest.mark.timeout(3_600)
@pytest.mark.parametrize("name", list(BUGS))
def test_every_bug_is_found(name: str) -> None:
    assert hunt(BUGS[name], base_seed(), SEEDS_FULL).seed is not None


@pytest.mark.full
@pytest.mark.timeout(3_600)
def test_the_unplanted_system_passes_the_same_seeds() -> None:
    first = base_seed()
    broken = {seed: report.violations for seed in range(first, first + 24) if (report := run(seed, Parts())).violations}
    assert broken == {}


def test_names_and_expectations() -> None:
    assert len(BUGS) >= 20
    for bug in BUGS.values():
        assert bug.expected and "real-work" not in bug.expected, bug.name
