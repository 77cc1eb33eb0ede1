"""The machine against a naive model, under random operations, snapshots and restores, and a second machine on the same log."""

from __future__ import annotations

from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from loggos.base.ids import Stamps
from loggos.coordination.machine import CoordinationMachine
from tests.coordination import kit
from tests.coordination.kit import Client, Driver, parse_multi, parse_reply, parse_stat, parse_string
from tests.coordination.model import Error, Model

NAMES = [b"/", b"/a", b"/b", b"/a/", b"/a/c", b"/a/c/d", b"/a/b", b"/b/e", b"/zookeeper", b"/zookeeper/quota", b"/a0000000000"]
paths = st.sampled_from(NAMES)
versions = st.sampled_from([-1, -1, -1, 0, 1, 2])
data = st.binary(max_size=4)
operations = st.one_of(
    st.tuples(st.sampled_from(["create", "create2"]), paths, data, st.integers(0, 3)),
    st.tuples(st.just("create"), paths, data, st.integers(0, 3)),
    st.tuples(st.just("delete"), paths, versions),
    st.tuples(st.just("set_data"), paths, data, versions),
    st.tuples(st.just("check"), paths, versions),
)
OPCODES = {"create": 1, "create2": 15, "delete": 2, "set_data": 5, "check": 13}


def request(operation: tuple[Any, ...]) -> kit.Request:
    result: kit.Request = getattr(kit, operation[0])(*operation[1:])
    return result


class MachineAndModel(RuleBasedStateMachine):
    @initialize()
    def start(self) -> None:
        self.driver, self.model = Driver(), Model()
        self.clients = [self.driver.client(), self.driver.client()]
        self.running: Any = None  # a snapshot in the making, and what it must give
        self.restored: CoordinationMachine | None = None

    def expected(self, operation: tuple[Any, ...], session: int, index: int, wall_ms: int) -> Any:
        """What the model answers; Error."""
        name, path, *rest = operation
        if name in ("create", "create2"):
            made = self.model.create(path, *rest, session, index, wall_ms)
            return made if name == "create" else (made, self.model.stat(made))
        if name == "delete":
            return self.model.delete(path, *rest, index)
        if name == "set_data":
            self.model.set_data(path, *rest, index, wall_ms)
            return self.model.stat(path)
        self.model.checked(path, *rest)
        return self.model.stat(path)

    def client(self, number: int) -> Client:
        return self.clients[number % len(self.clients)]

    def agree(self) -> None:
        assert self.driver.kinds() == self.model.events
        self.model.events = []

    @rule(number=st.integers(0, 1), operation=operations)
    def one(self, number: int, operation: tuple[Any, ...]) -> None:
        client = self.client(number)
        index, wall_ms = self.driver.index + 1, self.driver.wall_ms
        try:
            expected, code = self.expected(operation, client.session, index, wall_ms), 0
        except Error as error:
            expected, code = None, error.code
        reply = client.ask(request(operation))
        assert reply.error == code, operation
        if code == 0:
            got: Any = None
            if operation[0] in ("create", "create2"):
                got, rest = parse_string(reply.body)
                got = got if operation[0] == "create" else (got, parse_stat(rest))
            elif operation[0] != "delete":
                got = parse_stat(reply.body)
            assert got == expected
        self.agree()

    @rule(number=st.integers(0, 1), parts=st.lists(operations, max_size=5))
    def several(self, number: int, parts: list[tuple[Any, ...]]) -> None:
        client, before = self.client(number), self.model.copy()
        index, wall_ms = self.driver.index + 1, self.driver.wall_ms
        expected: list[tuple[int, Any]] = []
        for position, part in enumerate(parts):
            try:
                result = self.expected(part, client.session, index, wall_ms)
                expected.append((OPCODES[part[0]], None if part[0] == "check" else result))
            except Error as error:
                after = len(parts) - position - 1
                expected = [(-1, 0)] * position + [(-1, error.code)] + [(-1, -2)] * after
                self.model = before
                break
        outcome = client.run(kit.multi(*map(request, parts)))
        assert outcome.replies is not None
        assert parse_multi(parse_reply(outcome.replies[0]).body) == expected
        self.agree()

    @rule(number=st.integers(0, 1), expire=st.booleans())
    def end(self, number: int, expire: bool) -> None:
        client = self.clients.pop(number % len(self.clients))
        if expire:
            self.driver.expire((client.session, self.driver.machine.sessions[client.session].last_seen))
        else:
            client.run(kit.close())
        self.model.end(client.session, self.driver.index)
        self.agree()
        self.clients.append(self.driver.client())

    @rule(number=st.integers(0, 1))
    def attach(self, number: int) -> None:
        client = self.client(number)
        attached = self.driver.attach(client.session).attached
        assert attached is not None
        client.generation, client.sequence = attached.generation, 0

    @rule()
    def begin_snapshot(self) -> None:
        machine = self.driver.machine
        self.running = (machine.digest(), machine.snapshot(), sorted(machine.tree.nodes))

    @rule()
    def finish_snapshot(self) -> None:
        """The snapshot is that of its start, whatever happened since."""
        if self.running is None:
            return
        digest, chunks, names = self.running
        self.running = None
        copy = CoordinationMachine()
        copy.restore(chunks)
        assert copy.digest() == digest
        assert sorted(copy.tree.nodes) == names
        self.check_links(copy)

    @rule()
    def go_on_from_a_snapshot(self) -> None:
        """A node that was restored answers like one that was not."""
        machine = CoordinationMachine()
        machine.restore(list(self.driver.machine.snapshot()))
        self.running = None
        assert machine.digest() == self.driver.machine.digest()
        self.driver.machine = machine

    @invariant()
    def same_tree(self) -> None:
        machine = self.driver.machine
        assert sorted(machine.tree.nodes) == sorted(self.model.records)
        for path, record in self.model.records.items():
            assert self.driver.stat_of(path) == self.model.stat(path), path
            assert machine.tree.nodes[path].data == record.data
            names = [child.rsplit(b"/", 1)[1] for child in self.model.children(path)]
            assert sorted(machine.tree.nodes[path].children or ()) == names
        self.check_links(machine)

    def check_links(self, machine: CoordinationMachine) -> None:
        """What is derived agrees with what it is derived from."""
        for path, node in machine.tree.nodes.items():
            if node.children is not None:
                assert node.children and node.children.listing_bytes == sum(4 + len(name) for name in node.children), path
        owned = {(session.id, path) for session in machine.sessions.values() for path in session.ephemerals}
        assert owned == {(node.owner, path) for path, node in machine.tree.nodes.items() if node.owner}

    def teardown(self) -> None:
        """Another node that applies the same log, without replies, ends in the same state."""
        if not hasattr(self, "driver"):
            return
        other = CoordinationMachine()
        for index, wall_ms, command in self.driver.log:
            other.apply(index, Stamps(wall_ms, 0), command, False)
        assert other.digest() == self.driver.machine.digest()


MachineAndModel.TestCase.settings = settings(stateful_step_count=40)
TestMachineAndModel = MachineAndModel.TestCase
