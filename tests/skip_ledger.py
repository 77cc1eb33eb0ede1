"""The ledger of expected skips: `tests/skips.txt` read, and skipped tests held against it.

A row is `node-id glob | part of the reason | when`. A skip is expected if a row's glob matches the test's id, the reason holds
the part, and the row's condition is true on this machine: so a test that is skipped for want of ZooKeeper is expected only where
ZooKeeper is in fact absent. The plugin around it is in conftest.py.
"""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import NamedTuple

ZOOKEEPER_JAR = Path("/usr/share/java/zookeeper.jar")  # Debian's package
OPENB = Path(__file__).resolve().parents[2] / "shared" / "data" / "openb"  # a trace, unless LOGGOS_OPENB names it


DESCRIPTORS_WANTED = 10_200  # of the test that opens ten thousand connections


class Row(NamedTuple):
    """One kind of skip that is expected."""

    glob: str
    reason: str
    when: str


class Skip(NamedTuple):
    """A test that was skipped."""

    node_id: str
    reason: str


@cache
def may_mount() -> bool:
    """May this user mount a tmpfs in a mount namespace of its own?"""
    command = ["unshare", "--mount", "mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", "/mnt"]
    return shutil.which("unshare") is not None and subprocess.run(command, capture_output=True, check=False).returncode == 0


def has_few_descriptors() -> bool:
    """May no process here open what ten thousand connections take?"""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    return hard != resource.RLIM_INFINITY and hard < DESCRIPTORS_WANTED


@cache
def has_java_compiler() -> bool:
    """Can `java` run a program from its source?"""
    if shutil.which("java") is None:
        return False
    return "jdk.compiler" in subprocess.run(["java", "--list-modules"], capture_output=True, text=True, check=False).stdout


CONDITIONS: dict[str, Callable[[], bool]] = {
    "always": lambda: True,
    "no-zookeeper": lambda: not (ZOOKEEPER_JAR.exists() and shutil.which("java")),
    "no-java-compiler": lambda: not has_java_compiler(),
    "no-haproxy": lambda: shutil.which("haproxy") is None,
    "no-mount": lambda: not may_mount(),
    "not-root": lambda: os.geteuid() != 0,
    "not-linux": lambda: sys.platform != "linux",
    "few-descriptors": has_few_descriptors,
    "no-openb": lambda: not Path(os.environ.get("LOGGOS_OPENB", OPENB)).is_dir(),
}


def parse(text: str, conditions: Mapping[str, Callable[[], bool]] = CONDITIONS) -> list[Row]:
    """The rows of a ledger. ValueError names the line that is no row."""
    rows = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        cells = [cell.strip() for cell in line.split("|")]
        if len(cells) != 3 or not all(cells):
            raise ValueError(f"line {number} is not `glob | reason | when`: {line}")
        if cells[2] not in conditions:
            raise ValueError(f"line {number}: no condition {cells[2]!r}; one of {', '.join(conditions)}")
        rows.append(Row(*cells))
    return rows


def unexpected(
    skips: Sequence[Skip], rows: Sequence[Row], conditions: Mapping[str, Callable[[], bool]] = CONDITIONS
) -> list[Skip]:
    """The skips that no row expects on this machine."""

    def expected(skip: Skip) -> bool:
        return any(
            fnmatchcase(skip.node_id, row.glob) and row.reason in skip.reason and conditions[row.when]() for row in rows
        )

    return [skip for skip in skips if not expected(skip)]
