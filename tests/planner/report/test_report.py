"""Reports: the answer first, every number there, nothing loaded, nothing unescaped, the same in HTML and Markdown."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser

import msgspec
import pytest

from loggos.draw.page import STYLE
from loggos.planner.advise.advice import advise
from loggos.planner.advise.needs import Needs
from loggos.planner.advise.sample import SAMPLE_INTENT, sample_needs
from loggos.planner.plan.intent import Interval, Scaling, Voters, parse
from loggos.planner.plan.make import make, plan_text
from loggos.planner.report import data, html, markdown, of_advice, of_plan
from loggos.planner.report.blocks import Report, interval
from loggos.planner.report.figures import Outlook, highest
from loggos.planner.types import Estimate
from tests.planner.plan.samples import intent

SECTIONS = ["Why", "The load, and what is carried", "Alternatives", "What else would change it", "Cross-checks"]


def plan_report() -> Report:
    return of_plan.report(plan_text(SAMPLE_INTENT, "sample"))


class Balanced(HTMLParser):
    """Checks that every element is closed, and gathers classes, titles and text."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.classes: dict[str, None] = {}
        self.words: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        for name in (given.get("class") or "").split():
            self.classes[name] = None
        assert not any(key in ("src", "href", "onclick") for key in given), f"{tag} loads or runs something"
        assert tag not in ("script", "link", "iframe", "img")
        if tag != "meta":
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open.pop() == tag, f"{tag} closes what is not open"

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def read(page: str) -> Balanced:
    parser = Balanced()
    parser.feed(page.replace("<!DOCTYPE html>", ""))
    assert not parser.open
    return parser


def test_a_plan_as_one_page() -> None:
    page = read(html.render(plan_report()))
    said = " ".join(page.words)
    assert [said.index(title) for title in SECTIONS] == sorted(said.index(title) for title in SECTIONS)
    assert said.index("8 × large over 3 zones (3 + 3 + 2), 1,280 EUR a month.") < said.index("Alternatives")
    for name in page.classes:
        assert re.search(rf"\.{name}\b", STYLE), f"class {name} has no style"


def test_a_plan_as_markdown_says_the_same() -> None:
    text = markdown.render(plan_report())
    assert text.startswith("# A plan for orders\n\n*How many machines")
    assert [text.index(f"## {title}") for title in SECTIONS] == sorted(text.index(f"## {title}") for title in SECTIONS)
    assert "| 8 × large | none | 1,280 | 605 |" in text
    for line in text.splitlines():
        if line.startswith("|"):
            cells = re.split(r"(?<!\\)\|", line)
            assert len(cells) >= 4
    assert "<svg" not in text


def test_what_was_inferred_is_shown_with_its_interval() -> None:
    text = markdown.render(plan_report())
    assert re.search(r"7,048 \\\[5,497, 9,479\\\] requests/s", text)
    assert interval(Estimate(2, 1, 3), "ms") == "2 [1, 3] ms"
    assert interval(Estimate(2, 2, 2), "ms") == "2 ms"


def test_names_from_outside_are_escaped() -> None:
    wanted = msgspec.structs.replace(parse(SAMPLE_INTENT), name='<script>alert("x")</script>')
    page = html.render(of_plan.report(make(wanted)))
    assert "<script>" not in page and "&lt;script&gt;" in page
    read(page)
    assert not re.search(r"(?<!\\)<", markdown.render(of_plan.report(make(wanted))))


def test_a_measured_load_is_drawn_with_its_forecast() -> None:
    outlook = Outlook([(0.0, 10.0), (1.0, 12.0)], [(2.0, 13.0, 11.0, 16.0)], lambda at: f"day {at:g}", ["one hour is missing"])
    answer = plan_text(SAMPLE_INTENT, "sample", Estimate(5000, 4500, 6000), "forecast of web from 2 points")
    page = html.render(of_plan.report(answer, outlook))
    assert "forecast at day 2: 13 [11, 16]" in page and "measured at day 1: 12" in page
    assert "forecast of web from 2 points" in page and "one hour is missing" in page


def test_long_series_are_drawn_by_their_peaks() -> None:
    assert highest([(0.0, 1.0), (1.0, 5.0), (2.0, 3.0)], 2) == [(0.0, 5.0), (2.0, 3.0)]
    hours = [(3600.0 * hour, float(hour % 24)) for hour in range(8760)]
    ahead = [(at + 3600.0 * 8760, value, value, value + 1) for at, value in hours]
    answer = plan_text(SAMPLE_INTENT, "sample", Estimate(5000, 4500, 6000), "forecast")
    page = html.render(of_plan.report(answer, Outlook(hours, ahead, str)))
    assert "Each point is the highest of 58 values" in page and len(page) < 150_000


@pytest.mark.parametrize("over", ["requests", "nodes"])
def test_a_plan_by_the_scalability_law(over: str) -> None:
    law = Scaling(gamma=Interval(100, 90, 110), alpha=0.01, beta=1e-5, over=over)  # type: ignore[arg-type]
    demand = msgspec.structs.replace(intent().demand, service=None, scaling=law)
    report = of_plan.report(make(msgspec.structs.replace(intent(), demand=demand)))
    text = markdown.render(report)
    assert "its parameters were given, not fitted here" in text
    assert ("not known" in text) == (over == "nodes")  # it says nothing of latency
    read(html.render(report))


def test_a_refusal_says_why_and_what_nearly_does() -> None:
    wanted = msgspec.structs.replace(intent(site={"zones": 2}, survive={"zones": 1}), voters=Voters())
    report = of_plan.report(make(wanted))
    assert report.answer.startswith("None: voters: no number of voters survives")
    assert "site.zones = 3 would give" in markdown.render(report)
    read(html.render(report))


@pytest.mark.parametrize(
    "needs", [sample_needs(), Needs(uses=["locks"]), Needs(uses=["events", "files", "batch", "services", "requests"]),
              Needs(uses=["locks"], regions=["a", "b"], survive="region")]
)  # fmt: skip
def test_advice_as_a_page_and_as_markdown(needs: Needs) -> None:
    advice = advise(needs)
    report = of_advice.report(advice)
    page = read(html.render(report))
    for name in page.classes:
        assert re.search(rf"\.{name}\b", STYLE), f"class {name} has no style"
    text = markdown.render(report)
    for verdict in advice.verdicts:
        assert f"## {verdict.service.name.capitalize()}: {verdict.answer}" in text
    assert "planned" in text  # what is not there yet is never hidden
    json.dumps(data.of_advice(advice), allow_nan=False)


def test_plain_data_has_no_number_that_json_lacks() -> None:
    plain = data.of_plan(plan_text(SAMPLE_INTENT, "sample"))
    assert json.loads(json.dumps(plain, allow_nan=False))["plan"]["nodes"] == 8
    law = Scaling(gamma=100, alpha=0.01, beta=1e-5, over="nodes")
    demand = msgspec.structs.replace(intent().demand, service=None, scaling=law)
    unknown = data.of_plan(make(msgspec.structs.replace(intent(), demand=demand)))
    json.dumps(unknown, allow_nan=False)
    assert unknown["plan"]["latency_ms"]["value"] is None
    refused = data.of_plan(make(intent(site={"zone_availability": 0.5})))
    assert refused["plan"] is None and refused["why"]
