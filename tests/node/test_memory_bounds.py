"""A disk that is full, slow or hangs while others write: what a node holds in memory is bounded, and it follows again after."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from dataclasses import replace
from typing import Any, cast

from loggos.base.errors import OutOfSpaceError
from loggos.base.ids import Ballot, Incarnation, NodeId, Slot, make_ballot
from loggos.base.limits import DISK_RESERVE_BYTES
from loggos.consensus.engine import Paxos
from loggos.consensus.types import (
    Accept,
    Accepted,
    Entry,
    Fetch,
    HardState,
    Heartbeat,
    Kind,
    Learn,
    Member,
    Membership,
    Message,
    Outgoing,
    Ready,
    Restored,
)
from loggos.node.persister import Persister, Waiting
from loggos.node.replica import Replica
from loggos.storage.journal import Journal
from tests.node.kit import Cell, SimSite, in_simulation, until

LIFE = Incarnation(1)
MEMBERS = Membership({NodeId(node): Member(LIFE, Slot(0)) for node in (1, 2, 3)}, {})
BALLOT = make_ballot(1, NodeId(2))
STATE = HardState(BALLOT, Slot(0))


def entry(slot: int, size_bytes: int = 800) -> Entry:
    return Entry(Slot(slot), BALLOT, BALLOT, Kind.DATA, bytes(size_bytes))


# --- the persister alone -------------------------------------------------------------------------------------------------


class HeldJournal:
    """Writes end when the test says so."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.gate: asyncio.Future[None] | None = None

    def persist(self, hard_state: HardState | None, entries: Sequence[Entry], *, sync: bool) -> Awaitable[None]:
        self.batches.append([entry.slot for entry in entries])
        self.gate = asyncio.get_running_loop().create_future()
        return self.gate

    async def done(self) -> None:
        assert self.gate is not None
        self.gate.set_result(None)
        for _ in range(4):
            await asyncio.sleep(0)


class Clock:
    now = 0.0

    def monotonic(self) -> float:
        return self.now

    def wall_ms(self) -> int:
        return 0


class Owner:
    def __init__(self) -> None:
        self.released: list[int] = []
        self.said: list[Outgoing] = []
        self.pressed: list[bool] = []
        self.done: list[int] = []  # how many were released each time it was told

    def ready_durable(self, ready: Waiting) -> None:
        self.released.append(ready.number)
        self.said += ready.messages_after

    def durable_done(self) -> None:
        self.done.append(len(self.released))

    def disk_full(self, error: OutOfSpaceError) -> None: ...

    def disk_pressed(self, on: bool) -> None:
        self.pressed.append(on)

    def fatal(self, error: BaseException) -> None:
        raise error


class Bench:
    """A persister between a held journal and an owner that writes down what it hears."""

    def __init__(self, batch_bytes_max: int, pending_bytes_max: int) -> None:
        self.journal, self.owner, self.clock = HeldJournal(), Owner(), Clock()
        self.persister = Persister(
            cast(Journal, self.journal),
            self.owner,
            self.clock,
            batch_bytes_max=batch_bytes_max,
            pending_bytes_max=pending_bytes_max,
        )
        self.number = 0
        self.task = asyncio.ensure_future(self.persister.run())

    def add(self, *entries: Entry, say: Message | None = None, committed: tuple[Entry, ...] = ()) -> bool:
        self.number += 1
        after = (Outgoing(NodeId(2), say),) if say is not None else ()
        hard_state = STATE if entries else None
        ready = Ready(self.number, hard_state, entries, bool(entries), messages_after=after, committed=committed)
        self.persister.add(ready)
        return self.persister.pump()


def test_pump_says_whether_something_was_released_and_leaves_telling_to_its_caller() -> None:
    async def main() -> None:
        bench = Bench(batch_bytes_max=3_000, pending_bytes_max=1 << 20)
        assert not bench.persister.pump(), "there is nothing"
        assert bench.add(say=Fetch(Slot(1))) and bench.owner.released == [1]
        assert not bench.add(entry(1)), "it is written now"
        assert not bench.add(say=Fetch(Slot(2))), "it waits behind the write"
        assert bench.owner.released == [1] and bench.owner.done == []
        await bench.journal.done()
        assert bench.owner.released == [1, 2, 3] and bench.persister.idle
        bench.task.cancel()

    asyncio.run(main())


def test_the_owner_is_told_behind_whatever_was_released() -> None:
    """A Ready with nothing to write goes behind a batch of its own: what it says is released after the batch, and told of."""

    async def main() -> None:
        bench = Bench(batch_bytes_max=3_000, pending_bytes_max=1 << 20)
        bench.add(entry(1), say=Fetch(Slot(1)))
        bench.add(say=Fetch(Slot(2)))
        bench.add(say=Fetch(Slot(3)))
        await bench.journal.done()
        assert bench.owner.released == [1, 2, 3]
        assert bench.owner.done == [1, 3], "each time before anything else may happen"
        bench.add(entry(2))
        bench.add(say=Fetch(Slot(4)))
        bench.add(entry(3))  # one batch with what goes before it
        await bench.journal.done()
        assert bench.owner.released == [1, 2, 3, 4] and bench.owner.done == [1, 3, 4]
        await bench.journal.done()
        assert bench.owner.released == [1, 2, 3, 4, 5, 6] and bench.owner.done == [1, 3, 4, 6]
        bench.task.cancel()

    asyncio.run(main())


