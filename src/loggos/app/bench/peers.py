"""The two systems side by side: Loggos by its command line, Apache ZooKeeper as Debian ships it.

ZooKeeper runs with Debian's JVM flags and class path (its zkServer.sh and environment file), its data on the same file system as
Loggos's, forceSync on.
"""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any, Final

import psutil

import loggos
from loggos.app.bench import metrics, wire
from loggos.app.clusters import NODES, Cluster, ClusterError, ProcessPerNode
from loggos.app.ports import CONSOLE, PEER
from loggos.app.processes import child_environment, is_running, listens, process_tree, signal_tree
from loggos.base.errors import ConfigError
from loggos.base.limits import BENCH_STOP_DEADLINE_S

__all__ = ["Cluster", "ClusterError", "LoggosCluster", "ZooKeeperCluster", "child_environment"]

ZOOKEEPER_JAR: Final = Path("/usr/share/java/zookeeper.jar")
ZOOKEEPER_CLASS_PATH: Final = f"/etc/zookeeper/conf:{ZOOKEEPER_JAR}"
ZOOKEEPER_JVM_FLAGS: Final = (
    "-XX:+HeapDumpOnOutOfMemoryError",
    "-XX:OnOutOfMemoryError=kill -9 %p",
    "-Dcom.sun.management.jmxremote",
    "-Dcom.sun.management.jmxremote.local.only=true",
)


class ZooKeeperCluster(ProcessPerNode):
    """Apache ZooKeeper out of Debian's packages: one JVM per node."""

    name = "zookeeper"
    label = "Apache ZooKeeper"

    def __init__(self, directory: Path, *, base_port: int | None = None) -> None:
        super().__init__(directory, base_port=base_port)
        if not ZOOKEEPER_JAR.exists() or shutil.which("java") is None:
            raise ConfigError("Apache ZooKeeper is not installed: `apt install zookeeper`, or run with --peer none")

    def node_directory(self, node: int) -> Path:
        return self.directory / f"node-{node}"

    def config(self, node: int) -> str:
        """The zoo.cfg of one node: Debian's defaults, an ensemble, all four-letter words, no admin server (all want one port)."""
        peers = [(other, *self.peer_ports(other)) for other in range(1, NODES + 1)]
        lines = [
            "tickTime=2000",
            "initLimit=10",
            "syncLimit=5",
            f"dataDir={self.node_directory(node)}",
            "clientPortAddress=127.0.0.1",
            f"clientPort={self.client_port(node)}",
            "maxClientCnxns=0",
            "forceSync=yes",
            "admin.enableServer=false",
            "4lw.commands.whitelist=*",
            *(f"server.{other}=127.0.0.1:{quorum}:{election}" for other, quorum, election in peers),
        ]
        return "\n".join(lines) + "\n"

    def spawn(self) -> None:
        for node in range(1, NODES + 1):
            home = self.node_directory(node)
            home.mkdir(parents=True)
            (home / "myid").write_text(f"{node}\n")
            (home / "zoo.cfg").write_text(self.config(node))
        for node in range(1, NODES + 1):
            self.restart(node)

    def restart(self, node: int) -> None:
        home = self.node_directory(node)
        command = [
            "java",
            f"-Dzookeeper.log.dir={home}",
            "-Dzookeeper.log.file=zookeeper.log",
            *ZOOKEEPER_JVM_FLAGS,
            "-cp",
            ZOOKEEPER_CLASS_PATH,
            "org.apache.zookeeper.server.quorum.QuorumPeerMain",
            str(home / "zoo.cfg"),
        ]
        assert self.log is not None
        self.processes[node] = subprocess.Popen(
            command, cwd=home, stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log, start_new_session=True
        )

    def peer_ports(self, node: int) -> tuple[int, ...]:
        return self.client_port(node) + 1, self.client_port(node) + 2

    def fdatasync(self) -> dict[str, float] | None:
        """ZooKeeper keeps average, minimum and maximum of its log syncs, no percentiles."""
        try:
            text = wire.four_letter_word(self.addresses[self.leader() - 1], b"mntr")
        except OSError:
            return None
        return metrics.fsync_of_mntr(text)

    def settings(self) -> str:
        limits = "tickTime 2000, initLimit 10, syncLimit 5, forceSync yes, snapCount default"
        return f"3 nodes, Debian's JVM flags (heap: the JVM's default), {limits}"


