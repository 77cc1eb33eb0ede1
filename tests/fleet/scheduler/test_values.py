"""Constraints hold where they should, and values that mean nothing are refused with their owner's name."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from loggos.base.errors import InputError
from loggos.fleet.scheduler.values import Constraint, Job, Match, Node, Queue, Request, Spread


@pytest.mark.parametrize(
    ("test", "values", "holding"),
    [
        (Match.IS, ("8",), ["8"]),
        (Match.IS_NOT, ("8",), ["9.5", "x", None]),
        (Match.ONE_OF, ("8", "x"), ["8", "x"]),
        (Match.EXISTS, (), ["8", "9.5", "x"]),
        (Match.AT_LEAST, ("8.5",), ["9.5"]),
        (Match.AT_MOST, ("8",), ["8"]),
    ],
)
def test_constraints(test: Match, values: tuple[str, ...], holding: list[str | None]) -> None:
    constraint = Constraint("cores", test, values)
    labels: list[str | None] = ["8", "9.5", "x", None]
    assert [value for value in labels if constraint.holds({} if value is None else {"cores": value})] == holding


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Request({"cpu": -1}), "-1 of cpu"),
        (lambda: Request({"gpu_milli": 5}), "GPUs are counted by device"),
        (lambda: Request({}, 2, 500), "only one device is shared"),
        (lambda: Request({}, 1, 0), "1 GPUs of 0 milli"),
        (lambda: Node("n", {"cpu": -1}), "node n: -1 of cpu"),
        (lambda: Node("n", {}, 65), "node n: 65 GPUs; 0 to 64"),
        (lambda: Job("j", Request(), 0), "job j: 0 tasks"),
        (lambda: Job("j", Request(), 2, gang=3), "job j: a gang of 3 among 2"),
        (lambda: Job("j", Request(), runtime_s=0.0), "job j: a run time of 0.0 s"),
        (lambda: Job("j", Request(), disruptions=-1), "job j: -1 disruptions"),
        (lambda: Queue("q", 0), "queue q: weight 0"),
        (lambda: Queue("q", limit={"cpu": -1}), "queue q: -1 of cpu"),
        (lambda: Queue("q", guaranteed={"cpu": 2}, limit={"cpu": 1}), "queue q: 2 of cpu guaranteed, but limited to 1"),
        (lambda: Spread("zone", 0), "skew 0"),
        (lambda: Constraint("a", Match.IS), "= takes 1 values, not 0"),
        (lambda: Constraint("a", Match.AT_LEAST, ("x",)), "'x' is no number"),
    ],
)
def test_values_that_mean_nothing(make: Callable[[], object], words: str) -> None:
    with pytest.raises(InputError, match=words):
        make()
