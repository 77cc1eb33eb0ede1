"""An advice to the blocks of a report: which services, how configured, why, what is given up, and where voters go. Pure."""

from __future__ import annotations

from loggos.draw import plots
from loggos.draw.plots import Stack
from loggos.planner.advise.advice import Advice, Verdict
from loggos.planner.advise.needs import Needs
from loggos.planner.advise.regions import Layout
from loggos.planner.advise.services import SERVICES, WRITE_MS
from loggos.planner.maths.availability import downtime_s_per_year
from loggos.planner.plan.words import figure
from loggos.planner.report.blocks import Block, Groups, Plot, Report, Section, Table, Tiles, Words


def report(advice: Advice) -> Report:
    """The whole report."""
    needs = advice.needs
    where = f"in {len(needs.regions)} regions" if len(needs.regions) > 1 else "in one region"
    question = (
        f"{needs.name} shares {', '.join(needs.uses)}: {figure(needs.writes_per_s)} writes/s,"
        f" {figure(needs.reads_per_s)} reads/s, {figure(needs.data_gb, 'GB')}, {needs.consistency},"
        f" within {needs.latency_ms:g} ms, {where}, up for {needs.availability:g} of the time; it must survive the loss of"
        f" {needs.survive if needs.survive == 'nothing' else 'a ' + needs.survive}."
    )
    sections = [Section("Where the voters go", voters_note(advice), layouts(advice))] if advice.layouts else []
    sections += [Section(heading(verdict), verdict.service.what, blocks(verdict)) for verdict in advice.verdicts]
    sections.append(Section("What Loggos has today", "", [state_table()]))
    return Report(f"Advice for {needs.name}", question, advice.summary, tiles(advice), sections)


def heading(verdict: Verdict) -> str:
    instead = f" ({verdict.instead} today)" if verdict.instead else ""
    return f"{verdict.service.name.capitalize()}: {verdict.answer}{instead}"


def blocks(verdict: Verdict) -> list[Block]:
    named = (
        ("Why", verdict.why),
        ("Configure", verdict.configure),
        ("Given up", verdict.give_up),
        ("Beyond it", verdict.limits),
        ("Measure", verdict.measure),
    )
    return [Groups([(name, lines) for name, lines in named if lines])]


def tiles(advice: Advice) -> Tiles:
    shown = [(str(sum(v.answer == "use it" for v in advice.verdicts)), "services from Loggos today")]
    if advice.layouts:
        best = advice.layouts[0]
        shown += [
            (str(best.total), f"voters, leader in {best.leader}"),
            (figure(best.write_home_ms + WRITE_MS, "ms"), f"a write from {advice.needs.home_region}"),
            (best.survives, "the largest loss survived"),
            (f"{best.availability:.6g}", "a majority is up"),
        ]
    return Tiles(shown)


def voters_note(advice: Advice) -> str:
    if advice.meets:
        return "The first one is recommended: it survives and is available as asked, and writes from home are quickest."
    return "None survives and is available as asked. The first one comes nearest."


def layouts(advice: Advice) -> list[Block]:
    needs = advice.needs
    columns = ("layout", "write, home", "write, worst region", "survives", "available", "minutes a year without")
    rows = []
    for layout in advice.layouts:
        down = downtime_s_per_year(min(1.0, layout.availability)) / 60
        rows.append(
            (
                layout.words(needs.regions),
                figure(layout.write_home_ms, "ms"),
                figure(layout.write_far_ms, "ms"),
                layout.survives,
                f"{layout.availability:.7g}",
                figure(down),
            )
        )
    found: list[Block] = [Table(columns, rows, words=(0, 3))]
    if len(needs.regions) > 1:
        found.insert(0, latency_plot(needs, advice.layouts))
    assumed = "; ".join(f"{one}–{other} {needs.rtt(one, other):g} ms" for one, other in needs.assumed())
    if assumed:
        found.append(Words(f"Round trips that were not given and are assumed: {assumed}; 40 to 120 ms are usual.", soft=True))
    return found


def latency_plot(needs: Needs, shown: tuple[Layout, ...]) -> Plot:
    rows = []
    for layout in shown:
        where = "+".join(str(count) for count in layout.voters)
        far = max(0.0, layout.write_far_ms - layout.write_home_ms)
        rows.append(Stack(f"{where}, led from {layout.leader}", (layout.write_home_ms, far), f"survives a {layout.survives}"))
    parts = (f"from {needs.home_region}", "more from the worst region")
    words = f"Voters in {' + '.join(needs.regions)}, and the network time of a write: consistency is paid in round trips."
    return Plot(plots.stacked("network time of a write", parts, rows, " ms"), words)


def state_table() -> Table:
    rows = [(service.name, service.what, service.state, service.instead) for service in SERVICES]
    return Table(("service", "what it does", "state", "the well-known system for it"), rows, words=(1, 2, 3))
