"""Read barriers: every caller is answered exactly once, never before its slot is applied."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from loggos.base.ids import Index, Slot
from loggos.node.barriers import Barriers

TIMEOUT_S = 5.0


class BarrierModel(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.barriers = Barriers(TIMEOUT_S)
        self.now = 0.0
        self.applied = 0
        self.answers: dict[int, Index | None] = {}
        self.asked_at: dict[int, float] = {}
        self.rounds: dict[int, list[int]] = {}  # context → callers
        self.slots: dict[int, int] = {}  # caller → slot that it waits for
        self.waiting: list[int] = []

    def done(self, caller: int, index: Index | None) -> None:
        assert caller not in self.answers, "answered once"
        self.answers[caller] = index
        if index is not None:
            assert caller in self.slots and self.slots[caller] <= self.applied, "granted, and applied"
            assert index == self.applied * 10
            assert self.now < self.asked_at[caller] + TIMEOUT_S

    @rule()
    def add(self) -> None:
        caller = len(self.asked_at)
        self.asked_at[caller] = self.now
        self.waiting.append(caller)
        self.barriers.add(lambda index: self.done(caller, index), self.now)

    @precondition(lambda self: self.barriers.has_waiting)
    @rule()
    def start(self) -> None:
        context = self.barriers.start()
        assert context not in self.rounds, "a context is never used twice"
        self.rounds[context] = [caller for caller in self.waiting if caller not in self.answers]
        self.waiting = []
        assert not self.barriers.has_waiting

    @precondition(lambda self: self.rounds)
    @rule(data=st.data(), ahead=st.integers(0, 3), refused=st.booleans())
    def answer(self, data: st.DataObject, ahead: int, refused: bool) -> None:
        context = data.draw(st.sampled_from(sorted(self.rounds)))
        callers = [caller for caller in self.rounds.pop(context) if caller not in self.answers]
        if refused:
            self.barriers.granted(context, Slot(-1))
            self.waiting += callers
        else:
            self.slots.update(dict.fromkeys(callers, self.applied + ahead))
            self.barriers.granted(context, Slot(self.applied + ahead))
        self.barriers.granted(context, Slot(0))  # a second answer changes nothing

    @rule(slots=st.integers(0, 2))
    def apply(self, slots: int) -> None:
        self.applied += slots
        self.barriers.met(Slot(self.applied), Index(self.applied * 10))
        for caller, slot in self.slots.items():
            assert caller in self.answers or slot > self.applied

    @rule(seconds=st.sampled_from([0.1, 2.0, 6.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.barriers.expire(self.now)

    @invariant()
    def whoever_waits_is_known(self) -> None:
        assert self.barriers.has_waiting == any(caller not in self.answers for caller in self.waiting)

    def teardown(self) -> None:
        self.now += 3 * TIMEOUT_S
        self.barriers.fail_all()
        assert sorted(self.answers) == sorted(self.asked_at), "everybody is answered in the end"


TestBarrierModel = BarrierModel.TestCase
TestBarrierModel.settings = settings(stateful_step_count=30)


def test_each_stage_ends_at_its_deadline() -> None:
    for stage in range(3):
        barriers, answers = Barriers(TIMEOUT_S), list[Index | None]()
        barriers.add(answers.append, 1.0)
        if stage > 0:
            context = barriers.start()
        if stage > 1:
            barriers.granted(context, Slot(5))
        barriers.expire(1.0 + TIMEOUT_S - 0.1)
        assert answers == []
        barriers.expire(1.0 + TIMEOUT_S)
        assert answers == [None]
        if stage > 0:
            barriers.granted(context, Slot(0))
        barriers.met(Slot(9), Index(9))
        assert answers == [None]


def test_a_refused_round_keeps_its_deadline() -> None:
    """Refusals one after another do not let a caller wait for ever."""
    barriers, answers, now = Barriers(TIMEOUT_S), list[Index | None](), 1.0
    barriers.add(answers.append, now)
    while not answers:
        if barriers.has_waiting:
            barriers.granted(barriers.start(), Slot(-1))
        now += 0.5
        barriers.expire(now)
        assert now < 4 * TIMEOUT_S
    assert answers == [None] and now <= 1.0 + TIMEOUT_S + 0.5
