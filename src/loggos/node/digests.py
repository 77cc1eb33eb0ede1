"""Do the nodes agree? Each tells the others its rolling digest at every DIGEST_EVERY slots; where they differ, the
minority stops (rule 18).

`Digests.hear` gives a verdict when a slot's votes decide something: AGREED, WE_DIFFER (a quorum holds another digest:
this node must stop) or SPLIT (every voter has spoken and no digest has a quorum: writes must stop). Pure.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final

from loggos.base.ids import NodeId, Slot

DIGEST_EVERY: Final = 64  # slots between comparisons
SLOTS_KEPT: Final = 64


class Verdict(IntEnum):
    UNDECIDED = 0
    AGREED = 1
    WE_DIFFER = 2
    SPLIT = 3


class Digests:
    def __init__(self, node: NodeId, voters: int) -> None:
        self._node, self._voters = node, voters
        self._heard: dict[Slot, dict[NodeId, int]] = {}
        self.agreed_slot = Slot(0)

    def hear(self, slot: Slot, node: NodeId, digest: int) -> Verdict:
        if slot <= self.agreed_slot:
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
        for digest in votes.values():
            counts[digest] = counts.get(digest, 0) + 1
        best = max(counts, key=lambda digest: counts[digest])
        if counts[best] > self._voters // 2:
            if best != mine:
                return Verdict.WE_DIFFER
            self.agreed_slot = max(self.agreed_slot, slot)
            self._heard = {s: v for s, v in self._heard.items() if s > slot or len(v) < self._voters}
            return Verdict.AGREED
        return Verdict.SPLIT if len(votes) >= self._voters else Verdict.UNDECIDED
