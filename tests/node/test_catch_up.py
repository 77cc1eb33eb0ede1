"""A node that needs a snapshot while writes go on: one is enough; and neither end of a transfer waits for ever for the other."""

from __future__ import annotations

import asyncio

from loggos.base.ids import Incarnation, NodeId, Slot
from loggos.base.limits import SNAPSHOT_TRANSFER_STALL_MS, SNAPSHOT_YIELD_MS
from loggos.node.tail import ENTRY_OVERHEAD_BYTES, LogTail
from loggos.node.transfer import SnapshotMeta
from loggos.node.wire import CHUNK, SLOT, SNAPSHOT_REFUSED, Type, frame
from tests.node.kit import Cell, CellNode, Ledger, SimSite, in_simulation, until

VALUE = b"." * 500
ENTRY = 1_000 - ENTRY_OVERHEAD_BYTES  # of payload, so that an entry counts for 1,000 bytes


def tail_of(slots: int, bytes_max: int = 4_000, pinned_bytes_max: int = 9_000) -> LogTail:
    tail = LogTail(bytes_max, pinned_bytes_max)
    for slot in range(1, slots + 1):
        tail.applied(Slot(slot), ENTRY)
    return tail


def test_the_newest_bytes_are_kept() -> None:
    assert tail_of(4).compactable() == 0
    tail = tail_of(7)
    assert (tail.compactable(), tail.compactable()) == (3, 0)
    tail.reset()
    tail.applied(Slot(100), ENTRY)
    assert tail.compactable() == 0


def test_each_node_has_its_pin_and_the_lowest_counts() -> None:
    tail = tail_of(7)
    tail.pin(NodeId(2), Slot(2))
    tail.pin(NodeId(3), Slot(1))
    assert tail.compactable() == 1
    tail.unpin(NodeId(3))
    assert tail.compactable() == 2
    tail.pin(NodeId(2), Slot(6))
    assert tail.compactable() == 3
    tail.unpin(NodeId(2))
    tail.unpin(NodeId(2))
    assert tail.compactable() == 0


def test_a_pin_does_not_hold_more_than_its_bound() -> None:
    tail = tail_of(12)
    tail.pin(NodeId(2), Slot(0))
    assert tail.compactable() == 3


def test_near_is_what_stays_for_a_while_without_a_pin() -> None:
    tail = tail_of(7)
    assert [tail.is_near(Slot(slot)) for slot in range(4, 9)] == [False, True, True, True, True]
    tail.compactable()
    assert [tail.is_near(Slot(slot)) for slot in (0, 1, 3, 5)] == [False, False, False, True]
    one = tail_of(1)
    assert one.is_near(Slot(0)) and tail_of(0).is_near(Slot(0))


class FineLedger(Ledger):
    """A snapshot of many slices: others write meanwhile."""

    slice_items = 1


async def load(cell: Cell, number: int, stop: list[bool], pause_s: float, keys: int = 2_000) -> None:
    key = 0
    while not stop:
        await cell.propose(number, *[b"%d=1" % ((key + step) % keys) + VALUE for step in range(5)])
        key += 5
        await asyncio.sleep(pause_s)


def test_one_snapshot_is_enough_under_load_on_a_slow_way() -> None:
    async def scenario(cell: Cell) -> None:
        cell.machines = lambda number: [FineLedger()]
        site = cell.site
        assert isinstance(site, SimSite)
        cell.start()
        leader = await cell.until_led()
        away = next(number for number in cell.nodes if number != leader.number)
        await cell.stop(away)
        stop: list[bool] = []
        writing = asyncio.ensure_future(load(cell, leader.number, stop, 0.02))
        await until(lambda: len(leader.ledger.totals) == 2_000)
        for number in cell.nodes:
            if number != away:
                site.world.network.link_between(f"n{number}", f"n{away}").bytes_per_s = 400_000
        cell.start(away)
        receiver = cell.nodes[away]
        await until(lambda: receiver.runs and receiver.logged("snapshot installed"))
        for _ in range(20):
            await asyncio.sleep(0.5)
            assert len(receiver.logged("snapshot installed")) == 1, "the log after the snapshot was gone"
        lag = leader.replica.registry.slot - receiver.replica.registry.slot
        assert lag < 20, lag
        assert leader.replica.tail.pinned is None, "it has caught up"
        stop.append(True)
        await writing
        await cell.until_equal()

    in_simulation(scenario)


def test_the_log_is_let_go_when_a_receiver_stands_still() -> None:
    async def scenario(cell: Cell) -> None:
        cell.start()
        leader = await cell.until_led()
        away = next(number for number in cell.nodes if number != leader.number)
        tail = leader.replica.tail
        await cell.stop(away)
        stop: list[bool] = []
        writing = asyncio.ensure_future(load(cell, leader.number, stop, 0.02))
        await until(lambda: len(leader.ledger.totals) == 2_000)
        cell.start(away)
        receiver = cell.nodes[away]
        await until(lambda: receiver.runs and receiver.logged("snapshot installed"))
        await cell.stop(away)
        await asyncio.sleep(25)
        assert tail.pinned is None, "kept for ever"
        stop.append(True)
        await writing

    in_simulation(scenario)


