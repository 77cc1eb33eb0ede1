"""Exploring seeds from tests: over all cores, each seed twice, with a readable list of what failed."""

from __future__ import annotations

import os
from collections.abc import Sequence

from loggos.app.simulation import report
from loggos.app.simulation.explore import Explorer, Finding
from loggos.app.simulation.jobs import Processes, Task

CORES = os.cpu_count() or 1


def explored(tasks: Sequence[Task], once: bool = False) -> list[Finding]:
    """Every task, run twice."""
    return list(Explorer(Processes(), CORES, once).findings(tasks))


def complaints(findings: Sequence[Finding]) -> list[str]:
    """Empty when all passed; else what failed, each with the command that replays it."""
    ordered = sorted(findings, key=lambda finding: finding.task.seed)
    return [line for finding in ordered if not finding.passed for line in report.failure_lines(finding)]
