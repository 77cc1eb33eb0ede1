"""One node type to the number of nodes that every requirement asks for: latency, memory, disks, network, losses, availability.

Rules: each requirement names the fewest nodes that must be alive for it, with its reason in words; the largest one binds. Then so
many nodes are added that this number is left after every tolerated loss, that replicas find nodes of their own, and that enough
nodes are up for the availability asked for. More load, a tighter objective or more losses never give fewer nodes of a type. Pure.
"""

from __future__ import annotations

from math import ceil, inf, isnan
from typing import Final, NamedTuple

from loggos.base.limits import PLANNER_MEMBERS_MAX
from loggos.planner.plan import capacity
from loggos.planner.plan.demand import Scenario
from loggos.planner.plan.intent import Intent, NodeType
from loggos.planner.plan.quorum import Group
from loggos.planner.plan.survival import Part, joint_availability, least_total
from loggos.planner.plan.words import figure

GB: Final = 1024.0  # MB of memory in one GB
ROUND: Final = 1e-9  # relative: what arithmetic may add before a number is rounded up


class Requirement(NamedTuple):
    """`alive` nodes are needed for this, because."""

    what: str
    alive: int
    why: str


class Need(NamedTuple):
    """How many nodes of a type one scenario needs. `alive` of them must work; `availability` is the share of time they do, voters
    and replicas included; `steps` are the numbers on the way with their reasons."""

    kind: NodeType
    scenario: str
    nodes: int
    alive: int
    availability: float
    requirements: tuple[Requirement, ...]
    steps: tuple[Requirement, ...]

    @property
    def binding(self) -> Requirement:
        return max(self.requirements, key=lambda requirement: requirement.alive)


class Impossible(NamedTuple):
    """This type cannot do it, because. `zero_load_ms`: if the objective is below it."""

    kind: NodeType
    scenario: str
    why: str
    zero_load_ms: float | None = None


def up(amount: float) -> int:
    return max(1, ceil(amount * (1 - ROUND)))


def requirements(intent: Intent, kind: NodeType, scenario: Scenario, groups: dict[str, Group]) -> list[Requirement] | Impossible:
    """What each resource asks for."""
    try:
        model = capacity.model(intent.demand, kind, intent.objective, intent.utilisation_max, scenario.level)
    except capacity.ZeroLoad as error:
        return Impossible(kind, scenario.name, str(error), error.zero_load_ms)
    alive = model.needed(scenario.per_s)
    if alive is None:
        return Impossible(kind, scenario.name, too_much(model, scenario))
    carried = model.carried(alive) / alive
    objective = f"{intent.objective.words} within {intent.objective.latency_ms:g} ms and {100 * intent.utilisation_max:g} % busy"
    if isnan(model.latency_ms(scenario.per_s, alive)):
        objective = f"{100 * intent.utilisation_max:g} % busy at the most; the law over nodes says nothing of latency"
    why = f"{figure(scenario.per_s)} requests/s at {figure(carried)} a node ({objective})"
    found = [Requirement("load", alive, why)]
    found += memory(intent, kind, scenario, groups)
    found += disks(intent, kind, scenario, groups)
    return found + network(intent, kind, scenario, groups)


def too_much(model: capacity.Model, scenario: Scenario) -> str:
    assert isinstance(model, capacity.Together), "other models carry twice as much with twice the nodes"
    best = model.best()
    far = f", as far as it is known (to {model.reach:g} nodes, twice what was measured)" if model.reach < inf else ""
    return (
        f"{figure(scenario.per_s)} requests/s are more than the scalability law gives at its best{far}:"
        f" {figure(model.carried(best))} on {best} nodes; split the load over independent"
        " clusters, lower alpha and beta, or measure with more nodes"
    )


def memory(intent: Intent, kind: NodeType, scenario: Scenario, groups: dict[str, Group]) -> list[Requirement]:
    """Requests in flight (Little's law, at the objective's latency) and the share of the data that is held in memory."""
    flying_gb = scenario.per_s * intent.objective.latency_ms / 1000 * intent.demand.memory_mb_per_request / GB
    held_gb = 0.0
    if intent.data is not None:
        held_gb = scenario.data_gb * groups["data"].total * intent.data.memory_share
    free = kind.memory_gb * intent.utilisation_max - intent.demand.memory_base_gb
    assert free > 0, "the intent was checked"
    if flying_gb + held_gb == 0:
        return []
    why = f"{figure(flying_gb)} GB of requests in flight, {figure(held_gb)} GB of data in memory, {figure(free)} GB free a node"
    return [Requirement("memory", up((flying_gb + held_gb) / free), why)]


