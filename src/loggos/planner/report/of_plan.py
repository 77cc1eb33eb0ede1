"""A plan, or a refusal, to the blocks of a report: the question, the answer first, why, alternatives, sensitivity, cross-checks,
what was measured and what assumed, what to measure next. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from math import isnan
from typing import Final

from loggos.planner.maths.availability import downtime_s_per_year
from loggos.planner.plan.crosschecks import crosschecks
from loggos.planner.plan.demand import Expected
from loggos.planner.plan.intent import Intent, Interval
from loggos.planner.plan.make import Partitions, Plan, Refusal, group_words
from loggos.planner.plan.sensitivity import Change, sensitivity
from loggos.planner.plan.survival import cases
from loggos.planner.plan.words import figure
from loggos.planner.report import figures
from loggos.planner.report.blocks import (
    Block,
    Items,
    Plot,
    Proofs,
    Report,
    Section,
    Table,
    Tiles,
    Words,
    interval,
    share,
    share_interval,
)
from loggos.planner.report.figures import Outlook
from loggos.planner.types import Estimate

NOTHING_FAILS: Final = "none"


def report(answer: Plan | Refusal, outlook: Outlook | None = None) -> Report:
    """The whole report. `outlook`: the measured load and its forecast, if there was one."""
    return refused(answer) if isinstance(answer, Refusal) else planned(answer, outlook)


def question(intent: Intent) -> str:
    objective = intent.objective
    lost = " or ".join(str(case) for case in cases(intent.survive))
    return (
        f"How many machines keep the {objective.words} within {objective.latency_ms:g} ms and the service up for"
        f" {objective.availability:g} of the time, {intent.horizon_months:g} months ahead, also after losing {lost}?"
    )


def sentence(plan: Plan) -> str:
    """The answer."""
    best, currency = plan.chosen, plan.intent.currency
    zones = [size for region in plan.per_zone for size in region]
    where = f" over {len(zones)} zones ({' + '.join(str(size) for size in zones)})" if 1 < len(zones) <= 12 else ""
    fails = "".join(f" It does not carry the {name} scenario: {reason}." for name, reason in plan.unreached.items())
    return f"{best.nodes} × {best.kind.name}{where}, {figure(best.cost)} {currency} a month.{fails}"


def planned(plan: Plan, outlook: Outlook | None) -> Report:
    best = plan.chosen
    down = downtime_s_per_year(min(1.0, best.availability)) / 60
    tiles = [
        (f"{best.nodes} × {best.kind.name}", f"{best.kind.cores} cores, {best.kind.memory_gb:g} GB each"),
        (figure(best.cost, plan.intent.currency), "a month"),
        (figure(best.latency_ms.value, "ms"), f"{plan.intent.objective.words} at the horizon's peak{within(best.latency_ms)}"),
        (share(best.utilisation.value), f"busy at that peak, before losses{within(best.utilisation)}"),
        (f"{best.availability:.6g}", f"available, or {figure(down)} minutes a year without"),
    ]
    if "voters" in plan.groups:
        tiles.append((str(plan.groups["voters"].total), "voters"))
    if plan.partitions is not None:
        tiles.append((figure(plan.partitions.total), f"partitions, {plan.partitions.replication} replicas each"))
    sections = [
        Section("Why", "", list(why(plan))),
        Section("The load, and what is carried", plan.expected.source, drawn(plan, outlook)),
        Section("Alternatives", regret_words(plan), [figures.costs(plan), alternatives(plan)]),
        Section("What else would change it", "The best option when one input changes and the others stay.", [changes(plan)]),
        Section("Cross-checks", "Rules that others use. They do not make the plan; where one disagrees, look.", [checks(plan)]),
        Section("Measured, and assumed", "", [Items(list(grounds(plan, outlook)))]),
        Section("What to measure next", "", [Items(list(measure_next(plan)))]),
    ]
    return Report(f"A plan for {plan.intent.name}", question(plan.intent), sentence(plan), Tiles(tiles), sections)


def within(estimate: Estimate) -> str:
    """The interval of a number that stands elsewhere; nothing if it is exact."""
    if estimate.low == estimate.high or isnan(estimate.value):
        return ""
    return f" [{figure(estimate.low)}, {figure(estimate.high)}]"


def drawn(plan: Plan, outlook: Outlook | None) -> list[Block]:
    found: list[Block] = [scenario_table(plan.expected, plan)]
    plots: list[Plot | None] = [figures.latency(plan), figures.scaling(plan)]
    if outlook is not None or plan.intent.load.per_s is not None:
        plots.insert(0, figures.load(plan, outlook))
    return [*found, *(plot for plot in plots if plot is not None)]


def scenario_table(coming: Expected, plan: Plan) -> Table:
    columns = ["scenario", "requests/s", "data GB", "produced MB/s", f"{plan.chosen.kind.name} nodes needed"]
    needed = {need.scenario: str(need.nodes) for need in plan.chosen.needs}
    rows = [
        (s.name, figure(s.per_s), figure(s.data_gb), figure(s.produce_mb_per_s), needed.get(s.name, "none will do"))
        for s in coming.scenarios
    ]
    return Table(columns, rows)


def why(plan: Plan) -> Iterator[Block]:
    """What each requirement asks for, and how it became the number of nodes."""
    need = plan.chosen.binding
    binding = need.binding
    yield Words(f"{binding.what.capitalize()} binds: {binding.why} ask for {binding.alive} nodes that are alive.")
    rows = [(one.what, str(one.alive), one.why) for one in sorted(need.requirements, key=lambda one: -one.alive)]
    rows += [(one.what, str(one.alive), one.why) for one in need.steps]
    yield Table(("requirement", "nodes", "because"), rows, words=(2,))
    lines = group_words(plan.groups)
    if plan.partitions is not None:
        lines += partition_words(plan.partitions)
    if plan.today is not None:
        lines.append(f"Today's load would need {plan.today.nodes} nodes of this type.")
    if lines:
        yield Items(lines)


def partition_words(placed: Partitions) -> list[str]:
    low, high = placed.per_node
    led = f"leads {placed.leaders[0]} to {placed.leaders[1]}"
    lines = [f"{placed.total:,} partitions: {placed.why}. A node holds {low} to {high} replicas and {led}."]
    if placed.moved:
        share_moved = placed.moved / (placed.total * placed.replication)
        grown = f"Growing from today's {placed.nodes_today} nodes moves {placed.moved:,} replicas, {share(share_moved)} of all"
        lines.append(f"{grown}: no more than the new shares ask for.")
    return lines


def regret_words(plan: Plan) -> str:
    return (
        "Ranked by the largest regret over the scenarios: the cost above the best choice in hindsight, where a node that is"
        f" missing then costs {plan.intent.shortfall_factor:g} times its price."
    )


def alternatives(plan: Plan) -> Table:
    columns = ("option", "fails in", "cost", "regret", "latency ms", "after losses", "busy", "slack", "available")
    rows = []
    for option in plan.options[: figures.OPTIONS_SHOWN_MAX]:
        rows.append(
            (
                f"{option.nodes} × {option.kind.name}",
                ", ".join(option.fails) or NOTHING_FAILS,
                figure(option.cost),
                figure(option.regret),
                interval(option.latency_ms),
                interval(option.after_loss_ms),
                share_interval(option.utilisation),
                share(option.slack),
                f"{option.availability:.6g}",
            )
        )
    seen = [option.kind.name for option in plan.options]
    dropped = {one.kind.name: one for one in plan.impossible if one.kind.name not in seen}
    rows += [(name, one.why, *"–––––––") for name, one in dropped.items()]
    return Table(columns, rows, words=(1,))


def changes(plan: Plan) -> Table:
    def cells(change: Change) -> tuple[str, ...]:
        if change.nodes is None:
            return (change.what, "none", "–", "–", change.words)
        more = change.cost / plan.chosen.cost - 1
        difference = f"{100 * more:+.0f} %" if abs(more) >= 0.005 else "the same"
        return (change.what, f"{change.nodes} × {change.kind}", figure(change.cost), difference, change.words)

    return Table(("change", "best option", "cost", "to the plan", "binds"), [cells(c) for c in sensitivity(plan)], words=(4,))


def checks(plan: Plan) -> Proofs:
    return Proofs([(check.rule, check.words, check.agrees) for check in crosschecks(plan)])


def grounds(plan: Plan, outlook: Outlook | None) -> Iterator[str]:
    """What the figures rest on."""
    intent = plan.intent
    yield f"Load: {plan.expected.source}: {interval(plan.expected.load, 'requests/s')} at the horizon."
    yield from outlook.findings if outlook is not None else ()
    if intent.demand.service is not None:
        given = intent.demand.service.mean_ms
        kind = "with its interval" if isinstance(given, Interval) else "as one number, so taken as exact"
        yield (
            f"Service time: given {kind}; squared variation {intent.demand.service.cv2:g}, of arrivals"
            f" {intent.demand.service.arrival_cv2:g}. Waiting by Allen and Cunneen: against simulation it errs by 0 to +10 % at"
            " 80 to 90 % busy, by -10 % for very bursty loads at 60 %."
        )
    yield from plan.notes
    if plan.points is None and intent.demand.scaling is not None:
        yield "Scalability law: its parameters were given, not fitted here."
    if intent.objective.quantile is not None and intent.demand.scaling is not None and not isnan(plan.chosen.latency_ms.value):
        yield "The quantile assumes exponential response times: the scalability law knows means only."
    site = intent.site
    yield (
        f"Assumed: a node is up for {site.node_availability:g} of the time, a zone for {site.zone_availability:g}, a region for"
        f" {site.region_availability:g}, each on its own. Availability is exact for one part, a lower bound for several together."
    )
    if intent.data is not None or intent.streams is not None:
        yield "The availability of data is that of any one partition: of many, some other one may be out meanwhile."
    yield "Assumed: the load is spread evenly over the nodes, and lost replicas are made again on the disks of those left."
    yield (
        "Intervals run from the low to the high scenario; prices and node types are as given;"
        f" {100 * intent.utilisation_max:g} % is the most that any resource is used after the losses."
    )


def measure_next(plan: Plan) -> Iterator[str]:
    """What would make the plan surer, the most telling first."""
    intent, best = plan.intent, plan.chosen
    load, service = plan.expected.load, intent.demand.service
    if load.low == load.high:
        yield "The load: it was given as one number. A year of hourly requests (--data) gives a forecast with its interval."
    elif load.high > 1.5 * load.low:
        yield f"The load: from {figure(load.low)} to {figure(load.high)} is wide; more history or known events would narrow it."
    if service is not None and not isinstance(service.mean_ms, Interval):
        yield "The service time and its variation, over several hours (busy core-seconds / requests): it was given as one number."
    if service is not None:
        yield "The 99th percentile in a load test at the planned utilisation, timed from when a request should have been sent."
    if best.utilisation.value > 0.6:
        yield "Queue lengths and pressure (PSI) rather than CPU share: they show saturation earlier."
    yield "How often nodes and zones really fail, and for how long: availability here rests on assumed shares of time."
    yield "The plan again when the forecast leaves its interval, or a month before an order must be placed."


def refused(answer: Refusal) -> Report:
    nearly = list(answer.nearly) or ["Nothing that was tried does: the cause above must go first."]
    sections = [Section("Why", "", [Items(list(answer.why))]), Section("What nearly does", "", [Items(nearly)])]
    tiles = Tiles([("no plan", "satisfies the intent as it stands")])
    first = answer.why[0] if answer.why else "nothing satisfies it"
    return Report(f"No plan for {answer.intent.name}", question(answer.intent), f"None: {first}.", tiles, sections)

