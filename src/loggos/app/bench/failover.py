"""`loggos bench failover`: how long nobody is acknowledged when the leader is killed, paused or cut off, under load.

Eight writers write all the time (`writers`). Once per round the leader is found, left leading for a while, and hit; the figure is
the longest gap between acknowledged writes, over all writers together, from the hit until things are well again. Before the next
round the node is back, follows, and opens sessions. Each system is measured alone: the other one is not running.
An acknowledged write that is lost, or one done twice, is a problem of the report, whatever the gaps.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import msgspec

from loggos.app.bench import links, probe, workspace, writers
from loggos.app.bench.loadgen import LoadError
from loggos.app.bench.report import Report, Table
from loggos.app.clusters import Cluster, ClusterError
from loggos.app.processes import child_environment
from loggos.base.errors import ConfigError
from loggos.base.limits import BENCH_REPLY_DEADLINE_S

STEADY_S: Final = 1.0  # of undisturbed load before each hit
AFTER_KILL_S: Final = 2.0  # watched after a kill before the node is started again: longer than any good fail-over
FAULTS: Final = ("kill", "pause", "cut")
DONE: Final = {"kill": "killed", "pause": "paused", "cut": "cut off"}
COLUMNS: Final = ("system", "rounds", "median ms", "worst ms", "best ms", "writes", "lost", "twice", "sessions expired", "goal")
COUNTS: Final = ("acknowledged", "acknowledged_writes_lost", "writes_done_twice", "sessions_expired")  # of the writers' tally
GOALS_MS: Final = {"kill": (200.0, 500.0), "pause": (1500.0, 1500.0), "cut": (1500.0, 1500.0)}  # fault → median, worst


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """`rounds`: how often the leader is hit. `hold_s`: how long it stays paused or cut off."""

    peer: str = "zookeeper"
    loggos: bool = True
    fault: str = "kill"
    rounds: int = 20
    writers: int = 8
    hold_s: float = 10.0
    data: Path | None = None
    say: Callable[[str], None] = lambda line: None


@dataclass(slots=True)
class Measured:
    """What one system showed: the longest gap (ms) of each round, and the writers' final tally."""

    cluster: Cluster
    gaps_ms: list[float] = field(default_factory=list)
    tally: dict[str, Any] = field(default_factory=dict)
    version: str = ""


