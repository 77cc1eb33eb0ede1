"""One member among others, in simulation: disks that hang or fill up, states that differ, back-pressure, leaving."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from loggos.base.errors import InternalError, OverloadedError
from loggos.base.ids import Incarnation, NodeId
from loggos.base.limits import DISK_ANSWER_TIMEOUT_MS, DISK_HANG_STOP_MS
from loggos.consensus.types import Role
from loggos.node.batch import encode_run
from loggos.node.digests import DIGEST_EVERY
from loggos.node.wire import EPOCH, Type
from loggos.sim.world import SimHost
from tests.node.kit import LEDGER, Cell, CellNode, Ledger, SimSite, Watcher, in_simulation, on_host, until


def host_of(cell: Cell, node: CellNode) -> SimHost:
    assert isinstance(cell.site, SimSite)
    return cell.site.hosts[node.number]


def watched(cell: Cell) -> dict[int, Watcher]:
    watchers: dict[int, Watcher] = {}

    def attach(node: CellNode) -> None:
        watchers[node.number] = Watcher(node.replica)
        node.replica.follow(LEDGER, watchers[node.number])

    cell.attach = attach
    return watchers


def test_a_leader_whose_disk_hangs_steps_down_and_the_others_go_on() -> None:
    async def scenario(cell: Cell) -> None:
        cell.start()
        leader = await cell.until_led()
        loop = asyncio.get_running_loop()
        host_of(cell, leader).platter.hang()
        await cell.propose(leader.number, b"a=1")
        began = loop.time()
        await until(lambda: leader.replica.status.role is not Role.LEADER)
        assert leader.logged("steps down") and loop.time() - began < 2 * DISK_ANSWER_TIMEOUT_MS / 1000
        others = [node for node in cell.running() if node is not leader]
        await until(lambda: any(node.replica.leader == node.number for node in others))
        new = next(node for node in others if node.replica.leader == node.number)
        await cell.propose(new.number, b"b=1")
        await until(lambda: all(node.ledger.totals.get("b") == 1 for node in others))
        await asyncio.sleep(5)
        assert leader.replica.status.role is not Role.LEADER and leader.runs
        host_of(cell, leader).platter.unhang()
        await cell.until_equal()

    in_simulation(scenario)


def test_a_node_whose_disk_never_answers_stops() -> None:
    async def scenario(cell: Cell) -> None:
        cell.start()
        leader = await cell.until_led()
        host_of(cell, leader).platter.hang()
        await cell.propose(leader.number, b"a=1")
        await asyncio.sleep(DISK_HANG_STOP_MS / 1000 - 1)
        assert not leader.fatal
        await until(lambda: leader.fatal, limit_s=3)
        assert isinstance(leader.fatal[0], InternalError) and "disk has not answered" in str(leader.fatal[0])

    in_simulation(scenario)


def test_on_a_full_disk_writes_wait_and_go_on_after() -> None:
    async def scenario(cell: Cell) -> None:
        cell.start()
        leader = await cell.until_led()
        hosts = [host_of(cell, node) for node in cell.running()]
        for host in hosts:
            host.platter.faults.quota_bytes = 0
        commands = [b"%d=1" % number + b"." * 4000 for number in range(40)]
        await cell.propose(leader.number, *commands)
        await asyncio.sleep(3)
        assert all(node.runs and not node.fatal for node in cell.nodes.values())
        applied = leader.replica.index
        assert applied < 40, "it cannot all have fitted"
        assert any(node.logged("disk full") or node.logged("no snapshot") for node in cell.nodes.values())
        for host in hosts:
            host.platter.faults.calm()
        leader = await cell.until_led()
        await cell.propose(leader.number, b"after=1")
        await until(lambda: all(node.ledger.totals.get("after") == 1 for node in cell.running()))
        await cell.until_equal()

    in_simulation(scenario)


class OneOff(Ledger):
    """Comes to another result than the others, once."""

    def change_of(self, amount: int) -> int:
        return 6 if amount == 5 else amount


class TwoOff(Ledger):
    def change_of(self, amount: int) -> int:
        return -1 if amount == 5 else amount


class ThreeOff(Ledger):
    def change_of(self, amount: int) -> int:
        return amount

    def apply(self, first_index: Any, stamps: Any, command: bytes, answer: bool) -> Any:
        outcome = super().apply(first_index, stamps, command, answer)
        if command == b"a=5":
            outcome.codes = [-7]
        return outcome


async def to_the_next_comparison(cell: Cell, number: int) -> None:
    """Enough slots that digests are compared once more."""
    for _ in range(DIGEST_EVERY + 2):
        if not cell.nodes[number].runs or cell.nodes[number].replica.writes_stopped:
            return
        before = cell.nodes[number].replica.registry.slot
        await cell.propose(number, b"b=1")
        await asyncio.sleep(0.01)
        for _ in range(100):
            if not cell.nodes[number].runs or cell.nodes[number].replica.registry.slot > before:
                break
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("which", ["leader", "follower"])
def test_the_node_that_differs_from_the_majority_stops(which: str) -> None:
    """Codes differ, so the rolling digests do."""

    async def scenario(cell: Cell) -> None:
        cell.machines = lambda number: [TwoOff() if number == 2 else Ledger()]
        cell.start()
        leader = await cell.until_led()
        if (leader.number == 2) != (which == "leader"):
            await cell.site.on(leader.number, lambda: leader.replica.resign("a test"))
            for _ in range(20):
                leader = await cell.until_led()
                if (leader.number == 2) == (which == "leader"):
                    break
                await cell.site.on(leader.number, lambda at=leader: at.replica.resign("a test"))
                await asyncio.sleep(0.3)
        assert (leader.number == 2) == (which == "leader")
        await cell.propose(1, b"a=5")
        await to_the_next_comparison(cell, 3)
        await until(lambda: cell.nodes[2].fatal)
        assert "differs from the majority" in str(cell.nodes[2].fatal[0])
        await cell.until_equal(1, 3)
        assert not cell.nodes[1].fatal and not cell.nodes[3].fatal
        await cell.propose(1, b"c=1")
        await until(lambda: cell.nodes[3].ledger.totals.get("c") == 1)

    in_simulation(scenario)


def test_without_a_majority_writes_stop_and_nobody_dies() -> None:
    async def scenario(cell: Cell) -> None:
        cell.machines = lambda number: [[Ledger(), TwoOff(), ThreeOff()][number - 1]]
        cell.start()
        leader = await cell.until_led()
        await cell.propose(leader.number, b"a=5")
        await to_the_next_comparison(cell, leader.number)
        await until(lambda: all(node.replica.writes_stopped for node in cell.nodes.values()))
        index = leader.replica.index
        for node in cell.nodes.values():
            await cell.propose(node.number, b"d=1")
        await asyncio.sleep(3)
        assert all(node.runs and not node.fatal for node in cell.nodes.values())
        assert leader.replica.index == index

    in_simulation(scenario)


def test_agreement_is_noticed() -> None:
    async def scenario(cell: Cell) -> None:
        cell.start()
        leader = await cell.until_led()
        await to_the_next_comparison(cell, leader.number)
        await until(lambda: all(node.replica.agreement.rolling.agreed_slot >= DIGEST_EVERY for node in cell.nodes.values()))

    in_simulation(scenario)


# --- back-pressure -----------------------------------------------------------------------------------------------------------


def test_without_a_leader_a_node_takes_a_bounded_amount() -> None:
    async def scenario(cell: Cell) -> None:
        watchers = watched(cell)
        cell.start()
        leader = await cell.until_led()
        others = [number for number in cell.nodes if number != leader.number]
        await cell.stop(leader.number, others[1])
        node = cell.nodes[others[0]]
        await until(lambda: node.replica.leader == 0, limit_s=60)
        node.replica.outbox.limit(10_000)

        def fill() -> int:
            for number in range(100):
                try:
                    node.replica.propose(LEDGER, b"a=1" + b"." * 1000)
                except OverloadedError:
                    return number
            return 100

        taken = await cell.site.on(node.number, fill)
        assert taken == 9
        cell.start(leader.number)
        await until(lambda: node.ledger.totals.get("a") == taken)
        answered = [event for event in watchers[node.number].of("applied") if event[5]]
        assert len(answered) == taken and not node.replica.outbox.has_sent

    in_simulation(scenario)


def test_commands_that_only_look_like_runs_are_refused_by_a_leader() -> None:
    """A follower of another version, or a broken one: its forward is not proposed, and it is told so."""

    async def scenario(cell: Cell) -> None:
        cell.start()
        leader = await cell.until_led()
        sender = NodeId(leader.number % 3 + 1)
        peer = cell.nodes[sender]
        await cell.propose(sender, b"a=1")
        await until(lambda: leader.ledger.totals == {"a": 1})
        epoch = peer.replica.outbox.epoch
        slot = leader.replica.registry.slot
        for runs in (b"x", encode_run(LEDGER, sender, 0, b"a=1")[:-1], encode_run(99, sender, 0, b"a=1")):
            body = EPOCH.pack(epoch) + runs
            await cell.site.on(leader.number, lambda b=body: leader.replica.peer_frame(sender, Incarnation(1), Type.FORWARD, b))
        await asyncio.sleep(1)
        assert leader.replica.registry.slot == slot and not leader.fatal

    in_simulation(scenario)


def test_a_refused_forward_is_an_unknown_fate_for_its_sender() -> None:
    async def scenario(cell: Cell) -> None:
        watchers = watched(cell)
        cell.start()
        leader = await cell.until_led()
        node = cell.nodes[leader.number % 3 + 1]
        leader.replica.writes_stopped = "a test"
        await cell.propose(node.number, b"a=1")
        await until(lambda: ("interrupted",) in watchers[node.number].events)
        leader.replica.writes_stopped = ""
        await cell.propose(node.number, b"b=1")
        await until(lambda: node.ledger.totals.get("b") == 1)
        assert "a" not in node.ledger.totals

    in_simulation(scenario)


def test_what_waited_for_the_disk_is_proposed_in_the_turn_after_its_relief() -> None:
    async def scenario(cell: Cell) -> None:
        cell.start()
        leader = await cell.until_led()
        await cell.until_equal()
        replica = leader.replica
        replica.disk_pressed(True)
        await cell.propose(leader.number, b"a=1")
        await asyncio.sleep(1)
        assert replica.outbox.queue and not replica.engine.in_flight()
        await cell.site.on(leader.number, lambda: replica.disk_pressed(False))
        await asyncio.sleep(0)
        assert not replica.outbox.queue and replica.engine.in_flight() == 1
        await until(lambda: leader.ledger.totals == {"a": 1})

    in_simulation(scenario)


# --- leaving -----------------------------------------------------------------------------------------------------------------


def test_a_leader_that_resigns_is_followed_at_once() -> None:
    async def scenario(cell: Cell) -> None:
        cell.start()
        leader = await cell.until_led()
        loop = asyncio.get_running_loop()
        began = loop.time()
        await cell.site.on(leader.number, lambda: leader.replica.resign("a test"))
        await until(lambda: leader.replica.leader not in (0, leader.number))
        assert loop.time() - began < 0.3

    in_simulation(scenario)


def test_a_stopped_node_fails_its_barriers_and_does_nothing_more() -> None:
    async def scenario(cell: Cell) -> None:
        watchers = watched(cell)
        cell.start()
        leader = await cell.until_led()
        answers: list[Any] = []

        def stop() -> None:
            leader.replica.read_barrier(answers.append)
            leader.replica.stop()

        await cell.site.on(leader.number, stop)
        assert answers == [None]
        told = len(watchers[leader.number].events)
        others = [number for number in cell.nodes if number != leader.number]
        await until(lambda: cell.nodes[others[0]].replica.leader in others, limit_s=10)
        await cell.propose(others[0], b"a=1")
        await until(lambda: cell.nodes[others[1]].ledger.totals == {"a": 1})
        assert len(watchers[leader.number].events) == told

    in_simulation(scenario)


def test_a_cell_of_real_nodes_comes_back_with_everything(tmp_path: Path) -> None:
    async def scenario(cell: Cell) -> None:
        cell.start()
        leader = await cell.until_led()
        await cell.propose(leader.number, *[b"a=1"] * 100)
        await until(lambda: all(node.ledger.totals == {"a": 100} for node in cell.nodes.values()))
        await cell.stop()
        cell.start()
        await until(lambda: len(cell.running()) == 3)
        leader = await cell.until_led()
        await cell.propose(leader.number, b"b=1")
        await until(lambda: all(node.ledger.totals == {"a": 100, "b": 1} for node in cell.nodes.values()))

    on_host(scenario, tmp_path)
