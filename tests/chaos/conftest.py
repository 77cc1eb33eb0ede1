"""Clusters of real processes for the chaos tests: one per file, mended after every test.

A test may kill, pause, wipe and damage as it likes; it uses paths of its own, and need not clean up.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from tests.chaos.agreement import wait_voters
from tests.interop.cluster import Cluster


@pytest.fixture(scope="module")
def shared_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with Cluster.running(tmp_path_factory.mktemp("cluster")) as running:
        yield running


@pytest.fixture
def cluster(shared_cluster: Cluster) -> Iterator[Cluster]:
    """Three nodes that all serve and vote, whatever the test before has done to them."""
    configs = {number: node.config.read_text() for number, node in shared_cluster.nodes.items()}
    yield shared_cluster
    for number, node in shared_cluster.nodes.items():
        node.config.write_text(configs[number])
        if node.runs:
            node.signal(signal.SIGCONT)
        else:
            node.start()
    shared_cluster.wait_serving()
    wait_voters(shared_cluster)
