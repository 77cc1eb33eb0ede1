"""The payload of a DATA entry: the leader's stamps, then runs of commands.

    batch   level u8 (levels.py), wall_ms i64, cell_ms i64, then runs to the end
    run     machine u8, origin node u8, epoch u16, length u32, command (length bytes)

`origin` and `epoch` let the node that proposed a run recognise it when it is applied. `epoch` is that node's count of
interruptions (rule 12), so a run that its proposer has given up is told from one it waits for. A Forward to the
leader carries runs in the same form, so the leader joins bytes and looks at nothing. Pure.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import Final

from loggos.base.errors import InternalError
from loggos.base.ids import NodeId, Stamps
from loggos.base.ports import Buffer

HEADER: Final = struct.Struct(">Bqq")
RUN_HEADER: Final = struct.Struct(">BBHI")
EPOCHS: Final = 1 << 16


# machine, origin, epoch, begin and end of the command in the batch: a plain tuple, for it is made for every run of every batch
Run = tuple[int, NodeId, int, int, int]


def encode_run(machine: int, origin: NodeId, epoch: int, command: bytes) -> bytes:
    return RUN_HEADER.pack(machine, origin, epoch, len(command)) + command


def encode_batch(stamps: Stamps, runs: Iterable[Buffer]) -> bytes:
    """`runs`: encoded runs, or several joined."""
    return b"".join([HEADER.pack(stamps.level, stamps.wall_ms, stamps.cell_ms), *runs])


def decode_stamps(payload: bytes) -> Stamps:
    level, wall_ms, cell_ms = HEADER.unpack_from(payload)
    return Stamps(wall_ms, cell_ms, level)


def runs_of(data: bytes, offset: int = 0) -> list[Run]:
    """The runs of `data` from `offset`. InternalError if they do not end where the data ends (a leader has checked that)."""
    end = len(data)
    unpack, header_size = RUN_HEADER.unpack_from, RUN_HEADER.size
    runs: list[Run] = []
    while offset < end:
        if end - offset < header_size:
            raise InternalError(f"a batch ends inside a run's header at byte {offset} of {end}")
        machine, origin, epoch, length = unpack(data, offset)
        at = offset + header_size
        offset = at + length
        if offset > end:
            raise InternalError(f"a run of {length} bytes at byte {at} passes the batch's end {end}")
        runs.append((machine, origin, epoch, at, offset))
    return runs


def whole_runs(data: Buffer, known_machines: Iterable[int]) -> int:
    """How many runs forwarded bytes hold; -1 if not all are whole and of known machines, which a leader checks before it
    proposes them (rule 15)."""
    known, offset, end, count = set(known_machines), 0, len(data), 0
    while end - offset >= RUN_HEADER.size:
        machine, _, _, length = RUN_HEADER.unpack_from(data, offset)
        offset += RUN_HEADER.size + length
        if machine not in known:
            return -1
        count += 1
    return count if offset == end else -1
