"""Small machines, a follower that writes down what it is told, and cells of bare members on either world."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Callable, Coroutine, Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

from loggos.base.ids import Index, NodeId
from loggos.base.ports import Log, World
from loggos.base.steps import Digesting, Steps
from loggos.host.loop import run as run_loop
from loggos.host.world import HostWorld
from loggos.node.batch import runs_of
from loggos.node.config import NodeConfig, Ports
from loggos.node.member import Member, MemberParts
from loggos.node.remote.client import RemoteLog
from loggos.node.remote.mirror import MachineMirror
from loggos.node.remote.server import LogServer
from loggos.node.replica import Replica, Sizes
from loggos.sim.world import SimHost, SimWorld

LEDGER, ECHO = 7, 8
PEER_PORT = 2185
SMALL = Sizes(segment_bytes=64 << 10, snapshot_journal_bytes=32 << 10, log_tail_bytes=16 << 10)


@dataclass(slots=True)
class Outcome:
    """One code and one total per operation; `replies` only if somebody waits for them."""

    codes: list[int]
    totals: list[int]
    replies: list[str] | None = None
    left: list[int] | None = None

    @property
    def marks(self) -> list[int]:
        return self.codes if self.left is None else self.left


class OutcomeJson:
    """The codec of both machines."""

    def encode(self, outcome: Any, replies: bool) -> bytes:
        return json.dumps([outcome.codes, outcome.totals, outcome.replies if replies else None]).encode()

    def decode(self, data: bytes) -> Outcome:
        return Outcome(*json.loads(data))


class Ledger:
    """Adds up: `name=amount`, several joined by ';', each one operation. Negative amounts are refused with code -1."""

    ID = LEDGER
    slice_items = 50

    def __init__(self) -> None:
        self.totals: dict[str, int] = {}
        self.applied: list[bytes] = []  # since the start or the last restore
        self.last_cell_ms = 0

    def apply(self, first_index: Index, stamps: Any, command: bytes, answer: bool) -> Outcome:
        self.applied.append(command)
        self.last_cell_ms = stamps.cell_ms
        outcome = Outcome([], [], [] if answer else None)
        for number, operation in enumerate(command.split(b";")):
            name, _, amount = operation.partition(b"=")
            change = self.change_of(int(amount.strip(b".")))
            key = name.decode()
            if change >= 0:
                self.totals[key] = self.totals.get(key, 0) + change
            outcome.codes.append(0 if change >= 0 else -1)
            outcome.totals.append(self.totals.get(key, 0))
            if outcome.replies is not None:
                outcome.replies.append(f"{first_index + number}:{key}={outcome.totals[-1]}")
        return outcome

    def change_of(self, amount: int) -> int:
        return amount

    def snapshot(self) -> Iterator[bytes]:
        items = list(self.totals.items())
        for start in range(0, len(items), self.slice_items):
            yield json.dumps(items[start : start + self.slice_items]).encode()

    def restoring(self, chunks: Iterable[bytes]) -> Steps:
        totals: dict[str, int] = {}
        for chunk in chunks:
            totals.update(json.loads(chunk))
            yield

        def replace() -> None:
            self.totals, self.applied = totals, []

        return replace

    def item_count(self) -> int:
        return len(self.totals)

    def digesting(self) -> Digesting:
        copy = Ledger()
        copy.totals = dict(self.totals)
        yield
        return copy.digest()

    def digest(self) -> int:
        return sum(total * (1 + sum(name.encode())) for name, total in self.totals.items()) & 0xFFFFFFFF


class Echo(Ledger):
    """A ledger of its own that also hears the first one."""

    ID = ECHO

    def __init__(self) -> None:
        super().__init__()
        self.heard: list[tuple[int, int, list[int]]] = []

    def on_events(self, index: Index, stamps: Any, machine: int, outcome: Any) -> None:
        self.heard.append((index, machine, list(outcome.totals)))


class Watcher:
    """A follower: `events` holds all calls, in order."""

    def __init__(self, log: Log | None = None) -> None:
        self.log = log
        self.events: list[tuple[Any, ...]] = []
        self.asked: list[bytes] = []
        self.answers = True

    def wants(self, command: bytes) -> bool:
        self.asked.append(command)
        return self.answers

    def is_attended(self) -> bool:
        return True

    def needs_all(self) -> bool:
        return True

    def applied_plainly(self, index: Index, plain: Any) -> None:
        raise AssertionError("it needs to be told all")

    def applied(self, index: Index, command: bytes, outcome: Any) -> None:
        if self.log is not None:
            assert self.log.index == index
        self.events.append(("applied", int(index), command, outcome.codes, outcome.totals, outcome.replies))

    def batch_done(self, index: Index) -> None:
        self.events.append(("batch_done", int(index)))

    def interrupted(self) -> None:
        self.events.append(("interrupted",))

    def leader_changed(self, leader: NodeId, is_self: bool) -> None:
        self.events.append(("leader_changed", int(leader), is_self))

    def restored(self) -> None:
        self.events.append(("restored",))

    def peer_note(self, sender: NodeId, note: bytes) -> None:
        self.events.append(("peer_note", int(sender), note))

    def of(self, kind: str) -> list[tuple[Any, ...]]:
        return [event for event in self.events if event[0] == kind]

    @property
    def commands(self) -> list[bytes]:
        return [event[2] for event in self.of("applied")]


def commands_of(data: bytes, offset: int = 0) -> list[tuple[int, NodeId, int, bytes]]:
    """The runs of a batch with their commands: machine, origin, epoch, command."""
    return [(machine, origin, epoch, data[at:end]) for machine, origin, epoch, at, end in runs_of(data, offset)]


class Site(Protocol):
    """Where a cell's nodes live."""

    def address(self, number: int) -> str: ...

    def begin(self, node: CellNode, main: Callable[[World], Coroutine[Any, Any, None]]) -> None: ...

    async def on(self, number: int, work: Callable[[], Any]) -> Any:
        """Run `work` as code of that node."""
        ...

    async def end(self, node: CellNode) -> None: ...

    def socket(self, number: int) -> str: ...


