"""Who takes a slot for chosen must be right about whose disks have it: that is told at the moment of counting, so that a check
need not wait until a wrong count is felt as two values."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from loggos.base.ids import Ballot, Incarnation, NodeId, Slot
from loggos.consensus.engine import Paxos
from loggos.consensus.leader import Leadership

Voter = tuple[NodeId, Incarnation]
# The engine that counted, the slot and the ballot, and whose votes it may have counted: a quorum of these must have the slot.
Counted = Callable[[Paxos, Slot, Ballot, list[Voter]], None]


def counting(base: type[Any], counted: Counted) -> type[Any]:
    """An engine type that says what it takes for chosen because of votes."""

    class Counting(base):  # type: ignore[misc]
        def advance(self, lead: Leadership) -> None:
            before = self.log.chosen
            super().advance(lead)
            self._tell_counted(before, lead.ballot, list(self.membership.voters))

        def learn_by_votes(self) -> None:
            before = self.log.chosen
            super().learn_by_votes()
            self._tell_counted(before, self.leader_ballot, [self.node, self.leader])

        def _tell_counted(self, before: Slot, ballot: Ballot, voters: list[NodeId]) -> None:
            lives = [(node, self.membership.voters[node].incarnation) for node in voters if node in self.membership.voters]
            for slot in range(before + 1, self.log.chosen + 1):
                counted(self, Slot(slot), ballot, lives)

    Counting.__name__ = base.__name__
    return Counting
