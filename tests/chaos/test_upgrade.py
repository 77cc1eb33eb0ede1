"""Real nodes of different releases: upgrades one by one under load, ways back, and a release that is too old. The next release is
this one with one feature level more; the one after it has forgotten the rules of today."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import loggos
from loggos.node.levels import NEWEST_LEVEL, OLDEST_LEVEL
from tests.chaos.agreement import wait_agreed, wait_voters
from tests.chaos.load import Writer, check, writers
from tests.interop.cluster import Cluster, Node, eventually

pytestmark = [pytest.mark.process]

NEXT = NEWEST_LEVEL + 1


def release(folder: Path, oldest: int) -> Path:
    """A source tree that knows the feature levels from `oldest` to NEXT."""
    shutil.copytree(Path(loggos.__file__).parent, folder / "loggos", ignore=shutil.ignore_patterns("__pycache__"))
    path = folder / "loggos" / "node" / "levels.py"
    text = path.read_text()
    for name, old, new in (("NEWEST_LEVEL", NEWEST_LEVEL, NEXT), ("OLDEST_LEVEL", OLDEST_LEVEL, oldest)):
        line = f"{name}: Final = {old}\n"
        assert text.count(line) == 1
        text = text.replace(line, f"{name}: Final = {new}\n")
    path.write_text(text)
    return folder


def run(cluster: Cluster, number: int, source: Path | None, load: list[Writer], *, is_killed: bool = False) -> None:
    """That node goes on as that release (None: this one), and the cell with it."""
    node = cluster[number]
    if is_killed:
        node.kill()
    elif node.runs:
        assert node.stop() == 0
    node.source = source
    node.start()
    cluster.wait_serving(number)
    wait_voters(cluster)
    for writer in load:
        writer.wait_for_more()


def levels(cluster: Cluster) -> set[int]:
    return {node.status().get("level", 0) for node in cluster.nodes.values()}


def ends_too_old(node: Node) -> None:
    """Started as this release, it says what to do, and ends."""
    node.source = None
    node.output.unlink()
    node.start()
    assert node.wait_end() == 2
    said = [line for line in node.output.read_text().splitlines() if line.startswith("loggos: ")]
    why = f"is of feature level {NEXT}, this release knows {NEWEST_LEVEL}: run the newer release that made it"
    assert len(said) == 1 and why in said[0], node.tail()


def test_a_cell_is_upgraded_node_by_node_under_load(tmp_path: Path) -> None:
    following, later = release(tmp_path / "following", OLDEST_LEVEL), release(tmp_path / "later", NEXT)
    with Cluster.running(tmp_path / "cluster") as cluster:
        with writers(cluster.hosts) as load:
            for number in (1, 2):
                run(cluster, number, following, load)
            run(cluster, 2, None, load)  # a way back
            run(cluster, 3, following, load)
            assert levels(cluster) == {NEWEST_LEVEL}, "one of three is of the old release"
            run(cluster, 2, following, load, is_killed=True)
            eventually("the new rules are in force", lambda: levels(cluster) == {NEXT})
            for node in cluster.nodes.values():
                eventually("a snapshot of each", lambda node=node: any((node.data / "snapshots").glob("*.snap")))

            assert cluster[3].stop() == 0
            ends_too_old(cluster[3])
            ends_too_old(cluster[3])
            run(cluster, 3, following, load)

            for number in cluster.nodes:
                run(cluster, number, later, load)
        check(cluster.hosts, load)
        wait_agreed(cluster)
        assert levels(cluster) == {NEXT}
