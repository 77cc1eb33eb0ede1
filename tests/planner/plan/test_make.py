"""Plans: monotone in what is asked, least regret, refusals that say what nearly does, partitions, cross-checks."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loggos.planner.advise.sample import SAMPLE_INTENT
from loggos.planner.maths.queues import response_quantile
from loggos.planner.plan.crosschecks import crosschecks
from loggos.planner.plan.intent import Data, Intent, Interval, NodeType, Points, Scaling, Streams, Voters, parse
from loggos.planner.plan.make import Plan, Refusal, make, plan_text
from loggos.planner.plan.sensitivity import sensitivity
from loggos.planner.types import Estimate
from tests.planner.plan.samples import SMALL, intent


def plan(wanted: Intent, forecast: Estimate | None = None) -> Plan:
    found = make(wanted, forecast)
    assert isinstance(found, Plan), found.why
    return found


def test_the_small_plan_by_hand() -> None:
    """1,000/s of 5 ms on 4 cores: 620 a node keep p99 within 50 ms up to 80 % busy, so 2 carry it and 3 survive a loss."""
    best = plan(intent()).chosen
    assert (best.nodes, best.alive, best.cost) == (3, 2, 120)
    assert best.binding.binding.what == "load"
    assert best.latency_ms.value == pytest.approx(1000 * response_quantile(1000 / 3, 0.005, 4, 0.99), rel=1e-6)
    assert best.after_loss_ms.value == pytest.approx(1000 * response_quantile(500, 0.005, 4, 0.99), rel=1e-6)
    assert best.utilisation.value == pytest.approx(1000 / 3 * 0.005 / 4)
    assert best.availability == pytest.approx(1 - 3 * 0.005**2 * 0.995 - 0.005**3)


@given(st.floats(1, 20_000), st.floats(1, 3))
def test_more_load_never_fewer_nodes(per_s: float, factor: float) -> None:
    less, more = plan(intent(load={"per_s": per_s})), plan(intent(load={"per_s": per_s * factor}))
    assert more.chosen.nodes >= less.chosen.nodes


@pytest.mark.timeout(600)  # for the full profile
@given(st.floats(24, 200), st.floats(1, 4), st.sampled_from([0.9, 0.99, 0.999, 0.9999, 0.99999]))
def test_a_tighter_objective_is_never_cheaper(latency_ms: float, factor: float, availability: float) -> None:
    loose = plan(intent(objective={"latency_ms": latency_ms * factor, "availability": 0.9})).chosen.cost
    assert plan(intent(objective={"latency_ms": latency_ms, "availability": 0.9})).chosen.cost >= loose
    assert plan(intent(objective={"latency_ms": latency_ms * factor, "availability": availability})).chosen.cost >= loose


@given(st.integers(0, 4), st.integers(0, 2), st.booleans(), st.floats(1, 5000))
def test_more_losses_never_fewer_nodes(nodes: int, zones: int, together: bool, per_s: float) -> None:
    base: dict[str, dict[str, object]] = {"load": {"per_s": per_s}, "site": {"zones": 4}}
    fewer = plan(intent(**base, survive={"nodes": nodes, "zones": zones, "together": together})).chosen.nodes
    assert plan(intent(**base, survive={"nodes": nodes + 1, "zones": zones, "together": together})).chosen.nodes >= fewer
    assert plan(intent(**base, survive={"nodes": nodes, "zones": zones + 1, "together": together})).chosen.nodes >= fewer
    assert plan(intent(**base, survive={"nodes": nodes, "zones": zones, "together": True})).chosen.nodes >= fewer


@pytest.mark.timeout(600)  # for the full profile
@given(st.floats(0, 5000), st.integers(1, 5))
def test_more_data_never_fewer_nodes(size_gb: float, replication: int) -> None:
    kind = NodeType(name="d", price_per_month=10, cores=4, memory_gb=16, disk_gb=500, network_mb_per_s=100)
    wanted = msgspec.structs.replace(intent(), node=[kind])

    def nodes(size: float, copies: int) -> int:
        data = Data(size_gb=size + 1, replication=copies, in_sync_min=1)
        return plan(msgspec.structs.replace(wanted, data=data)).chosen.nodes

    assert nodes(size_gb * 2, replication) >= nodes(size_gb, replication)
    assert nodes(size_gb, replication + 1) >= nodes(size_gb, replication)


def two_types(load: Interval) -> Intent:
    """A small type that is fine-grained and a large one that is cheaper per core."""
    small = NodeType(name="small", price_per_month=40, cores=4, memory_gb=16)
    large = NodeType(name="large", price_per_month=150, cores=20, memory_gb=64)
    return msgspec.structs.replace(intent(load={"per_s": load}), node=[small, large])


def test_regret_by_hand() -> None:
    found = plan(two_types(Interval(3000, 1500, 7000)))
    needs = {(need.kind.name, need.scenario): need.nodes for option in found.options for need in option.needs}
    prices = {"small": 40, "large": 150}
    best = {s: min(needs[kind, s] * prices[kind] for kind in prices) for s in ("low", "middle", "high")}
    for option in found.options:
        price = prices[option.kind.name]
        missing = {s: max(0, needs[option.kind.name, s] - option.nodes) for s in best}
        regret = max(price * (option.nodes + 3 * missing[s]) - best[s] for s in best)
        assert option.regret == pytest.approx(regret)
    assert [option.regret for option in found.options] == sorted(option.regret for option in found.options)


def test_dear_shortfalls_lead_to_more_nodes() -> None:
    wanted = two_types(Interval(3000, 1500, 7000))
    costs = [plan(msgspec.structs.replace(wanted, shortfall_factor=factor)).chosen.cost for factor in (1.0, 2.0, 50.0)]
    assert costs == sorted(costs) and costs[0] < costs[-1]
    assert not plan(msgspec.structs.replace(wanted, shortfall_factor=50.0)).chosen.fails


def test_an_exact_load_gives_the_cheapest() -> None:
    found = plan(two_types(Interval(3000, 3000, 3000)))
    assert found.chosen.regret == 0
    assert found.chosen.cost == min(option.cost for option in found.options if not option.fails)


def test_a_forecast_replaces_the_load() -> None:
    found = plan(intent(), Estimate(5000, 4000, 8000))
    assert [scenario.per_s for scenario in found.expected.scenarios] == [4000, 5000, 8000]
    assert found.today is not None and found.today.nodes == 3


def test_growth_lead_time_and_extra_load_add_up() -> None:
    wanted = intent(load={"per_s": 1000, "growth_per_year": 0.5, "extra_per_s": 200})
    assert plan(wanted).expected.middle.per_s == pytest.approx(1700)
    late = msgspec.structs.replace(wanted, lead_time_days=365.25)
    assert plan(late).expected.middle.per_s == pytest.approx(1000 * 1.5**2 + 200)


def test_two_zones_and_voters_are_refused_and_a_third_zone_nearly_does() -> None:
    wanted = msgspec.structs.replace(intent(site={"zones": 2}, survive={"zones": 1}), voters=Voters())
    found = make(wanted)
    assert isinstance(found, Refusal)
    assert "no number of voters survives losing 1 zone of 2 zones" in found.why[0]
    assert any(line.startswith("site.zones = 3 would give") for line in found.nearly)


def test_one_zone_cannot_be_more_available_than_itself() -> None:
    found = make(intent(site={"zone_availability": 0.998}))
    assert isinstance(found, Refusal)
    assert "0.998 of the time at the most" in found.why[0]
    assert any("objective.availability = 0.995" in line for line in found.nearly)
    assert any("site.zones = 2" in line for line in found.nearly)


def test_too_few_machines_to_be_had() -> None:
    kind = NodeType(name="rare", price_per_month=1, cores=4, memory_gb=16, most=2)
    found = make(msgspec.structs.replace(intent(), node=[kind]))
    assert isinstance(found, Refusal) and "3 nodes are needed, and 2 can be had" in found.why[0]


def test_nodes_beyond_the_laws_peak_or_beyond_what_was_measured_are_refused() -> None:
    law = Scaling(gamma=100, alpha=0.05, beta=0.01, over="nodes")
    over = msgspec.structs.replace(intent(load={"per_s": 2000}), demand=msgspec.structs.replace(intent().demand, service=None))
    bent = make(msgspec.structs.replace(over, demand=msgspec.structs.replace(over.demand, scaling=law)))
    assert isinstance(bent, Refusal) and "more than the scalability law gives at its best" in bent.why[0]
    far = Scaling(gamma=100, alpha=0.0, beta=0.0, over="nodes", measured_to=5)
    short = make(msgspec.structs.replace(over, demand=msgspec.structs.replace(over.demand, scaling=far)))
    assert isinstance(short, Refusal) and "to 10 nodes, twice what was measured" in short.why[0]


def test_measured_points_are_fitted() -> None:
    """The raytracer's first six points: alpha .02444, beta .00163, gamma 20.856."""
    points = Points(n=[1, 4, 8, 12, 16, 20], per_s=[20, 78, 130, 170, 190, 200])
    base = intent(load={"per_s": 300.0}, objective={"latency_ms": 2000.0, "quantile": None})
    found = plan(msgspec.structs.replace(base, demand=msgspec.structs.replace(base.demand, service=None, points=points)))
    law = found.intent.demand.scaling
    assert law is not None and law.measured_to == 20 and isinstance(law.alpha, Interval)
    assert round(law.alpha.value, 5) == 0.02444
    assert found.notes and found.points is points


