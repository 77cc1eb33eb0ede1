"""One conformance suite for the Log port: in one process and over the socket, in simulation and on real sockets and files."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from loggos.base.errors import OverloadedError
from loggos.base.ids import Index, NodeId
from loggos.base.ports import Log
from tests.node.kit import LEDGER, Cell, CellNode, Watcher, connect, in_simulation, on_host, until


@dataclass
class Service:
    """A service on one node: its log, its machine, and what its follower was told."""

    node: CellNode
    log: Log
    ledger: Any
    watcher: Watcher

    async def on(self, work: Callable[[], Any]) -> Any:
        return await self.node.cell.site.on(self.node.number, work)

    async def propose(self, *commands: bytes) -> None:
        await self.on(lambda: [self.log.propose(LEDGER, command) for command in commands])

    async def barrier(self) -> Index | None:
        answers: list[Index | None] = []
        await self.on(lambda: self.log.read_barrier(answers.append))
        await until(lambda: answers)
        return answers[0]


class Near:
    """The replica itself is the log."""

    def prepare(self, cell: Cell) -> None:
        def attach(node: CellNode) -> None:
            watchers[node.number] = Watcher(node.replica)
            node.replica.follow(LEDGER, watchers[node.number])

        self.watchers: dict[int, Watcher] = {}
        watchers = self.watchers
        cell.attach = attach

    async def service(self, node: CellNode) -> Service:
        return Service(node, node.replica, node.ledger, self.watchers[node.number])


class Far:
    """The log is followed through the socket."""

    def prepare(self, cell: Cell) -> None:
        cell.serves = [LEDGER]

    async def service(self, node: CellNode) -> Service:
        log, copy, watcher = await connect(node)
        return Service(node, log, copy, watcher)


Scenario = Callable[[Cell, list[Service]], Coroutine[Any, Any, None]]
Run = Callable[[Scenario], None]


@pytest.fixture(params=["near-sim", "far-sim", "near-asyncio", "far-asyncio"])
def run(request: pytest.FixtureRequest, tmp_path: Path) -> Run:
    """Run a scenario on a cell of three with a service on each node."""
    place, world = request.param.split("-")

    def runs(scenario: Scenario) -> None:
        async def whole(cell: Cell) -> None:
            kind = Near() if place == "near" else Far()
            kind.prepare(cell)
            cell.start()
            await cell.until_led()
            services = [await kind.service(node) for node in cell.nodes.values()]
            await until(lambda: len({service.log.leader for service in services} - {0}) == 1)
            await scenario(cell, services)

        if world == "sim":
            in_simulation(whole)
        else:
            on_host(whole, tmp_path)

    return runs


def roles(services: list[Service]) -> tuple[Service, Service, Service]:
    """The service on the leader, and those on the followers."""
    leading = next(s for s in services if s.log.leader == s.node.number)
    others = [s for s in services if s is not leading]
    return leading, others[0], others[1]


def test_outcomes_are_seen_everywhere_in_order(run: Run) -> None:
    async def scenario(cell: Cell, services: list[Service]) -> None:
        commands = [b"a=%d;b=1" % number for number in range(1, 51)]
        for service in services:
            await service.propose(*commands)
        await until(lambda: all(len(s.watcher.commands) == 150 for s in services))
        first = services[0].watcher.of("applied")
        for service in services:
            applied = service.watcher.of("applied")
            assert [event[:5] for event in applied] == [event[:5] for event in first]
            assert [event[1] for event in applied] == [2 * number for number in range(1, 151)]
            own = [event for event in applied if event[5] is not None]
            assert [event[2] for event in own] == commands, "replies for its own commands, in the order it gave them"
            assert service.ledger.totals == {"a": 3 * sum(range(1, 51)), "b": 150}
            assert service.log.index == 300
        assert first[-1][4] == [3 * sum(range(1, 51)), 150]

    run(scenario)


def test_refused_operations_have_their_codes(run: Run) -> None:
    async def scenario(cell: Cell, services: list[Service]) -> None:
        await services[1].propose(b"a=5;a=-1;a=1")
        await until(lambda: all(s.watcher.of("applied") for s in services))
        for service in services:
            assert service.watcher.of("applied")[0][3:5] == ([0, -1, 0], [5, 5, 6])
        assert services[1].watcher.of("applied")[0][5] == ["1:a=5", "2:a=5", "3:a=6"]

    run(scenario)


def test_a_batch_ends_after_its_commands(run: Run) -> None:
    async def scenario(cell: Cell, services: list[Service]) -> None:
        await services[0].propose(b"a=1", b"a=2", b"a=3")
        await until(lambda: all(s.log.index == 3 for s in services))
        for service in services:
            await until(lambda s=service: s.watcher.of("batch_done")[-1:] == [("batch_done", 3)])
            events = [event[:2] for event in service.watcher.events if event[0] in ("applied", "batch_done")]
            assert events[-1] == ("batch_done", 3)
            done = 0
            for kind, index in events:
                assert index >= done if kind == "batch_done" else index == done + 1 or index > done, events
                done = index

    run(scenario)


def test_a_barrier_sees_what_was_acknowledged_elsewhere(run: Run) -> None:
    async def scenario(cell: Cell, services: list[Service]) -> None:
        for _ in range(5):
            for writer in services:
                before = writer.log.index
                await writer.propose(b"a=1")
                await until(lambda w=writer, b=before: w.log.index > b)
                acknowledged = writer.log.index
                for reader in services:
                    index = await reader.barrier()
                    assert index is not None and index >= acknowledged
                    assert reader.log.index >= index
                    assert sum(reader.ledger.totals.values()) >= acknowledged

    run(scenario)


def test_barriers_of_one_turn_are_all_answered(run: Run) -> None:
    async def scenario(cell: Cell, services: list[Service]) -> None:
        answers: list[Index | None] = []
        await services[2].on(lambda: [services[2].log.read_barrier(answers.append) for _ in range(100)])
        await until(lambda: len(answers) == 100)
        assert set(answers) == {0}

    run(scenario)


def test_notes_reach_the_twin(run: Run) -> None:
    async def scenario(cell: Cell, services: list[Service]) -> None:
        one, two, _ = services
        await one.on(lambda: one.log.tell(NodeId(2), LEDGER, b"to two"))
        await one.on(lambda: one.log.tell(NodeId(1), LEDGER, b"to myself"))
        await one.on(lambda: one.log.tell(NodeId(9), LEDGER, b"to nobody"))
        await until(lambda: two.watcher.of("peer_note") and one.watcher.of("peer_note"))
        assert two.watcher.of("peer_note") == [("peer_note", 1, b"to two")]
        assert one.watcher.of("peer_note") == [("peer_note", 1, b"to myself")]

    run(scenario)


def test_the_cells_clock_moves_and_is_the_entries(run: Run) -> None:
    async def scenario(cell: Cell, services: list[Service]) -> None:
        leading, following, _ = roles(services)
        await following.propose(b"a=1")
        await until(lambda: all(s.ledger.applied for s in services))
        stamped = following.ledger.last_cell_ms
        assert following.log.cell_ms == stamped, "what was last applied"
        await until(lambda: leading.log.cell_ms > stamped + 20)
        assert following.log.cell_ms == stamped
        told = leading.log.cell_ms
        await following.propose(b"a=1")
        await until(lambda: len(leading.ledger.applied) == 2)
        assert leading.ledger.last_cell_ms >= told

    run(scenario)


def test_too_much_is_refused_whole_and_later_taken(run: Run) -> None:
    async def scenario(cell: Cell, services: list[Service]) -> None:
        service = roles(services)[1]
        big = b"a=1" + b"." * 1_000_000

        def fill() -> int:
            for number in range(100):
                try:
                    service.log.propose(LEDGER, big)
                except OverloadedError:
                    return number
            return 100

        taken = await service.on(fill)
        assert 1 < taken < 100
        await until(lambda: len(service.watcher.commands) == taken)
        assert service.ledger.totals == {"a": taken}, "what was refused was not taken"
        await service.propose(b"a=1")
        await until(lambda: service.ledger.totals == {"a": taken + 1})

    run(scenario)


def test_the_fate_of_what_was_out_is_unknown_when_the_leader_is_lost(run: Run) -> None:
    async def scenario(cell: Cell, services: list[Service]) -> None:
        leading, one, two = roles(services)
        await one.propose(*[b"a=1"] * 20)
        await until(lambda: one.ledger.totals == {"a": 20})
        await one.propose(*[b"b=1"] * 20)
        await cell.stop(leading.node.number)
        await until(lambda: one.log.leader in (one.node.number, two.node.number) and one.log.leader == two.log.leader)
        for service in (one, two):
            assert service.watcher.of("leader_changed")[-1][1:] == (service.log.leader, service.log.leader == service.node.number)
        await one.propose(b"c=1")
        await until(lambda: one.ledger.totals.get("c") == 1 and two.ledger.totals.get("c") == 1)
        events = one.watcher.events
        seen = one.ledger.totals.get("b", 0)
        assert seen <= 20, "nothing is sent twice"
        replied = sum(1 for event in one.watcher.of("applied") if event[2] == b"b=1" and event[5] is not None)
        if replied < 20:
            assert ("interrupted",) in events
            after = events[events.index(("interrupted",)) :]
            assert all(event[5] is None for event in after if event[0] == "applied" and event[2] == b"b=1")
        assert one.watcher.of("applied")[-1][5] == [f"{one.log.index}:c=1"]
        await cell.until_equal()

    run(scenario)


def test_what_waits_for_a_leader_goes_to_the_next_one(run: Run) -> None:
    async def scenario(cell: Cell, services: list[Service]) -> None:
        leading, one, two = roles(services)
        await cell.stop(leading.node.number)
        await until(lambda: one.log.leader not in (leading.node.number,))
        before = len(one.watcher.of("interrupted"))
        await one.propose(*[b"a=1"] * 5)
        barrier = await one.barrier()
        assert barrier is not None
        await until(lambda: one.ledger.totals == {"a": 5} and two.ledger.totals == {"a": 5})
        assert len(one.watcher.of("interrupted")) == before
        assert [event[5] is not None for event in one.watcher.of("applied")] == [True] * 5

    run(scenario)


def test_a_node_that_was_away_for_long_is_restored(run: Run) -> None:
    """A snapshot takes the place of the entries in between; the state is the same, and later commands work."""

    async def scenario(cell: Cell, services: list[Service]) -> None:
        leading, away, _ = roles(services)
        number = away.node.number
        await away.propose(b"a=1")
        await until(lambda: all(s.ledger.totals == {"a": 1} for s in services))
        await cell.stop(number)
        for _ in range(60):
            before = leading.log.index
            await leading.propose(*[b"%d=1" % key + b"." * 1000 for key in range(5)])
            await until(lambda b=before: leading.log.index >= b + 5)
        cell.start(number)
        await cell.until_equal()
        node = cell.nodes[number]
        assert node.logged("snapshot installed")
        service = await (Far() if cell.serves else _near(cell)).service(node)
        await until(lambda: service.log.index == leading.log.index)
        assert service.ledger.totals == leading.ledger.totals
        await service.propose(b"z=1")
        await until(lambda: leading.ledger.totals.get("z") == 1)
        if not cell.serves:
            assert service.watcher.of("restored")

    def _near(cell: Cell) -> Near:
        near = Near.__new__(Near)
        near.watchers = {node.number: node.replica.registry.followers[LEDGER] for node in cell.running()}  # type: ignore[misc]
        return near

    run(scenario)
