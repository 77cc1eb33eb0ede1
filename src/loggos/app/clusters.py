"""A three-node cluster as processes, behind one interface: what benchmarks and the tour start, watch, hurt and stop.

Rules: only processes started here are signalled, by pid; every wait has a deadline; a cluster is found serving by opening a
session on each node, never by reading logs. Which system it is, a subclass knows.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Final

import psutil

from loggos.app.bench import wire
from loggos.app.ports import PORTS_PER_NODE, is_free
from loggos.app.processes import cpu_seconds, process_tree, rss_bytes, signal_tree
from loggos.base.errors import ConfigError, LoggosError
from loggos.base.limits import BENCH_POLL_S, BENCH_START_DEADLINE_S, BENCH_STOP_DEADLINE_S

NODES: Final = 3
HOST: Final = "127.0.0.1"
PORT_RANGE: Final = range(20_000, 32_000, PORTS_PER_NODE * NODES)  # below Linux's ephemeral ports, so no client socket sits there


class ClusterError(LoggosError):
    """A cluster did not start, did not come back, or its state cannot be read."""


def free_base_port(taken: Sequence[int] = ()) -> int:
    """A port P, none of `taken`, such that P … P+29 are free on loopback now."""
    start = os.getpid() % len(PORT_RANGE)
    for offset in range(len(PORT_RANGE)):
        base = PORT_RANGE[(start + offset) % len(PORT_RANGE)]
        if base not in taken and all(is_free(HOST, base + port) for port in range(PORTS_PER_NODE * NODES)):
            return base
    wanted = PORTS_PER_NODE * NODES
    raise ConfigError(f"no {wanted} free ports in a row between {PORT_RANGE.start} and {PORT_RANGE.stop} on {HOST}")


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
        return tuple((HOST, self.client_port(node)) for node in range(1, NODES + 1))

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


class ProcessPerNode(Cluster):
    """A cluster of which this process starts every node itself. `restart` enters what it starts into `processes`."""

    def __init__(self, directory: Path, *, base_port: int | None = None) -> None:
        super().__init__(directory, base_port=base_port)
        self.processes: dict[int, subprocess.Popen[bytes]] = {}

    def check_alive(self) -> None:
        for node, process in self.processes.items():
            if process.poll() is not None:
                raise ClusterError(f"{self.label}: node {node} ended with {process.returncode}; {self.last_output()}")

    def root_pid(self, node: int) -> int | None:
        process = self.processes.get(node)
        return process.pid if process is not None and process.poll() is None else None

    def kill(self, node: int) -> None:
        super().kill(node)
        self.processes.pop(node).wait(BENCH_STOP_DEADLINE_S)

    def terminate(self) -> list[int]:
        pids = [process.pid for process in self.processes.values() if process.poll() is None]
        for pid in pids:
            signal_tree(pid, signal.SIGCONT)
            signal_tree(pid, signal.SIGTERM)
        return pids
