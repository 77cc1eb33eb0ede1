"""Plots of quantities over quantities as inline SVG: lines with an interval band, points with a fitted curve, stacked bars.

Rules: numbers in, text out; what is not finite is refused by an assertion, since a plot with a hole in it would lie. Colours are
classes of the page's style sheet (`s0` … `s5`), so that the plots follow its light and dark; several of them get a legend. Every
number that a mark stands for is its <title>. Long series are thinned to what a screen can show: the lowest and the highest of
each column stay, so no peak is lost.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from html import escape
from itertools import pairwise
from math import ceil, floor, isfinite, log10
from typing import Final, NamedTuple

from loggos.draw.charts import LEFT, RIGHT, WIDTH, number, svg, text

TOP: Final = 40.0  # above it stands the legend
BOTTOM: Final = 252.0
HEIGHT: Final = 300
LEVEL_ROOM: Final = 1.1  # times a level is on the plot too, so that its name has room above its line
COLOURS: Final = 6  # classes s0 … s5 of the style sheet
TINY: Final = 1e-290  # a span below it counts as none: powers of ten end there
COLUMNS_MAX: Final = 400  # two points each: about one per pixel of a page
TITLED_MAX: Final = 130  # marks of one line that get a title of their own

Point = tuple[float, float]
Say = Callable[[float], str]


class Line(NamedTuple):
    """One line and its name in the legend. `low`, `high`: the interval at the same x, if it was inferred. `dashed`: it was not
    measured."""

    name: str
    points: Sequence[Point]
    low: Sequence[float] = ()
    high: Sequence[float] = ()
    dashed: bool = False


class Level(NamedTuple):
    """A horizontal line that means something: an objective, a limit."""

    name: str
    value: float


class Stack(NamedTuple):
    """One lying bar of several parts, in the order of the legend."""

    name: str
    parts: Sequence[float]
    note: str = ""


class Axis(NamedTuple):
    """Where values go on one axis, and the round values that are named on it."""

    low: float
    high: float
    at_low: float
    at_high: float
    marks: Sequence[float]

    def at(self, value: float) -> float:
        return self.at_low + (self.at_high - self.at_low) * (value - self.low) / (self.high - self.low)


def steps(low: float, high: float, wanted: int = 5) -> list[float]:
    """Round values in steps of 1, 2 or 5 times a power of ten that cover `low` … `high`."""
    assert isfinite(low) and isfinite(high) and low <= high
    most = max(abs(low), abs(high))
    span = max(high - low, 1e-6 * most)
    span = span if span > TINY else 1.0
    size = 10.0 ** floor(log10(span / wanted))
    step = next(factor * size for factor in (1, 2, 5, 10) if factor * size * wanted >= span * (1 - 1e-9))
    first, last = floor(low / step + 1e-9), ceil(high / step - 1e-9)
    digits = max(0, -floor(log10(step)))
    return [round(place * step, digits) for place in range(first, max(last, first + 1) + 1)]


def thin(points: Sequence[Point], columns: int = COLUMNS_MAX) -> list[Point]:
    """At most two points a column: its lowest and its highest, in their order. Points come in ascending x."""
    if len(points) <= 2 * columns:
        return list(points)
    kept: list[Point] = [points[0]]
    edges = [len(points) * place // columns for place in range(columns + 1)]
    for begin, end in pairwise(edges):
        column = range(begin, end)
        lowest, highest = min(column, key=lambda i: points[i][1]), max(column, key=lambda i: points[i][1])
        kept += [points[place] for place in sorted({lowest, highest}) if points[place][0] > kept[-1][0]]
    return kept if kept[-1] == points[-1] else [*kept, points[-1]]


def plane(x_values: Sequence[float], y_values: Sequence[float]) -> tuple[Axis, Axis]:
    """Both axes; y starts at 0 unless something is below it."""
    assert all(isfinite(value) for value in (*x_values, *y_values)), "a plot of what is not finite"
    y_marks = steps(min([0.0, *y_values]), max([0.0, *y_values]), 4)
    x_low, x_high = min(x_values, default=0.0), max(x_values, default=1.0)
    if x_low == x_high:
        x_low, x_high = x_low - 0.5, x_high + 0.5
    x_marks = [mark for mark in steps(x_low, x_high, 8) if x_low <= mark <= x_high]
    return Axis(x_low, x_high, LEFT, WIDTH - RIGHT, x_marks), Axis(y_marks[0], y_marks[-1], BOTTOM, TOP, y_marks)


def frame(x: Axis, y: Axis, say_x: Say, x_label: str, y_label: str) -> list[str]:
    """Grid, numbers and the names of both axes."""
    parts = []
    for mark in y.marks:
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y.at(mark):.1f}" y2="{y.at(mark):.1f}"/>')
        parts.append(text(LEFT - 8, y.at(mark) + 4, number(mark), anchor="end"))
    parts += [text(x.at(mark), BOTTOM + 18, say_x(mark)) for mark in x.marks]
    parts.append(text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 6, x_label))
    parts.append(text(LEFT - 44, TOP - 10, y_label, anchor="start"))
    return parts


def legend(names: Sequence[str], y: float = 12.0) -> list[str]:
    """Names with their colours, from the right, so that the axis keeps its name on the left."""
    parts: list[str] = []
    right = float(WIDTH - RIGHT)
    for place in reversed(range(len(names))):
        wide = 7.6 * len(names[place]) + 32
        right -= wide
        parts.append(f'<rect class="s{place % COLOURS} fill" x="{right:.1f}" y="{y - 9:.1f}" width="12" height="10" rx="2"/>')
        parts.append(text(right + 17, y, names[place], "name", "start"))
    return parts


def band(line: Line, x: Axis, y: Axis, kind: str) -> list[str]:
    """The area between low and high."""
    if not line.low:
        return []
    assert len(line.low) == len(line.high) == len(line.points)
    upper = thin([(at, high) for (at, _), high in zip(line.points, line.high, strict=True)])
    lower = thin([(at, low) for (at, _), low in zip(line.points, line.low, strict=True)])
    outline = " ".join(f"{x.at(at):.1f},{y.at(value):.1f}" for at, value in (*upper, *reversed(lower)))
    return [f'<polygon class="{kind} wash" points="{outline}"><title>{escape(line.name)}: interval</title></polygon>']


def stroke(line: Line, x: Axis, y: Axis, kind: str, say_x: Say) -> list[str]:
    """The line itself, and a title for each of its points, or for some when there are many."""
    shown = thin(line.points)
    outline = " ".join(f"{x.at(at):.1f},{y.at(value):.1f}" for at, value in shown)
    dashed = " dashed" if line.dashed else ""
    parts = [f'<polyline class="{kind} stroke{dashed}" points="{outline}"><title>{escape(line.name)}</title></polyline>']
    every = max(1, ceil(len(line.points) / TITLED_MAX))
    for place in range(0, len(line.points), every):
        at, value = line.points[place]
        says = f"{line.name} at {say_x(at)}: {number(value)}"
        if line.low:
            says += f" [{number(line.low[place])}, {number(line.high[place])}]"
        circle = f'<circle class="hover" cx="{x.at(at):.1f}" cy="{y.at(value):.1f}" r="5">'
        parts.append(f"{circle}<title>{escape(says)}</title></circle>")
    return parts


def level_lines(levels: Sequence[Level], y: Axis) -> list[str]:
    parts = []
    for level in levels:
        at = y.at(level.value)
        parts.append(f'<g><title>{escape(level.name)}: {number(level.value)}</title>')
        parts.append(f'<line class="level" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{at:.1f}" y2="{at:.1f}"/></g>')
        parts.append(text(LEFT + 6, at - 5, f"{level.name}: {number(level.value)}", "level-name", "start"))
    return parts


def lines(
    label: str, drawn: Sequence[Line], x_label: str, y_label: str, levels: Sequence[Level] = (), say_x: Say = number
) -> str:
    """Lines over a common x, each with its band if it has one, and a legend when there are several. `say_x`: the words of an x
    (dates, for example)."""
    x_values = [at for line in drawn for at, _ in line.points]
    y_values = [value for line in drawn for value in (*(v for _, v in line.points), *line.low, *line.high)]
    x, y = plane(x_values, [*y_values, *(LEVEL_ROOM * level.value for level in levels)])
    parts = frame(x, y, say_x, x_label, y_label)
    for place, line in enumerate(drawn):
        parts += band(line, x, y, f"s{place % COLOURS}")
    parts += level_lines(levels, y)
    for place, line in enumerate(drawn):
        parts += stroke(line, x, y, f"s{place % COLOURS}", say_x)
    return svg(HEIGHT, label, [*parts, *(legend([line.name for line in drawn]) if len(drawn) > 1 else [])])


def scatter(
    label: str, points: Sequence[Point], curves: Sequence[Line], x_label: str, y_label: str, levels: Sequence[Level] = ()
) -> str:
    """Measured points, and what was fitted to them. The first colour is the points'."""
    x_values = [at for at, _ in points] + [at for line in curves for at, _ in line.points]
    y_values = [value for _, value in points]
    y_values += [value for line in curves for value in (*(v for _, v in line.points), *line.low, *line.high)]
    x, y = plane(x_values, [*y_values, *(LEVEL_ROOM * level.value for level in levels)])
    parts = frame(x, y, number, x_label, y_label)
    for place, line in enumerate(curves, 1):
        parts += band(line, x, y, f"s{place % COLOURS}")
    parts += level_lines(levels, y)
    for place, line in enumerate(curves, 1):
        parts += stroke(line, x, y, f"s{place % COLOURS}", number)
    for at, value in points:
        parts.append(f'<circle class="s0 fill" cx="{x.at(at):.1f}" cy="{y.at(value):.1f}" r="4">')
        parts.append(f"<title>measured at {number(at)}: {number(value)}</title></circle>")
    return svg(HEIGHT, label, [*parts, *legend(["measured", *(line.name for line in curves)])])


