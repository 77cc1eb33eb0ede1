"""The lock: mutual exclusion, order, tokens, time-outs, and what happens when replies, sessions or connections are lost."""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Callable

import pytest

from loggos.client import Cluster, LockError, LockLost, LockTimeout, NotHeld
from tests.client.proxy import CREATE, CREATE2, DELETE, Proxy

Connect = Callable[..., Cluster]


def wait_until(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def end_session(cluster: Cluster, hosts: str) -> None:
    """End a session behind its client's back, as an expiry would: attach to it and close it, in one breath."""
    session, password = cluster.kazoo.client_id
    host, port = hosts.split(",")[0].rsplit(":", 1)
    attach = struct.pack(">iqiqi16s?", 0, 0, 6000, session, 16, password, False)
    close = struct.pack(">ii", 1, -11)
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(b"".join(struct.pack(">i", len(frame)) + frame for frame in (attach, close)))
        while connection.recv(4096):
            pass


def test_threads_exclude_each_other_and_tokens_increase(connect: Connect, path: str) -> None:
    clusters = [connect() for _ in range(3)]
    inside, tokens, overlaps = [0], [], []

    def work(cluster: Cluster) -> None:
        for _ in range(8):
            with cluster.lock(path) as held:
                inside[0] += 1
                overlaps.append(inside[0])
                tokens.append(held.token)
                time.sleep(0.002)
                inside[0] -= 1

    threads = [threading.Thread(target=work, args=(cluster,)) for cluster in clusters for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert overlaps == [1] * 48
    assert tokens == sorted(tokens) and len(set(tokens)) == 48
    assert clusters[0].lock(path).contenders() == []


def test_token_is_the_creation_zxid_of_the_lock_node(connect: Connect, path: str) -> None:
    cluster = connect()
    with cluster.lock(path) as held:
        stat = cluster.kazoo.exists(held.path)
        assert stat.czxid == held.token
        assert stat.ephemeralOwner == cluster.session_id
        assert held.held
        held.check()
    assert not held.held
    with pytest.raises(NotHeld):
        held.check()
    held.release()  # again: nothing


def test_first_come_first_served(connect: Connect, path: str) -> None:
    cluster = connect()
    order: list[int] = []
    first = cluster.lock(path).acquire()

    def wait_for_it(number: int) -> None:
        with cluster.lock(path):
            order.append(number)

    threads = []
    for number in range(4):
        threads.append(threading.Thread(target=wait_for_it, args=(number,)))
        threads[-1].start()
        wait_until(lambda: len(cluster.lock(path).contenders()) == number + 2)  # noqa: B023
    first.release()
    for thread in threads:
        thread.join(20)
    assert order == [0, 1, 2, 3]


def test_timeout_names_the_holder_and_leaves_no_place(connect: Connect, path: str) -> None:
    one, two = connect(identifier="the-holder"), connect()
    held = one.lock(path).acquire()
    started = time.monotonic()
    with pytest.raises(LockTimeout, match="the-holder"):
        two.lock(path).acquire(timeout=0.3)
    assert 0.25 < time.monotonic() - started < 5
    with pytest.raises(LockTimeout):
        two.lock(path).acquire(timeout=0)
    assert len(one.lock(path).contenders()) == 1
    held.release()
    two.lock(path).acquire(timeout=0).release()


def test_entering_a_lock_twice_in_one_thread_is_an_error_not_a_deadlock(connect: Connect, path: str) -> None:
    cluster = connect()
    with cluster.lock(path), pytest.raises(LockError, match="already"), cluster.lock(path):
        pass
    cluster.lock(path).acquire(timeout=0).release()


def test_ended_session_raises_calls_back_and_frees_the_lock(connect: Connect, hosts: str, path: str) -> None:
    one, two = connect(), connect()
    held = one.lock(path).acquire()
    called = threading.Event()
    held.on_lost(called.set)
    end_session(one, hosts)
    next_held = two.lock(path).acquire(timeout=10)
    assert called.wait(10)
    with pytest.raises(LockLost):
        held.check()
    assert next_held.token > held.token
    with pytest.raises(LockLost):
        held.release()
    late = threading.Event()
    held.on_lost(late.set)
    assert late.wait(5)
    wait_until(lambda: one.connected)  # the same Cluster goes on in a new session
    next_held.release()
    with one.lock(path, timeout=10) as again:
        assert again.token > next_held.token


def test_deleted_lock_node_is_noticed_at_once(connect: Connect, path: str) -> None:
    one, two = connect(), connect()
    with pytest.raises(LockLost), one.lock(path) as held:
        two.kazoo.delete(held.path)
        wait_until(lambda: not held.held, seconds=0.6)  # by the watch: the next confirmation is a second away
        held.check()


def test_a_block_that_outlived_its_lock_does_not_end_in_silence(connect: Connect, path: str) -> None:
    one, two = connect(), connect()
    with pytest.raises(LockLost), one.lock(path) as held:
        two.kazoo.delete(held.path)
        wait_until(lambda: not held.held, seconds=2)
    with pytest.raises(ZeroDivisionError), one.lock(path) as held:  # the block's own error is the one that is seen
        two.kazoo.delete(held.path)
        _ = 1 // 0


def test_cut_off_holder_gives_up_before_the_server_lets_another_in(connect: Connect, proxy: Proxy, path: str) -> None:
    one, two = connect(proxy.hosts, timeout_s=4.0), connect()
    assert one.session_timeout_s == 4.0
    held = one.lock(path).acquire()
    lost_at: list[float] = []
    held.on_lost(lambda: lost_at.append(time.monotonic()))
    proxy.cut(refuse=True)
    held.check()  # a short break of the connection is no loss
    next_held = two.lock(path).acquire(timeout=20)
    taken_at = time.monotonic()
    assert lost_at and lost_at[0] < taken_at
    proxy.heal()
    with pytest.raises(LockLost):
        held.check()
    next_held.release()


def test_short_break_of_the_connection_is_survived(connect: Connect, proxy: Proxy, path: str) -> None:
    one = connect(proxy.hosts)
    with one.lock(path) as held:
        session = one.session_id
        proxy.cut(refuse=False)
        wait_until(lambda: one.connected and one.session_id == session)
        time.sleep(2)  # confirmed anew at least once
        held.check()


def test_lost_reply_of_the_create_leaves_no_orphan(connect: Connect, proxy: Proxy, path: str) -> None:
    one, two = connect(proxy.hosts), connect()
    two.kazoo.ensure_path(path)
    proxy.lose_reply_to(CREATE, CREATE2)
    held = one.lock(path).acquire(timeout=10)
    assert proxy.lost == 1
    assert [contender.token for contender in two.lock(path).contenders()] == [held.token]
    held.release()
    two.lock(path).acquire(timeout=1).release()


def test_acquire_that_times_out_after_a_lost_reply_leaves_no_orphan(connect: Connect, proxy: Proxy, path: str) -> None:
    one, two = connect(proxy.hosts, timeout_s=15.0), connect()
    two.kazoo.ensure_path(path)

    session = one.session_id
    proxy.lose_reply_to(CREATE, CREATE2, then_refuse=True)
    with pytest.raises(LockTimeout, match="no server"):
        one.lock(path).acquire(timeout=1.0)
    assert proxy.lost == 1
    assert len(two.lock(path).contenders()) == 1  # the server made it, nobody knows of it …
    proxy.heal()
    two.lock(path).acquire(timeout=8).release()  # … and it is cleaned up while its session lives on
    assert one.session_id == session


def test_lost_reply_of_the_release_frees_the_lock(connect: Connect, proxy: Proxy, path: str) -> None:
    one, two = connect(proxy.hosts), connect()
    held = one.lock(path).acquire()
    proxy.lose_reply_to(DELETE)
    held.release()
    two.lock(path).acquire(timeout=4).release()


def test_release_while_cut_off_frees_the_lock_on_return(connect: Connect, proxy: Proxy, path: str) -> None:
    one, two = connect(proxy.hosts, timeout_s=15.0, operation_timeout_s=1.0), connect()
    held = one.lock(path).acquire()
    proxy.cut(refuse=True)
    held.release()
    assert len(two.lock(path).contenders()) == 1
    proxy.heal()
    two.lock(path).acquire(timeout=8).release()


def test_interrupted_waiter_leaves_no_place(connect: Connect, path: str, hosts: str) -> None:
    one, two = connect(), connect()
    held = one.lock(path).acquire()
    errors: list[str] = []

    def wait_for_it() -> None:
        try:
            two.lock(path).acquire()
        except Exception as error:
            errors.append(type(error).__name__)

    waiter = threading.Thread(target=wait_for_it)
    waiter.start()
    wait_until(lambda: len(one.lock(path).contenders()) == 2)
    two.close()
    waiter.join(10)
    assert errors == ["ConnectError"]
    assert len(one.lock(path).contenders()) == 1
    held.release()


def test_excludes_kazoos_own_lock_on_the_same_path(connect: Connect, path: str) -> None:
    cluster = connect()
    theirs = cluster.kazoo.Lock(path)
    with cluster.lock(path):
        assert theirs.acquire(blocking=False) is False
    assert theirs.acquire(blocking=False) is True
    with pytest.raises(LockTimeout):
        cluster.lock(path).acquire(timeout=0)
    theirs.release()
