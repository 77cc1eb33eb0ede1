"""The plain way gives what the general way gives: codes, indices, digests, what clients of a node receive, in the same order."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from loggos.base.ids import Index, NodeId, SessionId, Slot, Stamps
from loggos.base.ports import Follower
from loggos.coordination.commands import MACHINE_ID, Outcome, encode_attach, encode_requests
from loggos.coordination.machine import CoordinationMachine
from loggos.coordination.service import CoordinationService
from loggos.coordination.zookeeper import codec
from loggos.coordination.zookeeper.codec import INT32, encode_buffer
from loggos.coordination.zookeeper.server import ZooKeeperDoor
from loggos.node.batch import encode_batch, encode_run
from loggos.node.levels import NEWEST_LEVEL
from loggos.node.registry import PlainWay, Registry
from tests.coordination.fake_log import FakeClock, FakeEntropy, FakeSpawner
from tests.coordination.raw_client import OPEN, RawClient, settle

ME, OTHER = NodeId(1), NodeId(2)
PATHS = [b"/a", b"/b", b"/none", b"/closed"]


class GeneralRegistry(Registry):
    def plain_way(self, machine_id: int) -> PlainWay | None:
        return None


class CountingRegistry(Registry):
    plainly = 0

    def plain_way(self, machine_id: int) -> PlainWay | None:
        found = super().plain_way(machine_id)
        if found is None:
            return None

        def counted(batch: bytes, at: int, end: int, index: Index, stamps: Stamps) -> tuple[Any, ...] | None:
            plain = found(batch, at, end, index, stamps)
            self.plainly += plain is not None
            return plain

        return counted


class RegistryLog:
    """The Log port of one node whose slots the test closes. What others propose comes by `foreign`."""

    leader = ME
    cell_ms = 0

    def __init__(self, registry: type[Registry]) -> None:
        self.machine = CoordinationMachine()
        self.registry = registry([self.machine], lambda origin, epoch: origin == ME)
        self.queue: list[bytes] = []
        self.barriers: list[Any] = []

    @property
    def index(self) -> Index:
        return self.registry.index

    def propose(self, machine: int, command: bytes) -> None:
        self.queue.append(encode_run(machine, ME, 0, command))

    def foreign(self, command: bytes) -> None:
        self.queue.append(encode_run(MACHINE_ID, OTHER, 0, command))

    def follow(self, machine: int, follower: Follower) -> None:
        self.registry.follow(machine, follower)

    def tell(self, node: NodeId, machine: int, note: bytes) -> None: ...

    def read_barrier(self, done: Any) -> None:
        self.barriers.append(done)

    def apply(self) -> None:
        """All that is queued, as one batch; then barriers are met."""
        queue, self.queue = self.queue, []
        slot = Slot(self.registry.slot + 1)
        self.registry.apply(slot, encode_batch(Stamps(1_000 + slot, slot, NEWEST_LEVEL), queue))
        barriers, self.barriers = self.barriers, []
        for done in barriers:
            done(self.index)


@dataclass
class Side:
    """One node with three clients of its own, and two sessions whose client is elsewhere."""

    log: RegistryLog
    doors: dict[NodeId, ZooKeeperDoor]
    clients: list[RawClient] = field(default_factory=list)
    sessions: list[SessionId] = field(default_factory=list)
    sequences: list[int] = field(default_factory=lambda: [0, 0])

    @classmethod
    def begin(cls, registry: type[Registry]) -> Side:
        log = RegistryLog(registry)
        service = CoordinationService(log, log.machine, FakeClock(), FakeEntropy(), FakeSpawner(), node=ME)
        side = cls(log, {ME: ZooKeeperDoor(service)})
        service.start()
        side.clients = [RawClient(side) for _ in range(3)]  # type: ignore[arg-type]  # it needs `doors` only
        for client in side.clients:
            client.send(client.hello())
            log.apply()
            client.frames()
        for nonce in (7, 8):
            log.foreign(encode_attach(SessionId(0), OTHER, nonce, 10_000, bytes([nonce]) * 16, "10.0.0.2"))
            before = set(log.machine.sessions)
            log.apply()
            side.sessions += [session for session in log.machine.sessions if session not in before]
        maker = side.clients[0]
        closed = codec.encode_acl([codec.Acl(1, b"world", b"anyone")])
        body = encode_buffer(b"/closed") + encode_buffer(b"") + closed + INT32.pack(0)
        maker.send(maker.create(b"/a") + maker.create(b"/b") + maker.request(codec.OP_CREATE, body))
        return side

    def elsewhere(self, number: int, opcodes: list[tuple[str, bytes, bytes]], *, again: bool = False) -> None:
        """A command of a session of another node; `again`: one that was sent before."""
        frames = [frame(*each) for each in opcodes]
        first = self.sequences[number] + (0 if again else 1)
        if not again:
            self.sequences[number] += len(frames)
        self.log.foreign(encode_requests(self.sessions[number], 1, first, frames))

    def state(self) -> tuple[int, int, int, int]:
        registry = self.log.registry
        return registry.slot, registry.index, registry.rolling_digest, registry.full_digest()


def frame(kind: str, path: bytes, value: bytes) -> bytes:
    if kind == "set":
        return codec.encode_request(9, codec.OP_SET_DATA, encode_buffer(path) + encode_buffer(value) + INT32.pack(-1))
    if kind == "create":
        return codec.encode_request(9, codec.OP_CREATE, encode_buffer(path) + encode_buffer(value) + OPEN + INT32.pack(0))
    return codec.encode_request(9, codec.OP_DELETE, encode_buffer(path) + INT32.pack(-1))


def own_frame(client: RawClient, kind: str, path: bytes, value: bytes) -> bytes:
    match kind:
        case "set":
            return client.set(path, value)
        case "set0":
            return client.set(path, value, version=0)
        case "create":
            return client.create(path, value)
        case "delete":
            return client.delete(path)
        case "sync":
            return client.sync(path)
        case "watch":
            return client.get(path, watch=True)
        case _:
            return client.get(path)


paths = st.sampled_from([b"/a", b"/b"] * 3 + PATHS)
values = st.binary(max_size=3)
own_kinds = st.sampled_from(["set"] * 12 + ["set0", "create", "delete", "get", "get", "sync", "watch"])
foreign_kinds = st.sampled_from(["set"] * 8 + ["create", "delete"])
own = st.tuples(st.just("own"), st.integers(0, 2), st.lists(st.tuples(own_kinds, paths, values), min_size=1, max_size=2))
foreign = st.tuples(
    st.just("foreign"), st.integers(0, 1), st.lists(st.tuples(foreign_kinds, paths, values), min_size=1, max_size=3)
)
repeated_sets = st.lists(st.tuples(st.just("set"), paths, values), min_size=1, max_size=2)
repeated = st.tuples(st.just("again"), st.integers(0, 1), repeated_sets)
happenings = st.tuples(st.sampled_from(["turn", "apply", "apply", "lose"]), st.integers(0, 2), st.just([]))
scripts = st.lists(st.one_of(own, own, foreign, foreign, repeated, happenings), min_size=5, max_size=30)


async def play(registry: type[Registry], script: list[tuple[str, int, list[Any]]]) -> tuple[Side, list[Any]]:
    """What each client received by the time of each happening, and the state then."""
    side = Side.begin(registry)
    await settle()
    side.log.apply()
    seen: list[Any] = []
    for what, who, parts in [*script, ("turn", 0, []), ("apply", 0, []), ("turn", 0, []), ("apply", 0, [])]:
        client = side.clients[who]
        if what == "own":
            if not client.closed:
                client.send(b"".join([own_frame(client, *part) for part in parts]))
        elif what in ("foreign", "again"):
            side.elsewhere(who, parts, again=what == "again")
        elif what == "turn":
            await settle()
        elif what == "apply":
            side.log.apply()
        elif who == 2 and not client.closed:
            client.lose()
        seen.append((side.state(), [bytes(each.transport.written) for each in side.clients]))
    return side, seen


@settings(max_examples=200)
@given(scripts)
def test_a_registry_with_the_plain_way_is_as_one_without(script: list[tuple[str, int, list[Any]]]) -> None:
    async def run() -> None:
        plain, seen = await play(CountingRegistry, script)
        general, expected = await play(GeneralRegistry, script)
        for number, (one, other) in enumerate(zip(seen, expected, strict=True)):
            assert one == other, (number, script)
        for client, twin in zip(plain.clients, general.clients, strict=True):
            assert client.closed == twin.closed and client.connection.outstanding == twin.connection.outstanding

    asyncio.run(run())


def test_the_plain_way_is_gone_until_somebody_watches_and_again_after() -> None:
    async def run() -> None:
        one = ("set", b"/a", b"1")
        lone = [("own", 0, [one]), ("foreign", 0, [one]), ("own", 1, [one]), ("foreign", 1, [one]), ("apply", 0, [])]
        watched = [("own", 2, [("watch", b"/b", b"")]), *lone, ("own", 0, [("set", b"/b", b"1")]), ("apply", 0, [])]
        counts = []
        for script in (lone, lone + watched, lone + watched + lone):
            side, _ = await play(CountingRegistry, script)
            assert isinstance(side.log.registry, CountingRegistry)
            counts.append(side.log.registry.plainly)
        assert counts == [4, 4, 8]

    asyncio.run(run())


# --- when it may be gone -------------------------------------------------------------------------------------------------


class Told:
    """A follower that says when it needs to be told all."""

    def __init__(self) -> None:
        self.all = False
        self.then_all = False  # from what it is told next on
        self.heard: list[tuple[str, int]] = []

    def wants(self, command: bytes) -> bool:
        return True

    def is_attended(self) -> bool:
        return True

    def needs_all(self) -> bool:
        return self.all

    def applied_plainly(self, index: Index, plain: Any) -> None:
        self.heard.append(("plainly", int(index)))
        self.all = self.then_all

    def applied(self, index: Index, command: bytes, outcome: Outcome) -> None:
        self.heard.append(("applied", int(index)))
        self.all = self.then_all

    def batch_done(self, index: Index) -> None:
        self.heard.append(("done", int(index)))

    def interrupted(self) -> None: ...
    def leader_changed(self, leader: NodeId, is_self: bool) -> None: ...
    def restored(self) -> None: ...
    def peer_note(self, sender: NodeId, note: bytes) -> None: ...


def registry_with(follower: Told, kind: type[Registry] = Registry) -> tuple[Registry, SessionId]:
    machine = CoordinationMachine()
    registry = kind([machine], lambda origin, epoch: origin == ME)
    attach = encode_attach(SessionId(0), ME, 1, 10_000, bytes(16), "10.0.0.1")
    registry.apply(Slot(1), encode_batch(Stamps(1, 1, NEWEST_LEVEL), [encode_run(MACHINE_ID, ME, 0, attach)]))
    (session,) = machine.sessions
    made = encode_requests(session, 1, 1, [frame("create", b"/a", b"")])
    registry.apply(Slot(2), encode_batch(Stamps(1, 1, NEWEST_LEVEL), [encode_run(MACHINE_ID, ME, 0, made)]))
    registry.follow(MACHINE_ID, follower)
    return registry, session


def sets(session: SessionId, *origins: NodeId, first: int = 2) -> bytes:
    runs = [
        encode_run(MACHINE_ID, origin, 0, encode_requests(session, 1, first + number, [frame("set", b"/a", b"%d" % number)]))
        for number, origin in enumerate(origins)
    ]
    return encode_batch(Stamps(2, 2, NEWEST_LEVEL), runs)


def test_own_commands_are_told_plainly_and_others_not_at_all() -> None:
    told = Told()
    registry, session = registry_with(told)
    registry.apply(Slot(3), sets(session, OTHER, ME, OTHER, ME))
    assert told.heard == [("plainly", 4), ("plainly", 6), ("done", 6)]


def test_who_needs_all_is_told_all() -> None:
    told = Told()
    told.all = told.then_all = True
    registry, session = registry_with(told)
    registry.apply(Slot(3), sets(session, OTHER, ME))
    assert told.heard == [("applied", 3), ("applied", 4), ("done", 4)]


def test_it_is_asked_anew_whenever_it_was_told_something() -> None:
    told = Told()
    told.then_all = True
    registry, session = registry_with(told)
    registry.apply(Slot(3), sets(session, OTHER, ME, OTHER, OTHER))
    assert told.heard == [("plainly", 4), ("applied", 5), ("applied", 6), ("done", 6)]
    told.then_all = False
    registry.apply(Slot(4), sets(session, OTHER, OTHER, ME, first=6))
    assert told.heard[4:] == [("applied", 7), ("plainly", 9), ("done", 9)]


def test_a_listener_hears_everything() -> None:
    told = Told()
    registry, session = registry_with(told)
    heard: list[int] = []

    class Listener:
        def on_events(self, index: Index, stamps: Stamps, machine: int, outcome: Outcome) -> None:
            heard.append(int(index))

    registry.listen(Listener())
    registry.apply(Slot(3), sets(session, OTHER, ME))
    assert heard == [3, 4] and told.heard == [("applied", 3), ("applied", 4), ("done", 4)]


def test_without_a_follower_nobody_is_told_and_the_state_is_the_same() -> None:
    digests = []
    for kind in (Registry, GeneralRegistry):
        machine = CoordinationMachine()
        registry = kind([machine], lambda origin, epoch: False)
        attach = encode_attach(SessionId(0), ME, 1, 10_000, bytes(16), "10.0.0.1")
        registry.apply(Slot(1), encode_batch(Stamps(1, 1, NEWEST_LEVEL), [encode_run(MACHINE_ID, ME, 0, attach)]))
        (session,) = machine.sessions
        made = encode_requests(session, 1, 1, [frame("create", b"/a", b"")])
        registry.apply(Slot(2), encode_batch(Stamps(1, 1, NEWEST_LEVEL), [encode_run(MACHINE_ID, ME, 0, made)]))
        registry.apply(Slot(3), sets(session, ME, OTHER))
        digests.append((registry.index, registry.rolling_digest, registry.full_digest()))
    assert digests[0] == digests[1] and digests[0][0] == 4
