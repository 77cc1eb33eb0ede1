"""A real asyncio client, unmodified, keeps its locks and counts through the loss of leaders, and the same way every time."""

from __future__ import annotations

from itertools import pairwise

import pytest

from loggos.app.simulation.jobs import Crash, Processes
from tests.sim.locking import ROUNDS, WORKERS, Played, play


@pytest.fixture(scope="module")
def runs() -> list[Played]:
    """Seeds 1 and 2, each in a fresh process; then seed 1 once more behind seed 2."""
    processes = Processes()
    results = [processes.call(play, 1), *processes.run([(play, (2,)), (play, (1,))])]
    for result in results:
        assert not isinstance(result, Crash), result.text
    return results


def test_locks_exclude_each_other_while_leaders_die(runs: list[Played]) -> None:
    for played in runs:
        assert not played.failures
        assert len(played.leaders) == 2
        assert len(played.holds) == played.sure >= ROUNDS * WORKERS
        holds = sorted(played.holds)
        assert all(one[1] <= two[0] for one, two in pairwise(holds)), "nobody holds the lock before the one before has let go"
        assert all(one[3] < two[3] for one, two in pairwise(holds)), "sequence numbers rise with every holder"
        assert len(dict.fromkeys(hold[2] for hold in holds)) == WORKERS


def test_no_increment_is_lost_and_nothing_is_left_behind(runs: list[Played]) -> None:
    for played in runs:
        assert played.sure <= played.value <= played.sure + played.unsure
        assert played.left == []


def test_the_same_seed_plays_the_same(runs: list[Played]) -> None:
    first, other, again = runs
    assert first == again
    assert first.digest != other.digest
