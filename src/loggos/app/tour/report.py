"""The tour's report: one HTML page of its chapters, and the lock chapter's part of it. Pure: a story and its proofs in, text out.

Nothing is loaded from anywhere, and there is no script. What comes from outside the program (machine facts, paths) is escaped.
"""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Mapping, Sequence
from html import escape
from itertools import pairwise
from typing import Final

from loggos.app.tour import figures
from loggos.app.tour.proofs import Proof
from loggos.app.tour.records import RESOLVED, Fault, Story
from loggos.draw import charts
from loggos.draw.page import page

STEP_S: Final = 0.25  # of the throughput plot: finer than a fail-over, coarse enough to be read
WAIT_EDGES_MS: Final = (5, 10, 20, 50, 100, 200, 300, 400, 500, 1_000, 2_000, 5_000)
KINDS: Final = {"kill": "leader", "pause leader": "leader", "pause holder": "holder"}  # fault → CSS class
WORDS: Final = {
    "kill": "leader killed (SIGKILL)",
    "pause leader": "leader paused (SIGSTOP)",
    "pause holder": "holder paused (SIGSTOP)",
}

def seconds_ms(seconds: float) -> str:
    return f"{1000 * seconds:,.0f} ms"


def table(columns: Sequence[str], rows: Sequence[Sequence[str]], words: Sequence[int] = ()) -> str:
    """The first column and those in `words` are text, the others numbers."""

    def cell(tag: str, place: int, text: str) -> str:
        kind = ' class="words"' if place in words else ""
        return f"<{tag}{kind}>{escape(text)}</{tag}>"

    head = "".join(cell("th", place, column) for place, column in enumerate(columns))
    body = "".join("<tr>" + "".join(cell("td", place, text) for place, text in enumerate(row)) + "</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def section(title: str, note: str, inner: str) -> str:
    said = f'<p class="soft">{escape(note)}</p>' if note else ""
    return f'<section><h2>{escape(title)}</h2>{said}<div class="card">{inner}</div></section>'


def tiles(story: Story) -> str:
    """The few numbers to remember."""
    waits = figures.spread(figures.waits(story))
    fails = [gap.seconds for gap in figures.failover_gaps(story)]
    shown = [
        (f"{len(story.increments):,}", "increments, each exactly once"),
        (f"{figures.throughput(story):,.0f} /s", "all faults included"),
        (seconds_ms(waits.p50), "wait for the lock, median"),
        (seconds_ms(figures.percentile(fails, 0.5)), "fail-over gap, median"),
        (seconds_ms(max(fails, default=0.0)), "fail-over gap, worst"),
    ]
    cards = (f'<div class="card"><b>{escape(value)}</b><span>{escape(what)}</span></div>' for value, what in shown)
    return '<div class="tiles">' + "".join(cards) + "</div>"


def proof_list(proofs: Sequence[Proof]) -> str:
    items = []
    for proof in proofs:
        kind, mark = ("holds", "✓") if proof.holds else ("fails", "✗")
        look = f"<div>Look at {escape(proof.look_at)}</div>" if not proof.holds else ""
        claim = f'<span class="mark">{mark}</span><b>{escape(proof.title)}</b>'
        items.append(f'<li class="{kind}">{claim}<div>{escape(proof.evidence)}</div>{look}</li>')
    return '<ul class="proofs">' + "".join(items) + "</ul>"


def throughput_plot(story: Story) -> str:
    marks = []
    for number, fault in enumerate(story.faults, 1):
        begin, end = fault.at - story.began, fault.back - story.began
        marks.append(charts.Mark(str(number), begin, end, KINDS[fault.kind], f"{WORDS[fault.kind]}: {fault.target}"))
    return charts.time_plot("increments per second over time", figures.rates(story, STEP_S), STEP_S, marks)


def fault_rows(story: Story) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    for number, gap in enumerate(figures.gaps(story), 1):
        fault: Fault = gap.fault
        stale = "accepted" if any(record.applied for record in story.stale) else "refused"
        then = f"node {fault.leader_after} leads" if fault.leader_after else f"others go on; its stale write is {stale}"
        at, away = fault.at - story.began, fault.back - fault.at
        rows.append((f"{number}", WORDS[fault.kind], fault.target, f"{at:.1f} s", f"{away:.2f} s", then, seconds_ms(gap.seconds)))
    return rows


def wait_plot(story: Story) -> str:
    counts = figures.histogram([1000 * wait for wait in figures.waits(story)], WAIT_EDGES_MS)
    spans = pairwise(WAIT_EDGES_MS)
    names = [f"< {WAIT_EDGES_MS[0]}", *(f"{low:,}–{high:,}" for low, high in spans), f"≥ {WAIT_EDGES_MS[-1]:,}"]
    used = [place for place, count in enumerate(counts) if count] or [0]
    first, last = used[0], used[-1] + 1
    caption = "milliseconds from asking to holding"
    return charts.columns("waits for the lock", names[first:last], counts[first:last], caption)


def gap_plot(story: Story) -> str:
    rows = []
    for number, (fault, seconds) in enumerate(figures.gaps(story), 1):
        rows.append(charts.Bar(f"{number}  {fault.kind} ({fault.target})", seconds, seconds_ms(seconds), KINDS[fault.kind]))
    return charts.bars("longest gap between increments around each fault", rows)


def worker_rows(story: Story) -> list[tuple[str, ...]]:
    made = Tally(record.worker for record in story.increments)
    resolved = Tally(record.worker for record in story.increments if record.outcome == RESOLVED)
    held = Tally(holding.worker for holding in story.holdings)
    refused = Tally(refusal.worker for refusal in story.refusals)
    sessions = {record.worker: record.sessions for record in story.finished}
    return [
        (f"worker {w}", f"{made[w]:,}", f"{held[w]:,}", f"{resolved[w]:,}", f"{refused[w]:,}", f"{sessions.get(w, 0)}")
        for w in range(1, story.workers + 1)
    ]


def spread_rows(story: Story) -> list[tuple[str, ...]]:
    waits = figures.spread(figures.waits(story))
    fails = figures.spread([gap.seconds for gap in figures.failover_gaps(story)])
    return [
        (name, *(seconds_ms(value) for value in (spread.p50, spread.p99, spread.max)), f"{spread.number:,}")
        for name, spread in (("wait for the lock", waits), ("fail-over gap (leader faults)", fails))
    ]


def facts_list(facts: Mapping[str, str]) -> str:
    return "<dl>" + "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in facts.items()) + "</dl>"


def render(bodies: Sequence[str], facts: Mapping[str, str], commands: Sequence[str]) -> str:
    """The whole page. `bodies`: of the chapters; `facts`: of machine and software; `commands`: each runs the tour again."""
    closing = [
        section("The machine", "", facts_list(facts)),
        section("Once more", "It takes well under two minutes.", "<pre>" + escape("\n".join(commands)) + "</pre>"),
    ]
    return page("Loggos: the tour", "".join([*bodies, *closing]))


def proof_section(proofs: Sequence[Proof]) -> str:
    good = all(proof.holds for proof in proofs)
    verdict = "Every proof holds." if good else "A proof FAILED; it says where to look."
    return section("What was proven", verdict, proof_list(proofs))


def lock_body(story: Story, proofs: Sequence[Proof]) -> str:
    """The chapter of the lock."""
    intro = (
        f"{story.workers} workers, each a process with a stock kazoo client, made {story.total:,} increments of one counter "
        f"under one lock, on {story.nodes} Loggos nodes on this machine. Every write carried its holder's token and was "
        "checked by the servers. Meanwhile the leader was killed twice and paused once, and a holder of the lock was paused "
        "with a write ready."
    )
    seen = (
        "Increments per second. A band lasts from the fault until what was struck was started again or resumed; "
        "the numbers are those of the table."
    )
    queueing = f"All workers queue all the time: the usual wait is {story.workers - 1} others' turns."
    columns = ("", "fault", "struck", "at", "away", "what followed", "longest gap")
    parts = [
        proof_section(proofs),
        section("Throughput and faults", seen, throughput_plot(story)),
        section("The faults", "", table(columns, fault_rows(story), (1, 2, 5))),
        section("Gaps", "The longest silence from each fault until every worker worked again.", gap_plot(story)),
        section("Waiting for the lock", queueing, wait_plot(story)),
        section("Percentiles", "", table(("", "p50", "p99", "max", "count"), spread_rows(story))),
        section("The workers", "", table(("", "increments", "holdings", "resolved", "refused", "sessions"), worker_rows(story))),
    ]
    return f'<h1>A lock that survives</h1><p class="soft">{escape(intro)}</p>{tiles(story)}' + "".join(parts)
