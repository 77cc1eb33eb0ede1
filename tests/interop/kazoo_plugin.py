"""A pytest plugin for kazoo's own suite: gives kazoo's harness servers that run already, and leaves out what they do not offer.

No test of kazoo is changed. Its harness keeps the cluster it talks to in `kazoo.testing.harness.CLUSTER` and starts one only if
that is empty: this plugin puts a cluster there. Loaded by test_kazoo_suite.py with `-p`; what it needs comes by environment:
LOGGOS_SUITE_SERVERS (loggos or zookeeper), LOGGOS_SUITE_FOLDER, LOGGOS_SUITE_RESULTS (a JSON file: test name → outcome).
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from kazoo.testing import harness

from tests.interop.cluster import Cluster
from tests.interop.left_out import left_out
from tests.interop.zookeeper import ZooKeeper

SERVERS = {"loggos": Cluster, "zookeeper": ZooKeeper}


class Server:
    """What kazoo's tests ask of one server."""

    def __init__(self, node: Any) -> None:
        self.node = node
        self.address = node.address

    @property
    def running(self) -> bool:
        return bool(self.node.runs)

    def run(self) -> None:
        if not self.node.runs:
            self.node.start()

    def stop(self) -> None:
        if self.node.runs:
            self.node.stop()

    def get_logs(self) -> list[str]:
        return [self.node.tail()]


class Servers:
    """What kazoo's tests ask of a cluster. It outlives every test class, so `terminate` leaves it alone."""

    def __init__(self, nodes: list[Any]) -> None:
        self.servers = [Server(node) for node in nodes]

    def __iter__(self) -> Iterator[Server]:
        return iter(self.servers)

    def __getitem__(self, position: int) -> Server:
        return self.servers[position]

    def start(self) -> None:
        for server in self.servers:
            server.run()

    def terminate(self) -> None:
        pass

    def get_logs(self) -> list[str]:
        return [line for server in self.servers for line in server.get_logs()]


class Suite:
    """Owns the servers and the outcomes of one run."""

    def __init__(self) -> None:
        self.stack = ExitStack()
        self.outcomes: dict[str, str] = {}
        self.reasons: dict[str, str] = {}

    def pytest_sessionstart(self) -> None:
        kind = SERVERS[os.environ["LOGGOS_SUITE_SERVERS"]]
        cluster = self.stack.enter_context(kind.running(Path(os.environ["LOGGOS_SUITE_FOLDER"])))
        harness.CLUSTER = Servers(list(cluster.nodes.values()))
        harness.CLUSTER_CONF = {key: os.environ.get(key, harness.CLUSTER_DEFAULTS.get(key)) for key in self.settings()}

    @staticmethod
    def settings() -> list[str]:
        """The environment in which kazoo's harness looks for a change of cluster."""
        names = "PATH CLASSPATH PORT_OFFSET CLUSTER_SIZE VERSION OBSERVER_START_ID JAAS_AUTH LOCAL_SESSION_RO"
        return [f"ZOOKEEPER_{name}" for name in names.split()]

    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        kept = []
        for item in items:
            why = left_out(name_of(item.nodeid))
            if why is None:
                kept.append(item)
            else:
                self.outcomes[name_of(item.nodeid)] = "left out"
                self.reasons[name_of(item.nodeid)] = why
        config.hook.pytest_deselected(items=[item for item in items if item not in kept])
        items[:] = kept

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        name = name_of(report.nodeid)
        if report.when == "call" or report.outcome != "passed":
            worse = self.outcomes.get(name) in ("failed", "skipped")
            self.outcomes[name] = self.outcomes[name] if worse else report.outcome
        if report.outcome != "passed":
            self.reasons[name] = report.longreprtext

    def pytest_sessionfinish(self) -> None:
        Path(os.environ["LOGGOS_SUITE_RESULTS"]).write_text(json.dumps({"outcomes": self.outcomes, "reasons": self.reasons}))

    def pytest_unconfigure(self) -> None:
        self.stack.close()


def name_of(node_id: str) -> str:
    """`test_lock.py::KazooLockTests::test_lock` of a node id with a folder before it."""
    return node_id.rpartition("/")[2]


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(Suite(), "loggos-suite")
