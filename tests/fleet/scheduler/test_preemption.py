"""Who must go for whom: the fewest, the lowest, and nobody in vain; held against a search through all sets."""

from __future__ import annotations

from itertools import combinations

from hypothesis import given
from hypothesis import strategies as st

from loggos.fleet.scheduler.bins import Bin
from loggos.fleet.scheduler.events import JobSubmitted, NodeJoined
from loggos.fleet.scheduler.fleet import JobState
from loggos.fleet.scheduler.plan import Evicted, Placed
from loggos.fleet.scheduler.preemption import Evictable, victims
from loggos.fleet.scheduler.scheduler import Policy, Scheduler
from loggos.fleet.scheduler.values import TaskId
from tests.fleet.worlds import job, jobs, node, nodes


def crowd(data: st.DataObject, count: int) -> Scheduler:
    """A fleet with jobs of all priorities that came lowest first, so that the highest have to look for room."""
    scheduler = Scheduler(Policy("worst_fit", backfill=False))
    new = data.draw(st.lists(nodes, min_size=1, max_size=3, unique_by=lambda place: place.name))
    scheduler.step([NodeJoined(place) for place in new], 0.0)
    wanted = data.draw(st.lists(jobs(plain=True), min_size=3, max_size=count, unique_by=lambda one: one.name))
    for now, one in enumerate(sorted(wanted, key=lambda one: one.priority)):
        scheduler.step([JobSubmitted(one)], float(now))
    return scheduler


def removable(scheduler: Scheduler, state: JobState, bin_: Bin) -> list[TaskId]:
    of = scheduler.fleet.jobs
    return [t for t in bin_.tasks if of[t.job].job.preemptible and of[t.job].job.priority < state.job.priority]


def fits_without(scheduler: Scheduler, state: JobState, bin_: Bin, gone: tuple[TaskId, ...]) -> bool:
    free = bin_.free
    for task in gone:
        free = free.plus(scheduler.fleet.jobs[task.job].shape, bin_.tasks[task])
    return state.shape.may_use(bin_.node) and bool(free.options(state.shape))


@given(st.data())
def test_no_priority_inversion(data: st.DataObject) -> None:
    """Nobody waits for what tasks of lower priority hold."""
    scheduler = crowd(data, 10)
    for state in scheduler.fleet.waiting.values():
        for bin_ in scheduler.fleet.present():
            assert not fits_without(scheduler, state, bin_, tuple(removable(scheduler, state, bin_)))


@given(st.data())
def test_victims_are_as_few_and_as_low_as_can_be(data: st.DataObject) -> None:
    scheduler = crowd(data, 7)
    scheduler.policy = Policy(preempt=False, backfill=False)
    urgent = data.draw(jobs(plain=True))
    scheduler.step([JobSubmitted(job("urgent", priority=9))], 99.0)
    state = JobState(job("new", priority=9), scheduler.fleet.shape(urgent.request), 1_000)
    if any(bin_.free.options(state.shape) for bin_ in scheduler.fleet.present() if state.shape.may_use(bin_.node)):
        return
    sets = [
        (len(gone), max(scheduler.fleet.jobs[task.job].job.priority for task in gone))
        for bin_ in scheduler.fleet.present()
        for count in range(1, len(bin_.tasks) + 1)
        for gone in combinations(removable(scheduler, state, bin_), count)
        if fits_without(scheduler, state, bin_, gone)
    ]
    where = Evictable(scheduler.fleet, state.shape, 9).bins()
    found = victims(scheduler.fleet, state, None, 1_000, where)
    assert (found is None) == (not sets)
    if found is not None:
        assert (found.size, found.priority) == min(sets)


def test_one_large_victim_rather_than_two_small_ones() -> None:
    scheduler = Scheduler(Policy("first_fit"))
    wanted = [job("small", 2, 0, 2), job("large", 4, 0)]
    scheduler.step([NodeJoined(node("n", 8)), *map(JobSubmitted, wanted)], 0.0)
    plan = scheduler.step([JobSubmitted(job("new", 3, 0, priority=5))], 1.0)
    assert [type(decision) for decision in plan.decisions] == [Evicted, Placed]
    assert str(plan.decisions[0]) == "large/0 (priority 0) leaves n for new (priority 5); no fewer than 1 would do"


def test_equal_priority_is_never_evicted() -> None:
    scheduler = Scheduler()
    scheduler.step([NodeJoined(node("n", 4)), JobSubmitted(job("old", 4, priority=5))], 0.0)
    assert not scheduler.step([JobSubmitted(job("new", 4, priority=5))], 1.0).decisions


def test_a_gang_goes_whole_and_counts_as_many() -> None:
    """Two single tasks rather than a gang of three; where only the gang can go, all of it does."""
    scheduler = Scheduler(Policy("first_fit"))
    new = [NodeJoined(node("a", 4)), NodeJoined(node("b", 4))]
    gang = job("gang", 2, 0, 3, gang=3)
    scheduler.step([*new, JobSubmitted(gang), JobSubmitted(job("single", 1, 0, 2))], 0.0)
    plan = scheduler.step([JobSubmitted(job("first", 2, 0, priority=5))], 1.0)
    assert [decision.task.job for decision in plan.evicted] == ["single", "single"]
    plan = scheduler.step([JobSubmitted(job("second", 4, 0, priority=5))], 2.0)
    assert [decision.task.job for decision in plan.evicted] == ["gang"] * 3


def test_a_gang_that_cannot_start_whole_evicts_nobody() -> None:
    scheduler = Scheduler()
    scheduler.step([NodeJoined(node("n", 4)), JobSubmitted(job("low", 2, 0, 2))], 0.0)
    assert not scheduler.step([JobSubmitted(job("gang", 2, 0, 3, gang=3, priority=5))], 1.0).decisions
    assert len(scheduler.fleet.jobs["low"].running) == 2 and not scheduler.fleet.jobs["low"].down
    assert len(scheduler.step([JobSubmitted(job("pair", 2, 0, 2, gang=2, priority=5))], 2.0).evicted) == 2


def test_budgets() -> None:
    """No more of a job than it may lose, no more per round than the policy says."""
    scheduler = Scheduler(Policy(evictions_max=2))
    wanted = [job("kept", 1, 0, 3, disruptions=1), job("free", 1, 0, 3)]
    scheduler.step([NodeJoined(node("n", 6)), *map(JobSubmitted, wanted)], 0.0)
    plans = [scheduler.step([JobSubmitted(job("new", 1, 0, 6, priority=5))], 1.0)]
    plans += [scheduler.step([], now) for now in (2.0, 3.0)]
    lost = [[decision.task.job for decision in plan.evicted] for plan in plans]
    assert [len(one) for one in lost] == [2, 2, 0]
    assert sum(one.count("kept") for one in lost) == 1
