"""Servers that the client is tested against. Add a provider here (a class with `missing` and `start`) and every test runs on it,
too.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import Protocol

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


PROVIDERS: list[Provider] = [ApacheZooKeeper()]
