"""The door, byte by byte: connecting, the order of replies, back-pressure, bad input. Time and the log are the test's own."""

from __future__ import annotations

import asyncio
import struct

from hypothesis import given
from hypothesis import strategies as st

from loggos.base.ids import NodeId
from loggos.base.limits import LEADERLESS_REFUSE_MS
from loggos.coordination.acl import SUPER
from loggos.coordination.service import ServiceOptions
from loggos.coordination.zookeeper import codec, requests
from loggos.coordination.zookeeper.codec import INT32, Acl, Reader, encode_acl, encode_buffer
from tests.coordination.fake_log import FakeCell, FakeLog
from tests.coordination.raw_client import Event, RawClient, Reply, in_loop, settle

# --- connecting -------------------------------------------------------------------------


@in_loop
async def test_a_new_session_gets_id_password_and_a_clamped_timeout() -> None:
    cell = FakeCell().start()
    client = RawClient(cell)
    client.send(client.hello(timeout_ms=1))
    assert client.take() == b"", "the reply waits for the log"
    await settle()
    greeting = client.greeting()
    assert greeting.session > 0 and greeting.password != bytes(16) and greeting.timeout_ms == 4_000
    assert greeting.read_only == b"\0"
    assert (await RawClient(cell).connect(timeout_ms=10**9)).connection.timeout_ms == 40_000


@in_loop
async def test_an_old_client_gets_no_read_only_byte() -> None:
    cell = FakeCell().start()
    client = RawClient(cell)
    client.send(client.hello(read_only=None))
    await settle()
    assert client.greeting().read_only == b""


@in_loop
async def test_a_connect_request_may_come_in_single_bytes_with_requests_behind_it() -> None:
    cell = FakeCell().start()
    client = RawClient(cell)
    stream = client.hello() + client.create(b"/a") + client.get(b"/a")
    for byte in stream:
        client.send(bytes([byte]))
    await settle()
    frames = client.frames()
    assert len(frames) == 3
    assert struct.unpack_from(">iqi", frames[2]) == (2, 2, 0)


@in_loop
async def test_reconnecting_resumes_the_session_with_its_ephemerals() -> None:
    cell = FakeCell(2).start()
    client = await RawClient(cell, 1).connect()
    await client.do(client.create(b"/e", flags=1))
    client.lose()
    again = RawClient(cell, 2)
    again.session, again.password = client.session, client.password
    await again.connect(last_zxid=2)
    assert again.session == client.session and again.connection.generation == 2
    (reply,) = await again.do(again.exists(b"/e"))
    assert isinstance(reply, Reply) and reply.error == 0


@in_loop
async def test_a_wrong_password_and_an_unknown_session_are_told_so_and_closed() -> None:
    cell = FakeCell().start()
    client = await RawClient(cell).connect()
    for session, password in ((client.session, b"wrong-password!!"), (12345, client.password), (-5, client.password)):
        other = RawClient(cell)
        other.session, other.password = session, password
        other.send(other.hello())
        await settle()
        assert other.greeting() == (0, 0, bytes(16), b"\0") and other.closed
    assert not client.closed, "the rightful client is unharmed"


@in_loop
async def test_a_client_ahead_of_this_node_is_closed_without_a_word() -> None:
    cell = FakeCell().start()
    client = RawClient(cell)
    client.send(client.hello(last_zxid=99))
    await settle()
    assert client.closed and client.take() == b"" and not cell.entries


@in_loop
async def test_a_later_attach_elsewhere_closes_the_older_connection() -> None:
    cell = FakeCell(2).start()
    old = await RawClient(cell, 1).connect()
    new = RawClient(cell, 2)
    new.session, new.password = old.session, old.password
    await new.connect()
    assert old.closed and not new.closed
    assert "newer" in old.connection.closed_why