def disks(intent: Intent, kind: NodeType, scenario: Scenario, groups: dict[str, Group]) -> list[Requirement]:
    """Room for every replica, and the rate at which replicas are written."""
    kept_gb, written, fill = 0.0, 0.0, 0.75
    if intent.data is not None:
        kept_gb += scenario.data_gb * groups["data"].total
        written += scenario.per_s * intent.load.write_share * intent.load.request_kb / 1000 * groups["data"].total
        fill = intent.data.fill_max
    if intent.streams is not None:
        flow = scenario.produce_mb_per_s * groups["streams"].total
        kept_gb += flow * intent.streams.retention_hours * 3.6
        written += flow
    found = []
    if kept_gb and kind.disk_gb:
        why = f"{figure(kept_gb)} GB with all replicas on disks of {figure(kind.disk_gb)} GB, filled to {100 * fill:g} %"
        found.append(Requirement("disk", up(kept_gb / (kind.disk_gb * fill)), why))
    if written and kind.disk_mb_per_s:
        why = f"{figure(written)} MB/s written by all replicas on disks of {figure(kind.disk_mb_per_s)} MB/s"
        found.append(Requirement("disk writes", up(written / (kind.disk_mb_per_s * intent.utilisation_max)), why))
    return found


def network(intent: Intent, kind: NodeType, scenario: Scenario, groups: dict[str, Group]) -> list[Requirement]:
    """Requests, answers, and copies to the other replicas; the busier direction counts."""
    if not kind.network_mb_per_s:
        return []
    inward, outward = scenario.per_s * intent.load.request_kb / 1000, scenario.per_s * intent.load.response_kb / 1000
    copies = 0.0
    if intent.data is not None:
        copies += inward * intent.load.write_share * (groups["data"].total - 1)
    if intent.streams is not None:
        copies += scenario.produce_mb_per_s * (groups["streams"].total - 1)
        inward, outward = inward + scenario.produce_mb_per_s, outward + scenario.consume_mb_per_s
    busier = max(inward, outward) + copies
    why = f"{figure(busier)} MB/s one way, {figure(copies)} of it copies to replicas, over"
    why += f" {figure(kind.network_mb_per_s)} MB/s a node"
    return [Requirement("network", up(busier / (kind.network_mb_per_s * intent.utilisation_max)), why)]


def need(intent: Intent, kind: NodeType, scenario: Scenario, groups: dict[str, Group]) -> Need | Impossible:
    """The fewest nodes of this type that satisfy the intent in this scenario, or why none do."""
    found = requirements(intent, kind, scenario, groups)
    if isinstance(found, Impossible):
        return found
    alive = max(requirement.alive for requirement in found)
    total = least_total(alive, intent.site, intent.survive)
    if total is None:
        return Impossible(kind, scenario.name, "nothing would be left after the losses to be survived")
    steps = [Requirement("losses", total, f"{alive} of them are left after every loss that is to be survived")]
    for key, group in groups.items():
        if group.total > total:
            total = group.total
            steps.append(Requirement(key, total, f"each of {group.total} {member(key)} stands on a node of its own"))
    reached = available_total(intent, total, alive, groups)
    if reached is None:
        ceiling = availability(intent, PLANNER_MEMBERS_MAX, alive, groups)
        why = f"enough nodes are up for {ceiling:.7g} of the time at the most, and {intent.objective.availability:g} is asked for"
        return Impossible(kind, scenario.name, f"{why}: name more zones or better ones, or relax the availability")
    if reached > total:
        words = f"so that {alive} of them are up for {intent.objective.availability:g} of the time"
        steps.append(Requirement("availability", reached, words))
    model = capacity.model(intent.demand, kind, intent.objective, intent.utilisation_max, scenario.level)
    if isinstance(model, capacity.Together) and reached > model.best():
        words = f"{reached} nodes would be needed with those that may be lost, and beyond {model.best()} more of them carry less"
        return Impossible(kind, scenario.name, f"{words}, or were not measured: split the load over independent clusters")
    if kind.most is not None and reached > kind.most:
        return Impossible(kind, scenario.name, f"{reached} nodes are needed, and {kind.most} can be had")
    up_share = availability(intent, reached, alive, groups)
    return Need(kind, scenario.name, reached, alive, up_share, tuple(found), tuple(steps))


def member(key: str) -> str:
    return "voters" if key == "voters" else "replicas"


def availability(intent: Intent, nodes: int, alive: int, groups: dict[str, Group]) -> float:
    """Of nodes, voters and replicas together."""
    return joint_availability([Part(alive, nodes), *(group.part for group in groups.values())], intent.site)


def available_total(intent: Intent, least: int, alive: int, groups: dict[str, Group]) -> int | None:
    """The fewest nodes, `least` or more, with which the whole is available enough; None if no number is."""
    asked = intent.objective.availability
    if availability(intent, least, alive, groups) >= asked:
        return least
    low, high = least, least + 1
    while availability(intent, high, alive, groups) < asked:
        if high >= max(PLANNER_MEMBERS_MAX, 2 * least):
            return None
        low, high = high, min(max(PLANNER_MEMBERS_MAX, 2 * least), high + 2 * (high - low))
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if availability(intent, middle, alive, groups) >= asked else (middle, high)
    return high
