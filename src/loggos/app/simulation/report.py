"""What `loggos sim` says, as text: pure functions and one sum over all seeds. Nothing here prints.

Every failure is told with the one command that replays it. Rare paths (probes) that no seed reached are named, since a path
that is never taken is a path that is never tested (rule 32).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from loggos.app.simulation.explore import Finding
from loggos.app.simulation.jobs import Recorded, Task
from loggos.app.simulation.probes import KNOWN
from loggos.app.simulation.shrinking import Shrunk
from loggos.base.limits import SIM_VIOLATIONS_SHOWN_MAX
from loggos.sim.loop import START_S

DETAILS: Final = ("disk", "received")  # labels of lines that come by the thousand
MESSAGE_MAX: Final = 600


@dataclass(slots=True)
class Totals:
    """Sums over seeds."""

    seeds: int = 0
    failed: list[int] = field(default_factory=list)
    simulated_s: float = 0.0
    run_s: float = 0.0
    operations: int = 0
    acknowledged: int = 0
    unknown: int = 0
    faults: dict[str, int] = field(default_factory=dict)
    probes: dict[str, int] = field(default_factory=dict)
    seeds_with_probe: dict[str, int] = field(default_factory=dict)
    scenarios: dict[str, int] = field(default_factory=dict)
    stops: int = 0

    def add(self, finding: Finding) -> None:
        self.seeds += 1
        if not finding.passed:
            self.failed.append(finding.task.seed)
        name = finding.task.played.name
        self.scenarios[name] = self.scenarios.get(name, 0) + 1
        report = finding.report
        if report is None:
            return
        self.simulated_s += report.simulated_s
        self.run_s += report.wall_s
        self.operations += report.operations
        self.acknowledged += report.acknowledged
        self.unknown += report.unknown
        self.stops += len(report.stops)
        _add(self.faults, report.faults)
        _add(self.probes, report.probes)
        _add(self.seeds_with_probe, dict.fromkeys(report.probes, 1))

    @property
    def never_reached(self) -> list[str]:
        return [name for name in KNOWN if name not in self.probes]

    def as_json(self, wall_s: float) -> dict[str, Any]:
        """For programs."""
        return {
            "seeds": self.seeds,
            "passed": self.seeds - len(self.failed),
            "failed": sorted(self.failed),
            "scenarios": self.scenarios,
            "simulated_s": round(self.simulated_s, 3),
            "run_s": round(self.run_s, 3),
            "wall_s": round(wall_s, 3),
            "operations": self.operations,
            "acknowledged": self.acknowledged,
            "unknown": self.unknown,
            "faults": dict(sorted(self.faults.items())),
            "probes": dict(sorted(self.probes.items())),
            "probes_never_reached": self.never_reached,
            "stops_explained_by_disks": self.stops,
        }


def _add(sums: dict[str, int], more: Mapping[str, int]) -> None:
    for name, count in more.items():
        sums[name] = sums.get(name, 0) + count


# --- one seed ------------------------------------------------------------------------------------------------------------


def command_for(task: Task, schedule_file: str = "") -> str:
    """The one command that replays a run and explains it."""
    words = ["loggos sim", f"--seeds {task.seed}..{task.seed}", f"--scenario {task.played.name}"]
    if task.plant:
        words.append(f"--plant {task.plant}")
    if schedule_file:
        words.append(f"--schedule {schedule_file}")
    return " ".join([*words, "--trace"])


def progress_line(finding: Finding) -> str:
    seed, name, report = finding.task.seed, finding.task.played.name, finding.report
    verdict = "ok    " if finding.passed else "FAILED"
    if report is None:
        return f"seed {seed:6d}  {name:<10} {verdict}"
    faults = sum(report.faults.values())
    return (
        f"seed {seed:6d}  {name:<10} {verdict} {report.simulated_s:5.0f} s simulated in {report.wall_s:5.1f} s"
        f" {report.operations:8,d} operations {faults:4d} faults  {report.digest[:12]}"
    )


def failure_lines(finding: Finding) -> list[str]:
    """What is wrong with a seed, and how to see it again."""
    violations = finding.violations
    rules = ", ".join(dict.fromkeys(violation.rule for violation in violations))
    lines = [f"seed {finding.task.seed} ({finding.task.played.name}) FAILED: {rules}"]
    for violation in violations[:SIM_VIOLATIONS_SHOWN_MAX]:
        message = violation.message if len(violation.message) <= MESSAGE_MAX else violation.message[:MESSAGE_MAX] + " …"
        lines.append(f"  {violation.rule}: {message}")
    if len(violations) > SIM_VIOLATIONS_SHOWN_MAX:
        lines.append(f"  … and {len(violations) - SIM_VIOLATIONS_SHOWN_MAX} more")
    lines.append(f"  replay: {command_for(finding.task)}")
    return lines


def shrunk_lines(finding: Finding, shrunk: Shrunk, file: str) -> list[str]:
    count = len(shrunk.schedule.steps)
    return [
        f"seed {finding.task.seed}: {shrunk.rule} with {count} of {shrunk.steps_before} steps (in {shrunk.runs} runs)",
        *(f"  {line}" for line in shrunk.schedule.lines()),
        f"  replay: {command_for(finding.task, file)}",
    ]


# --- all seeds -----------------------------------------------------------------------------------------------------------


def summary_lines(totals: Totals, wall_s: float, runs_each: int) -> list[str]:
    passed, often = totals.seeds - len(totals.failed), "twice" if runs_each == 2 else "once"
    lines = [
        "",
        f"seeds       {totals.seeds:,d}, each run {often}: {passed:,d} passed, {len(totals.failed):,d} failed",
        f"scenarios   {_counts(totals.scenarios)}",
        f"time        {totals.simulated_s:,.0f} s simulated in {totals.run_s:,.0f} s ({_speed(totals):.0f} times as fast);"
        f" {wall_s:,.0f} s from start to end",
        f"operations  {totals.operations:,d}: {totals.acknowledged:,d} answered, {totals.unknown:,d} with unknown outcome",
        f"faults      {_counts(totals.faults)}",
        f"rare paths  {_counts(totals.probes)}",
    ]
    if totals.never_reached:
        lines.append(f"never       {', '.join(totals.never_reached)}")
    lines.append(f"stops       {totals.stops:,d} nodes stopped because of their disk, as they should")
    if totals.failed:
        lines.append(f"failed      {' '.join(map(str, sorted(totals.failed)))}")
    return lines


def _speed(totals: Totals) -> float:
    return totals.simulated_s / totals.run_s if totals.run_s else 0.0


def _counts(counts: Mapping[str, int]) -> str:
    by_count = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{name} {count:,d}" for name, count in by_count) or "none"


# --- a trace -------------------------------------------------------------------------------------------------------------


def violation_time(recorded: Recorded) -> float | None:
    """When the first violation happened: a time that its message names, else when the log applied an index that it names."""
    applied_at = dict(recorded.applied_at)
    end_s = START_S + recorded.report.simulated_s
    for violation in recorded.report.violations:
        times = [float(word) for word in re.findall(r"\d+\.\d+", violation.message)]
        within = [time for time in times if START_S <= time <= end_s]
        if within:
            return max(within)
        for word in re.findall(r"\d+", violation.message):
            if int(word) in applied_at:
                return applied_at[int(word)]
    return None


def is_detail(line: str) -> bool:
    """Deliveries and disk operations: everything else is worth reading everywhere."""
    words = line[12:].split(None, 2)
    return len(words) > 1 and words[1] in DETAILS


def chosen_lines(lines: Sequence[str], around: float | None, lines_max: int) -> Iterator[str]:
    """At most about `lines_max` lines: what happened to nodes and links (half of them, the nearest to `around`), and every
    detail just before it. What is left out is counted."""
    if len(lines) <= lines_max:
        yield from lines
        return
    times = [float(line[:12]) for line in lines]
    centre = times[-1] if around is None else around
    events = [number for number, line in enumerate(lines) if not is_detail(line)]
    nearest = sorted(events, key=lambda number: abs(times[number] - centre))[: lines_max // 2]
    before = [number for number, time in enumerate(times) if time <= centre] if around is not None else []
    after = [number for number, time in enumerate(times) if time > centre][: lines_max // 10] if around is not None else []
    keep = sorted(dict.fromkeys([*nearest, *before[-(lines_max - len(nearest) - len(after)) :], *after]))
    last = -1
    for number in keep:
        if number > last + 1:
            yield f"{'':12}  … {number - last - 1:,d} lines"
        yield lines[number]
        last = number
    if last + 1 < len(lines):
        yield f"{'':12}  … {len(lines) - last - 1:,d} lines"


def trace_lines(recorded: Recorded, lines_max: int) -> Iterable[str]:
    """One run, step by step, with its verdict at the end."""
    report = recorded.report
    around = violation_time(recorded)
    yield f"seed {report.seed} ({report.scenario}), simulated seconds from {START_S:.0f}; hash {report.digest}"
    yield f"schedule, from the start of the chaos ({len(report.schedule.steps)} steps in {report.schedule.chaos_s:.0f} s):"
    yield from (f"  {line}" for line in report.schedule.lines())
    yield "what happened:"
    yield from chosen_lines(report.lines, around, lines_max)
    yield "verdict:"
    if report.violations:
        when = "" if around is None else f" (the first one at about {around:.3f} s)"
        yield f"  FAILED: {len(report.violations)} violations{when}"
        yield from (f"  {violation.rule}: {violation.message}" for violation in report.violations[: 4 * SIM_VIOLATIONS_SHOWN_MAX])
    else:
        yield "  ok"
    yield from (f"  stopped because of its disk: {stop}" for stop in report.stops)
