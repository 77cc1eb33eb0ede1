"""Two three-node clusters as processes, behind one interface: Loggos by its command line, Apache ZooKeeper as Debian ships it.

Rules: only processes started here are signalled, by pid; every wait has a deadline; a cluster is found serving by opening a
session on each node, never by reading logs. ZooKeeper runs with Debian's JVM flags and class path (its zkServer.sh and
environment file), its data on the same file system as Loggos's, forceSync on.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any, Final

import psutil

import loggos
from loggos.app.bench import metrics, wire
from loggos.base.errors import ConfigError, LoggosError
from loggos.base.limits import BENCH_POLL_S, BENCH_START_DEADLINE_S, BENCH_STOP_DEADLINE_S

NODES: Final = 3
PORTS_PER_NODE: Final = 10
PORT_RANGE: Final = range(20_000, 32_000, PORTS_PER_NODE * NODES)  # below Linux's ephemeral ports, so no client socket sits there
ZOOKEEPER_JAR: Final = Path("/usr/share/java/zookeeper.jar")
ZOOKEEPER_CLASS_PATH: Final = f"/etc/zookeeper/conf:{ZOOKEEPER_JAR}"
ZOOKEEPER_JVM_FLAGS: Final = (
    "-XX:+HeapDumpOnOutOfMemoryError",
    "-XX:OnOutOfMemoryError=kill -9 %p",
    "-Dcom.sun.management.jmxremote",
    "-Dcom.sun.management.jmxremote.local.only=true",
)


class ClusterError(LoggosError):
    """A cluster did not start, did not come back, or its state cannot be read."""


def free_base_port(taken: Sequence[int] = ()) -> int:
    """A port P, none of `taken`, such that P … P+29 are free on loopback now."""
    start = os.getpid() % len(PORT_RANGE)
    for offset in range(len(PORT_RANGE)):
        base = PORT_RANGE[(start + offset) % len(PORT_RANGE)]
        if base not in taken and all(is_free(base + port) for port in range(PORTS_PER_NODE * NODES)):
            return base
    wanted = PORTS_PER_NODE * NODES
    raise ConfigError(f"no {wanted} free ports in a row between {PORT_RANGE.start} and {PORT_RANGE.stop} on 127.0.0.1")


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def child_environment() -> dict[str, str]:
    """Our environment, with this very Loggos importable, installed or not."""
    source = str(Path(loggos.__file__).parent.parent)
    known = os.environ.get("PYTHONPATH")
    return {**os.environ, "PYTHONPATH": f"{source}{os.pathsep}{known}" if known else source}


def process_tree(pid: int) -> list[psutil.Process]:
    """A process and its descendants; empty if it is gone."""
    try:
        root = psutil.Process(pid)
        return [root, *root.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def rss_bytes(process: psutil.Process) -> int:
    """Resident memory; 0 of a process that has just ended."""
    try:
        return int(process.memory_info().rss)
    except psutil.NoSuchProcess:
        return 0


def cpu_seconds(process: psutil.Process) -> float:
    """User and system time; 0 of a process that has just ended."""
    try:
        used = process.cpu_times()
    except psutil.NoSuchProcess:
        return 0.0
    return float(used.user + used.system)


def signal_tree(pid: int, number: signal.Signals) -> None:
    """Signal a process and its descendants, parents first (so that none is started anew)."""
    for process in process_tree(pid):
        try:
            process.send_signal(number)
        except psutil.NoSuchProcess:
            pass


class Cluster(ABC):
    """Three nodes, numbered from 1. Subclasses start them and know their processes; the rest is the same for both systems."""

    name = ""
    label = ""

    def __init__(self, directory: Path, *, base_port: int | None = None) -> None:
        self.directory = directory
        self.base_port = free_base_port() if base_port is None else base_port
        self.log: IO[bytes] | None = None

    # --- what a subclass gives ---
    @abstractmethod
    def spawn(self) -> None:
        """Start all nodes on empty directories; return at once."""

    @abstractmethod
    def root_pid(self, node: int) -> int | None:
        """The process whose tree is this node; None while it is not running."""

    @abstractmethod
    def restart(self, node: int) -> None:
        """Bring a killed node back on its old data."""

    @abstractmethod
    def terminate(self) -> list[int]:
        """Ask everything to stop; gives the pids that must go."""

    def client_port(self, node: int) -> int:
        return self.base_port + PORTS_PER_NODE * (node - 1)

    @abstractmethod
    def peer_ports(self, node: int) -> tuple[int, ...]:
        """The ports on which this node hears the other nodes."""

    @abstractmethod
    def fdatasync(self) -> dict[str, float] | None:
        """What the leader says of its own journal syncs, in milliseconds; None if it does not tell."""

    @abstractmethod
    def settings(self) -> str:
        """The settings that matter, for the reader of the report."""

    # --- the same for both ---
    @property
    def addresses(self) -> tuple[wire.Address, ...]:
        return tuple(("127.0.0.1", self.client_port(node)) for node in range(1, NODES + 1))

    def start(self) -> float:
        """Start and wait until all three nodes open sessions. Gives the seconds from spawn to that."""
        self.directory.mkdir(parents=True, exist_ok=True)
        self.log = (self.directory / "output.log").open("ab")
        began = time.perf_counter()
        self.spawn()
        self.wait_serving(range(1, NODES + 1))
        return time.perf_counter() - began

    def wait_serving(self, nodes: range) -> None:
        """Wait until each of `nodes` opens a session. ClusterError after the deadline, with the end of the output."""
        waiting, deadline = list(nodes), time.monotonic() + BENCH_START_DEADLINE_S
        while waiting:
            waiting = [node for node in waiting if not self.is_serving(node)]
            if not waiting:
                return
            self.check_alive()
            if time.monotonic() > deadline:
                raise self.too_late(f"nodes {waiting} do not serve")
            time.sleep(BENCH_POLL_S)

    @abstractmethod
    def check_alive(self) -> None:
        """ClusterError if what was started has ended by itself."""

    def is_serving(self, node: int) -> bool:
        """Does it open a session now?"""
        try:
            wire.Session(self.addresses[node - 1], session_ms=4_000, timeout_s=2.0).close()
        except (OSError, wire.WireError):
            return False
        return True

    def too_late(self, what: str) -> ClusterError:
        return ClusterError(f"{self.label}: {what} after {BENCH_START_DEADLINE_S:.0f} s; {self.last_output()}")

    def last_output(self) -> str:
        path = self.directory / "output.log"
        lines = path.read_text("utf-8", "replace").splitlines() if path.exists() else []
        return "its last output: " + " | ".join(lines[-5:]) if lines else "it printed nothing"

    def state(self, node: int) -> dict[str, str]:
        """What `srvr` says, as a dict; empty if the node does not answer it."""
        try:
            text = wire.four_letter_word(self.addresses[node - 1], b"srvr", 1.0)
        except OSError:
            return {}
        pairs = (line.partition(":") for line in text.splitlines() if ":" in line)
        return {key.strip(): value.strip() for key, _, value in pairs}

    def leader(self) -> int:
        """The node that leads. ClusterError if none does within the deadline."""
        deadline = time.monotonic() + BENCH_START_DEADLINE_S
        while time.monotonic() < deadline:
            for node in range(1, NODES + 1):
                if self.state(node).get("Mode") == "leader":
                    return node
            time.sleep(BENCH_POLL_S)
        raise self.too_late("there is no leader")

    def wait_caught_up(self, node: int) -> None:
        """Wait until a node that came back follows (or leads) and opens sessions."""
        deadline = time.monotonic() + BENCH_START_DEADLINE_S
        while time.monotonic() < deadline:
            if self.state(node).get("Mode") in ("follower", "leader") and self.is_serving(node):
                return
            time.sleep(5 * BENCH_POLL_S)
        raise self.too_late(f"node {node} is not back")

    def version(self) -> str:
        """What the leader says its version is, as far as it is a number."""
        return self.state(self.leader()).get("Zookeeper version", "unknown").split("-")[0]

    def pid_of(self, node: int) -> int:
        pid = self.root_pid(node)
        if pid is None:
            raise ClusterError(f"{self.label}: node {node} is not running; {self.last_output()}")
        return pid

    def kill(self, node: int) -> None:
        """SIGKILL to the node's whole process tree, at once."""
        signal_tree(self.pid_of(node), signal.SIGKILL)

    def pause(self, node: int) -> None:
        signal_tree(self.pid_of(node), signal.SIGSTOP)

    def resume(self, node: int) -> None:
        signal_tree(self.pid_of(node), signal.SIGCONT)

    def rss_bytes(self) -> list[int]:
        """Resident memory of each running node's whole process tree."""
        pids = [pid for node in range(1, NODES + 1) if (pid := self.root_pid(node)) is not None]
        return [sum(rss_bytes(process) for process in process_tree(pid)) for pid in pids]

    def cpu_seconds(self) -> float:
        """CPU time (user and system) that the running nodes have used so far."""
        pids = [pid for node in range(1, NODES + 1) if (pid := self.root_pid(node)) is not None]
        return sum(cpu_seconds(process) for pid in pids for process in process_tree(pid))

    def stop(self) -> None:
        """End everything that `start` or `restart` started; SIGKILL after the deadline."""
        processes = [process for pid in self.terminate() for process in process_tree(pid)]
        _, alive = psutil.wait_procs(processes, timeout=BENCH_STOP_DEADLINE_S)
        for process in alive:
            process.kill()
        psutil.wait_procs(alive, timeout=BENCH_STOP_DEADLINE_S)
        if self.log is not None:
            self.log.close()
            self.log = None

    def remove(self) -> None:
        """Delete the cluster's data."""
        shutil.rmtree(self.directory, ignore_errors=True)


