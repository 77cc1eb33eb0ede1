"""The farm itself: what a request meets, replay, failures, probes, and that nothing is lost or made up."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loggos.balance.balancer import Balancer
from loggos.balance.farm.farm import run
from loggos.balance.farm.scenario import Failure, Kind, Recording, Scenario, Server, equal_servers, unequal_servers, zone_failure
from loggos.balance.filters.outliers import OutlierEjection
from loggos.balance.filters.zone import ZoneAware
from loggos.balance.guards.budget import RetryBudget
from loggos.balance.policies import POLICIES, make
from loggos.balance.types import Dice, Endpoint, Policy, Report
from loggos.des.laws import deterministic, exponential, hyperexponential
from loggos.des.statistics import mean, over_runs
from tests.balance.farm.driving import policy, runs, streams

ONE = exponential(1.0)


class Noted(Policy):
    """Takes turns, asks for probes as told, and notes all it hears."""

    def __init__(self, probes: Sequence[str] = ()) -> None:
        self.probes, self.turn, self.heard = probes, 0, list[tuple[object, ...]]()

    def update(self, endpoints: Sequence[Endpoint], now_s: float) -> None:
        self.heard.append(("update", *(endpoint.name for endpoint in endpoints)))

    def pick(self, now_s: float, among: Sequence[Endpoint], key: bytes | None = None) -> Endpoint | None:
        self.turn += 1
        return among[self.turn % len(among)] if among else None

    def started(self, name: str, now_s: float) -> None:
        self.heard.append(("started", name, now_s))

    def finished(self, name: str, now_s: float, latency_s: float, ok: bool, report: Report | None = None) -> None:
        self.heard.append(("finished", name, now_s, latency_s, ok, report))

    def probes_wanted(self, now_s: float) -> Sequence[str]:
        return self.probes

    def probed(self, name: str, now_s: float, report: Report) -> None:
        self.heard.append(("probed", name, now_s, report))


def replayed(scenario: Scenario, noted: Noted) -> list[tuple[object, ...]]:
    result = run(scenario, lambda _: noted, streams(1))
    assert result.failed + len(result.latencies) + result.unanswered == scenario.arrivals
    return noted.heard


def recording(arrivals: Sequence[float], works: Sequence[float], servers: tuple[Server, ...], **options: object) -> Scenario:
    plain = Scenario(servers, work=deterministic(1.0), recording=Recording(tuple(arrivals), tuple(works)), warm_up=0)
    return dataclasses.replace(plain, **options)  # type: ignore[arg-type]


def test_a_recording_is_replayed_with_the_life_of_every_request() -> None:
    """Two servers, the second at half speed; by turns s1, s0, s1."""
    heard = replayed(recording([10.0, 11.0, 11.5], [1.0, 1.0, 1.0], (Server("s0"), Server("s1", 0.5))), Noted())
    assert heard == [
        ("update", "s0", "s1"),
        ("started", "s1", 0.0),
        ("started", "s0", 1.0),
        ("started", "s1", 1.5),
        ("finished", "s1", 2.0, 2.0, True, Report(1, 2.0)),
        ("finished", "s0", 2.0, 1.0, True, Report(0, 1.0)),
        ("finished", "s1", 4.0, 2.5, True, Report(0, 2.0)),
    ]


def test_probes_are_answered_with_the_load_halfway_and_cost_work() -> None:
    scenario = recording([0.0, 0.5], [2.0, 0.0], equal_servers(1), probe_delay_s=0.2, probe_work_s=0.25)
    heard = [event for event in replayed(scenario, Noted(["s0"])) if event[0] in ("probed", "finished")]
    assert heard == [
        ("probed", "s0", 0.2, Report(1, 0.0)),
        ("probed", "s0", 0.7, Report(2, 0.0)),
        ("finished", "s0", 2.0, 2.0, True, Report(1, 2.0)),
        ("finished", "s0", 2.25, 1.75, True, Report(0, 2.0)),  # behind the work of the first probe
    ]


def test_a_server_that_dies_answers_with_errors_and_comes_back_empty() -> None:
    dies = Failure("s0", Kind.DIES, 1.5, 3.0)
    heard = replayed(recording([0.0, 1.25, 2.0, 4.0], [1.0, 1.0, 1.0, 1.0], equal_servers(1), failures=(dies,)), Noted(["s0"]))
    assert [event for event in heard if event[0] == "finished"] == [
        ("finished", "s0", 1.0, 1.0, True, Report(0, 1.0)),
        ("finished", "s0", 1.5, 0.25, False, None),  # lost
        ("finished", "s0", 2.0, 0.0, False, None),  # refused
        ("finished", "s0", 5.0, 1.0, True, Report(0, 1.0)),
    ]
    assert [event[2] for event in heard if event[0] == "probed"] == [0.0, 1.25, 4.0]


def test_a_server_that_stalls_goes_on_later_and_one_that_slows_is_late() -> None:
    stalls = Failure("s0", Kind.STALLS, 0.5, 3.0)
    heard = replayed(recording([0.0, 1.0], [1.0, 1.0], equal_servers(1), failures=(stalls,)), Noted(["s0"]))
    assert [event[2] for event in heard if event[0] == "finished"] == [3.5, 4.5]
    assert [event[2] for event in heard if event[0] == "probed"] == [0.0], "who stalls answers no probe"
    slows = Failure("s0", Kind.SLOWS, 0.5, 2.5, factor=0.25)
    heard = replayed(recording([0.0], [2.0], equal_servers(1), failures=(slows,)), Noted())
    assert heard[-1] == ("finished", "s0", 3.5, 3.5, True, Report(0, 3.5))


def test_what_takes_too_long_is_given_up_and_the_server_does_not_know() -> None:
    heard = replayed(recording([0.0, 1.0], [3.0, 0.5], equal_servers(1), timeout_s=2.5), Noted())
    assert heard[2:] == [
        ("started", "s0", 1.0),
        ("finished", "s0", 2.5, 2.5, False, None),
        ("finished", "s0", 3.5, 2.5, False, None),  # behind the first one
    ]


def test_what_waits_for_a_server_that_never_returns_is_not_answered() -> None:
    scenario = recording([0.0, 1.0], [1.0, 1.0], equal_servers(1), failures=(Failure("s0", Kind.STALLS, 1.25),))
    result = run(scenario, policy("random"), streams(1))
    assert (list(result.latencies), result.failed, result.unanswered) == ([1.0], 0, 1)


def test_who_is_noticed_to_be_dead_is_not_chosen() -> None:
    scenario = Scenario(
        equal_servers(4),
        balancers=2,
        work=deterministic(1.0),
        requests=4_000,
        warm_up=0,
        failures=(Failure("s1", Kind.DIES, 100.0, 600.0),),
    )
    unnoticed = run(scenario, policy("round_robin"), streams(1))
    noticed = run(dataclasses.replace(scenario, noticed_after_s=5.0), policy("round_robin"), streams(1))
    assert 250 < unnoticed.failed < 450 and 0 < noticed.failed < 15
    assert 0 < noticed.sent[1] < unnoticed.sent[1] - 250


def test_with_nobody_left_requests_fail() -> None:
    dies = Failure("s0", Kind.DIES, 1.0)
    scenario = recording([0.0, 2.0, 4.0], [0.5, 1.0, 1.0], equal_servers(1), failures=(dies,), noticed_after_s=2.0)
    result = run(scenario, policy("p2c"), streams(1))
    assert result.failed == 2 and list(result.latencies) == [0.5] and result.sent == (2,)


def test_a_dead_server_that_refuses_quickly_attracts_who_counts_requests() -> None:
    """The black hole: to least request it looks idle for ever, and draws more than its share. Ejecting who fails closes it."""
    scenario = Scenario(equal_servers(10), balancers=3, requests=6_000, warm_up=0, failures=(Failure("s3", Kind.DIES, 5.0),))
    alone, turns = (run(scenario, policy(name), streams(1)) for name in ("least_request", "round_robin"))
    assert alone.failed > 1.4 * turns.failed > 700

    def ejecting(dice: Dice) -> Balancer:
        return Balancer(make("least_request", dice), dice, outliers=OutlierEjection())

    assert 0 < run(scenario, ejecting, streams(1)).failed < 0.1 * alone.failed


def test_a_whole_balancer_tries_elsewhere_within_its_budget() -> None:
    scenario = Scenario(
        equal_servers(5), balancers=2, load=0.5, requests=5_000, warm_up=0, tries=3, failures=(Failure("s3", Kind.DIES, 20.0),)
    )

    def whole(dice: Dice) -> Balancer:
        return Balancer(make("round_robin", dice), dice, retries=RetryBudget(share=0.5))

    alone, retried = run(scenario, policy("round_robin"), streams(1)), run(scenario, whole, streams(1))
    assert alone.failed > 600 and retried.failed < 0.02 * alone.failed
    assert sum(retried.sent) > scenario.requests + 600 and sum(alone.sent) == scenario.requests
    assert len(retried.latencies) == scenario.requests - retried.failed


def test_a_zone_fails_and_its_requests_go_to_the_other_until_it_is_back() -> None:
    """Two zones, a balancer in each: requests stay at home, but for the time in which the home is gone and that is noticed."""
    servers = tuple(Server(f"{zone}{number}", zone=zone) for zone in ("east", "west") for number in range(4))
    failures = zone_failure(servers, "east", Kind.DIES, 30.0, 60.0)
    scenario = Scenario(servers, 2, 0.3, requests=2_400, warm_up=0, noticed_after_s=1.0, failures=failures)
    assert [failure.server for failure in failures] == ["east0", "east1", "east2", "east3"]
    zones = iter(("east", "west"))

    def zoned(dice: Dice) -> Balancer:
        return Balancer(make("p2c", dice), dice, zones=ZoneAware(next(zones)), panic_below=0.0)

    result = run(scenario, zoned, streams(1))
    before, meanwhile, after = (mean(result.during(*span)) for span in ((0.0, 30.0), (31.0, 60.0), (70.0, 100.0)))
    assert 0 < result.failed < 40 and len(result.during(0.0, 1e9)) + result.failed == 2_400
    assert meanwhile > 1.2 * before and meanwhile > 1.2 * after
    assert sum(result.sent[4:]) == pytest.approx(1_200 + 0.3 * 1_200, rel=0.1)


@pytest.mark.parametrize("name", POLICIES)
def test_every_policy_serves_all_requests_and_the_same_seed_gives_the_same(name: str) -> None:
    scenario = Scenario(
        unequal_servers(),
        balancers=3,
        load=0.6,
        requests=1_500,
        warm_up=100,
        keys=500,
        failures=(Failure("s4", Kind.DIES, 1.0, 2.0), Failure("s5", Kind.STALLS, 2.0, 4.0), Failure("s6", Kind.SLOWS, 1.0, 3.0)),
        timeout_s=20.0,
        probe_delay_s=0.01,
    )
    first, second = (run(scenario, policy(name), streams(1)) for _ in range(2))
    assert first == second != run(scenario, policy(name), streams(2))
    assert first.failed + len(first.latencies) == 1_400 and first.unanswered == 0
    assert sum(first.sent) == 1_500 and all(0.0 <= share <= 1.0 + 1e-9 for share in first.utilisation)


@given(
    st.integers(1, 4), st.integers(1, 3), st.integers(1, 2), st.booleans(), st.sampled_from(["p2c", "least_request", "prequal"])
)
def test_work_is_neither_lost_nor_made(servers: int, balancers: int, workers: int, is_sharing: bool, name: str) -> None:
    """The time that all requests take is at least their work, and servers are as busy as the work makes them."""
    spec = tuple(Server(f"s{number}", workers=workers, is_sharing=is_sharing) for number in range(servers))
    works = tuple(0.1 * (number % 7) for number in range(40))
    scenario = Scenario(
        spec, balancers, recording=Recording(tuple(0.2 * number for number in range(40)), works), work=ONE, warm_up=0
    )
    result = run(scenario, policy(name), streams(1))
    assert len(result.latencies) == 40 and sum(result.sent) == 40
    assert all(latency >= work - 1e-9 for latency, work in zip(result.latencies, works, strict=True))


def test_two_policies_meet_the_same_requests() -> None:
    """With servers of no queue to speak of, the latencies are the works: the same under any policy."""
    scenario = Scenario(equal_servers(200), balancers=4, load=0.001, requests=500, warm_up=0)
    by_chance, by_load = (run(scenario, policy(name), streams(3)) for name in ("random", "least_request"))
    same = sum(a == pytest.approx(b) for a, b in zip(by_chance.latencies, by_load.latencies, strict=True))
    assert same > 490 and by_chance.sent != by_load.sent


@pytest.mark.parametrize("is_sharing", [False, True])
def test_one_server_is_the_queue_of_the_textbook(is_sharing: bool) -> None:
    """M/G/1 with cv² = 3 at ρ = 0.6: first come first served 1 + 0.6 · 4 / 0.8 = 4, shared 1 / 0.4 = 2.5; utilisation 0.6."""
    server = Server("s0", is_sharing=is_sharing)
    scenario = Scenario((server,), load=0.6, work=hyperexponential(0.1, 3.0), requests=20_000, warm_up=1_000)
    results = runs(scenario, policy("random"), range(8))
    theory = 2.5 if is_sharing else 4.0
    latency = over_runs([mean(result.latencies) for result in results], 0.99)
    utilisation = over_runs([result.utilisation[0] for result in results], 0.99)
    assert latency.low <= theory <= latency.high and latency.half_width < 0.12 * theory
    assert utilisation.low <= 0.6 <= utilisation.high and utilisation.half_width < 0.03
    assert math.isclose(results[0].mean.value, mean(results[0].latencies))
    assert results[0].mean.low <= theory <= results[0].mean.high
    assert results[0].quantile(0.99).low < results[0].row()[2] < results[0].quantile(0.99).high
