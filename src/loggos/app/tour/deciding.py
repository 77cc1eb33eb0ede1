"""The deciding chapter: advice for an application, a plan for its service, and one load over unequal servers under four policies.

It needs no cluster. What it claims is checked by something that did not decide it: the plan by a simulation of one of its nodes,
the policies by the theory of the supermarket model, the load by the servers' own counts.
"""

from __future__ import annotations

import random
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Final, NamedTuple

from loggos.app.tour.proofs import Proof
from loggos.app.tour.unequal import Side
from loggos.balance.farm.supermarket import supermarket, theory
from loggos.balance.policies import make
from loggos.des import laws
from loggos.des.arrivals import feed, renewal
from loggos.des.kernel import Kernel
from loggos.des.station import FifoStation
from loggos.des.statistics import quantile
from loggos.planner.advise.advice import Advice, advise
from loggos.planner.advise.sample import SAMPLE_INTENT, sample_needs
from loggos.planner.plan.capacity import model
from loggos.planner.plan.intent import estimate
from loggos.planner.plan.make import Plan, plan_text
from loggos.planner.plan.survival import cases, survivors

THEORY_LOAD: Final = 0.9
THEORY_CHOICES: Final = (1, 2, 3)
THEORY_SERVERS: Final = 1_000
THEORY_REQUESTS: Final = 200_000
THEORY_MARGIN: Final = 0.03
NODE_REQUESTS: Final = 200_000
NODE_MARGIN: Final = 0.05  # what the formula for a quantile behind many servers may be off, to either side


class Compared(NamedTuple):
    """Requests with `choices` choices at THEORY_LOAD: their mean time in service times, simulated and in theory."""

    choices: int
    simulated: float
    theory: float


class Node(NamedTuple):
    """One node of the plan with its share of the load after the losses: the planned quantile, simulated and by formula, in ms."""

    scenario: str
    load_per_s: float
    simulated_ms: float
    formula_ms: float


@dataclass(slots=True)
class Decisions:
    """All that the chapter did."""

    advice: Advice
    plan: Plan
    node: Node
    sides: list[Side]
    compared: list[Compared]


def sample_advice() -> Advice:
    return advise(sample_needs())


def sample_plan() -> Plan:
    plan = plan_text(SAMPLE_INTENT, "the sample intent")
    assert isinstance(plan, Plan), plan
    return plan


def against_theory() -> list[Compared]:
    """The policy of the pool, one balancer, very many equal servers."""
    found = []
    for choices in THEORY_CHOICES:
        policy = make("p2c", random.Random(choices), d=choices)
        times = supermarket(
            policy,
            servers=THEORY_SERVERS,
            load=THEORY_LOAD,
            requests=THEORY_REQUESTS,
            arrivals=random.Random(5),
            works=random.Random(6),
            equilibrium=choices,
        )
        found.append(Compared(choices, sum(times) / len(times), theory(THEORY_LOAD, choices)))
    return found


def simulated_node(plan: Plan) -> Node:
    """What a node gets when the scenario comes true that the plan is made for, and the losses that are to be survived happen."""
    intent, chosen = plan.intent, plan.chosen
    service, objective = intent.demand.service, intent.objective
    assert service is not None and objective.quantile is not None, "the sample names both"
    scenario = next(one for one in plan.expected.scenarios if one.name == chosen.binding.scenario)
    load_per_s = scenario.per_s / left(plan, chosen.nodes)
    kernel, times_s = Kernel(), array("d")
    station = FifoStation(kernel, lambda came_s: times_s.append(kernel.now_s - came_s), servers=chosen.kind.cores)
    service_ms: float = getattr(estimate(service.mean_ms), scenario.level) / chosen.kind.speed
    work = laws.gamma(service_ms / 1000, service.cv2).sampler(random.Random(7))
    gaps = renewal(laws.gamma(1 / load_per_s, service.arrival_cv2), random.Random(8))
    feed(kernel, islice(gaps, NODE_REQUESTS), lambda came_s: station.arrive(work(), came_s))
    kernel.run()
    simulated_ms = intent.demand.floor_ms + 1000 * quantile(sorted(times_s), objective.quantile)
    formula = model(intent.demand, chosen.kind, objective, intent.utilisation_max, scenario.level)
    return Node(scenario.name, load_per_s, simulated_ms, formula.latency_ms(load_per_s, 1))


