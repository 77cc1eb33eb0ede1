"""The plots of a plan. Pure: a plan in, inline SVG with its message in words out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import isfinite
from typing import Final, NamedTuple

from loggos.draw import plots
from loggos.draw.plots import Level, Line, Stack
from loggos.planner.maths import usl
from loggos.planner.plan import capacity
from loggos.planner.plan.demand import LEVELS, grown
from loggos.planner.plan.intent import Intent, estimate
from loggos.planner.plan.make import Option, Plan
from loggos.planner.plan.words import figure
from loggos.planner.report.blocks import Plot

CURVE_POINTS: Final = 60
OPTIONS_SHOWN_MAX: Final = 8
POINTS_MAX: Final = 300  # of a measured load and its forecast: more are gathered, the highest of each group


class Outlook(NamedTuple):
    """A measured load and its forecast: (time, value), and (time, value, low, high). `say`: a time in words. `findings`: what was
    odd about them."""

    history: Sequence[tuple[float, float]]
    forecast: Sequence[tuple[float, float, float, float]]
    say: Callable[[float], str]
    findings: Sequence[str] = ()


def load(plan: Plan, outlook: Outlook | None) -> Plot:
    """What comes, and what the plan carries."""
    best, middle = plan.chosen, plan.expected.middle
    carried = float(f"{middle.per_s * (1 + best.slack):.4g}")
    levels = [Level("carried after losses", carried)] if isfinite(carried) else []
    words = f"At the horizon {figure(middle.per_s)} requests/s are expected; {figure(carried)} are carried even after the losses."
    if outlook is not None:
        each = max(1, (len(outlook.history) + len(outlook.forecast)) // POINTS_MAX)
        lines = [Line("measured", highest(outlook.history, each))] if outlook.history else []
        expected, low, high = (highest([(row[0], row[place]) for row in outlook.forecast], each) for place in (1, 2, 3))
        lines.append(Line("forecast", expected, [value for _, value in low], [value for _, value in high], dashed=True))
        words += f" Each point is the highest of {each} values." if each > 1 else ""
        return Plot(plots.lines("load over time", lines, "time", "requests/s", levels, outlook.say), words)
    months = [step * 12 * plan.intent.years / 24 for step in range(25)]
    rows = [[ahead(plan.intent, name, month / 12) for month in months] for name in LEVELS]
    band = Line("expected", list(zip(months, rows[1], strict=True)), rows[0], rows[2], dashed=True)
    return Plot(plots.lines("load over the months ahead", [band], "months from now", "requests/s", levels), words)


def highest(points: Sequence[tuple[float, float]], each: int) -> list[tuple[float, float]]:
    """The highest of every so many values, at the first of their times: capacity is for peaks."""
    groups = [points[first : first + each] for first in range(0, len(points), each)]
    return [(group[0][0], max(value for _, value in group)) for group in groups]


def ahead(intent: Intent, name: str, years: float) -> float:
    """The load of a scenario some years from now."""
    extra = getattr(estimate(intent.load.extra_per_s), LEVELS[name])
    return grown(intent.load.per_s or 0.0, intent.load.growth_per_year, years, LEVELS[name]) + float(extra)


def latency(plan: Plan) -> Plot | None:
    """Latency against load, with all nodes and after the losses."""
    best, objective = plan.chosen, plan.intent.objective
    model = capacity.model(plan.intent.demand, best.kind, objective, plan.intent.utilisation_max, "value")
    if isinstance(model, capacity.Together):
        return None
    lines = []
    for name, nodes in dict.fromkeys(((f"{best.nodes} nodes", best.nodes), (f"{best.alive} left", best.alive))):
        if nodes:
            top = 1.25 * max(model.carried(best.nodes), plan.expected.middle.per_s)
            loads = [top * (step + 1) / CURVE_POINTS for step in range(CURVE_POINTS)]
            values = [(at, model.latency_ms(at, nodes)) for at in loads]
            shown = [(at, value) for at, value in values if isfinite(value) and value <= 2.5 * objective.latency_ms]
            lines += [Line(name, shown, dashed=nodes != best.nodes)] if shown else []
    if not lines:
        return None
    words = f"At {figure(plan.expected.middle.per_s)} requests/s the {objective.words} is {figure(best.latency_ms.value)} ms, and"
    words += f" {figure(best.after_loss_ms.value)} ms after the losses; {objective.latency_ms:g} ms are allowed."
    levels = [Level("objective", objective.latency_ms)]
    return Plot(plots.lines("latency against load", lines, "requests/s", f"{objective.words}, ms", levels), words)


def costs(plan: Plan) -> Plot:
    """What each option costs, and for what."""
    rows = [stack(plan, option) for option in plan.options[:OPTIONS_SHOWN_MAX]]
    parts = ("carries the load", "for losses and availability")
    words = "Each option's price a month: nodes that must be alive, and those that are there to be lost."
    return Plot(plots.stacked("cost of the options", parts, rows, f" {plan.intent.currency}"), words)


def stack(plan: Plan, option: Option) -> Stack:
    price = option.kind.price_per_month
    alive = min(option.nodes, option.binding.alive)
    note = "chosen" if option is plan.chosen else f"fails {', '.join(option.fails)}" if option.fails else ""
    return Stack(f"{option.nodes} × {option.kind.name}", (alive * price, (option.nodes - alive) * price), note)


def scaling(plan: Plan) -> Plot | None:
    """Measured points and the law that was fitted to them."""
    law, points = plan.intent.demand.scaling, plan.points
    if law is None or points is None:
        return None
    alpha, beta, gamma = (estimate(getattr(law, key)).value for key in ("alpha", "beta", "gamma"))
    top = 2 * max(points.n)
    at = [1 + (top - 1) * step / CURVE_POINTS for step in range(CURVE_POINTS + 1)]
    curve = Line("scalability law", [(load, usl.usl(load, alpha, beta, gamma)) for load in at])
    over = "requests at once" if law.over == "requests" else "nodes"
    best = usl.peak(alpha, beta, gamma)
    words = f"gamma {figure(gamma)}, alpha {alpha:.4g}, beta {beta:.4g}"
    if isfinite(best.load):
        words += f": the peak is {figure(best.throughput_per_s)}/s at {figure(best.load)} {over}"
    measured = list(zip(points.n, points.per_s, strict=True))
    return Plot(plots.scatter("scalability law", measured, [curve], over, "requests/s"), words + ".")
