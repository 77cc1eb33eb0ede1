"""One node as a process: the real world, the node, its console, and the signals that stop it.

SIGTERM, SIGINT and SIGHUP stop it gracefully (exit code 0), and so does the end of whoever started it with a lifeline. An
error that leaves the node untrustworthy ends it at once with exit code 1: what was acknowledged is durable, and the
others go on. What keeps it from starting is one line, and nothing is overwritten: exit code 2 if the user must mend it
(the configuration, a port, the choice of a directory), 1 if it is the node's own damage.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

from prometheus_client import ProcessCollector

from loggos.app.build import Node, Parts
from loggos.app.processes import stop_signals
from loggos.app.room import Room, descriptors_for_all, room_for
from loggos.base.errors import ConfigError, LoggosError
from loggos.base.limits import CONNECTIONS_MAX, UP_STOP_TIMEOUT_MS
from loggos.cli.ports import refuse_taken
from loggos.console.http import Answer, Console, Page
from loggos.host.descriptors import raise_descriptor_limit
from loggos.host.disk import make_directory
from loggos.host.logs import EventLog, gathered
from loggos.host.loop import run, settle_garbage
from loggos.host.world import HostWorld
from loggos.node.config import NodeConfig
from loggos.node.member import refuse_strange

EXIT_OK, EXIT_FAILED, EXIT_USAGE = 0, 1, 2
POLL_S = 0.002


class Reporter:
    """Tells whoever started this process, through a pipe, that it serves or why it does not. Without a pipe only the latter is
    told, on stderr: whoever holds the pipe's other end tells people."""

    def __init__(self, pipe: int | None) -> None:
        self._pipe = pipe

    def refuse(self, why: str, exit_code: int) -> None:
        if self._pipe is None:
            print(f"loggos: {why}", file=sys.stderr)
        else:
            self.say({"error": why, "exit_code": exit_code})

    def say(self, message: dict[str, Any]) -> None:
        if self._pipe is not None:
            try:
                os.write(self._pipe, json.dumps(message).encode() + b"\n")
            except OSError:
                self._pipe = None  # nobody listens any more


class NodeProcess:
    """`lifeline`: a file descriptor to read from that ends when this node shall, or None."""

    def __init__(
        self, config: NodeConfig, reporter: Reporter, quiet: bool, parts: Parts | None, lifeline: int | None = None
    ) -> None:
        self.config, self.reporter, self._parts, self._lifeline = config, reporter, parts, lifeline
        stderr = open(os.devnull, "w") if quiet else sys.stderr  # noqa: SIM115 (lives as long as the process)
        self.log = EventLog(Path(config.data) / "node.log", config.id, stderr)
        self.exit_code = EXIT_OK
        self._stop = asyncio.Event()
        self._world: HostWorld | None = None

    async def main(self) -> int:
        loop = asyncio.get_running_loop()
        for number in stop_signals():
            loop.add_signal_handler(number, self._stop.set)
        if self._lifeline is not None:
            loop.add_reader(self._lifeline, self._left_alone, loop, self._lifeline)
        make_data_directory(Path(self.config.data))
        self._world = HostWorld(self.config.data, on_failure=lambda name, error: self.fatal(error))
        await refuse_strange(self.config, self._world.disk)  # before the first line in its log
        room = self._room()
        node = Node(self.config, self._world, self.log, self.fatal, self._parts or Parts(), room)
        console = Console(pages_of(node), room.console, lambda: node.member.metrics.count("console_connections_refused"))
        starting = self._world.spawner.spawn(self._start(node, console), "start")
        await self._stop.wait()
        if self.exit_code != EXIT_OK:
            return self.exit_code
        starting.cancel()
        console.close()
        await node.stop()
        await asyncio.sleep(0)
        return EXIT_OK

    def _room(self) -> Room:
        """For connections, by what this process may have open; said once if that is little. ConfigError: too little."""
        descriptors, peers = raise_descriptor_limit(), len(self.config.peer_addresses()) - 1
        room = room_for(descriptors, peers)
        if room.clients < CONNECTIONS_MAX:
            self.log(
                "takes fewer clients than it could",
                clients=room.clients,
                why=f"the hard limit of open files is {descriptors}",
                mend=f"raise it to {descriptors_for_all(peers)} for {CONNECTIONS_MAX} clients: ulimit -Hn, LimitNOFILE of a "
                "systemd unit, --ulimit nofile of a container",
            )
        return room

    async def _start(self, node: Node, console: Console) -> None:
        try:
            await console.listen(node.world.network, self.config.host, self.config.ports.console)
            await node.start()
        except LoggosError as error:  # unusable, damaged, full or read-only: said in one line, and nothing was overwritten
            self._refuse(str(error), exit_code_of(error))
            return
        except OSError as error:
            why = f"cannot listen: {error.strerror or error}: stop what uses the port, or choose other ports"
            self._refuse(why, EXIT_USAGE)
            return
        settle_garbage()
        while not node.serves:  # noqa: ASYNC110 (the log tells services, not the process; this ends within the first election)
            await asyncio.sleep(POLL_S)
        self.reporter.say({"ready": True, "zookeeper": node.zookeeper_port})

    def _refuse(self, why: str, exit_code: int) -> None:
        self.log("cannot start", why=why)
        self.reporter.refuse(why, exit_code)
        self.exit_code = exit_code
        self._stop.set()

    def _left_alone(self, loop: asyncio.AbstractEventLoop, lifeline: int) -> None:
        loop.remove_reader(lifeline)
        self.log("stops", why="the process that started it has ended")
        loop.call_later(UP_STOP_TIMEOUT_MS / 1000, os._exit, EXIT_FAILED)  # nobody else would end it if it hung
        self._stop.set()

    def fatal(self, error: BaseException) -> None:
        self.log("fatal", error=f"{type(error).__name__}: {error}")
        code = exit_code_of(error)
        self.reporter.say({"error": str(error), "exit_code": code})
        os._exit(code)  # at once, whatever hangs: what was acknowledged is durable


