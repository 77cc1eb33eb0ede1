"""A cell of simulated hosts: whole nodes from the composition root, started, stopped and judged by the scenario.

A node that stops itself because of its disk, or because the majority differs from it, does what it should; any other
error that ends a node is a violation. So is damage that a node finds on a disk that nobody tampered with: what it wrote
was not durable when it believed so, or it takes for damage what is none.

The cell's sizes are small, so that a run of a minute turns everything over; some of them, the knobs, differ from seed to
seed, so that what one size hides another shows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

from loggos.app.build import Node, Parts
from loggos.app.simulation.acceptors import AcceptorWitness, watched_engine
from loggos.app.simulation.probes import probing
from loggos.app.simulation.recorder import LogRecorder, recording_registry
from loggos.base.errors import DamageError, OutOfSpaceError, StorageError
from loggos.base.limits import IN_FLIGHT_SLOTS_MAX
from loggos.base.ports import World
from loggos.check.history import Violation
from loggos.consensus.core import Bounds
from loggos.consensus.types import Role
from loggos.node.config import Coordination, NodeConfig, Ports
from loggos.node.replica import Sizes
from loggos.sim.world import SimHost, SimWorld

SMALL: Final = Sizes(segment_bytes=64 << 10, snapshot_journal_bytes=48 << 10)
LOG_TAIL_BYTES: Final = (24 << 10, 24 << 10, 8 << 10)  # a knob: how far a follower may lag before it needs a snapshot
IN_FLIGHT_SLOTS: Final = (IN_FLIGHT_SLOTS_MAX, 4 * IN_FLIGHT_SLOTS_MAX)  # a knob: with many, a hole seldom stops the leader
SLICE_ITEMS: Final = 10  # of a snapshot: writes come between the slices of even a small state
ZOOKEEPER_PORT, PEER_PORT, CONSOLE_PORT = 2181, 2185, 8080
TICK_MS: Final = 400  # ZooKeeper's tick: session timeouts from 0.8 to 8 s, so that sessions expire within a run
CONTAINER_CHECK_MS: Final = 400  # and containers are deleted, while clients come back to them


class SimCluster:
    """Nodes n1, n2, … of one cell. Implements the nemesis's Recovery."""

    def __init__(self, world: SimWorld, nodes: int, parts: Parts, recorder: LogRecorder) -> None:
        self.world, self.recorder = world, recorder
        parts = probing(parts, world.probe)
        self.violations: list[Violation] = []
        engine = parts.member.engine
        assert isinstance(engine, type), "the simulation watches what an engine type tells"
        knobs = world.draws("knobs")
        bounds = Bounds(in_flight_slots=knobs.choice(IN_FLIGHT_SLOTS))
        engine = watched_engine(engine, AcceptorWitness(self.violations), bounds, self._settled)
        machine = type(parts.machine.__name__, (parts.machine,), {"slice_items": SLICE_ITEMS})
        sizes = replace(SMALL, log_tail_bytes=knobs.choice(LOG_TAIL_BYTES))
        self.parts = replace(parts, machine=machine, member=replace(parts.member, engine=engine, sizes=sizes))
        self.hosts: list[SimHost] = [world.host(f"n{i}") for i in range(1, nodes + 1)]
        self.nodes: dict[str, Node] = {}
        self.stops: list[str] = []
        self.on_event: Callable[[SimHost, str], None] = lambda host, event: None
        self._ballots: dict[str, int] = {}
        self._starts: dict[str, int] = {}
        self._suspects: dict[str, int] = {}  # hosts with silent damage, and in which life they got it
        self._tampered: dict[str, None] = {}  # hosts whose stored data was damaged at some time

    @property
    def addresses(self) -> list[tuple[str, int]]:
        return [(host.address, ZOOKEEPER_PORT) for host in self.hosts]

    def config(self, host: SimHost) -> NodeConfig:
        number = self.hosts.index(host) + 1
        return NodeConfig(
            id=number,
            voters={str(i): f"{h.address}:{PEER_PORT}" for i, h in enumerate(self.hosts, 1)},
            data="/",
            cell="sim",
            host=host.address,
            ports=Ports(zookeeper=ZOOKEEPER_PORT, console=CONSOLE_PORT, peer=PEER_PORT),
            coordination=Coordination(tick_ms=TICK_MS, container_check_ms=CONTAINER_CHECK_MS),
            insecure=True,
        )

    def start(self, host: SimHost) -> None:
        self._starts[host.name] = self._starts.get(host.name, 0) + 1
        host.start(lambda ports: self._main(host, ports), "node")

    restart = start

    async def _main(self, host: SimHost, ports: World) -> None:
        number = self.hosts.index(host) + 1
        registry = recording_registry(self.parts.member.registry, number, self.recorder)
        parts = replace(self.parts, member=replace(self.parts.member, registry=registry))
        node = Node(self.config(host), ports, self._logger(host), self._fatal(host), parts)
        self.nodes[host.name] = node
        try:
            await node.start()
        except OutOfSpaceError as error:  # a running node waits for space; one that starts says so and leaves
            raise StorageError(f"no start on a full disk: {error}") from error

    def _logger(self, host: SimHost) -> Callable[..., None]:
        def log(event: str, **fields: Any) -> None:
            self.world.trace.event(self.world.loop.time(), host.name, event, " ".join(f"{k}={v}" for k, v in fields.items()))
            self.world.probe(event)
            self.on_event(host, event)
            if event == "damaged data set aside" and host.name not in self._tampered:
                what = f"{host.name} found damage that nobody did: {fields.get('why')}"
                self.violations.append(Violation("durability", what))
            if event == "writes stop":
                self.violations.append(Violation("digest", f"{host.name} stops writes: {fields.get('why')}"))
            if event == "leader" and self._is_promise(host, **fields):
                self.on_event(host, "promise")

        return log

    def _is_promise(self, host: SimHost, leader: int, ballot: int, role: str) -> bool:
        """Has the host just promised another's ballot?"""
        before, self._ballots[host.name] = self._ballots.get(host.name, 0), ballot
        return not leader and role == "follower" and ballot > before

    def _settled(self, node: int) -> None:
        """The node's opening no-op is chosen; it has not told anyone yet."""
        self.on_event(self.hosts[node - 1], "settled")

    def _fatal(self, host: SimHost) -> Callable[[BaseException], None]:
        def fatal(error: BaseException) -> None:
            host.task_failed("node", error)

        return fatal

    # --- judging -------------------------------------------------------------------------------------------------------------

    def judge_stops(self) -> None:
        """Sort the ends of nodes into those that a faulty disk explains and those that nothing does."""
        for failure in self.world.failures:
            text = f"{failure.host} at {failure.at_s:.3f} s: {type(failure.error).__name__}: {failure.error}"
            if isinstance(failure.error, StorageError | DamageError):
                self.stops.append(text)
            else:
                self.violations.append(Violation("node-stopped", f"{failure.task}: {text}"))

    def tampered(self, name: str) -> None:
        """Somebody damages what the host has stored: it may find that out at any time."""
        self._tampered[name] = None

    def suspect(self, name: str) -> None:
        """Its stored data may be silently damaged: only a restart, which reads it all, shows whether it is whole."""
        self._suspects[name] = self._starts.get(name, 0)

    def is_whole(self, host: SimHost) -> bool:
        """Has a damaged or wiped host got back all it should have? (The nemesis asks before it damages another.)"""
        return self._suspects.get(host.name) != self._starts.get(host.name) and self.is_caught_up(host)

    def is_caught_up(self, host: SimHost) -> bool:
        """Is it a voter in good standing that holds all that is chosen?"""
        node = self.nodes.get(host.name)
        replica = node.member.replica if node is not None and host.is_running else None
        if replica is None or replica.stopped or replica.status.role is Role.LEARNER:
            return False
        return bool(replica.leader) and replica.registry.index >= self.recorder.last

    def running(self) -> list[Node]:
        return [self.nodes[host.name] for host in self.hosts if host.is_running and host.name in self.nodes]

    def leader(self) -> SimHost | None:
        """Whoever believes to lead; the first of them."""
        return next((self.hosts[node.config.id - 1] for node in self.running() if node.is_leader), None)

    def converged(self) -> bool:
        """Do all nodes run, agree on one leader, and stand at the same place of the log?"""
        nodes = self.running()
        if len(nodes) < len(self.hosts):
            return False
        replicas = [node.member.replica for node in nodes]
        if any(replica is None for replica in replicas):
            return False
        places = [(r.leader, r.registry.slot, r.registry.index) for r in replicas if r is not None]
        return places[0][0] != 0 and all(place == places[0] for place in places) and all(self.is_caught_up(h) for h in self.hosts)

    def compare_states(self) -> None:
        """After convergence: every node's whole state is the same."""
        digests = {}
        for node in self.running():
            replica = node.member.replica
            if replica is not None:
                digests[node.config.id] = (replica.registry.full_digest(), replica.registry.rolling_digest)
        if len({*digests.values()}) > 1:
            self.violations.append(Violation("digest", f"the nodes' states differ: {digests}"))

