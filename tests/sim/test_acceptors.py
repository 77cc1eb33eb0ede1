"""The witness of acceptors: what was told must be held, and a choice needs a quorum of disks."""

from __future__ import annotations

from dataclasses import replace

from loggos.app.simulation.acceptors import AcceptorWitness
from loggos.base.ids import Ballot, Incarnation, NodeId, Slot
from loggos.check.history import Violation
from loggos.consensus.types import Accepted, Entry, HardState, Kind, Membership, Outgoing, Promise, Restored

ONE, TWO = NodeId(1), NodeId(2)
LIFE, OTHER_LIFE = Incarnation(1), Incarnation(77)
LOW, HIGH = Ballot(257), Ballot(513)
BOTH = [(ONE, LIFE), (TWO, LIFE)]


def restored(promised: Ballot = Ballot(0), snapshot: int = 0, life: Incarnation = LIFE, **slots: Ballot) -> Restored:
    entries = tuple(entry(int(name[1:]), ballot) for name, ballot in slots.items())
    return Restored(HardState(promised, Slot(0)), Slot(snapshot), Membership({}, {}), entries, life)


def entry(slot: int, ballot: Ballot) -> Entry:
    return Entry(Slot(slot), ballot, ballot, Kind.NOOP, b"")


def begun() -> tuple[AcceptorWitness, list[Violation]]:
    violations: list[Violation] = []
    witness = AcceptorWitness(violations)
    witness.began(ONE, restored())
    witness.given(ONE, LIFE, [entry(slot, ballot) for slot in (1, 4, 5) for ballot in (LOW, HIGH)])
    return witness, violations


def test_a_promise_that_was_told_must_come_back() -> None:
    witness, violations = begun()
    witness.told(ONE, LIFE, [Outgoing(TWO, Promise(HIGH, Slot(1), (), Slot(0), Slot(0), Slot(1)))])
    witness.began(ONE, restored(promised=HIGH))
    witness.began(ONE, restored(s1=HIGH))
    witness.began(ONE, restored(life=OTHER_LIFE))
    assert violations == []
    witness.began(ONE, restored(promised=LOW))
    assert [violation.rule for violation in violations] == ["durability"]


def test_an_entry_that_was_told_must_come_back_at_its_ballot_or_above() -> None:
    witness, violations = begun()
    witness.told(ONE, LIFE, [Outgoing(TWO, Accepted(LOW, Slot(4), Slot(5), Slot(3)))])
    witness.began(ONE, restored(s4=HIGH, s5=LOW))
    witness.began(ONE, restored(snapshot=4, s5=LOW))
    assert violations == []
    witness.began(ONE, restored(s4=LOW))
    assert len(violations) == 1 and "slot 5" in violations[0].message


def test_what_was_known_as_chosen_may_come_back_at_a_lower_ballot_but_not_be_missing() -> None:
    witness, violations = begun()
    witness.told(ONE, LIFE, [Outgoing(TWO, Accepted(HIGH, Slot(4), Slot(5), Slot(4)))])
    witness.began(ONE, restored(s4=LOW, s5=HIGH))
    assert violations == []
    witness.began(ONE, restored(s5=HIGH))
    assert len(violations) == 1 and "slot 4" in violations[0].message


def test_an_entry_that_was_never_given_must_not_come_back() -> None:
    witness, violations = begun()
    witness.began(ONE, replace(restored(s5=LOW), entries=(entry(5, LOW)._replace(payload=b"torn"),)))
    assert len(violations) == 1 and "never had" in violations[0].message


def test_a_voter_that_knew_it_as_chosen_holds_a_choice_at_whatever_ballot() -> None:
    witness, violations = begun()
    witness.began(TWO, restored())
    witness.stored(ONE, LIFE, [entry(1, HIGH)])
    witness.told(TWO, LIFE, [Outgoing(ONE, Accepted(HIGH, Slot(1), Slot(1), Slot(1)))])
    witness.chosen(ONE, HIGH, Slot(1), BOTH, 2)
    assert violations == []


def test_a_leader_leaves_no_slot_open() -> None:
    witness, violations = begun()
    for run in ((4, 5), (6,), ()):
        witness.proposed(ONE, LIFE, HIGH, [Slot(slot) for slot in run], Slot(3))
    assert violations == []
    witness.proposed(ONE, LIFE, HIGH, [Slot(8)], Slot(3))
    assert [violation.rule for violation in violations] == ["primary-order"] and "slot 7" in violations[0].message


def test_a_choice_needs_a_quorum_of_disks() -> None:
    witness, violations = begun()
    witness.began(TWO, restored())
    witness.stored(ONE, LIFE, [entry(1, LOW), entry(2, LOW)])
    witness.stored(TWO, LIFE, [entry(1, LOW)])
    witness.chosen(ONE, LOW, Slot(1), BOTH, 2)
    assert violations == []
    witness.chosen(ONE, LOW, Slot(2), BOTH, 2)
    assert len(violations) == 1 and "slot 2" in violations[0].message


def test_another_life_of_a_voter_holds_nothing_for_it() -> None:
    witness, violations = begun()
    witness.began(TWO, restored())
    witness.began(TWO, restored(life=OTHER_LIFE))
    for node in (ONE, TWO):
        witness.stored(node, LIFE, [entry(1, LOW)])
    witness.chosen(ONE, LOW, Slot(1), [(ONE, LIFE), (TWO, OTHER_LIFE)], 2)
    assert len(violations) == 1 and "disks of [1] only" in violations[0].message


def test_a_batch_behind_a_hole_in_its_leaders_run_must_not_be_applied() -> None:
    witness, violations = begun()
    opening = entry(1, LOW)
    batch = Entry(Slot(2), LOW, LOW, Kind.DATA, b"x")
    for each in (opening, batch):
        witness.delivered(ONE, each, each)
    gap = entry(3, HIGH)
    late = Entry(Slot(4), HIGH, LOW, Kind.DATA, b"y")
    witness.delivered(ONE, gap, gap)
    witness.delivered(ONE, late, late._replace(kind=Kind.NOOP, payload=b""))
    assert violations == []
    witness, violations = begun()
    for each in (opening, batch, gap, late):
        witness.delivered(ONE, each, each)
    assert [violation.rule for violation in violations] == ["primary-order"]
