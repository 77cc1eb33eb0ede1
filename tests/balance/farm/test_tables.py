"""The tables of unequal farms: who is better than whom, and by how much.

Expected figures: mean and p99 in mean service times, measured by an independent sketch of the same scenarios.
"""

from __future__ import annotations

import dataclasses
from functools import cache
from itertools import pairwise

import pytest

from loggos.balance.farm.farm import Make
from loggos.balance.farm.result import Summary, summary
from loggos.balance.farm.scenario import Scenario, equal_servers, unequal_servers
from tests.balance.farm.driving import policy, runs

SEEDS = range(5)
LOCAL = policy("p2c")
REPORTED = policy("p2c", load="reported", probe=True)
PREQUAL = policy("prequal")
# 20 servers, 15 at 1.0 and 5 at 0.4, behind 10 balancers: mean and p99 at load 0.70, best first
PRINTED_B = {
    "prequal": (1.83, 9.1),
    "p2c reported": (2.33, 13.8),
    "weighted round robin": (2.87, 15.4),
    "peak ewma": (3.08, 14.6),
    "least request": (3.94, 25.5),
    "p2c local": (4.72, 32.5),
}
POLICIES_B: dict[str, Make] = {
    "prequal": PREQUAL,
    "p2c reported": REPORTED,
    "weighted round robin": policy("smooth_weighted_round_robin"),
    "peak ewma": policy("peak_ewma"),
    "least request": policy("least_request"),
    "p2c local": LOCAL,
}
PRINTED_D = {1: (13.4, 7.4), 3: (19.1, 12.2), 10: (32.5, 25.5), 30: (65.7, 55.5)}  # balancers: p99 of P2C, least request


def scenario_b(load: float, requests: int, balancers: int = 10, *, is_weighted: bool = False) -> Scenario:
    servers = unequal_servers(oracle_weights=is_weighted)
    return Scenario(servers, balancers, load, requests=requests, warm_up=requests // 10)


@cache
def table_b(load: float, requests: int) -> dict[str, Summary]:
    return {
        name: summary(runs(scenario_b(load, requests, is_weighted=name == "weighted round robin"), of, SEEDS))
        for name, of in POLICIES_B.items()
    }


def assert_prequal_wins(table: dict[str, Summary], live: Summary | None = None) -> None:
    """Prequal's p99 ≤ 0.75 × P2C with reported load and ≤ 0.35 × P2C with local counts; `live`: P2C with exact global counts."""
    prequal = table["prequal"].p99
    assert prequal.value <= 0.75 * table["p2c reported"].p99.value
    assert prequal.value <= 0.35 * table["p2c local"].p99.value
    if live is not None:
        assert prequal.value <= 0.75 * live.p99.value


def test_prequal_halves_the_tail_of_unequal_servers() -> None:
    assert_prequal_wins(table_b(0.7, 12_000))


def test_the_order_of_the_table() -> None:
    """By mean latency; and by p99 in groups, since the middle ones lie close together."""
    table = table_b(0.7, 12_000)
    assert sorted(table, key=lambda name: table[name].mean.value) == list(PRINTED_B)
    tails = {name: table[name].p99.value for name in table}
    middle = [tails[name] for name in ("p2c reported", "weighted round robin", "peak ewma")]
    assert tails["prequal"] < min(middle) and max(middle) < tails["least request"] < tails["p2c local"]


def test_round_robin_overloads_the_slow_ones() -> None:
    """Each slow server is sent 0.595 and does 0.4 of it: its queue grows for as long as it lasts."""
    short, long = (runs(scenario_b(0.7, requests), policy("round_robin"), range(1)) for requests in (10_000, 20_000))
    assert long[0].row()[2] > 1.7 * short[0].row()[2] > 300.0
    assert min(short[0].utilisation[15:]) > 0.99 and max(short[0].utilisation[:15]) < 0.7


def test_more_balancers_see_less() -> None:
    """The tail under local counts grows with the number of balancers among whom the counts are split."""
    for of in (LOCAL, policy("least_request")):
        tails = [summary(runs(scenario_b(0.7, 10_000, balancers), of, range(3))).p99.value for balancers in PRINTED_D]
        assert all(later > 1.3 * earlier for earlier, later in pairwise(tails)), tails


def test_a_hundred_equal_servers_at_90_percent() -> None:
    """Random is near 10 (M/M/1), P2C near 2.61 (the supermarket), the shortest queue near 1."""
    scenario = Scenario(equal_servers(100), load=0.9, requests=30_000, warm_up=10_000)
    found = {name: runs(scenario, policy(name), range(1))[0].row()[0] for name in ("random", "p2c", "least_request")}
    assert 7.0 < found["random"] < 12.0
    assert found["p2c"] == pytest.approx(2.6141, rel=0.07)
    assert found["least_request"] == pytest.approx(1.07, rel=0.04)


# --- the same at length --------------------------------------------------------------------------------------------------------


@pytest.mark.full
@pytest.mark.timeout(900)
def test_scenario_b_at_length() -> None:
    """Means within 15 % and tails within 20 % of the sketch; P2C reported is compared with exact counts, as the sketch had."""
    table = table_b(0.7, 40_000)
    live = summary(runs(scenario_b(0.7, 40_000, balancers=1), LOCAL, SEEDS))
    assert_prequal_wins(table, live)
    for name, (mean, tail) in PRINTED_B.items():
        found = live if name == "p2c reported" else table[name]
        assert found.mean.value == pytest.approx(mean, rel=0.2 if name == "prequal" else 0.05), name
        assert found.p99.value == pytest.approx(tail, rel=0.2), name


@pytest.mark.full
@pytest.mark.timeout(900)
def test_scenario_b_under_heavy_load() -> None:
    table = table_b(0.9, 40_000)
    assert_prequal_wins(table)
    assert table["prequal"].mean.value == min(found.mean.value for found in table.values())
    assert table["p2c local"].mean.value == max(found.mean.value for found in table.values())


@pytest.mark.full
@pytest.mark.timeout(900)
@pytest.mark.parametrize("balancers", PRINTED_D)
def test_scenario_d_at_length(balancers: int) -> None:
    for of, printed in zip((LOCAL, policy("least_request")), PRINTED_D[balancers], strict=True):
        found = summary(runs(scenario_b(0.7, 40_000, balancers), of, SEEDS)).p99
        assert found.value == pytest.approx(printed, rel=0.1)


@pytest.mark.full
@pytest.mark.timeout(900)
def test_scenario_a_at_length() -> None:
    scenario = Scenario(equal_servers(100), load=0.9, requests=200_000, warm_up=50_000)
    printed = {"random": 9.84, "p2c": 2.63, "least_request": 1.07}
    for name, mean in printed.items():
        assert summary(runs(scenario, policy(name), range(3))).mean.value == pytest.approx(mean, rel=0.04), name


@pytest.mark.full
@pytest.mark.timeout(900)
def test_probes_that_take_time_and_work_cost_prequal_little() -> None:
    """A delay of half a service time and 1 % of a service for each of three probes."""
    free = scenario_b(0.7, 40_000)
    dear = dataclasses.replace(free, probe_delay_s=0.05, probe_work_s=0.001)
    before, after = (summary(runs(scenario, PREQUAL, SEEDS)).p99 for scenario in (free, dear))
    assert before.value < after.value < 1.4 * before.value
