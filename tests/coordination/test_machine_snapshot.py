"""Snapshots while the machine goes on, restore from any cut, and the digest."""

from __future__ import annotations

import struct
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loggos.base.errors import InternalError
from loggos.base.ids import Index, Stamps
from loggos.base.limits import SCRUB_SLICE_ITEMS, SNAPSHOT_SLICE_BYTES
from loggos.base.steps import Digesting
from loggos.coordination.acl import OPEN_ACL
from loggos.coordination.machine import CoordinationMachine
from loggos.node.levels import NEWEST_LEVEL
from tests.coordination.kit import Acl, Client, Driver, auth, close, create, delete, multi, set_acl, set_data

VALUE = b"v" * 300


@pytest.fixture
def driver() -> Driver:
    """Three sessions and 6,000 nodes of 300 bytes: several slices."""
    driver = Driver()
    clients = [driver.client() for _ in range(3)]
    driver.machine.sessions[clients[0].session].timeout_ms = 12345
    client = clients[0]
    client.run(*[create(b"/d%d" % top, VALUE) for top in range(6)])
    for top in range(6):
        client.run(*[create(b"/d%d/n%04d" % (top, number), VALUE, flags=number % 50 == 0) for number in range(1000)])
    client.code(auth(b"digest", b"me:h"))
    client.run(
        set_acl(b"/d1", (Acl(31, b"auth", b""),)), set_data(b"/d2", b"again"), delete(b"/d3/n0001"), set_data(b"/d4/n0007")
    )
    driver.clients = clients  # type: ignore[attr-defined]
    return driver


def restored(chunks: Iterator[bytes] | list[bytes]) -> CoordinationMachine:
    machine = CoordinationMachine()
    machine.restore(chunks)
    return machine


def clients_of(driver: Driver) -> list[Client]:
    clients: list[Client] = driver.clients  # type: ignore[attr-defined]
    return clients


def test_a_restored_machine_is_equal_in_every_field(driver: Driver) -> None:
    copy = restored(driver.machine.snapshot())
    assert copy.digest() == driver.machine.digest()
    assert copy.tree.nodes.keys() == driver.machine.tree.nodes.keys()
    fields = [name for name in type(copy.tree.nodes[b"/"]).__slots__ if name != "epoch"]
    for path, node in driver.machine.tree.nodes.items():
        for name in fields:
            assert getattr(copy.tree.nodes[path], name) == getattr(node, name), (path, name)
    assert copy.tree.nodes[b"/d0"].acl is OPEN_ACL and copy.tree.nodes[b"/d1"].acl == (Acl(31, b"digest", b"me:h"),)
    fields = [name for name in type(next(iter(copy.sessions.values()))).__slots__ if name != "epoch"]
    for key, session in driver.machine.sessions.items():
        for name in fields:
            assert getattr(copy.sessions[key], name) == getattr(session, name), name


def test_null_data_are_not_empty_data_in_a_snapshot_and_a_digest() -> None:
    driver = Driver()
    client = driver.client()
    client.made(create(b"/a", b""))
    client.stat(set_data(b"/a", b""))
    digest = driver.machine.digest()
    client.code((5, struct.pack(">i2sii", 2, b"/a", -1, -1)))
    copy = restored(driver.machine.snapshot())
    assert copy.tree.nodes[b"/a"].data is None and copy.tree.nodes[b"/a"].acl is OPEN_ACL
    assert copy.digest() == driver.machine.digest() != digest


def test_slices_are_bounded(driver: Driver) -> None:
    slices = list(driver.machine.snapshot())
    assert len(slices) > 5
    assert max(map(len, slices)) < SNAPSHOT_SLICE_BYTES + 2000
    assert driver.machine.tree.saver is None and driver.machine.sessions.saver is None


def test_what_happens_between_slices_does_not_show(driver: Driver) -> None:
    clients, machine = clients_of(driver), driver.machine
    digest, names = machine.digest(), sorted(machine.tree.nodes)
    chunks, slices, turn = machine.snapshot(), [], 0
    changes = [
        [set_data(b"/d0/n0500", b"new"), set_data(b"/", b"new"), delete(b"/d5/n0001"), create(b"/d5/n0001", b"reborn")],
        [set_acl(b"/d0", (Acl(31, b"world", b"anyone"), Acl(1, b"ip", b"1.2.3.4"))), create(b"/new"), create(b"/new/er")],
        [multi(delete(b"/d4/n0002"), set_data(b"/d4/n0003", b"x"), create(b"/d4/n"), delete(b"/none"))],
        [*[delete(b"/d2/n%04d" % number) for number in range(1000)], delete(b"/d2"), create(b"/d2"), create(b"/d2/n0001")],
        [close()],
    ]
    for chunk in chunks:
        slices.append(chunk)
        if turn < len(changes):
            clients[0].run(*changes[turn])
            driver.attach(clients[1].session)
            driver.client()
        turn += 1
    assert turn > len(changes)
    copy = restored(slices)
    assert copy.digest() == digest and sorted(copy.tree.nodes) == names
    assert copy.digest() != machine.digest()


