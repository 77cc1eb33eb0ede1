"""The lock chapter's processes: three nodes, each `loggos node --config FILE`, and the workers, spoken to over pipes.

Rules: only processes started here are signalled, by pid; every wait is bounded; whatever happens, `stop` ends them all. Each runs
in a session of its own, so that Ctrl-C reaches the tour alone, which then ends them in order.
"""

from __future__ import annotations

import json
import os
import selectors
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Final

from loggos.app.clusters import NODES, ProcessPerNode
from loggos.app.ports import CONSOLE, PEER
from loggos.app.processes import child_environment
from loggos.app.tour.records import Record, decode_record
from loggos.base.errors import LoggosError
from loggos.base.limits import TOUR_STATUS_TIMEOUT_S, TOUR_STOP_DEADLINE_S

READ_BYTES: Final = 65_536


class TourError(LoggosError):
    """The tour could not go on: something did not happen in time, or a process ended that should not have."""


class NodeProcesses(ProcessPerNode):
    """Three nodes, each started by its own configuration file."""

    name = "loggos"
    label = "Loggos"

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.paused: dict[int, None] = {}
        self._warden: subprocess.Popen[bytes] | None = None

    def config_path(self, node: int) -> Path:
        return self.directory / f"node{node}.toml"

    def config(self, node: int) -> str:
        """What a user would write to run this node alone."""
        port = self.client_port(node)
        lines = [
            'cell = "tour"',
            f"id = {node}",
            f"data = {json.dumps(str(self.directory / f'node{node}'))}",
            "[ports]",
            f"zookeeper = {port}",
            f"console = {port + CONSOLE}",
            f"peer = {port + PEER}",
            "[voters]",
            *(f'{other} = "127.0.0.1:{self.client_port(other) + PEER}"' for other in range(1, NODES + 1)),
        ]
        return "\n".join(lines) + "\n"

    def spawn(self) -> None:
        command = [sys.executable, "-m", "loggos.app.tour.warden"]
        self._warden = subprocess.Popen(command, stdin=subprocess.PIPE, env=child_environment(), start_new_session=True)
        for node in range(1, NODES + 1):
            self.config_path(node).write_text(self.config(node))
        for node in range(1, NODES + 1):
            self.restart(node)

    def restart(self, node: int) -> None:
        assert self.log is not None
        self.processes[node] = subprocess.Popen(
            [sys.executable, "-m", "loggos.cli.main", "node", "--config", str(self.config_path(node))],
            stdin=subprocess.DEVNULL,
            stdout=self.log,
            stderr=self.log,
            env=child_environment(),
            start_new_session=True,
        )
        assert self._warden is not None and self._warden.stdin is not None
        self._warden.stdin.write(b"%d\n" % self.processes[node].pid)
        self._warden.stdin.flush()

    def pause(self, node: int) -> None:
        super().pause(node)
        self.paused[node] = None

    def resume(self, node: int) -> None:
        super().resume(node)
        del self.paused[node]

    def stop(self) -> None:
        super().stop()
        for process in self.processes.values():
            process.wait(TOUR_STOP_DEADLINE_S)
        if self._warden is not None:
            self._warden.communicate(timeout=TOUR_STOP_DEADLINE_S)  # its stdin ends, and so does it

    def peer_ports(self, node: int) -> tuple[int, ...]:
        return (self.client_port(node) + PEER,)

    def fdatasync(self) -> dict[str, float] | None:
        """Not measured here."""
        return None

    def settings(self) -> str:
        return "3 nodes, defaults of `loggos node`: fdatasync by a quorum before every acknowledgement"

    def hosts(self) -> str:
        return ",".join(f"{host}:{port}" for host, port in self.addresses)

    def status(self, node: int) -> dict[str, Any]:
        """What a node's console says; empty if it does not answer now."""
        return self._ask(node, "status")

    def _ask(self, node: int, page: str) -> dict[str, Any]:
        if node in self.paused or node not in self.processes:
            return {}
        url = f"http://127.0.0.1:{self.client_port(node) + CONSOLE}/{page}"
        try:
            with urllib.request.urlopen(url, timeout=TOUR_STATUS_TIMEOUT_S) as answer:
                found: dict[str, Any] = json.load(answer)
        except (OSError, ValueError):
            return {}
        return found

    def statuses(self) -> dict[int, dict[str, Any]]:
        """By node; only those that answer."""
        answers = {node: self.status(node) for node in range(1, NODES + 1)}
        return {node: answer for node, answer in answers.items() if answer}

    def full_digests(self) -> dict[int, dict[str, Any]]:
        """Ask every node for a digest of its whole state as it is now, made beside its work: what each has of it by now."""
        answers = {node: self._ask(node, "digest") for node in range(1, NODES + 1)}
        return {node: answer for node, answer in answers.items() if answer}

    def leading(self) -> int:
        """The node that leads now by its own word, at the highest ballot; 0 if none says so."""
        leaders = [(answer["ballot"], node) for node, answer in self.statuses().items() if answer["role"] == "leader"]
        return max(leaders)[1] if leaders else 0


