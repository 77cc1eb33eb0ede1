"""Blocks to one self-contained HTML page in the style of draw/page.py. Pure; everything from outside is escaped."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from loggos.draw.page import page
from loggos.planner.report.blocks import Block, Groups, Items, Plot, Proofs, Report, Section, Table, Tiles, Words


def render(report: Report) -> str:
    """The whole document."""
    head = f"<h1>{escape(report.title)}</h1><p class='soft'>{escape(report.question)}</p>"
    head += f'<p class="answer">{escape(report.answer)}</p>'
    return page(report.title, head + block(report.tiles) + "".join(section(part) for part in report.sections))


def section(part: Section) -> str:
    note = f'<p class="soft">{escape(part.note)}</p>' if part.note else ""
    inner = "".join(f'<div class="card">{block(one)}</div>' if framed(one) else block(one) for one in part.blocks)
    return f"<section><h2>{escape(part.title)}</h2>{note}{inner}</section>"


def framed(one: Block) -> bool:
    return not isinstance(one, Words | Tiles)


def block(one: Block) -> str:
    match one:
        case Words(text, soft):
            return f'<p class="soft">{escape(text)}</p>' if soft else f"<p>{escape(text)}</p>"
        case Items(lines):
            return listed(lines)
        case Groups(groups):
            named = (f"<dt>{escape(name)}</dt><dd>{listed(lines)}</dd>" for name, lines in groups)
            return '<dl class="groups">' + "".join(named) + "</dl>"
        case Tiles(shown):
            cards = (f'<div class="card"><b>{escape(value)}</b><span>{escape(what)}</span></div>' for value, what in shown)
            return '<div class="tiles">' + "".join(cards) + "</div>"
        case Table():
            return table(one)
        case Proofs(shown):
            return '<ul class="proofs">' + "".join(proof(*claim) for claim in shown) + "</ul>"
        case Plot(svg, words):
            return f"{svg}<p class='soft'>{escape(words)}</p>" if words else svg


def listed(lines: Sequence[str]) -> str:
    return '<ul class="words">' + "".join(f"<li>{escape(line)}</li>" for line in lines) + "</ul>"


def proof(claim: str, evidence: str, holds: bool | None) -> str:
    kind, mark = {True: ("holds", "✓"), False: ("fails", "✗"), None: ("", "·")}[holds]
    return f'<li class="{kind}"><span class="mark">{mark}</span><b>{escape(claim)}</b><div>{escape(evidence)}</div></li>'


def table(one: Table) -> str:
    def cell(tag: str, place: int, text: str) -> str:
        kind = ' class="words"' if place in one.words else ""
        return f"<{tag}{kind}>{escape(text)}</{tag}>"

    head = "".join(cell("th", place, column) for place, column in enumerate(one.columns))
    rows = ("<tr>" + "".join(cell("td", place, text) for place, text in enumerate(row)) + "</tr>" for row in one.rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"