@dataclass(eq=False)
class CellNode:
    """One node and what it has become."""

    cell: Cell
    number: int
    world: World | None = None
    member: Member | None = None
    server: LogServer | None = None
    machines: list[Any] = field(default_factory=list)
    log: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    fatal: list[BaseException] = field(default_factory=list)

    @property
    def replica(self) -> Replica:
        assert self.member is not None and self.member.replica is not None
        return self.member.replica

    @property
    def runs(self) -> bool:
        return self.member is not None and self.member.replica is not None and not self.member.replica.stopped

    @property
    def ledger(self) -> Any:
        return self.machines[0]

    def logged(self, event: str) -> list[dict[str, Any]]:
        return [fields for name, fields in self.log if name == event]


class Cell:
    """Members without doors. Change `parts`, `machines`, `serves` before starting."""

    def __init__(self, site: Site, voters: int = 3, learners: int = 0) -> None:
        self.site, self.voters, self.learners = site, voters, learners
        self.nodes = {number: CellNode(self, number) for number in range(1, voters + learners + 1)}
        self.up: dict[int, None] = {}
        self.parts = MemberParts(sizes=SMALL)
        self.parts_of: dict[int, MemberParts] = {}
        self.machines: Callable[[int], list[Any]] = lambda number: [Ledger()]
        self.serves: list[int] = []  # machines followed from other processes
        self.server_options: dict[str, Any] = {}
        self.attach: Callable[[CellNode], None] = lambda node: None

    def config(self, number: int) -> NodeConfig:
        addresses = {str(i): self.site.address(i) for i in self.nodes}
        peer = int(addresses[str(number)].rpartition(":")[2])
        return NodeConfig(
            id=number,
            voters={name: address for name, address in addresses.items() if int(name) <= self.voters},
            learners={name: address for name, address in addresses.items() if int(name) > self.voters},
            data="/",
            cell="kit",
            host=addresses[str(number)].rpartition(":")[0],
            ports=Ports(peer=peer),
            insecure=True,
        )

    def start(self, *numbers: int) -> None:
        for number in numbers or self.nodes:
            node = self.nodes[number]
            self.up[number] = None
            node.member = node.server = None
            self.site.begin(node, lambda world, node=node: self._main(node, world))  # type: ignore[misc]

    async def _main(self, node: CellNode, world: World) -> None:
        node.world, node.machines = world, self.machines(node.number)
        parts = self.parts_of.get(node.number, self.parts)
        node.member = Member(
            self.config(node.number),
            world,
            lambda: node.machines,
            lambda event, **fields: node.log.append((event, fields)),
            node.fatal.append,
            parts,
        )
        await node.member.start(lambda replica: self._attach(node, replica))
        if node.server is not None:
            await node.server.start(self.site.socket(node.number))

    def _attach(self, node: CellNode, replica: Replica) -> None:
        if self.serves:
            assert node.world is not None
            codecs = {machine.ID: OutcomeJson() for machine in node.machines}
            log = lambda event, **fields: node.log.append((event, fields))
            node.server = LogServer(node.world, replica, self.serves, codecs, cell="kit", log=log, **self.server_options)
        node.member.replica = replica  # type: ignore[union-attr]
        self.attach(node)

    async def stop(self, *numbers: int) -> None:
        for number in numbers or self.nodes:
            self.up.pop(number, None)
            await self.site.end(self.nodes[number])

    def running(self) -> list[CellNode]:
        return [node for node in self.nodes.values() if node.runs]

    @property
    def leader(self) -> CellNode | None:
        for node in self.running():
            if node.replica.leader == node.number:
                return node
        return None

    async def until_led(self) -> CellNode:
        await until(lambda: self.leader is not None and all(node.replica.leader == self.leader.number for node in self.running()))
        assert self.leader is not None
        return self.leader

    async def propose(self, number: int, *commands: bytes, machine: int = LEDGER) -> None:
        def propose_all() -> None:
            for command in commands:
                self.nodes[number].replica.propose(machine, command)

        await self.site.on(number, propose_all)

    async def until_equal(self, *numbers: int) -> None:
        """All these nodes (default: all that were started and not stopped) have applied the same, which is all that is chosen."""
        nodes = [self.nodes[number] for number in numbers or self.up]
        await until(
            lambda: (
                all(node.runs for node in nodes)
                and len({(n.replica.registry.slot, n.replica.registry.rolling_digest) for n in nodes}) == 1
                and all(n.replica.engine.status().chosen == n.replica.registry.slot for n in nodes)
            )
        )