def test_what_happens_before_the_first_slice_does_not_show_either(driver: Driver) -> None:
    digest = driver.machine.digest()
    chunks = driver.machine.snapshot()
    clients_of(driver)[0].run(set_data(b"/d0", b"new"), close())
    assert restored(chunks).digest() == digest


def test_a_new_snapshot_ends_the_old_one(driver: Driver) -> None:
    old = driver.machine.snapshot()
    next(old)
    new = driver.machine.snapshot()
    digest = driver.machine.digest()
    with pytest.raises(InternalError, match="newer"):
        next(old)
    clients_of(driver)[0].run(set_data(b"/d0", b"new"))
    assert restored(new).digest() == digest


def test_an_abandoned_snapshot_saves_nothing_more(driver: Driver) -> None:
    chunks = driver.machine.snapshot()
    next(chunks)
    chunks.close()  # type: ignore[attr-defined]
    assert driver.machine.tree.saver is None and driver.machine.sessions.saver is None


@pytest.mark.parametrize("size", [1, 1000, 1 << 30])
def test_chunks_may_be_cut_anywhere(size: int) -> None:
    driver = Driver()
    driver.client().run(create(b"/a", b"x"), create(b"/a/b", b"y", flags=1))
    whole = b"".join(driver.machine.snapshot())
    copy = restored([whole[at : at + size] for at in range(0, len(whole), size)])
    assert copy.digest() == driver.machine.digest()


def test_a_snapshot_that_is_not_whole_is_refused_and_changes_nothing() -> None:
    driver = Driver()
    driver.client().run(create(b"/a", b"x"), create(b"/a/b", b"y", flags=1))
    whole = b"".join(driver.machine.snapshot())
    target = Driver()
    target.client().run(create(b"/kept"))
    digest = target.machine.digest()
    bad = [whole[:cut] for cut in range(len(whole))] + [whole + b"x", whole + whole, b"\0\0\0\1x" + whole]
    for chunks in bad:
        with pytest.raises(InternalError):
            target.machine.restore([chunks])
    assert target.machine.digest() == digest and b"/kept" in target.machine.tree.nodes


def test_a_machine_goes_on_after_restore() -> None:
    driver = Driver()
    client = driver.client()
    client.run(create(b"/a"), create(b"/a/n-", flags=3))
    driver.machine = restored(driver.machine.snapshot())
    assert client.made(create(b"/a/n-", flags=3)) == b"/a/n-0000000001"
    client.run(close())
    assert list(driver.machine.tree.nodes[b"/a"].children or ()) == []


def test_the_digest_sees_every_field_and_no_order() -> None:
    one, two = Driver(), Driver()
    for driver, names in ((one, (b"/a", b"/b")), (two, (b"/b", b"/a"))):
        driver.wall_ms = 5
        driver.client().run(multi(*[create(name, b"x") for name in names]))
    assert one.machine.digest() == two.machine.digest()
    digest = one.machine.digest()
    node, session = one.machine.tree.nodes[b"/a"], next(iter(one.machine.sessions.values()))
    for name in ("czxid", "mzxid", "pzxid", "ctime", "mtime", "version", "aversion", "creates"):
        old = getattr(node, name)
        setattr(node, name, old + 1)
        assert one.machine.digest() != digest, name
        setattr(node, name, old)
    for name in ("timeout_ms", "generation", "sequence", "last_seen", "node"):
        old = getattr(session, name)
        setattr(session, name, old + 1)
        assert one.machine.digest() != digest, name
        setattr(session, name, old)
    for item, name, value in ((node, "data", b"y"), (node, "acl", ()), (session, "address", b""), (session, "identities", ())):
        old = getattr(item, name)
        setattr(item, name, value)
        assert one.machine.digest() != digest, name
        setattr(item, name, old)
    assert one.machine.digest() == digest


def framed(records: list[bytes]) -> bytes:
    return b"".join([len(record).to_bytes(4, "big") + record for record in records])


