"""Elections and counters, with replies lost on the way; connect() itself."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable

import pytest

import loggos
from loggos.base.errors import ClientError
from loggos.client import Cluster, ConnectError, Held, LockLost, OutcomeUnknown
from tests.client.proxy import MULTI, Proxy
from tests.client.test_lock import end_session, wait_until

Connect = Callable[..., Cluster]


def test_one_leader_at_a_time_in_order_of_candidacy(connect: Connect, path: str) -> None:
    one, two = connect(identifier="one"), connect(identifier="two")
    election = one.election(path)
    assert election.leader() is None
    terms: list[int] = []
    resign = threading.Event()

    def first(leadership: Held) -> str:
        terms.append(leadership.token)
        assert resign.wait(20)
        return "done"

    results: list[str] = []
    thread = threading.Thread(target=lambda: results.append(election.run(first)))
    thread.start()
    wait_until(lambda: len(terms) == 1)
    second = threading.Thread(target=lambda: two.election(path).run(lambda leadership: terms.append(leadership.token)))
    second.start()
    wait_until(lambda: [candidate.identifier for candidate in election.candidates()] == ["one", "two"])
    leader = two.election(path).leader()
    assert leader is not None and leader.identifier == "one" and leader.token == terms[0]
    resign.set()
    thread.join(20)
    second.join(20)
    assert results == ["done"] and terms == sorted(terms) and len(terms) == 2
    assert election.leader() is None


def test_run_forever_stands_again_after_losing_office(connect: Connect, path: str) -> None:
    one, two = connect(), connect()
    terms: list[int] = []

    def task(leadership: Held) -> None:
        terms.append(leadership.token)
        if len(terms) == 1:
            two.kazoo.delete(leadership.path)
            wait_until(lambda: not leadership.held)
            leadership.check()

    one.election(path).run_forever(task)
    assert len(terms) == 2 and terms[1] > terms[0]
    with pytest.raises(LockLost):
        one.election(path).run(lambda leadership: (two.kazoo.delete(leadership.path), wait_until(lambda: not leadership.held)))


def test_counter_is_exact_among_threads_and_sessions(connect: Connect, path: str) -> None:
    clusters = [connect() for _ in range(3)]
    seen: list[int] = []

    def work(cluster: Cluster) -> None:
        counter = cluster.counter(path, initial=100)
        for _ in range(10):
            seen.append(counter.add(2))

    threads = [threading.Thread(target=work, args=(cluster,)) for cluster in clusters]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert clusters[0].counter(path).value == 160
    assert sorted(seen) == list(range(102, 162, 2))
    assert clusters[0].kazoo.Counter(path).value == 160


@pytest.mark.parametrize("applied", [True, False])
def test_counter_is_exact_when_replies_are_lost(connect: Connect, proxy: Proxy, path: str, applied: bool) -> None:
    counter = connect(proxy.hosts).counter(path)
    assert counter.add() == 1
    for number in range(2, 6):
        if applied:
            proxy.lose_reply_to(MULTI)
        else:
            proxy.lose_request(MULTI)
        assert counter.add() == number
    assert proxy.lost == 4
    assert connect().counter(path).value == 5


def test_counter_says_when_it_cannot_know(connect: Connect, proxy: Proxy, hosts: str, path: str) -> None:
    cluster, other = connect(proxy.hosts, timeout_s=2.0), connect()
    counter = cluster.counter(path)
    counter.add()
    proxy.lose_reply_to(MULTI, then_refuse=True)
    healer = threading.Timer(cluster.session_timeout_s + 3.0, proxy.heal)  # long after the session's end
    healer.start()
    with pytest.raises(OutcomeUnknown, match="session ended"):
        counter.add()
    healer.join()
    assert other.counter(path).value == 2
    assert counter.add() == 3


def test_counter_survives_the_end_of_its_session(connect: Connect, hosts: str, path: str) -> None:
    cluster = connect()
    counter = cluster.counter(path)
    counter.add()
    before = cluster.session_id
    end_session(cluster, hosts)
    wait_until(lambda: cluster.connected and cluster.session_id != before)
    assert counter.add() == 2


def test_what_is_no_counter_is_refused(connect: Connect, path: str) -> None:
    cluster = connect()
    cluster.kazoo.create(path, b"hello", makepath=True)
    with pytest.raises(ClientError, match="no number"):
        cluster.counter(path).add()


def test_server_is_told_apart_and_timeout_is_the_granted_one(connect: Connect, request: pytest.FixtureRequest) -> None:
    cluster = connect(timeout_s=1000.0)
    expects_loggos = "apache" not in request.node.name
    assert cluster.is_loggos is expects_loggos
    assert cluster.session_timeout_s < 1000.0


def test_closed_and_forked_connections_say_so(connect: Connect, path: str) -> None:
    cluster = connect()
    held = cluster.lock(path).acquire()
    child = os.fork()
    if child == 0:
        try:
            cluster.lock(path).acquire(timeout=1)
        except ConnectError:
            os._exit(7)
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    cluster.close()
    cluster.close()
    with pytest.raises(LockLost):
        held.check()
    with pytest.raises(ConnectError, match="closed"):
        cluster.lock(path).acquire(timeout=1)


@pytest.mark.parametrize("bad", ["locks/a", "/", "/a//b", "/a/", "/a/../b", ""])
def test_bad_paths_are_refused_before_anything_is_sent(connect: Connect, bad: str) -> None:
    with pytest.raises(ClientError, match="no path"):
        connect().lock(bad)


def test_bad_hosts_are_one_clear_error() -> None:
    with pytest.raises(ClientError, match="host:port"):
        loggos.connect("localhost:port")
