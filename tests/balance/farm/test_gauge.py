"""What simulated servers say of themselves is what the middleware's meter would say."""

from __future__ import annotations

import random
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from loggos.balance.farm.farm import run
from loggos.balance.farm.gauge import Gauge
from loggos.balance.farm.scenario import Scenario, unequal_servers
from loggos.balance.middleware.meter import LoadMeter
from tests.balance.farm.driving import policy, streams

FOREVER_S = 1e12


@given(st.lists(st.tuples(st.booleans(), st.integers(1, 30), st.integers(0, 99)), max_size=120))
def test_gauge_and_meter_say_the_same(steps: list[tuple[bool, int, int]]) -> None:
    """Requests come, and any of those in flight ends; the two are asked after each."""
    gauge, meter = Gauge(), LoadMeter(window_s=FOREVER_S)
    tickets, now_s = list[tuple[Any, Any]](), 0.0
    assert gauge.report(0.0) == meter.report(0.0) == (0, 0.0)
    for arrives, gap, which in steps:
        now_s += float(gap)
        if arrives or not tickets:
            tickets.append((gauge.started(now_s), meter.started(now_s)))
        else:
            ours, theirs = tickets.pop(which % len(tickets))
            gauge.finished(ours, now_s)
            meter.finished(theirs, now_s)
        assert gauge.report(now_s) == meter.report(now_s)


def test_a_long_series_at_few_levels() -> None:
    """More samples per level than are kept: the oldest go, equal ones among them."""
    gauge, meter, dice = Gauge(), LoadMeter(window_s=FOREVER_S), random.Random(1)
    tickets, now_s = list[tuple[Any, Any]](), 0.0
    for _ in range(3_000):
        now_s += dice.randrange(4)
        if len(tickets) < 3 and dice.random() < 0.6:
            tickets.append((gauge.started(now_s), meter.started(now_s)))
        elif tickets:
            ours, theirs = tickets.pop(dice.randrange(len(tickets)))
            gauge.finished(ours, now_s)
            meter.finished(theirs, now_s)
        assert gauge.report(now_s) == meter.report(now_s)


def test_a_farm_with_the_middlewares_meter_is_the_same_farm() -> None:
    scenario = Scenario(unequal_servers(), balancers=2, requests=1_500, warm_up=0)
    ours = run(scenario, policy("prequal"), streams(1))
    theirs = run(scenario, policy("prequal"), streams(1), meter=lambda: LoadMeter(window_s=FOREVER_S))
    assert ours == theirs