def test_batches_are_of_bounded_size_and_in_order() -> None:
    async def main() -> None:
        bench = Bench(batch_bytes_max=3_000, pending_bytes_max=1 << 20)
        for slot in range(1, 9):
            bench.add(entry(slot))  # 1,000 bytes each
        bench.add(entry(9, 5_000))
        for _ in range(5):
            await bench.journal.done()
        assert bench.journal.batches == [[1], [2, 3, 4], [5, 6, 7], [8], [9]]
        assert bench.owner.released == list(range(1, 10)) and bench.persister.pending_bytes == 0 and bench.persister.idle
        bench.task.cancel()

    asyncio.run(main())


def test_the_owner_is_told_when_too_much_waits_and_when_half_is_written() -> None:
    async def main() -> None:
        bench = Bench(batch_bytes_max=2_000, pending_bytes_max=6_000)
        for slot in range(1, 7):
            bench.add(entry(slot))
        assert bench.owner.pressed == []
        bench.add(entry(7))
        assert bench.owner.pressed == [True] and bench.persister.pending_bytes == 7_000
        await bench.journal.done()
        await bench.journal.done()
        assert bench.owner.pressed == [True] and bench.persister.pending_bytes == 4_000
        await bench.journal.done()
        assert bench.owner.pressed == [True, False] and bench.persister.pending_bytes == 2_000
        bench.task.cancel()

    asyncio.run(main())


def test_readys_without_anything_to_write_do_not_pile_up_behind_a_disk_that_does_not_answer() -> None:
    async def main() -> None:
        bench = Bench(batch_bytes_max=1 << 20, pending_bytes_max=1 << 20)
        bench.add(entry(1))
        for number in range(3):
            bench.add(say=Accepted(BALLOT, Slot(1), Slot(1), Slot(number)))
        assert len(bench.persister._pending) == 3, "an ordinary write is on its way"
        bench.clock.now = 10.0
        for number in range(100):
            bench.add(say=Accepted(BALLOT, Slot(1), Slot(1), Slot(number)), committed=(entry(1), entry(2)))
        bench.add(entry(2), say=Accepted(BALLOT, Slot(2), Slot(2), Slot(1)))
        for number in range(100):
            bench.add(say=Accepted(BALLOT, Slot(2), Slot(2), Slot(number)))
        assert len(bench.persister._pending) == 5
        await bench.journal.done()
        await bench.journal.done()
        assert bench.owner.released[-1] == bench.number and bench.owner.released == sorted(bench.owner.released)
        told = [outgoing.message for outgoing in bench.owner.said]
        assert told[-1] == Accepted(BALLOT, Slot(2), Slot(2), Slot(99)) and len(told) == 5
        bench.task.cancel()

    asyncio.run(main())


# --- the engine under pressure -------------------------------------------------------------------------------------------


def follower() -> Paxos:
    engine = Paxos(NodeId(1), Restored(HardState(Ballot(0), Slot(0)), Slot(0), MEMBERS), now_ms=0, random=lambda bound: 0)
    settle(engine)
    return engine


def settle(engine: Paxos) -> tuple[list[int], list[Message]]:
    """Slots it wants written, and what it says."""
    slots: list[int] = []
    said: list[Message] = []
    while (ready := engine.ready()) is not None:
        slots += [entry.slot for entry in ready.entries]
        engine.persisted(ready.number)
        if ready.committed:
            engine.applied(ready.committed[-1].slot)
        said += [message for _, message in (*ready.messages, *ready.messages_after)]
    return slots, said


def test_under_pressure_nothing_new_is_accepted_and_nothing_false_is_said() -> None:
    engine = follower()
    engine.step(NodeId(2), LIFE, Accept(BALLOT, (entry(1), entry(2)), Slot(0)))
    assert settle(engine)[0] == [1, 2]
    engine.pressure(True)
    engine.step(NodeId(2), LIFE, Accept(BALLOT, (entry(2), entry(3)), Slot(0)))
    slots, said = settle(engine)
    assert slots == [] and [message for message in said if isinstance(message, Accepted)] == [
        Accepted(BALLOT, Slot(2), Slot(2), Slot(0))
    ]
    engine.step(NodeId(2), LIFE, Accept(BALLOT, (entry(3),), Slot(2)))
    assert settle(engine) == ([], []) and engine.log.chosen == 2, "what it holds is chosen and applied"
    engine.step(NodeId(2), LIFE, Heartbeat(BALLOT, Slot(5), 0))
    engine.step(NodeId(2), LIFE, Learn((entry(3), entry(4)), Slot(5)))
    slots, said = settle(engine)
    assert slots == [] and not [message for message in said if isinstance(message, Fetch)] and engine.log.chosen == 2
    engine.pressure(False)
    engine.step(NodeId(2), LIFE, Heartbeat(BALLOT, Slot(5), 0))
    assert Fetch(Slot(3)) in settle(engine)[1]
    engine.step(NodeId(2), LIFE, Learn((entry(3), entry(4)), Slot(4)))
    assert settle(engine)[0] == [3, 4] and engine.log.chosen == 4


