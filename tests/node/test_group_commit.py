"""When a leader proposes the next slot: what waits behind one in flight gathers, unless it is much or the last left long ago; and
once that one is chosen, its writers are awaited for a moment."""

from __future__ import annotations

import asyncio

from loggos.base.limits import EARLY_SLOT_BYTES, EARLY_SLOT_MS, GATHER_MS
from tests.node.kit import Cell, CellNode, SimSite, in_simulation, until


def hang_all_disks(cell: Cell) -> None:
    assert isinstance(cell.site, SimSite)
    for host in cell.site.hosts.values():
        host.platter.hang()


def heal_all_disks(cell: Cell) -> None:
    assert isinstance(cell.site, SimSite)
    for host in cell.site.hosts.values():
        host.platter.unhang()


async def with_one_in_flight(cell: Cell) -> CellNode:
    """A leader with one slot proposed that cannot be chosen, for no disk answers."""
    cell.start()
    leader = await cell.until_led()
    await cell.until_equal()
    hang_all_disks(cell)
    await cell.propose(leader.number, b"a=1")
    await asyncio.sleep(0)
    assert leader.replica.engine.in_flight() == 1
    return leader


def test_what_waits_behind_a_slot_in_flight_leaves_together() -> None:
    async def scenario(cell: Cell) -> None:
        leader = await with_one_in_flight(cell)
        slot = leader.replica.registry.slot
        for command in (b"b=1", b"b=2", b"b=3"):
            await cell.propose(leader.number, command)
        assert leader.replica.engine.in_flight() == 1 and len(leader.replica.outbox.queue) == 3
        heal_all_disks(cell)
        await until(lambda: leader.ledger.totals.get("b") == 6)
        await cell.until_equal()
        assert leader.replica.registry.slot == slot + 2

    in_simulation(scenario)


def test_a_large_batch_does_not_wait() -> None:
    async def scenario(cell: Cell) -> None:
        leader = await with_one_in_flight(cell)
        count = EARLY_SLOT_BYTES // 4 + 1
        await cell.propose(leader.number, b";".join([b"c=1"] * count))
        assert leader.replica.engine.in_flight() == 2 and not leader.replica.outbox.queue
        heal_all_disks(cell)
        await until(lambda: leader.ledger.totals.get("c") == count)

    in_simulation(scenario)


def test_slots_that_take_long_are_pipelined() -> None:
    async def scenario(cell: Cell) -> None:
        leader = await with_one_in_flight(cell)
        for number in range(3):
            await asyncio.sleep(2 * EARLY_SLOT_MS / 1000)
            await cell.propose(leader.number, b"d=%d" % (number + 1))
            assert leader.replica.engine.in_flight() == 2 + number
        heal_all_disks(cell)
        await until(lambda: leader.ledger.totals.get("d") == 6)

    in_simulation(scenario)


async def behind_a_slot_of_four(cell: Cell) -> CellNode:
    """A leader whose slot of four runs was chosen at this very moment."""
    cell.start()
    leader = await cell.until_led()
    await cell.until_equal()
    await asyncio.sleep(1)
    await cell.propose(leader.number, b"a=1", b"a=1", b"a=1", b"a=1")
    while leader.ledger.totals.get("a") != 4:  # noqa: ASYNC110 - finer than `until`
        await asyncio.sleep(GATHER_MS / 100_000)
    return leader


def test_when_a_slot_is_chosen_its_writers_are_awaited_but_not_for_long() -> None:
    async def scenario(cell: Cell) -> None:
        leader = await behind_a_slot_of_four(cell)
        await cell.propose(leader.number, b"b=1", b"b=1")
        await asyncio.sleep(GATHER_MS / 4_000)
        assert leader.replica.outbox.queue_runs == 2 and not leader.replica.engine.in_flight()
        await cell.propose(leader.number, b"b=1")
        await asyncio.sleep(0)
        assert leader.replica.engine.in_flight() == 1 and not leader.replica.outbox.queue, "most of them are there"
        await until(lambda: leader.ledger.totals.get("b") == 3)

    in_simulation(scenario)


def test_who_does_not_come_back_is_not_awaited_for_long() -> None:
    async def scenario(cell: Cell) -> None:
        leader = await behind_a_slot_of_four(cell)
        began = asyncio.get_running_loop().time()
        await cell.propose(leader.number, b"b=1")
        assert leader.replica.outbox.queue_runs == 1 and not leader.replica.engine.in_flight()
        while not leader.replica.engine.in_flight():  # noqa: ASYNC110 - finer than `until`
            await asyncio.sleep(GATHER_MS / 100_000)
        assert asyncio.get_running_loop().time() - began < 1.5 * GATHER_MS / 1000
        await until(lambda: leader.ledger.totals.get("b") == 1)

    in_simulation(scenario)


def test_a_lone_writer_does_not_wait() -> None:
    async def scenario(cell: Cell) -> None:
        cell.start()
        leader = await cell.until_led()
        await cell.until_equal()
        for number in range(5):
            await cell.propose(leader.number, b"a=1")
            await asyncio.sleep(0)
            assert leader.replica.engine.in_flight() == 1
            while leader.ledger.totals.get("a") != number + 1:  # noqa: ASYNC110 - finer than `until`
                await asyncio.sleep(GATHER_MS / 100_000)

    in_simulation(scenario)


def test_after_waits_in_vain_fewer_slots_wait() -> None:
    """Writers that never come back within the time: of the slots that follow, ever more leave at once."""

    async def scenario(cell: Cell) -> None:
        leader = await behind_a_slot_of_four(cell)
        waits = []
        for number in range(12):
            await cell.propose(leader.number, b"b=1")
            waits.append(not leader.replica.engine.in_flight())
            await until(lambda number=number: leader.ledger.totals.get("b") == 5 * number + 1)  # type: ignore[misc]
            await cell.propose(leader.number, b"b=1", b"b=1", b"b=1", b"b=1")
            while leader.ledger.totals.get("b") != 5 * number + 5:  # noqa: ASYNC110 - finer than `until`
                await asyncio.sleep(GATHER_MS / 100_000)
        assert waits[0] and 2 <= sum(waits) <= 4, waits

    in_simulation(scenario)
