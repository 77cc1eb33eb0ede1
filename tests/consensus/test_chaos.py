"""Random schedules: the rules hold, and progress follows when everything heals. Engines with planted bugs are found by the
same schedules."""

from __future__ import annotations

import pytest

from loggos.consensus.engine import Paxos
from tests.consensus.chaos import Chaos
from tests.consensus.harness import BrokenRule
from tests.consensus.planted import FOUND_BY_CHAOS

STEPS = 3_000
SCHEDULES_MAX = 500  # to find a planted bug in; most are found in the first few


def schedule(seed: int, **options: object) -> Chaos:
    """One run; a failure names its seed."""
    chaos = Chaos(seed, **options)  # type: ignore[arg-type]
    try:
        chaos.run(STEPS)
    except BrokenRule as error:
        raise AssertionError(f"seed {seed} {options}: {error}") from error
    return chaos


@pytest.mark.parametrize("first", range(0, 100, 25))
def test_three_voters(first: int) -> None:
    runs = [schedule(seed) for seed in range(first, first + 25)]
    assert sum(len(run.world.values) for run in runs) > 25 * 30, "the schedules did no real work"
    events = {name: sum(run.events[name] for run in runs) for name in ("crash", "wipe", "compact", "carry", "cut", "read")}
    assert all(events.values()), events


def test_five_voters_and_a_learner() -> None:
    for seed in range(20):
        schedule(seed, voters=5, learners=1)


def test_a_very_lossy_network() -> None:
    for seed in range(20):
        schedule(seed, loss=0.3, learners=1)


def test_one_seed_is_one_run() -> None:
    one, other = schedule(5), schedule(5)
    assert (one.world.values, one.events, one.world.now) == (other.world.values, other.events, other.world.now)


@pytest.mark.parametrize("engine", FOUND_BY_CHAOS, ids=lambda engine: engine.__name__)
def test_planted_bugs_are_found(engine: type[Paxos]) -> None:
    for seed in range(SCHEDULES_MAX):
        try:
            Chaos(seed, engine=engine).run(STEPS)
        except (AssertionError, KeyError):  # a broken rule, or an invariant of the engine
            return
    raise AssertionError(f"{engine.__name__} was not found in {SCHEDULES_MAX} schedules")


@pytest.mark.full
@pytest.mark.timeout(1800)
def test_many_schedules() -> None:
    for seed in range(1_000, 3_000):
        schedule(seed)
    for seed in range(1_000, 1_500):
        schedule(seed, voters=5, learners=1)
