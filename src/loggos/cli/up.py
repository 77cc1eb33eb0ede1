"""`loggos up`: a cluster on this machine, each node a process of its own, in the foreground.

The parent imports everything once and forks the nodes before it has a thread or a loop: that is what makes a cold
start quick. Each child tells through a pipe that it serves, or why it does not; the parent alone speaks to people.

What the user must mend (a port in use, another cell's directory) stops all. A node that cannot start for a reason of
its own (its files, its disk) is reported, and the others go on if they are a quorum. A node that dies stays dead and is
reported, unless restart is asked for. SIGTERM, SIGINT and SIGHUP stop all. Should this process be killed, its nodes stop
by themselves: each has one end of a pipe (the lifeline) whose other end is nobody's but the parent's.
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
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from loggos.app.processes import stop_signals
from loggos.base.errors import ConfigError, LoggosError
from loggos.base.limits import UP_START_TIMEOUT_MS, UP_STOP_TIMEOUT_MS
from loggos.cli.ports import assign
from loggos.cli.process import EXIT_FAILED, EXIT_OK, EXIT_USAGE, make_data_directory, run_node
from loggos.node.config import NodeConfig, Ports

Say = Callable[[str], None]
RunNode = Callable[[NodeConfig, int, int], int]
LOOK_S = 0.1  # how often the children are looked at


class NoQuorumError(LoggosError):
    """Too few nodes can start, or serve in time."""


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
    start_timeout_ms: int = UP_START_TIMEOUT_MS


@dataclass(slots=True)
class _Child:
    """A node and its process: `pid` 0 while there is none. `served`: it has said that it serves. `why`: that it cannot start or
    go on."""

    config: NodeConfig
    pid: int = 0
    pipe: int = -1
    unread: bytes = b""
    served: bool = False
    why: str = ""
    is_users_fault: bool = False

    @property
    def number(self) -> int:
        return self.config.id

    @property
    def starts(self) -> bool:
        return not self.served and not self.why

    @property
    def serves(self) -> bool:
        return self.served and not self.why

    def hear(self) -> None:
        """Take in what it has written. A pipe that ends is closed."""
        data = os.read(self.pipe, 65_536)
        *lines, self.unread = (self.unread + data).split(b"\n")
        for line in lines:
            message = json.loads(line)
            self.served = self.served or "error" not in message
            self.why = message.get("error", "")
            self.is_users_fault = message.get("exit_code") == EXIT_USAGE
        if not data:
            self.hang_up()
            if self.starts:
                self.why = f"it ended before it served: see {self.config.data}/node.log"

    def hang_up(self) -> None:
        if self.pipe >= 0:
            os.close(self.pipe)
            self.pipe = -1


def configs_of(options: UpOptions, data: Path, ports: list[Ports]) -> list[NodeConfig]:
    voters = {str(i): f"{options.host}:{p.peer}" for i, p in enumerate(ports, 1)}
    return [
        NodeConfig(id=i, voters=voters, data=str(data / f"node{i}"), cell=options.cell, host=options.host, ports=p)
        for i, p in enumerate(ports, 1)
    ]


def run_quietly(config: NodeConfig, report_to: int, lifeline: int) -> int:
    return run_node(config, report_to, quiet=True, lifeline=lifeline)


class Cluster:
    """The processes of one `up`. `node`: what runs in each."""

    def __init__(self, options: UpOptions, say: Say, node: RunNode = run_quietly) -> None:
        if not 1 <= options.nodes <= 7:
            raise ConfigError(f"--nodes {options.nodes}: a cell has 1 to 7 voters; 3 survive the loss of one, 5 of two")
        self.options, self.say, self._run_node = options, say, node
        ports = assign(options.host, options.nodes, options.base_port)
        self._temporary = make_temporary() if options.data is None else None
        self.data = self._temporary or (options.data or Path()).resolve()
        self.children = [_Child(config) for config in configs_of(options, self.data, ports)]
        self.late: list[_Child] = []  # that did not serve when the others went on
        self.is_up = self.stopping = False
        self._lifeline, self._life = os.pipe()  # the nodes' end, and ours

    # --- start ---------------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        make_data_directory(self.data)
        for child in self.children:
            self.fork(child)

    def fork(self, child: _Child) -> None:
        read_end, write_end = os.pipe()
        sys.stdout.flush()
        sys.stderr.flush()
        pid = os.fork()
        if pid == 0:
            os.close(read_end)
            self._be(child, write_end)
        os.close(write_end)
        child.pid, child.pipe, child.unread = pid, read_end, b""
        child.served, child.why, child.is_users_fault = False, "", False

    def _be(self, child: _Child, report_to: int) -> None:
        """What the forked process does, to its end: whatever happens, it must not go on as a second parent."""
        code = EXIT_FAILED
        try:
            for number in stop_signals():
                signal.signal(number, signal.SIG_DFL)
            for end in (self._life, *(other.pipe for other in self.children if other.pipe >= 0)):
                os.close(end)
            code = EXIT_OK if self.stopping else self._run_node(child.config, report_to, self._lifeline)
            self._remove_if_orphan(child)
        finally:
            if (error := sys.exc_info()[1]) is not None:
                sys.excepthook(type(error), error, error.__traceback__)
            os._exit(code)

    def _remove_if_orphan(self, child: _Child) -> None:
        """A temporary directory whose parent was killed: each node takes its own part away, the last one the rest."""
        if self._temporary is not None and select.select([self._lifeline], [], [], 0)[0]:
            shutil.rmtree(child.config.data, ignore_errors=True)
            try:
                os.rmdir(self.data)
            except OSError:
                pass  # another node is not through yet

    def wait_ready(self) -> None:
        """Until every node serves; those that cannot, or do not in time, are reported and left out if a quorum serves.

        ConfigError: something that the user must mend. NoQuorumError: too few are left."""
        deadline = time.monotonic() + self.options.start_timeout_ms / 1000
        while any(child.starts for child in self.children) and not self.stopping:
            left = deadline - time.monotonic()
            if left <= 0:
                self._give_up_waiting()
                break
            self._listen(min(left, LOOK_S))
        if not self.stopping:
            self.is_up, self.late = True, [child for child in self.children if not child.serves]

    def _listen(self, timeout_s: float) -> None:
        """What the children have to say, waiting for it at most `timeout_s`."""
        heard, _, _ = select.select([child.pipe for child in self.children if child.pipe >= 0], [], [], timeout_s)
        for child in self.children:
            if child.pipe in heard:
                self._hear(child)

    def _hear(self, child: _Child) -> None:
        did_start = child.starts
        child.hear()
        if not did_start or child.starts or self.stopping:
            return
        if not self.is_up:
            self._judge(child)
        elif child.why:
            self.say(f"node {child.number} cannot start: {child.why}")
        else:
            self.say(f"node {child.number} serves now")

    def _judge(self, child: _Child) -> None:
        """Before all are up: does a node that cannot start stop the others?"""
        if not child.why:
            return
        if child.is_users_fault:
            raise ConfigError(f"node {child.number}: {child.why}")
        what = f"node {child.number} cannot start: {child.why}"
        left = sum(1 for other in self.children if not other.why)
        if left < self._quorum:
            raise NoQuorumError(f"{what}; {left} of {len(self.children)} nodes are left, no quorum: all are stopped")
        self.say(f"{what}; the others go on without it")

    def _give_up_waiting(self) -> None:
        waiting = [child.number for child in self.children if child.starts]
        what = f"nodes {waiting} do not serve after {self.options.start_timeout_ms / 1000:g} s: see node.log under {self.data}"
        if sum(1 for child in self.children if child.serves) < self._quorum:
            raise NoQuorumError(what)
        self.say(f"{what}; the others go on without them")

    @property
    def _quorum(self) -> int:
        return len(self.children) // 2 + 1

    def describe(self) -> dict[str, Any]:
        """The line that `up --json` prints. A node that does not serve has an `error`, and no pid if it has ended."""
        return {"nodes": [self._describe(child) for child in self.children]}

    def _describe(self, child: _Child) -> dict[str, Any]:
        config = child.config
        found = {
            "id": config.id,
            "pid": None if child.why else child.pid,
            "zookeeper": f"{config.host}:{config.ports.zookeeper}",
            "console": f"http://{config.host}:{config.ports.console}",
            "data": config.data,
        }
        return found if child.serves else {**found, "error": child.why or "it does not serve yet"}

    # --- running -------------------------------------------------------------------------------------------------------------

    def watch(self) -> int:
        """Stay until told to stop, or until no node is left. 0: stopped by a signal; 1: all nodes died, or one never served."""
        while not self.stopping:
            self._listen(LOOK_S)
            for child in self.children:
                if child.pid and (status := self._ended(child)) is not None and not self.stopping:
                    self._has_died(child, status)
            if not any(child.pid for child in self.children):
                self.say("no node is left")
                return EXIT_FAILED
        return EXIT_FAILED if any(not child.served for child in self.late) else EXIT_OK

    def _has_died(self, child: _Child, status: int) -> None:
        """Tell, and start it again if that is asked for. One that ended by itself before it served would do so again."""
        if not child.served and not os.WIFSIGNALED(status):
            return  # told already
        said = f": {child.why}" if child.served and child.why else ""
        self.say(f"node {child.number} has died: {how(status)}{said}; its log is {child.config.data}/node.log")
        if self.options.restart:
            self.say(f"node {child.number} is started again")
            self.fork(child)

    def _ended(self, child: _Child) -> int | None:
        """Its wait status, once and after its last word is heard; None while it runs."""
        try:
            pid, status = os.waitpid(child.pid, os.WNOHANG)
        except ChildProcessError:
            pid, status = child.pid, 0
        if pid == 0:
            return None
        while child.pipe >= 0:
            self._hear(child)
        child.pid = 0
        return status

    def stop(self) -> None:
        """SIGTERM to all, SIGKILL to those that do not go, and the temporary directory away."""
        self.stopping = True
        for child in self.children:
            self._signal(child, signal.SIGTERM)
        deadline = time.monotonic() + UP_STOP_TIMEOUT_MS / 1000
        while any(child.pid for child in self.children):
            for child in self.children:
                if child.pid:
                    self._ended(child)
            if time.monotonic() > deadline:
                for child in self.children:
                    self._signal(child, signal.SIGKILL)
            time.sleep(0.01)
        os.close(self._lifeline)
        os.close(self._life)
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


def make_temporary() -> Path:
    try:
        return Path(tempfile.mkdtemp(prefix="loggos-"))
    except OSError as error:
        raise ConfigError(f"cannot make a temporary directory: {error.strerror}: name one with TMPDIR, or use --data") from None


def how(status: int) -> str:
    """A wait status in words."""
    if os.WIFSIGNALED(status):
        return f"killed by {signal.Signals(os.WTERMSIG(status)).name}"
    return f"exit code {os.waitstatus_to_exitcode(status)}"


def up(options: UpOptions, announce: Callable[[dict[str, Any]], None], say: Say, node: RunNode = run_quietly) -> int:
    """Run a cluster until told to stop. `announce` gets the description once every node serves that can."""
    cluster = Cluster(options, say, node)
    handlers = {number: signal.signal(number, cluster.interrupt) for number in stop_signals()}
    try:
        cluster.start()
        cluster.wait_ready()
        if not cluster.stopping:
            announce(cluster.describe())
        return cluster.watch()
    except NoQuorumError as error:
        say(str(error))
        return EXIT_FAILED
    finally:
        cluster.stop()
        for number, handler in handlers.items():
            signal.signal(number, handler)
