"""Which entry of the log is which operation of a client, where the recorder could not number them.

A session's operations reach the log in the order they were sent. So its entries are a subsequence of its operations in which only
those of unknown outcome (or refused before the log) may be missing. Contents decide; where several assignments fit, one that
leaves out no acknowledged operation is chosen. Cost: linear when requests differ, else the length of a run of equal ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from loggos.check.history import NOT_APPLIED, WRITES, Applied, Operation, Outcome


def must_be_in_log(operation: Operation) -> bool:
    """Was it answered in a way that only the log can give?"""
    return operation.outcome is Outcome.KNOWN and operation.reply is not None and operation.reply.code not in NOT_APPLIED


def assign_sequences(operations: Sequence[Operation], log: Sequence[Applied]) -> list[Applied]:
    """The log with every entry's `sequence` filled in from the operation it fits; 0 where it fits none (the witness says so)."""
    sent: dict[int, list[Operation]] = {}
    for operation in operations:
        if operation.request.kind in (*WRITES, "close"):
            sent.setdefault(operation.session, []).append(operation)
    entries: dict[int, list[int]] = {}
    for position, entry in enumerate(log):
        if entry.request.kind in (*WRITES, "close"):
            entries.setdefault(entry.session, []).append(position)
    numbered = list(log)
    for session, positions in entries.items():
        mine = sorted(sent.get(session, []), key=lambda operation: operation.sequence)
        for position, sequence in zip(positions, _fit(mine, [log[position] for position in positions]), strict=True):
            numbered[position] = replace(numbered[position], sequence=sequence)
    return numbered


def _fit(operations: list[Operation], entries: list[Applied]) -> list[int]:
    """For every entry of one session the sequence of its operation, or 0."""
    layers: list[dict[int, int]] = []  # per entry: position of its operation -> position of the one before
    reached: dict[int, int] = {-1: -1}
    for entry in entries:
        layer: dict[int, int] = {}
        for before in reached:
            for position in range(before + 1, len(operations)):
                if operations[position].request == entry.request:
                    layer.setdefault(position, before)
                if must_be_in_log(operations[position]):
                    break
        if not layer:
            break
        layers.append(layer)
        reached = layer
    return _trace_back(operations, layers, len(entries))


def _trace_back(operations: list[Operation], layers: list[dict[int, int]], count: int) -> list[int]:
    sequences = [0] * count
    if not layers:
        return sequences
    last_required = max((at for at, operation in enumerate(operations) if must_be_in_log(operation)), default=-1)
    ends = [position for position in layers[-1] if position >= last_required]
    position = ends[0] if ends else max(layers[-1])
    for number in range(len(layers) - 1, -1, -1):
        sequences[number] = operations[position].sequence
        position = layers[number][position]
    return sequences
