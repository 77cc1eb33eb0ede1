"""An intent to a plan, or to a refusal that says why and what nearly does.

Rules: every node type is tried with the number of nodes that each demand scenario needs; the option with the least regret leads.
The regret of an option in a scenario is its cost there above that of the best choice in hindsight, where nodes that turn out to
be missing are bought in a hurry at `shortfall_factor` times their price; options are ranked by largest regret, then by cost.
Pure: an intent and a forecast in, a plan out.
Source: Savage, The theory of statistical decision (1951), for minimax regret; Site Reliability Engineering, ch. 18, for intents.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import NamedTuple

import msgspec

from loggos.base.errors import InputError
from loggos.base.limits import PLAN_REPLICAS_PLACED_MAX, PLAN_STRICTER_TRIES
from loggos.planner.plan import capacity, quorum
from loggos.planner.plan.demand import Expected, Scenario, expected
from loggos.planner.plan.intent import Intent, Interval, NodeType, Points, Scaling, parse
from loggos.planner.plan.options import Impossible, Need, availability, member, need, up
from loggos.planner.plan.placement import place, regrow
from loggos.planner.plan.quorum import Group, chosen_parts
from loggos.planner.plan.reading import place as place_of
from loggos.planner.plan.survival import cases, layout, survivors
from loggos.planner.plan.words import figure
from loggos.planner.types import Estimate


class Option(NamedTuple):
    """So many nodes of one type. `latency_ms`, `after_loss_ms`, `utilisation`: middle scenario, interval from low to high.
    `slack`: of the load that is carried after losses, above the middle scenario. `fails`: scenarios it does not carry."""

    kind: NodeType
    nodes: int
    alive: int
    cost: float
    regret: float
    latency_ms: Estimate
    after_loss_ms: Estimate
    utilisation: Estimate
    slack: float
    availability: float
    fails: tuple[str, ...]
    needs: tuple[Need, ...]

    @property
    def binding(self) -> Need:
        """The need of the most demanding scenario that this number of nodes is for."""
        return next((need for need in reversed(self.needs) if need.nodes == self.nodes), self.needs[-1])


class Partitions(NamedTuple):
    """Partition replicas over the chosen nodes; `moved` of them when today's nodes grow to the plan's."""

    total: int
    replication: int
    per_node: tuple[int, int]
    leaders: tuple[int, int]
    moved: int
    nodes_today: int
    why: str


@dataclass(frozen=True, slots=True)
class Plan:
    """The answer. `options`: best first, the first one is chosen. `groups`: voters and replicas."""

    intent: Intent
    expected: Expected
    options: tuple[Option, ...]
    impossible: tuple[Impossible, ...]
    groups: dict[str, Group]
    per_zone: tuple[tuple[int, ...], ...]
    today: Need | None
    partitions: Partitions | None
    unreached: dict[str, str]  # scenarios that no node type carries, and why
    points: Points | None  # what was measured, if the demand was fitted to it
    notes: tuple[str, ...]

    @property
    def chosen(self) -> Option:
        return self.options[0]


@dataclass(frozen=True, slots=True)
class Refusal:
    """No plan satisfies the intent. `nearly`: changes of the intent that would, each with what they give."""

    intent: Intent
    why: tuple[str, ...]
    nearly: tuple[str, ...]


def plan_text(text: str, where: str, forecast: Estimate | None = None, source: str = "") -> Plan | Refusal:
    """`make` for a TOML text; InputError with its line for what cannot be used, an objective below the zero-load latency too."""
    intent = parse(text, where)
    try:
        return make(intent, forecast, source)
    except capacity.ZeroLoad as error:
        raise InputError(f"{place_of(text, where, ('objective', 'latency_ms'))}: {error}") from None


def make(intent: Intent, forecast: Estimate | None = None, source: str = "") -> Plan | Refusal:
    """A plan for the intent. `forecast`: the peak of the load until the horizon, in requests per second, instead of the intent's
    own load; `source`: where it is from. Raises ZeroLoad if no node type is quick enough when idle, InputError without a load."""
    points = intent.demand.points
    intent, notes = fitted(intent)
    coming = expected(intent, forecast, source)
    found, groups, why = search(intent, coming)
    needs = [one for one in found if isinstance(one, Need)]
    bad = [one for one in found if isinstance(one, Impossible)]
    if not any(one.scenario == coming.middle.name for one in needs):
        bad = [one for one in bad if one.scenario == coming.middle.name]
        slow = [one.zero_load_ms for one in bad if one.zero_load_ms is not None]
        if bad and len(slow) == len(bad):
            raise capacity.ZeroLoad(min(slow), intent.objective)
        reasons = dict.fromkeys([*why, *(f"{one.kind.name}: {one.why}" for one in bad)])
        return Refusal(intent, tuple(reasons), nearly(intent, coming))
    options = rank(intent, coming, needs, groups)
    best = options[0]
    today = None
    if coming.today is not None:
        now = need(intent, best.kind, coming.today, groups)
        today = now if isinstance(now, Need) else None
    return Plan(
        intent,
        coming,
        tuple(options),
        tuple(bad),
        groups,
        tuple(tuple(region) for region in layout(best.nodes, intent.site)),
        today,
        partitions(intent, coming, best.nodes, today.nodes if today else best.nodes, groups),
        unreached(needs, bad),
        points,
        tuple(notes),
    )


def unreached(needs: list[Need], bad: list[Impossible]) -> dict[str, str]:
    """Scenarios that no type carries."""
    carried = [one.scenario for one in needs]
    return {one.scenario: one.why for one in bad if one.scenario not in carried}


def search(intent: Intent, coming: Expected) -> tuple[list[Need | Impossible], dict[str, Group], list[str]]:
    """What each type needs in each scenario, with the fewest voters and replicas that leave room for the nodes' own failures."""
    outage = 1 - intent.objective.availability
    found: list[Need | Impossible] = []
    groups: dict[str, Group] = {}
    for stricter in range(PLAN_STRICTER_TRIES):
        tried, why = chosen_parts(intent, 1 - outage / 2**stricter)
        if why:
            return (found, groups, []) if found else ([], tried, why)
        groups = tried
        found = [need(intent, kind, scenario, groups) for kind in intent.node for scenario in coming.scenarios]
        if any(isinstance(one, Need) and one.scenario == coming.middle.name for one in found) or not groups:
            break
    return found, groups, []