def with_streams(**changes: object) -> Intent:
    streams = msgspec.structs.replace(Streams(produce_mb_per_s=50, consume_mb_per_s=100), **changes)
    return msgspec.structs.replace(intent(site={"zones": 3}, load={"per_s": 20_000}), streams=streams)


def test_partitions_are_enough_for_both_flows_and_lie_evenly() -> None:
    found = plan(with_streams(partition_produce_mb_per_s=5, partition_consume_mb_per_s=4))
    assert found.partitions is not None
    assert found.partitions.total == 25  # 10 to take in, 25 to give out
    low, high = found.partitions.per_node
    assert high - low <= 1 + (len(dict.fromkeys(found.per_zone[0])) > 1)


def test_growing_moves_no_more_than_the_new_shares() -> None:
    found = plan(msgspec.structs.replace(with_streams(partitions=2_000), horizon_months=24,
                 load=msgspec.structs.replace(intent().load, per_s=20_000, growth_per_year=0.5)))  # fmt: skip
    placed, nodes = found.partitions, found.chosen.nodes
    assert placed is not None and placed.nodes_today < nodes
    assert placed.moved <= 6_000 * (nodes - placed.nodes_today) / nodes + nodes


def test_a_thousand_nodes_and_a_hundred_thousand_partitions() -> None:
    kind = NodeType(name="k", price_per_month=90, cores=8, memory_gb=32, disk_gb=8000, network_mb_per_s=1250)
    wanted = intent(site={"zones": 4, "zone_availability": 0.9995}, survive={"nodes": 2, "zones": 1})
    streams = Streams(produce_mb_per_s=9000, consume_mb_per_s=18000, partitions=100_000)
    found = plan(msgspec.structs.replace(wanted, node=[kind], streams=streams, voters=Voters()), Estimate(1e6, 9e5, 1.1e6))
    placed = found.partitions
    assert placed is not None and found.chosen.nodes >= 1_000 and found.chosen.availability >= 0.999
    ideal = placed.total * placed.replication / found.chosen.nodes
    # as many zones as replicas: each holds one of every partition, and zones differ by one node
    assert placed.per_node[0] >= ideal * (1 - 4 / 1_000) - 1 and placed.per_node[1] <= ideal * (1 + 4 / 1_000) + 1
    assert placed.leaders[1] - placed.leaders[0] <= 2


