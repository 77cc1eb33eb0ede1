"""Replays reckoned by hand on a small trace, the page they give, and the production trace where it is at hand."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from pathlib import Path

import pytest
from typer.testing import CliRunner

from loggos.base.errors import ConfigError
from loggos.cli.fleet import fleet_app
from loggos.fleet.whatif.replay import replay
from loggos.fleet.whatif.report import html, table, title
from loggos.fleet.whatif.trace import Trace, read_trace
from tests.fleet.whatif.worlds import NODES, PODS, openb, write_trace


@pytest.fixture
def trace(tmp_path: Path) -> Trace:
    return read_trace(write_trace(tmp_path))


def test_one_pass(trace: Trace) -> None:
    """First fit: p0 and p1 share a GPU of n1, p2 takes n2, p3 n0; p4 wants both of n1 and fails. 3 of 4 GPUs, 10 of 24 CPUs."""
    outcome = replay(trace, "first_fit")
    assert (outcome.pods, outcome.gpus, outcome.failed) == (5, 4, 1)
    assert outcome.gpus_asked == pytest.approx(5.0) and outcome.gpus_allocated == pytest.approx(3.0)
    assert outcome.gpus_unallocated == pytest.approx(1.0) and outcome.cpu == pytest.approx(10 / 24)
    assert [sample.at for sample in outcome.samples] == [0, 1, 2, 3, 4, 5]
    assert outcome.fragmented_gpus == pytest.approx(1 - 2 / 5), "p0 and p1, two of five pods, can use the GPU that is free"


def test_departures(trace: Trace) -> None:
    """p4 comes at 40 s, when p0 (until 100 s) still holds half a GPU: it waits 60 s. p3 never ends."""
    outcome = replay(trace, "first_fit", departures=True)
    assert (outcome.failed, outcome.waited, outcome.wait_mean_s, outcome.wait_max_s) == (0, 1, 60.0, 60.0)
    assert outcome.gpus_peak == pytest.approx(3.0)


def test_the_order_of_departures_and_arrivals(tmp_path: Path) -> None:
    """What ends at the moment at which another one comes has made room for it."""
    header = PODS.splitlines()[0]
    pods = f"{header}\na,8000,1,0,0,,,,0,10,0\nb,8000,1,0,0,,,,10,20,10\n"
    one = NODES.splitlines()[0] + "\nn0,8000,16000,0,\n"
    outcome = replay(read_trace(write_trace(tmp_path, one, pods)), "best_fit", departures=True)
    assert (outcome.waited, outcome.failed) == (0, 0)


def test_unknown_policies(trace: Trace) -> None:
    with pytest.raises(ConfigError, match="no score best"):
        replay(trace, "best")


class Tags(HTMLParser):
    """Counts elements; open and closed must agree."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.count: dict[str, int] = {}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert not any(name in ("src", "href") for name, _ in attrs), "the page loads something"
        self.count[tag] = self.count.get(tag, 0) + 1
        if tag not in ("meta",):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.count[tag] = self.count.get(tag, 0) + 1

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.mark.parametrize("departures", [False, True])
def test_the_page(trace: Trace, departures: bool) -> None:
    outcomes = [replay(trace, name, departures) for name in ("first_fit", "fgd_fill")]
    tags = Tags()
    tags.feed(html(trace, outcomes))
    assert not tags.open and tags.count["svg"] == 4 and tags.count["tr"] == 3


def test_the_command(tmp_path: Path) -> None:
    write_trace(tmp_path)
    runner, report = CliRunner(), tmp_path / "report.html"
    shown = runner.invoke(fleet_app, ["whatif", "--trace", str(tmp_path), "--policy", "first_fit", "--report", str(report)])
    assert (
        shown.exit_code == 0
        and "first_fit  3.0" in shown.stdout
        and report.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    )
    shown = runner.invoke(fleet_app, ["whatif", "--trace", str(tmp_path), "--json"])
    outcomes = json.loads(shown.stdout)["outcomes"]
    assert [outcome["policy"] for outcome in outcomes][:2] == ["first_fit", "best_fit"] and len(outcomes) == 9
    assert outcomes[0]["gpus_unallocated"] == pytest.approx(1.0)
    failed = runner.invoke(fleet_app, ["whatif", "--trace", str(tmp_path), "--policy", "best"])
    assert isinstance(failed.exception, ConfigError)


def test_a_report_that_cannot_be_written_is_told_before_anything_is_read_or_replayed(tmp_path: Path) -> None:
    for report, said in ((tmp_path / "none" / "x.html", "there is no directory"), (tmp_path, "is a directory")):
        failed = CliRunner().invoke(fleet_app, ["whatif", "--trace", str(tmp_path / "absent"), "--report", str(report)])
        assert isinstance(failed.exception, ConfigError) and said in str(failed.exception) and not failed.output


@pytest.mark.parametrize("form", [[], ["--json"]])
def test_what_was_replayed_is_shown_even_if_the_report_fails(tmp_path: Path, form: list[str]) -> None:
    write_trace(tmp_path)
    full = Path("/dev/full")  # there, but without room
    if not full.exists():
        pytest.skip("there is no /dev/full")
    words = ["whatif", "--trace", str(tmp_path), "--policy", "first_fit", "--report", str(full), *form]
    failed = CliRunner().invoke(fleet_app, words)
    assert isinstance(failed.exception, ConfigError) and "/dev/full cannot be written: No space" in str(failed.exception)
    assert "first_fit" in failed.stdout and "report:" not in failed.stdout


# --- the production trace ----------------------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def production() -> Trace:
    folder = openb()
    if folder is None:
        pytest.skip("the openb trace is not here: set LOGGOS_OPENB to its folder")
    return read_trace(folder)


@pytest.mark.parametrize(
    ("score", "unallocated", "failed"),
    [
        ("first_fit", 447.4, 368),
        pytest.param("best_fit", 554.2, 483, marks=pytest.mark.full),
        pytest.param("fgd", 394.7, 283, marks=pytest.mark.full),
        ("fgd_fill", 283.3, 191),
    ],
)
def test_openb_in_trace_order(production: Trace, score: str, unallocated: float, failed: int) -> None:
    """First and best fit as another implementation measured them (447 and 368 failed, 554 and 483); ours to hold the gain."""
    outcome = replay(production, score)
    assert outcome.gpus == 6_212 and outcome.gpus_asked == pytest.approx(6_086.8)
    assert (round(outcome.gpus_unallocated, 1), outcome.failed) == (unallocated, failed)


@pytest.mark.full
def test_openb_without_foresight(production: Trace) -> None:
    """Also when the workload is learnt on the way, less is left than by any score that does not look at it."""
    outcome = replay(production, "fgd_fill", foresight=False)
    assert outcome.gpus_unallocated < 320
    assert title(production, False).startswith("openb: 8,152 pods on 1,523 nodes with 6,212 GPUs")
    assert table([outcome])[1][0][0] == "fgd_fill"