class ZooKeeperCluster(Cluster):
    """Apache ZooKeeper out of Debian's packages: one JVM per node."""

    name = "zookeeper"
    label = "Apache ZooKeeper"

    def __init__(self, directory: Path, *, base_port: int | None = None) -> None:
        super().__init__(directory, base_port=base_port)
        if not ZOOKEEPER_JAR.exists() or shutil.which("java") is None:
            raise ConfigError("Apache ZooKeeper is not installed: `apt install zookeeper`, or run with --peer none")
        self.processes: dict[int, subprocess.Popen[bytes]] = {}

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

    def check_alive(self) -> None:
        for node, process in self.processes.items():
            if process.poll() is not None:
                raise ClusterError(f"{self.label}: node {node} ended with {process.returncode}; {self.last_output()}")

    def root_pid(self, node: int) -> int | None:
        process = self.processes.get(node)
        return process.pid if process is not None and process.poll() is None else None

    def kill(self, node: int) -> None:
        super().kill(node)
        self.processes[node].wait(BENCH_STOP_DEADLINE_S)

    def terminate(self) -> list[int]:
        pids = [process.pid for process in self.processes.values() if process.poll() is None]
        for pid in pids:
            signal_tree(pid, signal.SIGCONT)
            signal_tree(pid, signal.SIGTERM)
        return pids

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
        return (self.client_port(node) + 4,)

    def fdatasync(self) -> dict[str, float] | None:
        url = f"http://127.0.0.1:{self.client_port(self.leader()) + 3}/metrics"
        try:
            with urllib.request.urlopen(url, timeout=2.0) as answer:
                return metrics.fsync_of_openmetrics(answer.read().decode())
        except (OSError, ValueError):
            return None

    def version(self) -> str:
        return f"{loggos.__version__}, Python {sys.version.split()[0]}"

    def settings(self) -> str:
        return "3 nodes, defaults of `loggos up`: fdatasync by a quorum before every acknowledgement"


def is_running(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def listens(process: psutil.Process, port: int) -> bool:
    try:
        return any(item.status == psutil.CONN_LISTEN and item.laddr.port == port for item in process.net_connections("tcp"))
    except psutil.NoSuchProcess:
        return False
