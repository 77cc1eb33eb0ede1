"""`loggos tour`: the chapters, one after another, and their exit code.

0: every proof holds. 1: a proof failed, or something did not happen in time; the data directory is kept and named.
130: interrupted.
Whatever happens, every process that was started has ended when this returns.
"""

from __future__ import annotations

import platform
import shutil
import signal
import tempfile
from collections.abc import Callable, Mapping
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Final, NamedTuple

from loggos import __version__
from loggos.app.bench import probe
from loggos.app.processes import stop_signals
from loggos.app.reports import check_report_path, write_report
from loggos.app.tour import figures
from loggos.app.tour.lock_chapter import LockChapter, Options
from loggos.app.tour.proofs import Proof, prove
from loggos.app.tour.records import Story
from loggos.app.tour.report import lock_body, render
from loggos.app.tour.screen import Screen
from loggos.app.tour.unequal import Load
from loggos.base.errors import ConfigError, LoggosError

COMMANDS: Final = ("python3 dev.py tour", "loggos tour --report tour-report.html", "loggos tour --chapter 1")
EXIT_OK, EXIT_FAILED, EXIT_INTERRUPTED = 0, 1, 130
Facts = Mapping[str, str]  # of the machine, as it was before the first chapter


class Sizes(NamedTuple):
    """How large the chapters are; tests make them smaller."""

    lock: Options = Options()
    load: Load = Load()


class Told(NamedTuple):
    """What came of a chapter: its exit code, and its part of the report ("": it has none)."""

    code: int
    body: str


def run(chapter: int | None = None, report: Path = Path("tour-report.html"), sizes: Sizes = Sizes()) -> int:
    """Run one chapter, or all."""
    if chapter is not None and chapter not in CHAPTERS:
        known = ", ".join(f"{number} ({title})" for number, (title, _) in CHAPTERS.items())
        raise ConfigError(f"there is no chapter {chapter}: there is {known}")
    check_report_path(report)
    screen = Screen()
    previous = {number: signal.signal(number, interrupt) for number in stop_signals() if number != signal.SIGINT}
    try:
        numbers = list(CHAPTERS) if chapter is None else [chapter]
        facts = machine()
        told = [CHAPTERS[number][1](number, screen, facts, sizes) for number in numbers]
        if bodies := [one.body for one in told if one.body]:
            write_report(report, render(bodies, {**facts, **software()}, COMMANDS))
            screen.line()
            screen.line(f"  the report is {report}")
        return max(one.code for one in told)
    except KeyboardInterrupt:
        screen.line("interrupted; every process of the tour has ended")
        return EXIT_INTERRUPTED
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def machine() -> dict[str, str]:
    with tempfile.TemporaryDirectory(prefix="loggos-tour-") as directory:
        return probe.machine_facts(Path(directory))


def lock_chapter(number: int, screen: Screen, facts: Facts, sizes: Sizes) -> Told:
    options = sizes.lock
    title = CHAPTERS[number][0]
    screen.title(f"Chapter {number}: {title}")
    directory = Path(tempfile.mkdtemp(prefix="loggos-tour-"))
    code, body = EXIT_FAILED, ""
    try:
        screen.line(f"  {options.workers} workers, {options.total:,} increments; {facts['machine']}", "dim")
        story = LockChapter(directory, options, screen).run()
        proofs = prove(story)
        show(screen, story, proofs)
        body = lock_body(story, proofs)
        code = EXIT_OK if all(proof.holds for proof in proofs) else EXIT_FAILED
    except KeyboardInterrupt:
        code = EXIT_INTERRUPTED
        raise
    except LoggosError as error:
        screen.event(f"the tour cannot go on: {error}", "red")
    finally:
        if code == EXIT_FAILED:
            screen.line(f"  what was left is kept in {directory}", "red")
        else:
            shutil.rmtree(directory, ignore_errors=True)
    return Told(code, body)


def deciding_chapter(number: int, screen: Screen, facts: Facts, sizes: Sizes) -> Told:
    screen.title(f"Chapter {number}: {CHAPTERS[number][0]}")
    try:
        from loggos.app.tour import deciding_chapter as chapter
        from loggos.app.tour.deciding_report import deciding_body
    except ModuleNotFoundError as error:
        if error.name not in ("numpy", "scipy"):
            raise
        screen.line(f"  left out: it needs {error.name}; install it with: pip install 'loggos[plan]'", "yellow")
        return Told(EXIT_OK, "")
    told, proofs = chapter.run(screen, sizes.load)
    return Told(EXIT_OK if all(proof.holds for proof in proofs) else EXIT_FAILED, deciding_body(told, proofs))


def software() -> dict[str, str]:
    """What ran, for the report."""
    return {
        "software": f"Loggos {__version__}, Python {platform.python_version()}, kazoo {version('kazoo')}",
        "cluster": "3 nodes, defaults of `loggos node`: fdatasync by a quorum before every acknowledgement",
        "finished": datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z"),
    }


def show(screen: Screen, story: Story, proofs: list[Proof]) -> None:
    """Figures, then one line per proof."""
    waits = figures.spread(figures.waits(story))
    gaps = figures.failover_gaps(story)
    fails = figures.spread([gap.seconds for gap in gaps])
    screen.line()
    screen.line(f"  {figures.throughput(story):,.0f} increments per second, all faults included")
    rows = [
        ("wait for the lock", ms(waits.p50), ms(waits.p99), ms(waits.max), f"{waits.number:,}"),
        ("fail-over gap", ms(fails.p50), ms(fails.p99), ms(fails.max), f"{fails.number:,}"),
    ]
    screen.table(("", "p50", "p99", "max", "count"), rows)
    screen.line()
    screen.table(("fault", "at", "longest gap"), [fault_row(story, gap) for gap in figures.gaps(story)])
    screen.line()
    for proof in proofs:
        screen.verdict(proof.holds, proof.title, proof.evidence)
        if not proof.holds:
            screen.line(f"      look at {proof.look_at}")


def fault_row(story: Story, gap: figures.Gap) -> tuple[str, str, str]:
    fault, seconds = gap
    return f"{fault.kind} ({fault.target})", f"{fault.at - story.began:.1f} s", ms(seconds)


def ms(seconds: float) -> str:
    return f"{1000 * seconds:,.0f} ms"


CHAPTERS: Final[dict[int, tuple[str, Callable[[int, Screen, Facts, Sizes], Told]]]] = {
    1: ("a lock that survives", lock_chapter),
    2: ("deciding well", deciding_chapter),
}
