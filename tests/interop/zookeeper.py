"""Debian's Apache ZooKeeper as processes with the face of cluster.py: the server that ours is compared with.

It is started as the package installs it (one JVM per node, small heaps), on free loopback ports in a folder of the test's own.
"""

from __future__ import annotations

import random
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from loggos.app.bench import wire
from loggos.app.bench.peers import ZOOKEEPER_CLASS_PATH, ZOOKEEPER_JAR
from loggos.cli.ports import free_base
from tests.interop.cluster import HOST, STOP_DEADLINE_S, eventually

JAVA = ("java", "-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Dfile.encoding=UTF-8")
# "super:test"; the digest that kazoo's suite and our differential test sign in with.
NEVER_MS = 86_400_000  # containers stay as long as any test lasts, unless it wants to see them go
SUPER_DIGEST = "super:D/InIHSb7yEEbrWz8b9l71RjZJU="


def missing() -> str | None:
    """Why it cannot run here; None when it can."""
    if shutil.which("java") is None:
        return "no java on the PATH, so no zookeeper"
    return None if ZOOKEEPER_JAR.exists() else f"{ZOOKEEPER_JAR} is not installed (Debian package: zookeeper)"


class ZooKeeperNode:
    """One server: its folder and its process."""

    def __init__(self, number: int, folder: Path, port: int, container_check_ms: int) -> None:
        self.number, self.folder, self.port, self.container_check_ms = number, folder, port, container_check_ms
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        return f"{HOST}:{self.port}"

    @property
    def endpoint(self) -> tuple[str, int]:
        return HOST, self.port

    @property
    def runs(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def start(self) -> None:
        with (self.folder / "output.log").open("ab") as output:
            self.process = subprocess.Popen(
                [
                    *JAVA,
                    f"-Dzookeeper.DigestAuthenticationProvider.superDigest={SUPER_DIGEST}",
                    f"-Dznode.container.checkIntervalMs={self.container_check_ms}",
                    f"-Dzookeeper.log.dir={self.folder}",
                    "-cp",
                    ZOOKEEPER_CLASS_PATH,
                    "org.apache.zookeeper.server.quorum.QuorumPeerMain",
                    str(self.folder / "zoo.cfg"),
                ],
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )

    def stop(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(STOP_DEADLINE_S)

    def end(self) -> None:
        if self.runs and self.process is not None:
            self.process.kill()
            self.process.wait(STOP_DEADLINE_S)

    def serves(self) -> bool:
        try:
            wire.Session(self.endpoint, session_ms=4_000, timeout_s=2.0).close()
        except (OSError, wire.WireError):
            return False
        return True

    def words(self, word: bytes) -> str:
        return wire.four_letter_word(self.endpoint, word, STOP_DEADLINE_S)

    def tail(self) -> str:
        path = self.folder / "output.log"
        return " | ".join(path.read_text("utf-8", "replace").splitlines()[-8:]) if path.exists() else ""


class ZooKeeper:
    """An ensemble of `nodes` servers; one alone runs without peers."""

    def __init__(self, folder: Path, nodes: int = 3, container_check_ms: int = NEVER_MS) -> None:
        base = free_base(HOST, nodes, start=random.SystemRandom().randrange(20_000, 30_000, 10 * nodes))
        self.nodes = {
            n: ZooKeeperNode(n, folder / f"zookeeper{n}", base + 10 * (n - 1), container_check_ms) for n in range(1, nodes + 1)
        }
        peers = [f"server.{n}={HOST}:{node.port + 1}:{node.port + 4}" for n, node in self.nodes.items()]
        for n, node in self.nodes.items():
            node.folder.mkdir(parents=True)
            (node.folder / "myid").write_text(f"{n}\n")
            lines = [
                "tickTime=2000",
                "initLimit=10",
                "syncLimit=5",
                f"dataDir={node.folder}",
                f"clientPort={node.port}",
                f"clientPortAddress={HOST}",
                "maxClientCnxns=0",
                "admin.enableServer=false",
                "4lw.commands.whitelist=*",
                *(peers if nodes > 1 else ()),
            ]
            (node.folder / "zoo.cfg").write_text("\n".join(lines) + "\n")

    @classmethod
    @contextmanager
    def running(cls, folder: Path, nodes: int = 3, container_check_ms: int = NEVER_MS) -> Iterator[ZooKeeper]:
        """An ensemble whose servers all serve; everything is stopped afterwards."""
        ensemble = cls(folder, nodes, container_check_ms)
        try:
            for node in ensemble.nodes.values():
                node.start()
            for node in ensemble.nodes.values():
                eventually(f"ZooKeeper {node.number} serves ({node.tail()})", node.serves)
            yield ensemble
        finally:
            for node in ensemble.nodes.values():
                node.end()
