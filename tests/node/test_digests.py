"""Verdicts on digests: the minority stops; without a majority, writes stop."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from loggos.base.ids import NodeId, Slot
from loggos.node.digests import SLOTS_KEPT, Digests, Verdict

VOTERS = (NodeId(1), NodeId(2), NodeId(3))


def final(me: int, votes: dict[int, int], order: tuple[int, ...]) -> Verdict:
    """What node `me` concludes once it has heard everybody in `order`."""
    digests = Digests(NodeId(me), VOTERS)
    verdict = Verdict.UNDECIDED
    for node in order:
        heard = digests.hear(Slot(64), NodeId(node), votes[node])
        if heard is not Verdict.UNDECIDED:
            verdict = heard
    return verdict


def test_three_nodes_whatever_the_order() -> None:
    for order in itertools.permutations(VOTERS):
        for me in VOTERS:
            assert final(me, {1: 7, 2: 7, 3: 7}, order) is Verdict.AGREED
            assert final(me, {1: 7, 2: 8, 3: 7}, order) is (Verdict.WE_DIFFER if me == 2 else Verdict.AGREED)
            assert final(me, {1: 7, 2: 8, 3: 9}, order) is Verdict.SPLIT


def test_a_quorum_is_enough_and_less_is_not() -> None:
    digests = Digests(NodeId(1), VOTERS)
    assert digests.hear(Slot(64), NodeId(1), 7) is Verdict.UNDECIDED
    assert digests.hear(Slot(64), NodeId(2), 7) is Verdict.AGREED
    assert digests.agreed_slot == 64
    assert digests.hear(Slot(128), NodeId(1), 7) is Verdict.UNDECIDED
    assert digests.hear(Slot(128), NodeId(2), 8) is Verdict.UNDECIDED, "one against one decides nothing"
    assert digests.hear(Slot(128), NodeId(3), 8) is Verdict.WE_DIFFER


def test_nothing_is_concluded_before_this_node_has_spoken() -> None:
    digests = Digests(NodeId(1), VOTERS)
    assert digests.hear(Slot(64), NodeId(2), 8) is Verdict.UNDECIDED
    assert digests.hear(Slot(64), NodeId(3), 8) is Verdict.UNDECIDED
    assert digests.hear(Slot(64), NodeId(1), 7) is Verdict.WE_DIFFER


def test_a_node_votes_once_per_slot() -> None:
    digests = Digests(NodeId(1), VOTERS)
    digests.hear(Slot(64), NodeId(1), 7)
    for _ in range(3):
        assert digests.hear(Slot(64), NodeId(2), 8) is Verdict.UNDECIDED


def test_a_learner_does_not_make_a_majority() -> None:
    """Node 4 follows without voting: what it says must not outvote a voter, nor make three voices of two."""
    digests = Digests(NodeId(1), VOTERS)
    digests.hear(Slot(64), NodeId(1), 7)
    assert digests.hear(Slot(64), NodeId(4), 8) is Verdict.UNDECIDED
    assert digests.hear(Slot(64), NodeId(2), 8) is Verdict.UNDECIDED
    assert digests.hear(Slot(64), NodeId(3), 7) is Verdict.AGREED


def test_a_learner_that_differs_from_the_voters_stops() -> None:
    digests = Digests(NodeId(4), VOTERS)
    digests.hear(Slot(64), NodeId(4), 8)
    assert digests.hear(Slot(64), NodeId(1), 7) is Verdict.UNDECIDED
    assert digests.hear(Slot(64), NodeId(2), 7) is Verdict.WE_DIFFER


def test_a_learner_does_not_count_itself() -> None:
    digests = Digests(NodeId(4), VOTERS)
    digests.hear(Slot(64), NodeId(4), 7)
    assert digests.hear(Slot(64), NodeId(1), 7) is Verdict.UNDECIDED
    assert digests.hear(Slot(64), NodeId(2), 7) is Verdict.AGREED


@given(st.lists(st.tuples(st.integers(1, 10_000), st.sampled_from([2, 3]), st.integers(0, 3)), max_size=300))
def test_memory_is_bounded(heard: list[tuple[int, int, int]]) -> None:
    digests = Digests(NodeId(1), VOTERS)
    for slot, node, digest in heard:
        digests.hear(Slot(slot), NodeId(node), digest)
        assert len(digests._heard) <= SLOTS_KEPT