@in_loop
async def test_a_write_of_the_older_connection_after_the_move_is_refused() -> None:
    cell = FakeCell(2, auto=False).start()
    old = RawClient(cell, 1)
    old.send(old.hello())
    for log in cell.logs.values():
        log.step()
    greeting = old.greeting()
    new = RawClient(cell, 2)
    new.session, new.password = greeting.session, greeting.password
    new.send(new.hello())
    old.send(old.create(b"/late"))  # node 1 has not applied the new attach yet
    await settle()
    cell.logs[1].step()
    await settle()
    assert old.closed and old.frames() == []
    assert b"/late" not in cell.logs[1].machine.tree.nodes


@in_loop
async def test_leaving_before_the_attach_is_applied_harms_nothing() -> None:
    cell = FakeCell(auto=False).start()
    client = RawClient(cell)
    client.send(client.hello())
    client.lose()
    cell.logs[1].step()
    assert not cell.services[1].clients and len(cell.logs[1].machine.sessions) == 1


# --- the order of replies -------------------------------------------------------------------------


@in_loop
async def test_writes_of_one_loop_turn_are_one_command_and_verbatim() -> None:
    cell = FakeCell().start()
    client = await RawClient(cell).connect()
    stream = b"".join([client.create(b"/%d" % n) for n in range(10)])
    client.send(stream[:100])
    client.send(stream[100:])
    await settle()
    assert len(cell.entries) == 2 and cell.entries[1][1].endswith(stream)
    assert [reply.xid for reply in client.received()] == list(range(1, 11))
    assert client.transport.writes == 2, "the greeting, and all replies at once"


@in_loop
async def test_a_read_between_two_writes_sees_the_first_and_not_the_second() -> None:
    cell = FakeCell().start()
    client = await RawClient(cell).connect()
    await client.do(client.create(b"/a", b"0"))
    replies = await client.do(client.set(b"/a", b"1"), client.get(b"/a"), client.set(b"/a", b"2"), client.get(b"/a"))
    assert [reply.xid for reply in replies] == [2, 3, 4, 5]
    bodies = [reply.body for reply in replies if isinstance(reply, Reply)]
    assert (Reader(bodies[1]).buffer(), Reader(bodies[3]).buffer()) == (b"1", b"2")


@in_loop
async def test_a_read_waits_for_its_own_session_only() -> None:
    cell = FakeCell(auto=False).start()
    one, two = RawClient(cell), RawClient(cell)
    for client in (one, two):
        client.send(client.hello())
        cell.logs[1].step()
        client.frames()
    one.send(one.create(b"/a") + one.exists(b"/a") + one.ping())
    two.send(two.exists(b"/a") + two.ping())
    await settle()
    assert one.received() == []
    answers = two.received()
    assert [(r.xid, r.error) for r in answers if isinstance(r, Reply)] == [(1, codec.NO_NODE), (codec.XID_PING, 0)]
    cell.logs[1].step()
    assert [(r.xid, r.error) for r in one.received() if isinstance(r, Reply)] == [(1, 0), (2, 0), (codec.XID_PING, 0)]


@in_loop
async def test_the_zxid_of_a_reply_is_what_this_node_has_applied() -> None:
    cell = FakeCell().start()
    client = await RawClient(cell).connect()
    replies = await client.do(client.create(b"/a"), client.create(b"/b"), client.ping())
    assert [reply.zxid for reply in replies] == [2, 3, 3]


@in_loop
async def test_sync_waits_for_the_barrier_and_later_requests_wait_for_it() -> None:
    cell = FakeCell().start()
    cell.logs[1].hold_barriers = True
    client = await RawClient(cell).connect()
    assert (
        await client.do(client.sync(b"/x"), client.exists(b"/a"), client.sync(b"/y"), client.create(b"/a"), client.ping()) == []
    )
    assert len(cell.entries) == 1, "a write behind a sync waits: a read between them must not see it"
    assert len(cell.logs[1].barriers) == 2, "syncs behind one another share a round"
    cell.logs[1].release_barriers()
    await settle()
    replies = [reply for reply in client.received() if isinstance(reply, Reply)]
    assert [(r.xid, r.error) for r in replies] == [(1, 0), (2, codec.NO_NODE), (3, 0), (4, 0), (codec.XID_PING, 0)]
    assert Reader(replies[0].body).buffer() == b"/x"


