"""`has_news` is what tells a driver that it need not ask `ready`: whenever `ready` would give something, it must have said so.

The other way round is not required, only wished for: that news turns out to be none is a turn in vain, not a loss. It may be
so where a leader is closing open slots, where barriers wait for a round, where everybody left unattended is not told, and where
a promise that was to be saved has been saved already.
"""

from __future__ import annotations

from collections import Counter
from typing import ClassVar

import pytest

from loggos.base.ids import Incarnation, NodeId, Slot
from loggos.consensus.codec import encode_rejoin
from loggos.consensus.engine import Paxos
from loggos.consensus.types import Accept, Entry, HardState, Kind, Ready, Rejoin, Restored
from tests.consensus.chaos import Chaos
from tests.consensus.harness import World
from tests.consensus.test_scenarios import B2, LIFE, MEMBERS, data, drain, lone, noop

STEPS = 1_500


class Checked(Paxos):
    """Asks for effects whatever `has_news` says, and compares."""

    asks_anyway = False
    # "full"; "empty": asked in vain although there was said to be news; "silent": there was said to be nothing, and was nothing
    tally: ClassVar[Counter[str]] = Counter()

    def has_news(self) -> bool:
        return self.asks_anyway or super().has_news()

    def ready(self) -> Ready | None:
        told = super().has_news()
        expected = told and not self.may_be_in_vain()
        self.asks_anyway = True
        found = super().ready()
        self.asks_anyway = False
        assert told or found is None, f"nobody was told of {found}"
        assert found is not None or not expected, "there is said to be news, and there is none"
        self.tally["full" if found is not None else "empty" if told else "silent"] += 1
        return found

    def may_be_in_vain(self) -> bool:
        lead = self.lead
        leading = lead is not None and (lead.campaign is not None or bool(self.waiting) or lead.announced < self.log.chosen)
        return leading or self.must_save


class Attending(Chaos):
    """The same schedules, with clients that come and go at every node."""

    def happen(self) -> None:
        node = self.node()
        if node is not None:
            node.engine.attend(self.random.random() < 0.5)
            node.engine.peer_attended(self.random.choice(list(self.world.disks)))
            node.pump()

    def tick(self) -> bool:
        self.happen()
        return super().tick()


@pytest.mark.parametrize("voters", [2, 3, 5])
def test_whatever_happens_ready_gives_nothing_that_was_not_told_of(voters: int) -> None:
    tally: Counter[str] = Counter()
    engine = type("Counting", (Checked,), {"tally": tally})

    for seed in range(8):
        chaos = Attending(seed, voters=voters, learners=seed % 2, engine=engine, wipes=voters > 2)
        for _ in range(STEPS // 50):
            for action in chaos.random.choices(chaos.actions, chaos.weights, k=50):
                action()
                for node in chaos.world.nodes.values():
                    node.pump()  # after every event, at every node
        chaos.demand_progress()
    assert tally["full"] > 1_000 and tally["silent"] > 1_000
    assert tally["empty"] < tally["full"] / 4, tally


def test_on_a_quiet_network_there_is_no_news_between_events() -> None:
    world = World(engine=Checked)
    leader = world.elect()
    world.run(200)
    for node in world.nodes.values():
        assert not node.engine.has_news() and node.engine.ready() is None
    assert leader.engine.propose(b"x") and leader.engine.has_news()
    leader.pump()
    assert not leader.engine.has_news()


def test_a_driver_is_told_when_a_chosen_rejoin_can_be_saved() -> None:
    """Rule 6: that it is chosen is on the disk once its entries are, though nothing else is to be said then."""
    engine = lone(1, engine=Checked)
    rejoin = Entry(Slot(2), B2, B2, Kind.CONFIG, encode_rejoin(Rejoin(NodeId(3), Incarnation(7))))
    engine.step(NodeId(2), LIFE, Accept(B2, (noop(1, B2), rejoin), Slot(0)))
    first = drain(engine, persist=False)
    engine.step(NodeId(2), LIFE, Accept(B2, (), Slot(2)))  # chosen while the disk works
    second = drain(engine, persist=False)
    assert [entry.slot for ready in second for entry in ready.committed] == [1, 2]
    assert all(ready.hard_state is None or ready.hard_state.chosen < 2 for ready in [*first, *second])
    engine.persisted(second[-1].number)
    assert engine.has_news()
    assert [ready.hard_state for ready in drain(engine)] == [HardState(B2, Slot(2))]


def test_a_node_that_begins_has_its_standing_to_tell() -> None:
    engine = Checked(
        NodeId(1),
        Restored(HardState(B2, Slot(1)), Slot(0), MEMBERS, (noop(1, B2), data(2, B2))),
        now_ms=0,
        random=lambda bound: bound - 1,
    )
    assert engine.has_news()
    (ready,) = drain(engine)
    assert [entry.slot for entry in ready.committed] == [1] and ready.status is not None
    assert not engine.has_news()
