"""One seed, one trace: the log over the socket adds nothing of chance to a simulated cell."""

from __future__ import annotations

import asyncio

from tests.node.kit import LEDGER, Cell, connect, in_simulation, until


async def scenario(cell: Cell) -> None:
    cell.serves = [LEDGER]
    cell.start()
    leader = await cell.until_led()
    logs = [await connect(node) for node in cell.nodes.values()]
    for number in range(30):
        for node, (log, _, _) in zip(cell.nodes.values(), logs, strict=True):
            if node.runs:
                await cell.site.on(node.number, lambda at=log, n=number: at.propose(LEDGER, b"%d=1" % n))
        if number == 10:
            await cell.stop(leader.number)
        await asyncio.sleep(0.05)
    cell.start(leader.number)
    await cell.until_equal()
    log, copy, _ = await connect(cell.nodes[leader.number])
    await until(lambda: copy.totals == leader.ledger.totals)


def test_equal_seeds_give_equal_traces() -> None:
    hashes = [in_simulation(scenario, seed=seed) for seed in (5, 6, 5)]
    assert hashes[0] == hashes[2] != hashes[1]
