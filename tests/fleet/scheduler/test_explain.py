"""Why pending, why here: counted by hand on small fleets."""

from __future__ import annotations

import pytest

from loggos.base.errors import InputError
from loggos.fleet.scheduler.events import Event, JobSubmitted, JobWithdrawn, NodeJoined, NodeLeft, TaskEnded
from loggos.fleet.scheduler.plan import Failure
from loggos.fleet.scheduler.scheduler import Policy, Scheduler
from loggos.fleet.scheduler.values import Affinity, Constraint, Job, Match, Node, Request, Spread, TaskId
from tests.fleet.worlds import job, node


def test_why_pending_counts_every_test() -> None:
    scheduler = Scheduler()
    tainted = Node("d", {"cpu": 9}, 0, {"zone": "x"}, ("gpu",))
    fleet = [node("a", 4, zone="x"), node("b", 6, zone="x"), node("c", 8, zone="y"), tainted]
    zone = Constraint("zone", Match.IS, ("x",))
    plan = scheduler.step([*map(NodeJoined, fleet), JobSubmitted(job("j", 7, 0, constraints=(zone,)))], 0.0)
    why = plan.pending[0].why
    assert why is not None and why == scheduler.why_pending("j")
    assert why.failures == (
        Failure("cpu short", 2, 2, "b", 1),
        Failure("taint gpu", 1, 1, "d"),
        Failure("zone = x", 1, 1, "c"),
    )
    assert str(why) == (
        "none of 4 nodes has room for a task; cpu short: 2 nodes, b by the least: 1; taint gpu: 1 nodes; zone = x: 1 nodes."
        " It would fit on 2 nodes but for cpu short: 1 more on b would help."
    )


def test_why_pending_of_gpus() -> None:
    scheduler = Scheduler()
    shared, whole = Request({}, 1, 600), Request({}, 2)
    new: list[Event] = [NodeJoined(Node("a", {}, 1)), NodeJoined(Node("b", {}, 2)), JobSubmitted(Job("s", shared, 3))]
    scheduler.step(new, 0.0)
    plan = scheduler.step([JobSubmitted(Job("more", shared)), JobSubmitted(Job("pair", whole))], 1.0)
    by_job = {pending.job: pending.why for pending in plan.pending}
    assert by_job["more"] is not None and by_job["more"].failures == (Failure("gpu_milli of one device short", 2, 2, "a", 200),)
    assert by_job["pair"] is not None and by_job["pair"].failures == (Failure("whole GPUs short", 2, 2, "a", 2),)


def test_why_pending_of_gangs_and_topology() -> None:
    scheduler = Scheduler()
    fleet = [NodeJoined(node("a", 4, rack="r1")), NodeJoined(node("b", 4, rack="r1"))]
    wanted = [
        job("gang", 3, 0, 3, gang=3),
        job("first", 1, 0),
        job("far", 1, 0, affinity=(Affinity("first", False, "rack"),)),
        job("wide", 1, 0, spread=(Spread("zone"),)),
    ]
    plan = scheduler.step([*fleet, *map(JobSubmitted, wanted)], 0.0)
    whys = {pending.job: str(pending.why) for pending in plan.pending}
    assert list(whys) == ["gang", "far", "wide"]
    assert whys["gang"].startswith("2 of 2 nodes have room for one task, together not for 3 tasks at once")
    assert "far from first by rack: 2 nodes" in whys["far"]
    assert "It would fit on 2 nodes but for this: spread over zone with skew 1" in whys["wide"]


def test_why_here() -> None:
    scheduler = Scheduler(Policy("best_fit"))
    fleet = [NodeJoined(node("a", 8, 8)), NodeJoined(node("b", 4, 8)), NodeJoined(node("c", 6, 8))]
    plan = scheduler.step([*fleet, JobSubmitted(job("j", 2, 0))], 0.0)
    assert str(plan.placed[0]) == "j/0 starts at b: best_fit 1.25 (next: c 1.5; a 1.75)"


def test_nothing_to_explain() -> None:
    scheduler = Scheduler()
    scheduler.step([NodeJoined(node("a")), JobSubmitted(job("j"))], 0.0)
    assert scheduler.why_pending("j") is None
    with pytest.raises(InputError, match="no job k"):
        scheduler.why_pending("k")
    assert str(Scheduler().step([JobSubmitted(job("j"))], 0.0).pending[0].why) == "no node has joined. Let a node join."


@pytest.mark.parametrize(
    ("event", "words"),
    [
        (NodeJoined(node("a")), "node a is there already"),
        (NodeLeft("b"), "no node b"),
        (JobSubmitted(job("j")), "job j is there already"),
        (JobWithdrawn("k"), "no job k"),
        (TaskEnded(TaskId("j", 7)), "task j/7 ended, but does not run"),
    ],
)
def test_events_that_cannot_be(event: object, words: str) -> None:
    scheduler = Scheduler()
    scheduler.step([NodeJoined(node("a")), JobSubmitted(job("j"))], 1.0)
    with pytest.raises(InputError, match=words):
        scheduler.step([event], 2.0)  # type: ignore[list-item]
    with pytest.raises(InputError, match="time does not go back"):
        scheduler.step([], 0.5)
