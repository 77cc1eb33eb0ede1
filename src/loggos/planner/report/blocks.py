"""What a report is made of. Pure records; html.py and markdown.py render them.

Rules: words are plain text, escaped by the renderer; a plot carries its own SVG and, for Markdown, the words that say the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import isinf, isnan

from loggos.planner.plan.words import figure
from loggos.planner.types import Estimate


@dataclass(frozen=True, slots=True)
class Words:
    """A paragraph. `soft`: an aside."""

    text: str
    soft: bool = False


@dataclass(frozen=True, slots=True)
class Items:
    """A list of sentences."""

    lines: Sequence[str]


@dataclass(frozen=True, slots=True)
class Tiles:
    """The few numbers to remember: (number, what it is)."""

    shown: Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Table:
    """Columns in `words`, and the first one, are text; the others numbers."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    words: Sequence[int] = ()


@dataclass(frozen=True, slots=True)
class Proofs:
    """Claims that hold, fail, or only inform: (claim, evidence, True, False or None)."""

    shown: Sequence[tuple[str, str, bool | None]]


@dataclass(frozen=True, slots=True)
class Groups:
    """Sentences under short names: (name, sentences)."""

    shown: Sequence[tuple[str, Sequence[str]]]


@dataclass(frozen=True, slots=True)
class Plot:
    """Inline SVG, and its message in words."""

    svg: str
    words: str


Block = Words | Items | Groups | Tiles | Table | Proofs | Plot


@dataclass(frozen=True, slots=True)
class Section:
    title: str
    note: str
    blocks: Sequence[Block]


@dataclass(frozen=True, slots=True)
class Report:
    """`question`: what was asked; `answer`: the answer in a sentence or two, which comes before everything else."""

    title: str
    question: str
    answer: str
    tiles: Tiles
    sections: Sequence[Section] = field(default_factory=tuple)


def interval(estimate: Estimate, unit: str = "") -> str:
    """A number with its interval; alone if it is exact."""
    if isnan(estimate.value) or estimate.low == estimate.value == estimate.high:
        return figure(estimate.value, unit)
    return f"{figure(estimate.value)} [{figure(estimate.low)}, {figure(estimate.high)}] {unit}".rstrip()


def share(value: float) -> str:
    return f"{100 * value:.0f} %"


def share_interval(estimate: Estimate) -> str:
    if estimate.low == estimate.value == estimate.high:
        return share(estimate.value)
    high = share(estimate.high) if not isinf(estimate.high) else "overloaded"
    return f"{share(estimate.value)} [{share(estimate.low)}, {high}]"
