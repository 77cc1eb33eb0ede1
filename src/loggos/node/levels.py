"""Feature levels: the rules by which a batch of the log is applied (rule 15).

Every batch carries its level, stamped by the leader that proposed it. A release knows the levels of a range. One in which the
same command leaves something else than before, or in which there is a new command, takes the next level, and keeps the rules of
the older ones for as long as it knows them: a machine is told the level with the other stamps. A leader stamps the newest level
that every node of the cell knows by its own word, and none older than what is applied, so a cell passes to the new rules at one
slot, once the last node runs the new release, and every node that applies the log again does as all did the first time.

Levels begin at 2. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from loggos.base.errors import ConfigError
from loggos.base.ids import NodeId

NEWEST_LEVEL: Final = 2
OLDEST_LEVEL: Final = 2
NO_LEVEL: Final = 0  # before the first batch
KNOWN_LEVELS: Final = range(OLDEST_LEVEL, NEWEST_LEVEL + 1)


def refuse_unknown_level(level: int, known: range, what: str) -> None:
    """ConfigError if this release does not know the rules that `what` was made under."""
    if level in known:
        return
    knows = f"{known[0]} to {known[-1]}" if len(known) > 1 else f"{known[0]}"
    if level > known[-1]:
        mend = "run the release that the rest of the cell runs"
    else:
        mend = "run the release that wrote it, and come to this one by those in between"
    raise ConfigError(f"{what} is of feature level {level}, this release knows {knows}: {mend}")


class CellLevels:
    """What the nodes of a cell know, by their own word."""

    def __init__(self, known: range, others: Iterable[NodeId]) -> None:
        self._known = known
        self._newest: dict[NodeId, int] = dict.fromkeys(others, NO_LEVEL)  # that each of them knows
        self.common = known[0]  # the newest level that all know, as far as this node has heard
        self._find_common()

    def heard(self, node: NodeId, newest: int) -> None:
        """That node, running now, knows levels up to `newest`."""
        self._newest[node] = newest
        self._find_common()

    def _find_common(self) -> None:
        oldest, newest = self._known[0], self._known[-1]
        self.common = max(oldest, min((*self._newest.values(), newest)))
