"""Scenarios are checked when they are made; results are not made up."""

from __future__ import annotations

import math
from array import array
from collections.abc import Callable

import pytest

from loggos.balance.farm.result import Result, summary
from loggos.balance.farm.scenario import Failure, Kind, Recording, Scenario, Server, equal_servers, unequal_servers, zone_failure
from loggos.base.errors import InputError
from loggos.des.laws import deterministic

TWO = equal_servers(2)


@pytest.mark.parametrize(
    ("make", "what"),
    [
        (lambda: Server("a", speed=0.0), "server a: speed 0.0"),
        (lambda: Server("a", weight=math.nan), "weight nan"),
        (lambda: Server("a", workers=0), "server a: 0 workers"),
        (lambda: Failure("a", Kind.DIES, 5.0, 5.0), "ends after it began"),
        (lambda: Failure("a", Kind.SLOWS, 5.0, factor=0.0), "factor 0.0"),
        (lambda: Recording(()), "without arrivals"),
        (lambda: Recording((1.0, 2.0), (1.0,)), "2 arrivals and 1 works"),
        (lambda: Recording((1.0,), (-1.0,)), "recorded work -1.0 at place 0"),
        (lambda: Scenario(()), "a farm of 0 servers"),
        (lambda: Scenario(TWO, balancers=0), "0 balancers"),
        (lambda: Scenario((*TWO, Server("s1"))), "two servers are called s1"),
        (lambda: Scenario(TWO, load=0.0), "load 0.0"),
        (lambda: Scenario(TWO, requests=10, warm_up=10), "10 requests, 10 of them to warm up"),
        (lambda: Scenario(TWO, probe_delay_s=-1.0), "probe_delay_s -1.0"),
        (lambda: Scenario(TWO, timeout_s=0.0), "timeout_s 0.0"),
        (lambda: Scenario(TWO, tries=0), "tries 0"),
        (lambda: zone_failure(TWO, "east", Kind.DIES, 1.0), "zone 'east': no server"),
        (lambda: Scenario(TWO, failures=(Failure("s9", Kind.DIES, 1.0),)), "failure of s9: no server"),
        (
            lambda: Scenario(TWO, failures=(Failure("s0", Kind.STALLS, 5.0), Failure("s0", Kind.DIES, 1.0, 6.0))),
            "s0 fails at 5.0 s, while it has failed until 6.0 s",
        ),
    ],
)
def test_what_cannot_be_simulated_is_refused(make: Callable[[], object], what: str) -> None:
    with pytest.raises(InputError, match=what):
        make()


def test_the_load_is_offered_work_over_capacity() -> None:
    scenario = Scenario(unequal_servers(), load=0.7, work=deterministic(0.5))
    assert scenario.capacity == pytest.approx(17.0) and scenario.rate_per_s == pytest.approx(0.7 * 17.0 / 0.5)
    assert [server.weight for server in unequal_servers(oracle_weights=True)] == [1.0] * 15 + [0.4] * 5
    assert len({server.name for server in unequal_servers()}) == 20


def test_a_result_of_next_to_nothing_gives_no_figures() -> None:
    result = Result(array("d", [1.0, 2.0]), array("d", [0.0, 1.0]), (), (), failed=0, unanswered=0, probes=0, events=0)
    for ask in (result.row, lambda: result.mean, lambda: result.quantile(0.5)):
        with pytest.raises(InputError, match="2 requests were answered"):
            ask()
    whole = Result(array("d", range(1, 102)), array("d", range(101)), (), (), failed=0, unanswered=0, probes=0, events=0)
    assert whole.row() == pytest.approx((51.0, 51.0, 100.0, 100.9))
    assert list(whole.during(10.0, 13.0)) == [11.0, 12.0, 13.0] and list(whole.during(99.5, 1e9)) == [101.0]
    with pytest.raises(InputError, match="at least two"):
        summary([whole])
    with pytest.raises(InputError, match="at least two"):
        summary([])
    assert summary([whole, whole]).p99 == pytest.approx((100.0, 100.0, 100.0)) and str(summary([whole, whole])) == "51/51/100/101"
