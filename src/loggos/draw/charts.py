"""Three small plots as inline SVG: values over time with marks, columns, and bars that lie. Pure: numbers in, text out.

Colours come from the page's CSS variables, so the plots follow its light and dark. Every element that carries a number has it as
its <title>, which browsers show on hover and readers speak. Nothing is loaded from anywhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Final, NamedTuple

WIDTH: Final = 860
LEFT: Final = 56
RIGHT: Final = 16


class Mark(NamedTuple):
    """A span of time on the time plot, numbered. `kind`: its CSS class."""

    label: str
    begin: float
    end: float
    kind: str
    title: str


class Bar(NamedTuple):
    """One bar that lies. `kind`: its CSS class."""

    label: str
    value: float
    text: str
    kind: str


def ticks(maximum: float, wanted: int = 4) -> list[float]:
    """Round numbers from 0 to at least `maximum`, about `wanted` steps of 1, 2 or 5 times a power of ten."""
    if maximum <= 0:
        return [0.0, 1.0]
    size = 10.0 ** len(str(int(maximum)))
    steps = [factor * size / 10**down for down in range(5, -1, -1) for factor in (1, 2, 5)]
    step = next(step for step in steps if step * wanted >= maximum)
    count = int(-(-maximum // step))
    return [step * number for number in range(count + 1)]


def number(value: float) -> str:
    return f"{value:,.0f}" if value == int(value) else f"{value:,.6g}"


def svg(height: int, label: str, parts: Sequence[str]) -> str:
    head = f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(label, quote=True)}">'
    return "\n".join([head, *parts, "</svg>"])


def text(x: float, y: float, words: str, kind: str = "tick", anchor: str = "middle") -> str:
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(words)}</text>'


def grid(levels: Sequence[float], bottom: float, top: float) -> list[str]:
    """Horizontal lines with their numbers on the left."""
    parts = []
    for level in levels:
        y = bottom - (bottom - top) * level / levels[-1]
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(text(LEFT - 8, y + 4, number(level), anchor="end"))
    return parts


def time_plot(label: str, points: Sequence[tuple[float, float]], step_s: float, marks: Sequence[Mark]) -> str:
    """An area over seconds. `points`: (start of the step, value); marks are bands with a number on top."""
    top, bottom, height = 34.0, 236.0, 276
    end = max([point[0] + step_s for point in points] + [mark.end for mark in marks] + [step_s])
    levels = ticks(max((value for _, value in points), default=1.0))

    def x(seconds: float) -> float:
        return LEFT + (WIDTH - RIGHT - LEFT) * seconds / end

    def y(value: float) -> float:
        return bottom - (bottom - top) * value / levels[-1]

    bands = []
    for mark in marks:
        left, width = x(mark.begin), max(2.0, x(mark.end) - x(mark.begin))
        bands.append(f'<g class="{mark.kind}"><title>{escape(mark.title)}</title>')
        bands.append(f'<rect class="band" x="{left:.1f}" y="{top}" width="{width:.1f}" height="{bottom - top}"/>')
        bands.append(f'<line class="edge" x1="{left:.1f}" x2="{left:.1f}" y1="{top - 6}" y2="{bottom}"/>')
        bands.append(f'<circle class="pin" cx="{left:.1f}" cy="{top - 16}" r="10"/>')
        bands.append(text(left, top - 12, mark.label, "pin-text") + "</g>")
    outline = " ".join(f"{x(at):.1f},{y(value):.1f} {x(at + step_s):.1f},{y(value):.1f}" for at, value in points)
    last = x(points[-1][0] + step_s) if points else LEFT
    area = f'<polygon class="area" points="{LEFT},{bottom} {outline} {last:.1f},{bottom}"/>'
    area += f'<polyline class="line" points="{outline}"/>'
    seconds = [text(x(at), bottom + 18, number(at)) for at in ticks(end, 10) if at <= end]
    caption = text((LEFT + WIDTH - RIGHT) / 2, height - 4, "seconds since the workers were started")
    return svg(height, label, [*grid(levels, bottom, top), *bands, area, *seconds, caption])


def columns(label: str, names: Sequence[str], counts: Sequence[int], caption: str) -> str:
    """Standing columns, one per name, with their counts on top."""
    top, bottom, height = 24.0, 196.0, 238
    levels = ticks(max(counts, default=1))
    slot = (WIDTH - RIGHT - LEFT) / max(1, len(names))
    parts = grid(levels, bottom, top)
    for place, (name, count) in enumerate(zip(names, counts, strict=True)):
        tall = (bottom - top) * count / levels[-1]
        left = LEFT + slot * place + 1
        parts.append(f'<g><title>{escape(name)}: {count:,}</title><rect class="bar" x="{left:.1f}" y="{bottom - tall:.1f}" ')
        parts.append(f'width="{slot - 2:.1f}" height="{tall:.1f}" rx="2"/></g>')
        parts.append(text(left + slot / 2 - 1, bottom - tall - 5, f"{count:,}") if count else "")
        parts.append(text(left + slot / 2 - 1, bottom + 18, name))
    parts.append(text((LEFT + WIDTH - RIGHT) / 2, height - 4, caption))
    return svg(height, label, parts)


def bars(label: str, rows: Sequence[Bar]) -> str:
    """Lying bars, one per row, each with its number at its end."""
    left, row_height, thick = 210, 34, 18
    height = row_height * len(rows) + 8
    longest = max((row.value for row in rows), default=1.0) or 1.0
    parts = []
    for place, row in enumerate(rows):
        y = place * row_height + 8
        wide = max(2.0, (WIDTH - RIGHT - left - 90) * row.value / longest)
        parts.append(text(left - 12, y + 14, row.label, "name", "end"))
        parts.append(f'<g class="{row.kind}"><title>{escape(row.label)}: {escape(row.text)}</title>')
        parts.append(f'<rect class="solid" x="{left}" y="{y}" width="{wide:.1f}" height="{thick}" rx="2"/></g>')
        parts.append(text(left + wide + 8, y + 14, row.text, "name", "start"))
    return svg(height, label, parts)
