"""The machine against a naive model, under random operations, snapshots and restores, and a second machine on the same log."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from loggos.base.ids import Stamps
from loggos.coordination.machine import CoordinationMachine
from loggos.coordination.tree import CONTAINER, names_of_children
from loggos.node.levels import NEWEST_LEVEL
from tests.coordination import kit
from tests.coordination.kit import Driver, parse_multi, parse_reply, parse_stat, parse_string
from tests.coordination.model import Error, Model

Operation = tuple[Any, ...]
NAMES = [b"/a", b"/a/c", b"/a/c/d", b"/b", b"/b/e", b"/a/", b"/a/c/", b"/", b"/none/x", b"/zookeeper", b"/a0000000000"]
CREATES = ("create", "create2", "create_container")
RESULT_OPCODES = {"create": 1, "create2": 1, "create_container": 1, "delete": 2, "set_data": 5, "check": 13}  # in a multi


def request(operation: Operation) -> kit.Request:
    result: kit.Request = getattr(kit, operation[0])(*operation[1:])
    return result


class Pair:
    """A machine and the model, given the same operations; every method checks that they agree."""

    def __init__(self) -> None:
        self.driver, self.model = Driver(), Model()
        self.clients = [self.driver.client(), self.driver.client()]
        self.running: Any = None  # a snapshot in the making, and what it must give
        self.did: dict[str, int] = {}  # what succeeded, how often

    def expected(self, operation: Operation, session: int, index: int, wall_ms: int, *, alone: bool = True) -> Any:
        """What the model answers; Error. What makes a container is the request where it stands alone, the flags in a multi."""
        name, path, *rest = operation
        if name in CREATES:
            container = name == "create_container" if alone else rest[1] == 4
            made = self.model.create(path, *rest, session, index, wall_ms, container)
            return made if name == "create" else (made, self.model.stat(made))
        if name == "delete":
            return self.model.delete(path, *rest, index)
        if name == "set_data":
            self.model.set_data(path, *rest, index, wall_ms)
            return self.model.stat(path)
        self.model.checked(path, *rest)
        return self.model.stat(path)

    def agree(self, what: str) -> None:
        assert self.driver.kinds() == self.model.events
        self.model.events = []
        self.did[what] = self.did.get(what, 0) + 1

    def one(self, number: int, operation: Operation) -> None:
        client = self.clients[number]
        index, wall_ms = self.driver.index + 1, self.driver.wall_ms
        try:
            expected, code = self.expected(operation, client.session, index, wall_ms), 0
        except Error as error:
            expected, code = None, error.code
        reply = client.ask(request(operation))
        assert reply.error == code, operation
        if code == 0:
            got: Any = None
            if operation[0] in CREATES:
                got, rest = parse_string(reply.body)
                got = got if operation[0] == "create" else (got, parse_stat(rest))
            elif operation[0] != "delete":
                got = parse_stat(reply.body)
            assert got == expected
        self.agree(operation[0] if code == 0 else str(code))

    def several(self, number: int, parts: list[Operation]) -> None:
        client, before = self.clients[number], self.model.copy()
        index, wall_ms = self.driver.index + 1, self.driver.wall_ms
        expected: list[tuple[int, Any]] = []
        what = "multi"
        for position, part in enumerate(parts):
            try:
                result = self.expected(part, client.session, index, wall_ms, alone=False)
                opcode = RESULT_OPCODES[part[0]]
                if part[0] in CREATES:
                    path = result if part[0] == "create" else result[0]
                    opcode, result = (15, (path, self.model.stat(path))) if part[-1] == 4 else (1, path)
                expected.append((opcode, None if part[0] == "check" else result))
            except Error as error:
                what, after = "failed multi", len(parts) - position - 1
                expected = [(-1, 0)] * position + [(-1, error.code)] + [(-1, -2)] * after
                self.model = before
                break
        outcome = client.run(kit.multi(*map(request, parts)))
        assert outcome.replies is not None
        assert parse_multi(parse_reply(outcome.replies[0]).body) == expected
        self.agree(what)

    def end(self, number: int, expire: bool) -> None:
        client = self.clients[number]
        if expire:
            self.driver.expire((client.session, self.driver.machine.sessions[client.session].last_seen))
        else:
            client.run(kit.close())
        self.model.end(client.session, self.driver.index)
        self.agree("expire" if expire else "close")
        self.clients[number] = self.driver.client()

    def reap(self, index_back: int) -> None:
        """Of all paths those go that are containers left empty, if they were so at the index that the leader saw."""
        seen = {path: record.pzxid - index_back for path, record in self.model.records.items()}
        going = self.model.emptied() if not index_back else []
        first = self.driver.index + 1
        outcome = self.driver.reap(*sorted(seen.items()), (b"/nothing", first))
        assert outcome.codes == [0] * len(going) and outcome.replies is None
        for position, path in enumerate(going):
            self.model.remove(path, first + position)
        self.agree("reap" if going else "nothing to reap")

    def attach(self, number: int) -> None:
        client = self.clients[number]
        attached = self.driver.attach(client.session).attached
        assert attached is not None
        client.generation, client.sequence = attached.generation, 0

    def begin_snapshot(self) -> None:
        machine = self.driver.machine
        self.running = (machine.digest(), machine.snapshot(), sorted(machine.tree.nodes))

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
        check_links(copy)
        self.did["snapshot"] = self.did.get("snapshot", 0) + 1

    def go_on_from_a_snapshot(self) -> None:
        """A node that was restored answers like one that was not."""
        machine = CoordinationMachine()
        machine.restore(list(self.driver.machine.snapshot()))
        self.running = None
        assert machine.digest() == self.driver.machine.digest()
        self.driver.machine = machine

    def same_tree(self) -> None:
        machine = self.driver.machine
        assert sorted(machine.tree.nodes) == sorted(self.model.records)
        for path, record in self.model.records.items():
            assert self.driver.stat_of(path) == self.model.stat(path), path
            assert machine.tree.nodes[path].data == record.data
            names = [child.rsplit(b"/", 1)[1] for child in self.model.children(path)]
            assert sorted(names_of_children(machine.tree.nodes[path])) == names
        check_links(machine)

    def same_elsewhere(self) -> None:
        """Another node that applies the same log, without replies, ends in the same state."""
        other = CoordinationMachine()
        for index, wall_ms, command in self.driver.log:
            other.apply(index, Stamps(wall_ms, 0, NEWEST_LEVEL), command, False)
        assert other.digest() == self.driver.machine.digest()


def check_links(machine: CoordinationMachine) -> None:
    """What is derived agrees with what it is derived from."""
    for path, node in machine.tree.nodes.items():
        if node.children is not None:
            assert node.children and node.children.listing_bytes == sum(4 + len(name) for name in node.children.names()), path
    left = {p for p, node in machine.tree.nodes.items() if node.owner == CONTAINER and node.creates and not node.children}
    assert machine.tree.emptied.keys() == left
    owned = {(session.id, path) for session in machine.sessions.values() for path in session.ephemerals}
    assert owned == {(node.owner, path) for path, node in machine.tree.nodes.items() if node.owner > 0}


# --- drawn by hypothesis: small, and shrinks ---

paths = st.sampled_from(NAMES)
versions = st.sampled_from([-1, -1, -1, 0, 1])
data = st.binary(max_size=4)
creates = st.tuples(st.sampled_from(CREATES), paths, data, st.integers(0, 4))
operations = st.one_of(
    creates,
    creates,
    st.tuples(st.just("delete"), paths, versions),
    st.tuples(st.just("set_data"), paths, data, versions),
    st.tuples(st.just("check"), paths, versions),
)


class MachineAndModel(RuleBasedStateMachine):
    @initialize()
    def start(self) -> None:
        self.pair = Pair()

    @rule(number=st.integers(0, 1), several=st.lists(operations, min_size=1, max_size=6))
    def singly(self, number: int, several: list[Operation]) -> None:
        for operation in several:
            self.pair.one(number, operation)

    @rule(number=st.integers(0, 1), parts=st.lists(operations, max_size=5))
    def together(self, number: int, parts: list[Operation]) -> None:
        self.pair.several(number, parts)

    @rule(number=st.integers(0, 1), expire=st.booleans())
    def end(self, number: int, expire: bool) -> None:
        self.pair.end(number, expire)

    @rule(index_back=st.sampled_from([0, 0, 1]))
    def reap(self, index_back: int) -> None:
        self.pair.reap(index_back)

    @rule(number=st.integers(0, 1))
    def attach(self, number: int) -> None:
        self.pair.attach(number)

    @rule(begin=st.booleans())
    def snapshot(self, begin: bool) -> None:
        self.pair.finish_snapshot()
        if begin:
            self.pair.begin_snapshot()

    @rule()
    def restore(self) -> None:
        self.pair.go_on_from_a_snapshot()

    @invariant()
    def same_tree(self) -> None:
        self.pair.same_tree()

    def teardown(self) -> None:
        if hasattr(self, "pair"):
            self.pair.same_elsewhere()


MachineAndModel.TestCase.settings = settings(stateful_step_count=20)
TestMachineAndModel = MachineAndModel.TestCase


# --- drawn by a seed: long, and reaches everything ---


def draw(rng: random.Random) -> Operation:
    name = rng.choices(["create", "create2", "create_container", "delete", "set_data", "check"], [6, 2, 1, 4, 4, 1])[0]
    path = rng.choices(NAMES, [4, 4, 4, 4, 4, 2, 2, 1, 1, 1, 1])[0]
    if name in CREATES:
        return name, path, rng.randbytes(rng.randrange(4)), rng.choice([0, 0, 1, 1, 2, 3, 4, 4])
    version = rng.choice([-1, -1, -1, 0, 1])
    if name == "set_data":
        return name, path, rng.randbytes(rng.randrange(4)), version
    if name == "delete" and rng.random() < 0.5:
        path += rng.choice([b"0000000000", b"0000000001", b"0000000002"])
    return name, path, version


GUEST: list[Operation] = [("create_container", b"/r", b"", 4), ("create", b"/r/x", b"", 1), ("delete", b"/r/x", -1)]
TURNS = ["one", "several", "guest", "end", "attach", "reap", "begin", "finish", "restore"]


@pytest.mark.parametrize("seed", range(6))
def test_a_long_run_agrees_with_the_model(seed: int) -> None:
    rng, pair = random.Random(seed), Pair()
    for _ in range(700):
        number = rng.randrange(2)
        turn = rng.choices(TURNS, [60, 20, 12, 3, 2, 5, 10, 10, 1])[0]
        if turn == "one":
            pair.one(number, draw(rng))
        elif turn == "several":
            pair.several(number, [draw(rng) for _ in range(rng.randrange(5))])
        elif turn == "guest":
            pair.one(number, rng.choice(GUEST))
        elif turn == "end":
            pair.end(number, rng.random() < 0.5)
        elif turn == "reap":
            pair.reap(rng.choice([0, 0, 1]))
        elif turn == "attach":
            pair.attach(number)
        elif turn == "begin":
            pair.finish_snapshot()
            pair.begin_snapshot()
        elif turn == "finish":
            pair.finish_snapshot()
        else:
            pair.go_on_from_a_snapshot()
        pair.same_tree()
    pair.same_elsewhere()
    done = (*CREATES, "delete", "set_data", "multi", "failed multi", "close", "snapshot", "reap", "nothing to reap")
    for what in (*done, "-101", "-103", "-110", "-111"):
        assert pair.did.get(what, 0) >= 1, f"{what} was hardly reached: {pair.did}"
