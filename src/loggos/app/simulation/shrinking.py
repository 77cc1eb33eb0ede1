"""Makes a failing schedule small: the chaos is cut short, then steps are dropped, as long as the same rule is violated.

Each try is a run in a process of its own, so a schedule that makes it crash or hang shrinks as well. What "the same failure"
means is one rule's name, not its message: a smaller run breaks it at another time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from loggos.app.simulation.explore import Finding
from loggos.app.simulation.jobs import Processes, Task, play, schedule_of
from loggos.base.limits import SIM_SHRINK_RUNS_MAX
from loggos.sim.nemesis import Schedule, shrink

FRACTIONS: Final = (0.2, 0.35, 0.5, 0.75)
WORTHLESS: Final = ("real-work", "determinism")  # a short run does little work; a divergence is not the schedule's


@dataclass(frozen=True, slots=True)
class Shrunk:
    """What is left. `steps_before`: how many there were; `runs`: how many tries it took."""

    rule: str
    schedule: Schedule
    steps_before: int
    runs: int


class Shrinker:
    """Shrinks one finding at a time. None: it has no rule to go by, or does not fail again."""

    def __init__(self, processes: Processes, runs_max: int = SIM_SHRINK_RUNS_MAX) -> None:
        self.processes, self.runs_max = processes, runs_max

    def shrink(self, finding: Finding) -> Shrunk | None:
        rules = [violation.rule for violation in finding.violations if violation.rule not in WORTHLESS]
        schedule = finding.report.schedule if finding.report else self.processes.call(schedule_of, finding.task)
        if not rules or not isinstance(schedule, Schedule):
            return None
        tries = _Tries(self.processes, finding.task, rules[0])
        shorter = next((cut for cut in (_cut(schedule, part) for part in FRACTIONS) if tries.fails(cut)), schedule)
        smallest = shrink(shorter, tries.fails, max(0, self.runs_max - tries.runs))
        return Shrunk(rules[0], smallest, len(schedule.steps), tries.runs)


class _Tries:
    def __init__(self, processes: Processes, task: Task, rule: str) -> None:
        self._processes, self._task, self._rule = processes, task, rule
        self.runs = 0

    def fails(self, schedule: Schedule) -> bool:
        self.runs += 1
        task = self._task.with_schedule(schedule)
        finding = Finding(task, self._processes.call(play, task))
        return any(violation.rule == self._rule for violation in finding.violations)


def _cut(schedule: Schedule, part: float) -> Schedule:
    """Only its beginning."""
    chaos_s = round(schedule.chaos_s * part, 3)
    return Schedule(chaos_s, tuple(step for step in schedule.steps if step.at_s < chaos_s))
