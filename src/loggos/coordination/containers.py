"""Which containers go: the leader alone looks for those that were left empty, and has the log delete them.

Rules:
- A container is a node that is deleted some time after its last child. One that never had a child stays: it may be about to get
  its first.
- The leader looks every `check_ms`. What was empty at two looks in a row, with no child in between, is proposed: so a container
  stands empty for one to two intervals, and nobody loses one between emptying and using it again.
- A REAP names each container's pzxid as it was seen; the machine refuses it if a child has come since.
- The number per look is bounded, and that per tick: what is left over is seen at a later look.

Must not know: sessions, connections. Source: ContainerManager.java of Apache ZooKeeper 3.8.
"""

from __future__ import annotations

from collections import deque
from itertools import islice

from loggos.base.errors import OverloadedError
from loggos.base.limits import CONTAINER_CHECK_MS, CONTAINERS_REAPED_PER_CHECK_MAX, CONTAINERS_REAPED_PER_TICK_MAX
from loggos.base.ports import Log
from loggos.coordination.commands import MACHINE_ID, ReapItem, encode_reap
from loggos.coordination.machine import CoordinationMachine


class Containers:
    """The look-out of one node. `tick` every HEARTBEAT_MS with the monotonic clock."""

    def __init__(self, log: Log, machine: CoordinationMachine, check_ms: int = CONTAINER_CHECK_MS) -> None:
        self._log, self._machine, self._check_ms = log, machine, check_ms
        self._seen: dict[bytes, int] = {}  # path -> pzxid, of those that were empty at the last look
        self._due: deque[ReapItem] = deque()
        self._next_look_ms: int | None = None  # None: this node does not lead
        self.reaps_proposed = 0

    def tick(self, monotonic_ms: int, leading: bool) -> None:
        if not leading:
            if self._next_look_ms is not None:
                self._seen, self._due, self._next_look_ms = {}, deque(), None
            return
        if self._next_look_ms is None or monotonic_ms >= self._next_look_ms:
            self._next_look_ms = monotonic_ms + self._check_ms
            self.look()
        if self._due:
            self.reap()

    def look(self) -> None:
        """What is empty as it was at the last look is due."""
        tree = self._machine.tree
        empty = [ReapItem(path, tree.nodes[path].pzxid) for path in islice(tree.emptied, CONTAINERS_REAPED_PER_CHECK_MAX)]
        self._due = deque(item for item in empty if self._seen.get(item.path) == item.pzxid)
        self._seen = dict(empty)

    def reap(self) -> None:
        """Propose one command; with a full log the same at the next tick."""
        part = list(islice(self._due, CONTAINERS_REAPED_PER_TICK_MAX))
        try:
            self._log.propose(MACHINE_ID, encode_reap(part))
        except OverloadedError:
            return
        self.reaps_proposed += len(part)
        for _ in part:
            self._due.popleft()
