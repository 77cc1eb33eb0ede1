"""The registry: indices, clocks, outcomes, events between machines, digests, snapshots."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loggos.base.errors import ConfigError, DamageError, InternalError
from loggos.base.ids import Index, NodeId, Slot, Stamps
from loggos.node.batch import encode_batch, encode_run
from loggos.node.levels import NEWEST_LEVEL, OLDEST_LEVEL
from loggos.node.registry import SNAPSHOT_HEAD, Registry
from tests.node.kit import ECHO, LEDGER, Echo, Ledger, Watcher

ME, OTHER = NodeId(1), NodeId(2)


def registry(mine: Callable[[NodeId, int], bool] = lambda origin, epoch: origin == ME) -> tuple[Registry, Watcher, Watcher]:
    made = Registry([Ledger(), Echo()], mine)
    one, two = Watcher(), Watcher()
    made.follow(LEDGER, one)
    made.follow(ECHO, two)
    return made, one, two


def batch(*runs: tuple[int, NodeId, bytes], stamps: Stamps = Stamps(1000, 10, NEWEST_LEVEL)) -> bytes:
    return encode_batch(stamps, [encode_run(machine, origin, 0, command) for machine, origin, command in runs])


def test_indices_count_operations_and_no_ops_take_none() -> None:
    made, one, two = registry()
    made.apply(Slot(1), b"")
    assert (made.slot, made.index, one.events) == (1, 0, [])
    made.apply(Slot(2), batch((LEDGER, ME, b"a=1;b=2;c=3"), (ECHO, OTHER, b"a=1"), (LEDGER, OTHER, b"a=1")))
    assert [event[:3] for event in one.of("applied")] == [("applied", 3, b"a=1;b=2;c=3"), ("applied", 5, b"a=1")]
    assert [event[:3] for event in two.of("applied")] == [("applied", 4, b"a=1")]
    assert one.of("applied")[0][5] == ["1:a=1", "2:b=2", "3:c=3"]
    assert one.events[-1] == two.events[-1] == ("batch_done", 5)
    made.apply(Slot(3), b"")
    assert (made.slot, made.index) == (3, 5)


def test_only_what_this_node_waits_for_is_answered() -> None:
    made, one, _ = registry()
    made.apply(Slot(1), batch((LEDGER, OTHER, b"a=1"), (LEDGER, ME, b"b=1")))
    assert one.asked == [b"b=1"], "a follower is asked for this node's commands only"
    assert [event[5] for event in one.of("applied")] == [None, ["2:b=1"]]
    one.answers = False
    made.apply(Slot(2), batch((LEDGER, ME, b"c=1")))
    assert one.of("applied")[-1][5] is None


def test_every_run_is_shown_to_the_outbox_once_in_order() -> None:
    seen: list[tuple[int, int]] = []
    made, _, _ = registry(lambda origin, epoch: bool(seen.append((origin, epoch))))
    runs = [encode_run(LEDGER, NodeId(number % 3), number, b"a=1") for number in range(9)]
    made.apply(Slot(1), encode_batch(Stamps(1, 1, NEWEST_LEVEL), runs))
    assert seen == [(number % 3, number) for number in range(9)]


def test_a_slot_is_applied_once_and_none_is_skipped() -> None:
    made, _, _ = registry()
    made.apply(Slot(1), b"")
    for slot in (1, 3):
        with pytest.raises(AssertionError):
            made.apply(Slot(slot), b"")


def test_the_cells_clock_never_goes_back_and_the_wall_clock_may() -> None:
    made, _, _ = registry()
    made.apply(Slot(1), batch((LEDGER, ME, b"a=1"), stamps=Stamps(5000, 100, NEWEST_LEVEL)))
    made.apply(Slot(2), batch((LEDGER, ME, b"a=1"), stamps=Stamps(4000, 90, NEWEST_LEVEL)))
    assert made.stamps == Stamps(4000, 100, NEWEST_LEVEL)
    assert made.machines[LEDGER].last_cell_ms == 100  # type: ignore[attr-defined]


def test_an_unknown_machine_stops_the_node() -> None:
    made, _, _ = registry()
    with pytest.raises(InternalError, match="machine 99"):
        made.apply(Slot(1), batch((99, ME, b"a=1")))


def test_events_reach_machines_and_listeners_at_the_same_index_before_followers() -> None:
    made, one, _ = registry()
    echo: Any = made.machines[ECHO]
    heard: list[tuple[int, int]] = []

    class Listener:
        def on_events(self, index: Index, stamps: Any, machine: int, outcome: Any) -> None:
            assert not one.of("applied") or machine == ECHO
            heard.append((index, machine))

    made.listen(Listener())
    made.apply(Slot(1), batch((LEDGER, ME, b"a=1;b=2"), (ECHO, ME, b"c=1")))
    assert echo.heard == [(2, LEDGER, [1, 2])], "a machine does not hear itself"
    assert heard == [(2, LEDGER), (3, ECHO)]


# --- digests -----------------------------------------------------------------------------------------------------------------

commands = st.lists(st.sampled_from([b"a=1", b"a=-1", b"b=2;c=3", b"zz=9"]), max_size=4)
batches = st.lists(st.one_of(st.just(None), commands), min_size=1, max_size=8)


def run_all(made: Registry, slots: list[list[bytes] | None]) -> Registry:
    for slot, entry in enumerate(slots, made.slot + 1):
        made.apply(Slot(slot), b"" if entry is None else batch(*[(LEDGER, ME, command) for command in entry]))
    return made


@given(batches)
def test_equal_logs_give_equal_digests_whoever_waits_for_outcomes(slots: list[list[bytes] | None]) -> None:
    one = run_all(registry()[0], slots)
    two = run_all(Registry([Ledger(), Echo()], lambda origin, epoch: False), slots)
    assert (one.rolling_digest, one.full_digest(), one.index) == (two.rolling_digest, two.full_digest(), two.index)


@given(batches, st.sampled_from([b"a=1", b"q=1"]))
def test_another_entry_gives_another_digest(slots: list[list[bytes] | None], extra: bytes) -> None:
    one = run_all(registry()[0], [*slots, [extra]])
    two = run_all(registry()[0], [*slots, [extra + b"0"]])
    assert one.rolling_digest != two.rolling_digest
    assert one.full_digest() != two.full_digest()


def test_another_result_gives_another_digest() -> None:
    class Refusing(Ledger):
        def change_of(self, amount: int) -> int:
            return -1

    one = run_all(Registry([Ledger()], lambda origin, epoch: False), [[b"a=1"]])
    two = run_all(Registry([Refusing()], lambda origin, epoch: False), [[b"a=1"]])
    assert one.rolling_digest != two.rolling_digest


def test_another_mark_and_another_index_give_another_digest() -> None:
    class Marked(Ledger):
        marks = [0]
        codes = [0]

        def apply(self, first_index: Any, stamps: Any, command: bytes, answer: bool) -> Any:
            outcome = super().apply(first_index, stamps, command, answer)
            outcome.codes, outcome.left = self.codes, self.marks
            return outcome

    def digest(codes: list[int], marks: list[int]) -> int:
        machine = Marked()
        machine.codes, machine.marks = codes, marks
        made = run_all(Registry([machine], lambda origin, epoch: False), [[b"a=1"]])
        return made.rolling_digest

    plain = digest([0], [0])
    assert digest([0], [1]) != plain, "the operation left something else"
    assert digest([0, 0], [0]) != plain, "it took two indices"
    assert digest([0], [0]) == plain


@given(batches)
def test_the_digest_in_steps_is_of_the_state_at_the_first_one(slots: list[list[bytes] | None]) -> None:
    made = run_all(registry()[0], slots)
    expected, steps = made.full_digest(), made.digesting()
    next(steps)
    run_all(made, [[b"later=5"]])
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            assert stop.value == expected != made.full_digest()
            return


# --- snapshots ---------------------------------------------------------------------------------------------------------------


@given(batches, batches)
def test_a_restored_registry_goes_on_as_the_first_one(before: list[list[bytes] | None], after: list[list[bytes] | None]) -> None:
    first = run_all(registry()[0], before)
    second, watcher, _ = registry()
    second.restore(list(first.snapshot()))
    assert watcher.events == [("restored",)] and second.restores == 1
    for made in (first, second):
        run_all(made, after)
    assert (first.slot, first.index, first.stamps) == (second.slot, second.index, second.stamps)
    assert (first.rolling_digest, first.full_digest()) == (second.rolling_digest, second.full_digest())


def test_a_snapshot_is_of_when_it_began() -> None:
    made, _, _ = registry()
    made.apply(Slot(1), batch((LEDGER, ME, b";".join(b"%d=1" % number for number in range(500)))))
    chunks = made.snapshot()
    taken = [next(chunks)]
    made.apply(Slot(2), batch((LEDGER, ME, b"7=100;new=1")))
    taken += list(chunks)
    other, _, _ = registry()
    other.restore(taken)
    assert (other.slot, other.index) == (1, 500)
    assert other.machines[LEDGER].totals == {str(number): 1 for number in range(500)}  # type: ignore[attr-defined]


def test_beginning_a_walk_is_counted() -> None:
    made, _, _ = registry()
    made.apply(Slot(1), batch((LEDGER, ME, b"a=1")))
    chunks = made.machine_snapshot(LEDGER)
    assert made.walks == 1
    next(made.snapshot())
    assert made.walks == 2
    assert list(chunks) == list(made.machines[LEDGER].snapshot())
    assert list(made.machine_snapshot(ECHO)) == []


def test_a_snapshot_without_a_head_or_of_another_level_is_refused_and_nothing_changes() -> None:
    made, watcher, _ = registry()
    made.apply(Slot(1), batch((LEDGER, ME, b"a=1")))
    watcher.events.clear()
    head, *rest = made.snapshot()
    for chunks, error in (
        ([], DamageError),
        ([head[:-1], *rest], DamageError),
        ([bytes((NEWEST_LEVEL + 1,)) + head[1:], *rest], ConfigError),
        ([bytes((OLDEST_LEVEL - 1,)) + head[1:], *rest], ConfigError),
        ([head, b"\x63unknown"], InternalError),
        ([head, b""], InternalError),
    ):
        with pytest.raises(error):
            made.restore(chunks)
        assert (made.slot, made.index, made.restores, watcher.events) == (1, 1, 0, [])
        assert made.machines[LEDGER].totals == {"a": 1}  # type: ignore[attr-defined]
    assert len(head) == SNAPSHOT_HEAD.size


def test_a_snapshot_is_installed_in_steps_beside_the_present_state() -> None:
    """Batches may be applied between the steps: they change the present state, which the snapshot's then replaces."""
    source, _, _ = registry()
    source.slice_items = 3  # type: ignore[attr-defined]
    for slot in range(1, 5):
        source.apply(Slot(slot), batch((LEDGER, ME, b"a=%d" % slot), (ECHO, ME, b"a=%d" % slot)))
    chunks = list(source.snapshot())
    made, watcher, _ = registry()
    steps, paused = made.restoring(chunks), 0
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            replace = stop.value
            break
        paused += 1
        made.apply(Slot(paused), batch((LEDGER, ME, b"b=1")))
        assert made.machines[LEDGER].totals == {"b": paused}  # type: ignore[attr-defined]
        assert made.restores == 0 and watcher.of("restored") == []
    assert paused >= 1
    replace()
    assert watcher.events[-1] == ("restored",) and made.restores == 1
    assert (made.slot, made.index, made.stamps) == (source.slot, source.index, source.stamps)
    assert (made.rolling_digest, made.full_digest()) == (source.rolling_digest, source.full_digest())
