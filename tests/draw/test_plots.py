"""Plots: every number can be read, peaks survive thinning, marks stand where the numbers say."""

from __future__ import annotations

import re
from itertools import pairwise
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loggos.draw import plots
from loggos.draw.page import STYLE, page
from loggos.draw.plots import Level, Line, Stack

VALUES = st.floats(-1e9, 1e9, allow_nan=False)


def titles(drawn: str) -> list[str]:
    return [element.text or "" for element in ElementTree.fromstring(drawn).iter("title")]


def test_lines_name_every_point_with_its_interval() -> None:
    drawn = plots.lines("load", [Line("forecast", [(0, 10), (1, 20)], [8, 15], [12, 26])], "day", "requests/s")
    assert "forecast at 1: 20 [15, 26]" in titles(drawn)
    assert "forecast: interval" in titles(drawn)


def test_a_level_stands_at_its_value() -> None:
    drawn = plots.lines("load", [Line("latency", [(0, 0), (1, 100)])], "n", "ms", [Level("objective", 50)])
    root = ElementTree.fromstring(drawn)
    (level,) = [line for line in root.iter("line") if line.get("class") == "level"]
    assert float(level.get("y1", "0")) == pytest.approx((plots.TOP + plots.BOTTOM) / 2, abs=0.1)  # of an axis from 0 to 100
    assert "objective: 50" in titles(drawn)


def test_several_lines_have_a_legend_and_one_has_none() -> None:
    one, two = Line("first", [(0, 1), (1, 2)]), Line("second", [(0, 2), (1, 1)])
    assert ">second</text>" in plots.lines("both", [one, two], "x", "y")
    assert ">first</text>" not in plots.lines("one", [one], "x", "y")


def test_points_and_their_curve() -> None:
    drawn = plots.scatter("fit", [(1, 20), (4, 78)], [Line("law", [(1, 19), (4, 80)], dashed=True)], "threads", "per second")
    assert "measured at 4: 78" in titles(drawn) and "law at 4: 80" in titles(drawn)
    assert "dashed" in drawn


def test_stacked_bars_are_as_long_as_their_sum() -> None:
    drawn = plots.stacked("cost", ["used", "spare"], [Stack("a", [3, 1]), Stack("b", [1, 1], "cheapest")], " EUR")
    widths = [float(w) for w in re.findall(r'fill" x="[\d.]+" y="\d+"\s+width="([\d.]+)"', drawn)]
    assert widths[0] + widths[1] == pytest.approx(2 * (widths[2] + widths[3]), abs=0.2)
    assert "a, used: 3 EUR" in titles(drawn) and "2 EUR cheapest" in drawn


@given(st.lists(VALUES, min_size=1, max_size=3000))
def test_thinning_keeps_ends_and_extremes_in_order(values: list[float]) -> None:
    points = [(float(place), value) for place, value in enumerate(values)]
    kept = plots.thin(points, 50)
    assert len(kept) <= 102 or len(kept) == len(points)
    assert kept[0] == points[0] and kept[-1] == points[-1]
    assert kept == sorted(set(kept))
    assert max(v for _, v in kept) == max(values) and min(v for _, v in kept) == min(values)


@given(VALUES, st.floats(0, 1e9))
def test_steps_cover_and_ascend(low: float, span: float) -> None:
    marks = plots.steps(low, low + span)
    size = max(abs(low), span, 1.0)
    assert marks[0] <= low + 1e-6 * size and marks[-1] >= low + span - 1e-6 * size
    assert all(before < after for before, after in pairwise(marks))
    assert len(marks) <= 9


def test_a_year_of_hours_stays_small() -> None:
    hours = [(float(hour), float(hour % 24)) for hour in range(8760)]
    assert len(plots.lines("year", [Line("load", hours)], "hour", "per second")) < 60_000


def test_what_is_not_finite_is_refused() -> None:
    with pytest.raises(AssertionError):
        plots.lines("bad", [Line("a", [(0, float("nan"))])], "x", "y")


def test_every_class_has_a_style_and_the_page_loads_nothing() -> None:
    both = [Line("a", [(0, 1), (1, 2)], [1, 1], [2, 3]), Line("b", [(0, 1), (1, 3)])]
    drawn = plots.lines("a", both, "x", "y", [Level("l", 2)])
    drawn += plots.stacked("s", ["a"], [Stack("r", [1])])
    for kind in {name for names in re.findall(r'class="([^"]+)"', drawn) for name in names.split()}:
        assert f".{kind}" in STYLE, kind
    assert "src=" not in page("t", drawn) and "http" not in page("t", drawn)
