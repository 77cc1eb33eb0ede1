"""What this node has handed to the log and waits for: admission, epochs, and the fate of each run (rule 12).

A run is *queued* (not yet with a leader) or *sent* (with the leader, or in a slot). When another node leads or the way to the
leader breaks, the fate of what was sent is unknown: the epoch moves on, everything is dropped, what was queued meanwhile too,
and services are told. While nobody leads, what was sent may yet be applied, and is waited for. Nothing is ever sent twice.
Pure bookkeeping: it sends nothing itself.
"""

from __future__ import annotations

from collections import deque

from loggos.base.errors import OverloadedError
from loggos.base.ids import NodeId
from loggos.base.limits import PROPOSALS_BYTES_MAX
from loggos.node.batch import EPOCHS, RUN_HEADER, encode_run


class Outbox:
    """`first_epoch` must differ between lives of a node, so that a late run of an old life is not taken for a new one."""

    def __init__(self, node: NodeId, first_epoch: int, bytes_max: int = PROPOSALS_BYTES_MAX) -> None:
        self._node = node
        self._bytes_max = bytes_max
        self.epoch = first_epoch % EPOCHS
        self.queue: list[bytes] = []  # encoded runs; on a leader, forwarded blobs of runs too
        self.queue_bytes = 0
        self.queue_runs = 0
        self._queued_own: list[int] = []  # sizes of own runs in the queue, in order
        self._sent_own: deque[int] = deque()  # sizes of own runs that are out
        self._own_bytes = 0

    def limit(self, bytes_max: int) -> None:
        """From now on take no more than this of its own."""
        self._bytes_max = bytes_max

    def put(self, machine: int, command: bytes) -> None:
        """Queue an own command. OverloadedError: nothing was taken."""
        size = len(command) + RUN_HEADER.size
        if self._own_bytes + size > self._bytes_max and self._own_bytes:
            raise OverloadedError(f"{self._own_bytes} bytes of node {self._node} wait for the log: wait for outcomes first")
        self.queue.append(encode_run(machine, self._node, self.epoch, command))
        self.queue_bytes += size
        self.queue_runs += 1
        self._queued_own.append(size)
        self._own_bytes += size

    def put_forwarded(self, runs: bytes, count: int) -> bool:
        """Queue `count` runs of another node (leader only). False: the queue is full, nothing was taken."""
        if self.queue_bytes + len(runs) > 4 * self._bytes_max:
            return False
        self.queue.append(runs)
        self.queue_bytes += len(runs)
        self.queue_runs += count
        return True

    def take(self, bytes_max: int) -> list[bytes]:
        """Runs from the front of the queue, at least one, up to `bytes_max` bytes; what is taken counts as sent."""
        if self._queued_own:
            self._sent_own.extend(self._queued_own)
            self._queued_own = []
        if self.queue_bytes <= bytes_max:
            taken, self.queue, self.queue_bytes, self.queue_runs = self.queue, [], 0, 0
            return taken
        size, count = len(self.queue[0]), 1
        while count < len(self.queue) and size + len(self.queue[count]) <= bytes_max:
            size += len(self.queue[count])
            count += 1
        taken, self.queue = self.queue[:count], self.queue[count:]
        self.queue_bytes -= size
        self.queue_runs = len(self.queue)  # at the least
        return taken

    def is_mine(self, origin: NodeId, epoch: int) -> bool:
        """Is an applied run one that this node waits for? Called once for each applied run, in log order."""
        if origin != self._node or epoch != self.epoch or not self._sent_own:
            return False
        self._own_bytes -= self._sent_own.popleft()
        return True

    @property
    def has_sent(self) -> bool:
        return bool(self._sent_own)

    def interrupt(self, queued_too: bool = False) -> bool:
        """Leadership changed. If anything was out: give up everything under a new epoch, and say True. `queued_too`: what was
        queued as this node's own leader is no other's to take (an expiry that its own clock has judged, rule 13)."""
        if not self._sent_own and not (queued_too and self._queued_own):
            self._keep_only_own()
            return False
        self.epoch = (self.epoch + 1) % EPOCHS
        self.queue, self.queue_bytes, self.queue_runs = [], 0, 0
        self._queued_own, self._own_bytes = [], 0
        self._sent_own.clear()
        return True

    def _keep_only_own(self) -> None:
        """Nothing of ours was out: ours may wait for the next leader; others' runs are theirs to give up."""
        if len(self.queue) != len(self._queued_own):
            sizes = deque(self._queued_own)
            own = []
            for runs in self.queue:
                if sizes and len(runs) == sizes[0] and runs[1] == self._node:
                    own.append(runs)
                    sizes.popleft()
            assert not sizes
            self.queue, self.queue_runs = own, len(own)
            self.queue_bytes = sum(self._queued_own)
