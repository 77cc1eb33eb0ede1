"""The checker finds nothing in the engine, and everything in engines with planted bugs.

The exhaustive instance: 3 acceptors, 2 proposers with one ballot each, 1 slot, every message delivered at most once in
any order or lost, and one crash, of any node at any point, that loses any suffix of the writes under way. Which node
crashes splits it into three runs (144,634 states here, in all).
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from loggos.consensus.engine import Paxos
from loggos.consensus.types import Accept, Accepted, Fetch, Learn, Nack, Prepare, Promise
from tests.consensus import planted
from tests.consensus.explore.explorer import Explorer, Found, Instance


@pytest.mark.parametrize(("crash_node", "states_least"), [(1, 40_000), (2, 45_000), (3, 59_000)], ids=["1", "2", "3"])
def test_the_small_instance_is_safe_in_every_interleaving(crash_node: int, states_least: int) -> None:
    explorer = Explorer(Instance(crash_nodes=(crash_node,)))
    states = explorer.run()
    print(f"crash of node {crash_node}: {states} states, {explorer.transitions} transitions, depth {explorer.depth}")
    assert states >= states_least, "the instance has become smaller than it was: what is no longer explored?"


RETURNS = Instance(stands={1: 2}, crash_nodes=(1,))


def test_a_proposer_that_returns_is_safe_in_every_interleaving() -> None:
    """One proposer with two ballots: what it voted at the first is on its way still when it leads again."""
    assert Explorer(RETURNS).run() >= 7_000


PLANTED = [
    (planted.PromiseBeforeDisk, 3),
    (planted.AcceptedBeforeDisk, 3),
    (planted.PromiseNotSaved, 3),
    (planted.ForgetsAccepted, 3),
    (planted.AnyAccept, 3),
    (planted.FillsOverAccepted, 3),
    (planted.MinorityIsEnough, 3),
    (planted.AloneWithOwnPromise, 3),
    (planted.SelfVoteBeforeDisk, 1),
    (planted.LearnsBeforeOwnDisk, 2),
    (planted.KeepsOwnVotesForAnotherLeader, 3),
    (planted.OwnVoteOfAnyBallot, 3),
]


@pytest.mark.parametrize(("engine", "crash_node"), PLANTED)
def test_it_finds_planted_bugs(engine: type[Paxos], crash_node: int) -> None:
    with pytest.raises(Found, match=r"agreement|two values|counting") as found:
        Explorer(Instance(engine=engine, crash_nodes=(crash_node,))).run()
    assert len(found.value.trace) <= 16, "the trace is a shortest one"


def test_it_finds_that_a_leaders_vote_of_another_term_counts() -> None:
    with pytest.raises(Found, match=r"agreement|counting"):
        Explorer(replace(RETURNS, engine=planted.LeadersVoteOfAnyBallot)).run()


def test_it_finds_that_the_lowest_ballot_wins() -> None:
    """Needs three ballots: the third proposer must choose between two values."""
    with pytest.raises(Found, match=r"agreement|two values|counting"):
        Explorer(Instance(engine=planted.LowestBallotWins, stands={1: 2, 2: 1}, crashes=0)).run()


NEWS = (Prepare, Promise, Accept, Accepted, Nack, Fetch, Learn)


def test_two_slots_with_a_batch_and_commit_news_to_a_depth() -> None:
    """Deeper than the start of two terms: states counted up to depth 9."""
    explorer = Explorer(Instance(slots=2, proposals=1, messages=NEWS, news=True, crashes=0, depth=9))
    states = explorer.run()
    print(f"two slots, depth {explorer.depth}: {states} states")
    assert states >= 7_500


@pytest.mark.full
@pytest.mark.timeout(1800)
def test_repeated_messages() -> None:
    """Every message delivered up to twice, to a stated depth."""
    print(Explorer(Instance(crashes=0, copies=2, depth=10)).run(), "states")
    print(Explorer(Instance(crash_nodes=(3,), copies=2, depth=8)).run(), "states")


@pytest.mark.full
@pytest.mark.timeout(1800)
def test_three_ballots() -> None:
    """Exhaustively without a crash (117,571 states), with one to a stated depth."""
    assert Explorer(Instance(stands={1: 2, 2: 1}, crashes=0)).run() >= 117_000
    print(Explorer(Instance(stands={1: 2, 2: 1}, crash_nodes=(3,), depth=12)).run(), "states")


@pytest.mark.full
@pytest.mark.timeout(1800)
def test_two_slots_and_a_crash_deeper() -> None:
    print(Explorer(Instance(slots=2, proposals=1, messages=NEWS, news=True, crash_nodes=(3,), depth=12)).run(), "states")
