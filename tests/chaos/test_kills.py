"""SIGKILL, SIGSTOP and restarts of real nodes under load: what was acknowledged stays, minorities stay silent."""

from __future__ import annotations

import signal
import threading
import time

import pytest
from kazoo.client import KazooState
from kazoo.exceptions import KazooException
from kazoo.handlers.threading import KazooTimeoutError

from loggos.app.bench import wire
from loggos.base.limits import ELECTION_TIMEOUT_MS
from tests.chaos.agreement import wait_agreed
from tests.chaos.load import check, client, writers
from tests.interop.cluster import Cluster, eventually

pytestmark = [pytest.mark.process]


def test_a_killed_leader_loses_nothing(cluster: Cluster) -> None:
    with writers(cluster.hosts) as load:
        load[0].wait_for_more(50)
        leader = cluster.leader()
        cluster.kill(leader)
        for writer in load:
            writer.wait_for_more(50)
        cluster.restart(leader)
        load[0].wait_for_more(50)
    check(cluster.hosts, load)
    wait_agreed(cluster)


def test_a_killed_follower_loses_nothing(cluster: Cluster) -> None:
    with writers(cluster.hosts) as load:
        load[0].wait_for_more()
        follower = cluster.followers()[0]
        cluster.kill(follower)
        for writer in load:
            writer.wait_for_more(50)
        cluster.restart(follower)
        load[0].wait_for_more(50)
    check(cluster.hosts, load)
    wait_agreed(cluster)


def test_a_leader_that_is_paused_is_replaced_and_comes_back_as_a_follower(cluster: Cluster) -> None:
    with writers(cluster.hosts) as load:
        load[0].wait_for_more()
        old = cluster.leader()
        cluster.pause(old)
        others = [node for number, node in cluster.nodes.items() if number != old]
        eventually("another node leads", lambda: any(node.mode() == "leader" for node in others))
        for writer in load:
            writer.wait_for_more()
        cluster.resume(old)
        eventually("the old leader follows", lambda: cluster[old].mode() == "follower")
        load[0].wait_for_more()
    check(cluster.hosts, load)
    wait_agreed(cluster)


def test_a_minority_acknowledges_nothing_and_loses_nothing(cluster: Cluster) -> None:
    leader = cluster.leader()
    survivor = cluster[leader]
    first = client(cluster.hosts)
    first.create("/before", b"1")
    first.stop()
    alone = client(survivor.address)
    for number in [n for n in cluster.nodes if n != leader]:
        cluster.kill(number)
    attempt = alone.create_async("/alone", b"2")
    with pytest.raises((KazooException, KazooTimeoutError)):
        attempt.get(timeout=3 * ELECTION_TIMEOUT_MS / 1000)
    for number in [n for n in cluster.nodes if n != leader]:
        cluster.nodes[number].start()
    cluster.wait_serving()
    after = client(cluster.hosts)
    assert after.get("/before")[0] == b"1"
    after.create("/after", b"3")
    for found in (alone, after):
        found.stop()
        found.close()
    wait_agreed(cluster)


def test_all_nodes_killed_at_once_lose_nothing(cluster: Cluster) -> None:
    with writers(cluster.hosts) as load:
        load[0].wait_for_more(50)
        for node in cluster.nodes.values():
            node.signal(signal.SIGKILL)
        for node in cluster.nodes.values():
            node.wait_end()
        for node in cluster.nodes.values():
            node.start()
        cluster.wait_serving()
        for writer in load:
            writer.wait_for_more()
    check(cluster.hosts, load)
    wait_agreed(cluster)


def test_a_session_and_its_ephemerals_move_to_another_node(cluster: Cluster) -> None:
    """And it sees its own writes there."""
    home = cluster.followers()[0]
    others = ",".join(node.address for number, node in cluster.nodes.items() if number != home)
    moving = client(cluster[home].address)
    states: list[KazooState] = []
    again = threading.Event()

    def listen(state: KazooState) -> None:
        states.append(state)
        if state == KazooState.CONNECTED:
            again.set()

    moving.create("/mine", b"x", ephemeral=True)
    moving.create("/written", b"last word")
    session = moving.client_id[0]
    moving.add_listener(listen)
    moving.set_hosts(others)
    cluster.kill(home)
    assert again.wait(30), "it did not come back"
    assert moving.client_id[0] == session and KazooState.LOST not in states
    assert moving.get("/written")[0] == b"last word"
    assert moving.get("/mine")[1].ephemeralOwner == session
    moving.stop()
    moving.close()
    watcher = client(others)
    assert watcher.exists("/mine") is None, "the session ended, and its ephemerals with it"
    watcher.stop()
    watcher.close()


def test_a_dead_clients_ephemerals_go_after_its_session(cluster: Cluster) -> None:
    """Also when the leader that timed it dies before."""
    holder = wire.Session(cluster[cluster.followers()[0]].endpoint, session_ms=4_000)  # speaks only when it is told to
    error, _ = holder.call(wire.OP_CREATE, wire.buffer(b"/held") + wire.buffer(b"") + wire.OPEN_ACL + wire.FRAME_HEAD.pack(1))
    assert error == 0
    cluster.kill(cluster.leader())
    watcher = client(",".join(node.address for node in cluster.nodes.values() if node.runs))
    assert watcher.exists("/held") is not None, "after a change of leader everyone has a full fresh lease"
    eventually("the ephemeral node is gone", lambda: watcher.exists("/held") is None)
    watcher.stop()
    watcher.close()


def test_a_stop_by_sigterm_is_graceful_and_quick_to_come_back_from(cluster: Cluster) -> None:
    with writers(cluster.hosts) as load:
        load[0].wait_for_more()
        for number in cluster.nodes:
            assert cluster[number].stop() == 0
            load[0].wait_for_more()
            cluster.restart(number)
    check(cluster.hosts, load)
    wait_agreed(cluster)


@pytest.mark.full
@pytest.mark.timeout(600)
def test_twenty_leaders_killed_or_paused_in_turn_lose_nothing(cluster: Cluster) -> None:
    with writers(cluster.hosts, 5) as load:
        for turn in range(20):
            leader = cluster.leader()
            if turn % 3 == 2:
                cluster.pause(leader)
                time.sleep(2 * ELECTION_TIMEOUT_MS / 1000)
                cluster.resume(leader)
            else:
                cluster.kill(leader)
                load[0].wait_for_more(5)
                cluster.restart(leader)
            for writer in load:
                writer.wait_for_more(5)
    check(cluster.hosts, load)
    wait_agreed(cluster)
