"""Feature levels: the rules by which a batch of the log is applied (rule 15).

Every batch carries its level, stamped by the leader that proposed it. A release knows the levels of a range. One in which the
same command leaves something else than before, or in which there is a new command, takes the next level, and keeps the rules of
the older ones for as long as it knows them: machines are told the level with the other stamps. A leader goes on to the newest
level that every node of the cell knows, while all are there to say so. So a cell passes to the new rules at one slot, once the
last node runs the new release, and every node that applies the log again does as all did the first time.

Levels begin at 3: before the first release these bytes had another meaning. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from loggos.base.errors import ConfigError
from loggos.base.ids import NodeId

NEWEST_LEVEL: Final = 3
OLDEST_LEVEL: Final = 3
NO_LEVEL: Final = 0  # before the first batch
KNOWN_LEVELS: Final = range(OLDEST_LEVEL, NEWEST_LEVEL + 1)
NO_LEVELS: Final = range(0)


def shown(levels: range) -> str:
    return f"{levels[0]} to {levels[-1]}" if len(levels) > 1 else f"{levels[0]}"


def refuse_unknown_level(level: int, known: range, what: str) -> None:
    """ConfigError if this release does not know the rules that `what` was made under."""
    if level in known:
        return
    if level > known[-1]:
        mend = "run the newer release that made it"
    else:
        mend = "run the release that made it, and come to this one by those in between"
    raise ConfigError(f"{what} is of feature level {level}, this release knows {shown(known)}: {mend}")


class CellLevels:
    """What the nodes of a cell know, by the word of those that run now."""

    def __init__(self, known: range, others: Iterable[NodeId]) -> None:
        self._known = known
        self._others = dict.fromkeys(others, NO_LEVELS)  # who is not there knows none
        self._find(NO_LEVEL)

    def heard(self, node: NodeId, known: range) -> None:
        self._others[node] = known
        self._find(self._asked)

    def lost(self, node: NodeId) -> None:
        """It may come back as another release."""
        self.heard(node, NO_LEVELS)

    def next(self, in_force: int) -> int:
        """The level to stamp next: the newest that all know; the one in force while any node is away, or does not know that one
        and so may have to go back to the release that does."""
        if in_force != self._asked:
            self._find(in_force)
        return self._answer

    def _find(self, in_force: int) -> None:
        oldest = in_force or self._known[0]
        everybody = (self._known, *self._others.values())
        self._asked = in_force
        self._answer = min(known[-1] for known in everybody) if all(oldest in known for known in everybody) else oldest
