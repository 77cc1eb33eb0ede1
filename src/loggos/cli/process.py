"""One node as a process: the real world, the node, its console, and the signals that stop it.

SIGTERM and SIGINT stop it gracefully (exit code 0). An error that leaves the node untrustworthy ends it at once with
exit code 1: what was acknowledged is durable, and the others go on. A configuration that cannot be used: one line,
exit code 2, nothing overwritten.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

from prometheus_client import ProcessCollector

from loggos.app.build import Node, Parts
from loggos.base.errors import ConfigError, LoggosError
from loggos.cli.ports import refuse_taken
from loggos.console.http import Console, Page
from loggos.host.logs import EventLog, gathered
from loggos.host.loop import run, settle_garbage
from loggos.host.world import HostWorld
from loggos.node.config import NodeConfig

EXIT_OK, EXIT_FAILED, EXIT_USAGE = 0, 1, 2
POLL_S = 0.002


class Reporter:
    """Tells whoever started this process, through a pipe, that it serves or why it does not; silent without a pipe."""

    def __init__(self, pipe: int | None) -> None:
        self._pipe = pipe

    def say(self, message: dict[str, Any]) -> None:
        if self._pipe is not None:
            try:
                os.write(self._pipe, json.dumps(message).encode() + b"\n")
            except OSError:
                self._pipe = None  # nobody listens any more


class NodeProcess:
    def __init__(self, config: NodeConfig, reporter: Reporter, quiet: bool, parts: Parts | None) -> None:
        self.config, self.reporter, self._parts = config, reporter, parts
        stderr = open(os.devnull, "w") if quiet else sys.stderr  # noqa: SIM115 (lives as long as the process)
        self.log = EventLog(Path(config.data) / "node.log", config.id, stderr)
        self.exit_code = EXIT_OK
        self._stop = asyncio.Event()
        self._world: HostWorld | None = None

    async def main(self) -> int:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)
        make_directory(self.config.data)
        self._world = HostWorld(self.config.data, on_failure=lambda name, error: self.fatal(error))
        node = Node(self.config, self._world, self.log, self.fatal, self._parts or Parts())
        console = Console(pages_of(node))
        starting = self._world.spawner.spawn(self._start(node, console), "start")
        await self._stop.wait()
        if self.exit_code != EXIT_OK:
            return self.exit_code
        starting.cancel()
        console.close()
        await node.stop()
        await asyncio.sleep(0)
        return EXIT_OK

    async def _start(self, node: Node, console: Console) -> None:
        try:
            await console.listen(node.world.network, self.config.host, self.config.ports.console)
            await node.start()
        except LoggosError as error:  # unusable, damaged, full or read-only: said in one line, and nothing was overwritten
            self._refuse(str(error))
            return
        except OSError as error:
            self._refuse(f"cannot listen: {error.strerror or error}: stop what uses the port, or choose other ports")
            return
        settle_garbage()
        while not node.serves:  # noqa: ASYNC110 (the log tells services, not the process; this ends within the first election)
            await asyncio.sleep(POLL_S)
        self.reporter.say({"ready": True, "zookeeper": node.zookeeper_port})

    def _refuse(self, why: str) -> None:
        self.log("cannot start", why=why)
        self.reporter.say({"error": why})
        self.exit_code = EXIT_USAGE
        print(f"loggos: {why}", file=sys.stderr)
        self._stop.set()

    def fatal(self, error: BaseException) -> None:
        self.log("fatal", error=f"{type(error).__name__}: {error}")
        self.reporter.say({"error": str(error)})
        os._exit(EXIT_FAILED)  # at once, whatever hangs: what was acknowledged is durable


def make_directory(path: str) -> None:
    try:
        Path(path).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"cannot make the data directory {path}: {error.strerror}: choose another") from None


def pages_of(node: Node) -> dict[str, Page]:
    """What the console shows of a node, and of the process that it is."""
    process = ProcessCollector(registry=None)  # memory, processor time, descriptors: nothing where there is no /proc

    def metrics() -> tuple[str, bytes]:
        return "application/openmetrics-text; version=1.0.0; charset=utf-8", node.member.metrics.render(process)

    def status() -> tuple[str, bytes]:
        return "application/json", json.dumps(node.status()).encode()

    def health() -> tuple[str, bytes]:
        return "text/plain; charset=utf-8", b"serving\n" if node.serves else b"not serving\n"

    return {"/metrics": metrics, "/status": status, "/health": health}


def run_node(config: NodeConfig, report_to: int | None = None, *, quiet: bool = False, parts: Parts | None = None) -> int:
    """Run one node to its end; its exit code. `report_to`: file descriptor of a pipe that gets one JSON line."""
    reporter = Reporter(report_to)

    async def main() -> int:
        process = NodeProcess(config, reporter, quiet, parts)
        with gathered(process.log, asyncio.get_running_loop().time):
            return await process.main()

    try:
        refuse_taken(config)  # before it makes a file or joins its cell
        return run(main)
    except LoggosError as error:
        reporter.say({"error": str(error)})
        print(f"loggos: {error}", file=sys.stderr)
        return EXIT_USAGE if isinstance(error, ConfigError) else EXIT_FAILED
