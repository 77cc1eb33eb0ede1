"""The machines of a node, fed by the log batch by batch: each command to its machine, each outcome to that machine's
follower.

It assigns indices (rule 9), keeps the log's clocks as applied, hands the events of one machine to the others at the
same index (rule 17) and keeps the rolling digest over entries and results (rule 18). It must not know how entries
came to be chosen, nor what commands mean.
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from typing import Any, Final, Protocol

from crc32c import crc32c

from loggos.base.errors import DamageError, InternalError
from loggos.base.ids import Index, NodeId, Slot, Stamps
from loggos.base.ports import Follower
from loggos.node.batch import HEADER, decode_stamps, iterate_runs

SNAPSHOT_HEAD: Final = struct.Struct(">BqqqqI")  # version, slot, index, wall_ms, cell_ms, digest
CHUNK_HEAD: Final = struct.Struct(">B")  # machine
SNAPSHOT_VERSION: Final = 1


class AnyOutcome(Protocol):
    codes: list[int]


class Machine(Protocol):
    """Deterministic state. No clock, no randomness, no I/O; bounded work per command."""

    @property
    def ID(self) -> int: ...

    def apply(self, first_index: Index, stamps: Any, command: bytes, answer: bool) -> Any: ...

    def snapshot(self) -> Iterator[bytes]: ...

    def restore(self, chunks: Iterable[bytes]) -> None: ...

    def digest(self) -> int: ...


class HearsEvents(Protocol):
    """A machine that reacts to what happens in others, at the same index."""

    def on_events(self, index: Index, machine: int, outcome: Any) -> None: ...


class Registry:
    """Applies batches. `mine(origin, epoch)` says whether this node waits for a run's outcome."""

    def __init__(self, machines: Iterable[Machine], mine: Callable[[NodeId, int], bool]) -> None:
        self.machines: dict[int, Machine] = {machine.ID: machine for machine in machines}
        self.followers: dict[int, Follower] = {}
        self._listeners: list[Any] = [m for m in self.machines.values() if hasattr(m, "on_events")]
        self._mine = mine
        self.slot = Slot(0)
        self.index = Index(0)
        self.stamps = Stamps(0, 0)
        self.rolling_digest = 0
        self.restores = 0
        self.walks = 0  # snapshots begun, of one machine or all: beginning one ends the one before

    def follow(self, machine: int, follower: Follower) -> None:
        assert machine in self.machines, machine
        self.followers[machine] = follower

    def listen(self, listener: HearsEvents) -> None:
        """Tell `listener` too what every machine's commands did, after the machines that listen."""
        self._listeners.append(listener)

    def apply(self, slot: Slot, payload: bytes) -> None:
        """Apply the batch chosen in `slot`; an empty payload is a no-op. Slots come in order, each once."""
        assert slot == self.slot + 1, (slot, self.slot)
        self.slot = slot
        digest = crc32c(payload, self.rolling_digest)
        if payload:
            stamps = decode_stamps(payload)
            self.stamps = Stamps(stamps.wall_ms, max(stamps.cell_ms, self.stamps.cell_ms))
            codes = self._apply_runs(payload)
            digest = crc32c(array("i", codes).tobytes(), digest)
            for follower in self.followers.values():
                follower.batch_done(self.index)
        self.rolling_digest = digest

    def _apply_runs(self, payload: bytes) -> list[int]:
        """Each run of a batch to its machine. Gives the codes of all operations: one loop, for it is the hottest there is."""
        machines, followers, is_mine, stamps = self.machines, self.followers, self._mine, self.stamps
        batch_codes: list[int] = []
        for machine_id, origin, epoch, command in iterate_runs(payload, HEADER.size):
            machine, follower = machines.get(machine_id), followers.get(machine_id)
            if machine is None:
                raise InternalError(f"the log holds a command for machine {machine_id}, unknown here: upgrade this node")
            first = Index(self.index + 1)
            answer = is_mine(origin, epoch) and follower is not None and follower.wants(command)
            outcome = machine.apply(first, stamps, command, answer)
            codes = outcome.codes
            batch_codes += codes
            self.index = Index(self.index + len(codes))
            self.outcome_of(machine_id, command, outcome, first)
        return batch_codes

    def outcome_of(self, machine_id: int, command: bytes, outcome: Any, first: Index) -> None:
        """Tell whoever listens what a command did; its operations took the indices from `first` to `self.index`."""
        if self._listeners:
            machine = self.machines[machine_id]
            for listener in self._listeners:
                if listener is not machine:
                    listener.on_events(self.index, machine_id, outcome)
        follower = self.followers.get(machine_id)
        if follower is not None:
            follower.applied(self.index, command, outcome)

    # --- snapshots -----------------------------------------------------------------------------------------------------------

    def machine_snapshot(self, machine_id: int) -> Iterator[bytes]:
        """Slices of one machine's state, as it is now. Take no further one once `walks` has moved on."""
        self.walks += 1
        slices = self.machines[machine_id].snapshot()
        first = next(slices, None)
        return chain(() if first is None else (first,), slices)

    def snapshot(self) -> Iterator[bytes]:
        """Chunks of the state as it is when the first one is taken: a head, then each machine's slices behind its id."""
        self.walks += 1
        slot, index, stamps, digest = self.slot, self.index, self.stamps, self.rolling_digest
        parts = [(machine_id, machine.snapshot()) for machine_id, machine in self.machines.items()]
        firsts = [next(part, None) for _, part in parts]  # every machine fixes its start now
        yield SNAPSHOT_HEAD.pack(SNAPSHOT_VERSION, slot, index, *stamps, digest)
        for (machine_id, part), first in zip(parts, firsts, strict=True):
            if first is not None:
                yield CHUNK_HEAD.pack(machine_id) + first
            for chunk in part:
                yield CHUNK_HEAD.pack(machine_id) + chunk

    def restore(self, chunks: Iterable[bytes]) -> None:
        """Replace everything by a snapshot's state; followers are told."""
        iterator = iter(chunks)
        head = next(iterator, b"")
        if len(head) != SNAPSHOT_HEAD.size:
            raise DamageError("snapshot", 0, "it does not begin with a head")
        version, slot, index, wall_ms, cell_ms, digest = SNAPSHOT_HEAD.unpack(head)
        if version != SNAPSHOT_VERSION:
            raise InternalError(f"a snapshot of version {version}; this node knows {SNAPSHOT_VERSION}: upgrade this node")
        by_machine: dict[int, list[bytes]] = {machine_id: [] for machine_id in self.machines}
        for chunk in iterator:
            if chunk[:1] == b"" or chunk[0] not in by_machine:
                raise InternalError("a snapshot holds a machine that is unknown to this version: upgrade this node")
            by_machine[chunk[0]].append(chunk[1:])
        for machine_id, machine in self.machines.items():
            machine.restore(by_machine.pop(machine_id))
        self.slot, self.index, self.stamps, self.rolling_digest = Slot(slot), Index(index), Stamps(wall_ms, cell_ms), digest
        self.restores += 1
        for follower in self.followers.values():
            follower.restored()

    def full_digest(self) -> int:
        """A digest over the whole state of every machine, for snapshots and tests; takes time in proportion to the state."""
        digest = crc32c(struct.pack(">qq", self.slot, self.index))
        for machine_id, machine in self.machines.items():
            digest = crc32c(struct.pack(">BQ", machine_id, machine.digest() & 0xFFFFFFFFFFFFFFFF), digest)
        return digest
