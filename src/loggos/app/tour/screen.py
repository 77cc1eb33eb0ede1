"""What a person sees while a chapter runs: a live bar and events on a terminal (rich), plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from typing import IO, Final

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

PLAIN_STEPS: Final = 10  # how often plain output tells the progress


class Screen:
    """Everything the tour prints goes through here."""

    def __init__(self, out: IO[str] | None = None) -> None:
        self.out = out or sys.stdout
        self.rich = Console(file=self.out, highlight=False) if self.out.isatty() else None
        self.began = time.monotonic()
        self._bar: Progress | None = None
        self._total = self._told = 0

    def line(self, text: str = "", style: str = "") -> None:
        if self.rich is not None:
            self.rich.print(Text(text, style=style))
        else:
            self.out.write(text + "\n")
            self.out.flush()

    def title(self, text: str) -> None:
        self.line(text, "bold")

    def event(self, text: str, style: str = "") -> None:
        """Something that happened, with the seconds since the beginning."""
        self.line(f"  {time.monotonic() - self.began:5.1f} s  {text}", style)

    # --- progress ---
    def start_bar(self, what: str, total: int) -> None:
        self._total, self._told = total, 0
        if self.rich is not None:
            columns = (TextColumn("  {task.description}"), BarColumn(40), MofNCompleteColumn(), TimeElapsedColumn())
            self._bar = Progress(*columns, console=self.rich, transient=True)
            self._bar.add_task(escape(what), total=total)
            self._bar.start()

    def advance(self, done: int) -> None:
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], completed=done)
        elif self.rich is None and done * PLAIN_STEPS // self._total > self._told:
            self._told = done * PLAIN_STEPS // self._total
            self.event(f"{done:,} of {self._total:,} increments")

    def end_bar(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    # --- results ---
    def table(self, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """The first column is text, the others are numbers."""
        if self.rich is not None:
            table = Table(header_style="bold", box=None, padding=(0, 3, 0, 2))
            for number, column in enumerate(columns):
                table.add_column(column, justify="right" if number else "left")
            for row in rows:
                table.add_row(*(Text(cell) for cell in row))
            self.rich.print(table)
            return
        widths = [max(len(row[i]) for row in (columns, *rows)) for i in range(len(columns))]
        for row in (columns, *rows):
            cells = [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
            self.line("  " + "   ".join(cells).rstrip())

    def verdict(self, holds: bool, title: str, evidence: str) -> None:
        """One line for one proof."""
        mark, style = ("✓", "green") if holds else ("✗", "bold red")
        mark = mark if can_say(self.out, mark) else ("ok" if holds else "FAILED")
        if self.rich is not None:
            grid = Table.grid(padding=(0, 1, 0, 0))  # so that a long line goes on under its own beginning
            grid.add_row(Text("  " + mark, style), Text.assemble((title, "bold"), ": ", evidence))
            self.rich.print(grid)
        else:
            self.line(f"  {mark} {title}: {evidence}")


def can_say(out: IO[str], text: str) -> bool:
    """Does the output's encoding have these characters?"""
    try:
        text.encode(getattr(out, "encoding", None) or "utf-8")
    except UnicodeEncodeError:
        return False
    return True
