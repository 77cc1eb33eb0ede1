"""A node that may have few files and connections open, and strangers who want more of them than that and say nothing."""

from __future__ import annotations

import os
import resource
import signal
import socket
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from tests.chaos.load import check, client, writers
from tests.interop.cluster import HOST, Cluster, Node, eventually

pytestmark = [pytest.mark.process]

DESCRIPTORS = 200  # of each node
STRANGERS = 210  # at each door
BURST = 100  # at each door at once: no system keeps fewer than 128 waiting
CONNECT_TIMEOUT_S = 20.0
VALUE = bytes(100_000)
VALUES = 40  # more than the first two segments of the journal hold: files are opened


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with Cluster.running(tmp_path_factory.mktemp("descriptors"), descriptors=DESCRIPTORS) as cluster:
        yield cluster


def doors(node: Node) -> dict[str, int]:
    """Its ports, by the metric that counts who was refused there."""
    return {"client": node.ports.zookeeper, "console": node.ports.console, "peer": node.ports.peer}


@contextmanager
def silent(node: Node, count: int) -> Iterator[None]:
    """Connections to every port of a node that say nothing, whatever becomes of them."""
    sockets: list[socket.socket] = []
    try:
        for port in doors(node).values():
            sockets += [socket.create_connection((HOST, port), CONNECT_TIMEOUT_S) for _ in range(count)]
        yield
    finally:
        for sock in sockets:
            sock.close()


def refused(node: Node) -> dict[str, float]:
    """How many each door has refused, by the node's metrics."""
    with urllib.request.urlopen(f"http://{HOST}:{node.ports.console}/metrics", timeout=CONNECT_TIMEOUT_S) as answer:
        lines = [line.split() for line in answer.read().decode().splitlines() if "_connections_refused_total" in line]
    return {line[0].removeprefix("loggos_").removesuffix("_connections_refused_total"): float(line[1]) for line in lines}


def fill(node: Node, name: str) -> None:
    """Writes through this node that make its journal open files."""
    writer = client(node.address)
    session = writer.client_id
    for number in range(VALUES):
        writer.create(f"/{name}-{number:03d}", VALUE)
    assert writer.client_id == session
    writer.stop()
    writer.close()


@pytest.mark.parametrize("who", ["leader", "follower"])
def test_strangers_who_say_nothing_at_every_port_harm_nobody(cluster: Cluster, who: str) -> None:
    node = cluster[cluster.leader() if who == "leader" else cluster.followers()[0]]
    assert node.process is not None
    with writers(cluster.hosts, 2) as load, silent(node, STRANGERS):
        fill(node, f"by-{who}")
        assert node.runs, node.tail()
        assert node.serves(), "a newcomer gets a session"
        assert node.status()["node"] == node.number, "the console answers"
        counted = refused(node)
        assert all(counted[door] >= STRANGERS - DESCRIPTORS for door in doors(node)), counted
        if sys.platform == "linux":
            assert len(os.listdir(f"/proc/{node.process.pid}/fd")) < DESCRIPTORS - 50
        other = next(each for each in cluster.nodes.values() if each is not node)
        other.kill()
        cluster.restart(other.number)  # a peer finds its way in
        for writer in load:
            writer.wait_for_more()
    check(cluster.hosts, load)
    assert all(each.runs for each in cluster.nodes.values()), cluster.tails()


def test_a_burst_at_every_port_while_the_node_is_away(cluster: Cluster) -> None:
    """All of them wait when it looks again."""
    node = cluster[cluster.followers()[0]]
    before = refused(node)
    node.signal(signal.SIGSTOP)
    with silent(node, BURST):
        node.signal(signal.SIGCONT)
        fill(node, "burst")
        eventually("the node serves newcomers", lambda: not node.runs or node.serves())
        assert node.runs, node.tail()
        after = refused(node)
        assert all(after[door] - before.get(door, 0) >= BURST / 2 for door in doors(node)), (before, after)


def test_the_lack_of_descriptors_is_said_once_with_its_mend(cluster: Cluster) -> None:
    for node in cluster.nodes.values():
        lines = [line for line in node.output.read_text().splitlines() if "takes fewer clients than it could" in line]
        starts = node.output.read_text().count("serves: zookeeper=")
        assert len(lines) == starts > 0
        assert all(f"limit of open files is {DESCRIPTORS}" in line and "ulimit -Hn" in line for line in lines)


def test_a_node_with_too_few_descriptors_says_so_and_writes_nothing(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path, 1, descriptors=100)
    node = cluster[1]
    node.start()
    assert node.wait_end() == 2
    assert "may have 100 files and connections open; a node with 0 peers needs " in node.output.read_text()
    assert not list(node.data.iterdir())


@pytest.mark.skipif(not hasattr(psutil.Process, "rlimit"), reason="this system does not tell the limits of other processes")
def test_a_node_raises_its_own_limit(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, 300), hard))  # inherited by the node
    try:
        with Cluster.running(tmp_path, 1) as cluster:
            process = cluster[1].process
            assert process is not None
            assert psutil.Process(process.pid).rlimit(psutil.RLIMIT_NOFILE) == (hard, hard)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
