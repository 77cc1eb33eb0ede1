"""Blocks to Markdown that reads well as plain text. Pure. A plot becomes the words that say the same."""

from __future__ import annotations

import re
from collections.abc import Sequence

from loggos.planner.report.blocks import Block, Groups, Items, Plot, Proofs, Report, Table, Tiles, Words


def render(report: Report) -> str:
    """The whole document, with a line break at its end."""
    parts = [f"# {plain(report.title)}", f"*{plain(report.question)}*", f"**{plain(report.answer)}**", block(report.tiles)]
    for part in report.sections:
        parts += [f"## {plain(part.title)}"] + ([plain(part.note)] if part.note else []) + [block(one) for one in part.blocks]
    return "\n\n".join(part for part in parts if part) + "\n"


def plain(text: str) -> str:
    """Text that Markdown shows as it is."""
    return re.sub(r"([\\`*_<\[\]|])", r"\\\1", " ".join(text.split()))


def block(one: Block) -> str:
    match one:
        case Words(text):
            return plain(text)
        case Items(lines):
            return "\n".join(f"- {plain(line)}" for line in lines)
        case Groups(groups):
            return "\n\n".join(f"**{plain(name)}**\n\n{block(Items(lines))}" for name, lines in groups)
        case Tiles(shown):
            return "\n".join(f"- **{plain(value)}** {plain(what)}" for value, what in shown)
        case Table(columns, rows, words):
            rule = ["---" if place in (0, *words) else "---:" for place in range(len(columns))]
            grid = [cells_of(columns), rule, *(cells_of(row) for row in rows)]
            return "\n".join("| " + " | ".join(cells) + " |" for cells in grid)
        case Proofs(shown):
            return "\n".join(f"- {MARKS[holds]} **{plain(claim)}**: {plain(evidence)}" for claim, evidence, holds in shown)
        case Plot(_, words):
            return plain(words)


MARKS = {True: "✓", False: "✗", None: "·"}


def cells_of(row: Sequence[str]) -> list[str]:
    return [plain(cell) for cell in row]
