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


def advice_rows(told: Decisions) -> list[tuple[str, ...]]:
    return [(verdict.service.name, verdict.answer, verdict.why[0] if verdict.why else "") for verdict in told.advice.verdicts]


def option_rows(told: Decisions) -> list[tuple[str, ...]]:
    """The options of the plan, best first."""
    return [
        (
            f"{option.nodes} × {option.kind.name}",
            f"{option.cost:,.0f}",
            f"{option.latency_ms.value:.1f} [{option.latency_ms.low:.1f}, {option.latency_ms.high:.1f}]",
            f"{100 * option.utilisation.value:.0f} %",
            f"{100 * option.availability:.3f} %",
            "carries every scenario" if not option.fails else "too small if the scenario is " + " or ".join(option.fails),
        )
        for option in told.plan.options
    ]


def deciding_body(told: Decisions, proofs: Sequence[Proof]) -> str:
    """The chapter, as HTML."""
    side = told.sides[0]
    slow = [speed for speed in side.speeds if speed < max(side.speeds)]
    intro = (
        "What a team asks before it builds: which parts, how many machines, who serves the next request. "
        f"{len(side.speeds)} HTTP servers on this machine, {len(slow)} of them at {min(side.speeds):g} of the others' speed, "
        "served one load under each policy in the same seconds."
    )
    options = ("option", "a month", "p99 ms", "busy", "available", "")
    parts = [
        proof_section(proofs),
        section("Policies side by side", "The same requests at the same times; latency counts from when each was due.",
                table(COLUMNS, side_rows(told.sides)) + over_time(told.sides)),
        section("Choices against theory", "Mean time in service times; one balancer, 1,000 equal servers at load 0.9.",
                table(("choices", "simulated", "theory", "off by"), theory_rows(told))),
        section("The advice", told.advice.summary, table(("service", "answer", "because"), advice_rows(told), (1, 2))),
        section("The plan", told.plan.chosen.binding.binding.why, table(options, option_rows(told), (5,))),
    ]  # fmt: skip
    return f'<h1>Deciding well</h1><p class="soft">{escape(intro)}</p>' + "".join(parts)
