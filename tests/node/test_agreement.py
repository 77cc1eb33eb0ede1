"""Nodes that hold different states find it out, under load and at rest, and the minority stops (rule 18)."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loggos.base.ids import Index, NodeId, SessionId, Slot, Stamps
from loggos.base.limits import DIGEST_AGAIN_MS, SCRUB_EVERY_MS, SCRUB_IDLE_MS, SCRUB_ITEM_MS
from loggos.base.steps import Digesting
from loggos.coordination.commands import MACHINE_ID, encode_attach, encode_requests
from loggos.coordination.machine import CoordinationMachine, Plain
from loggos.node.agreement import is_due
from loggos.node.digests import DIGEST_EVERY
from loggos.node.levels import NEWEST_LEVEL
from loggos.node.registry import Registry
from tests.coordination.kit import create, frame, set_data
from tests.node.kit import LEDGER, Cell, CellNode, Ledger, in_simulation, until

UNDER_LOAD_S = 2 * SCRUB_EVERY_MS / 1000
AT_REST_S = (SCRUB_IDLE_MS + 3 * DIGEST_AGAIN_MS) / 1000


# --- when ----------------------------------------------------------------------------------------------------------------------

times = st.lists(st.integers(0, 1 << 20), min_size=2, max_size=50).map(sorted)


@given(times, st.integers(0, 200_000))
def test_scrubs_follow_from_the_clock_and_the_size_and_take_a_bounded_share(clock: list[int], items: int) -> None:
    due = [now for before, now in pairwise(clock) if is_due(before, now, items)]
    longest = max(SCRUB_EVERY_MS, 2 * items * SCRUB_ITEM_MS)
    assert len(due) <= 1 + (clock[-1] - clock[0]) / max(SCRUB_EVERY_MS, items * SCRUB_ITEM_MS)
    assert clock[-1] - clock[0] < longest or due, "none in a time that is longer than the longest between two"


@given(times, st.integers(0, 200_000), st.integers(0, 200_000))
def test_nodes_that_count_differently_meet_where_the_slower_one_scrubs(clock: list[int], items: int, others: int) -> None:
    for before, now in pairwise(clock):
        assert is_due(before, now, min(items, others)) or not is_due(before, now, max(items, others))


# --- nodes of the real machine -----------------------------------------------------------------------------------------------


class Corrupt(CoordinationMachine):
    """Stores the same garbage on every plain setData; its versions and answers are as they should be."""

    def apply_plain(self, batch: bytes, at: int, end: int, index: Index, stamps: Stamps) -> Plain | None:
        plain = super().apply_plain(batch, at, end, index, stamps)
        if plain is not None:
            plain[-1].data = b"CORRUPT"
        return plain


class Writer:
    """A session without a client: its writes are proposed at one node."""

    def __init__(self, cell: Cell, number: int) -> None:
        self.cell, self.number, self.sequence = cell, number, 0
        self.session = SessionId(0)

    @property
    def machine(self) -> CoordinationMachine:
        machine: CoordinationMachine = self.cell.nodes[self.number].machines[0]
        return machine

    async def begin(self) -> None:
        attach = encode_attach(SessionId(0), NodeId(self.number), 1, 10_000, bytes(16), "10.0.0.1")
        await self.cell.propose(self.number, attach, machine=MACHINE_ID)
        await until(lambda: self.machine.sessions)
        self.session = next(iter(self.machine.sessions))
        await self.do(create(b"/a", b"first"))

    async def do(self, request: tuple[int, bytes]) -> None:
        self.sequence += 1
        command = encode_requests(self.session, 1, self.sequence, [frame(self.sequence, request)])
        await self.cell.propose(self.number, command, machine=MACHINE_ID)
        await until(lambda: self.machine.sessions[self.session].sequence == self.sequence)

    async def write(self, times: int, pause_s: float = 0.0, until: Callable[[], Any] = lambda: False) -> None:
        for number in range(times):
            if until():
                return
            await self.do(set_data(b"/a", b"value%d" % number))
            await asyncio.sleep(pause_s)


async def formed(cell: Cell, corrupt: int) -> Writer:
    """A cell of coordination machines, one of them corrupt, and a writer at a sound follower or leader."""
    cell.machines = lambda number: [Corrupt() if number == corrupt else CoordinationMachine()]
    cell.start()
    await cell.until_led()
    writer = Writer(cell, next(number for number in cell.nodes if number != corrupt))
    await writer.begin()
    return writer


def sound(cell: Cell, but: int) -> list[CellNode]:
    return [node for node in cell.nodes.values() if node.number != but]


async def found(cell: Cell, corrupt: int, within_s: float) -> None:
    """The corrupt node stops in time, and no other does."""
    node = cell.nodes[corrupt]
    await until(lambda: node.fatal, within_s)
    assert "differs from the majority's by its full digest" in str(node.fatal[0])
    assert all(other.runs and not other.fatal and not other.replica.writes_stopped for other in sound(cell, corrupt))


@pytest.mark.parametrize("corrupt", [1, 2, 3])
def test_a_node_that_stores_something_else_stops_under_load(corrupt: int) -> None:
    async def scenario(cell: Cell) -> None:
        writer = await formed(cell, corrupt)
        loop = asyncio.get_running_loop()
        began = loop.time()
        await writer.write(10_000, 0.05, until=lambda: cell.nodes[corrupt].fatal)
        await found(cell, corrupt, 0.1)
        assert loop.time() - began < UNDER_LOAD_S
        assert cell.nodes[corrupt].machines[0].tree.nodes[b"/a"].data == b"CORRUPT"
        await cell.until_led()
        await writer.do(set_data(b"/a", b"it goes on"))

    in_simulation(scenario)


@pytest.mark.parametrize("corrupt", [1, 2, 3])
def test_a_node_that_stores_something_else_stops_at_rest(corrupt: int) -> None:
    """The case of the audit: 400 writes, then nothing."""

    async def scenario(cell: Cell) -> None:
        writer = await formed(cell, corrupt)
        await writer.write(400)
        await found(cell, corrupt, AT_REST_S)

    in_simulation(scenario)


def test_a_node_that_comes_back_to_a_cell_at_rest_is_compared() -> None:
    """The others agreed long before; they tell it again."""

    async def scenario(cell: Cell) -> None:
        writer = await formed(cell, corrupt=3)
        await cell.stop(3)
        await writer.write(10)
        others = [cell.nodes[1], cell.nodes[2]]
        await until(lambda: all(node.replica.agreement.full.newest is not None for node in others), AT_REST_S)
        slot = others[0].replica.registry.slot
        await until(lambda: all(node.replica.agreement.full.agreed_slot == slot for node in others), 1)
        cell.start(3)
        await found(cell, 3, AT_REST_S + 5)

    in_simulation(scenario)


def test_without_a_majority_for_a_full_digest_writes_stop() -> None:
    class Stores(Ledger):
        """Its own number, in secret."""

        number = 0

        def digesting(self) -> Digesting:
            digest = yield from super().digesting()
            return None if digest is None else digest + self.number

    async def scenario(cell: Cell) -> None:
        def machines(number: int) -> list[Any]:
            machine = Stores()
            machine.number = number
            return [machine]

        cell.machines = machines
        cell.start()
        await cell.until_led()
        await cell.propose(1, b"a=1")
        await until(lambda: all(node.replica.writes_stopped for node in cell.nodes.values()), AT_REST_S)
        assert all("by its full digest" in node.logged("writes stop")[0]["why"] for node in cell.nodes.values())
        assert all(node.runs for node in cell.nodes.values())

    in_simulation(scenario)


def test_sound_nodes_agree_on_full_digests_under_load_and_at_rest_and_scrub_each_slot_once() -> None:
    async def scenario(cell: Cell) -> None:
        writer = await formed(cell, corrupt=0)
        await writer.write(int(UNDER_LOAD_S / 0.05), 0.05)
        nodes = list(cell.nodes.values())
        under_load = [node.replica.agreement.full.agreed_slot for node in nodes]
        assert all(under_load)
        await until(lambda: all(node.replica.agreement.full.agreed_slot > under_load[0] for node in nodes), AT_REST_S)
        assert len({node.replica.agreement.full.newest for node in nodes}) == 1
        scrubs = [node.member.metrics.counters["scrubs"] for node in nodes]  # type: ignore[union-attr]
        await asyncio.sleep(AT_REST_S)
        assert [node.member.metrics.counters["scrubs"] for node in nodes] == scrubs  # type: ignore[union-attr]
        assert [node.replica.registry.full_digest() for node in nodes] == [nodes[0].replica.agreement.full.newest[1]] * 3  # type: ignore[index]

    in_simulation(scenario)


# --- rolling digests of a cell at rest -----------------------------------------------------------------------------------------


class OtherResult(Ledger):
    def change_of(self, amount: int) -> int:
        return -1 if amount == 5 else amount


def test_a_rolling_digest_is_told_again_to_a_node_that_was_away() -> None:
    """It comes to the slot of the last comparison only after the others have told theirs, and nothing is written any more."""

    async def scenario(cell: Cell) -> None:
        cell.machines = lambda number: [OtherResult() if number == 3 else Ledger()]
        cell.start(1, 2, 3)
        await cell.until_led()
        await cell.stop(3)
        await cell.until_led()
        await cell.propose(1, b"a=5")
        while cell.nodes[1].replica.registry.slot < DIGEST_EVERY:
            before = cell.nodes[1].replica.registry.slot
            await cell.propose(1, b"b=1")
            await until(lambda b=before: cell.nodes[1].replica.registry.slot > b)
        await asyncio.sleep(DIGEST_AGAIN_MS / 1000)
        cell.start(3)
        await until(lambda: cell.nodes[3].fatal, 5 * DIGEST_AGAIN_MS / 1000)
        assert "by its rolling digest" in str(cell.nodes[3].fatal[0])

    in_simulation(scenario)


# --- beside snapshots --------------------------------------------------------------------------------------------------------


class Stepped(Ledger):
    """A ledger over which one walk goes at a time, as over large machines, in as many steps as it has items."""

    walked = False
    begun = 0

    def snapshot(self) -> Any:
        self.walked, self.begun = True, self.begun + 1
        for item in list(self.totals.items()):
            yield json.dumps([item]).encode()
        self.walked = False

    def digesting(self) -> Digesting:
        if self.walked:
            return None
        begun, items, digest = self.begun, dict(self.totals), self.digest()
        yield
        for _ in items:
            yield
            if self.begun != begun:
                return None
        return digest


async def stepped(cell: Cell) -> CellNode:
    cell.machines = lambda number: [Stepped()]
    cell.start()
    leader = await cell.until_led()
    await cell.propose(leader.number, *[b"%d=1" % number for number in range(20)])
    await until(lambda: all(len(node.ledger.totals) == 20 for node in cell.nodes.values()))
    return leader


def test_a_scrub_is_not_begun_while_a_snapshot_is_made_and_does_not_end_it() -> None:
    async def scenario(cell: Cell) -> None:
        node = await stepped(cell)
        registry: Registry = node.replica.registry
        chunks = registry.snapshot()
        taken = [next(chunks), next(chunks)]
        walks = registry.walks
        await cell.site.on(node.number, node.replica.agreement.scrub)
        await asyncio.sleep(1)
        counters = node.member.metrics.counters  # type: ignore[union-attr]
        assert registry.walks == walks and node.replica.agreement.full.newest is None
        assert (counters.get("scrubs"), counters["scrubs_given_up"]) == (None, 1)
        assert len([*taken, *chunks]) == 21
        await cell.site.on(node.number, node.replica.agreement.scrub)
        await until(lambda: node.replica.agreement.full.newest is not None, 1)

    in_simulation(scenario)


def test_a_scrub_gives_way_to_a_snapshot_and_is_made_up_for_at_rest() -> None:
    async def scenario(cell: Cell) -> None:
        node = await stepped(cell)
        await cell.site.on(node.number, node.replica.agreement.scrub)
        await asyncio.sleep(0.05)
        chunks = list(node.replica.registry.snapshot())
        await asyncio.sleep(1)
        assert len(chunks) == 21 and node.replica.agreement.full.newest is None
        assert node.member.metrics.counters["scrubs_given_up"] == 1  # type: ignore[union-attr]
        await until(lambda: node.replica.agreement.full.agreed_slot == node.replica.registry.slot, AT_REST_S)

    in_simulation(scenario)


def test_a_scrub_that_somebody_asked_for_gives_way_to_one_that_all_nodes_make() -> None:
    """Whoever asks again and again must not keep this node from being compared."""

    async def scenario(cell: Cell) -> None:
        node = await stepped(cell)
        agreement, registry = node.replica.agreement, node.replica.registry
        await cell.site.on(node.number, agreement.scrub)
        asked_at = registry.slot
        await cell.propose(node.number, b"more=1")
        await until(lambda: registry.slot > asked_at, 1)
        await cell.site.on(node.number, lambda: agreement.applied(registry.slot, -1_000_000))
        due_at = registry.slot
        await until(lambda: agreement.full.newest is not None, 2)
        assert agreement.full.newest == (due_at, registry.full_digest())

    in_simulation(scenario)


def test_a_scrub_of_a_state_that_is_replaced_is_given_up() -> None:
    async def scenario(cell: Cell) -> None:
        node = await stepped(cell)
        registry = node.replica.registry
        chunks = list(registry.snapshot())
        await cell.site.on(node.number, node.replica.agreement.scrub)
        await asyncio.sleep(0.05)
        await cell.site.on(node.number, lambda: registry.restore(chunks))
        await asyncio.sleep(1)
        assert node.replica.agreement.full.newest is None
        await cell.site.on(node.number, node.replica.agreement.scrub)
        await until(lambda: node.replica.agreement.full.newest == (registry.slot, registry.full_digest()), 1)

    in_simulation(scenario)


def test_a_machine_that_gives_way_gives_all_of_them_up() -> None:
    class Other(Stepped):
        ID = LEDGER + 2

    walked, other = Stepped(), Other()
    registry = Registry([other, walked], lambda origin, epoch: False)
    steps = registry.digesting()
    assert next(steps, "ended") is None
    registry.machine_snapshot(LEDGER)
    assert list(steps) == [], "it ended"
    walked.walked = True
    assert next(registry.digesting(), "ended") == "ended"
    walked.walked = False
    for machine in (walked, other):
        machine.totals = {"a": 1, "b": 2}
    last: Any = None
    steps = registry.digesting()
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            last = stop.value
            break
    assert last == registry.full_digest()
    registry.slot = Slot(9)
    assert registry.full_digest() != last
    registry.slot, registry.stamps = Slot(0), Stamps(0, 1, NEWEST_LEVEL)
    assert registry.full_digest() != last
