"""A good story of the lock chapter in few words; tests spoil one thing in it."""

from __future__ import annotations

import msgspec

from loggos.app.tour.records import ACKNOWLEDGED, Fault, Finished, Holding, Increment, Prepared, Refusal, Replica, Stale, Story

TOTAL = 40
HOLDING = 4
WORKERS = 4
PAUSED_FROM, PAUSED_UNTIL = 12.5, 20.0


def increments() -> list[Increment]:
    """Value v at second v, four per holding, the workers in turn; token 100 + 10 · holding."""
    records = []
    for value in range(1, TOTAL + 1):
        turn = (value - 1) // HOLDING
        worker = turn % WORKERS + 1
        records.append(Increment(worker, value, 100 + 10 * turn, value - 1, value, 1_000 + 2 * value, float(value), ACKNOWLEDGED))
    return records


def holding(turn: int) -> Holding:
    """Asked for at 4 · turn, had a second later, four increments long."""
    begin = 4.0 * turn
    return Holding(turn % WORKERS + 1, 100 + 10 * turn, begin, begin + 1, begin + 4, HOLDING)


def story() -> Story:
    """All proofs hold."""
    stale_token = 125  # of a holding that was lost before it wrote
    faults = [
        Fault(kind="kill", target="node 3", at=5.2, back=5.5, settled=9.0, leader_before=3, leader_after=1),
        Fault(kind="pause holder", target="worker 4", at=PAUSED_FROM, back=PAUSED_UNTIL, settled=22.0),
        Fault(kind="kill", target="node 1", at=25.2, back=25.5, settled=28.0, leader_before=1, leader_after=2),
        Fault(kind="pause leader", target="node 2", at=32.2, back=32.9, settled=35.0, leader_before=2, leader_after=3),
    ]
    answers = ("SessionExpiredError", "NoNodeError at the check of the lock")
    return Story(
        total=TOTAL,
        workers=WORKERS,
        began=0.0,
        ended=41.0,
        increments=increments(),
        refusals=[Refusal(4, 99, stale_token, 13, 20.1, answers)],
        holdings=[holding(turn) for turn in range(10)],
        prepared=[Prepared(4, stale_token, 13, 12.4)],
        stale=[Stale(4, stale_token, 13, 20.1, answers, False, 20, 140)],
        finished=[Finished(worker, 41.0, 2 if worker == 4 else 1) for worker in range(1, WORKERS + 1)],
        faults=faults,
        replicas=[Replica(node, 60, 90, "0badcafe", TOTAL, TOTAL, 190, 58, "0123feed4567beef") for node in (1, 2, 3)],
    )


def changed(record: Increment, **changes: object) -> Increment:
    return msgspec.structs.replace(record, **changes)
