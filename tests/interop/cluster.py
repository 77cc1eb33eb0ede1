"""A real cluster of Loggos: each node a process of its own (`loggos node --config FILE`) on free loopback ports.

    with Cluster.running(tmp_path) as cluster:
        cluster.kill(cluster.leader())

Rules: only processes started here are signalled, by their pid; every wait has a deadline and says what it waited for; a node
serves when it opens a session. Shared by tests/interop, tests/chaos and tests/client.
"""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from loggos.app.bench import wire
from loggos.app.bench.peers import child_environment
from loggos.cli.ports import free_base, ports_of
from loggos.node.config import Ports

DEADLINE_S = 60.0  # two shared cores: a bound against a hang, never a measurement
STOP_DEADLINE_S = 20.0
POLL_S = 0.05
HOST = "127.0.0.1"


class WaitedTooLong(AssertionError):
    """Something that must happen did not, within the deadline."""


def eventually(what: str, condition: Callable[[], Any], deadline_s: float = DEADLINE_S) -> Any:
    """The first true value of `condition`; WaitedTooLong names `what` otherwise."""
    end = time.monotonic() + deadline_s
    while True:
        found = condition()
        if found:
            return found
        if time.monotonic() > end:
            raise WaitedTooLong(f"not within {deadline_s:.0f} s: {what}")
        time.sleep(POLL_S)


