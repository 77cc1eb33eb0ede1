"""What a replay showed: rows for a terminal, plain data for programs, and one self-contained HTML page with plots.

Pure: outcomes in, text out. The best policy stands first: fewest GPUs unallocated, or with departures the shortest waiting.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from html import escape
from typing import Any, Final, NamedTuple

from loggos.draw.charts import Bar, bars
from loggos.draw.page import page
from loggos.draw.plots import Line, lines
from loggos.fleet.whatif.replay import Outcome, Sample
from loggos.fleet.whatif.trace import Trace

PLOTTED_MAX: Final = 6  # lines in one plot: as many as the style has colours


class Column(NamedTuple):
    """A column of the table."""

    head: str
    cell: Callable[[Outcome], str]


PACKED: Final = (
    Column("policy", lambda o: o.policy),
    Column("GPUs allocated", lambda o: f"{o.gpus_allocated:,.1f}"),
    Column("unallocated", lambda o: f"{o.gpus_unallocated:,.1f}"),
    Column("failed pods", lambda o: f"{o.failed:,}"),
    Column("fragmented GPUs", lambda o: f"{o.fragmented_gpus:,.1f}"),
    Column("CPU", lambda o: f"{o.cpu:.1%}"),
    Column("memory", lambda o: f"{o.memory:.1%}"),
)
DEPARTED: Final = (
    Column("policy", lambda o: o.policy),
    Column("GPUs in use, mean", lambda o: f"{o.gpus_allocated:,.1f}"),
    Column("at most", lambda o: f"{o.gpus_peak:,.1f}"),
    Column("pods that waited", lambda o: f"{o.waited:,}"),
    Column("mean wait", lambda o: f"{o.wait_mean_s:,.0f} s"),
    Column("longest", lambda o: f"{o.wait_max_s:,.0f} s"),
    Column("never started", lambda o: f"{o.failed:,}"),
    Column("fragmented GPUs, mean", lambda o: f"{o.fragmented_gpus:,.1f}"),
)


def ranked(outcomes: Sequence[Outcome]) -> list[Outcome]:
    """Best first."""
    return sorted(
        outcomes, key=lambda o: (o.failed, o.wait_mean_s * o.waited) if o.departures else (o.gpus_unallocated, o.failed)
    )


def title(trace: Trace, departures: bool) -> str:
    gpus = sum(node.gpus for node in trace.nodes)
    how = "pods come and go" if departures else "pods come in order and stay"
    return f"{trace.name}: {len(trace.pods):,} pods on {len(trace.nodes):,} nodes with {gpus:,} GPUs; {how}"


def table(outcomes: Sequence[Outcome]) -> tuple[list[str], list[list[str]]]:
    """Heads and rows, best policy first."""
    columns = DEPARTED if outcomes and outcomes[0].departures else PACKED
    return [column.head for column in columns], [[column.cell(outcome) for column in columns] for outcome in ranked(outcomes)]


def as_data(outcome: Outcome) -> dict[str, Any]:
    """One outcome for JSON, its samples left out."""
    names = [name for name in Outcome.__slots__ if name != "samples"]
    return {**{name: getattr(outcome, name) for name in names}, "gpus_unallocated": outcome.gpus_unallocated}


def html(trace: Trace, outcomes: Sequence[Outcome]) -> str:
    """The whole page."""
    best = ranked(outcomes)
    departures = best[0].departures
    parts = [f"<h1>What if: {escape(trace.name)}</h1><p class=soft>{escape(title(trace, departures))}</p>", _tiles(best)]
    heads, rows = table(best)
    parts.append(f'<div class="card">{_html_table(heads, rows)}</div>')
    if not departures:
        shown = [Bar(o.policy, o.gpus_unallocated, f"{o.gpus_unallocated:,.1f}", "holder") for o in best]
        parts.append(_section("GPUs left unallocated", bars("GPUs left unallocated, by policy", shown)))
    for words, y, value in (
        ("GPUs allocated", "% of all", lambda sample: sample.gpu * 100),
        ("GPUs free and of no use to a task of this workload, on average", "% of all", lambda sample: sample.fragmented * 100),
        ("CPU allocated", "% of all", lambda sample: sample.cpu * 100),
        *((("Pods that wait", "pods", lambda sample: float(sample.waiting)),) if departures else ()),
    ):
        parts.append(_section(words, _plot(words, best, departures, y, value)))
    return page(f"What if: {trace.name}", "".join(parts))


def _tiles(best: Sequence[Outcome]) -> str:
    first, last = best[0], best[-1]
    tiles = [(first.policy, "is best here"), (f"{first.gpus:,}", "GPUs"), (f"{first.gpus_asked:,.1f}", "GPUs asked for, in all")]
    if not first.departures:
        tiles.append((f"{first.gpus_unallocated:,.1f}", "left unallocated"))
        if last is not first:
            tiles.append((f"{last.gpus_unallocated - first.gpus_unallocated:,.1f}", f"fewer than with {last.policy}"))
    return '<div class="tiles">' + "".join(f"<div><b>{escape(b)}</b><span>{escape(s)}</span></div>" for b, s in tiles) + "</div>"


def _html_table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f"<th>{escape(cell)}</th>" for cell in heads)
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><tr>{head}</tr>{body}</table>"


def _section(words: str, svg: str) -> str:
    return f'<h2>{escape(words)}</h2><div class="card">{svg}</div>'


def _plot(words: str, best: Sequence[Outcome], departures: bool, y: str, value: Callable[[Sample], float]) -> str:
    scale, x = (86_400.0, "days") if departures else (1.0, "pods that have come")
    drawn = [
        Line(outcome.policy, [(sample.at / scale, value(sample)) for sample in outcome.samples]) for outcome in best[:PLOTTED_MAX]
    ]
    return lines(words, drawn, x, y)
