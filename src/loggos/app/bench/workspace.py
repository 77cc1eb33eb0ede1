"""Where a benchmark's clusters keep their data, and how many of them are started: shared by `coordination` and `failover`."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from loggos.app.bench import probe
from loggos.app.bench.peers import LoggosCluster, ZooKeeperCluster
from loggos.app.clusters import Cluster, free_base_port
from loggos.base.errors import ConfigError

PEERS: Final = ("zookeeper", "none")
MEMORY_FILE_SYSTEMS: Final = ("tmpfs", "ramfs")


@dataclass(frozen=True, slots=True, kw_only=True)
class Systems:
    """Which systems take part, and where their data goes (None: the temporary directory, if that is a real disk)."""

    peer: str = "zookeeper"
    loggos: bool = True
    data: Path | None = None


def check_disk(parent: Path, kind: str) -> None:
    """ConfigError if a directory lies in memory: figures from there would be worth nothing."""
    if kind in MEMORY_FILE_SYSTEMS:
        raise ConfigError(f"{parent} lies in memory, so its fdatasync costs nothing: name a directory on a disk with --data")


@contextmanager
def directory(systems: Systems) -> Iterator[Path]:
    """A fresh directory on a real disk, removed afterwards. ConfigError on a memory file system: fdatasync is free there."""
    parent = systems.data or Path(tempfile.gettempdir())
    if systems.data is None and probe.file_system(parent) in MEMORY_FILE_SYSTEMS:
        parent = Path.cwd()
    parent.mkdir(parents=True, exist_ok=True)
    check_disk(parent, probe.file_system(parent))
    with tempfile.TemporaryDirectory(prefix="loggos-bench-", dir=parent, ignore_cleanup_errors=True) as path:
        yield Path(path)


def make(systems: Systems, home: Path, *, revive: bool = False) -> list[Cluster]:
    """The clusters that take part, Loggos first, none started yet."""
    if systems.peer not in PEERS:
        raise ConfigError(f"unknown peer {systems.peer!r}: choose one of {', '.join(PEERS)}")
    clusters: list[Cluster] = [LoggosCluster(home / "loggos", revive=revive)] if systems.loggos else []
    if systems.peer == "zookeeper":
        port = free_base_port([cluster.base_port for cluster in clusters])
        clusters.append(ZooKeeperCluster(home / "zookeeper", base_port=port))
    if not clusters:
        raise ConfigError("nothing to measure: Loggos is left out and there is no peer")
    return clusters


@contextmanager
def stopped_at_the_end(clusters: list[Cluster]) -> Iterator[None]:
    """Whatever happens, every process that these clusters started is ended and their data removed."""
    with ExitStack() as stack:
        for cluster in clusters:
            stack.callback(cluster.remove)
            stack.callback(cluster.stop)
        yield


def version_lines(clusters: list[Cluster]) -> list[str]:
    """One line per running system; for a JVM peer with its Java."""
    lines = []
    for cluster in clusters:
        java = f", {probe.first_line('java', '-version')}" if isinstance(cluster, ZooKeeperCluster) else ""
        lines.append(f"{cluster.label} {cluster.version()}{java}")
    return lines