def test_the_sample_plan_agrees_with_every_rule() -> None:
    found = plan_text(SAMPLE_INTENT, "sample")
    assert isinstance(found, Plan)
    said = {check.rule: check for check in crosschecks(found)}
    assert len(said) == 10
    assert all(check.agrees for check in said.values())
    assert "11 cores and 44 GiB" in said["Kafka cluster (Google)"].words


def test_a_rule_that_disagrees_says_so() -> None:
    found = plan(with_streams(produce_mb_per_s=500, consume_mb_per_s=1000))
    kafka = next(check for check in crosschecks(found) if check.rule.startswith("Kafka"))
    assert kafka.agrees is False and "200 cores" in kafka.words


def test_sensitivity_is_monotone_and_names_what_fails() -> None:
    changes = {change.what: change for change in sensitivity(plan(intent()))}
    costs = [changes[f"load × {factor}"].cost for factor in ("0.5", "1.25", "1.5", "2")]
    assert costs == sorted(costs)
    assert changes["latency objective 25 ms"].nodes is not None
    assert changes["cost of a request × 1.5"].cost >= changes["cost of a request × 1.25"].cost
    tight = {change.what: change for change in sensitivity(plan(intent(objective={"latency_ms": 24.0})))}
    assert tight["latency objective 12 ms"].nodes is None and "23.03 ms already" in tight["latency objective 12 ms"].words


def test_a_scenario_that_nothing_carries_is_a_risk_that_is_named() -> None:
    """23.03 ms at 5 ms a request, 26.7 ms at the high end of the service time: 25 ms can only be kept below that end."""
    found = plan_text(SMALL.replace("mean_ms = 5", "mean_ms = { value = 5, low = 4.5, high = 5.8 }").replace("= 50", "= 25"), "s")
    assert isinstance(found, Plan)
    assert list(found.unreached) == ["high"] and "high" in found.chosen.fails


def test_the_same_intent_gives_the_same_plan() -> None:
    first, second = make(parse(SAMPLE_INTENT)), make(parse(SAMPLE_INTENT))
    assert first == second