class Node:
    """One node: its files, its ports, and its process while there is one."""

    def __init__(self, number: int, folder: Path, ports: Ports, descriptors: int = 0) -> None:
        self.number, self.folder, self.ports = number, folder, ports
        self._limit = ["sh", "-c", f'ulimit -n {descriptors} && exec "$@"', "sh"] if descriptors else []
        self.config = folder / "loggos.toml"
        self.data = folder / "data"
        self.output = folder / "output.log"
        self.process: subprocess.Popen[bytes] | None = None
        self.source: Path | None = None  # the folder of another release's `loggos`

    @property
    def address(self) -> str:
        return f"{HOST}:{self.ports.zookeeper}"

    @property
    def endpoint(self) -> tuple[str, int]:
        return HOST, self.ports.zookeeper

    @property
    def runs(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def start(self) -> None:
        assert not self.runs, f"node {self.number} runs already"
        other = {"PYTHONPATH": str(self.source)} if self.source is not None else {}
        with self.output.open("ab") as output:
            self.process = subprocess.Popen(
                [*self._limit, sys.executable, "-m", "loggos.cli.main", "node", "--config", str(self.config)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=child_environment() | other,
                cwd=self.folder,
            )

    def signal(self, number: signal.Signals) -> None:
        assert self.process is not None and self.process.poll() is None, f"node {self.number} does not run: {self.tail()}"
        self.process.send_signal(number)

    def wait_end(self) -> int:
        """Its exit code, once it has ended."""
        assert self.process is not None
        return self.process.wait(STOP_DEADLINE_S)

    def kill(self) -> None:
        self.signal(signal.SIGKILL)
        self.wait_end()

    def stop(self) -> int:
        """SIGTERM, as an operator stops it; its exit code."""
        self.signal(signal.SIGTERM)
        return self.wait_end()

    def end(self) -> None:
        """Whatever it is doing: gone afterwards."""
        if self.runs:
            self.kill()

    def serves(self) -> bool:
        """Does it open a session now?"""
        try:
            wire.Session(self.endpoint, session_ms=4_000, timeout_s=2.0).close()
        except (OSError, wire.WireError):
            return False
        return True

    def words(self, word: bytes) -> str:
        """Its answer to a four-letter word; empty if it does not answer."""
        try:
            return wire.four_letter_word(self.endpoint, word, 2.0)
        except OSError:
            return ""

    def mode(self) -> str:
        for line in self.words(b"srvr").splitlines():
            if line.startswith("Mode: "):
                return line.removeprefix("Mode: ")
        return ""

    def status(self) -> dict[str, Any]:
        """What its console says; empty if it does not answer."""
        try:
            with urllib.request.urlopen(f"http://{HOST}:{self.ports.console}/status", timeout=2.0) as answer:
                found: dict[str, Any] = json.load(answer)
                return found
        except (OSError, ValueError):
            return {}

    def tail(self) -> str:
        """The end of what it printed and logged, for the reader of a failure."""
        texts = [path.read_text("utf-8", "replace") for path in (self.output, self.data / "node.log") if path.exists()]
        return " | ".join(line for text in texts for line in text.splitlines()[-8:])


class Cluster:
    """Voters numbered from 1. `coordination`: that table of every node's configuration, more than the defaults. `descriptors`:
    how many each node may have open, unless 0."""

    def __init__(
        self,
        folder: Path,
        nodes: int = 3,
        coordination: Mapping[str, object] | None = None,
        cell: str = "test",
        descriptors: int = 0,
    ) -> None:
        base = free_base(HOST, nodes, start=random.SystemRandom().randrange(20_000, 30_000, 10 * nodes))
        self.nodes = {n: Node(n, folder / f"node{n}", ports_of(base, n), descriptors) for n in range(1, nodes + 1)}
        self.cell = cell
        for node in self.nodes.values():
            node.folder.mkdir(parents=True)
            node.config.write_text(self.configuration(node, coordination or {}))

    def configuration(self, node: Node, coordination: Mapping[str, object]) -> str:
        """The TOML file of a node."""
        quoted = {key: json.dumps(value) for key, value in coordination.items()}
        lines = [
            f'cell = "{self.cell}"',
            f"id = {node.number}",
            f"data = {json.dumps(str(node.data))}",
            f'host = "{HOST}"',
            "[ports]",
            f"zookeeper = {node.ports.zookeeper}",
            f"console = {node.ports.console}",
            f"peer = {node.ports.peer}",
            "[coordination]",
            *(f"{key} = {value}" for key, value in quoted.items()),
            "[voters]",
            *(f'{other.number} = "{HOST}:{other.ports.peer}"' for other in self.nodes.values()),
        ]
        return "\n".join(lines) + "\n"

    @classmethod
    @contextmanager
    def running(
        cls,
        folder: Path,
        nodes: int = 3,
        coordination: Mapping[str, object] | None = None,
        cell: str = "test",
        descriptors: int = 0,
    ) -> Iterator[Cluster]:
        """A cluster whose nodes all serve; everything is stopped afterwards, whatever happened."""
        cluster = cls(folder, nodes, coordination, cell, descriptors)
        try:
            for node in cluster.nodes.values():
                node.start()
            cluster.wait_serving()
            yield cluster
        finally:
            for node in cluster.nodes.values():
                node.end()

    def __getitem__(self, number: int) -> Node:
        return self.nodes[number]

    @property
    def hosts(self) -> str:
        """All nodes' addresses as a client wants them."""
        return ",".join(node.address for node in self.nodes.values())

    def tails(self) -> str:
        return "; ".join(f"node {n}: {node.tail()}" for n, node in self.nodes.items())

    def wait_serving(self, *numbers: int) -> None:
        """Until these nodes (all, if none is named) open sessions."""
        for number in numbers or tuple(self.nodes):
            node = self.nodes[number]
            eventually(f"node {number} serves ({node.tail()})", lambda node=node: not node.runs or node.serves())
            assert node.runs, f"node {number} has ended: {node.tail()}"

    def leader(self) -> int:
        """The node that leads, once one does."""

        def found() -> int | None:
            leaders = [n for n, node in self.nodes.items() if node.runs and node.mode() == "leader"]
            return leaders[0] if leaders else None

        return int(eventually("a node leads", found))

    def followers(self) -> list[int]:
        leader = self.leader()
        return [n for n, node in self.nodes.items() if n != leader and node.runs]

    def kill(self, number: int) -> None:
        self.nodes[number].kill()

    def pause(self, number: int) -> None:
        self.nodes[number].signal(signal.SIGSTOP)

    def resume(self, number: int) -> None:
        self.nodes[number].signal(signal.SIGCONT)

    def restart(self, number: int) -> None:
        """Bring an ended node back on its data, and wait until it serves."""
        self.nodes[number].start()
        self.wait_serving(number)


def refused(address: tuple[str, int]) -> bool:
    """Does nobody listen there?"""
    try:
        socket.create_connection(address, 2.0).close()
    except ConnectionRefusedError:
        return True
    return False


def pythonpath(*first: Path) -> str:
    """PYTHONPATH of a child that imports what we import, and `first` before it."""
    return os.pathsep.join([*(str(path) for path in first), *sys.path])