async def until(condition: Callable[[], Any], limit_s: float = 30.0) -> None:
    """Wait for a condition; AssertionError when it does not come true in time (of this loop's clock)."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + limit_s
    while not condition():
        assert loop.time() < deadline, f"not within {limit_s} s: {condition}"
        await asyncio.sleep(0.005)


class SimSite:
    """Hosts n1, n2, … of a simulated world."""

    def __init__(self, world: SimWorld, nodes: int) -> None:
        self.world = world
        self.hosts: dict[int, SimHost] = {number: world.host(f"n{number}") for number in range(1, nodes + 1)}

    def address(self, number: int) -> str:
        return f"{self.hosts[number].address}:{PEER_PORT}"

    def socket(self, number: int) -> str:
        return "log.sock"

    def begin(self, node: CellNode, main: Callable[[World], Coroutine[Any, Any, None]]) -> None:
        self.hosts[node.number].start(main, "node")

    async def on(self, number: int, work: Callable[[], Any]) -> Any:
        results: list[Any] = []

        async def main(world: World) -> None:
            try:
                result = work()
                results.append(await result if asyncio.iscoroutine(result) else result)
            except Exception as error:  # handed to the test, which runs outside of the host
                results.append(error)

        await asyncio.wait([self.hosts[number].start(main, "work")])
        if isinstance(results[0], Exception):
            raise results[0]
        return results[0]

    async def end(self, node: CellNode) -> None:
        if self.hosts[node.number].is_running:
            self.hosts[node.number].crash()
        node.member = node.server = None

    def crash(self, node: CellNode, **how: Any) -> None:
        self.hosts[node.number].crash(**how)
        node.member = node.server = None


def free_ports(count: int) -> list[int]:
    """Ports of the loopback that nobody listens on, all different."""
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [int(one.getsockname()[1]) for one in held]
    for one in held:
        one.close()
    return ports


class HostSite:
    """All nodes in this process, on real sockets and files."""

    def __init__(self, directory: Path, nodes: int) -> None:
        self.directory = directory
        self.ports = free_ports(nodes)
        self.worlds: dict[int, HostWorld] = {}

    def address(self, number: int) -> str:
        return f"127.0.0.1:{self.ports[number - 1]}"

    def socket(self, number: int) -> str:
        return str(self.directory / f"{number}.sock")

    def begin(self, node: CellNode, main: Callable[[World], Coroutine[Any, Any, None]]) -> None:
        world = HostWorld(self.directory / str(node.number), lambda name, error: node.fatal.append(error))
        self.worlds[node.number] = world
        world.spawner.spawn(main(world), "node")

    async def on(self, number: int, work: Callable[[], Any]) -> Any:
        result = work()
        return await result if asyncio.iscoroutine(result) else result

    async def end(self, node: CellNode) -> None:
        world = self.worlds.pop(node.number, None)
        if world is not None:
            if node.server is not None:
                node.server.stop()
            if node.member is not None:
                node.member.stop()
            await world.close()
        node.member = node.server = None


Scenario = Callable[[Cell], Coroutine[Any, Any, None]]


def in_simulation(scenario: Scenario, voters: int = 3, learners: int = 0, seed: int = 1, limit_s: float = 300.0) -> str:
    """Run it in a simulated world; gives the trace's hash."""
    with SimWorld(seed) as world:
        world.run(scenario(Cell(SimSite(world, voters + learners), voters, learners)), limit_s)
        return world.digest()


