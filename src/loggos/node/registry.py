"""The machines of a node, fed by the log batch by batch: each command to its machine, each outcome to that machine's
follower.

It assigns indices (rule 9), keeps the log's clocks and its feature level (rule 15) as applied, hands the events of one
machine to the others at the same index (rule 17) and keeps the rolling digest over entries and results (rule 18). It must
not know how entries came to be chosen, nor what commands mean.
"""

from __future__ import annotations

import hashlib
import struct
from array import array
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from typing import Any, Final, Protocol, runtime_checkable

from crc32c import crc32c

from loggos.base.errors import DamageError, InternalError
from loggos.base.ids import Index, NodeId, Slot, Stamps
from loggos.base.ports import Follower
from loggos.base.steps import Digesting, Steps, all_steps
from loggos.node.batch import HEADER, decode_stamps, runs_of
from loggos.node.levels import KNOWN_LEVELS, NO_LEVEL, refuse_unknown_level

SNAPSHOT_HEAD: Final = struct.Struct(">BqqqqI")  # level, slot, index, wall_ms, cell_ms, digest
CHUNK_HEAD: Final = struct.Struct(">B")  # machine
PLACE: Final = struct.Struct(">qqqqB")  # slot, index, wall_ms, cell_ms, level
MACHINE_DIGEST: Final = struct.Struct(">BQ")  # machine
NO_MACHINE: Final = -1


class AnyOutcome(Protocol):
    codes: list[int]  # one per operation; 0: done
    marks: list[int]  # what nodes compare of it: a number per operation, made of what it left


class Machine(Protocol):
    """Deterministic state. No clock, no randomness, no I/O; bounded work per command."""

    @property
    def ID(self) -> int: ...

    def apply(self, first_index: Index, stamps: Any, command: bytes, answer: bool) -> Any: ...

    def snapshot(self) -> Iterator[bytes]: ...

    def restoring(self, chunks: Iterable[bytes]) -> Steps:
        """Make a snapshot's state beside the present one, step by step; what it gives at last puts it in its place."""
        ...

    def digest(self) -> int:
        """64 bits over the whole state, now."""
        ...

    def digesting(self) -> Digesting:
        """The same of the state as it is at the first step, which does nothing else, in bounded steps between which batches may
        be applied. None instead of it: a snapshot is under way, or was begun meanwhile; that one is not disturbed."""
        ...

    def item_count(self) -> int:
        """How many items `digesting` walks over."""
        ...


@runtime_checkable
class AppliesPlainly(Protocol):
    """A machine that knows a plainest kind of command, and a short way for it."""

    def apply_plain(self, batch: bytes, at: int, end: int, index: Index, stamps: Any) -> tuple[Any, ...] | None:
        """Apply the command batch[at:end] if it is one operation of the plainest kind that succeeds: it takes `index` and code 0,
        as `apply` would say. Gives first its mark, then what its follower is told with it; None, and has done nothing, where
        it is anything else."""
        ...


PlainWay = Callable[[bytes, int, int, Index, Stamps], tuple[Any, ...] | None]


class HearsEvents(Protocol):
    """A machine that reacts to what happens in others, at the same index."""

    def on_events(self, index: Index, stamps: Any, machine: int, outcome: Any) -> None: ...


