"""The search against brute force on tiny histories, and on planted faults that every textbook shows."""

from __future__ import annotations

from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loggos.check.linearizable import Call, Count, Model, Register, Verdict, check_linearizable


def brute_force(calls: list[Call], model: Model) -> bool:
    """Try every order of every set that holds all calls that returned."""
    sure = [call for call in calls if call.returned_at is not None]
    unsure = [call for call in calls if call.returned_at is None]
    for chosen in range(1 << len(unsure)):
        picked = sure + [call for bit, call in enumerate(unsure) if chosen >> bit & 1]
        if any(explains(list(order), model) for order in permutations(picked)):
            return True
    return False


def explains(order: list[Call], model: Model) -> bool:
    state = model.initial
    for position, call in enumerate(order):
        if any(later.returned_at is not None and later.returned_at < call.invoked_at for later in order[position:]):
            return False
        stepped = model.step(state, call, call.returned_at is not None)
        if stepped is None:
            return False
        state = stepped[0]
    return True


def verdicts(calls: list[Call], model: Model, **bounds: int) -> list[Verdict]:
    return [finding.verdict for finding in check_linearizable(calls, model, **bounds)]


@st.composite
def register_calls(draw: st.DrawFn) -> list[Call]:
    calls = []
    for _ in range(draw(st.integers(1, 6))):
        invoked = draw(st.integers(0, 8))
        returned = draw(st.one_of(st.none(), st.integers(invoked, 9)))
        action = draw(st.sampled_from(["read", "write", "cas"]))
        value, other = draw(st.integers(0, 2)), draw(st.integers(0, 2))
        argument = None if action == "read" else value if action == "write" else (value, other)
        result = value if action == "read" else draw(st.booleans()) if action == "cas" else None
        calls.append(Call("k", invoked, returned, action, argument, result))
    return calls


@st.composite
def counter_calls(draw: st.DrawFn) -> list[Call]:
    calls = []
    for _ in range(draw(st.integers(1, 6))):
        invoked = draw(st.integers(0, 8))
        returned = draw(st.one_of(st.none(), st.integers(invoked, 9)))
        action = draw(st.sampled_from(["read", "add"]))
        calls.append(
            Call("k", invoked, returned, action, draw(st.integers(1, 2)) if action == "add" else None, draw(st.integers(0, 5)))
        )
    return calls


@given(register_calls())
def test_registers_agree_with_brute_force(calls: list[Call]) -> None:
    expected = brute_force(calls, Register(0))
    assert all(verdict is Verdict.LEGAL for verdict in verdicts(calls, Register(0))) is expected


@given(counter_calls())
def test_counters_agree_with_brute_force(calls: list[Call]) -> None:
    expected = brute_force(calls, Count())
    assert all(verdict is Verdict.LEGAL for verdict in verdicts(calls, Count())) is expected


@pytest.mark.parametrize(
    ("calls", "legal"),
    [
        ([Call("k", 0, 1, "write", 1), Call("k", 2, 3, "read", None, 0)], False),  # stale read
        ([Call("k", 0, 3, "write", 1), Call("k", 1, 2, "read", None, 0)], True),  # overlapping
        ([Call("k", 0, None, "write", 1), Call("k", 5, 6, "read", None, 1)], True),  # unknown, took effect
        ([Call("k", 0, None, "write", 1), Call("k", 5, 6, "read", None, 0)], True),  # unknown, did not
        # unknown: took effect, and then not any more
        ([Call("k", 0, None, "write", 1), Call("k", 1, 2, "read", None, 1), Call("k", 3, 4, "read", None, 0)], False),
        # two who both win the same compare-and-set
        ([Call("k", 0, 3, "cas", (0, 1), True), Call("k", 1, 2, "cas", (0, 2), True)], False),
        # what one reader saw, a later one does not
        ([Call("k", 0, 9, "write", 1), Call("k", 1, 2, "read", None, 1), Call("k", 3, 4, "read", None, 0)], False),
    ],
)
def test_planted(calls: list[Call], legal: bool) -> None:
    assert verdicts(calls, Register(0)) == [Verdict.LEGAL if legal else Verdict.ILLEGAL]


def test_lost_and_doubled_increments() -> None:
    calls = [Call("k", n, n + 0.5, "add", 1, n + 1) for n in range(5)]
    assert verdicts([*calls, Call("k", 9, 10, "read", None, 5)], Count()) == [Verdict.LEGAL]
    assert verdicts([*calls, Call("k", 9, 10, "read", None, 4)], Count()) == [Verdict.ILLEGAL]
    assert verdicts([*calls, Call("k", 9, 10, "read", None, 6)], Count()) == [Verdict.ILLEGAL]


def test_keys_are_judged_apart() -> None:
    calls = [Call("a", 0, 1, "write", 1), Call("b", 2, 3, "read", None, 0), Call("a", 2, 3, "read", None, 0)]
    findings = check_linearizable(calls, Register(0))
    assert [(finding.key, finding.verdict) for finding in findings] == [("a", Verdict.ILLEGAL), ("b", Verdict.LEGAL)]


def test_a_thousand_calls_of_five_clients_are_quick_and_a_bound_is_kept() -> None:
    calls = []
    value = 0
    for number in range(1000):
        if number % 3:
            calls.append(Call("k", number, number + 4.5, "read", None, value))
        else:
            value = number
            calls.append(Call("k", number, number + 4.5, "write", number))
    (finding,) = check_linearizable(calls, Register(0))
    assert finding.verdict is Verdict.LEGAL and finding.steps < 20_000
    many = [Call("k", 0, None, "write", number) for number in range(18)] + [Call("k", 1, 2, "read", None, -1)]
    assert verdicts(many, Register(0), steps_max=10_000) == [Verdict.UNDECIDED]
