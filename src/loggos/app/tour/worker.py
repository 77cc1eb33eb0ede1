"""One worker of the lock chapter, a process of its own: `python -m loggos.app.tour.worker --hosts … --number N …`.

It uses stock kazoo and nothing of Loggos but the records: takes `kazoo.recipe.lock.Lock`, and writes the counter by one
transaction that checks the znode it holds the lock by. Its token is that znode's creation zxid.

Rules:
- A write whose outcome is unknown is sent again unchanged until the server gives a definite answer: both copies demand the same
  version of the counter, so at most one is applied; a refusal after a doubt is settled by reading back the last sequence.
- It stops at the limit that the tour gives (`limit N` on stdin), finishes at the total, and ends at once when stdin ends.
- `hold`: prepare one write under the lock, say so, and wait for `go`.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
import threading
import time
from dataclasses import dataclass
from typing import Any, Final

import msgspec
from kazoo.client import KazooClient
from kazoo.exceptions import (
    ConnectionLoss,
    KazooException,
    OperationTimeoutError,
    RolledBackError,
    RuntimeInconsistency,
    SessionExpiredError,
)
from kazoo.protocol.states import KazooState
from kazoo.recipe.lock import Lock

from loggos.app.tour.records import (
    ACKNOWLEDGED,
    COUNTER_PATH,
    LOCK_PATH,
    RESOLVED,
    Counter,
    Finished,
    Holding,
    Increment,
    Prepared,
    Record,
    Refusal,
    Stale,
    encode_record,
)
from loggos.base.limits import TOUR_RETRY_S

UNKNOWN: Final = (ConnectionLoss, OperationTimeoutError, SessionExpiredError)  # the request may or may not have been applied
EXIT_ABANDONED: Final = 3


class Orders:
    """What the tour says on stdin. Its end means that the tour is gone: so is this process, at once."""

    def __init__(self, limit: int) -> None:
        self._changed = threading.Condition()
        self._limit, self._hold, self._go = limit, False, False
        threading.Thread(target=self._listen, name="orders", daemon=True).start()

    def _listen(self) -> None:
        for line in sys.stdin:
            word, _, number = line.strip().partition(" ")
            with self._changed:
                if word == "limit":
                    self._limit = int(number)
                elif word == "hold":
                    self._hold = True
                elif word == "go":
                    self._go = True
                self._changed.notify_all()
        os._exit(EXIT_ABANDONED)

    def allows(self, value: int) -> bool:
        return value < self._limit

    def wait_for_more(self, value: int) -> None:
        """Until the limit is above `value`."""
        with self._changed:
            self._changed.wait_for(lambda: self.allows(value))

    def take_hold(self) -> bool:
        """Was this worker told to prepare a write and wait? True once."""
        with self._changed:
            wanted, self._hold = self._hold, False
            return wanted

    def wait_for_go(self) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._go)
            self._go = False


@dataclass(frozen=True, slots=True)
class Write:
    """One increment, ready to be sent: the guard (this holder's znode, at this version) and the counter as it was read."""

    guard: str
    guard_version: int
    token: int
    sequence: int
    before: Counter
    counter_version: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Answer:
    """The definite outcome of a write. `answers`: one word per attempt."""

    applied: bool
    outcome: str
    mzxid: int
    answers: tuple[str, ...]


class Worker:
    """`holding_max`: increments per holding of the lock."""

    def __init__(self, client: KazooClient, number: int, total: int, orders: Orders, holding_max: int) -> None:
        self.client, self.number, self.total, self.orders, self.holding_max = client, number, total, orders, holding_max
        self.sequence = 0
        self.sessions = 1
        client.add_listener(self._state_changed)

    def _state_changed(self, state: str) -> None:
        if state == KazooState.LOST:
            self.sessions += 1

    def tell(self, record: Record) -> None:
        os.write(sys.stdout.fileno(), encode_record(record) + b"\n")

    def read(self) -> tuple[Counter, Any]:
        """The counter and its stat, waiting out broken connections."""
        data, stat = self.client.retry(self.client.get, COUNTER_PATH)
        return msgspec.json.decode(data, type=Counter), stat

    # --- the work ---
    def run(self) -> None:
        """Hold the lock again and again until the counter reaches the total."""
        value = 0
        while value < self.total:
            self.orders.wait_for_more(value)
            value = self.hold_once()
        self.tell(Finished(self.number, time.monotonic(), self.sessions))

    def hold_once(self) -> int:
        """Take the lock, increment a few times, let go. Gives the counter's value as last seen."""
        lock = Lock(self.client, LOCK_PATH, f"worker {self.number}")
        asked = time.monotonic()
        lock.acquire()
        acquired = time.monotonic()
        guard = f"{LOCK_PATH}/{lock.node}"
        stat = self.client.retry(self.client.exists, guard)
        value, done, token = 0, 0, 0
        if stat is not None:  # else: lost before it could be used
            token = stat.czxid
            value, done = self.increment_under(guard, stat.version, token)
        lock.release()
        self.tell(Holding(self.number, token, asked, acquired, time.monotonic(), done))
        return value

    def increment_under(self, guard: str, guard_version: int, token: int) -> tuple[int, int]:
        """Up to `holding_max` increments under one holding: (value last seen, how many)."""
        hold = self.orders.take_hold()
        value = done = 0
        while done < self.holding_max:
            counter, stat = self.read()
            value = counter.value
            if value >= self.total or not self.orders.allows(value):
                break
            write = self.prepare(guard, guard_version, token, counter, stat.version)
            accepted = self.write_after_pause(write) if hold else self.settle(write, self.send(write))
            if not accepted:
                break  # the lock is not ours any more
            hold, value, done = False, value + 1, done + 1
        return value, done

    def prepare(self, guard: str, guard_version: int, token: int, counter: Counter, counter_version: int) -> Write:
        self.sequence += 1
        last = {**counter.last, str(self.number): self.sequence}
        after = Counter(value=counter.value + 1, token=token, worker=self.number, last=last)
        return Write(guard, guard_version, token, self.sequence, counter, counter_version, encode_record(after))

    def write_after_pause(self, write: Write) -> bool:
        """Wait to be paused and resumed with the write ready, then send it, and say what became of it."""
        after = write.before.value + 1
        self.tell(Prepared(self.number, write.token, after, time.monotonic()))
        self.orders.wait_for_go()
        answer = self.send(write)
        counter, _ = self.read()
        now = time.monotonic()
        self.tell(Stale(self.number, write.token, after, now, answer.answers, answer.applied, counter.value, counter.token))
        return self.settle(write, answer)

    # --- one write ---
    def send(self, write: Write) -> Answer:
        """Send until there is a definite answer."""
        answers: list[str] = []
        while True:
            try:
                results = self.transaction(write)
            except UNKNOWN as error:
                answers.append(type(error).__name__)
                time.sleep(TOUR_RETRY_S)
                continue
            cause = refused_by(results)
            if cause is None:
                return Answer(True, ACKNOWLEDGED, results[1].mzxid, (*answers, ACKNOWLEDGED))
            answers.append(cause)
            return self.read_back(write, tuple(answers)) if len(answers) > 1 else Answer(False, cause, 0, tuple(answers))

    def transaction(self, write: Write) -> list[Any]:
        """Check the guard and set the counter, both or neither."""
        request = self.client.transaction()
        request.check(write.guard, write.guard_version)
        request.set_data(COUNTER_PATH, write.data, write.counter_version)
        results: list[Any] = request.commit()
        return results

    def read_back(self, write: Write, answers: tuple[str, ...]) -> Answer:
        """An earlier copy had an unknown outcome and this one was refused: was the earlier one applied? The counter tells."""
        self.client.retry(self.client.sync, COUNTER_PATH)
        counter, stat = self.read()
        if counter.last.get(str(self.number)) != write.sequence:
            return Answer(False, answers[-1], 0, answers)
        mine = counter.worker == self.number and counter.value == write.before.value + 1
        return Answer(True, RESOLVED, stat.mzxid if mine else 0, answers)

    def settle(self, write: Write, answer: Answer) -> bool:
        """Record the outcome; True if the increment is in."""
        after, now = write.before.value + 1, time.monotonic()
        if not answer.applied:
            self.tell(Refusal(self.number, write.sequence, write.token, after, now, answer.answers))
            return False
        earlier = answer.answers[:-1]
        before = write.before.value
        self.tell(Increment(self.number, write.sequence, write.token, before, after, answer.mzxid, now, answer.outcome, earlier))
        return True


def refused_by(results: list[Any]) -> str | None:
    """Which error refused a transaction, with the operation it struck; None if it was applied."""
    for name, result in zip(("check of the lock", "set of the counter"), results, strict=True):
        if isinstance(result, KazooException) and not isinstance(result, RolledBackError | RuntimeInconsistency):
            return f"{type(result).__name__} at the {name}"
    return None


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--hosts", required=True)
    for name in ("number", "total", "limit", "holding-max"):
        parser.add_argument(f"--{name}", type=int, required=True)
    parser.add_argument("--session-s", type=float, required=True)
    options = parser.parse_args(arguments)
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    patient = {"max_tries": -1, "delay": TOUR_RETRY_S, "max_delay": 10 * TOUR_RETRY_S}
    client = KazooClient(options.hosts, timeout=options.session_s, connection_retry=patient, command_retry=patient)
    orders = Orders(options.limit)
    client.start(timeout=60.0)
    worker = Worker(client, options.number, options.total, orders, options.holding_max)
    worker.run()
    client.stop()
    client.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
