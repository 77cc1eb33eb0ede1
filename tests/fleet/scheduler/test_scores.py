"""Scores on nodes small enough to reckon by hand, and fragmentation against its definition, spelled out."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loggos.base.errors import ConfigError
from loggos.fleet.scheduler import scores
from loggos.fleet.scheduler.candidates import Candidates
from loggos.fleet.scheduler.events import JobSubmitted, NodeJoined, NodeLeft, NodeOpened
from loggos.fleet.scheduler.fleet import Fleet
from loggos.fleet.scheduler.scheduler import Policy, Scheduler
from loggos.fleet.scheduler.scores.fragmentation import Class, Fill, FragmentationGradient
from loggos.fleet.scheduler.values import Constraint, Job, Match, Node, Request
from tests.fleet.worlds import jobs, nodes


def chosen(score: str, wanted: Request, *fleet: tuple[Node, Request]) -> tuple[str, tuple[int, ...]]:
    """Where a task goes among nodes that each run one task of a request already."""
    scheduler = Scheduler(Policy(score))
    for number, (place, used) in enumerate(fleet):
        scheduler.step([NodeJoined(place), JobSubmitted(Job(f"used{number}", used, constraints=on(place)))], 0.0)
    plan = scheduler.step([JobSubmitted(Job("new", wanted))], 1.0)
    return plan.placed[0].placement


def on(place: Node) -> tuple[Constraint, ...]:
    return (Constraint("name", Match.IS, (place.name,)),)


def named(name: str, cpu: int, gpus: int = 0) -> Node:
    return Node(name, {"cpu": cpu}, gpus, {"name": name})


def cpu(amount: int) -> Request:
    return Request({"cpu": amount})


@pytest.mark.parametrize(
    ("score", "node"), [("first_fit", "a"), ("best_fit", "b"), ("worst_fit", "c"), ("spread", "c"), ("dot_product", "c")]
)
def test_the_classics(score: str, node: str) -> None:
    """Free: a 4 of 8, b 2 of 8, c 7 of 8. A task takes 2."""
    fleet = [(named("a", 8), cpu(4)), (named("b", 8), cpu(6)), (named("c", 8), cpu(1))]
    assert chosen(score, cpu(2), *fleet)[0] == node


def test_the_fullest_device_first() -> None:
    for score in ("first_fit", "best_fit", "gpu_packing"):
        assert chosen(score, Request({}, 1, 300), (named("a", 8, 2), Request({}, 1, 500))) == ("a", (0,))


def test_packing_keeps_whole_gpus_free() -> None:
    """A shared task goes beside another one; whole ones where fewest are left; a task without GPUs to a node without."""
    fleet = [
        (named("a", 8, 4), cpu(0)),
        (named("b", 8, 4), Request({}, 1, 500)),
        (named("c", 8, 1), cpu(0)),
        (named("d", 8), cpu(0)),
    ]
    assert chosen("gpu_packing", Request({}, 1, 500), *fleet) == ("b", (0,))
    assert chosen("gpu_packing", Request({}, 1), *fleet)[0] == "c"
    assert chosen("gpu_packing", cpu(1), *fleet)[0] == "d"


def test_fragmentation_by_hand() -> None:
    """A node with 4 CPUs and devices of 1,000 and 300 milli free; three classes of equal weight.

    One GPU and 2 CPUs: the 1,000 are of use. 300 milli and 1 CPU: 1,300 are. One GPU and 5 CPUs: none. So 1,300 - 2,300/3 are
    fragments. Filled up, the node takes 1 task of the first, 4 of the second (3 beside 1, but only 4 CPUs), none of the third.
    """
    fleet = Fleet()
    shapes = [fleet.shape(Request({"cpu": count}, 1, milli)) for count, milli in ((2, 1_000), (1, 300), (5, 1_000))]
    fleet.apply(NodeJoined(Node("n", {"cpu": 4}, 2)))
    bin_ = fleet.by_name["n"]
    taken = fleet.shape(Request({}, 1, 700))
    bin_.free = bin_.free.less(taken, (1,))
    workload = [Class(shape, 1.0) for shape in shapes]
    assert FragmentationGradient(workload).fragments_milli(bin_) == pytest.approx(1_300 - 2_300 / 3)
    assert Fill(workload).potential(bin_, bin_.free) == pytest.approx(-(1_000 + 4 * 300) / 3)


@given(st.data())
def test_fragmentation_is_what_it_is_defined_as(data: st.DataObject) -> None:
    """Weng et al., section 3: over the classes, the mean of what is free on devices that a task of the class cannot use."""
    fleet = Fleet()
    place = data.draw(nodes)
    wanted = data.draw(st.lists(jobs(), min_size=1, max_size=5, unique_by=lambda one: one.name))
    workload = [Class(fleet.shape(one.request, one.constraints, one.tolerates), one.count) for one in wanted]
    workload = list({part.shape.number: part for part in workload}.values())
    fleet.apply(NodeJoined(place))
    bin_ = fleet.by_name[place.name]
    for shape, _ in workload[:2]:
        if options := bin_.free.options(shape):
            bin_.free = bin_.free.less(shape, options[-1])
    fragments = 0.0
    for shape, weight in workload:
        runs = bool(bin_.free.options(shape)) and shape.may_use(place) and shape.gpus
        for free in bin_.free.devices:
            fragments += weight * (0 if runs and free >= shape.gpu_milli else free)
    total = sum(weight for _, weight in workload)
    assert FragmentationGradient(workload).fragments_milli(bin_) == pytest.approx(fragments / total)


@given(st.data(), st.sampled_from(scores.NAMES))
def test_kept_candidates_are_those_that_asking_everybody_gives(data: st.DataObject, name: str) -> None:
    wanted = data.draw(st.lists(jobs(), min_size=3, max_size=6, unique_by=lambda one: one.name))
    scheduler = Scheduler(Policy(name, workload=tuple(wanted)))
    fleet = scheduler.fleet
    kept = [scheduler.candidates(fleet.shape(one.request, one.constraints, one.tolerates)) for one in wanted]
    for now, one in enumerate(wanted):
        place = data.draw(nodes)
        change = NodeOpened(place.name, data.draw(st.booleans())) if place.name in fleet.by_name else NodeJoined(place)
        scheduler.step([change, JobSubmitted(one)], float(now))
        if now == 4 and fleet.by_name:
            scheduler.step([NodeLeft(next(iter(fleet.by_name)))], float(now))
        for list_ in kept:
            anew = Candidates(fleet, list_.shape, scheduler.score)
            assert [choice[:3] for _, choice in list_.ranked(3)] == [choice[:3] for _, choice in anew.ranked(3)]


def test_unknown_scores() -> None:
    with pytest.raises(ConfigError, match="no score best: there are first_fit"):
        Policy("best")
    with pytest.raises(ConfigError, match="no score best: there are first_fit"):
        scores.make("best", ())