@dataclass(slots=True)
class _Worker:
    number: int
    process: subprocess.Popen[bytes]
    unread: bytes = b""
    stderr: IO[bytes] | None = None
    ended: bool = field(default=False)


class WorkerProcesses:
    """The workers. `pump` reads what they say and hands each record to `receive`."""

    def __init__(self, directory: Path, receive: Callable[[Record], None]) -> None:
        self.directory, self._receive = directory, receive
        self._workers: dict[int, _Worker] = {}
        self._selector = selectors.DefaultSelector()

    def start(self, number: int, arguments: list[str]) -> None:
        log = self.log_path(number).open("wb")
        process = subprocess.Popen(
            [sys.executable, "-m", "loggos.app.tour.worker", "--number", str(number), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            env=child_environment(),
            start_new_session=True,
        )
        worker = self._workers[number] = _Worker(number, process, stderr=log)
        assert process.stdout is not None
        os.set_blocking(process.stdout.fileno(), False)
        self._selector.register(process.stdout, selectors.EVENT_READ, worker)

    def log_path(self, number: int) -> Path:
        return self.directory / f"worker{number}.log"

    def numbers(self) -> list[int]:
        return list(self._workers)

    def pid(self, number: int) -> int:
        return self._workers[number].process.pid

    def say(self, number: int, line: str) -> None:
        """An order for one worker."""
        pipe = self._workers[number].process.stdin
        assert pipe is not None
        try:
            pipe.write(line.encode() + b"\n")
            pipe.flush()
        except BrokenPipeError:
            pass  # it has finished; `check` says so if it has not finished well

    def pump(self, timeout_s: float) -> None:
        """Take in what the workers have said, waiting for it at most `timeout_s`."""
        for key, _ in self._selector.select(timeout_s):
            worker: _Worker = key.data
            data = os.read(key.fd, READ_BYTES)
            if not data:
                self._selector.unregister(key.fileobj)
                worker.ended = True
                continue
            *lines, worker.unread = (worker.unread + data).split(b"\n")
            for line in lines:
                self._receive(decode_record(line))

    def check(self) -> None:
        """TourError if a worker ended badly."""
        for worker in self._workers.values():
            if worker.process.poll() not in (None, 0):
                last = self.log_path(worker.number).read_text("utf-8", "replace").splitlines()[-1:]
                raise TourError(f"worker {worker.number} ended with {worker.process.returncode}: {' '.join(last)}")

    def all_ended(self) -> bool:
        return all(worker.ended and worker.process.poll() is not None for worker in self._workers.values())

    def pause(self, number: int) -> None:
        self._workers[number].process.send_signal(signal.SIGSTOP)

    def resume(self, number: int) -> None:
        self._workers[number].process.send_signal(signal.SIGCONT)

    def stop(self) -> None:
        """End all: those that still run hold nothing that is worth a farewell."""
        for worker in self._workers.values():
            if worker.process.poll() is None:
                worker.process.kill()
        deadline = time.monotonic() + TOUR_STOP_DEADLINE_S
        for worker in self._workers.values():
            worker.process.wait(max(0.1, deadline - time.monotonic()))
            for pipe in (worker.process.stdin, worker.process.stdout, worker.stderr):
                if pipe is not None:
                    close_quietly(pipe)
        self._selector.close()


def close_quietly(pipe: IO[bytes]) -> None:
    try:
        pipe.close()
    except BrokenPipeError:
        pass  # an order that nobody reads any more