def begin(slot: int) -> bytes:
    return SLOT.pack(slot) + SnapshotMeta(slot, 1, 1, "AQMAAQAAAAAAAAABAAAAAAAAAAE=").encode()


async def fed(cell: Cell, node: CellNode, sender: int, kind: Type, body: bytes) -> None:
    await cell.site.on(node.number, lambda: node.replica.peer_frame(NodeId(sender), Incarnation(1), kind, body))


def test_a_transfer_without_chunks_is_given_up_and_gives_way_to_the_leaders() -> None:
    async def scenario(cell: Cell) -> None:
        cell.start()
        leader = await cell.until_led()
        receiver, other = [node for node in cell.nodes.values() if node is not leader]
        keeper = receiver.replica.keeper
        await fed(cell, receiver, other.number, Type.SNAPSHOT_BEGIN, begin(900))
        await asyncio.sleep(SNAPSHOT_YIELD_MS / 2000)
        await fed(cell, receiver, leader.number, Type.SNAPSHOT_BEGIN, begin(901))
        assert keeper._receiving is not None and keeper._receiving.sender == other.number, "it is under way"
        await fed(cell, receiver, other.number, Type.SNAPSHOT_CHUNK, CHUNK.pack(900, 0) + b"x")
        await asyncio.sleep(SNAPSHOT_YIELD_MS * 0.9 / 1000)
        await fed(cell, receiver, leader.number, Type.SNAPSHOT_BEGIN, begin(901))
        assert keeper._receiving.sender == other.number, "a chunk came a moment ago"
        await asyncio.sleep(SNAPSHOT_YIELD_MS * 0.2 / 1000)
        await fed(cell, receiver, leader.number, Type.SNAPSHOT_BEGIN, begin(901))
        assert keeper._receiving is not None and keeper._receiving.sender == leader.number
        await asyncio.sleep(SNAPSHOT_YIELD_MS * 2 / 1000)
        await fed(cell, receiver, other.number, Type.SNAPSHOT_BEGIN, begin(902))
        assert keeper._receiving.sender == leader.number, "only the leader's takes another's place"
        await asyncio.sleep((SNAPSHOT_TRANSFER_STALL_MS - 2 * SNAPSHOT_YIELD_MS) / 1000 + 0.1)
        assert keeper._receiving is None and receiver.logged("snapshot not received")
        await fed(cell, receiver, other.number, Type.SNAPSHOT_BEGIN, begin(903))
        assert keeper._receiving is not None and keeper._receiving.sender == other.number
        assert not receiver.fatal

    in_simulation(scenario)


def test_a_snapshot_of_what_is_known_already_and_a_second_sender_are_refused_at_once() -> None:
    async def scenario(cell: Cell) -> None:
        cell.start()
        leader = await cell.until_led()
        receiver, other = [node for node in cell.nodes.values() if node is not leader]
        told: list[tuple[int, ...]] = []
        other.replica._handlers[Type.SNAPSHOT_ACK] = lambda node, life, body: told.append(CHUNK.unpack(body))
        await fed(cell, receiver, other.number, Type.SNAPSHOT_BEGIN, begin(1))
        assert receiver.replica.keeper._receiving is None
        await fed(cell, receiver, leader.number, Type.SNAPSHOT_BEGIN, begin(900))
        await fed(cell, receiver, other.number, Type.SNAPSHOT_BEGIN, begin(901))
        await until(lambda: len(told) == 2)
        assert told == [(1, SNAPSHOT_REFUSED), (901, SNAPSHOT_REFUSED)]

    in_simulation(scenario)


def test_a_peer_that_takes_nothing_is_not_waited_for_for_ever() -> None:
    async def scenario(cell: Cell) -> None:
        cell.start()
        leader = await cell.until_led()
        deaf = next(node for node in cell.nodes.values() if node is not leader)
        site = cell.site
        assert isinstance(site, SimSite)
        link = leader.replica.mesh.links[NodeId(deaf.number)]

        async def fill() -> float:
            loop = asyncio.get_running_loop()
            for _ in range(40):
                leader.replica.mesh.post(link.node, frame(Type.NOTE, b"\xff", bytes(100_000)))
                link.flush()
            began = loop.time()
            assert not await link.drained()
            return loop.time() - began

        site.hosts[deaf.number].pause()
        took_s = await cell.site.on(leader.number, fill)
        site.hosts[deaf.number].resume()
        assert SNAPSHOT_TRANSFER_STALL_MS / 1000 <= took_s < SNAPSHOT_TRANSFER_STALL_MS / 1000 + 1
        await cell.until_equal()
        assert await cell.site.on(leader.number, link.drained)

    in_simulation(scenario)
