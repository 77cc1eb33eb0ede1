"""`loggos bench coordination`: setData, getData and create on three nodes, Loggos and Apache ZooKeeper in turn, in one run.

What makes it fair: one generator with one set of settings for both; both clusters live on one file system; both are warmed by
the same loads before anything counts (a JVM needs that); every repeat measures both, alternating who goes first; medians over
repeats are compared. While one is measured, the other idles. A wrong or missing reply fails the run.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import msgspec

from loggos.app.bench import links, probe, workspace
from loggos.app.bench.loadgen import LoadError, Plan
from loggos.app.bench.peers import Cluster, ClusterError, child_environment
from loggos.app.bench.report import Report, Table
from loggos.base.errors import ConfigError

Figures = dict[str, float]


@dataclass(frozen=True, slots=True)
class Scenario:
    """One row of the table. `goal`: Loggos's rate divided by the peer's, None where it is only reported."""

    key: str
    title: str
    operation: str
    clients: int
    depth: int = 1
    goal: float | None = None
    delay_ms: float = 0.0
    grows: bool = False  # the faster a system is, the more data it holds afterwards


SCENARIOS: Final = (
    Scenario("set50", "setData, 50 clients one at a time", "setData", 50, goal=4.0),
    Scenario("pipelined", "setData, 12 clients × 64 pipelined", "setData", 12, 64, goal=4.0),
    Scenario("set1", "setData, 1 client", "setData", 1, goal=1.5),
    Scenario("get50", "getData, 50 clients one at a time", "getData", 50, goal=2.0),
    Scenario("create50", "create, 50 clients one at a time", "create", 50, grows=True),
    Scenario("delayed", "setData, 50 clients, 1 ms added between nodes", "setData", 50, delay_ms=1.0),
    Scenario("delayed3", "setData, a client at each node, 1 ms added between nodes", "setData", 3, delay_ms=1.0),
)
# operation, clients, depth: what runs before anything is measured
WARMING: Final = (("setData", 50, 1), ("setData", 12, 64), ("getData", 50, 1))
LATENCIES: Final = ("p50 ms", "p99 ms", "p99.9 ms", "max ms")
LOAD_COLUMNS: Final = ("scenario", "system", "ops/s", "range", *LATENCIES, "CPU µs/op", "ratio", "goal")
COLD_START_GOAL_S: Final = 1.0  # Loggos, on a quiet machine
MEMORY_GOAL: Final = 3.0  # the peer's resident memory divided by Loggos's


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """`only`: keys of SCENARIOS (empty: all). `seconds`: measured per repeat. `say`: told of progress, line by line."""

    peer: str = "zookeeper"
    loggos: bool = True
    seconds: float = 5.0
    warmup_s: float = 2.0
    repeats: int = 3
    only: tuple[str, ...] = ()
    data: Path | None = None
    say: Callable[[str], None] = lambda line: None


@dataclass(slots=True)
class Measured:
    """All that one system showed."""

    cluster: Cluster
    cold_start_s: list[float] = field(default_factory=list)
    runs: dict[str, list[Figures]] = field(default_factory=dict)
    rss_bytes: list[int] = field(default_factory=list)  # both systems hold the same data
    rss_grown_bytes: list[int] = field(default_factory=list)  # each holds what it has managed to create
    fdatasync: dict[str, float] | None = None

    def median(self, key: str, figure: str) -> float | None:
        values = [run[figure] for run in self.runs.get(key, []) if figure in run]
        return statistics.median(values) if values else None


def run(options: Options) -> Report:
    """Measure and report. ConfigError when it cannot start at all; what fails later is a problem in the report."""
    chosen = select(options.only)
    systems = workspace.Systems(peer=options.peer, loggos=options.loggos, data=options.data)
    report = Report("coordination: three nodes, 100-byte values")
    with workspace.directory(systems) as home:
        measured = [Measured(cluster) for cluster in workspace.make(systems, home)]
        if near := [scenario for scenario in chosen if not scenario.delay_ms]:
            try:
                measure_near(measured, near, options, report, home)
            except (ClusterError, LoadError) as error:
                report.problems.append(str(error))
        for scenario in chosen:
            if scenario.delay_ms:
                measure_delayed(measured, scenario, systems, options, report, home)
    present(report, measured, chosen, options)
    return report


def select(only: tuple[str, ...]) -> list[Scenario]:
    known = [scenario.key for scenario in SCENARIOS]
    unknown = [key for key in only if key not in known]
    if unknown:
        raise ConfigError(f"unknown scenario {', '.join(unknown)}: choose among {', '.join(known)}")
    return [scenario for scenario in SCENARIOS if not only or scenario.key in only]


def measure_near(measured: list[Measured], scenarios: list[Scenario], options: Options, report: Report, home: Path) -> None:
    """All scenarios on the machine's own loopback, with one pair of clusters."""
    clusters = [item.cluster for item in measured]
    report.facts |= probe.machine_facts(home)
    report.notes += probe.warnings()
    with workspace.stopped_at_the_end(clusters):
        for item in measured:
            cold_starts(item, options)
        report.facts["systems"] = "; ".join(workspace.version_lines(clusters))
        for item in measured:
            warm(item.cluster, options)
        measure_all(measured, [scenario for scenario in scenarios if not scenario.grows], options, report)
        for item in measured:
            item.rss_bytes = item.cluster.rss_bytes()
        if growing := [scenario for scenario in scenarios if scenario.grows]:
            measure_all(measured, growing, options, report)
            for item in measured:
                item.rss_grown_bytes = item.cluster.rss_bytes()
        for item in measured:
            item.fdatasync = item.cluster.fdatasync()


