"""Small fleets against the optimum, found by HiGHS: no score may pass it, and each must come near."""

from __future__ import annotations

import random

import highspy
import pytest

from loggos.fleet.scheduler import scores
from loggos.fleet.scheduler.events import JobSubmitted, NodeJoined
from loggos.fleet.scheduler.scheduler import Policy, Scheduler
from loggos.fleet.scheduler.values import DEVICE_MILLI, GPU, Job, Node, Request

SHARES = (200, 300, 500, 700)


def instance(seed: int) -> tuple[list[Node], list[Job]]:
    """Four nodes and about as many tasks as fill them: some with GPUs, some that share one, some without."""
    dice = random.Random(seed)
    fleet = [Node(f"n{i}", {"cpu": dice.choice((8, 12, 16))}, dice.choice((1, 2, 4))) for i in range(4)]
    wanted = []
    for number in range(18):
        kind = dice.randrange(4)
        if kind == 0:
            request = Request({"cpu": dice.randrange(1, 5)}, dice.choice((1, 1, 2)))
        elif kind == 1:
            request = Request({"cpu": dice.randrange(1, 4)})
        else:
            request = Request({"cpu": dice.randrange(1, 5)}, 1, dice.choice(SHARES))
        wanted.append(Job(f"j{number}", request))
    return fleet, wanted


def gpu_of(wanted: Job) -> int:
    return wanted.request.totals().get(GPU, 0)


def optimum(fleet: list[Node], wanted: list[Job]) -> int:
    """The largest GPU share that can be placed. A variable per task and device (shared) or per task and node (whole or none), and
    one per device that says whether it is shared."""
    model = highspy.Highs()  # type: ignore[no-untyped-call]
    model.setOptionValue("output_flag", False)
    shared = {(n, d): model.addBinary() for n, node in enumerate(fleet) for d in range(node.gpus)}
    placed: dict[int, list[tuple[int, highspy.highs_var]]] = {}
    for j, one in enumerate(wanted):
        placed[j] = []
        for n, node in enumerate(fleet):
            if one.request.gpus == 1 and one.request.gpu_milli < DEVICE_MILLI:
                placed[j] += [(n * 100 + d, model.addBinary(obj=-gpu_of(one))) for d in range(node.gpus)]
            elif one.request.gpus <= node.gpus:
                placed[j].append((n * 100 + 99, model.addBinary(obj=-gpu_of(one))))
        if placed[j]:
            model.addConstr(model.qsum(var for _, var in placed[j]) <= 1)
    for n, node in enumerate(fleet):
        here = [(j, place, var) for j, options in placed.items() for place, var in options if place // 100 == n]
        model.addConstr(model.qsum(wanted[j].request.amounts["cpu"] * var for j, _, var in here) <= node.amounts["cpu"])
        whole = model.qsum(wanted[j].request.gpus * var for j, place, var in here if place % 100 == 99)
        model.addConstr(whole + model.qsum(shared[n, d] for d in range(node.gpus)) <= node.gpus)
        for d in range(node.gpus):
            used = model.qsum(gpu_of(wanted[j]) * var for j, place, var in here if place % 100 == d)
            model.addConstr(used - DEVICE_MILLI * shared[n, d] <= 0)
    model.run()
    return round(-model.getInfo().objective_function_value)


def packed(score: str, fleet: list[Node], wanted: list[Job]) -> int:
    scheduler = Scheduler(Policy(score, explain=False, workload=tuple(wanted)))
    plan = scheduler.step([*map(NodeJoined, fleet), *map(JobSubmitted, wanted)], 0.0)
    return sum(gpu_of(wanted[int(placed.task.job[1:])]) for placed in plan.placed)


@pytest.fixture(scope="module")
def solved() -> list[tuple[list[Node], list[Job], int]]:
    return [(*instance(seed), optimum(*instance(seed))) for seed in range(20)]


@pytest.mark.parametrize("score", scores.NAMES)
def test_near_the_optimum_and_never_beyond(score: str, solved: list[tuple[list[Node], list[Job], int]]) -> None:
    parts = [packed(score, fleet, wanted) / best for fleet, wanted, best in solved]
    assert max(parts) <= 1.0
    assert sum(parts) / len(parts) > (0.9 if score.startswith(("fgd", "fill")) else 0.8), (
        f"{score}: {sum(parts) / len(parts):.3f}"
    )