class Load:
    """The writers' process, and the gaps it has told of so far."""

    def __init__(self, plan: writers.Plan) -> None:
        command = [sys.executable, "-m", "loggos.app.bench.writers"]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=child_environment())
        self.gaps: list[tuple[float, float]] = []
        self.acknowledged_at = 0.0  # of the last write that the writers told of
        self.last: dict[str, Any] = {}
        self.ready = threading.Event()
        self.reader = threading.Thread(target=self.read, name="writers' output", daemon=True)
        assert self.process.stdin is not None
        self.process.stdin.write(msgspec.json.encode(plan) + b"\n")
        self.process.stdin.flush()
        self.reader.start()
        if not self.ready.wait(BENCH_REPLY_DEADLINE_S) or self.last.get("event") == "failed":
            self.finish()
            raise LoadError(f"the writers did not start: {self.last.get('why', 'no answer')}")

    def read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            event = json.loads(line)
            if event["event"] == "gap":
                self.gaps.append((event["start"], event["end"]))
            elif event["event"] == "beat":
                self.acknowledged_at = event["last"]
            else:
                self.last = event
                self.ready.set()

    def longest_gap(self, since: float, until: float) -> float:
        """The longest gap (seconds) that touches this stretch of the monotonic clock; 0 if none was long enough to be told."""
        return max((end - start for start, end in self.gaps if end >= since and start <= until), default=0.0)

    def wait_acknowledged(self, since: float) -> None:
        """Wait for an acknowledgement after `since`: only then are all gaps that were open at `since` told.

        LoadError after the deadline.
        """
        deadline = time.monotonic() + 3 * BENCH_REPLY_DEADLINE_S
        while self.acknowledged_at <= since:
            if time.monotonic() > deadline or self.process.poll() is not None:
                raise LoadError("no write was acknowledged any more")
            time.sleep(0.05)

    def finish(self) -> dict[str, Any]:
        """Stop the writers; their final tally."""
        assert self.process.stdin is not None
        if not self.process.stdin.closed:
            self.process.stdin.close()
        try:
            self.process.wait(BENCH_REPLY_DEADLINE_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.reader.join(BENCH_REPLY_DEADLINE_S)
        return self.last


def run(options: Options) -> Report:
    """Measure and report. ConfigError when it cannot start at all; what fails later is a problem in the report."""
    if options.fault not in FAULTS:
        raise ConfigError(f"unknown fault {options.fault!r}: choose among {', '.join(FAULTS)}")
    systems = workspace.Systems(peer=options.peer, loggos=options.loggos, data=options.data)
    report = Report(f"failover: the leader is {DONE[options.fault]} under load")
    if options.fault == "cut" and (why := links.unavailable()):
        report.notes.append(f"not measured: {why}")
        return report
    with workspace.directory(systems) as home:
        report.facts |= probe.machine_facts(home)
        report.notes += probe.warnings()
        measured = [Measured(cluster) for cluster in workspace.make(systems, home, revive=options.fault == "kill")]
        for item in measured:
            try:
                measure(item, options)
            except (ClusterError, LoadError) as error:
                report.problems.append(f"{item.cluster.label}: {error}")
    present(report, measured, options)
    return report


def measure(item: Measured, options: Options) -> None:
    """All rounds of one system."""
    cluster = item.cluster
    with links.Links([cluster] if options.fault == "cut" else [], 0.0) as net, workspace.stopped_at_the_end([cluster]):
        cluster.start()
        cluster.leader()
        item.version = workspace.version_lines([cluster])[0]
        load = Load(writers.Plan(addresses=cluster.addresses, writers=options.writers))
        try:
            for number in range(options.rounds):
                gap_s = one_round(cluster, load, net, options)
                item.gaps_ms.append(gap_s * 1000)
                said = f"round {number + 1} of {options.rounds}: no write acknowledged for {gap_s * 1000:.0f} ms"
                options.say(f"{cluster.label}: {said}")
        finally:
            item.tally = load.finish()


def one_round(cluster: Cluster, load: Load, net: links.Links, options: Options) -> float:
    """Hit the leader once, see it mended. Gives the longest gap in seconds."""
    time.sleep(STEADY_S)
    leader = cluster.leader()
    hit = time.monotonic()
    HITS[options.fault](cluster, leader, net, options.hold_s)
    load.wait_acknowledged(time.monotonic())
    cluster.wait_caught_up(leader)
    mended = time.monotonic()
    load.wait_acknowledged(mended)
    return load.longest_gap(hit, mended)


def hit_kill(cluster: Cluster, leader: int, net: links.Links, hold_s: float) -> None:
    cluster.kill(leader)
    time.sleep(AFTER_KILL_S)
    cluster.restart(leader)


def hit_pause(cluster: Cluster, leader: int, net: links.Links, hold_s: float) -> None:
    cluster.pause(leader)
    try:
        time.sleep(hold_s)
    finally:
        cluster.resume(leader)


def hit_cut(cluster: Cluster, leader: int, net: links.Links, hold_s: float) -> None:
    net.cut(cluster, leader)
    try:
        time.sleep(hold_s)
    finally:
        net.heal()


Hit = Callable[[Cluster, int, links.Links, float], None]
HITS: Final[dict[str, Hit]] = {"kill": hit_kill, "pause": hit_pause, "cut": hit_cut}


def present(report: Report, measured: list[Measured], options: Options) -> None:
    """Fill in the table, the JSON data, and the problems that the writers saw."""
    held = "" if options.fault == "kill" else f", for {options.hold_s:g} s each time"
    report.facts["systems"] = "; ".join(item.version for item in measured if item.version)
    report.facts["settings"] = (
        f"{options.rounds} rounds{held}, {options.writers} writers of 100 bytes, one at a time, back on another server at once"
    )
    for item in measured:
        report.facts[f"{item.cluster.label} settings"] = item.cluster.settings()
        for name in ("acknowledged_writes_lost", "writes_done_twice"):
            if item.tally.get(name):
                report.problems.append(f"{item.cluster.label}: {name.replace('_', ' ')}: {item.tally[name]}")
    for item in measured:
        if options.fault != "kill" and item.gaps_ms and max(item.gaps_ms) >= options.hold_s * 1000:
            late = "did not always go on before the leader was back: its gaps may end with the fault (see --hold)"
            report.notes.append(f"{item.cluster.label} {late}")
    rows = [row(item, options) for item in measured]
    report.tables.append(Table("Longest gap between acknowledged writes", COLUMNS, rows))
    report.data["fault"] = options.fault
    report.data["systems"] = {item.cluster.name: {"gaps_ms": item.gaps_ms, "writers": item.tally} for item in measured}


def row(item: Measured, options: Options) -> tuple[str, ...]:
    counts = [str(item.tally.get(name, "")) for name in COUNTS]
    if not item.gaps_ms:
        return (item.cluster.label, "0", "not measured", "", "", *counts, "")
    median, worst = statistics.median(item.gaps_ms), max(item.gaps_ms)
    verdict = ""
    if item.cluster.name == "loggos":
        goal = GOALS_MS[options.fault]
        met = median <= goal[0] and worst <= goal[1]
        verdict = f"≤ {goal[0]:.0f} / {goal[1]:.0f} ms: {'met' if met else 'MISSED'}"
    gaps = (f"{value:.0f}" for value in (median, worst, min(item.gaps_ms)))
    return (item.cluster.label, str(len(item.gaps_ms)), *gaps, *counts, verdict)