def on_host(scenario: Scenario, directory: Path, voters: int = 3) -> None:
    """Run it on real sockets and files."""

    async def main() -> None:
        cell = Cell(HostSite(directory, voters), voters)
        try:
            async with asyncio.timeout(60):
                await scenario(cell)
        finally:
            await cell.stop()

    run_loop(main, prefer_uvloop=False)


async def connect(node: CellNode, machine: Any = None, *, name: str = "test", **options: Any) -> tuple[RemoteLog, Any, Watcher]:
    """A process that follows `machine` (default: a ledger) through the node's socket: its log, its copy, and its follower."""
    copy = machine if machine is not None else Ledger()
    codecs = {LEDGER: OutcomeJson(), ECHO: OutcomeJson()}

    def make() -> tuple[RemoteLog, Watcher]:
        assert node.world is not None
        log = RemoteLog(
            node.world,
            node.cell.site.socket(node.number),
            copy.ID,
            codecs,
            options.pop("mirror", MachineMirror(copy)),
            cell=options.pop("cell", "kit"),
            node=options.pop("node_id", NodeId(node.number)),
            name=name,
            log=lambda event, **fields: node.log.append((event, fields)),
            fatal=node.fatal.append,
            **options,
        )
        watcher = Watcher(log)
        log.follow(copy.ID, watcher)
        return log, watcher

    async def start() -> tuple[RemoteLog, Watcher]:
        log, watcher = make()
        await log.start()
        return log, watcher

    log, watcher = await node.cell.site.on(node.number, start)
    return log, copy, watcher


def with_sizes(parts: MemberParts, **sizes: int) -> MemberParts:
    return replace(parts, sizes=replace(parts.sizes, **sizes))
