"""What all clients of a node may hold together: half requests, waiting requests, unread output; and how long a request may take
to arrive. Time and the log are the test's own."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from loggos.base.limits import CLIENT_OUTPUT_PAUSE_BYTES, CLIENTS_HELD_LOOK_MS
from loggos.coordination.budget import Budget, Holder
from loggos.coordination.service import CoordinationService, ServiceOptions
from loggos.coordination.zookeeper import codec
from loggos.coordination.zookeeper.codec import INT32, encode_buffer
from tests.coordination.fake_log import FakeCell, FakeClock
from tests.coordination.raw_client import RawClient, Reply, in_loop, settle

MIB = 1 << 20
SMALL = ServiceOptions(held_bytes_max=8 * MIB, held_pause_bytes=4 * MIB)
NEARLY_ALL = INT32.pack(MIB - 40) + INT32.pack(1) + INT32.pack(codec.OP_SET_DATA) + bytes(MIB - 60)
DEADLINE_S = SMALL.frame_deadline_ms / 1000


# --- the budget alone -----------------------------------------------------------------------------------------------------


class FakeHolder:
    """Holds what it is told."""

    def __init__(self, budget: Budget, held: int = 0) -> None:
        self.budget, self.held = budget, held
        self.is_held_back = False
        self.evicted = ""
        budget.count(self)

    def held_bytes(self) -> int:
        return self.held

    def hold_back(self, on: bool) -> None:
        self.is_held_back = on

    def evict(self, why: str) -> None:
        self.held, self.evicted = 0, why
        self.budget.count(self)  # as a connection does when it ends

    def hold(self, held: int) -> None:
        self.held = held
        self.budget.count(self)


def evicted(holders: Sequence[FakeHolder]) -> list[int]:
    return [number for number, holder in enumerate(holders) if holder.evicted]


def test_over_the_bound_the_heaviest_go_until_a_quarter_is_free() -> None:
    clock = FakeClock()
    budget = Budget(clock, 1_000, 500)
    holders = [FakeHolder(budget, size) for size in (100, 300, 250, 50, 200)]
    clock.now_s += 10
    assert budget.total_bytes == 900 and not evicted(holders)
    newcomer = FakeHolder(budget, 101)
    assert evicted([*holders, newcomer]) == [1]
    assert budget.total_bytes == 701 and budget.evictions == 1


def test_a_large_request_that_just_arrives_weighs_less_than_a_small_one_that_never_ends() -> None:
    clock = FakeClock()
    budget = Budget(clock, 1_000, 1_000)
    old = [FakeHolder(budget, 100) for _ in range(5)]
    clock.now_s += 20
    young = FakeHolder(budget, 501)
    assert not young.evicted and len(evicted(old)) == 3
    young.hold(0)
    clock.now_s += 100
    for holder in old[3:]:
        holder.hold(250)
    assert budget.total_bytes == 500
    young.hold(501)
    assert not young.evicted, "what it gave back long ago makes it no older"


def test_over_the_lower_bound_the_heaviest_are_held_back_and_go_on_when_others_gave_back() -> None:
    clock = FakeClock()
    budget = Budget(clock, 1_000, 500)
    holders = [FakeHolder(budget, size) for size in (300, 100, 100, 50)]
    budget.sweep(clock.now_s)
    assert [holder.is_held_back for holder in holders] == [True, False, False, False]
    assert budget.held_back == 1
    holders[0].held = 10  # taken by its client: nobody says so
    budget.sweep(clock.now_s)
    assert holders[0].is_held_back, "it is looked at now and then only"
    budget.sweep(clock.now_s + CLIENTS_HELD_LOOK_MS / 1000)
    assert not holders[0].is_held_back and budget.total_bytes == 260 and not evicted(holders)


def test_who_is_gone_holds_nothing_and_below_the_bounds_nobody_is_touched() -> None:
    budget = Budget(FakeClock(), 1_000, 500)
    holders = [FakeHolder(budget, 100) for _ in range(5)]
    budget.forget(holders[0])
    budget.forget(holders[0])
    budget.sweep(10_000.0)
    assert budget.total_bytes == 400 and not any(holder.is_held_back or holder.evicted for holder in holders)


# --- at the door ----------------------------------------------------------------------------------------------------------


async def connected(cell: FakeCell, count: int) -> list[RawClient]:
    return [await RawClient(cell).connect(timeout_ms=40_000) for _ in range(count)]


@in_loop
async def test_half_requests_of_many_clients_are_bounded_together_and_ordinary_clients_notice_nothing() -> None:
    cell = FakeCell(options=SMALL).start()
    service = cell.services[1]
    ordinary, large = await connected(cell, 2)
    large.xid = 7
    frame = large.create(b"/large", bytes(900_000))
    bad = await connected(cell, 60)
    for number, client in enumerate(bad):
        client.send(NEARLY_ALL)
        cell.advance(0.1)
        if number % 10 == 9:
            cell.advance(2.0)
            assert service.budget.total_bytes <= SMALL.held_bytes_max
            assert sum(len(one.connection._held) for one in bad) <= SMALL.held_bytes_max
            replies = await ordinary.do(ordinary.create(b"/n%d" % number), ordinary.exists(b"/n%d" % number), ordinary.ping())
            assert [reply.error for reply in replies if isinstance(reply, Reply)] == [0, 0, 0]
    for at in range(0, len(frame), 100_000):
        large.send(frame[at : at + 100_000])
    await settle()
    assert [reply.error for reply in large.received() if isinstance(reply, Reply)] == [0]
    assert sum(client.transport.aborted for client in bad) >= 60 - 8
    assert service.budget.evictions == sum(client.transport.aborted for client in bad)
    for client in bad:
        client.lose()
    assert service.budget.total_bytes == 0


@in_loop
async def test_who_holds_most_is_not_read_from_until_the_others_gave_back() -> None:
    cell = FakeCell(options=SMALL).start()
    bad = await connected(cell, 6)
    for client in bad:
        client.send(NEARLY_ALL)
    cell.advance(0.1)
    held_back = [client for client in bad if client.transport.paused]
    assert len(held_back) == 4 and not any(client.closed for client in bad)
    for client in bad:
        if client not in held_back:
            client.lose()
    held_back[0].lose()
    cell.advance(CLIENTS_HELD_LOOK_MS / 1000 + 0.1)
    assert not any(client.transport.paused for client in held_back[1:])


@in_loop
async def test_unread_output_of_many_clients_is_bounded_together_also_after_they_closed() -> None:
    cell = FakeCell(options=SMALL).start()
    (writer,) = await connected(cell, 1)
    await writer.do(writer.create(b"/big", bytes(500_000)))
    deaf = await connected(cell, 40)
    for number, client in enumerate(deaf):
        client.transport.stuffed = client.transport.holds_close = True
        client.send(client.get(b"/big"))
        if number % 2:
            client.send(client.end())
            await settle()
            assert client.closed
        cell.advance(0.1)
    assert all(client.transport.unread < CLIENT_OUTPUT_PAUSE_BYTES for client in deaf)
    left = sum(client.transport.unread for client in deaf)
    assert cell.services[1].budget.total_bytes == left <= SMALL.held_bytes_max
    assert sum(client.transport.aborted for client in deaf) >= 20
    assert [reply.error for reply in await writer.do(writer.get(b"/big")) if isinstance(reply, Reply)] == [0]
    for client in deaf:
        client.transport.drain()
    assert cell.services[1].budget.total_bytes == 0


@in_loop
async def test_requests_that_wait_are_bounded_together() -> None:
    """Behind a sync whose barrier is not met, and behind a log that takes nothing."""
    cell = FakeCell(options=SMALL).start()
    cell.logs[1].hold_barriers = True
    bad = await connected(cell, 20)
    for client in bad:
        client.send(client.sync() + client.request(codec.OP_EXISTS, encode_buffer(bytes(800_000)) + b"\0"))
        cell.advance(0.1)
    assert sum(client.transport.aborted for client in bad) >= 10
    assert cell.services[1].budget.total_bytes <= SMALL.held_bytes_max
    cell.logs[1].release_barriers()
    assert cell.services[1].budget.total_bytes == 0
    cell.logs[1].full = True
    bad = await connected_already(cell, bad)
    for client in bad:
        for _ in range(3):
            client.send(client.set(b"/none", bytes(900_000)))
        await settle()
    assert sum(client.transport.aborted for client in bad) >= 1
    assert cell.services[1].budget.total_bytes <= SMALL.held_bytes_max
    cell.logs[1].full = False
    cell.advance(0.1)
    await settle()
    assert cell.services[1].budget.total_bytes == 0


async def connected_already(cell: FakeCell, clients: list[RawClient]) -> list[RawClient]:
    """Those that live, with others in the place of those that do not."""
    cell.logs[1].full = False
    living = [client for client in clients if not client.closed]
    living += await connected(cell, len(clients) - len(living))
    cell.logs[1].full = True
    return living


class CountingBudget(Budget):
    calls = 0

    def count(self, holder: Holder) -> None:
        self.calls += 1
        super().count(holder)


class CountingService(CoordinationService):
    def make_budget(self) -> Budget:
        return CountingBudget(self.clock)


@in_loop
async def test_whole_requests_are_not_counted() -> None:
    cell = FakeCell(service=CountingService).start()
    budget = cell.services[1].budget
    assert isinstance(budget, CountingBudget)
    (client,) = await connected(cell, 1)
    for _ in range(10):
        await client.do(client.set(b"/", b"x"))
        await client.do(client.get(b"/"), client.ping())
        await client.do(*[client.set(b"/", b"x") for _ in range(50)])
    assert budget.calls == 0
    frame = client.get(b"/")
    await client.do(frame[:9])
    assert budget.calls == 1 and budget.total_bytes == 9
    await client.do(frame[9:])
    assert budget.calls == 2 and budget.total_bytes == 0


# --- how long a request may take -------------------------------------------------------------------------------------------


@in_loop
async def test_a_request_must_be_whole_some_time_after_its_first_byte_whatever_else_is_sent() -> None:
    cell = FakeCell().start()
    slow, dripping, ordinary = await connected(cell, 3)
    frame = slow.create(b"/slow", bytes(900_000))
    dripping.send(NEARLY_ALL[:100])
    sent = 0
    while sent < len(frame) - 1:  # one that ends just in time
        slow.send(frame[sent : sent + len(frame) // 39])
        sent += len(frame) // 39
        cell.advance(1.0, step_s=0.5)
        dripping.send(b"\0")
        assert [reply.error for reply in await ordinary.do(ordinary.ping()) if isinstance(reply, Reply)] == [0]
        if sent < len(frame):
            assert not dripping.closed and not slow.closed
    cell.advance(DEADLINE_S - 39, step_s=0.5)
    assert dripping.closed and dripping.connection.closed_why.startswith("a request that was begun did not end")
    await settle()
    assert [reply.error for reply in slow.received() if isinstance(reply, Reply)] == [0]
    cell.advance(2 * DEADLINE_S, step_s=0.5)
    assert not slow.closed and not ordinary.closed


@in_loop
async def test_the_deadline_is_no_shorter_than_the_longest_session_and_not_below_its_own() -> None:
    assert ServiceOptions(tick_ms=5_000).frame_deadline_ms == 100_000
    assert ServiceOptions(tick_ms=50).frame_deadline_ms == 30_000


@pytest.mark.parametrize("reason", ["log", "output"])
def test_a_client_that_we_do_not_read_from_is_given_its_time_again(reason: str) -> None:
    @in_loop
    async def run() -> None:
        cell = FakeCell().start()
        (client,) = await connected(cell, 1)
        log = cell.logs[1]
        if reason == "log":
            log.full = True
            client.send(client.set(b"/", b"x") + client.get(b"/")[:9])
        else:
            await client.do(client.set(b"/", bytes(900_000)))
            client.transport.stuffed = True
            client.send(client.get(b"/") * 2 + client.get(b"/")[:9])
        await settle()
        assert client.transport.paused
        cell.advance(3 * DEADLINE_S - 1, step_s=0.5)
        assert not client.closed
        log.full = False
        client.transport.drain()
        cell.advance(DEADLINE_S - 1, step_s=0.5)
        assert not client.transport.paused and not client.closed
        cell.advance(2, step_s=0.5)
        assert client.closed

    run()
