"""What nodes carry: against the exact queue, against drawn samples, and monotone in everything."""

from __future__ import annotations

from math import isinf, log

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loggos.planner.maths import queues, usl
from loggos.planner.plan import capacity
from loggos.planner.plan.intent import Demand, Interval, NodeType, Objective, Scaling, Service

KIND = NodeType(name="k", price_per_month=1.0, cores=4, memory_gb=8.0)


def station(mean_ms: float, objective: Objective, cv2: float = 1.0, cores: int = 4) -> capacity.Station:
    kind = NodeType(name="k", price_per_month=1.0, cores=cores, memory_gb=8.0)
    service = Service(mean_ms=mean_ms, cv2=cv2)
    return capacity.station(service, kind, Demand(service=service), objective, 0.8, "value")


@given(st.integers(1, 40), st.floats(0.05, 0.95), st.sampled_from([0.5, 0.9, 0.99, 0.999]))
def test_exponential_service_is_the_exact_queue(cores: int, busy: float, quantile: float) -> None:
    model = capacity.Station(10.0, 1.0, 1.0, cores, 0.0, Objective(latency_ms=1e9, quantile=quantile), 0.99, 1.0)
    load = busy * cores / 0.010
    exact = 1000 * queues.response_quantile(load, 0.010, cores, quantile)
    assert model.latency_ms(load, 1) == pytest.approx(exact, rel=1e-6)
    mean = capacity.Station(10.0, 1.0, 1.0, cores, 0.0, Objective(latency_ms=1e9), 0.99, 1.0)
    assert mean.latency_ms(load, 1) == pytest.approx(1000 * queues.mmc(load, 0.010, cores).response_s, rel=1e-9)


@pytest.mark.parametrize(("cv2", "wait", "waits"), [(0.05, 1.0, 0.5), (0.3, 0.1, 0.9), (2.0, 10.0, 0.3), (4.0, 1.0, 0.5)])
def test_a_quantile_of_gamma_service_after_an_exponential_wait(cv2: float, wait: float, waits: float) -> None:
    rng = np.random.default_rng(7)
    size = 200_000
    drawn = rng.gamma(1 / cv2, cv2, size) + (rng.random(size) < waits) * rng.exponential(wait, size)
    for quantile in (0.5, 0.99):
        found = capacity.response_quantile(1.0, cv2, waits, wait, quantile)
        beyond = float((drawn > found).mean())
        assert abs(beyond - (1 - quantile)) < 4 * (quantile * (1 - quantile) / size) ** 0.5


def test_constant_service_waits_only() -> None:
    assert capacity.response_quantile(1.0, 0.0, 0.5, 2.0, 0.99) == pytest.approx(1 - 2 * log(0.02))


@given(st.floats(1, 20), st.floats(30, 300), st.floats(1, 4), st.floats(0, 4))
def test_a_node_carries_what_just_meets_the_objective(mean_ms: float, latency_ms: float, factor: float, cv2: float) -> None:
    objective = Objective(latency_ms=latency_ms)
    model = station(mean_ms, objective, cv2)
    assert model.latency_ms(model.carried(1), 1) <= latency_ms * (1 + 1e-6)
    assert model.utilisation(model.carried(1), 1) <= 0.8 + 1e-9
    assert station(mean_ms, Objective(latency_ms=latency_ms * factor), cv2).carried(1) >= model.carried(1) * (1 - 1e-6)
    assert station(mean_ms / factor, objective, cv2).carried(1) >= model.carried(1) * (1 - 1e-6)
    needed = model.needed(5000.0)
    assert needed is not None and model.carried(needed) >= 5000.0 * (1 - 1e-6)
    assert needed == 1 or model.carried(needed - 1) < 5000.0


def test_an_objective_below_the_latency_of_a_request_alone() -> None:
    with pytest.raises(capacity.ZeroLoad, match=r"23\.03 ms already"):
        station(5.0, Objective(latency_ms=23.0, quantile=0.99))
    assert station(5.0, Objective(latency_ms=23.1, quantile=0.99)).carried(1) > 0


RAYTRACER = Scaling(gamma=20.856, alpha=0.02444, beta=0.00163)


def test_the_scalability_law_over_requests_obeys_littles_law() -> None:
    model = capacity.scaled(RAYTRACER, KIND, Demand(scaling=RAYTRACER), Objective(latency_ms=80.0), 0.9, "value")
    assert isinstance(model, capacity.Concurrent)
    for inside in (1.0, 5.0, 12.0):
        load = usl.usl(inside, 0.02444, 0.00163, 20.856)
        assert model.concurrency(load) == pytest.approx(inside)
        assert model.latency_ms(load, 1) == pytest.approx(1000 * inside / load)
    assert model.latency_ms(model.carried(1), 1) <= 80.0 * (1 + 1e-9)
    assert isinf(model.latency_ms(1.01 * model.most, 1))


def test_what_was_not_measured_is_not_planned_with() -> None:
    """Fitted up to 20 requests at once: nothing is said of more than 40, where the law would go on to its peak."""
    free = Scaling(gamma=20.0, alpha=0.001, beta=0.0)
    near = Scaling(gamma=20.0, alpha=0.001, beta=0.0, measured_to=20)
    demand, objective = Demand(scaling=free), Objective(latency_ms=1000.0)
    assert capacity.scaled(near, KIND, demand, objective, 1.0 - 1e-9, "value").carried(1) == pytest.approx(
        usl.usl(40, 0.001, 0.0, 20.0)
    )
    assert capacity.scaled(free, KIND, demand, objective, 1.0 - 1e-9, "value").carried(1) > 10_000


@given(st.floats(0.0, 0.2), st.floats(0.0, 0.01), st.floats(1, 3000))
def test_nodes_that_work_together(alpha: float, beta: float, load: float) -> None:
    model = capacity.Together(alpha, beta, 100.0, 0.8)
    needed = model.needed(load)
    best = model.best()
    if needed is None:
        assert model.carried(best) < load
        return
    assert model.carried(needed) >= load * (1 - 1e-6)
    assert all(model.carried(fewer) < load for fewer in range(1, needed))


@given(st.floats(0.0, 0.3), st.floats(0.0, 0.05))
def test_the_best_number_of_nodes(alpha: float, beta: float) -> None:
    model = capacity.Together(alpha, beta, 100.0, 0.8, reach=60.0)
    assert model.carried(model.best()) == pytest.approx(max(model.carried(nodes) for nodes in range(1, 61)))


def test_the_costly_end_of_every_interval() -> None:
    service = Service(mean_ms=Interval(5, 4, 7))
    demand, objective = Demand(service=service), Objective(latency_ms=100.0)
    low, middle, high = (capacity.model(demand, KIND, objective, 0.8, level).carried(1) for level in ("low", "value", "high"))
    assert low > middle > high
    law = Scaling(gamma=Interval(20, 18, 22), alpha=Interval(0.02, 0.01, 0.03), beta=Interval(0.001, 0, 0.002))
    demand = Demand(scaling=law)
    low, middle, high = (capacity.model(demand, KIND, objective, 0.8, level).carried(1) for level in ("low", "value", "high"))
    assert low > middle > high
