"""Guarded writes and holders that stopped: whoever is no longer the holder is refused by the server, whatever it believes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from loggos.client import Cluster, LockLost, OutcomeUnknown, WriteRefused
from loggos.client.guarded import GuardedTransaction
from tests.client.holder import Careless
from tests.client.proxy import MULTI, Proxy

Connect = Callable[..., Cluster]
ROOT = Path(__file__).resolve().parents[2]


class HolderProcess:
    """tests/client/holder.py, running."""

    def __init__(self, hosts: str, path: str, timeout_s: float) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.client.holder", hosts, path, str(timeout_s)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}"},
        )

    def line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def tell(self, order: str) -> str:
        assert self.process.stdin is not None
        self.process.stdin.write(order + "\n")
        self.process.stdin.flush()
        return self.line()

    def end(self) -> None:
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def holders(hosts: str) -> Iterator[Callable[[str, float], HolderProcess]]:
    started: list[HolderProcess] = []

    def start(path: str, timeout_s: float) -> HolderProcess:
        started.append(HolderProcess(hosts, path, timeout_s))
        return started[-1]

    yield start
    for holder in started:
        holder.end()


def test_paused_holder_is_fenced(connect: Connect, holders: Callable[[str, float], HolderProcess], path: str) -> None:
    cluster = connect()
    cluster.kazoo.create(f"{path}-data", b"0", makepath=True)
    stale = holders(path, 2.0)
    token = int(stale.line())
    assert stale.tell(f"write {path}-data stale-1") == "ok"
    stale.process.send_signal(signal.SIGSTOP)
    held = cluster.lock(path).acquire(timeout=20)
    assert held.token > token
    held.set(f"{path}-data", b"fresh")
    stale.process.send_signal(signal.SIGCONT)
    assert stale.tell(f"careless {path}-data stale-2") in ("LockLost", "OutcomeUnknown")
    assert stale.tell("check") == "LockLost"
    assert stale.tell(f"write {path}-data stale-3") == "LockLost"
    time.sleep(0.2)
    assert stale.tell(f"careless {path}-data stale-4") == "LockLost"
    assert cluster.kazoo.get(f"{path}-data")[0] == b"fresh"
    held.release()


def test_killed_holder_frees_the_lock(connect: Connect, holders: Callable[[str, float], HolderProcess], path: str) -> None:
    first, second = holders(path, 2.0), connect()
    token = int(first.line())
    first.process.kill()
    with second.lock(path, timeout=20) as held:
        assert held.token > token


def test_processes_increment_under_the_lock_without_losing_one(
    connect: Connect, holders: Callable[[str, float], HolderProcess], path: str
) -> None:
    cluster = connect()
    cluster.kazoo.create(f"{path}-data", b"0", makepath=True)
    tokens = []
    waiting = [holders(path, 6.0) for _ in range(3)]
    with cluster.lock(path) as held:
        held.set(f"{path}-data", b"1")
        tokens.append(held.token)
    while waiting:
        first = cluster.lock(path).contenders()
        if len(first) < len(waiting):
            time.sleep(0.02)
            continue
        holder = next(one for one in waiting if one.process.stdout is not None and _has_line(one))
        tokens.append(int(holder.line()))
        number = int(cluster.kazoo.get(f"{path}-data")[0])
        assert holder.tell(f"write {path}-data {number + 1}") == "ok"
        assert holder.tell("release") == "ok"
        waiting.remove(holder)
    assert cluster.kazoo.get(f"{path}-data")[0] == b"4"
    assert tokens == sorted(tokens) and len(set(tokens)) == 4


def _has_line(holder: HolderProcess) -> bool:
    import select

    assert holder.process.stdout is not None
    return bool(select.select([holder.process.stdout], [], [], 0.5)[0])


def test_server_refuses_a_stale_holder_that_believes_in_itself(connect: Connect, path: str) -> None:
    one, two = connect(), connect()
    one.kazoo.create(f"{path}-data", b"0", makepath=True)
    held = one.lock(path).acquire()
    two.kazoo.delete(held.path)
    careless = GuardedTransaction(one._session, Careless(held))
    careless.set(f"{path}-data", b"stale")
    with pytest.raises(LockLost, match="refused"):
        careless.commit()
    assert two.kazoo.get(f"{path}-data")[0] == b"0"


def test_guarded_transaction_is_all_or_nothing_and_says_what_failed(connect: Connect, path: str) -> None:
    cluster = connect()
    with cluster.lock(path) as held:
        assert held.create(f"{path}-a", b"1") == f"{path}-a"
        assert held.set(f"{path}-a", b"2").version == 1
        with pytest.raises(WriteRefused, match="BadVersion") as refused, held.transaction() as together:
            together.create(f"{path}-b")
            together.set(f"{path}-a", b"3", version=7)
            together.delete(f"{path}-a")
        assert refused.value.position == 1
        assert cluster.kazoo.exists(f"{path}-b") is None
        with pytest.raises(WriteRefused, match="NoNode"):
            held.set(f"{path}-nowhere", b"")
        held.check()
        with held.transaction() as together:
            together.check(f"{path}-a", 1)
            together.create(f"{path}-b")
            together.delete(f"{path}-a")
        assert cluster.kazoo.exists(f"{path}-a") is None and cluster.kazoo.exists(f"{path}-b")


def test_lost_reply_of_a_guarded_write_is_said_to_be_unknown(connect: Connect, proxy: Proxy, path: str) -> None:
    one = connect(proxy.hosts)
    one.kazoo.create(f"{path}-data", b"0", makepath=True)
    with one.lock(path) as held:
        proxy.lose_reply_to(MULTI)
        with pytest.raises(OutcomeUnknown):
            held.set(f"{path}-data", b"1")
    assert one.kazoo.retry(one.kazoo.get, f"{path}-data")[0] == b"1"
