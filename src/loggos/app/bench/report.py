"""What a benchmark hands back, and its three forms: a table for people, JSON for programs, a dated section of bench/RESULTS.md.

Knows nothing of what was measured: only titles, facts, tables of strings, and the raw data for JSON.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import IO, Any

from rich.console import Console
from rich.table import Table as RichTable


@dataclass(frozen=True, slots=True)
class Table:
    title: str
    columns: tuple[str, ...]
    rows: list[tuple[str, ...]]


@dataclass(slots=True)
class Report:
    """One benchmark's outcome. `problems`: what failed; the exit code is 1 if there is any."""

    title: str
    facts: dict[str, str] = field(default_factory=dict)
    tables: list[Table] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    data: dict[str, Any] = field(default_factory=dict)

    @property
    def exit_code(self) -> int:
        return 1 if self.problems else 0


def to_json(report: Report) -> str:
    """One JSON object: facts, raw data, notes, problems."""
    value = {"benchmark": report.title, "facts": report.facts, **report.data, "notes": report.notes, "problems": report.problems}
    return json.dumps(value, indent=2)


def plain_table(table: Table) -> str:
    """Columns lined up with spaces, for pipes and logs."""
    lines = [table.columns, *table.rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(table.columns))]
    text = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]
    return "\n".join([table.title, *text])


def write(report: Report, out: IO[str] | None = None) -> None:
    """Print for people: with rich on a terminal, plain text elsewhere."""
    out = out or sys.stdout
    rich = Console(file=out) if out.isatty() else None
    out.write(f"{report.title}\n" + "".join(f"  {key}: {value}\n" for key, value in report.facts.items()))
    for table in report.tables:
        if rich is None:
            out.write("\n" + plain_table(table) + "\n")
            continue
        drawn = RichTable(*table.columns, title=table.title, title_justify="left")
        for row in table.rows:
            drawn.add_row(*row)
        rich.print(drawn)
    for note in report.notes:
        out.write(f"  note: {note}\n")
    for problem in report.problems:
        out.write(f"  PROBLEM: {problem}\n")
    out.flush()


def to_markdown(report: Report, command: str, today: date) -> str:
    """A section for bench/RESULTS.md."""
    parts = [f"## {today.isoformat()}: {report.title}", "", f"`{command}`", ""]
    parts += [f"- {key}: {value}" for key, value in report.facts.items()]
    for table in report.tables:
        rows = [table.columns, tuple("---" for _ in table.columns), *table.rows]
        parts += ["", f"**{table.title}**", "", *(markdown_row(row) for row in rows)]
    if report.notes or report.problems:
        parts += ["", *(f"- {note}" for note in report.notes), *(f"- **problem:** {problem}" for problem in report.problems)]
    return "\n".join(parts) + "\n"


def markdown_row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def command_words(words: Sequence[str]) -> list[str]:
    """The command that gives the figures again, without where they were recorded or kept."""
    kept, skip = ["loggos", "bench"], False
    for word in words:
        if skip:
            skip = False
        elif word in ("--record", "--data"):
            skip = True
        elif not word.startswith(("--record=", "--data=")):
            kept.append(word)
    return kept


def append_results(report: Report, path: Path, command: Sequence[str], today: date | None = None) -> None:
    """Append a dated section to a RESULTS.md. `command`: the words that produce the figures again."""
    section = to_markdown(report, " ".join(command), today or date.today())
    with path.open("a", encoding="utf-8") as out:
        out.write("\n" + section)