def fitted(intent: Intent) -> tuple[Intent, list[str]]:
    """Measured points replaced by the law that was fitted to them, with its intervals."""
    points = intent.demand.points
    if points is None:
        return intent, []
    from loggos.planner.fit.fit import fit
    from loggos.planner.fit.models import USL
    from loggos.planner.fit.points import points as pairs

    law = fit(USL, pairs(points.n, points.per_s))
    values = {name: Interval(value.value, max(0.0, value.low), value.high) for name, value in law.parameters.items()}
    least = 1e-3 * values["gamma"].value  # an interval that reaches 0 says that one request was not measured well
    gamma = Interval(values["gamma"].value, max(least, values["gamma"].low), values["gamma"].high)
    measured_to = None if points.extrapolate else max(points.n)
    scaling = Scaling(gamma, values["alpha"], values["beta"], points.over, measured_to)
    demand = msgspec.structs.replace(intent.demand, points=None, scaling=scaling)
    note = f"The scalability law was fitted to {len(points.n)} points. {law.words}"
    return msgspec.structs.replace(intent, demand=demand), [note]


def rank(intent: Intent, coming: Expected, needs: list[Need], groups: dict[str, Group]) -> list[Option]:
    """Every type at every scenario's number of nodes, least regret first."""
    by_kind = {kind.name: [one for one in needs if one.kind.name == kind.name] for kind in intent.node}
    reached = [scenario for scenario in coming.scenarios if any(one.scenario == scenario.name for one in needs)]
    best = {}
    for scenario in reached:
        best[scenario.name] = min(one.nodes * one.kind.price_per_month for one in needs if one.scenario == scenario.name)
    options = []
    for own in by_kind.values():
        for nodes in dict.fromkeys(sorted(one.nodes for one in own)):
            regrets = [hindsight(intent, nodes, own, scenario.name) - best[scenario.name] for scenario in reached]
            options.append(option(intent, coming, nodes, own, max(regrets), groups))
    return sorted(options, key=lambda option: (option.regret, option.cost, option.kind.name))


def hindsight(intent: Intent, nodes: int, needs: list[Need], scenario: str) -> float:
    """The cost per month if this scenario comes true: missing nodes are bought in a hurry."""
    wanted = next((one.nodes for one in needs if one.scenario == scenario), None)
    if wanted is None:
        return inf
    return needs[0].kind.price_per_month * (nodes + intent.shortfall_factor * max(0, wanted - nodes))


def option(
    intent: Intent, coming: Expected, nodes: int, needs: list[Need], regret: float, groups: dict[str, Group]
) -> Option:
    kind = needs[0].kind
    left = min(survivors(nodes, intent.site, case) for case in cases(intent.survive))
    before: list[float] = []
    after: list[float] = []
    busy: list[float] = []
    carried = 0.0
    for scenario in coming.scenarios:
        try:
            model = capacity.model(intent.demand, kind, intent.objective, intent.utilisation_max, scenario.level)
        except capacity.ZeroLoad as error:
            before, after, busy = [*before, error.zero_load_ms], [*after, inf], [*busy, busy[-1] if busy else inf]
            continue
        before.append(model.latency_ms(scenario.per_s, nodes))
        after.append(model.latency_ms(scenario.per_s, left) if left else inf)
        busy.append(model.utilisation(scenario.per_s, nodes))
        if scenario.name == coming.middle.name:
            carried = model.carried(left) if left else 0.0
    wanted = {one.scenario: one for one in needs}
    fails = [s.name for s in coming.scenarios if s.name not in wanted or wanted[s.name].nodes > nodes]
    middle = wanted.get(coming.middle.name, needs[-1])
    return Option(
        kind,
        nodes,
        left,
        nodes * kind.price_per_month,
        regret,
        Estimate(before[1], before[0], before[2]),
        Estimate(after[1], after[0], after[2]),
        Estimate(busy[1], busy[0], busy[2]),
        carried / coming.middle.per_s - 1 if coming.middle.per_s else inf,
        availability(intent, nodes, min(middle.alive, nodes), groups),
        tuple(fails),
        tuple(needs),
    )


