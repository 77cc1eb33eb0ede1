"""A node where nobody waits hears a little later of what is chosen; from when somebody asks for something it hears at once."""

from __future__ import annotations

import asyncio
from typing import Any

from loggos.base.limits import HEARTBEAT_MS, TICK_MS
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
