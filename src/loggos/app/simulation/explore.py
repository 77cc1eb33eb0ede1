"""The explorer: many seeds, each run twice, over all cores.

A seed is run once as the first thing a process does, and once more in another process, after another seed has run there. Both
runs must have the same trace hash; where they do not, both are recorded and the first differing line is found. Process i
runs seed i, then seed i-1: two runs a process, nothing run in vain. Rules 30 to 33 of the safety rules.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field, replace
from itertools import zip_longest
from typing import Any

from loggos.app.simulation.jobs import Crash, Processes, Recorded, Task, play, play_recorded, source_state
from loggos.app.simulation.scenario import RunReport
from loggos.check import Violation

Ran = RunReport | Crash


@dataclass(slots=True)
class Finding:
    """One seed, explored. `again`: its second run, None when it was run only once."""

    task: Task
    first: Ran
    again: Ran | None = None
    divergence: list[str] = field(default_factory=list)

    @property
    def report(self) -> RunReport | None:
        return self.first if isinstance(self.first, RunReport) else None

    @property
    def diverges(self) -> bool:
        """Did its two runs differ? (A crash has no hash: what counts is that both crashed alike.)"""
        if self.again is None:
            return False
        one, two = self.first, self.again
        if isinstance(one, RunReport) and isinstance(two, RunReport):
            return one.digest != two.digest or one.violations != two.violations
        return not (isinstance(one, Crash) and isinstance(two, Crash) and one.message == two.message)

    @property
    def violations(self) -> list[Violation]:
        """All that is wrong with it."""
        found = []
        if self.diverges:
            found.append(Violation("determinism", "; ".join(self.divergence) or "its two runs differ"))
        if isinstance(self.first, Crash):
            found.append(Violation("crash", self.first.message))
        else:
            found += self.first.violations
        return found

    @property
    def passed(self) -> bool:
        return not self.violations


class Explorer:
    """Explores tasks. `findings` yields each as soon as it is known, in no fixed order."""

    def __init__(self, processes: Processes, jobs: int, once: bool = False) -> None:
        assert jobs >= 1, jobs
        self.processes, self.jobs, self.once = processes, jobs, once
        self._source = source_state()  # as it was when the exploration began

    def findings(self, tasks: Sequence[Task]) -> Iterator[Finding]:
        self._source = source_state()
        known: dict[tuple[int, bool], Ran] = {}  # by (place of the task, is it the second run)
        for places, results in self._over_processes(self._units(tasks)):
            for place, result in zip(places, results, strict=True):
                if place is not None:
                    known[place] = result
            for number in dict.fromkeys(place[0] for place in places if place is not None):
                finding = self._finding(tasks[number], known.get((number, False)), known.get((number, True)))
                if finding is not None:
                    yield finding

    def _finding(self, task: Task, first: Ran | None, again: Ran | None) -> Finding | None:
        """None while one of its runs is missing."""
        if first is None or (again is None and not self.once):
            return None
        finding = Finding(task, first, again)
        if finding.diverges:
            finding.divergence = self.explain_divergence(finding)
        return finding

    def _units(self, tasks: Sequence[Task]) -> list[tuple[list[tuple[int, bool] | None], list[Task]]]:
        """What each process runs, and what its results are. A task that is alone gets another seed run before it."""
        if self.once:
            return [([(number, False)], [task]) for number, task in enumerate(tasks)]
        if len(tasks) == 1:
            other = replace(tasks[0], seed=tasks[0].seed + 1, schedule=None)
            return [([(0, False)], [tasks[0]]), ([None, (0, True)], [other, tasks[0]])]
        return [
            ([(number, False), ((number - 1) % len(tasks), True)], [task, tasks[number - 1]]) for number, task in enumerate(tasks)
        ]

    def _over_processes(self, units: Sequence[tuple[Any, list[Task]]]) -> Iterator[tuple[Any, list[Ran]]]:
        """As many processes at a time as there are jobs."""
        calls = [(places, [(play, (task,)) for task in tasks]) for places, tasks in units]
        yield from over_threads(self.jobs, calls, lambda unit: (unit[0], self.processes.run(unit[1])), self.processes)

    # --- divergence ----------------------------------------------------------------------------------------------------------

    def explain_divergence(self, finding: Finding) -> list[str]:
        """Where two runs of one seed part: the first second by the checkpoints, the first line by running both once more."""
        first, again = finding.first, finding.again
        if source_state() != self._source:
            return ["its two runs differ, but so did the program: its source was changed meanwhile; run it again"]
        if not (isinstance(first, RunReport) and isinstance(again, RunReport)):
            return [f"one run ended with {_end_of(first)}, the other with {_end_of(again)}"]
        lines = [f"its two runs have the hashes {first.digest} and {again.digest}", first_second_of_difference(first, again)]
        other = replace(finding.task, seed=finding.task.seed + 1, schedule=None)
        fresh = self.processes.call(play_recorded, finding.task)
        later = self.processes.run([(play, (other,)), (play_recorded, (finding.task,))])[1]
        if isinstance(fresh, Recorded) and isinstance(later, Recorded):
            lines.append(first_line_of_difference(fresh.report.lines, later.report.lines))
        return lines


def first_second_of_difference(one: RunReport, two: RunReport) -> str:
    for mine, theirs in zip_longest(one.checkpoints, two.checkpoints):
        if mine != theirs:
            second = (mine or theirs)[0]
            return f"they differ within the simulated second before {second} s"
    return "they differ only after the last whole second"


def first_line_of_difference(one: Sequence[str], two: Sequence[str]) -> str:
    for number, (mine, theirs) in enumerate(zip_longest(one, two)):
        if mine != theirs:
            return (
                f"line {number + 1} is the first to differ: {(mine or 'its end').strip()!r} and {(theirs or 'its end').strip()!r}"
            )
    return "recorded once more, both have the same lines: the difference comes and goes, or is hashed but not shown"


def _end_of(run: Ran | None) -> str:
    return run.message if isinstance(run, Crash) else "a verdict"


def over_threads(jobs: int, items: Sequence[Any], work: Callable[[Any], Any], processes: Processes) -> Iterator[Any]:
    """Results in the order they come; never more than `jobs` at a time. When the caller leaves early, the processes end."""
    threads = ThreadPoolExecutor(jobs, "explorer")
    try:
        for future in as_completed([threads.submit(work, item) for item in items]):
            yield future.result()
    except BaseException:
        processes.stop()
        raise
    finally:
        threads.shutdown(cancel_futures=True)
