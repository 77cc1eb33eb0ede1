"""The tour as a person runs it, smaller; its ends: interrupted, killed, asked for what does not exist."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from loggos.app.processes import child_environment
from loggos.app.tour.lock_chapter import Options
from loggos.app.tour.main import Sizes, run
from loggos.app.tour.unequal import Load
from loggos.base.errors import ConfigError

DEADLINE_S = 60.0


def descendants(pid: int) -> list[psutil.Process]:
    return psutil.Process(pid).children(recursive=True)


@pytest.mark.process
def test_a_small_tour_proves_itself_and_leaves_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = tmp_path / "report.html"
    before = {process.pid for process in descendants(os.getpid())}
    code = run(chapter=1, report=report, sizes=Sizes(lock=Options(total=240, workers=4, holding_max=3)))
    said = capsys.readouterr().out
    assert code == 0, said
    assert said.count("✓") == 5 and "✗" not in said
    assert "its stale write is refused" in said
    assert report.read_text(encoding="utf-8").count('class="holds"') == 5
    assert {process.pid for process in descendants(os.getpid())} == before


@pytest.mark.process
def test_a_small_chapter_of_decisions_proves_itself(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = tmp_path / "report.html"
    code = run(chapter=2, report=report, sizes=Sizes(load=Load(seconds=1.0, clients=3)))
    said = capsys.readouterr().out
    assert code == 0, said
    assert said.count("✓") == 4 and "✗" not in said and "Prequal" in said
    page = report.read_text(encoding="utf-8")
    assert page.count('class="holds"') >= 4 and "Prequal" in page
    assert page.count("<h1>") == 3 and page.count("<svg") >= 4, "decisions, advice and plan, with their plots"


def heed_interrupts() -> None:
    """Whoever runs the tests in the background may have made them ignore SIGINT, which children inherit."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def start_tour(directory: Path) -> subprocess.Popen[bytes]:
    """The tour in the middle of its work: the first fault is behind it."""
    words = [sys.executable, "-m", "loggos.cli.main", "tour", "--report", str(directory / "report.html")]
    environment = {**child_environment(), "TMPDIR": str(directory)}
    tour = subprocess.Popen(
        words, stdout=subprocess.PIPE, env=environment, start_new_session=True, preexec_fn=heed_interrupts
    )
    assert tour.stdout is not None
    for line in tour.stdout:
        if b"200 of" in line:
            return tour
    raise AssertionError("the tour ended before it worked")


def wait_gone(processes: list[psutil.Process]) -> None:
    _, alive = psutil.wait_procs(processes, timeout=DEADLINE_S)
    assert alive == []


@pytest.mark.process
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 130), (signal.SIGKILL, -9)])
def test_however_it_ends_no_process_is_left(tmp_path: Path, number: signal.Signals, code: int) -> None:
    tour = start_tour(tmp_path)
    processes = descendants(tour.pid)
    assert len(processes) >= 11  # nodes, workers and warden
    tour.send_signal(number)
    assert tour.wait(DEADLINE_S) == code
    wait_gone(processes)
    if code == 130:
        assert list(tmp_path.iterdir()) == []  # no data, no report
    assert tour.stdout is not None
    tour.stdout.close()


@pytest.mark.process
@pytest.mark.parametrize("times", [1, 2])
def test_decisions_that_are_interrupted_end_with_one_line(tmp_path: Path, times: int) -> None:
    """In the middle of the load, with hundreds of requests under way; the second Ctrl-C comes while the first is heeded."""
    words = [sys.executable, "-m", "loggos.cli.main", "tour", "--chapter", "2", "--report", str(tmp_path / "report.html")]
    output = (tmp_path / "output").open("w+b")
    tour = subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=output, env=child_environment(), start_new_session=True, preexec_fn=heed_interrupts
    )
    assert tour.stdout is not None
    for line in tour.stdout:
        if b"under each policy at once" in line:
            break
    time.sleep(1.0)  # however far it is by then
    for _ in range(times):
        tour.send_signal(signal.SIGINT)
    said, _ = tour.communicate(timeout=DEADLINE_S)
    output.seek(0)
    assert tour.returncode == 130
    assert said.endswith(b"interrupted; every process of the tour has ended\n") and output.read() == b""
    output.close()


def test_a_chapter_that_does_not_exist_is_one_line() -> None:
    with pytest.raises(ConfigError, match=r"no chapter 9: there is 1 \(a lock that survives\), 2 \(deciding well\)"):
        run(chapter=9)


def test_a_report_that_cannot_be_written_is_told_before_anything_starts(tmp_path: Path) -> None:
    began = time.monotonic()
    with pytest.raises(ConfigError, match="there is no directory"):
        run(report=tmp_path / "missing" / "report.html")
    with pytest.raises(ConfigError, match="is a directory"):
        run(report=tmp_path)
    assert time.monotonic() - began < DEADLINE_S
