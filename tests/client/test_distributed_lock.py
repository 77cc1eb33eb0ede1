"""The small interface: acquire, release, and every way to misuse it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest

import loggos
from loggos.client import Cluster, ConnectError, DistributedLock, LockError, LockLost, NotHeld
from tests.client.providers import free_port
from tests.client.test_lock import wait_until


@pytest.fixture
def new_lock(hosts: str, path: str) -> Iterator[Callable[[], DistributedLock]]:
    made: list[DistributedLock] = []

    def make() -> DistributedLock:
        made.append(loggos.DistributedLock(hosts, path, timeout_s=6.0))
        return made[-1]

    yield make
    for lock in made:
        lock.close()


def test_acquire_and_release(new_lock: Callable[[], DistributedLock]) -> None:
    one, two = new_lock(), new_lock()
    assert one.acquire() is True
    first = one.token
    assert two.acquire(timeout=0.1) is False
    one.release()
    assert two.acquire(timeout=5) is True
    assert two.token > first
    two.check()
    two.release()
    with one:
        assert two.acquire(timeout=0) is False
    with one, pytest.raises(LockError, match="re-entrant"):
        one.acquire()
    assert two.acquire(timeout=0) is True  # the refused one left nothing behind


def test_release_by_the_wrong_owner(new_lock: Callable[[], DistributedLock]) -> None:
    one, two = new_lock(), new_lock()
    one.acquire()
    with pytest.raises(NotHeld):
        two.release()
    errors: list[str] = []

    def release_it() -> None:
        try:
            one.release()
        except NotHeld:
            errors.append("refused")

    thread = threading.Thread(target=release_it)
    thread.start()
    thread.join(10)
    assert errors == ["refused"]
    one.check()
    one.release()
    with pytest.raises(NotHeld):
        one.release()


def test_threads_of_one_object_exclude_each_other(new_lock: Callable[[], DistributedLock]) -> None:
    lock = new_lock()
    inside, seen = [0], []

    def work() -> None:
        for _ in range(5):
            with lock:
                inside[0] += 1
                seen.append(inside[0])
                inside[0] -= 1

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert seen == [1] * 15


def test_loss_is_not_silent(new_lock: Callable[[], DistributedLock], connect: Callable[..., Cluster]) -> None:
    lock = new_lock()
    lock.acquire()
    connect().kazoo.delete(lock.held.path)
    wait_until(lambda: not lock.held.held)
    with pytest.raises(LockLost):
        lock.check()
    with pytest.raises(LockLost):
        lock.release()
    assert lock.acquire(timeout=5)  # and it can be had again
    lock.release()


def test_no_server_is_one_clear_error_and_can_be_tried_again() -> None:
    lock = DistributedLock(f"127.0.0.1:{free_port()}", timeout_s=2.0, connect_timeout_s=0.5)
    for _ in range(2):
        with pytest.raises(ConnectError, match="no ZooKeeper-compatible server answered"):
            lock.acquire()