class LoggosCluster(Cluster):
    """Loggos by `loggos up`, as any user starts it. `revive`: with --restart, so that a killed node comes back by itself."""

    name = "loggos"
    label = "Loggos"

    def __init__(self, directory: Path, *, base_port: int | None = None, revive: bool = False) -> None:
        super().__init__(directory, base_port=base_port)
        self.revive = revive
        self.process: subprocess.Popen[bytes] | None = None
        self.line = directory / "up.json"

    def command(self) -> list[str]:
        up = ["up", "--nodes", str(NODES), "--data", str(self.directory / "data"), "--base-port", str(self.base_port), "--json"]
        return [sys.executable, "-m", "loggos.cli.main", *up, *(["--restart"] if self.revive else [])]

    def spawn(self) -> None:
        with self.line.open("wb") as out:
            environment = child_environment()
            self.process = subprocess.Popen(
                self.command(), stdin=subprocess.DEVNULL, stdout=out, stderr=self.log, env=environment, start_new_session=True
            )

    def check_alive(self) -> None:
        if self.process is not None and self.process.poll() is not None:
            raise ClusterError(f"`loggos up` ended with {self.process.returncode}; {self.last_output()}")

    def nodes(self) -> list[dict[str, Any]]:
        """The nodes as `up --json` printed them; empty until it has."""
        text = self.line.read_text()
        if not text.endswith("\n"):
            return []
        nodes: list[dict[str, Any]] = json.loads(text)["nodes"]
        return nodes

    def root_pid(self, node: int) -> int | None:
        """The pid that `up` printed while it lives; else the child of `up` that listens on the node's port (it was restarted)."""
        if self.process is None or self.process.poll() is not None:
            return None
        children = [child for child in psutil.Process(self.process.pid).children() if is_running(child)]
        printed = next((entry["pid"] for entry in self.nodes() if entry["id"] == node), None)
        if any(child.pid == printed for child in children):
            return int(printed or 0)
        port = self.client_port(node)
        return next((child.pid for child in children if any(listens(process, port) for process in process_tree(child.pid))), None)

    def restart(self, node: int) -> None:
        """`up --restart` does it by itself; without that a killed node stays dead."""
        if not self.revive:
            raise ClusterError("a Loggos node comes back only in a cluster that was started with revive=True")

    def terminate(self) -> list[int]:
        if self.process is None:
            return []
        tree = [process.pid for process in process_tree(self.process.pid)]
        signal_tree(self.process.pid, signal.SIGCONT)
        if self.process.poll() is None:
            self.process.terminate()
        return tree

    def stop(self) -> None:
        super().stop()
        if self.process is not None:
            self.process.wait(BENCH_STOP_DEADLINE_S)

    def peer_ports(self, node: int) -> tuple[int, ...]:
        return (self.client_port(node) + PEER,)

    def fdatasync(self) -> dict[str, float] | None:
        url = f"http://127.0.0.1:{self.client_port(self.leader()) + CONSOLE}/metrics"
        try:
            with urllib.request.urlopen(url, timeout=2.0) as answer:
                return metrics.fsync_of_openmetrics(answer.read().decode())
        except (OSError, ValueError):
            return None

    def version(self) -> str:
        return f"{loggos.__version__}, Python {sys.version.split()[0]}"

    def settings(self) -> str:
        return "3 nodes, defaults of `loggos up`: fdatasync by a quorum before every acknowledgement"