@in_loop
async def test_a_sync_that_cannot_be_met_is_answered_so_that_clients_retry() -> None:
    cell = FakeCell().start()
    cell.logs[1].hold_barriers = True
    client = await RawClient(cell).connect()
    await client.do(client.sync(), client.ping())
    cell.logs[1].release_barriers(ok=False)
    assert [r.error for r in client.received() if isinstance(r, Reply)] == [codec.OPERATION_TIMEOUT, 0]


@in_loop
async def test_closing_the_session_is_answered_then_closed_and_nothing_after_it_is_taken() -> None:
    cell = FakeCell().start()
    client = await RawClient(cell).connect()
    await client.do(client.create(b"/e", flags=1))
    replies = await client.do(client.end(), client.create(b"/after"))
    assert [reply.xid for reply in replies] == [2] and client.closed
    nodes = cell.logs[1].machine.tree.nodes
    assert b"/e" not in nodes and b"/after" not in nodes


@in_loop
async def test_what_a_vanishing_client_asked_last_is_still_proposed() -> None:
    cell = FakeCell().start()
    client = await RawClient(cell).connect()
    client.send(client.end())
    client.lose()
    await settle()
    assert not cell.logs[1].machine.sessions


actions = st.lists(st.sampled_from(["set", "get", "sync", "ping", "step", "turn", "barrier"]), max_size=40)


class Timing:
    """One client whose requests arrive in pieces, are applied and met at any time. `expected`: (xid, what a get must see)."""

    def __init__(self, client: RawClient, log: FakeLog) -> None:
        self.client, self.log = client, log
        self.expected: list[tuple[int, bytes | None]] = []
        self.value, self.stream = b"0", b""

    def request(self, action: str, number: int) -> None:
        client, seen = self.client, None
        if action == "set":
            self.value = b"%d" % number
            self.stream += client.set(b"/v", self.value)
        elif action == "get":
            self.stream += client.get(b"/v")
            seen = self.value
        elif action == "sync":
            self.stream += client.sync(b"/v")
        else:
            self.stream += client.ping()
        self.expected.append((codec.XID_PING if action == "ping" else client.xid, seen))

    async def happen(self, action: str, size: int) -> None:
        self.client.send(self.stream[:size])
        self.stream = self.stream[size:]
        if action == "step":
            self.log.step(1)
        elif action == "turn":
            await settle()
        else:
            self.log.release_barriers()

    async def finish(self) -> None:
        self.client.send(self.stream)
        while self.client.connection.outstanding or self.log.barriers or self.log.applied < len(self.log.cell.entries):
            await settle()
            self.log.step(1)
            self.log.release_barriers()
        await settle()


@given(actions, st.lists(st.integers(1, 60), min_size=1, max_size=10))
def test_a_session_sees_its_own_order_whatever_the_timing(script: list[str], cuts: list[int]) -> None:
    """Replies come in order, and each get sees the sets before it and none after it."""

    async def run() -> None:
        cell = FakeCell(auto=False).start()
        log = cell.logs[NodeId(1)]
        client = RawClient(cell)
        client.send(client.hello())
        log.step()
        client.send(client.create(b"/v", b"0"))
        await settle()
        log.step()
        client.frames()
        log.hold_barriers = True
        timing = Timing(client, log)
        for number, action in enumerate(script):
            if action in ("step", "turn", "barrier"):
                await timing.happen(action, cuts[number % len(cuts)])
            else:
                timing.request(action, number)
        await timing.finish()
        replies = [reply for reply in client.received() if isinstance(reply, Reply)]
        assert [reply.xid for reply in replies] == [xid for xid, _ in timing.expected]
        for reply, (_, seen) in zip(replies, timing.expected, strict=True):
            assert reply.error == 0 and (seen is None or Reader(reply.body).buffer() == seen)

    asyncio.run(run())


# --- the log in trouble -------------------------------------------------------------------------


