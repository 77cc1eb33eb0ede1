"""One seed: a cluster under load and chaos, then healed, then judged.

Phase 1, chaos: safety must hold whatever happens. Phase 2, heal: all faults end, and the cell must elect, catch up
and acknowledge within HEAL_S (progress). Then the checks: the nodes' logs and states are equal, the witness explains
every reply, watches kept their rules, and the run did real work (rule 32). Everything follows from (seed, scenario,
parts, schedule).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field, replace
from typing import Any, Final

from loggos.app.build import Parts
from loggos.app.simulation.client import History as Recorded
from loggos.app.simulation.client import SimClient
from loggos.app.simulation.cluster import SimCluster
from loggos.app.simulation.faults import ARGUMENTS, WEIGHTS, CarefulNemesis
from loggos.app.simulation.recorder import LogRecorder
from loggos.app.simulation.workload import Brinkman, Mix, Worker
from loggos.base.ports import World
from loggos.check import History, Violation, WitnessRules, check_watches, check_witness
from loggos.check.history import Outcome
from loggos.sim.nemesis import Schedule, make_schedule
from loggos.sim.world import SimWorld

HEAL_S: Final = 40.0  # from the end of all faults to a cell that is whole again
LATE_S: Final = (0.0, 0.0, 0.0, 2.5)  # of the last node at the first start: others say that they wait for it
LEADER_LOST_S: Final = 0.5
WRITER: Final = 2  # the client that has no quiet time
QUIET_S: Final = 3.0  # of hardly anything but pings, before and after the leader is lost: longer than shorter session timeouts
SETTLE_S: Final = 3.0  # quiet time in which watches still in flight arrive


@dataclass(frozen=True, slots=True)
class Scenario:
    """A family of runs. `weights`: of fault kinds, see sim/nemesis.py; `regions`: one per node, with 40 to 120 ms
    between them."""

    name: str
    nodes: int = 3
    clients: int = 6
    chaos_s: float = 60.0
    gap_s: float = 2.0
    mix: Mix = field(default_factory=Mix)
    weights: dict[str, float] | None = None
    regions: bool = False
    operations_min: int = 2_000


def _only(**weights: float) -> dict[str, float]:
    return weights


SCENARIOS: Final = {
    scenario.name: scenario
    for scenario in (
        Scenario("default"),
        Scenario("five", nodes=5, clients=5),
        Scenario("regions", regions=True, mix=Mix(session_timeouts_ms=(4_000, 8_000), depth=8), operations_min=1_000),
        Scenario("disks", weights=_only(
            crash=2, power_cut=6, power_cut_all=3, wipe=1.5, rot=3, misdirect=1, lose_write=1, sync_error=2, write_error=1,
            ambush=2, depose=2, slow_disk=2, hang_disk=2, full_disk=2, isolate=1, tear=8, lag=2,
        )),
        Scenario("elections", gap_s=1.0, weights=_only(
            crash=5, power_cut=2, pause=4, stall=4, isolate=6, halves=4, ring=2, one_way=5, swizzle=4, half_open=4, reset=4,
            lossy_link=2, slow_link=2, ambush=6, seesaw=8, depose=16, usurp=10, lag=4,
        )),
        Scenario("clocks", weights=_only(clock_jump=5, clock_drift=4, pause=4, stall=4, crash=2, isolate=2, echo=3)),
        Scenario("calm", weights=_only(stall=1), gap_s=20.0),
    )
}  # fmt: skip
DEFAULT_ROTATION: Final = ("default", "elections", "disks", "default", "clocks", "five", "default", "regions")


def scenario_for(seed: int) -> Scenario:
    """The default scenarios, seed by seed."""
    return SCENARIOS[DEFAULT_ROTATION[seed % len(DEFAULT_ROTATION)]]


@dataclass(slots=True)
class RunReport:
    """What one seed did. `violations` empty: it passed."""

    seed: int
    scenario: str
    digest: str
    violations: list[Violation]
    simulated_s: float
    wall_s: float
    operations: int
    acknowledged: int
    unknown: int
    faults: dict[str, int]
    probes: dict[str, int]
    stops: list[str]
    schedule: Schedule
    lines: list[str] = field(default_factory=list)
    checkpoints: list[tuple[int, str]] = field(default_factory=list)


class Run:
    """One run, from its parts."""

    def __init__(self, seed: int, scenario: Scenario, parts: Parts, schedule: Schedule | None, record: bool) -> None:
        self.scenario = scenario
        self.world = SimWorld(seed, record=record)
        self.recorder = LogRecorder(self.world.loop.time)
        self.cluster = SimCluster(self.world, scenario.nodes, parts, self.recorder)
        self.history = Recorded()
        self.client_names = [f"c{i}" for i in range(1, scenario.clients + 2)]  # the last one is a Brinkman
        for name in self.client_names:
            self.world.host(name)
        voters = [host.name for host in self.cluster.hosts]
        self.schedule = schedule or make_schedule(
            self.world.draws("schedule"),
            voters,
            scenario.chaos_s,
            scenario.gap_s,
            scenario.weights or WEIGHTS,
            self.client_names,
            ARGUMENTS,
        )
        self.nemesis = CarefulNemesis(self.world, voters, self.schedule, self.cluster)
        self.violations: list[Violation] = []
        self._is_quiet = self._stopping = False

    def execute(self) -> RunReport:
        with self.world:
            self.world.run(self._play(), limit_s=self.scenario.chaos_s + 600)
        self._judge()
        return self._report()

    # --- phases --------------------------------------------------------------------------------------------------------------

    async def _play(self) -> None:
        if self.scenario.regions:
            self.world.network.set_regions({f"r{i}": [host.name] for i, host in enumerate(self.cluster.hosts)})
        await self._first_start()
        await self._until(self.cluster.converged, HEAL_S, "the cell did not form")
        self._start_clients()
        await asyncio.sleep(1.0)
        await self.nemesis.chaos()
        self.nemesis.heal()
        healed_at, acknowledged = self.world.loop.time(), self._acknowledged()
        await self._until(lambda: self._acknowledged() > acknowledged + 20, HEAL_S, "no progress after all faults ended")
        await asyncio.sleep(SETTLE_S)
        await self._quiet()
        self._stopping = True
        await asyncio.sleep(SETTLE_S)
        await self._until(self.cluster.converged, HEAL_S, f"the cell is not whole again (healed at {healed_at:.3f} s)")
        self.cluster.compare_states()

    async def _first_start(self) -> None:
        """Now and then one of them is late, and the others wait for it."""
        *hosts, last = self.cluster.hosts
        for host in hosts:
            self.cluster.start(host)
        await asyncio.sleep(self.world.draws("first start").choice(LATE_S))
        self.cluster.start(last)

    def _is_quiet_for(self, number: int) -> bool:
        """One client writes on: the cell's clock goes with the log, and would stand still without."""
        return self._is_quiet and number != WRITER

    async def _quiet(self) -> None:
        """Nothing is wrong and most clients only ping; then the leader is lost. No session may die of either."""
        self._is_quiet = True
        await asyncio.sleep(QUIET_S)
        leader = self.cluster.leader()
        if leader is not None:
            leader.crash()
            await asyncio.sleep(LEADER_LOST_S)
            self.cluster.restart(leader)
        await asyncio.sleep(QUIET_S)

    async def _until(self, condition: Callable[[], bool], limit_s: float, what: str) -> None:
        deadline = self.world.loop.time() + limit_s
        while not condition():
            if self.world.loop.time() > deadline:
                states = [node.status() for node in self.cluster.running()]
                self.violations.append(Violation("progress", f"{what} within {limit_s:.0f} s; nodes: {states}"))
                return
            await asyncio.sleep(0.05)

    def _start_clients(self) -> None:
        for number, name in enumerate(self.client_names, 1):
            self.world.hosts[name].start(self._client_main(number, name), "worker")

    def _client_main(self, number: int, name: str) -> Callable[[World], Coroutine[Any, Any, None]]:
        draws = self.world.draws(f"worker/{name}")

        async def main(ports: World) -> None:
            client = SimClient(number, self.cluster.addresses, 2_000, self.history, self.world.loop.time, ports.spawner)
            worker = Brinkman if number > self.scenario.clients else Worker
            mix, reads_only = self.scenario.mix, number == 1
            await worker(client, draws, mix, lambda: self._stopping, lambda: self._is_quiet_for(number), reads_only).run()

        return main

    def _acknowledged(self) -> int:
        return sum(1 for operation in self.history.operations if operation.outcome is Outcome.KNOWN)

    # --- judging -------------------------------------------------------------------------------------------------------------

    def _judge(self) -> None:
        self.cluster.judge_stops()
        history = History(
            operations=self.history.operations,
            log=self.recorder.log,
            events=self.history.events,
            kept=self.history.kept,
            session_timeouts=self._true_timeouts(),
        )
        found = [*self.cluster.violations, *self.recorder.differences, *self.violations]
        found += check_witness(history, WitnessRules(existing=("/zookeeper", "/zookeeper/quota", "/zookeeper/config")))
        found += check_watches(history)
        found += self._did_real_work()
        self.violations = found

    def _true_timeouts(self) -> dict[int, float]:
        """The least true time in which a session may expire: a leader's clock may run fast (the cell's clock is its, rule 14)."""
        rate = max((step.args["rate"] for step in self.schedule.steps if step.action == "clock_drift"), default=1.0)
        return {session: timeout / max(1.0, rate) for session, timeout in self.history.session_timeouts.items()}

    def _did_real_work(self) -> list[Violation]:
        """Rule 32."""
        count = len(self.history.operations)
        if count < self.scenario.operations_min or self.world.simulated_s < 60:
            return [Violation("real-work", f"only {count} operations in {self.world.simulated_s:.0f} simulated seconds")]
        return []

    def _report(self) -> RunReport:
        trace = self.world.trace
        unknown = sum(1 for operation in self.history.operations if operation.outcome is Outcome.UNKNOWN)
        return RunReport(
            seed=self.world.seed,
            scenario=self.scenario.name,
            digest=self.world.digest(),
            violations=self.violations,
            simulated_s=self.world.simulated_s,
            wall_s=self.world.wall_s,
            operations=len(self.history.operations),
            acknowledged=self._acknowledged(),
            unknown=unknown,
            faults=dict(trace.faults),
            probes=dict(trace.probes),
            stops=self.cluster.stops,
            schedule=self.schedule,
            lines=trace.lines,
            checkpoints=list(trace.checkpoints),
        )


def run_seed(
    seed: int,
    scenario: Scenario | None = None,
    parts: Parts | None = None,
    schedule: Schedule | None = None,
    record: bool = False,
) -> RunReport:
    """Run one seed to its verdict."""
    return Run(seed, scenario or scenario_for(seed), parts or Parts(), schedule, record).execute()


def shortened(scenario: Scenario, chaos_s: float) -> Scenario:
    """The same with less time, for smoke tests."""
    return replace(scenario, chaos_s=chaos_s, operations_min=int(scenario.operations_min * chaos_s / scenario.chaos_s))
