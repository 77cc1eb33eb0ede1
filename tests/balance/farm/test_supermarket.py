"""The policy of d choices in the supermarket model: within 3 % of the theory from light load to λ = 0.99."""

from __future__ import annotations

import pytest

from loggos.balance.farm.farm import run
from loggos.balance.farm.scenario import Scenario, equal_servers
from loggos.balance.farm.supermarket import supermarket, tail, theory
from loggos.base.errors import InputError
from loggos.des.laws import exponential
from loggos.des.statistics import Estimate, mean, over_runs
from tests.balance.farm.driving import policy, streams

# the mean time for d = 1, 2, 3, in service times (Mitzenmacher 2001)
PRINTED = {
    0.5: (2.0, 1.2657, 1.1252),
    0.7: (3.3333, 1.6145, 1.3568),
    0.8: (5.0, 1.9474, 1.5809),
    0.9: (10.0, 2.6141, 2.0279),
    0.95: (20.0, 3.3830, 2.5351),
    0.99: (100.0, 5.4320, 3.8578),
}
CASES = [(load, d) for load in PRINTED for d in (1, 2, 3)]


def measured(load: float, d: int, *, servers: int, requests: int, runs: int, is_warm: bool = True) -> Estimate:
    """The mean time over runs that start at the theory's fixed point, or empty with their first quarter left out."""
    means = []
    for seed in range(runs):
        of = streams(f"{load} {d} {seed}")
        times = supermarket(
            policy("p2c", d=d)(of("policy")),
            servers=servers,
            load=load,
            requests=requests,
            arrivals=of("arrivals"),
            works=of("works"),
            equilibrium=d if is_warm else 0,
        )
        means.append(mean(times if is_warm else times[requests // 4 :]))
    return over_runs(means)


@pytest.mark.parametrize(("load", "d"), CASES)
def test_the_theory_is_the_published_one(load: float, d: int) -> None:
    assert theory(load, d) == pytest.approx(PRINTED[load][d - 1], abs=5.1e-5)
    assert theory(0.9, 5) == pytest.approx(1.6329, abs=5.1e-5)
    assert tail(load, d, 0) == 1.0 and tail(load, d, 1) == pytest.approx(load)


@pytest.mark.parametrize(("load", "d"), CASES)
def test_within_three_percent_of_the_theory(load: float, d: int) -> None:
    heavy = load > 0.9
    found = measured(load, d, servers=6_000 if heavy and d > 1 else 2_000, requests=40_000, runs=3)
    assert found.value == pytest.approx(theory(load, d), rel=0.03)


@pytest.mark.full
@pytest.mark.timeout(1200)
@pytest.mark.parametrize(("load", "d"), CASES)
def test_within_three_percent_of_the_theory_at_length(load: float, d: int) -> None:
    """Long enough that the whole interval lies within 3 %."""
    found = measured(load, d, servers=10_000 if d > 1 else 4_000, requests=150_000, runs=4)
    expected = theory(load, d)
    assert 0.97 * expected <= found.low <= found.high <= 1.03 * expected, f"{found} of {expected}"


@pytest.mark.full
@pytest.mark.timeout(1200)
@pytest.mark.parametrize(("load", "d"), [(0.5, 1), (0.8, 1), (0.7, 2), (0.9, 2), (0.95, 2), (0.95, 3)])
def test_an_empty_farm_comes_to_the_theory_by_itself(load: float, d: int) -> None:
    found = measured(load, d, servers=500, requests=400_000, runs=3, is_warm=False)
    assert found.value == pytest.approx(theory(load, d), rel=0.03)


@pytest.mark.parametrize(("claimed", "d"), [(2, 1), (1, 2), (3, 2)])
def test_another_policy_leaves_the_fixed_point(claimed: int, d: int) -> None:
    """Started where `claimed` choices would be, d choices are far from that theory: the test above can fail."""
    of = streams("another")
    times = supermarket(
        policy("p2c", d=d)(of("policy")),
        servers=2_000,
        load=0.95,
        requests=40_000,
        arrivals=of("arrivals"),
        works=of("works"),
        equilibrium=claimed,
    )
    assert abs(mean(times) / theory(0.95, claimed) - 1.0) > 0.09


def test_the_farm_and_the_loop_agree() -> None:
    """Both simulate the same model, each with its own code: from the same chance every request takes the same time."""
    of = streams("both")
    scenario = Scenario(equal_servers(30), load=0.9, work=exponential(1.0), requests=5_000, warm_up=0)
    farm = run(scenario, policy("p2c"), of).latencies
    one = policy("p2c")(of("balancer 0"))
    loop = supermarket(one, servers=30, load=0.9, requests=5_000, arrivals=of("arrivals"), works=of("works"))
    assert list(farm) == pytest.approx(list(loop), rel=1e-9)


def test_what_never_comes_to_rest_is_refused() -> None:
    with pytest.raises(InputError, match=r"load 1\.0"):
        theory(1.0, 2)
    with pytest.raises(InputError, match="0 choices"):
        tail(0.5, 0, 1)
    of = streams(1)
    with pytest.raises(InputError, match="0 servers"):
        supermarket(policy("random")(of("p")), servers=0, load=0.5, requests=1, arrivals=of("a"), works=of("w"))
