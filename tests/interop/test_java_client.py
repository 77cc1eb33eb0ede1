"""Java's own client, as Debian packages it, against three running nodes: its command line, and a program of ours on its API.

The command line needs a Java runtime; the program (java/Drive.java) a runtime with a compiler in it.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.interop import zookeeper
from tests.interop.cluster import Cluster
from tests.skip_ledger import has_java_compiler

pytestmark = [pytest.mark.process, pytest.mark.interop]

PROGRAM = Path(__file__).with_name("java") / "Drive.java"
LOGGING = "/usr/share/java/slf4j-simple.jar"  # without it, the client says that it has no logger
DEADLINE_S = 60


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    why = zookeeper.missing()
    if why is not None:
        pytest.skip(why)
    with Cluster.running(tmp_path_factory.mktemp("java")) as running:
        yield running


def java(*arguments: str, given: str = "") -> str:
    """What a Java program printed; it must end well."""
    command = [*zookeeper.JAVA, "-cp", f"{zookeeper.ZOOKEEPER_JAR}:{LOGGING}", *arguments]
    both = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}  # it tells part of its results as errors
    ended = subprocess.run(command, input=given, text=True, timeout=DEADLINE_S, check=False, **both)
    assert ended.returncode == 0, ended.stdout[-3_000:]
    return ended.stdout


def test_its_command_line_creates_reads_changes_and_lists(cluster: Cluster) -> None:
    commands = [
        "create /cli one",
        "create /cli/child",
        "create -e /cli/ephemeral",
        "create -s /cli/numbered-",
        "set /cli two",
        "get /cli",
        "ls /cli",
        "stat /cli/ephemeral",
        "getAllChildrenNumber /cli",
        "config",
        "delete /cli/child",
        "quit",
    ]
    address = cluster[cluster.followers()[0]].address
    printed = java("org.apache.zookeeper.ZooKeeperMain", "-server", address, given="\n".join(commands) + "\n")
    lines = printed.splitlines()
    for expected in ("Created /cli", "Created /cli/child", "Created /cli/ephemeral", "Created /cli/numbered-0000000002", "two"):
        assert any(line.endswith(expected) for line in lines), (expected, printed)
    assert any("[child, ephemeral, numbered-0000000002]" in line for line in lines), printed
    assert "ephemeralOwner = 0x" in printed and "numChildren = 0" in printed
    assert any(line.strip() == "3" for line in lines), printed
    members = [line for line in lines if line.startswith("server.")]
    assert len(members) == 3 and all(":participant" in line for line in members), printed
    left = java("org.apache.zookeeper.ZooKeeperMain", "-server", cluster.hosts, "ls", "/cli")
    assert "[numbered-0000000002]" in left, "the ephemeral node went with its session, the other was deleted"


def test_its_api_does_what_its_documentation_says(cluster: Cluster) -> None:
    if not has_java_compiler():
        pytest.skip("no java compiler, so no program on zookeeper's API")
    printed = java(str(PROGRAM), cluster.hosts)
    assert "done" in printed.splitlines() and "FAILED" not in printed and printed.count("ok ") >= 20, printed
