"""`loggos sim`: explore seeds in the simulator. Reads the options, runs the explorer, prints what it finds.

Exit code 0: every seed passed; 1: one failed; 2: the options make no sense; 130: interrupted. What is printed is made in
report.py. Output goes to stdout, progress to stderr; with --json, stdout holds one JSON document.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from loggos.app.reports import check_report_path, write_report
from loggos.app.simulation import report
from loggos.app.simulation.explore import Explorer, Finding, over_threads
from loggos.app.simulation.jobs import Crash, Processes, Recorded, Task, parts_of, play_recorded
from loggos.app.simulation.progress import Progress
from loggos.app.simulation.scenario import DEFAULT_ROTATION, SCENARIOS
from loggos.app.simulation.shrinking import Shrinker, Shrunk
from loggos.base.errors import ConfigError
from loggos.base.limits import SIM_SEEDS_MAX, SIM_SHRINK_RUNS_MAX, SIM_SHRUNK_FAILURES_MAX
from loggos.sim.nemesis import Schedule

TRACE_LINES: Final = 400
TRACE_FILE: Final = "--trace-file"
EPILOG: Final = f"""\
A seed decides everything: the faults, the clients, every delay. Without --scenario seeds take turns through
{", ".join(DEFAULT_ROTATION)}.

  loggos sim --seeds 0..299                              what a release has to pass
  loggos sim --seeds 17..17 --scenario disks --trace     one run, step by step
  loggos sim --seeds 17..17 --scenario disks --schedule sim-failures/17-disks.json --trace