def left(plan: Plan, nodes: int) -> int:
    """How many of so many nodes are left after the worst of the losses that are to be survived."""
    return min(survivors(nodes, plan.intent.site, case) for case in cases(plan.intent.survive))


# --- proofs ---------------------------------------------------------------------------------------------------------------


def prove(told: Decisions) -> list[Proof]:
    return [answered(told), fits_theory(told), keeps_objective(told), no_node_too_many(told)]


def answered(told: Decisions) -> Proof:
    def wrong() -> Iterator[str]:
        for side in told.sides:
            answered = len(side.latencies_s)
            if not side.sent or side.failed or answered != side.sent:
                yield f"{side.contender.title}: of {side.sent} requests {answered} were answered, {side.failed} failed"
            if sum(side.served) != side.sent:
                yield f"{side.contender.title}: the servers counted {sum(side.served)} of {side.sent} requests"

    sent = sum(side.sent for side in told.sides)
    evidence = f"{sent:,} requests, each counted by the client that sent it and by the server that worked on it"
    return verdict("every request was answered once, under every policy", evidence, wrong(), "loggos/balance/pool")


def fits_theory(told: Decisions) -> Proof:
    def wrong() -> Iterator[str]:
        for one in told.compared:
            if abs(one.simulated / one.theory - 1) > THEORY_MARGIN:
                yield f"{one.choices} choices: {one.simulated:.3f} service times, theory {one.theory:.3f}"

    means = ", ".join(f"{one.simulated:.2f} ({one.theory:.2f})" for one in told.compared)
    evidence = f"{THEORY_CHOICES} choices at load {THEORY_LOAD}: {means} service times on average, in brackets the theory's"
    return verdict("choices do what theory says of them", evidence, wrong(), "loggos/balance/farm/supermarket.py")


def keeps_objective(told: Decisions) -> Proof:
    objective, node = told.plan.intent.objective, told.node

    def wrong() -> Iterator[str]:
        if node.simulated_ms > objective.latency_ms:
            yield f"simulated, the {objective.words} is {node.simulated_ms:.1f} ms"
        if abs(node.simulated_ms / node.formula_ms - 1) > NODE_MARGIN:
            yield f"the formula says {node.formula_ms:.1f} ms, the simulation {node.simulated_ms:.1f} ms"

    evidence = (
        f"{objective.words} {node.simulated_ms:.1f} ms in a simulated node at {node.load_per_s:,.0f} requests/s "
        f"(scenario {node.scenario}), "
        f"{node.formula_ms:.1f} ms by formula; {objective.latency_ms:g} ms are allowed"
    )
    return verdict("after the losses the plan keeps its objective", evidence, wrong(), "loggos/planner/plan/capacity.py")


def no_node_too_many(told: Decisions) -> Proof:
    chosen = told.plan.chosen
    least = chosen.binding.alive
    enough, fewer = left(told.plan, chosen.nodes), left(told.plan, chosen.nodes - 1)

    def wrong() -> Iterator[str]:
        if enough < least:
            yield f"of {chosen.nodes} nodes {enough} are left, and {least} are needed"
        if fewer >= least and chosen.binding.nodes <= chosen.nodes - 1:
            yield f"{chosen.nodes - 1} nodes would do"

    must = f"{least} {chosen.kind.name} nodes must be left"
    evidence = f"{must}; of {chosen.nodes} it is {enough}, of {chosen.nodes - 1} only {fewer}"
    return verdict("the plan has no node too many", evidence, wrong(), "loggos/planner/plan/options.py")


def verdict(title: str, evidence: str, problems: Iterator[str], look_at: str) -> Proof:
    found = list(problems)
    return Proof(title, not found, "; ".join(found) or evidence, look_at)
