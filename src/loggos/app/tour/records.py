"""What the lock chapter's workers tell the tour, one JSON object a line, and what the tour gathers about its cluster.

Times are `time.monotonic()` in seconds: one clock for all processes of a machine, and it never jumps. Tokens are the creation
zxid of the holder's own znode. Values only; no I/O.
"""

from __future__ import annotations

from typing import Final

import msgspec

TOUR_PATH: Final = "/tour"
LOCK_PATH: Final = "/tour/lock"
COUNTER_PATH: Final = "/tour/counter"

ACKNOWLEDGED: Final = "acknowledged"  # the server said yes
RESOLVED: Final = "resolved"  # the connection broke before the answer; reading back showed that it was applied


class Counter(msgspec.Struct, frozen=True):
    """What the counter's znode holds. `last`: worker → sequence of its last accepted write, so that an unknown outcome can be
    resolved exactly, however many others have written since."""

    value: int
    token: int = 0
    worker: int = 0
    last: dict[str, int] = {}


class Increment(msgspec.Struct, frozen=True, tag=True):
    """One accepted increment. `mzxid` 0: not known (resolved after others had written)."""

    worker: int
    sequence: int
    token: int
    before: int
    after: int
    mzxid: int
    at: float
    outcome: str
    answers: tuple[str, ...] = ()  # of the attempts before the last, if there was more than one


class Refusal(msgspec.Struct, frozen=True, tag=True):
    """One write that the server refused, for good."""

    worker: int
    sequence: int
    token: int
    after: int
    at: float
    answers: tuple[str, ...]


class Holding(msgspec.Struct, frozen=True, tag=True):
    """One time that a worker held the lock, from asking to letting go."""

    worker: int
    token: int
    asked: float
    acquired: float
    released: float
    increments: int


class Prepared(msgspec.Struct, frozen=True, tag=True):
    """A holder has read the counter, has its write ready and waits to be paused."""

    worker: int
    token: int
    after: int
    at: float


class Stale(msgspec.Struct, frozen=True, tag=True):
    """What became of the prepared write after the pause. `counter_*`: what the counter held then."""

    worker: int
    token: int
    after: int
    at: float
    answers: tuple[str, ...]
    applied: bool
    counter_value: int
    counter_token: int


class Finished(msgspec.Struct, frozen=True, tag=True):
    """A worker saw the goal reached. `sessions`: how many sessions it needed."""

    worker: int
    at: float
    sessions: int


Record = Increment | Refusal | Holding | Prepared | Stale | Finished
decode_record: Final = msgspec.json.Decoder(Record).decode
encode_record: Final = msgspec.json.Encoder().encode


class Fault(msgspec.Struct, kw_only=True):
    """One fault that was caused. `settled`: everybody works again. `leader_after`: who led then; 0 for a worker's fault."""

    kind: str
    target: str
    at: float
    settled: float = 0.0
    leader_before: int = 0
    leader_after: int = 0
    back: float = 0.0  # when what was killed or paused was started again or resumed


class Replica(msgspec.Struct, frozen=True):
    """One node at the end: what its console says, and what a client that reads from this node alone is told."""

    node: int
    slot: int
    index: int
    digest: str
    value: int
    version: int
    token: int
    full_slot: int  # of the newest digest of its whole state; 0: it has made none
    full_digest: str


class Story(msgspec.Struct, kw_only=True):
    """All that happened: the evidence that the proofs are made from."""

    total: int
    workers: int
    nodes: int = 3
    began: float = 0.0
    ended: float = 0.0
    increments: list[Increment] = []
    refusals: list[Refusal] = []
    holdings: list[Holding] = []
    prepared: list[Prepared] = []
    stale: list[Stale] = []
    finished: list[Finished] = []
    faults: list[Fault] = []
    replicas: list[Replica] = []