def cold_starts(item: Measured, options: Options) -> None:
    """Start on empty directories `repeats` times; the last one stays up."""
    for repeat in range(options.repeats):
        if repeat:
            item.cluster.stop()
            item.cluster.remove()
        item.cold_start_s.append(item.cluster.start())
        item.cluster.leader()
    options.say(f"{item.cluster.label}: cold start {statistics.median(item.cold_start_s):.2f} s")


def warm(cluster: Cluster, options: Options) -> None:
    """The same loads for every system, never counted."""
    options.say(f"{cluster.label}: warming up")
    for number, (operation, clients, depth) in enumerate(WARMING):
        plan = Plan(
            addresses=cluster.addresses,
            operation=operation,
            clients=clients,
            depth=depth,
            warmup_s=0.0,
            seconds=options.seconds,
            root=f"/warm{number}",
        )
        run_load(cluster, plan)


def measure_all(measured: list[Measured], scenarios: list[Scenario], options: Options, report: Report) -> None:
    """Every scenario, every repeat, every system; who goes first alternates."""
    for scenario in scenarios:
        for repeat in range(options.repeats):
            for item in measured if repeat % 2 == 0 else reversed(measured):
                measure_once(item, scenario, repeat, options, report)


def measure_once(item: Measured, scenario: Scenario, repeat: int, options: Options, report: Report) -> None:
    plan = Plan(
        addresses=item.cluster.addresses,
        operation=scenario.operation,
        clients=scenario.clients,
        depth=scenario.depth,
        warmup_s=options.warmup_s,
        seconds=options.seconds,
        root=f"/bench-{scenario.key}-{repeat}",
    )
    try:
        figures = run_load(item.cluster, plan)
    except LoadError as error:
        report.problems.append(f"{item.cluster.label}, {scenario.title}: {error}")
        options.say(report.problems[-1])
        return
    item.runs.setdefault(scenario.key, []).append(figures)
    options.say(f"{item.cluster.label}, {scenario.title}: {figures['ops_per_s']:,.0f}/s, p99 {figures['p99_ms']:.1f} ms")


def run_load(cluster: Cluster, plan: Plan) -> Figures:
    """One load in a process of its own; its figures, and the CPU time per operation over all nodes. LoadError when it failed."""
    command = [sys.executable, "-m", "loggos.app.bench.loadgen"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=child_environment())
    cpu: dict[str, float] = {}
    last: dict[str, Any] = {}
    assert process.stdin is not None and process.stdout is not None
    try:
        process.stdin.write(msgspec.json.encode(plan))
        process.stdin.close()
        for line in process.stdout:
            last = json.loads(line)
            if last["event"] in ("begin", "end"):
                cpu[last["event"]] = cluster.cpu_seconds()
        process.wait()
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        process.stdout.close()
    if last.get("event") != "result":
        raise LoadError(last.get("why", f"the load generator ended with {process.returncode}"))
    figures = {name: float(value) for name, value in last.items() if name != "event"}
    figures["cpu_us_per_op"] = (cpu["end"] - cpu["begin"]) / figures["operations"] * 1e6
    return figures


def measure_delayed(
    measured: list[Measured], scenario: Scenario, systems: workspace.Systems, options: Options, report: Report, home: Path
) -> None:
    """The same load with a delay between nodes, on clusters of their own in a network of their own."""
    if why := links.unavailable():
        report.notes.append(f"{scenario.title}: not measured ({why})")
        return
    fresh = workspace.make(systems, home / scenario.key)
    try:
        with links.Links(fresh, scenario.delay_ms), workspace.stopped_at_the_end(fresh):
            for cluster in fresh:
                cluster.start()
                warm(cluster, options)
            doubles = [Measured(cluster, runs=item.runs) for item, cluster in zip(measured, fresh, strict=True)]
            measure_all(doubles, [scenario], options, report)
    except (ClusterError, LoadError) as error:
        report.problems.append(f"{scenario.title}: {error}")