def partitions(intent: Intent, coming: Expected, nodes: int, today: int, groups: dict[str, Group]) -> Partitions | None:
    """How many partitions, and how evenly they lie; planned for the high scenario, since their number is hard to change."""
    streams = intent.streams
    if streams is None:
        return None
    high: Scenario = coming.scenarios[-1]
    count, why = streams.partitions or 1, "fixed by the application"
    if streams.partitions is None:
        by_flow = up(high.produce_mb_per_s / streams.partition_produce_mb_per_s)
        by_use = up(high.consume_mb_per_s / streams.partition_consume_mb_per_s)
        count = max(by_flow, by_use)
        why = f"{by_flow} to take in {figure(high.produce_mb_per_s, 'MB/s')}, {by_use} to give out"
        why += f" {figure(high.consume_mb_per_s, 'MB/s')}"
    replication = groups["streams"].total
    today = max(replication, min(today, nodes))
    if count * replication > PLAN_REPLICAS_PLACED_MAX:
        floor, ceiling = count * replication // nodes, -(-count * replication // nodes)
        led = (count // nodes, -(-count // nodes))
        moved = count * replication * (nodes - today) // nodes
        why += "; too many to place one by one: counted"
        return Partitions(count, replication, (floor, ceiling), led, moved, today, why)
    zone_of = zones_in_order(intent, nodes)
    placed = place(count, replication, zone_of)
    moved = regrow(place(count, replication, zone_of[:today]), zone_of).moved if today < nodes else 0
    each, led_by = placed.per_node, placed.leaders
    spread = (int(each.min()), int(each.max())), (int(led_by.min()), int(led_by.max()))
    return Partitions(count, replication, *spread, moved, today, why)


def zones_in_order(intent: Intent, nodes: int) -> list[int]:
    """The zone of each node: nodes take turns, so that the first so many of them are spread as evenly."""
    return [node % intent.zones for node in range(nodes)]


def nearly(intent: Intent, coming: Expected) -> tuple[str, ...]:
    """Changes of the intent, one at a time, with which there is a plan."""
    survive, objective = intent.survive, intent.objective
    tries: list[tuple[str, Intent]] = []
    for key in ("regions", "zones", "nodes"):
        lost = getattr(survive, key)
        if lost:
            fewer = msgspec.structs.replace(survive, **{key: lost - 1})
            tries.append((f"survive.{key} = {lost - 1}", msgspec.structs.replace(intent, survive=fewer)))
    if intent.site.zones < 50:
        wider = msgspec.structs.replace(intent.site, zones=intent.site.zones + 1)
        tries.append((f"site.zones = {wider.zones}", msgspec.structs.replace(intent, site=wider)))
    for asked in (0.999, 0.995, 0.99, 0.95, 0.9):
        if asked < objective.availability:
            softer = msgspec.structs.replace(objective, availability=asked)
            tries.append((f"objective.availability = {asked:g}", msgspec.structs.replace(intent, objective=softer)))
    for factor in (1.25, 1.5, 2, 3):
        slower = msgspec.structs.replace(objective, latency_ms=objective.latency_ms * factor)
        tries.append((f"objective.latency_ms = {slower.latency_ms:g}", msgspec.structs.replace(intent, objective=slower)))
    said: list[str] = []
    done: list[str] = []
    for words, changed in tries:
        knob = words.split(" ")[0]
        if knob in done:
            continue
        found, groups, _ = search(changed, coming)
        needs = [one for one in found if isinstance(one, Need)]
        if any(one.scenario == coming.middle.name for one in needs):
            best = rank(changed, coming, needs, groups)[0]
            done.append(knob)
            said.append(f"{words} would give {best.nodes} × {best.kind.name}, {best.cost:,.0f} {intent.currency} a month")
    return tuple(said)


def group_words(groups: dict[str, Group]) -> list[str]:
    """One line for each: how many, where, and how often they are up."""
    lines = []
    for key, group in groups.items():
        where = "; ".join("+".join(str(size) for size in region) for region in group.per_zone)
        what = f"{group.total} {member(key)}" + ("" if key == "voters" else f" of each partition of {key}")
        needs = f"{group.needed} needed" if key != "voters" else f"a majority of {quorum.majority(group.total)} needed"
        why = f" ({group.why})" if group.why else ""
        lines.append(f"{what} over zones {where}, {needs}: up for {group.availability:.7g} of the time{why}")
    return lines