kinds = st.builds(lambda kind, rest: bytes([kind]) + rest, st.integers(0, 4), st.binary(max_size=120))


@given(st.one_of(st.binary(max_size=60), st.lists(kinds, max_size=3).map(framed)), st.booleans())
def test_bytes_that_are_no_snapshot_are_refused(data: bytes, after_magic: bool) -> None:
    machine = CoordinationMachine()
    digest = machine.digest()
    whole = next(iter(machine.snapshot()))
    magic = whole[: 4 + int.from_bytes(whole[:4], "big")]
    with pytest.raises(InternalError):
        machine.restore([magic + data if after_magic else data])
    assert machine.digest() == digest


def test_an_ephemeral_without_its_session_is_refused() -> None:
    machine = CoordinationMachine()
    machine.tree.nodes[b"/zookeeper/quota"].owner = 5
    with pytest.raises(InternalError):
        CoordinationMachine().restore(list(machine.snapshot()))


def test_what_is_applied_between_the_steps_of_a_restore_is_replaced_and_until_then_there(driver: Driver) -> None:
    chunks = list(driver.machine.snapshot())
    present = Driver()
    client = present.client()
    steps, number = present.machine.restoring(chunks), 0
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            replace = stop.value
            break
        client.made(create(b"/present-%d" % number))
        number += 1
        assert len(present.machine.tree.nodes[b"/"].children or ()) >= number
    assert number > 10
    replace()
    assert present.machine.digest() == driver.machine.digest()


def test_a_snapshot_that_breaks_off_late_changes_nothing(driver: Driver) -> None:
    chunks = list(driver.machine.snapshot())
    present = Driver()
    present.client().made(create(b"/present"))
    before = present.machine.digest()
    steps = present.machine.restoring(chunks[:-1])
    with pytest.raises(InternalError):
        for _ in steps:
            pass
    assert present.machine.digest() == before and b"/present" in present.machine.tree.nodes


class Plainly:
    """Lone setDatas by the short way, one after another, as a registry has them applied."""

    def __init__(self, driver: Driver) -> None:
        self.driver = driver
        self.times = 0

    def set(self, client: Client, path: bytes, data: bytes) -> None:
        command = client.command(set_data(path, data))
        driver = self.driver
        driver.index += 1
        plain = driver.machine.apply_plain(command, 0, len(command), Index(driver.index), Stamps(driver.wall_ms, 0, NEWEST_LEVEL))
        assert plain is not None, path
        self.times += 1


def test_the_short_way_between_slices_leaves_the_snapshot_as_it_was(driver: Driver) -> None:
    machine, clients, plainly = driver.machine, clients_of(driver), Plainly(driver)
    before = machine.digest()
    slices = machine.snapshot()
    chunks = [next(slices)]
    for number, chunk in enumerate(slices):
        chunks.append(chunk)
        for client in clients:  # nodes that the walk has passed and others, the same more than once
            for path in (b"/d0/n0003", b"/d5/n%04d" % (number % 1000), b"/d5/n0999", b"/", b"/d2"):
                plainly.set(client, path, b"changed %d" % number)
    assert plainly.times > 50 and machine.digest() != before
    copy = restored(chunks)
    assert copy.digest() == before
    assert copy.tree.nodes[b"/d5/n0999"].data == VALUE and copy.sessions[clients[2].session].sequence == 0
    assert restored(machine.snapshot()).digest() == machine.digest(), "the next one has it all"


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 30), st.booleans()), max_size=40), st.integers(1, 7))
def test_the_short_way_at_any_time_of_a_snapshot(script: list[tuple[int, int, bool]], slice_items: int) -> None:
    """Some of the writes go the short way, some the general one; between them a slice is taken now and then."""
    driver = Driver()
    driver.machine.slice_items = slice_items
    clients, plainly = [driver.client() for _ in range(3)], Plainly(driver)
    clients[0].run(*[create(b"/n%02d" % number, VALUE) for number in range(31)])
    before = driver.machine.digest()
    slices = driver.machine.snapshot()
    chunks = [next(slices)]
    for who, number, is_plain in script:
        if is_plain:
            plainly.set(clients[who], b"/n%02d" % number, b"%d" % driver.index)
        else:
            clients[who].run(set_data(b"/n%02d" % number, b"general"), set_data(b"/n%02d" % (30 - number), b"too"))
        if (who + number) % 3 == 0:
            chunks += [chunk for chunk in [next(slices, None)] if chunk is not None]
    chunks += list(slices)
    assert restored(chunks).digest() == before
    assert restored(driver.machine.snapshot()).digest() == driver.machine.digest()