@in_loop
async def test_an_interruption_closes_exactly_those_whose_outcome_is_unknown() -> None:
    cell = FakeCell(auto=False).start()
    clients = [RawClient(cell) for _ in range(3)]
    for client in clients:
        client.send(client.hello())
    cell.logs[1].step()
    writing, idle, attaching = clients[0], clients[1], RawClient(cell)
    writing.send(writing.create(b"/a"))
    await settle()
    attaching.send(attaching.hello())
    clients[2].send(clients[2].create(b"/not-proposed-yet") + clients[2].ping())  # not alone: gathered until the turn's end
    entries = len(cell.entries)
    cell.logs[1].interrupt()
    assert writing.closed and attaching.closed and not idle.closed and not clients[2].closed
    await settle()
    assert len(cell.entries) == entries + 1, "nothing was sent again; what had not been sent is"
    cell.logs[1].step()
    assert b"/a" in cell.logs[1].machine.tree.nodes, "unknown meant applied, this time"


@in_loop
async def test_a_full_log_stops_reading_and_later_goes_on_in_order() -> None:
    cell = FakeCell().start()
    client = await RawClient(cell).connect()
    cell.logs[1].full = True
    client.send(client.create(b"/a") + client.exists(b"/a") + client.create(b"/b"))
    await settle()
    assert client.transport.paused and len(cell.entries) == 1
    cell.logs[1].full = False
    cell.advance(0.1)
    await settle()
    assert [(r.xid, r.error) for r in client.received() if isinstance(r, Reply)] == [(1, 0), (2, 0), (3, 0)]
    assert not client.transport.paused


@in_loop
async def test_connecting_to_a_full_log_is_refused() -> None:
    cell = FakeCell().start()
    cell.logs[1].full = True
    client = RawClient(cell)
    client.send(client.hello())
    assert client.closed


@in_loop
async def test_without_a_leader_for_long_clients_are_sent_away_and_new_ones_refused() -> None:
    cell = FakeCell().start()
    client = await RawClient(cell).connect()
    cell.lead(0)
    cell.advance(1.5)
    assert not client.closed, "an election disturbs nobody"
    cell.advance(1.0)
    assert client.closed
    await settle()
    other = RawClient(cell)
    other.send(other.hello())
    assert other.closed and other.take() == b""
    cell.lead(1)
    await RawClient(cell).connect()


@in_loop
async def test_without_a_leader_new_clients_are_sent_on_sooner_than_old_ones() -> None:
    cell = FakeCell().start()
    old = await RawClient(cell).connect()
    cell.lead(0)
    cell.logs[1].held = True
    waiting = RawClient(cell)
    waiting.send(waiting.hello())
    assert not waiting.closed, "an election may be over in a moment"
    cell.advance((LEADERLESS_REFUSE_MS + 100) / 1000)
    late = RawClient(cell)
    late.send(late.hello())
    assert waiting.closed and late.closed and late.take() == b"" and not old.closed
    cell.logs[1].held = False
    cell.lead(1)
    await RawClient(cell).connect()


@in_loop
async def test_a_connect_request_that_met_no_leader_is_not_proposed_after_its_client_left() -> None:
    cell = FakeCell(2).start()
    client = await RawClient(cell, 1).connect()
    client.lose()
    cell.lead(0)
    again, other = RawClient(cell, 1), RawClient(cell, 2)
    for each in (again, other):
        each.session, each.password = client.session, client.password
    again.send(again.hello())
    await settle()
    assert not again.closed and len(cell.entries) == 1
    again.lose()
    cell.lead(2)
    await other.connect()
    session = cell.logs[1].machine.sessions[client.session]
    assert (session.node, session.generation) == (2, 2) and not other.closed


@in_loop
async def test_what_met_no_leader_goes_to_the_next_one_whatever_was_sent_to_the_last() -> None:
    cell = FakeCell().start()
    waiting, unlucky = await RawClient(cell).connect(), await RawClient(cell).connect()
    cell.logs[1].held = True
    unlucky.send(unlucky.create(b"/sent"))
    await settle()
    cell.lead(0)
    waiting.send(waiting.create(b"/kept"))
    late = RawClient(cell)
    late.send(late.hello())
    await settle()
    cell.logs[1].interrupt()
    assert unlucky.closed and not waiting.closed and not late.closed
    cell.logs[1].held = False
    cell.lead(1)
    await settle()
    (reply,) = waiting.received()
    assert isinstance(reply, Reply) and reply.error == 0
    assert b"/kept" in cell.logs[1].machine.tree.nodes and late.greeting().session


