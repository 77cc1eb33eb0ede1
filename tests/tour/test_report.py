"""The report is one well-formed page that loads nothing, says every proof, and escapes what comes from outside."""

from __future__ import annotations

import re
from html.parser import HTMLParser

from loggos.app.tour.proofs import prove
from loggos.app.tour.records import Story
from loggos.app.tour.report import lock_body, render
from tests.tour.stories import story

VOID = {"meta", "line", "rect", "circle", "polygon", "polyline"}


class Balance(HTMLParser):
    """Every element that is opened is closed, in order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append(tag)
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def page(told: Story, facts: dict[str, str] | None = None) -> str:
    return render([lock_body(told, prove(told))], facts or {"machine": "2 cores"}, ["loggos tour"])


def test_it_is_one_balanced_page_with_three_plots() -> None:
    parser = Balance()
    parser.feed(page(story()))
    parser.close()
    assert parser.open == []
    assert parser.seen.count("svg") == 3 and parser.seen.count("html") == 1


def test_it_loads_nothing() -> None:
    text = page(story())
    parser = Balance()
    parser.feed(text)
    assert not {"script", "link", "img", "iframe", "object", "image", "use"} & set(parser.seen)
    assert not [name for name, _ in parser.attributes if name in ("src", "href", "xlink:href", "action", "srcset")]
    assert not re.search(r"https?://|url\(|@import", text)


def test_it_says_every_proof_and_fault() -> None:
    text = page(story())
    for proof in prove(story()):
        assert proof.title in text
    assert text.count('class="holds"') == 5 and 'class="fails"' not in text
    assert text.count('class="pin"') == 4
    assert "prefers-color-scheme: dark" in text


def test_a_failed_proof_is_seen() -> None:
    told = story()
    del told.increments[3]
    text = page(told)
    assert 'class="fails"' in text and "A proof FAILED" in text and "Look at" in text


def test_what_comes_from_outside_is_escaped() -> None:
    text = page(story(), {"machine": "<b>x</b> & more"})
    assert "<b>x</b>" not in text and "&lt;b&gt;x&lt;/b&gt; &amp; more" in text


def test_a_story_without_increments_still_renders() -> None:
    told = story()
    told.increments.clear()
    told.holdings.clear()
    Balance().feed(page(told))
