"""What every test run shares: the hypothesis profiles, and the ledger that lets no test be skipped in silence.

Profiles are deterministic: a property test draws the same examples in every run. `--hypothesis-profile=full` (dev.py test-full)
draws more of them.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.skip_ledger import Row, Skip, parse, unexpected

LEDGER = Path(__file__).with_name("skips.txt")

for name, examples in (("default", 50), ("full", 1000)):
    settings.register_profile(
        name,
        derandomize=True,
        deadline=None,
        database=None,
        max_examples=examples,
        print_blob=True,
        suppress_health_check=[HealthCheck.too_slow],  # two shared cores: how long drawing takes says nothing about the test
    )
settings.load_profile("default")


class SkipLedger:
    """Gathers the tests that were skipped, and fails the run if one of them is not expected."""

    def __init__(self, rows: list[Row]) -> None:
        self.rows = rows
        self.skips: list[Skip] = []
        self.unexpected: list[Skip] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.skipped and not hasattr(report, "wasxfail"):
            self.skips.append(Skip(report.nodeid, reason_of(report)))

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.skipped:
            self.skips.append(Skip(report.nodeid, reason_of(report)))

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        self.unexpected = unexpected(self.skips, self.rows)
        if self.unexpected and exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if not self.skips:
            return
        write = terminalreporter.write_line
        write(f"skips: {len(self.skips) - len(self.unexpected)} expected, {len(self.unexpected)} unexpected")
        for skip in self.skips:
            word = "UNEXPECTED" if skip in self.unexpected else "expected"
            write(f"  {word} skip: {skip.node_id}: {skip.reason}", red=word == "UNEXPECTED")
        if self.unexpected:
            write("mend what is missing, or give the skip a row in tests/skips.txt", red=True)


def reason_of(report: pytest.TestReport | pytest.CollectReport) -> str:
    """Why it was skipped, without pytest's prefix."""
    if isinstance(report.longrepr, tuple):
        return report.longrepr[2].removeprefix("Skipped: ")
    return str(report.longrepr)


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(SkipLedger(parse(LEDGER.read_text(encoding="utf-8"))), "skip-ledger")