class Registry:
    """Applies batches. `mine(origin, epoch)` says whether this node waits for a run's outcome. `levels`: those it knows."""

    levels = KNOWN_LEVELS

    def __init__(self, machines: Iterable[Machine], mine: Callable[[NodeId, int], bool]) -> None:
        self.machines: dict[int, Machine] = {machine.ID: machine for machine in machines}
        self.followers: dict[int, Follower] = {}
        self._listeners: list[Any] = [m for m in self.machines.values() if hasattr(m, "on_events")]
        self._plain_ways: dict[int, PlainWay] = {}  # of machines whose outcomes no listener hears
        self._find_plain_ways()
        self._mine = mine
        self.slot = Slot(0)
        self.index = Index(0)
        self.stamps = Stamps(0, 0, NO_LEVEL)
        self.rolling_digest = 0
        self.restores = 0
        self.walks = 0  # snapshots begun, of one machine or all: beginning one ends the one before

    def follow(self, machine: int, follower: Follower) -> None:
        assert machine in self.machines, machine
        self.followers[machine] = follower

    def listen(self, listener: HearsEvents) -> None:
        """Tell `listener` too what every machine's commands did, after the machines that listen."""
        self._listeners.append(listener)
        self._find_plain_ways()

    def _find_plain_ways(self) -> None:
        unheard = [m for m in self.machines.values() if all(listener is m for listener in self._listeners)]
        self._plain_ways = {machine.ID: machine.apply_plain for machine in unheard if isinstance(machine, AppliesPlainly)}

    def apply(self, slot: Slot, payload: bytes) -> None:
        """Apply the batch chosen in `slot`; an empty payload is a no-op. Slots come in order, each once. ConfigError: it is of a
        feature level that this release does not know."""
        assert slot == self.slot + 1, (slot, self.slot)
        if payload:
            self.stamps = self._stamps_of(slot, payload)
        self.slot = slot
        digest = crc32c(payload, self.rolling_digest)
        if payload:
            marks = self._apply_runs(payload)
            marks.append(self.index)
            digest = crc32c(array("q", marks).tobytes(), digest)
            for follower in self.followers.values():
                follower.batch_done(self.index)
        self.rolling_digest = digest

    def _stamps_of(self, slot: Slot, payload: bytes) -> Stamps:
        """What is in force from this batch on: neither the cell's clock nor the level goes back."""
        before, (wall_ms, cell_ms, level) = self.stamps, decode_stamps(payload)
        if level > before.level or before.level == NO_LEVEL:
            refuse_unknown_level(level, self.levels, f"the entry in slot {slot}")
        return Stamps(wall_ms, max(cell_ms, before.cell_ms), max(level, before.level))

    def _apply_runs(self, payload: bytes) -> list[int]:
        """Each run of a batch to its machine. Gives the marks of all operations: one loop, for it is the hottest there is."""
        is_mine, stamps = self._mine, self.stamps
        batch_marks: list[int] = []
        known_id, plain_way = NO_MACHINE, None
        for machine_id, origin, epoch, at, end in runs_of(payload, HEADER.size):
            if machine_id != known_id:
                known_id, plain_way = machine_id, self.plain_way(machine_id)
            mine = is_mine(origin, epoch)
            if plain_way is not None:
                index: Index = self.index + 1  # type: ignore[assignment]  # to say Index(…) costs a call
                plain = plain_way(payload, at, end, index, stamps)
                if plain is not None:
                    self.index = index
                    batch_marks.append(plain[0])
                    if not mine:
                        continue
                    self.plain_outcome_of(machine_id, index, plain)
                    known_id = NO_MACHINE  # who was told may have to hear more from now on
                    continue
            batch_marks += self._apply_run(machine_id, payload[at:end], mine)
            known_id = NO_MACHINE
        return batch_marks

    def plain_way(self, machine_id: int) -> PlainWay | None:
        """The machine's short way, while nobody must be told what it does: no watch could fire, nobody listens."""
        follower = self.followers.get(machine_id)
        if follower is not None and follower.needs_all():
            return None
        return self._plain_ways.get(machine_id)

    def plain_outcome_of(self, machine_id: int, index: Index, plain: object) -> None:
        """Tell the follower what the short way did with a command of this node's own."""
        follower = self.followers.get(machine_id)
        if follower is not None:
            follower.applied_plainly(index, plain)

    def _apply_run(self, machine_id: int, command: bytes, mine: bool) -> list[int]:
        """One command, and whoever listens is told. Gives the marks of its operations."""
        machine, follower = self.machines.get(machine_id), self.followers.get(machine_id)
        if machine is None:
            raise InternalError(f"the log holds a command for machine {machine_id}, unknown here: upgrade this node")
        first = Index(self.index + 1)
        answer = mine and follower is not None and follower.wants(command)
        outcome = machine.apply(first, self.stamps, command, answer)
        self.index = Index(self.index + len(outcome.codes))
        self.outcome_of(machine_id, command, outcome, first)
        marks: list[int] = outcome.marks
        return marks

    def outcome_of(self, machine_id: int, command: bytes, outcome: Any, first: Index) -> None:
        """Tell whoever listens what a command did; its operations took the indices from `first` to `self.index`."""
        if self._listeners:
            machine = self.machines[machine_id]
            for listener in self._listeners:
                if listener is not machine:
                    listener.on_events(self.index, self.stamps, machine_id, outcome)
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
        head = self.snapshot_head()
        parts = [(machine_id, machine.snapshot()) for machine_id, machine in self.machines.items()]
        firsts = [next(part, None) for _, part in parts]  # every machine fixes its start now
        yield head
        for (machine_id, part), first in zip(parts, firsts, strict=True):
            if first is not None:
                yield CHUNK_HEAD.pack(machine_id) + first
            for chunk in part:
                yield CHUNK_HEAD.pack(machine_id) + chunk

    def snapshot_head(self) -> bytes:
        wall_ms, cell_ms, level = self.stamps
        return SNAPSHOT_HEAD.pack(level, self.slot, self.index, wall_ms, cell_ms, self.rolling_digest)

    def restore(self, chunks: Iterable[bytes]) -> None:
        """Replace everything by a snapshot's state; followers are told."""
        all_steps(self.restoring(chunks))()

    def restoring(self, chunks: Iterable[bytes]) -> Steps:
        """The same in steps of about a millisecond, between which batches may be applied to the present state; what it gives at
        last replaces that. DamageError, InternalError, ConfigError (its feature level is not known): nothing has changed."""
        iterator = iter(chunks)
        head = next(iterator, b"")
        if len(head) != SNAPSHOT_HEAD.size:
            raise DamageError("snapshot", 0, "it does not begin with a head")
        level, slot, index, wall_ms, cell_ms, digest = SNAPSHOT_HEAD.unpack(head)
        if level != NO_LEVEL:
            refuse_unknown_level(level, self.levels, f"the snapshot of slot {slot}")
        by_machine: dict[int, list[bytes]] = {machine_id: [] for machine_id in self.machines}
        for chunk in iterator:
            if chunk[:1] == b"" or chunk[0] not in by_machine:
                raise InternalError("a snapshot holds a machine that is unknown to this version: upgrade this node")
            by_machine[chunk[0]].append(chunk[1:])
        replacements = []
        for machine_id, machine in self.machines.items():
            replacements.append((yield from machine.restoring(by_machine.pop(machine_id))))

        def replace() -> None:
            for replacement in replacements:
                replacement()
            self.slot, self.index, self.rolling_digest = Slot(slot), Index(index), digest
            self.stamps = Stamps(wall_ms, cell_ms, level)
            self.restores += 1
            for follower in self.followers.values():
                follower.restored()

        return replace

    # --- digests of the whole state ------------------------------------------------------------------------------------------

    def full_digest(self) -> int:
        """64 bits over the whole state of every machine, now; takes time in proportion to it."""
        return _full_digest(self._place(), [(machine_id, machine.digest()) for machine_id, machine in self.machines.items()])

    def digesting(self) -> Digesting:
        """The same in bounded steps, as machines have it (Machine.digesting)."""
        place, digests = self._place(), []
        walks = [(machine_id, machine.digesting()) for machine_id, machine in self.machines.items()]
        for _, walk in walks:  # every machine fixes its start now
            try:
                next(walk)
            except StopIteration:
                return None
        yield
        for machine_id, walk in walks:
            digest = yield from walk
            if digest is None:
                return None
            digests.append((machine_id, digest))
        return _full_digest(place, digests)

    def item_count(self) -> int:
        return sum(machine.item_count() for machine in self.machines.values())

    def _place(self) -> bytes:
        return PLACE.pack(self.slot, self.index, *self.stamps)


def _full_digest(place: bytes, digests: list[tuple[int, int]]) -> int:
    parts = [MACHINE_DIGEST.pack(machine_id, digest) for machine_id, digest in digests]
    return int.from_bytes(hashlib.blake2b(b"".join((place, *parts)), digest_size=8).digest(), "big")
