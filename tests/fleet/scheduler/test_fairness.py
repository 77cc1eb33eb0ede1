"""Dominant-resource fairness: the paper's example and its properties, each within one task, since tasks are not divisible here.

Source: Ghodsi et al., "Dominant Resource Fairness", NSDI 2011, sections 3 and 4.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loggos.base.errors import ConfigError, InputError
from loggos.fleet.scheduler.events import JobSubmitted, NodeJoined, TaskEnded
from loggos.fleet.scheduler.scheduler import Policy, Scheduler
from loggos.fleet.scheduler.values import Job, Node, Queue, Request, TaskId
from tests.fleet.worlds import job, node

Demand = tuple[int, int]
CAPACITY: Demand = (60, 90)

demands = st.tuples(st.integers(0, 8), st.integers(0, 8)).filter(any)


def allocate(wanted: Sequence[tuple[Demand, int]], capacity: Demand = CAPACITY, weights: Sequence[int] = ()) -> list[int]:
    """Tasks that each user gets of one big node, who asks for so many of such a demand."""
    queues = [Queue(f"q{i}", weights[i] if weights else 1) for i in range(len(wanted))]
    scheduler = Scheduler(Policy("first_fit"), queues)
    batch = [JobSubmitted(job(f"j{i}", *demand, count, queue=f"q{i}")) for i, (demand, count) in enumerate(wanted)]
    scheduler.step([NodeJoined(node("big", *capacity)), *batch], 0.0)
    return [len(scheduler.fleet.jobs[f"j{i}"].running) for i in range(len(wanted))]


def dominant(demand: Demand, tasks: int, capacity: Demand = CAPACITY) -> Fraction:
    return max(Fraction(amount * tasks, whole) for amount, whole in zip(demand, capacity, strict=True))


def test_the_example_of_the_paper() -> None:
    """9 CPUs and 18 GB; A asks for <1, 4>, B for <3, 1>: 3 tasks and 2, both with a dominant share of 2/3."""
    scheduler = Scheduler(Policy("first_fit"), [Queue("A"), Queue("B")])
    wanted = [JobSubmitted(job("a", 1, 4, 100, queue="A")), JobSubmitted(job("b", 3, 1, 100, queue="B"))]
    plan = scheduler.step([NodeJoined(node("n", 9, 18)), *wanted], 0.0)
    assert [placed.task.job for placed in plan.placed] == ["a", "b", "a", "b", "a"]
    shares, capacity = scheduler.fleet.queues.shares, scheduler.fleet.queues.capacity
    assert [shares[name].dominant(capacity) for name in "AB"] == [2 / 3, 2 / 3]


def test_one_resource_is_max_min() -> None:
    assert allocate([((1, 0), 100), ((1, 0), 5), ((1, 0), 100)], (35, 1)) == [15, 5, 15]


def test_weights() -> None:
    assert allocate([((1, 0), 100), ((1, 0), 100)], (30, 1), (2, 1)) == [20, 10]


@given(st.lists(st.tuples(demands, st.integers(1, 100)), min_size=2, max_size=4))
def test_sharing_incentive(wanted: list[tuple[Demand, int]]) -> None:
    """Nobody who wants more has less than the n-th part of the fleet would give, but for one task."""
    users = len(wanted)
    for (demand, count), tasks in zip(wanted, allocate(wanted), strict=True):
        assert tasks == count or dominant(demand, tasks + 1) >= Fraction(1, users) or tasks >= own_part(demand, users) - 1


def own_part(demand: Demand, users: int) -> int:
    """Tasks that fit into the n-th part of the fleet."""
    return min(whole // users // amount for amount, whole in zip(demand, CAPACITY, strict=True) if amount)


@given(st.lists(demands, min_size=2, max_size=4))
def test_nobody_envies(wanted: list[Demand]) -> None:
    """Nobody could run more than one task more with what another one has but for one task."""
    tasks = allocate([(demand, 1_000) for demand in wanted])
    for mine, own in zip(wanted, tasks, strict=True):
        for other, theirs in zip(wanted, tasks, strict=True):
            with_theirs = min(max(0, theirs - 1) * has // needs for has, needs in zip(other, mine, strict=True) if needs)
            assert with_theirs <= own + 1


@given(st.lists(st.tuples(demands, st.integers(1, 30)), min_size=1, max_size=4))
def test_pareto(wanted: list[tuple[Demand, int]]) -> None:
    """Nobody can have a task more without taking from another: what waits does not fit what is left."""
    tasks = allocate(wanted)
    left = [whole - sum(d[r] * n for (d, _), n in zip(wanted, tasks, strict=True)) for r, whole in enumerate(CAPACITY)]
    assert min(left) >= 0
    for (demand, count), got in zip(wanted, tasks, strict=True):
        assert got == count or any(amount > rest for amount, rest in zip(demand, left, strict=True))


@given(st.lists(demands, min_size=2, max_size=4), st.tuples(st.integers(0, 4), st.integers(0, 4)))
def test_lying_does_not_pay(wanted: list[Demand], more: Demand) -> None:
    """Who asks for more per task than needed runs at most one task more than with the truth."""
    honest = allocate([(demand, 1_000) for demand in wanted])[0]
    lie = (wanted[0][0] + more[0], wanted[0][1] + more[1])
    tasks = allocate([(lie, 1_000), *((demand, 1_000) for demand in wanted[1:])])[0]
    useful = min(lie[r] * tasks // need for r, need in enumerate(wanted[0]) if need)
    assert useful <= honest + 1


def test_a_tree_of_queues() -> None:
    """Halves for the parents first, then their children share: 12, and 6 with 6."""
    queues = [Queue("x"), Queue("y"), Queue("y1", parent="y"), Queue("y2", parent="y")]
    scheduler = Scheduler(Policy("first_fit"), queues)
    wanted = [JobSubmitted(job(name, 1, 0, 100, queue=name)) for name in ("x", "y1", "y2")]
    scheduler.step([NodeJoined(node("n", 24, 1)), *wanted], 0.0)
    assert [len(scheduler.fleet.jobs[name].running) for name in ("x", "y1", "y2")] == [12, 6, 6]


def test_a_guarantee_goes_first_and_a_limit_is_never_passed() -> None:
    queues = [Queue("a", limit={"cpu": 3}), Queue("b", guaranteed={"cpu": 6}), Queue("c")]
    scheduler = Scheduler(Policy("first_fit"), queues)
    wanted = [JobSubmitted(job(f"j{name}", 1, 0, 100, queue=name)) for name in "abc"]
    plan = scheduler.step([NodeJoined(node("n", 12, 1)), *wanted], 0.0)
    assert [placed.task.job for placed in plan.placed][:6] == ["jb"] * 6
    assert [len(scheduler.fleet.jobs[f"j{name}"].running) for name in "abc"] == [3, 6, 3]
    why = next(pending.why for pending in plan.pending if pending.job == "ja")
    assert str(why) == "queue a would use 4 of 3 cpu. It starts when tasks of the queue end, or when the limit is raised."


def test_a_guarantee_is_not_preempted_by_others() -> None:
    scheduler = Scheduler(Policy("first_fit"), [Queue("a", guaranteed={"cpu": 2}), Queue("b")])
    low = JobSubmitted(job("low", 1, 0, 4, queue="a"))
    scheduler.step([NodeJoined(node("n", 4, 1)), low], 0.0)
    plan = scheduler.step([JobSubmitted(job("high", 1, 0, 4, queue="b", priority=9))], 1.0)
    assert len(plan.evicted) == 2 and len(scheduler.fleet.jobs["low"].running) == 2


def test_who_got_less_is_served_when_something_ends() -> None:
    scheduler = Scheduler(Policy("first_fit"), [Queue("a"), Queue("b")])
    scheduler.step([NodeJoined(node("n", 4, 1)), JobSubmitted(job("ja", 1, 0, 9, queue="a"))], 0.0)
    plan = scheduler.step([JobSubmitted(job("jb", 1, 0, 9, queue="b")), TaskEnded(TaskId("ja", 0))], 1.0)
    assert [placed.task.job for placed in plan.placed] == ["jb"]


@pytest.mark.parametrize(
    ("queues", "words"),
    [
        ([Queue("a"), Queue("a")], "queue a is there twice"),
        ([Queue("a", parent="b"), Queue("b")], "list parents before their children"),
    ],
)
def test_bad_queues(queues: list[Queue], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        Scheduler(queues=queues)


def test_bad_queues_of_jobs() -> None:
    scheduler = Scheduler(queues=[Queue("a"), Queue("b", parent="a")])
    with pytest.raises(InputError, match="no queue c; there are a, b"):
        scheduler.step([JobSubmitted(job("j", queue="c"))], 0.0)
    with pytest.raises(InputError, match="queue a holds queues, not jobs: use b"):
        scheduler.step([JobSubmitted(job("j", queue="a"))], 0.0)


def test_gpus_count_as_one_resource() -> None:
    """Tasks that take an eighth of the GPUs against tasks that take a twentieth of the CPUs: 6/8 and 14/20."""
    scheduler = Scheduler(Policy("first_fit"), [Queue("a"), Queue("b")])
    gpu = Job("g", Request({"cpu": 1}, 1, 500), 100, "a")
    scheduler.step([NodeJoined(Node("n", {"cpu": 20}, 4)), JobSubmitted(gpu), JobSubmitted(job("c", 1, 0, 100, queue="b"))], 0.0)
    assert [len(scheduler.fleet.jobs[name].running) for name in ("g", "c")] == [6, 14]
