"""Watches: the table by itself against a plain model, and the order in which clients see events and replies."""

from __future__ import annotations

import struct
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from loggos.coordination.commands import CHANGED, CREATED, DELETED
from loggos.coordination.service import ServiceOptions
from loggos.coordination.watches import CHILD, DATA, MODES, PERSISTENT, RECURSIVE, WatchTable, parent_of
from loggos.coordination.zookeeper import codec
from loggos.coordination.zookeeper.codec import INT32, INT64, MULTI_END, MULTI_HEADER, encode_buffer, encode_strings
from tests.coordination.fake_log import FakeCell
from tests.coordination.raw_client import Event, RawClient, Reply, in_loop, settle

EVENT = {CREATED: 1, DELETED: 2, CHANGED: 3}
CHILDREN = 4
PATHS = [b"/", b"/a", b"/a/b", b"/a/b/c", b"/ab"]

# --- the table -------------------------------------------------------------------------


class Model:
    """Watches as a plain list, fired by the rules as they are written."""

    def __init__(self) -> None:
        self.watches: list[tuple[str, bytes, int]] = []

    def add(self, watcher: str, path: bytes, mode: int) -> None:
        if (watcher, path, mode) not in self.watches:
            self.watches.append((watcher, path, mode))

    def fire(self, kind: int, path: bytes) -> Counter[tuple[str, int, bytes]]:
        told: dict[tuple[str, int, bytes], None] = {}
        left = []
        for watcher, at, mode in self.watches:
            on_node = at == path and (mode in (DATA, PERSISTENT) or (mode == CHILD and kind == DELETED))
            under = mode == RECURSIVE and (at in (path, b"/") or path.startswith(at + b"/"))
            children = kind != CHANGED and path != b"/" and at == parent_of(path) and mode in (CHILD, PERSISTENT)
            if on_node or under:
                told[watcher, EVENT[kind], path] = None
            if children:
                told[watcher, CHILDREN, at] = None
            used = mode in (DATA, CHILD) and (on_node or children)
            if not used:
                left.append((watcher, at, mode))
        self.watches = left
        return Counter(list(told))


steps = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.sampled_from("xyz"), st.sampled_from(PATHS), st.sampled_from(MODES)),
        st.tuples(st.just("fire"), st.sampled_from([CREATED, DELETED, CHANGED]), st.sampled_from(PATHS[1:]), st.none()),
        st.tuples(st.just("remove"), st.sampled_from("xyz"), st.sampled_from(PATHS), st.sampled_from(MODES)),
        st.tuples(st.just("gone"), st.sampled_from("xyz"), st.none(), st.none()),
    ),
    max_size=30,
)


@given(steps)
def test_the_table_does_as_the_model(script: list[tuple[str, str | int, bytes, int]]) -> None:
    table: WatchTable[str] = WatchTable()
    model = Model()
    for what, first, path, mode in script:
        if what == "fire":
            assert isinstance(first, int)
            fired = table.fire(first, path)
            assert Counter(map(tuple, fired)) == model.fire(first, path)
            continue
        watcher = str(first)
        if what == "add":
            table.add(watcher, path, mode)
            model.add(watcher, path, mode)
        elif what == "remove":
            held = (watcher, path, mode) in model.watches
            assert table.contains(watcher, path, (mode,)) == held == table.remove(watcher, path, (mode,))
            if held:
                model.watches.remove((watcher, path, mode))
        else:
            table.remove_watcher(watcher)
            model.watches = [watch for watch in model.watches if watch[0] != watcher]
        assert len(table) == len(model.watches)
        summary = table.summary()
        assert summary.connections == len({watch[0] for watch in model.watches})
        assert summary.paths == len({watch[1] for watch in model.watches})


def test_who_registered_first_is_told_first() -> None:
    table: WatchTable[str] = WatchTable()
    for watcher in "qpwo":
        table.add(watcher, b"/a", DATA)
    assert [firing.watcher for firing in table.fire(CHANGED, b"/a")] == list("qpwo")


# --- through the door -------------------------------------------------------------------------


def kinds(received: list[Reply | Event]) -> list[object]:
    """Replies as their xid, events as (kind, path)."""
    return [(item.kind, item.path) if isinstance(item, Event) else item.xid for item in received]


