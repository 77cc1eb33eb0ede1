"""Servers that the client is tested against. Add a provider here (a class with `missing` and `start`) and every test runs on it,
too.
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
from pathlib import Path
from typing import Protocol

from loggos.cli.ports import free_base

START_TIMEOUT_S = 40.0
JAVA = ("java", "-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")


class Servers(Protocol):
    """Running servers: `hosts` as clients want them, `stop` ends what was started."""

    hosts: str

    def stop(self) -> None: ...


class Provider(Protocol):
    name: str

    def missing(self) -> str | None:
        """Why it cannot run here; None when it can."""
        ...

    def start(self, folder: Path) -> Servers: ...


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def four_letter_word(port: int, word: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=2) as connection:
        connection.sendall(word)
        answer = b""
        while chunk := connection.recv(4096):
            answer += chunk
        return answer


class ApacheZooKeeper:
    """Debian's Apache ZooKeeper, one server, as the package installs it (its class path is that of zkEnv.sh)."""

    name = "apache-zookeeper"
    jar = Path("/usr/share/java/zookeeper.jar")

    def missing(self) -> str | None:
        if shutil.which("java") is None:
            return "no java on the PATH"
        return None if self.jar.exists() else f"{self.jar} is not installed (Debian package: zookeeper)"

    def start(self, folder: Path) -> _JavaServer:
        port = free_port()
        configuration = folder / "zoo.cfg"
        configuration.write_text(
            f"tickTime=500\ndataDir={folder / 'data'}\nclientPort={port}\nclientPortAddress=127.0.0.1\n"
            "admin.enableServer=false\nminSessionTimeout=1000\nmaxSessionTimeout=20000\nmaxClientCnxns=0\n"
            "4lw.commands.whitelist=*\n"
        )
        return _JavaServer(self.jar, configuration, port, folder)


class _JavaServer:
    def __init__(self, jar: Path, configuration: Path, port: int, folder: Path) -> None:
        self.hosts = f"127.0.0.1:{port}"
        with (folder / "server.log").open("wb") as log:
            self._process = subprocess.Popen(
                [*JAVA, "-cp", f"{folder}:{jar}", "org.apache.zookeeper.server.ZooKeeperServerMain", str(configuration)],
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, "LC_ALL": "C"},
            )
        self._wait(port, folder / "server.log")

    def _wait(self, port: int, log: Path) -> None:
        deadline = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline and self._process.poll() is None:
            try:
                if four_letter_word(port, b"ruok") == b"imok":
                    return
            except OSError:
                pass
            time.sleep(0.1)
        self.stop()
        raise RuntimeError(f"ZooKeeper did not start: {log.read_text()[-2000:]}")

    def stop(self) -> None:
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGKILL)
        self._process.wait()


class LoggosCluster:
    """Three nodes of Loggos, each a process, as `loggos up` starts them."""

    name = "loggos"

    def missing(self) -> str | None:
        return None

    def start(self, folder: Path) -> _LoggosUp:
        return _LoggosUp(folder)


class _LoggosUp:
    def __init__(self, folder: Path) -> None:
        base = free_base("127.0.0.1", 3, start=22_000 + os.getpid() % 300 * 30)
        with (folder / "server.log").open("wb") as log:
            self._process = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "loggos.cli.main",
                    "up",
                    "--json",
                    "--base-port",
                    str(base),
                    "--data",
                    str(folder / "data"),
                ],
                stdout=subprocess.PIPE,
                stderr=log,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            )
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            self.stop()
            raise RuntimeError(f"Loggos did not start: {(folder / 'server.log').read_text()[-2000:]}")
        self.hosts = ",".join(node["zookeeper"] for node in json.loads(line)["nodes"])

    def stop(self) -> None:
        self._process.terminate()
        self._process.communicate(timeout=START_TIMEOUT_S)


PROVIDERS: list[Provider] = [ApacheZooKeeper(), LoggosCluster()]
