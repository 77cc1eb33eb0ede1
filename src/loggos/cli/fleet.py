"""`loggos fleet`: resource management on files. Thin: what it does lives in loggos.fleet, and is imported only when asked for."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from loggos.app.reports import check_report_path, write_report

fleet_app = typer.Typer(help="Resource management: what runs where, and what if it were decided otherwise.", no_args_is_help=True)


@fleet_app.callback()
def fleet() -> None:
    """A group of its own, also while it has one command."""


@fleet_app.command()
def whatif(
    trace: Annotated[Path, typer.Option(help="Folder with the trace's CSV files: nodes and pods, known by their headers")],
    policy: Annotated[list[str] | None, typer.Option(help="A score, several times if wanted, or all")] = None,
    report: Annotated[Path | None, typer.Option(help="Write an HTML page with plots here")] = None,
    departures: Annotated[
        bool, typer.Option("--departures", help="Pods come and go at their times, and wait if they must")
    ] = False,
    learn: Annotated[bool, typer.Option("--learn", help="Scores get to know the workload only on the way")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="JSON for programs")] = False,
) -> None:
    """Replay a trace under other policies, and compare what they leave unallocated."""
    from loggos.cli.tables import show
    from loggos.fleet.scheduler import scores
    from loggos.fleet.whatif.replay import replay
    from loggos.fleet.whatif.report import as_data, html, table, title
    from loggos.fleet.whatif.trace import read_trace

    if report is not None:
        check_report_path(report)
    names = list(scores.NAMES) if not policy or "all" in policy else list(dict.fromkeys(policy))
    for name in names:
        scores.make(name, ())  # an unknown one is said before hours of work
    read = read_trace(trace)
    outcomes = []
    for name in names:
        if not as_json:
            print(f"loggos: replaying under {name}", file=sys.stderr, flush=True)
        outcomes.append(replay(read, name, departures, not learn))
    if as_json:
        print(json.dumps({"trace": read.name, "outcomes": [as_data(outcome) for outcome in outcomes]}))
    else:
        heads, rows = table(outcomes)
        show(title(read, departures), heads, rows)
    if report is not None:  # last, so that what was replayed is shown even if the disk is full
        write_report(report, html(read, outcomes))
        if not as_json:
            print(f"report: {report}")