@in_loop
async def test_the_registering_reply_comes_before_its_event_even_within_one_turn() -> None:
    cell = FakeCell(auto=False).start()
    one, two = RawClient(cell), RawClient(cell)
    for client in (one, two):
        client.send(client.hello())
        cell.logs[1].step()
        client.frames()
    one.send(one.create(b"/x") + one.exists(b"/a", watch=True))
    await settle()
    two.send(two.create(b"/a"))
    await settle()
    cell.logs[1].step()  # one batch: one's write, its read, two's write
    assert kinds(one.received()) == [1, 2, (1, b"/a")]


@in_loop
async def test_within_a_run_an_event_comes_before_its_own_reply_and_after_those_before_it() -> None:
    cell = FakeCell().start()
    client = await RawClient(cell).connect()
    assert kinds(await client.do(client.exists(b"/b", watch=True), client.children(b"/", watch=True))) == [1, 2]
    received = await client.do(client.set(b"/none"), client.create(b"/b"), client.set(b"/none"), client.delete(b"/b"))
    assert kinds(received) == [3, (1, b"/b"), (CHILDREN, b"/"), 4, 5, 6]
    events = [item for item in received if isinstance(item, Event)]
    replies = {item.xid: item for item in received if isinstance(item, Reply)}
    assert all(event.zxid == replies[4].zxid for event in events)


@in_loop
async def test_an_event_of_another_nodes_client_comes_before_a_read_that_shows_the_change() -> None:
    cell = FakeCell(2).start()
    watcher, writer = await RawClient(cell, 1).connect(), await RawClient(cell, 2).connect()
    await writer.do(writer.create(b"/a", b"0"))
    await watcher.do(watcher.get(b"/a", watch=True))
    cell.logs[1].held = True
    await writer.do(writer.set(b"/a", b"1"))
    assert kinds(await watcher.do(watcher.get(b"/a"))) == [2], "not applied here yet: no event, and the old value"
    cell.logs[1].held = False
    cell.logs[1].step()
    assert kinds(await watcher.do(watcher.get(b"/a"))) == [(3, b"/a"), 3]


@in_loop
async def test_a_watch_fires_once_and_one_event_is_enough_for_two_watches() -> None:
    cell = FakeCell().start()
    watcher, writer = await RawClient(cell).connect(), await RawClient(cell).connect()
    await writer.do(writer.create(b"/a"))
    await watcher.do(watcher.get(b"/a", watch=True), watcher.exists(b"/a", watch=True))
    await writer.do(writer.set(b"/a"), writer.set(b"/a"))
    assert kinds(watcher.received()) == [(3, b"/a")]


@in_loop
async def test_deletion_tells_the_node_once_and_the_parent() -> None:
    cell = FakeCell().start()
    watcher, writer = await RawClient(cell).connect(), await RawClient(cell).connect()
    await writer.do(writer.create(b"/a"), writer.create(b"/a/b"))
    await watcher.do(watcher.get(b"/a/b", watch=True), watcher.children(b"/a/b", watch=True), watcher.children(b"/a", watch=True))
    await writer.do(writer.delete(b"/a/b"))
    assert kinds(watcher.received()) == [(2, b"/a/b"), (CHILDREN, b"/a")]


@in_loop
async def test_a_read_that_fails_registers_nothing_but_exists_does() -> None:
    cell = FakeCell().start()
    client = await RawClient(cell).connect()
    await client.do(client.get(b"/a", watch=True), client.children(b"/a", watch=True))
    assert len(cell.services[1].watches) == 0
    await client.do(client.exists(b"/a", watch=True))
    assert len(cell.services[1].watches) == 1


@in_loop
async def test_a_setdata_of_a_child_does_not_fire_the_childrens_watch() -> None:
    cell = FakeCell().start()
    client = await RawClient(cell).connect()
    await client.do(client.create(b"/a"), client.create(b"/a/b"), client.children(b"/a", watch=True))
    assert kinds(await client.do(client.set(b"/a/b"), client.set(b"/a"))) == [4, 5]


