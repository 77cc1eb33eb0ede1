"""A node where nobody waits hears a little later of what is chosen; from when somebody asks for something it hears at once."""

from __future__ import annotations

import asyncio
from typing import Any

from loggos.base.ids import Incarnation, NodeId
from loggos.base.limits import HEARTBEAT_MS, TICK_MS
from loggos.consensus.codec import decode_message
from loggos.consensus.types import Heartbeat
from loggos.node.wire import Type
from tests.node.kit import LEDGER, Cell, CellNode, Watcher, in_simulation, until


class Idle(Watcher):
    """Says whether anybody waits here as the test has it."""

    waits = False

    def is_attended(self) -> bool:
        return self.waits


def idle_followers(cell: Cell) -> dict[int, Idle]:
    watchers: dict[int, Idle] = {}

    def attach(node: CellNode) -> None:
        watchers[node.number] = Idle(node.replica)
        node.replica.follow(LEDGER, watchers[node.number])

    cell.attach = attach
    return watchers


def attended(leader: CellNode, node: CellNode) -> bool:
    engine: Any = leader.replica.engine
    return bool(engine.lead.peers[node.number].attended)


def test_a_leader_knows_where_nobody_waits_and_what_it_does_not_say_comes_with_a_heartbeat() -> None:
    async def scenario(cell: Cell) -> None:
        watchers = idle_followers(cell)
        cell.start()
        leader = await cell.until_led()
        idle, busy = [node for node in cell.running() if node is not leader]
        watchers[busy.number].waits = True
        await asyncio.sleep(1)
        assert not attended(leader, idle) and attended(leader, busy)
        loop = asyncio.get_running_loop()
        took: list[float] = []
        for number in range(10):
            await asyncio.sleep(0.0137)
            began = loop.time()
            await cell.propose(leader.number, b"a=1")
            while busy.ledger.totals.get("a") != number + 1:  # noqa: ASYNC110 - finer than `until`
                await asyncio.sleep(0.0002)
            while idle.ledger.totals.get("a") != number + 1:  # noqa: ASYNC110
                await asyncio.sleep(0.0002)
            took.append((loop.time() - began) * 1000)
        assert max(took) > TICK_MS, "nobody hurries"
        assert max(took) < HEARTBEAT_MS + 2 * TICK_MS, "but it does not take for ever"

    in_simulation(scenario)


def test_the_first_who_asks_at_an_idle_node_is_not_kept_waiting() -> None:
    """Whatever the heartbeats that are on their way say of it: an answer of before it asked must not come behind its question."""

    async def scenario(cell: Cell) -> None:
        watchers = idle_followers(cell)
        cell.start()
        leader = await cell.until_led()
        idle = next(node for node in cell.running() if node is not leader)
        loop = asyncio.get_running_loop()
        for number in range(60):
            watchers[idle.number].waits = False
            await asyncio.sleep(0.15 + 0.00137 * number)  # at any time between two heartbeats
            assert not attended(leader, idle)
            began = loop.time()
            watchers[idle.number].waits = True
            await cell.propose(idle.number, b"a=1")
            await until(lambda number=number: idle.ledger.totals.get("a") == number + 1)  # type: ignore[misc]
            assert (loop.time() - began) * 1000 < HEARTBEAT_MS / 2, f"the {number}th waited for a heartbeat"

    in_simulation(scenario)


def test_an_answer_of_the_same_turn_does_not_come_behind_the_question() -> None:
    """A heartbeat and a client's bytes are read in one turn of the loop: the answer is made before, and leaves after."""

    async def scenario(cell: Cell) -> None:
        watchers = idle_followers(cell)
        cell.start()
        leader = await cell.until_led()
        idle = next(node for node in cell.running() if node is not leader)
        replica, loop = idle.replica, asyncio.get_running_loop()
        step = replica._handlers[Type.MESSAGE]
        asked_at: list[float] = []

        def step_and_ask(sender: NodeId, incarnation: Incarnation, body: bytes) -> None:
            step(sender, incarnation, body)
            if not asked_at and isinstance(decode_message(body), Heartbeat):
                asked_at.append(loop.time())
                watchers[idle.number].waits = True
                replica.propose(LEDGER, b"a=1")

        for number in range(3):
            watchers[idle.number].waits = False
            await asyncio.sleep(0.3)
            assert not attended(leader, idle)
            replica._handlers[Type.MESSAGE] = step_and_ask
            await until(lambda number=number: idle.ledger.totals.get("a") == number + 1)  # type: ignore[misc]
            assert (loop.time() - asked_at.pop()) * 1000 < HEARTBEAT_MS / 2 and attended(leader, idle)
            replica._handlers[Type.MESSAGE] = step

    in_simulation(scenario)


def test_what_comes_before_a_leader_is_settled_is_proposed_when_it_is() -> None:
    """Not at its next tick: clients that were held wait for it after every fail-over."""

    class Hasty(Watcher):
        """Proposes as soon as another node is heard to lead, as a service does for clients that it held."""

        def leader_changed(self, leader: NodeId, is_self: bool) -> None:
            if armed and leader and not is_self:
                armed.clear()
                assert self.log is not None
                self.log.propose(LEDGER, b"late=1")

    armed: list[bool] = []
    took_ms: list[float] = []

    async def scenario(cell: Cell) -> None:
        loop = asyncio.get_running_loop()
        settled_at: list[float] = []

        def attach(node: CellNode) -> None:
            node.replica.follow(LEDGER, Hasty(node.replica))
            begin_term = node.replica._begin_term

            def begin() -> None:
                settled_at.append(loop.time())
                begin_term()

            node.replica._begin_term = begin  # type: ignore[method-assign]

        cell.attach = attach
        cell.start()
        leader = await cell.until_led()
        await asyncio.sleep(1)
        armed.append(True)
        await cell.stop(leader.number)
        while not any(node.ledger.totals.get("late") for node in cell.running()):  # noqa: ASYNC110 - finer than `until`
            await asyncio.sleep(0.0002)
        took_ms.append((loop.time() - settled_at[-1]) * 1000)

    for seed in range(1, 9):
        in_simulation(scenario, seed=seed)
    assert max(took_ms) < TICK_MS / 2, took_ms
