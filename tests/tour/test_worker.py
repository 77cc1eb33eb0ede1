"""A worker's write whose answer is lost is settled exactly: made once if it was applied, told as refused if it was not."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from kazoo.exceptions import BadVersionError, ConnectionLoss, NoNodeError, RolledBackError, RuntimeInconsistency

from loggos.app.tour.records import ACKNOWLEDGED, RESOLVED, Counter, Increment, Record, Refusal
from loggos.app.tour.worker import Worker, Write, refused_by

GUARD = "/tour/lock/mine"


class Server:
    """One counter and one lock's znode. `losses`: what becomes of each coming transaction, and of its answer."""

    def __init__(self, losses: list[str]) -> None:
        self.losses = losses
        self.counter, self.version, self.mzxid, self.guarded = Counter(value=7), 7, 70, True
        self.accepted = 0

    def apply(self, write: Write) -> list[Any]:
        if not self.guarded:
            return [NoNodeError(), RuntimeInconsistency()]
        if write.counter_version != self.version:
            return [RolledBackError(), BadVersionError()]
        self.put(msgspec.json.decode(write.data, type=Counter))
        self.accepted += 1
        return [True, SimpleNamespace(mzxid=self.mzxid)]

    def put(self, counter: Counter) -> None:
        self.counter, self.version, self.mzxid = counter, self.version + 1, self.mzxid + 1

    def transaction(self, write: Write) -> list[Any]:
        what = self.losses.pop(0) if self.losses else "answer"
        results = [] if what == "lost before" else self.apply(write)
        if what == "applied, then another writes":
            self.guarded = False  # the session ended, and another holder went on
            last = {**self.counter.last, "2": 1}
            self.put(Counter(value=self.counter.value + 1, token=99, worker=2, last=last))
        if what != "answer":
            raise ConnectionLoss
        return results


class Tried(Worker):
    """A worker without a connection."""

    def __init__(self, server: Server) -> None:
        client = SimpleNamespace(
            add_listener=lambda listener: None, retry=lambda call, *words: call(*words), sync=lambda path: None
        )
        super().__init__(client, 1, 100, SimpleNamespace(), 5)  # type: ignore[arg-type]
        self.server, self.told = server, list[Record]()

    def tell(self, record: Record) -> None:
        self.told.append(record)

    def read(self) -> tuple[Counter, Any]:
        return self.server.counter, SimpleNamespace(version=self.server.version, mzxid=self.server.mzxid)

    def transaction(self, write: Write) -> list[Any]:
        return self.server.transaction(write)

    def increment(self) -> bool:
        write = self.prepare(GUARD, 0, 50, self.server.counter, self.server.version)
        return self.settle(write, self.send(write))


@pytest.mark.parametrize(
    ("losses", "outcome", "mzxid"),
    [
        ([], ACKNOWLEDGED, 71),
        (["lost before"], ACKNOWLEDGED, 71),
        (["applied"], RESOLVED, 71),
        (["lost before", "applied", "lost before"], RESOLVED, 71),
        (["applied, then another writes"], RESOLVED, 0),
    ],
)
def test_an_applied_write_is_counted_once(losses: list[str], outcome: str, mzxid: int) -> None:
    server = Server(losses)
    worker = Tried(server)
    assert worker.increment()
    assert server.accepted == 1
    (record,) = worker.told
    assert isinstance(record, Increment)
    assert (record.after, record.outcome, record.mzxid, record.token) == (8, outcome, mzxid, 50)


def test_a_write_that_was_not_applied_is_refused_and_not_counted() -> None:
    server = Server(["lost before"])
    worker = Tried(server)
    server.guarded = False
    assert not worker.increment()
    (record,) = worker.told
    assert isinstance(record, Refusal)
    assert record.answers == ("ConnectionLoss", "NoNodeError at the check of the lock")
    assert server.accepted == 0


def test_another_write_of_the_same_worker_does_not_settle_a_doubt() -> None:
    server = Server(["lost before"])
    worker = Tried(server)
    server.counter = Counter(value=7, token=50, worker=1, last={"1": 0})
    server.guarded = False
    assert not worker.increment()


def test_the_struck_operation_is_named() -> None:
    assert refused_by([True, SimpleNamespace()]) is None
    assert refused_by([NoNodeError(), RuntimeInconsistency()]) == "NoNodeError at the check of the lock"
    assert refused_by([RolledBackError(), BadVersionError()]) == "BadVersionError at the set of the counter"


def test_the_counter_keeps_every_workers_last_sequence() -> None:
    worker = Tried(Server([]))
    counter = Counter(value=3, token=9, worker=2, last={"2": 4, "1": 1})
    write = worker.prepare(GUARD, 0, 10, counter, 3)
    assert msgspec.json.decode(write.data, type=Counter) == Counter(value=4, token=10, worker=1, last={"2": 4, "1": 1})