# --- whole nodes ---------------------------------------------------------------------------------------------------------


class SmallReplica(Replica):
    def make_persister(self, journal: Journal) -> Persister:
        return Persister(journal, self, self.world.clock, pending_bytes_max=100_000)


def held_bytes(replica: Any) -> int:
    """Entries that wait for the disk."""
    persister = replica.persister
    return sum([len(entry.payload) for ready in [*persister._pending, *persister._in_flight] for entry in ready.entries])


def test_a_follower_with_a_full_disk_holds_a_bounded_part_of_what_others_write_and_follows_again() -> None:
    async def scenario(cell: Cell) -> None:
        cell.parts = replace(cell.parts, replica=SmallReplica)
        site = cell.site
        assert isinstance(site, SimSite)
        cell.start()
        leader = await cell.until_led()
        full = next(node for node in cell.nodes.values() if node is not leader)
        site.hosts[full.number].platter.faults.quota_bytes = 0
        largest = 0
        for number in range(400):
            await cell.propose(leader.number, b"%d=1" % (number % 50) + b"." * 5_000)
            await asyncio.sleep(0.05)
            largest = max(largest, held_bytes(full.replica))
            assert len(full.replica.persister._pending) < 300
        assert 90_000 < largest < 130_000, largest
        assert leader.replica.index >= 400 and full.runs and full.logged("waits for the disk")
        site.hosts[full.number].platter.faults.calm()
        await cell.until_equal()
        await until(lambda: full.logged("takes entries again"))

    in_simulation(scenario)


# --- the reserve -----------------------------------------------------------------------------------------------------------


def leave(cell: Cell, number: int, free_bytes: int) -> None:
    """So much room on one node's disk."""
    assert isinstance(cell.site, SimSite)
    platter = cell.site.hosts[number].platter
    platter.faults.quota_bytes -= platter.free_bytes() - free_bytes


def calm(cell: Cell) -> None:
    assert isinstance(cell.site, SimSite)
    for host in cell.site.hosts.values():
        host.platter.faults.calm()


def test_a_leader_below_the_reserve_makes_way_for_one_with_room() -> None:
    async def scenario(cell: Cell) -> None:
        cell.start()
        leader = await cell.until_led()
        leave(cell, leader.number, DISK_RESERVE_BYTES - 1)
        await until(lambda: cell.leader is not None and cell.leader is not leader)
        assert leader.logged("disk nearly full: no writes here") and leader.replica.metrics.counters["disk_low"] == 1
        for node in cell.nodes.values():
            await cell.propose(node.number, b"%d=1" % node.number)
        await until(lambda: len(leader.ledger.totals) == 3)
        calm(cell)
        await until(lambda: leader.logged("disk has room again"))

    in_simulation(scenario)


def test_without_room_anywhere_nothing_is_written_until_there_is_and_snapshots_are_made() -> None:
    async def scenario(cell: Cell) -> None:
        cell.start()
        leader = await cell.until_led()
        for _ in range(20):
            await cell.propose(leader.number, b"a=1" + b"." * 500)
            await asyncio.sleep(0.02)
        assert not leader.logged("snapshot")
        for number in cell.nodes:
            leave(cell, number, DISK_RESERVE_BYTES - 1)
        await until(lambda: all(node.replica.space.is_low for node in cell.nodes.values()))
        await until(lambda: all(node.logged("snapshot") for node in cell.nodes.values()))
        await asyncio.sleep(5)
        await cell.until_led()
        before = [node.replica.index for node in cell.nodes.values()]
        for node in cell.nodes.values():
            await cell.propose(node.number, b"late=1")
        await asyncio.sleep(2)
        assert [node.replica.index for node in cell.nodes.values()] == before, "no writes below the reserve"
        calm(cell)
        await until(lambda: all(not node.replica.space.is_low for node in cell.nodes.values()))
        await cell.propose((await cell.until_led()).number, b"again=1")
        await until(lambda: all(node.ledger.totals.get("again") == 1 for node in cell.nodes.values()))

    in_simulation(scenario)


def test_the_only_voter_keeps_its_lead_below_the_reserve() -> None:
    async def scenario(cell: Cell) -> None:
        cell.start()
        leader = await cell.until_led()
        leave(cell, 1, DISK_RESERVE_BYTES - 1)
        await until(lambda: leader.replica.space.is_low)
        ballot = leader.replica.status.ballot
        await cell.propose(1, b"a=1")
        await asyncio.sleep(25)
        assert leader.replica.status.ballot == ballot and not leader.ledger.totals
        calm(cell)
        await until(lambda: leader.ledger.totals == {"a": 1})

    in_simulation(scenario, voters=1)