@in_loop
async def test_a_cell_of_one_node_has_nowhere_to_send_new_clients_to() -> None:
    cell = FakeCell(options=ServiceOptions(standalone=True)).start()
    cell.lead(0)
    cell.logs[1].held = True
    cell.advance((LEADERLESS_REFUSE_MS + 100) / 1000)
    waiting = RawClient(cell)
    waiting.send(waiting.hello())
    assert not waiting.closed


@in_loop
async def test_a_snapshot_installed_under_us_disconnects_all() -> None:
    cell = FakeCell().start()
    client = await RawClient(cell).connect()
    cell.services[1].restored()
    assert client.closed


# --- authentication -------------------------------------------------------------------------


def secret_acl(user: bytes) -> bytes:
    return encode_acl([Acl(31, b"digest", requests.digest_id(user))])


@in_loop
async def test_a_digest_opens_a_node_and_the_log_holds_no_password() -> None:
    cell = FakeCell().start()
    client = await RawClient(cell).connect()
    create = client.request(codec.OP_CREATE, encode_buffer(b"/s") + encode_buffer(b"x") + secret_acl(b"u:p") + INT32.pack(0))
    replies = await client.do(create, client.get(b"/s"), client.auth(b"digest", b"u:p"), client.get(b"/s"))
    assert [(r.xid, r.error) for r in replies if isinstance(r, Reply)] == [(1, 0), (2, codec.NO_AUTH), (-4, 0), (3, 0)]
    assert all(b"u:p" not in command for _, command, _ in cell.entries)


@in_loop
async def test_the_hash_of_an_acl_is_hidden_from_who_may_not_change_it() -> None:
    cell = FakeCell().start()
    client = await RawClient(cell).connect()
    acl = encode_acl([Acl(31, b"digest", b"u:hash"), Acl(1, b"world", b"anyone")])
    await client.do(client.request(codec.OP_CREATE, encode_buffer(b"/s") + encode_buffer(b"") + acl + INT32.pack(0)))
    (reply,) = await client.do(client.request(codec.OP_GET_ACL, encode_buffer(b"/s")))
    assert isinstance(reply, Reply) and Reader(reply.body).acl()[0].id == b"u:x"


@in_loop
async def test_the_super_digest_may_everything_and_is_answered_once() -> None:
    options = ServiceOptions(super_digest=requests.digest_id(b"super:admin"))
    cell = FakeCell(options=options).start()
    client = await RawClient(cell).connect()
    await client.do(
        client.request(codec.OP_CREATE, encode_buffer(b"/s") + encode_buffer(b"") + secret_acl(b"u:p") + INT32.pack(0))
    )
    replies = await client.do(client.auth(b"digest", b"super:admin"), client.get(b"/s"), client.set(b"/s"))
    assert [(r.xid, r.error) for r in replies if isinstance(r, Reply)] == [(-4, 0), (2, 0), (3, 0)]
    assert (SUPER, b"") in cell.logs[1].machine.sessions[client.session].identities


@in_loop
async def test_an_unknown_scheme_fails_in_its_turn_and_closes() -> None:
    cell = FakeCell().start()
    client = await RawClient(cell).connect()
    replies = await client.do(client.create(b"/a"), client.auth(b"kerberos", b"x"), client.create(b"/b"))
    assert [(r.xid, r.error) for r in replies if isinstance(r, Reply)] == [(1, 0), (-4, codec.AUTH_FAILED)]
    assert client.closed and b"/b" not in cell.logs[1].machine.tree.nodes


@in_loop
async def test_the_next_attach_clears_what_was_proved() -> None:
    cell = FakeCell().start()
    client = await RawClient(cell).connect()
    await client.do(client.auth(b"digest", b"u:p"))
    (before,) = await client.do(client.request(codec.OP_WHO_AM_I))
    assert isinstance(before, Reply) and b"digest" in before.body and b"u" in before.body
    client.lose()
    again = RawClient(cell)
    again.session, again.password = client.session, client.password
    await again.connect()
    (after,) = await again.do(again.request(codec.OP_WHO_AM_I))
    assert isinstance(after, Reply) and b"digest" not in after.body


