"""The outbox: admission, epochs and the fate of each run, against a model that remembers every run by name."""

from __future__ import annotations

from collections import deque

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from loggos.base.errors import OverloadedError
from loggos.base.ids import NodeId
from loggos.node.batch import EPOCHS, RUN_HEADER, encode_run
from loggos.node.outbox import Outbox
from tests.node.kit import commands_of

ME, OTHER, THIRD = NodeId(1), NodeId(2), NodeId(3)
BYTES_MAX = 300


class OutboxModel(RuleBasedStateMachine):
    """Runs are named by their command. The log applies what was sent, in order, until `interrupt` says that it may not."""

    def __init__(self) -> None:
        super().__init__()
        self.outbox = Outbox(ME, EPOCHS - 2, BYTES_MAX)
        self.names = 0
        self.waiting: list[bytes] = []  # own, taken and not sent
        self.sent: deque[bytes] = deque()  # own, sent and waited for
        self.with_the_log: deque[tuple[int, NodeId, int, bytes]] = deque()  # everything that may still be applied, in order
        self.ever_sent: dict[bytes, None] = {}
        self.foreign: list[bytes] = []

    def name(self, size: int) -> bytes:
        self.names += 1
        return b"%d." % self.names + b"x" * size

    def own_bytes(self) -> int:
        return sum(len(c) + RUN_HEADER.size for c in (*self.waiting, *self.sent))

    @rule(size=st.integers(0, 120))
    def put(self, size: int) -> None:
        command = self.name(size)
        fits = not self.own_bytes() or self.own_bytes() + len(command) + RUN_HEADER.size <= BYTES_MAX
        if not fits:
            with pytest.raises(OverloadedError):
                self.outbox.put(7, command)
            return
        self.outbox.put(7, command)
        self.waiting.append(command)

    @rule(origin=st.sampled_from([OTHER, THIRD]), sizes=st.lists(st.integers(0, 60), min_size=1, max_size=3))
    def forwarded(self, origin: NodeId, sizes: list[int]) -> None:
        commands = [self.name(size) for size in sizes]
        runs = b"".join(encode_run(7, origin, self.outbox.epoch, command) for command in commands)
        if self.outbox.put_forwarded(runs, len(commands)):
            self.foreign += commands

    @precondition(lambda self: self.outbox.queue)
    @rule(bytes_max=st.integers(1, 400))
    def send(self, bytes_max: int) -> None:
        queued = self.outbox.queue_bytes
        taken = self.outbox.take(bytes_max)
        assert taken and (len(taken) == 1 or sum(map(len, taken)) <= bytes_max)
        assert self.outbox.queue_bytes == queued - sum(map(len, taken)) == sum(map(len, self.outbox.queue))
        for run in (run for blob in taken for run in commands_of(blob)):
            _, origin, _, command = run
            assert command not in self.ever_sent, "nothing is ever sent twice"
            self.ever_sent[command] = None
            self.with_the_log.append(run)
            if origin == ME:
                assert command == self.waiting.pop(0), "in order"
                self.sent.append(command)

    @precondition(lambda self: self.with_the_log)
    @rule()
    def applied(self) -> None:
        _, origin, epoch, command = self.with_the_log.popleft()
        mine = self.outbox.is_mine(origin, epoch)
        assert mine == (origin == ME and bool(self.sent) and self.sent[0] == command)
        if mine:
            self.sent.popleft()

    @rule(has_led=st.booleans())
    def leadership_changes(self, has_led: bool) -> None:
        out = bool(self.sent) or (bool(self.waiting) and (has_led or self.partly_taken()))
        told = self.outbox.interrupt(has_led)
        if self.sent:
            assert told
        if told:
            self.waiting, self.sent = [], deque()
            assert not self.outbox.queue and self.outbox.queue_bytes == 0
        else:
            assert not out
            kept = [run[3] for blob in self.outbox.queue for run in commands_of(blob)]
            assert kept == self.waiting, "ours wait for the next leader; others' are theirs to give up"

    def partly_taken(self) -> bool:
        return bool(self.outbox._sent_own)

    @precondition(lambda self: self.with_the_log and not self.sent)
    @rule()
    def the_log_loses_the_rest(self) -> None:
        """Without ours among what this node waits for, nobody need be told."""
        self.with_the_log.clear()

    @invariant()
    def what_waits_is_what_was_put(self) -> None:
        own = [run[3] for blob in self.outbox.queue for run in commands_of(blob) if run[1] == ME]
        assert own == self.waiting

    @invariant()
    def the_count_of_runs_is_right_or_cautious(self) -> None:
        actual = sum(1 for blob in self.outbox.queue for _ in commands_of(blob))
        assert self.outbox.queue_runs <= actual and bool(self.outbox.queue_runs) == bool(actual)


TestOutboxModel = OutboxModel.TestCase
TestOutboxModel.settings = settings(stateful_step_count=40)


def test_another_nodes_run_of_the_same_epoch_is_not_mine() -> None:
    outbox = Outbox(ME, 5)
    outbox.put(7, b"x")
    outbox.take(100)
    assert not outbox.is_mine(OTHER, 5)
    assert not outbox.is_mine(ME, 4)
    assert outbox.is_mine(ME, 5)
    assert not outbox.is_mine(ME, 5), "each run once"


def test_epochs_wrap() -> None:
    outbox = Outbox(ME, EPOCHS - 1)
    outbox.put(7, b"x")
    outbox.take(100)
    assert outbox.interrupt() and outbox.epoch == 0


def test_a_single_command_larger_than_the_bound_is_taken_alone() -> None:
    outbox = Outbox(ME, 0, 100)
    outbox.put(7, b"x" * 500)
    with pytest.raises(OverloadedError, match="508 bytes of node 1 wait"):
        outbox.put(7, b"")


def test_what_a_leader_queued_is_given_up_though_nothing_was_sent() -> None:
    outbox = Outbox(ME, 5)
    outbox.put(7, b"expire")
    assert outbox.interrupt(queued_too=True) and not outbox.queue and outbox.epoch == 6
    assert not outbox.interrupt(queued_too=True), "nothing waits any more"


def test_room_comes_back_with_outcomes_and_with_interruptions() -> None:
    outbox = Outbox(ME, 0, 100)
    for _ in range(50):
        outbox.put(7, b"x" * 80)
        outbox.take(1000)
        assert outbox.is_mine(ME, outbox.epoch)
    for _ in range(50):
        outbox.put(7, b"x" * 80)
        outbox.take(1000)
        assert outbox.interrupt()


@given(st.lists(st.integers(0, 50), min_size=1, max_size=20), st.integers(1, 200))
def test_taking_empties_the_queue_in_order(sizes: list[int], bytes_max: int) -> None:
    outbox = Outbox(ME, 0)
    for number, size in enumerate(sizes):
        outbox.put(number, b"x" * size)
    seen = []
    while outbox.queue:
        seen += [run[0] for blob in outbox.take(bytes_max) for run in commands_of(blob)]
    assert seen == list(range(len(sizes)))


def test_a_leader_holds_a_bounded_amount_for_others() -> None:
    outbox = Outbox(ME, 0, 100)
    taken = 0
    while outbox.put_forwarded(b"x" * 50, 1):
        taken += 1
    assert taken == 8
    outbox.take(1000)
    assert outbox.put_forwarded(b"x" * 50, 1)