# --- the digest by a walk ------------------------------------------------------------------------------------------------------


def ended(steps: Digesting) -> int | None:
    """What the steps that are left give."""
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            digest: int | None = stop.value
            return digest


def test_a_digest_in_steps_is_of_its_start_whatever_happens_between_them(driver: Driver) -> None:
    machine, clients, plainly = driver.machine, clients_of(driver), Plainly(driver)
    before = machine.digest()
    steps = machine.digesting()
    next(steps)
    for taken in range(20):
        for client in (clients[0], clients[2]):
            for path in (b"/d0/n0003", b"/d5/n%04d" % taken, b"/", b"/d2"):
                plainly.set(client, path, b"changed %d" % taken)
        clients[0].run(delete(b"/d4/n%04d" % taken), create(b"/new%d" % taken), set_acl(b"/d1", (Acl(31, b"world", b"anyone"),)))
        driver.attach(clients[1].session)
        driver.client()
        next(steps)
    clients[2].run(close())
    assert ended(steps) == before != machine.digest()
    assert machine.tree.saver is None and machine.sessions.saver is None
    assert ended(machine.digesting()) == machine.digest(), "and the next one is of the next state"


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 30), st.booleans()), max_size=40), st.integers(1, 7))
def test_a_digest_in_steps_with_writes_at_any_time(script: list[tuple[int, int, bool]], slice_items: int) -> None:
    driver = Driver()
    driver.machine.slice_items = slice_items
    clients, plainly = [driver.client() for _ in range(3)], Plainly(driver)
    clients[0].run(*[create(b"/n%02d" % number, VALUE) for number in range(31)])
    before, steps = driver.machine.digest(), driver.machine.digesting()
    next(steps)
    digest: list[int | None] = []
    for who, number, is_plain in script:
        if is_plain:
            plainly.set(clients[who], b"/n%02d" % number, b"%d" % driver.index)
        else:
            clients[who].run(delete(b"/n%02d" % number), create(b"/n%02d" % number), set_data(b"/n%02d" % (30 - number), b"too"))
        if (who + number) % 3 == 0 and not digest:
            try:
                next(steps)
            except StopIteration as stop:
                digest.append(stop.value)
    assert (digest or [ended(steps)]) == [before]


def test_the_steps_of_a_digest_are_bounded(driver: Driver) -> None:
    assert len(list(driver.machine.digesting())) > driver.machine.item_count() / SCRUB_SLICE_ITEMS
    assert driver.machine.item_count() == len(driver.machine.tree.nodes) + 3
    large = Driver()
    large.client().run(*[create(b"/large%d" % number, b"v" * (SNAPSHOT_SLICE_BYTES // 2)) for number in range(20)])
    assert len(list(large.machine.digesting())) > 8


def test_a_digest_is_not_begun_while_a_snapshot_is_made_and_leaves_it_whole(driver: Driver) -> None:
    machine, before = driver.machine, driver.machine.digest()
    slices = machine.snapshot()
    chunks, epoch = [next(slices)], machine.tree.epoch
    steps = machine.digesting()
    assert next(steps, "ended") == "ended" and machine.tree.epoch == epoch
    clients_of(driver)[0].run(set_data(b"/d5/n0999", b"new"))
    assert restored([*chunks, *slices]).digest() == before


@pytest.mark.parametrize("steps_before", [1, 2, 5])
def test_a_digest_gives_way_to_a_snapshot_and_leaves_it_whole(driver: Driver, steps_before: int) -> None:
    machine, client = driver.machine, clients_of(driver)[0]
    steps = machine.digesting()
    for _ in range(steps_before):
        next(steps)
    client.run(set_data(b"/d5/n0999", b"new"))
    before = machine.digest()
    slices = machine.snapshot()
    chunks = [next(slices)]
    client.run(set_data(b"/d5/n0998", b"new"))
    assert ended(steps) is None
    client.run(set_data(b"/d5/n0997", b"new"))
    assert restored([*chunks, *slices]).digest() == before
    assert ended(machine.digesting()) == machine.digest()


@pytest.mark.parametrize("steps_before", [0, 1, 2, 5])
def test_a_digest_that_is_abandoned_saves_nothing_more(driver: Driver, steps_before: int) -> None:
    steps = driver.machine.digesting()
    for _ in range(steps_before):
        next(steps)
    steps.close()
    assert driver.machine.tree.saver is None and driver.machine.sessions.saver is None
    assert len(list(driver.machine.snapshot())) > 5