# --- other reads -------------------------------------------------------------------------


@in_loop
async def test_multi_read_gives_each_its_result() -> None:
    cell = FakeCell().start()
    client = await RawClient(cell).connect()
    await client.do(client.create(b"/a", b"x"), client.create(b"/a/b"))
    header = codec.MULTI_HEADER.pack
    body = b"".join(
        [
            header(codec.OP_GET_DATA, False, -1) + encode_buffer(b"/a") + b"\0",
            header(codec.OP_GET_CHILDREN, False, -1) + encode_buffer(b"/a") + b"\0",
            header(codec.OP_GET_DATA, False, -1) + encode_buffer(b"/none") + b"\0",
            codec.MULTI_END,
        ]
    )
    (reply,) = await client.do(client.request(codec.OP_MULTI_READ, body))
    assert isinstance(reply, Reply)
    reader = Reader(reply.body)
    assert (reader.int32(), reader.boolean(), reader.int32(), reader.buffer()) == (codec.OP_GET_DATA, False, 0, b"x")
    reader.at += codec.STAT.size
    assert (reader.int32(), reader.boolean(), reader.int32(), reader.strings()) == (codec.OP_GET_CHILDREN, False, 0, [b"b"])
    assert (reader.int32(), reader.boolean(), reader.int32(), reader.int32()) == (-1, False, codec.NO_NODE, codec.NO_NODE)
    assert reply.body[reader.at :] == codec.MULTI_END


@in_loop
async def test_what_would_take_too_long_or_grow_too_large_is_refused() -> None:
    cell = FakeCell().start()
    client = await RawClient(cell).connect()
    await client.do(client.create(b"/a", bytes(900_000)))
    part = codec.MULTI_HEADER.pack(codec.OP_GET_DATA, False, -1) + encode_buffer(b"/a") + b"\0"
    few, many = [client.request(codec.OP_MULTI_READ, part * count + codec.MULTI_END) for count in (2, 10_000)]
    replies = [reply for reply in await client.do(few, many) if isinstance(reply, Reply)]
    assert [reply.error for reply in replies] == [0, codec.MARSHALLING_ERROR]


@in_loop
async def test_ephemerals_and_descendants_are_counted() -> None:
    cell = FakeCell().start()
    client, other = await RawClient(cell).connect(), await RawClient(cell).connect()
    await client.do(
        client.create(b"/a"), client.create(b"/a/b"), client.create(b"/a/b/e", flags=1), client.create(b"/e", flags=1)
    )
    await other.do(other.create(b"/a/o", flags=1))
    ask = client.request(codec.OP_GET_EPHEMERALS, encode_buffer(b"/a"))
    mine, below, everything = await client.do(
        ask,
        client.request(codec.OP_GET_ALL_CHILDREN_NUMBER, encode_buffer(b"/a")),
        client.request(codec.OP_GET_ALL_CHILDREN_NUMBER, encode_buffer(b"/")),
    )
    assert isinstance(mine, Reply) and isinstance(below, Reply) and isinstance(everything, Reply)
    assert Reader(mine.body).strings() == [b"/a/b/e"]
    (spaced,) = await client.do(client.request(codec.OP_GET_EPHEMERALS, encode_buffer(b"/a ")))
    assert isinstance(spaced, Reply) and Reader(spaced.body).strings() == [], "a space belongs to the prefix"
    assert Reader(below.body).int32() == 3
    assert Reader(everything.body).int32() == len(cell.logs[1].machine.tree.nodes) - 1


@in_loop
async def test_an_event_type_is_never_taken_for_a_reply() -> None:
    cell = FakeCell().start()
    client = await RawClient(cell).connect()
    received = await client.do(client.exists(b"/a", watch=True), client.create(b"/a"))
    assert [type(item) for item in received] == [Reply, Event, Reply]
