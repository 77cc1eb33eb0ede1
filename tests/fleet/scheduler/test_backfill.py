"""EASY backfilling: what was promised to the head is kept, whoever goes ahead of it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from loggos.fleet.scheduler.events import Event, JobSubmitted, NodeJoined, TaskEnded
from loggos.fleet.scheduler.plan import Placed
from loggos.fleet.scheduler.scheduler import Policy, Scheduler
from loggos.fleet.scheduler.values import Job, Node, Request
from tests.fleet.worlds import job, node

batch_requests = st.one_of(
    st.builds(lambda cpu: Request({"cpu": cpu}), st.integers(1, 8)),
    st.builds(lambda milli: Request({"cpu": 1}, 1, milli), st.sampled_from((300, 500, 700))),
    st.builds(lambda gpus: Request({"cpu": 1}, gpus), st.integers(1, 2)),
)


@st.composite
def batches(draw: st.DrawFn) -> list[tuple[Job, float, float]]:
    """Jobs with the time they come, and how long each of their tasks really takes: at most what they say, if they say."""
    found = []
    for number in range(draw(st.integers(4, 12))):
        count = draw(st.integers(1, 3))
        says = draw(st.sampled_from((4.0, 10.0, 30.0, None)))
        takes = draw(st.integers(1, int(says) if says else 40))
        gang = count if draw(st.booleans()) else 0
        one = Job(f"j{number}", draw(batch_requests), count, gang=gang, runtime_s=says)
        found.append((one, float(draw(st.integers(0, 20))), float(takes)))
    return sorted(found, key=lambda item: item[1])


sizes_of_nodes = st.lists(st.tuples(st.integers(4, 8), st.integers(0, 2)), min_size=1, max_size=3)


@given(sizes_of_nodes, batches())
def test_a_promise_is_kept(sizes: list[tuple[int, int]], wanted: list[tuple[Job, float, float]]) -> None:
    """Who holds a promise is promised nothing later afterwards, and starts by then."""
    scheduler = Scheduler(Policy("best_fit"))
    scheduler.step([NodeJoined(Node(f"n{i}", {"cpu": cpu}, gpus)) for i, (cpu, gpus) in enumerate(sizes)], 0.0)
    takes = {one.name: seconds for one, _, seconds in wanted}
    coming = list(wanted)
    ends: list[tuple[float, TaskEnded]] = []
    holder, promised_s, waits = "", 0.0, 0
    while coming or ends:
        now = min([at for at, _ in ends[:1]] + [at for _, at, _ in coming[:1]])
        happened: list[Event] = []
        while ends and ends[0][0] <= now:
            happened.append(ends.pop(0)[1])
        while coming and coming[0][1] <= now:
            happened.append(JobSubmitted(coming.pop(0)[0]))
        plan = scheduler.step(happened, now)
        for placed in plan.placed:
            ends.append((now + takes[placed.task.job], TaskEnded(placed.task)))
            if placed.task.job == holder and waits:
                assert now <= promised_s
                waits -= 1
        ends.sort(key=lambda item: (item[0], item[1].task))
        if plan.reserved is None:
            assert not waits, f"the promise to {holder} is gone"
            continue
        if waits:
            assert plan.reserved.job == holder and plan.reserved.start_s <= promised_s
        holder, promised_s, waits = plan.reserved.job, plan.reserved.start_s, plan.reserved.tasks


def test_the_short_and_the_narrow_go_ahead_the_long_and_wide_do_not() -> None:
    """A head of 8 waits until 10 s. What ends by then goes ahead, and so does what fits beside it; the rest waits."""
    scheduler = Scheduler(Policy("first_fit"))
    new = [NodeJoined(node("a", 8)), NodeJoined(node("b", 3))]
    plan = scheduler.step([*new, JobSubmitted(job("running", 4, 0, runtime_s=10.0))], 0.0)
    wanted = [
        job("head", 8, 0, runtime_s=5.0),
        job("long", 4, 0, runtime_s=11.0),
        job("short", 4, 0, runtime_s=10.0),
        job("endless", 2, 0),
    ]
    plan = scheduler.step(map(JobSubmitted, wanted), 0.0)
    assert [str(placed.task) for placed in plan.placed] == ["short/0", "endless/0"]
    assert plan.placed[1].placement.node == "b"
    assert plan.reserved is not None and str(plan.reserved) == "head is promised a by 10 s for 1 tasks"
    assert [pending.job for pending in plan.pending] == ["head", "long"]
    assert "1 of 2 nodes have room for a task, but it is promised to head" in str(plan.pending[1].why)
    ended = [TaskEnded(decision.task) for decision in plan.decisions if isinstance(decision, Placed)][:1]
    running = TaskEnded(next(iter(scheduler.fleet.jobs["running"].job.tasks())))
    assert [str(placed.task) for placed in scheduler.step([*ended, running], 10.0).placed] == ["head/0"]


def test_without_run_times_nothing_is_promised() -> None:
    """What has no end in sight cannot be waited for: whoever fits goes ahead."""
    scheduler = Scheduler(Policy("first_fit"))
    wanted = [job("service", 4, 0), job("head", 8, 0), job("small", 4, 0)]
    plan = scheduler.step([NodeJoined(node("a", 8)), *map(JobSubmitted, wanted)], 0.0)
    assert [str(placed.task) for placed in plan.placed] == ["service/0", "small/0"] and plan.reserved is None
