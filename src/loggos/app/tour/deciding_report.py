"""The deciding chapter's part of the report: advice, plan, policies side by side, proofs. Pure: what was decided in, text out."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Final

from loggos.app.tour import figures
from loggos.app.tour.deciding import Decisions
from loggos.app.tour.proofs import Proof
from loggos.app.tour.report import proof_section, section, table
from loggos.app.tour.unequal import Side
from loggos.draw.plots import Line, lines
from loggos.planner.report import html, of_advice, of_plan
from loggos.planner.report.blocks import Report

STEP_S: Final = 1.0  # of the plot over time
COLUMNS: Final = ("policy", "mean", "p50", "p99", "at slow servers")


def side_rows(sides: Sequence[Side]) -> list[tuple[str, ...]]:
    """One row per policy, as the terminal and the page show it."""
    rows = []
    for side in sides:
        spread = figures.spread(side.latencies_s)
        mean_s = sum(side.latencies_s) / max(1, len(side.latencies_s))
        times = (f"{1000 * seconds:,.0f} ms" for seconds in (mean_s, spread.p50, spread.p99))
        rows.append((side.contender.title, *times, f"{100 * side.slow_share():.0f} %"))
    return rows


def over_time(sides: Sequence[Side]) -> str:
    """The mean latency of the requests of each second."""
    drawn = []
    for side in sides:
        by_step: dict[int, list[float]] = {}
        for left_s, latency_s in zip(side.left_s, side.latencies_s, strict=True):
            by_step.setdefault(int(left_s / STEP_S), []).append(1000 * latency_s)
        points = [(STEP_S * step, sum(found) / len(found)) for step, found in sorted(by_step.items())]
        drawn.append(Line(side.contender.title, points or [(0.0, 0.0)]))
    return lines("mean latency of each second's requests", drawn, "seconds since the load began", "ms")


def theory_rows(told: Decisions) -> list[tuple[str, ...]]:
    return [
        (str(one.choices), f"{one.simulated:.3f}", f"{one.theory:.3f}", f"{100 * (one.simulated / one.theory - 1):+.1f} %")
        for one in told.compared
    ]


def reported(report: Report) -> str:
    """A report of the planner, as a part of this page."""
    return f"<h1>{escape(report.title)}</h1><p>{escape(report.answer)}</p>" + "".join(map(html.section, report.sections))


def deciding_body(told: Decisions, proofs: Sequence[Proof]) -> str:
    """The chapter, as HTML."""
    side = told.sides[0]
    slow = [speed for speed in side.speeds if speed < max(side.speeds)]
    intro = (
        "What a team asks before it builds: which parts, how many machines, who serves the next request. "
        f"{len(side.speeds)} HTTP servers on this machine, {len(slow)} of them at {min(side.speeds):g} of the others' speed, "
        "served one load under each policy in the same seconds."
    )
    parts = [
        proof_section(proofs),
        section("Policies side by side", "The same requests at the same times; latency counts from when each was due.",
                table(COLUMNS, side_rows(told.sides)) + over_time(told.sides)),
        section("Choices against theory", "Mean time in service times; one balancer, 1,000 equal servers at load 0.9.",
                table(("choices", "simulated", "theory", "off by"), theory_rows(told))),
        reported(of_advice.report(told.advice)),
        reported(of_plan.report(told.plan)),
    ]  # fmt: skip
    return f'<h1>Deciding well</h1><p class="soft">{escape(intro)}</p>' + "".join(parts)
