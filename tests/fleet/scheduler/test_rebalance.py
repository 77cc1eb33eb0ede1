"""Moves: never more than a job allows, each worth its while, and an end to them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from loggos.fleet.scheduler import scores
from loggos.fleet.scheduler.events import Event, JobSubmitted, JobWithdrawn, NodeJoined, NodeOpened
from loggos.fleet.scheduler.scheduler import Policy, Scheduler
from tests.fleet.worlds import Ledger, job, jobs, node, nodes

POTENTIALS = ("spread", "fgd", "fill", "fgd_fill")


def level(scheduler: Scheduler) -> float:
    score = scheduler.score
    assert isinstance(score, scores.Potential)
    return sum(score.potential(bin_, bin_.free) for bin_ in scheduler.fleet.present())


@given(st.data(), st.sampled_from(POTENTIALS))
def test_moves_pay_keep_to_the_budget_and_end(data: st.DataObject, score: str) -> None:
    new = data.draw(st.lists(nodes, min_size=2, max_size=5, unique_by=lambda place: place.name))
    wanted = data.draw(st.lists(jobs(), min_size=3, max_size=8, unique_by=lambda one: one.name))
    scheduler, ledger = Scheduler(Policy(score, workload=tuple(wanted))), Ledger()
    batch: list[Event] = [*map(NodeJoined, new), *map(JobSubmitted, wanted)]
    plan = scheduler.step(batch, 0.0)
    names = [one.name for one in wanted]
    gone = [JobWithdrawn(name) for name in data.draw(st.lists(st.sampled_from(names), unique=True, max_size=4))]
    closed = [NodeOpened(new[0].name, False)] if data.draw(st.booleans()) else []
    for event in batch:
        ledger.happen(event)
    ledger.follow(plan)
    changes: list[Event] = [*gone, *closed]
    for change in changes:
        scheduler.fleet.apply(change)
        ledger.happen(change)
    for _ in range(100):
        if not one_round(scheduler, ledger):
            return
    raise AssertionError("the moves do not end")


def one_round(scheduler: Scheduler, ledger: Ledger) -> int:
    """Rebalance once, check what was done, and give the number of moves."""
    before, down = level(scheduler), {name: len(state.down) for name, state in scheduler.fleet.jobs.items()}
    moves = scheduler.rebalance(1.0, 3, 1e-3)
    ledger.follow(moves)
    assert len(moves.moved) <= 3
    for name, state in scheduler.fleet.jobs.items():
        count = sum(move.task.job == name for move in moves.moved)
        assert state.job.disruptions is None or count == 0 or count + down[name] <= state.job.disruptions
        assert count == 0 or not state.job.gang
    gains = [move.gain for move in moves.moved if move.gain is not None]
    assert all(gain >= 1e-3 for gain in gains)
    if len(gains) == len(moves.moved):
        assert abs(before - sum(gains) - level(scheduler)) < 1e-3
    return len(moves.moved)


def test_a_new_node_takes_its_share() -> None:
    scheduler = Scheduler(Policy("worst_fit"))
    scheduler.step([NodeJoined(node("a")), JobSubmitted(job("j", 1, 1, 8))], 0.0)
    scheduler.step([NodeJoined(node("b"))], 1.0)
    while scheduler.rebalance(2.0, 2).moved:
        pass
    assert [len(scheduler.fleet.by_name[name].tasks) for name in "ab"] == [4, 4]


def test_a_closed_node_is_emptied_a_few_at_a_time() -> None:
    scheduler = Scheduler(Policy("first_fit"))
    wanted = [job("j", 1, 1, 4, disruptions=1), job("kept", 1, 1, disruptions=0)]
    scheduler.step([NodeJoined(node("a")), NodeJoined(node("b")), *map(JobSubmitted, wanted)], 0.0)
    scheduler.step([NodeOpened("a", False)], 1.0)
    moved = [[str(move) for move in scheduler.rebalance(float(now)).moved] for now in range(1, 6)]
    assert [len(one) for one in moved] == [1, 1, 1, 1, 0]
    assert moved[0] == ["j/0 moves from a to b: its node takes no tasks"]
    assert list(map(str, scheduler.fleet.by_name["a"].tasks)) == ["kept/0"]