@in_loop
async def test_a_failed_multi_fires_nothing_and_a_good_one_fires_before_its_reply() -> None:
    cell = FakeCell().start()
    client = await RawClient(cell).connect()
    await client.do(client.exists(b"/a", watch=True))
    header = MULTI_HEADER.pack
    create = client.create(b"/a")[12:]
    delete = client.delete(b"/none")[12:]
    good = header(codec.OP_CREATE, False, -1) + create
    bad = good + header(codec.OP_DELETE, False, -1) + delete
    (reply,) = await client.do(client.request(codec.OP_MULTI, bad + MULTI_END))
    assert isinstance(reply, Reply)
    received = await client.do(client.request(codec.OP_MULTI, good + MULTI_END))
    assert [type(item) for item in received] == [Event, Reply]


@in_loop
async def test_persistent_and_recursive_watches_stay() -> None:
    cell = FakeCell().start()
    watcher, writer = await RawClient(cell).connect(), await RawClient(cell).connect()
    replies = await watcher.do(watcher.add_watch(b"/a", 0), watcher.add_watch(b"/r", 1))
    assert [reply.body for reply in replies if isinstance(reply, Reply)] == [INT32.pack(0)] * 2
    await writer.do(writer.create(b"/a"), writer.create(b"/a/b"), writer.set(b"/a/b"), writer.delete(b"/a/b"), writer.set(b"/a"))
    assert kinds(watcher.received()) == [(1, b"/a"), (CHILDREN, b"/a"), (CHILDREN, b"/a"), (3, b"/a")]
    await writer.do(
        writer.create(b"/r"), writer.create(b"/r/s"), writer.set(b"/r/s"), writer.delete(b"/r/s"), writer.create(b"/rr")
    )
    assert kinds(watcher.received()) == [(1, b"/r"), (1, b"/r/s"), (3, b"/r/s"), (2, b"/r/s")]


@in_loop
async def test_who_may_not_read_a_node_is_not_told_of_it() -> None:
    """Its one-shot watches are used up all the same (CVE-2024-23944)."""
    cell = FakeCell().start()
    watcher, writer = await RawClient(cell).connect(), await RawClient(cell).connect()
    await writer.do(writer.auth(b"digest", b"me:secret"), writer.create(b"/p"))
    own = codec.encode_acl([codec.Acl(31, b"auth", b"")])

    def hidden(path: bytes) -> bytes:
        return writer.request(codec.OP_CREATE, encode_buffer(path) + encode_buffer(b"") + own + INT32.pack(0))

    await watcher.do(watcher.add_watch(b"/p", 1), watcher.exists(b"/p/h", watch=True), watcher.children(b"/p", watch=True))
    replies = await writer.do(hidden(b"/p/h"), writer.set(b"/p/h"), writer.delete(b"/p/h"))
    assert [reply.error for reply in replies if isinstance(reply, Reply)] == [0, 0, 0]
    assert kinds(watcher.received()) == [(CHILDREN, b"/p")], "of /p it may hear, of /p/h not"
    await writer.do(writer.add_watch(b"/p", 1), hidden(b"/p/h"))
    assert kinds(watcher.received()) == [], "the watches of exists and getChildren are used up"
    seen = await writer.do(writer.set(b"/p/h"))
    assert kinds(seen)[0] == (3, b"/p/h"), "the owner is told"


@in_loop
async def test_who_may_not_read_the_parent_is_not_told_of_its_children() -> None:
    cell = FakeCell().start()
    watcher, writer = await RawClient(cell).connect(), await RawClient(cell).connect()
    await writer.do(writer.create(b"/p"))
    await watcher.do(watcher.children(b"/p", watch=True))
    no_reading = codec.encode_acl([codec.Acl(codec.PERM_ALL & ~codec.PERM_READ, b"world", b"anyone")])
    await writer.do(writer.request(codec.OP_SET_ACL, encode_buffer(b"/p") + no_reading + INT32.pack(-1)))
    await writer.do(writer.create(b"/p/kid"))
    assert kinds(watcher.received()) == []