"""


def parse_seeds(text: str) -> list[int]:
    """ "3", "0..299", "1,5,10..20". ArgumentTypeError when it is none of that."""
    seeds: list[int] = []
    for piece in text.split(","):
        first, dots, last = piece.partition("..")
        if not first.isdecimal() or (dots and not last.isdecimal()):
            raise argparse.ArgumentTypeError(f"{piece!r} is neither a seed (17) nor a range (0..299)")
        low, high = int(first), int(last or first)
        if high < low or high - low + len(seeds) >= SIM_SEEDS_MAX:
            raise argparse.ArgumentTypeError(f"{piece!r} holds no seeds, or too many (at most {SIM_SEEDS_MAX:,d} in all)")
        seeds.extend(range(low, high + 1))
    return list(dict.fromkeys(seeds))


def _at_least_one(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 up")
    return int(text)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="loggos sim",
        description="Run whole clusters in the simulator, one per seed, under faults, and judge what clients saw.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--seeds", type=parse_seeds, required=True, metavar="A..B", help="A to B, both included; N is one seed; also 1,5,10..20")
    add("--scenario", choices=sorted(SCENARIOS), metavar="NAME", help=f"the same for all seeds: {', '.join(SCENARIOS)}")
    add("--jobs", type=_at_least_one, default=os.cpu_count() or 1, metavar="N", help="processes at a time (default: all cores)")
    add("--once", action="store_true", help="run each seed once, without the check that a second run has the same hash")
    add("--schedule", type=Path, metavar="FILE", help="faults from this file (as saved for a failure) instead of the seed's own")
    add("--plant", default="", metavar="MODULE:NAME", help="nodes made of other parts: a planted bug that should be found")
    add("--trace", action="store_true", help="explain one seed step by step")
    add("--trace-lines", type=_at_least_one, default=TRACE_LINES, metavar="N", help=f"how long at most (default {TRACE_LINES})")
    add(TRACE_FILE, type=Path, metavar="FILE", help="also write every line to this file")
    add("--no-shrink", action="store_true", help="do not search for a smaller schedule that fails alike")
    add("--shrink-runs", type=_at_least_one, default=SIM_SHRINK_RUNS_MAX, metavar="N", help="runs spent on that, per failure")
    add("--save", type=Path, default=Path("sim-failures"), metavar="DIR", help="where those schedules go (default sim-failures)")
    add("--json", action="store_true", help="one JSON document on stdout, for programs")
    return parser


def main(arguments: Sequence[str]) -> int:
    """The command. Gives its exit code."""
    parser = _parser()
    try:
        options = parser.parse_args(list(arguments))
        tasks = _tasks(options)
        if options.trace and len(tasks) != 1:
            parser.error("--trace explains one seed: --seeds 17")
        if options.trace_file is not None:
            check_report_path(options.trace_file, option=TRACE_FILE)
    except SystemExit as end:  # argparse has said why
        return int(end.code or 0)
    except ConfigError as error:
        print(f"loggos sim: {error}", file=sys.stderr)
        return 2
    processes = Processes()
    try:
        return _Command(options, tasks, processes).run()
    except ConfigError as error:  # a file that could not be written after all
        print(f"loggos sim: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        processes.stop()
        print("loggos sim: interrupted", file=sys.stderr)
        return 130


def _tasks(options: argparse.Namespace) -> list[Task]:
    parts_of(options.plant)
    scenario = SCENARIOS[options.scenario] if options.scenario else None
    schedule = read_schedule(options.schedule) if options.schedule else None
    return [Task(seed, scenario, options.plant, schedule) for seed in options.seeds]


def read_schedule(path: Path) -> Schedule:
    """A saved schedule. ConfigError when the file holds none."""
    try:
        return Schedule.from_json(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from None
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{path} holds no schedule: {error!r}") from None


class _Command:
    """One call, its options understood."""

    def __init__(self, options: argparse.Namespace, tasks: list[Task], processes: Processes) -> None:
        self.options, self.tasks, self.processes = options, tasks, processes
        self.totals = report.Totals()
        self.failures: list[Finding] = []
        self.shrunk: dict[int, tuple[Shrunk, str]] = {}

    def run(self) -> int:
        return self._trace() if self.options.trace else self._explore()

    def _say(self, lines: Sequence[str]) -> None:
        for line in lines:
            print(line, file=sys.stderr if self.options.json else sys.stdout, flush=True)

    # --- many seeds ----------------------------------------------------------------------------------------------------------

    def _explore(self) -> int:
        began = time.monotonic()
        explorer = Explorer(self.processes, self.options.jobs, self.options.once)
        with Progress(len(self.tasks)) as progress:
            for finding in explorer.findings(self.tasks):
                self.totals.add(finding)
                progress.advance(report.progress_line(finding), len(self.totals.failed))
                if not finding.passed:
                    self.failures.append(finding)
                    progress.interrupt(lambda finding=finding: self._say(report.failure_lines(finding)))  # type: ignore[misc]
        if not self.options.no_shrink:
            self._shrink()
        wall_s = time.monotonic() - began
        self._say(report.summary_lines(self.totals, wall_s, 1 if self.options.once else 2))
        if self.options.json:
            print(json.dumps(self._as_json(wall_s)))
        return 1 if self.failures else 0

    def _shrink(self) -> None:
        shrinker = Shrinker(self.processes, self.options.shrink_runs)
        chosen = self.failures[:SIM_SHRUNK_FAILURES_MAX]
        if chosen:
            print(f"shrinking the schedule of {len(chosen)} of {len(self.failures)} failures …", file=sys.stderr, flush=True)
        pairs = over_threads(self.options.jobs, chosen, lambda each: (each, shrinker.shrink(each)), self.processes)
        for finding, shrunk in pairs:
            if shrunk is not None:
                try:
                    file = self._save(finding, shrunk)
                except ConfigError as error:
                    self._say([f"seed {finding.task.seed}: {error}"])
                    continue
                self.shrunk[finding.task.seed] = (shrunk, file)
                self._say(report.shrunk_lines(finding, shrunk, file))

    def _save(self, finding: Finding, shrunk: Shrunk) -> str:
        """ConfigError: the directory does not take it."""
        file: Path = self.options.save / f"{finding.task.seed}-{finding.task.played.name}.json"
        try:
            self.options.save.mkdir(parents=True, exist_ok=True)
            file.write_text(shrunk.schedule.to_json() + "\n", encoding="utf-8")
        except OSError as error:
            raise ConfigError(f"--save {file} cannot be written: {error.strerror or error}: name another directory") from None
        return str(file)

    def _as_json(self, wall_s: float) -> dict[str, Any]:
        failures = []
        for finding in sorted(self.failures, key=lambda finding: finding.task.seed):
            shrunk = self.shrunk.get(finding.task.seed)
            failures.append(
                {
                    "seed": finding.task.seed,
                    "scenario": finding.task.played.name,
                    "violations": [violation._asdict() for violation in finding.violations],
                    "replay": report.command_for(finding.task),
                    "schedule": shrunk[1] if shrunk else None,
                }
            )
        return {**self.totals.as_json(wall_s), "failures": failures}

    # --- one seed, explained -------------------------------------------------------------------------------------------------

    def _trace(self) -> int:
        recorded = self.processes.call(play_recorded, self.tasks[0])
        if isinstance(recorded, Crash):
            self._say([recorded.text or recorded.message, f"seed {self.tasks[0].seed} FAILED: {recorded.message}"])
            return 1
        assert isinstance(recorded, Recorded)
        if self.options.trace_file is not None:
            write_report(self.options.trace_file, "\n".join(recorded.report.lines) + "\n", TRACE_FILE)
        self._say(list(report.trace_lines(recorded, self.options.trace_lines)))
        if self.options.json:
            violations = [violation._asdict() for violation in recorded.report.violations]
            print(json.dumps({"seed": recorded.report.seed, "digest": recorded.report.digest, "violations": violations}))
        return 1 if recorded.report.violations else 0
