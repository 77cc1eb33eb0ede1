"""`loggos up`: a cluster on this machine, each node a process of its own, in the foreground.

The parent imports everything once and forks the nodes before it has a thread or a loop: that is what makes a cold
start quick. Each child reports through a pipe when it serves. A node that dies stays dead and is reported, unless
restart is asked for. SIGTERM and SIGINT stop all.
"""

from __future__ import annotations

import json
import os
import select
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from loggos.base.errors import ConfigError
from loggos.base.limits import UP_START_TIMEOUT_MS, UP_STOP_TIMEOUT_MS
from loggos.cli.ports import assign
from loggos.cli.process import run_node
from loggos.node.config import NodeConfig, Ports

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class UpOptions:
    """`data` None: a temporary directory, removed at the end."""

    nodes: int = 3
    data: Path | None = None
    base_port: int | None = None
    as_json: bool = False
    restart: bool = False
    cell: str = "local"
    host: str = "127.0.0.1"


@dataclass(slots=True)
class _Child:
    config: NodeConfig
    pid: int = 0
    pipe: int = -1
    report: bytes = b""
    ready: dict[str, Any] = field(default_factory=dict)


def configs_of(options: UpOptions, data: Path, ports: list[Ports]) -> list[NodeConfig]:
    voters = {str(i): f"{options.host}:{p.peer}" for i, p in enumerate(ports, 1)}
    return [
        NodeConfig(id=i, voters=voters, data=str(data / f"node{i}"), cell=options.cell, host=options.host, ports=p)
        for i, p in enumerate(ports, 1)
    ]


class Cluster:
    """The processes of one `up`."""

    def __init__(self, options: UpOptions) -> None:
        if not 1 <= options.nodes <= 7:
            raise ConfigError(f"--nodes {options.nodes}: a cell has 1 to 7 voters; 3 survive the loss of one, 5 of two")
        self.options = options
        ports = assign(options.host, options.nodes, options.base_port)
        self._temporary = Path(tempfile.mkdtemp(prefix="loggos-")) if options.data is None else None
        self.data = self._temporary or (options.data or Path()).resolve()
        self.children = [_Child(config) for config in configs_of(options, self.data, ports)]
        self.stopping = False

    def start(self) -> None:
        self.data.mkdir(parents=True, exist_ok=True)
        for child in self.children:
            self.fork(child)

    def fork(self, child: _Child) -> None:
        read_end, write_end = os.pipe()
        sys.stdout.flush()
        sys.stderr.flush()
        pid = os.fork()
        if pid == 0:
            os.close(read_end)
            for other in self.children:
                if other.pipe >= 0:
                    os.close(other.pipe)
            os._exit(run_node(child.config, write_end, quiet=True))
        os.close(write_end)
        child.pid, child.pipe, child.report, child.ready = pid, read_end, b"", {}

    def wait_ready(self) -> None:
        """Until every node serves. ConfigError if one ends first, with its own words."""
        deadline = time.monotonic() + UP_START_TIMEOUT_MS / 1000
        while any(not child.ready for child in self.children) and not self.stopping:
            left = deadline - time.monotonic()
            if left <= 0:
                waiting = [child.config.id for child in self.children if not child.ready]
                seconds = UP_START_TIMEOUT_MS // 1000
                raise ConfigError(f"nodes {waiting} do not serve after {seconds} s: see node.log under {self.data}")
            pipes = [child.pipe for child in self.children if child.pipe >= 0 and not child.ready]
            readable, _, _ = select.select(pipes, [], [], min(left, 0.5))
            for child in self.children:
                if child.pipe in readable:
                    self._read(child)

    def _read(self, child: _Child) -> None:
        data = os.read(child.pipe, 65_536)
        child.report += data
        if b"\n" in child.report:
            line = child.report.partition(b"\n")[0]
            message = json.loads(line)
            if "error" in message:
                raise ConfigError(f"node {child.config.id}: {message['error']}")
            child.ready = message
        elif not data:
            raise ConfigError(f"node {child.config.id} ended before it served: see {child.config.data}/node.log")

    def describe(self) -> dict[str, Any]:
        """The line that `up --json` prints."""
        return {"nodes": [self._describe(child) for child in self.children]}

    def _describe(self, child: _Child) -> dict[str, Any]:
        config = child.config
        return {
            "id": config.id,
            "pid": child.pid,
            "zookeeper": f"{config.host}:{config.ports.zookeeper}",
            "console": f"http://{config.host}:{config.ports.console}",
            "data": config.data,
        }

    def watch(self, say: Say) -> int:
        """Stay until told to stop, or until no node is left. 0: stopped by a signal; 1: all nodes died."""
        while not self.stopping:
            for child in self.children:
                if child.pid and self._has_ended(child, say) and self.options.restart and not self.stopping:
                    say(f"node {child.config.id} is started again")
                    self.fork(child)
            if not any(child.pid for child in self.children):
                say("no node is left")
                return 1
            time.sleep(0.1)
        return 0

    def _has_ended(self, child: _Child, say: Say) -> bool:
        try:
            pid, status = os.waitpid(child.pid, os.WNOHANG)
        except ChildProcessError:
            pid, status = child.pid, 0
        if pid == 0:
            return False
        if not self.stopping:
            say(f"node {child.config.id} (pid {child.pid}) has died: {how(status)}; its log is {child.config.data}/node.log")
        if child.pipe >= 0:
            os.close(child.pipe)
        child.pid, child.pipe = 0, -1
        return True

    def stop(self) -> None:
        """SIGTERM to all, SIGKILL to those that do not go, and the temporary directory away."""
        self.stopping = True
        for child in self.children:
            self._signal(child, signal.SIGTERM)
        deadline = time.monotonic() + UP_STOP_TIMEOUT_MS / 1000
        while any(child.pid for child in self.children):
            for child in self.children:
                if child.pid:
                    self._has_ended(child, lambda line: None)
            if time.monotonic() > deadline:
                for child in self.children:
                    self._signal(child, signal.SIGKILL)
            time.sleep(0.01)
        if self._temporary is not None:
            shutil.rmtree(self._temporary, ignore_errors=True)

    def _signal(self, child: _Child, number: int) -> None:
        if child.pid:
            try:
                os.kill(child.pid, number)
                os.kill(child.pid, signal.SIGCONT)  # a paused node must hear it
            except ProcessLookupError:
                pass

    def interrupt(self, *_: object) -> None:
        self.stopping = True


def how(status: int) -> str:
    """A wait status in words."""
    if os.WIFSIGNALED(status):
        return f"killed by {signal.Signals(os.WTERMSIG(status)).name}"
    return f"exit code {os.waitstatus_to_exitcode(status)}"


def up(options: UpOptions, announce: Callable[[dict[str, Any]], None], say: Say) -> int:
    """Run a cluster until told to stop. `announce` gets the description once every node serves."""
    cluster = Cluster(options)
    signal.signal(signal.SIGTERM, cluster.interrupt)
    signal.signal(signal.SIGINT, cluster.interrupt)
    try:
        cluster.start()
        cluster.wait_ready()
        if not cluster.stopping:
            announce(cluster.describe())
        return cluster.watch(say)
    finally:
        cluster.stop()