def exit_code_of(error: BaseException) -> int:
    """2: what the user must mend; 1: a node's own trouble."""
    return EXIT_USAGE if isinstance(error, ConfigError) else EXIT_FAILED


def make_data_directory(path: Path) -> None:
    """Durably, for this user alone. ConfigError if it cannot be made."""
    try:
        make_directory(path)
    except OSError as error:
        raise ConfigError(f"cannot make the data directory {path}: {error.strerror}: choose another") from None


def pages_of(node: Node) -> dict[str, Page]:
    """What the console shows of a node, and of the process that it is."""
    process = ProcessCollector(registry=None)  # memory, processor time, descriptors: nothing where there is no /proc

    def metrics() -> Answer:
        return Answer("application/openmetrics-text; version=1.0.0; charset=utf-8", node.member.metrics.render(process))

    def status() -> Answer:
        return Answer("application/json", json.dumps(node.status()).encode())

    def digest() -> Answer:
        return Answer("application/json", json.dumps(node.scrub()).encode())

    def health() -> Answer:
        """Whoever routes by the code alone must not send clients to a node that takes none."""
        if node.serves:
            return Answer("text/plain; charset=utf-8", b"serving\n")
        return Answer("text/plain; charset=utf-8", b"not serving\n", 503)

    return {"/metrics": metrics, "/status": status, "/digest": digest, "/health": health}


def run_node(
    config: NodeConfig,
    report_to: int | None = None,
    *,
    quiet: bool = False,
    parts: Parts | None = None,
    lifeline: int | None = None,
) -> int:
    """Run one node to its end; its exit code. `report_to`: file descriptor of a pipe that gets a JSON line when the node serves,
    or why it does not. `lifeline`: one that ends when the node shall."""
    reporter = Reporter(report_to)

    async def main() -> int:
        process = NodeProcess(config, reporter, quiet, parts, lifeline)
        with gathered(process.log, asyncio.get_running_loop().time):
            return await process.main()

    try:
        refuse_taken(config)  # before it makes a file or joins its cell
        return run(main)
    except LoggosError as error:
        reporter.refuse(str(error), exit_code_of(error))
        return exit_code_of(error)
