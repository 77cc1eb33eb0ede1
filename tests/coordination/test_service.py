"""Sessions' lives: leases in buckets, touches relayed to the leader, expiry by the leader alone (rule 13)."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from loggos.base.ids import SessionId
from loggos.base.limits import HEARTBEAT_MS, SESSION_BUCKET_MS
from loggos.coordination.liveness import Leases, Liveness
from tests.coordination.fake_log import FakeCell
from tests.coordination.raw_client import RawClient, in_loop, settle

# --- leases -------------------------------------------------------------------------


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 3_000), st.integers(1, 2_000)), max_size=60))
def test_a_lease_never_ends_early_and_always_within_two_buckets(script: list[tuple[int, int, int]]) -> None:
    leases = Leases()
    ends: dict[int, int] = {}
    now = 0
    for session, wait_ms, timeout_ms in script:
        before, now = now, now + wait_ms
        for ended in leases.due(now, 100):
            assert ends[ended] <= now, "early"
            del ends[ended]
        for left, end in ends.items():
            assert end + 2 * SESSION_BUCKET_MS > now, (left, end, before, now, "late")
        leases.grant(SessionId(session), timeout_ms, now)
        ends[session] = now + timeout_ms
        assert len(leases) == len(ends)


def test_due_is_bounded_and_the_rest_stays_due() -> None:
    leases = Leases()
    for session in range(10):
        leases.grant(SessionId(session), 100, 0)
    assert leases.due(10_000, 4) == [0, 1, 2, 3]
    leases.drop(SessionId(5))
    assert leases.due(10_000, 100) == [4, 6, 7, 8, 9]
    assert leases.due(10_000, 100) == []


def test_renewing_is_independent_of_how_many_sessions_there_are() -> None:
    """A tick looks at due buckets only: 20,000 sessions and none due is a handful of buckets."""
    leases = Leases()
    for session in range(20_000):
        leases.grant(SessionId(session), 10_000 + session % 1_000, 0)
    assert len(leases._buckets) <= 12
    assert leases.due(9_000, 100) == []


# --- expiry -------------------------------------------------------------------------


@in_loop
async def test_a_silent_session_expires_after_its_timeout_and_its_connection_is_closed() -> None:
    cell = FakeCell(2).start()
    client = await RawClient(cell, 2).connect(timeout_ms=5_000)
    await client.do(client.create(b"/e", flags=1))
    cell.advance(4.9)
    await settle()
    assert client.session in cell.logs[1].machine.sessions
    cell.advance(0.4)
    await settle()
    assert not cell.logs[1].machine.sessions and not cell.logs[2].machine.sessions
    assert b"/e" not in cell.logs[2].machine.tree.nodes and client.closed


@in_loop
async def test_any_byte_to_any_node_keeps_a_session() -> None:
    cell = FakeCell(3).start()
    clients = [await RawClient(cell, node).connect(timeout_ms=4_000) for node in (1, 2, 3)]
    half = clients[2].get(b"/")
    for number in range(10):
        clients[0].send(clients[0].ping())
        clients[1].send(clients[1].get(b"/"))
        clients[2].send(half[number : number + 1])
        cell.advance(2)
        await settle()
    assert len(cell.logs[1].machine.sessions) == 3 and not any(client.closed for client in clients)


@in_loop
async def test_a_follower_expires_nobody() -> None:
    cell = FakeCell(2).start()
    await RawClient(cell, 2).connect(timeout_ms=4_000)
    cell.leader = 0  # type: ignore[assignment]
    for service in cell.services.values():
        service.liveness.leader_changed(False)
    cell.advance(60, step_s=0.4)
    assert len(cell.entries) == 1


@in_loop
async def test_a_new_leader_gives_everyone_a_full_lease() -> None:
    cell = FakeCell(2).start()
    client = await RawClient(cell, 1).connect(timeout_ms=4_000)
    cell.advance(3.5)
    cell.lead(2)
    client.lose()
    cell.advance(3.5)
    await settle()
    assert client.session in cell.logs[1].machine.sessions, "seven seconds of silence, but two leaders"
    cell.advance(1)
    await settle()
    assert not cell.logs[1].machine.sessions


@in_loop
async def test_a_node_that_leads_again_does_not_use_old_leases() -> None:
    cell = FakeCell(2).start()
    client = await RawClient(cell, 1).connect(timeout_ms=4_000)
    cell.lead(2)
    for _ in range(5):
        client.send(client.ping())
        cell.advance(2)
        await settle()
    cell.lead(1)
    cell.advance(3)
    await settle()
    assert client.session in cell.logs[1].machine.sessions


@in_loop
async def test_touches_without_a_leader_are_kept_for_the_next_one() -> None:
    cell = FakeCell(2).start()
    client = await RawClient(cell, 2).connect(timeout_ms=4_000)
    cell.advance(0.1)
    cell.lead(0)
    client.send(client.ping())
    cell.advance(0.5)
    noted: list[bytes] = []
    heard = cell.services[1].liveness.heard
    cell.services[1].liveness.heard = lambda sender, note: (noted.append(note), heard(sender, note))[1]  # type: ignore[method-assign]
    cell.lead(1)
    cell.advance(0.1)
    assert noted == [client.session.to_bytes(8, "big")]


@in_loop
async def test_a_leader_that_stood_still_does_not_hold_it_against_its_sessions() -> None:
    cell = FakeCell().start()
    client = await RawClient(cell).connect(timeout_ms=4_000)
    cell.advance(0.1)
    cell.clock.now_s += 3600
    cell.advance(1)
    await settle()
    assert client.session in cell.logs[1].machine.sessions and cell.services[1].liveness.stalls == 1
    cell.advance(4)
    await settle()
    assert not cell.logs[1].machine.sessions


@in_loop
async def test_a_session_that_acted_after_the_expiry_was_proposed_lives() -> None:
    cell = FakeCell(auto=False).start()
    client = RawClient(cell)
    client.send(client.hello(timeout_ms=4_000))
    cell.logs[1].step()
    session = client.greeting().session
    client.send(client.create(b"/a"))
    await settle()
    cell.advance(4.5)  # the write is in the log before the EXPIRE, but was not applied when it was proposed
    assert len(cell.entries) == 3
    cell.logs[1].step()
    assert session in cell.logs[1].machine.sessions and not client.closed


@in_loop
async def test_a_command_applied_before_the_expiry_is_proposed_is_a_sign_of_life() -> None:
    """Found by simulation: a write was applied, its touch had not been relayed yet, and the lease had just run out."""
    cell = FakeCell().start()
    client = await RawClient(cell).connect(timeout_ms=4_000)
    deaf = Liveness(cell.logs[1], cell.logs[1].machine)  # a leader that no touch has reached
    deaf.leader_changed(True)
    cell.advance(3.9)
    await client.do(client.create(b"/a"))
    cell.advance(0.4)
    deaf.tick(0)
    assert deaf.expiries_proposed == 0
    cell.clock.now_s += 4.5
    deaf.tick(0)
    assert deaf.expiries_proposed == 1


@in_loop
async def test_an_expiry_that_the_log_would_not_take_is_tried_again() -> None:
    cell = FakeCell().start()
    await RawClient(cell).connect(timeout_ms=4_000)
    cell.logs[1].full = True
    cell.advance(5)
    cell.logs[1].full = False
    cell.advance(2.5)
    await settle()
    assert not cell.logs[1].machine.sessions


@in_loop
async def test_many_sessions_expire_in_bounded_commands() -> None:
    cell = FakeCell().start()
    for _ in range(200):
        await RawClient(cell).connect(timeout_ms=4_000)
    before = len(cell.entries)
    cell.advance(6)
    await settle()
    commands = cell.entries[before:]
    assert not cell.logs[1].machine.sessions and len(commands) >= 4
    assert all(len(command) <= 5 + 64 * 16 for _, command, _ in commands)


@in_loop
async def test_touches_cost_one_note_per_heartbeat() -> None:
    cell = FakeCell(2).start()
    clients = [await RawClient(cell, 2).connect() for _ in range(20)]
    cell.advance(HEARTBEAT_MS / 1000)
    notes: list[bytes] = []
    cell.services[1].liveness.heard = lambda sender, note: notes.append(note)  # type: ignore[method-assign]
    for _ in range(5):
        for client in clients:
            client.send(client.ping())
    cell.advance(HEARTBEAT_MS / 1000)
    assert [len(note) for note in notes] == [20 * 8]


# --- counters -------------------------------------------------------------------------


@in_loop
async def test_counters_count() -> None:
    cell = FakeCell().start()
    client = await RawClient(cell).connect()
    client.send(client.create(b"/a") + client.exists(b"/a", watch=True) + client.ping())
    cell.clock.now_s += 0.01
    await settle()
    await client.do(client.set(b"/a"), client.sync())
    metrics = cell.services[1].metrics()
    expected = {"writes": 2, "reads": 1, "pings": 1, "syncs": 1, "events_sent": 1, "sessions_created": 1, "clients": 1}
    assert {name: metrics[name] for name in expected} == expected
    assert metrics["packets_received"] == 6 and metrics["packets_sent"] == 7
    assert metrics["latency_max_s"] >= 0.0099 and metrics["latency_count"] == 5
    assert metrics["bytes_sent"] == len(client.transport.written)


@in_loop
async def test_stopping_disconnects_everyone() -> None:
    cell = FakeCell().start()
    client = await RawClient(cell).connect()
    cell.stop()
    await settle()
    assert client.closed and not cell.doors[1].connections and not cell.services[1].clients
