"""Do the nodes agree? Each tells the others its digests at slots that are the same for all; where they differ, the minority
stops (rule 18). What is told when: agreement.py.

`Digests.hear` gives a verdict when a slot's votes decide something: AGREED, WE_DIFFER (a quorum holds another digest:
this node must stop) or SPLIT (every voter has spoken and no digest has a quorum: writes must stop). Pure.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum
from typing import Final

from loggos.base.ids import NodeId, Slot

DIGEST_EVERY: Final = 64  # slots between comparisons of rolling digests
SLOTS_KEPT: Final = 64  # for which what was heard waits for who is slower


class Verdict(IntEnum):
    UNDECIDED = 0
    AGREED = 1
    WE_DIFFER = 2
    SPLIT = 3


class Digests:
    """`voters`: whose word makes a majority; a learner compares itself with them and counts for nobody."""

    def __init__(self, node: NodeId, voters: Iterable[NodeId]) -> None:
        self._node, self._voters = node, sorted(voters)
        self._heard: dict[Slot, dict[NodeId, int]] = {}
        self.agreed_slot = Slot(0)

    def hear(self, slot: Slot, node: NodeId, digest: int) -> Verdict:
        if slot <= self.agreed_slot or (node != self._node and node not in self._voters):
            return Verdict.UNDECIDED
        votes = self._heard.setdefault(slot, {})
        votes[node] = digest
        while len(self._heard) > SLOTS_KEPT:
            del self._heard[min(self._heard)]
        return self._judge(slot, votes)

    def _judge(self, slot: Slot, votes: dict[NodeId, int]) -> Verdict:
        mine = votes.get(self._node)
        if mine is None:
            return Verdict.UNDECIDED
        counts: dict[int, int] = {}
        for node, digest in votes.items():
            if node in self._voters:
                counts[digest] = counts.get(digest, 0) + 1
        best = max(counts, key=lambda digest: counts[digest], default=mine)
        if counts.get(best, 0) > len(self._voters) // 2:
            if best != mine:
                return Verdict.WE_DIFFER
            self.agreed_slot = max(self.agreed_slot, slot)
            self._heard = {s: v for s, v in self._heard.items() if s > slot or len(v) < len(self._voters)}
            return Verdict.AGREED
        return Verdict.SPLIT if sum(counts.values()) >= len(self._voters) else Verdict.UNDECIDED