def stacked(label: str, parts_named: Sequence[str], rows: Sequence[Stack], unit: str = "") -> str:
    """Lying bars, one per row, each of several parts; at its end the sum and the row's note."""
    left, row_height, thick, head = 210, 34, 18, 26
    longest = max((sum(row.parts) for row in rows), default=1.0) or 1.0
    parts = legend(parts_named)
    for place, row in enumerate(rows):
        assert len(row.parts) == len(parts_named) and all(isfinite(part) and part >= 0 for part in row.parts)
        y, at = head + place * row_height, float(left)
        parts.append(text(left - 12, y + 14, row.name, "name", "end"))
        for colour, (name, value) in enumerate(zip(parts_named, row.parts, strict=True)):
            wide = (WIDTH - RIGHT - left - 170) * value / longest
            said = escape(f"{row.name}, {name}: {number(value)}{unit}")
            parts.append(f'<g><title>{said}</title><rect class="s{colour % COLOURS} fill" x="{at:.1f}" y="{y}" ')
            parts.append(f'width="{wide:.1f}" height="{thick}"/></g>')
            at += wide
        parts.append(text(at + 8, y + 14, f"{number(sum(row.parts))}{unit} {row.note}".rstrip(), "name", "start"))
    return svg(head + row_height * len(rows), label, parts)