@in_loop
async def test_check_and_remove_answer_in_their_own_types_and_no_event_is_sent_for_a_removal() -> None:
    cell = FakeCell().start()
    client = await RawClient(cell).connect()
    await client.do(client.exists(b"/a", watch=True), client.add_watch(b"/a", 1))

    def about(opcode: int, kind: int) -> bytes:
        return client.request(opcode, encode_buffer(b"/a") + INT32.pack(kind))

    check, remove = codec.OP_CHECK_WATCHES, codec.OP_REMOVE_WATCHES
    steps = [
        (check, 2),
        (check, 1),
        (remove, 1),
        (remove, 2),
        (check, 2),
        (check, 3),
        (check, 5),
        (remove, 3),
        (check, 3),
        (check, 9),
    ]
    received = await client.do(*[about(opcode, kind) for opcode, kind in steps])
    no = codec.NO_WATCHER
    assert [item.error for item in received if isinstance(item, Reply)] == [
        0,
        no,
        no,
        0,
        no,
        0,
        0,
        0,
        no,
        codec.MARSHALLING_ERROR,
    ]
    assert kinds(await client.do(client.create(b"/a"))) == [13]


@in_loop
async def test_a_reconnecting_client_is_told_what_it_missed_before_the_reply() -> None:
    cell = FakeCell().start()
    writer = await RawClient(cell).connect()
    await writer.do(*[writer.create(path) for path in (b"/gone", b"/changed", b"/same", b"/parent", b"/calm")])
    seen = cell.services[1].index
    await writer.do(writer.delete(b"/gone"), writer.set(b"/changed"), writer.create(b"/parent/c"), writer.create(b"/made"))
    client = await RawClient(cell).connect(last_zxid=seen)
    body = INT64.pack(seen)
    body += encode_strings([b"/gone", b"/changed", b"/same"])
    body += encode_strings([b"/made", b"/not-yet"])
    body += encode_strings([b"/parent", b"/calm", b"/gone"])
    body += encode_strings([b"/p"]) + encode_strings([b"/r"])
    received = await client.do(client.request(codec.OP_SET_WATCHES2, body, xid=codec.XID_SET_WATCHES))
    assert kinds(received) == [(2, b"/gone"), (3, b"/changed"), (1, b"/made"), (CHILDREN, b"/parent"), (2, b"/gone"), -8]
    assert all(item.zxid == -1 for item in received if isinstance(item, Event))
    await writer.do(writer.set(b"/same"), writer.create(b"/not-yet"), writer.create(b"/calm/c"), writer.create(b"/p"))
    assert kinds(client.received()) == [(3, b"/same"), (1, b"/not-yet"), (CHILDREN, b"/calm"), (1, b"/p")]


@in_loop
async def test_the_older_set_watches_has_no_persistent_ones() -> None:
    cell = FakeCell().start()
    client = await RawClient(cell).connect()
    body = INT64.pack(0) + encode_strings([]) + encode_strings([b"/a"]) + encode_strings([])
    assert kinds(await client.do(client.request(codec.OP_SET_WATCHES, body, xid=-8))) == [-8]
    assert kinds(await client.do(client.create(b"/a"))) == [(1, b"/a"), 1]


@in_loop
async def test_watches_die_with_their_connection() -> None:
    cell = FakeCell().start()
    client = await RawClient(cell).connect()
    await client.do(client.exists(b"/a", watch=True), client.add_watch(b"/", 1))
    client.lose()
    assert len(cell.services[1].watches) == 0 and cell.services[1].watches.summary().connections == 0


@in_loop
async def test_too_many_watches_of_one_connection_are_refused() -> None:
    cell = FakeCell(options=ServiceOptions(watches_per_connection_max=2)).start()
    client = await RawClient(cell).connect()
    received = await client.do(*[client.exists(b"/%d" % n, watch=True) for n in range(3)])
    assert [item.error for item in received if isinstance(item, Reply)] == [codec.NO_NODE, codec.NO_NODE, codec.QUOTA_EXCEEDED]
    assert not client.closed


@in_loop
async def test_the_end_of_a_session_fires_for_its_ephemerals() -> None:
    cell = FakeCell(2).start()
    owner, watcher = await RawClient(cell, 1).connect(), await RawClient(cell, 2).connect()
    await owner.do(owner.create(b"/e", flags=1))
    await watcher.do(watcher.exists(b"/e", watch=True))
    await owner.do(owner.end())
    assert kinds(watcher.received()) == [(2, b"/e")]


@in_loop
async def test_the_frame_of_an_event() -> None:
    cell = FakeCell().start()
    client = await RawClient(cell).connect()
    await client.do(client.exists(b"/a", watch=True))
    client.send(client.create(b"/a"))
    await settle()
    event = client.frames()[0]
    assert event == struct.pack(">iqiiii", -1, 2, 0, 1, 3, 2) + b"/a"
