"""Writers that know what they were promised: what was acknowledged must be there afterwards, exactly once.

Each `Writer` is a kazoo client in a thread of its own. It creates nodes with values of its own in a folder of its own, and
increments a counter by versioned writes. A write without an answer may have happened or not; one with an answer has happened.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from kazoo.client import KazooClient
from kazoo.exceptions import BadVersionError, KazooException, NodeExistsError
from kazoo.handlers.threading import KazooTimeoutError
from kazoo.retry import KazooRetry

from tests.interop.cluster import DEADLINE_S, eventually

LOST = (KazooException, KazooTimeoutError)  # no answer: it may have happened, or not


def client(hosts: str, timeout_s: float = 10.0) -> KazooClient:
    """A started client that never gives up connecting."""
    retry = KazooRetry(max_tries=-1, delay=0.05, backoff=1.5, max_delay=0.5)
    found = KazooClient(hosts, timeout=timeout_s, connection_retry=retry)
    found.start(timeout=DEADLINE_S)
    return found


class Writer:
    """One client's load, and what it was promised."""

    def __init__(self, root: str, name: str, hosts: str) -> None:
        self.name = name
        self.folder, self.counter = f"{root}/{name}", f"{root}/counter"
        self.client = client(hosts)
        self.client.ensure_path(self.folder)
        self.client.ensure_path(self.counter)
        self.acknowledged: list[int] = []
        self.unknown: list[int] = []
        self.increments = 0
        self.increments_unknown = 0
        self.stopping = threading.Event()
        self.thread = threading.Thread(target=self._run, name=f"writer {name}", daemon=True)

    def _run(self) -> None:
        number = 0
        while not self.stopping.is_set():
            number += 1
            self._create(number)
            if number % 5 == 0:
                self._increment()

    def _create(self, number: int) -> None:
        try:
            self.client.create(f"{self.folder}/{number:08d}", b"%d" % number)
        except NodeExistsError as error:
            raise AssertionError(f"{self.name}/{number} was there before it was written") from error
        except LOST:
            self.unknown.append(number)
            time.sleep(0.05)
        else:
            self.acknowledged.append(number)

    def _increment(self) -> None:
        """Read and write with the version: no increment may be lost or counted twice."""
        try:
            value, stat = self.client.get(self.counter)
        except LOST:
            return
        try:
            self.client.set(self.counter, b"%d" % (int(value or b"0") + 1), version=stat.version)
        except BadVersionError:
            pass
        except LOST:
            self.increments_unknown += 1
        else:
            self.increments += 1

    def wait_for_more(self, count: int = 20) -> None:
        """Until it has been promised `count` more writes than now."""
        target = len(self.acknowledged) + count
        eventually(f"{count} more acknowledged writes of {self.name}", lambda: len(self.acknowledged) >= target)

    def stop(self) -> None:
        self.stopping.set()
        self.thread.join(DEADLINE_S)
        assert not self.thread.is_alive(), f"writer {self.name} hangs"
        self.client.stop()
        self.client.close()


@contextmanager
def writers(hosts: str, count: int = 3) -> Iterator[list[Writer]]:
    """Writers under way; they are stopped at the end of the block."""
    root = f"/load-{uuid.uuid4().hex}"
    running = [Writer(root, f"w{number}", hosts) for number in range(count)]
    for writer in running:
        writer.thread.start()
    try:
        yield running
    finally:
        for writer in running:
            writer.stop()


def check(hosts: str, load: Sequence[Writer]) -> None:
    """No acknowledged write is lost, none is there that nobody made, and the counter is exact."""
    reader = client(hosts)
    try:
        reader.sync("/")
        for writer in load:
            found = {int(name): reader.get(f"{writer.folder}/{name}")[0] for name in reader.get_children(writer.folder)}
            lost = [number for number in writer.acknowledged if found.get(number) != b"%d" % number]
            assert not lost, f"{writer.name}: acknowledged and lost: {lost[:10]}"
            strange = found.keys() - {*writer.acknowledged, *writer.unknown}
            assert not strange, f"{writer.name}: there, but never written: {sorted(strange)[:10]}"
            assert writer.acknowledged, f"{writer.name} wrote nothing: the test tests nothing"
        value, stat = reader.get(load[0].counter)
        sure, unsure = sum(w.increments for w in load), sum(w.increments_unknown for w in load)
        assert sure <= int(value or b"0") <= sure + unsure
        assert stat.version == int(value or b"0"), "an increment was applied twice or lost"
    finally:
        reader.stop()
        reader.close()