def present(report: Report, measured: list[Measured], scenarios: list[Scenario], options: Options) -> None:
    """Fill in the tables and the JSON data."""
    report.facts["settings"] = (
        f"{options.seconds:g} s measured after {options.warmup_s:g} s warm-up, {options.repeats} repeats alternating, medians; "
        "max is the worst of all repeats; CPU is user + system of all three nodes per operation; memory is the mean of the three "
        "nodes' whole process trees; a ratio above 1 is in Loggos's favour"
    )
    for item in measured:
        report.facts[f"{item.cluster.label} settings"] = item.cluster.settings()
    rows = [row for scenario in scenarios for row in scenario_rows(scenario, measured)]
    report.tables.append(Table("Throughput and latency", LOAD_COLUMNS, rows))
    columns = ("figure", *(item.cluster.label for item in measured), "ratio", "goal")
    report.tables.append(Table("Node figures", columns, node_rows(measured)))
    report.data["systems"] = {
        item.cluster.name: {
            "cold_start_s": item.cold_start_s,
            "scenarios": item.runs,
            "rss_bytes_after": item.rss_bytes,
            "rss_bytes_after_create": item.rss_grown_bytes,
            "fdatasync": item.fdatasync,
        }
        for item in measured
    }


def scenario_rows(scenario: Scenario, measured: list[Measured]) -> list[tuple[str, ...]]:
    rates = [item.median(scenario.key, "ops_per_s") for item in measured]
    ratio, verdict = compare(rates, scenario.goal)
    rows: list[tuple[str, ...]] = []
    for item, rate in zip(measured, rates, strict=True):
        if rate is None:
            rows.append((scenario.title, item.cluster.label, "not measured", *("" for _ in range(8))))
            continue
        latencies = [f"{item.median(scenario.key, name):.2f}" for name in ("p50_ms", "p99_ms", "p999_ms")]
        worst = max(run["max_ms"] for run in item.runs[scenario.key])
        cpu = f"{item.median(scenario.key, 'cpu_us_per_op'):.1f}"
        verdicts = (ratio, verdict) if item is measured[0] else ("", "")
        rates_seen = [run["ops_per_s"] for run in item.runs[scenario.key]]
        spread = f"{min(rates_seen):,.0f}–{max(rates_seen):,.0f}"
        rows.append((scenario.title, item.cluster.label, f"{rate:,.0f}", spread, *latencies, f"{worst:.1f}", cpu, *verdicts))
    return rows


def compare(values: list[float | None], goal: float | None) -> tuple[str, str]:
    """(ratio of the first to the second, the goal and whether it is met); empty where there is nothing to compare."""
    if len(values) < 2 or values[0] is None or not values[1]:
        return "", f"≥ {goal:g}×" if goal else ""
    ratio = values[0] / values[1]
    return f"{ratio:.2f}×", "" if goal is None else f"≥ {goal:g}×: {'met' if ratio >= goal else 'MISSED'}"


def node_rows(measured: list[Measured]) -> list[tuple[str, ...]]:
    """Cold start, memory and disk."""
    starts = [statistics.median(item.cold_start_s) if item.cold_start_s else None for item in measured]
    memory = [mean_mib(item.rss_bytes) for item in measured]
    grown = [mean_mib(item.rss_grown_bytes) for item in measured]
    less_time, quick = compare(list(reversed(starts)), None)[0], cold_start_verdict(measured, starts)
    less_memory, small = compare(list(reversed(memory)), MEMORY_GOAL) if len(measured) > 1 else ("", "")
    return [
        ("cold start to three serving nodes, s", *(shown(value, ".2f") for value in starts), less_time, quick),
        ("resident memory per node, before any create, MiB", *(shown(value, ".0f") for value in memory), less_memory, small),
        ("resident memory per node, with what was created, MiB", *(shown(value, ".0f") for value in grown), "", ""),
        ("journal sync as the leader reports it", *(shown_sync(item.fdatasync) for item in measured), "", ""),
    ]


def cold_start_verdict(measured: list[Measured], starts: list[float | None]) -> str:
    """The goal for Loggos's cold start, and whether it is met."""
    own = next((value for item, value in zip(measured, starts, strict=True) if item.cluster.name == "loggos"), None)
    goal = f"≤ {COLD_START_GOAL_S:g} s"
    return goal if own is None else f"{goal}: {'met' if own <= COLD_START_GOAL_S else 'MISSED'}"


def mean_mib(sizes: list[int]) -> float | None:
    return statistics.mean(sizes) / 2**20 if sizes else None


def shown(value: float | None, form: str) -> str:
    return "not measured" if value is None else format(value, form)


def shown_sync(figures: dict[str, float] | None) -> str:
    if not figures:
        return "not told"
    return ", ".join(f"{name.removesuffix('_ms')} {value:.2f} ms" for name, value in figures.items() if name.endswith("_ms"))
