"""How the plan changes when one of its inputs does: which of them are worth measuring better. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import msgspec

from loggos.planner.plan.demand import Expected
from loggos.planner.plan.intent import Demand, Intent, Interval, Quantity, Service, estimate
from loggos.planner.plan.make import Plan, rank, search, unreached
from loggos.planner.plan.options import Need


class Change(NamedTuple):
    """One input changed, and the plan then: `nodes` of `kind`; None: no plan."""

    what: str
    nodes: int | None
    kind: str
    cost: float
    words: str


def sensitivity(plan: Plan) -> list[Change]:
    """The best option under each change of one input, all else equal."""
    changes = []
    for what, intent, coming in variations(plan.intent, plan.expected):
        found, groups, why = search(intent, coming)
        needs = [one for one in found if isinstance(one, Need)]
        if any(one.scenario == coming.middle.name for one in needs):
            best = rank(intent, coming, needs, groups)[0]
            missed = unreached(needs, [one for one in found if not isinstance(one, Need)])
            words = f"; nothing carries the {', '.join(missed)} scenario" if missed else ""
            changes.append(Change(what, best.nodes, best.kind.name, best.cost, best.binding.binding.what + words))
        else:
            reasons = [*why, *(one.why for one in found if not isinstance(one, Need))]
            changes.append(Change(what, None, "", 0.0, reasons[0] if reasons else "no plan"))
    return changes


def variations(intent: Intent, coming: Expected) -> Iterator[tuple[str, Intent, Expected]]:
    replace = msgspec.structs.replace
    for factor in (0.5, 1.25, 1.5, 2.0):
        scaled = tuple(scenario._replace(per_s=scenario.per_s * factor) for scenario in coming.scenarios)
        yield f"load × {factor:g}", intent, coming._replace(scenarios=scaled)
    for factor in (0.8, 1.25, 1.5):
        yield f"cost of a request × {factor:g}", replace(intent, demand=dearer(intent.demand, factor)), coming
    for factor in (0.5, 2.0):
        objective = replace(intent.objective, latency_ms=intent.objective.latency_ms * factor)
        yield f"latency objective {objective.latency_ms:g} ms", replace(intent, objective=objective), coming
    tenfold = replace(intent.objective, availability=1 - (1 - intent.objective.availability) / 10)
    yield f"availability {tenfold.availability:.7g}", replace(intent, objective=tenfold), coming
    more = replace(intent.survive, nodes=intent.survive.nodes + 1)
    yield f"survive {more.nodes} lost nodes", replace(intent, survive=more), coming
    if intent.survive.zones:
        fewer = replace(intent.survive, zones=intent.survive.zones - 1)
        yield f"survive {fewer.zones} lost zones", replace(intent, survive=fewer), coming
    if intent.data is not None:
        data = replace(intent.data, size_gb=times(intent.data.size_gb, 2))
        doubled = tuple(scenario._replace(data_gb=scenario.data_gb * 2) for scenario in coming.scenarios)
        yield "data × 2", replace(intent, data=data), coming._replace(scenarios=doubled)


def times(quantity: Quantity, factor: float) -> Interval:
    value = estimate(quantity)
    return Interval(value.value * factor, value.low * factor, value.high * factor)


def dearer(demand: Demand, factor: float) -> Demand:
    """Every request costs `factor` times as much."""
    if demand.service is not None:
        service: Service = msgspec.structs.replace(demand.service, mean_ms=times(demand.service.mean_ms, factor))
        return msgspec.structs.replace(demand, service=service)
    assert demand.scaling is not None
    scaling = msgspec.structs.replace(demand.scaling, gamma=times(demand.scaling.gamma, 1 / factor))
    return msgspec.structs.replace(demand, scaling=scaling)
