"""What becomes of a node whose files are damaged, gone, full or not its own: repaired from its peers, or one clear line."""

from __future__ import annotations

import os
import shutil
import subprocess
import uuid
from pathlib import Path

import pytest
from crc32c import crc32c
from kazoo.exceptions import NodeExistsError
from kazoo.retry import KazooRetry

from tests.chaos.agreement import wait_agreed, wait_voters
from tests.chaos.load import check, client, writers
from tests.interop.cluster import Cluster, Node, eventually
from tests.skip_ledger import may_mount

pytestmark = [pytest.mark.process]


def written(cluster: Cluster, count: int = 200) -> str:
    """Some state to lose, and where it is."""
    found = client(cluster.hosts)
    root = f"/state-{uuid.uuid4().hex}"
    found.ensure_path(root)
    for answer in [found.create_async(f"{root}/{number:06d}", b"%d" % number) for number in range(count)]:
        answer.get(timeout=30)
    found.stop()
    found.close()
    return root


def still_there(node: Node, root: str, count: int = 200) -> None:
    """All of it, as this node tells it."""
    found = client(node.address)
    found.sync("/")
    assert len(found.get_children(root)) == count
    assert found.get(f"{root}/{count - 1:06d}")[0] == b"%d" % (count - 1)
    found.stop()
    found.close()


def flip(path: Path, at: int) -> None:
    """One byte of a file becomes another."""
    with path.open("r+b") as file:
        file.seek(at)
        (old,) = file.read(1)
        file.seek(at)
        file.write(bytes([old ^ 0xFF]))


def first_journal(node: Node) -> Path:
    return min((node.data / "journal").glob("*.log"))


def test_a_flipped_byte_in_the_journal_is_repaired_from_the_peers(cluster: Cluster) -> None:
    root = written(cluster)
    number = cluster.followers()[0]
    node = cluster[number]
    damaged_before = len(list(node.data.glob("damaged-*")))
    assert node.stop() == 0
    flip(first_journal(node), 2_000)  # far before the end: no torn tail
    cluster.restart(number)
    still_there(node, root)
    kept = node.data / f"damaged-{damaged_before + 1}"
    assert any(kept.rglob("*.log")), "what was damaged is kept for people to look at"
    written_more = client(cluster.hosts)
    written_more.create("/after", b"")
    written_more.stop()
    wait_agreed(cluster)


def test_the_repaired_voter_votes_again(cluster: Cluster) -> None:
    """Once it has rejoined, the cluster lives on with it and one other."""
    root = written(cluster)
    number = cluster.followers()[0]
    cluster.kill(number)
    flip(first_journal(cluster[number]), 2_000)
    cluster.restart(number)
    wait_agreed(cluster)
    wait_voters(cluster)
    other = next(n for n in cluster.nodes if n != number)
    cluster.kill(other)
    found = client(",".join(node.address for n, node in cluster.nodes.items() if n != other))
    found.create("/by-two", b"")
    found.stop()
    still_there(cluster[number], root)
    cluster.restart(other)
    wait_agreed(cluster)


def test_a_wiped_directory_is_filled_again(cluster: Cluster) -> None:
    with writers(cluster.hosts, 2) as load:
        load[0].wait_for_more(50)
        number = cluster.followers()[0]
        cluster.kill(number)
        shutil.rmtree(cluster[number].data)
        load[0].wait_for_more()
        cluster.restart(number)
        load[0].wait_for_more()
    check(cluster.hosts, load)
    wait_agreed(cluster)


def test_a_wiped_leader_is_filled_again(cluster: Cluster) -> None:
    with writers(cluster.hosts, 2) as load:
        load[0].wait_for_more(50)
        number = cluster.leader()
        cluster.kill(number)
        shutil.rmtree(cluster[number].data)
        cluster.restart(number)
        load[0].wait_for_more()
    check(cluster.hosts, load)
    wait_agreed(cluster)


@pytest.mark.full
@pytest.mark.timeout(900)
@pytest.mark.parametrize("at", [0, 7, 30, 300, 3_000, 10_000])
def test_a_flipped_byte_anywhere_is_repaired(cluster: Cluster, at: int) -> None:
    root = written(cluster, 500)
    for number in cluster.nodes:
        assert cluster[number].stop() == 0
        flip(first_journal(cluster[number]), at)
        cluster.restart(number)
        still_there(cluster[number], root, 500)
        wait_agreed(cluster)
        wait_voters(cluster)  # a second voter may be lost only once the first is back (docs/GUARANTEES.md)


# --- refusals -------------------------------------------------------------------------------------------------------------------


def bytes_below(folder: Path) -> dict[str, bytes]:
    """Every file's content."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def refusal(node: Node) -> str:
    """It is started, and ends by itself; the one line that it prints."""
    node.output.unlink(missing_ok=True)
    node.start()
    code = node.wait_end()
    lines = node.output.read_text().splitlines()
    said = [line for line in lines if line.startswith("loggos: ")]
    assert code not in (0, None) and len(said) == 1, (code, lines)
    assert "Traceback" not in "\n".join(lines)
    return said[0]


def edit(node: Node, old: str, new: str) -> None:
    text = node.config.read_text()
    assert old in text
    node.config.write_text(text.replace(old, new))


def test_what_cannot_be_started_says_why_and_touches_nothing(cluster: Cluster) -> None:
    """One node of a living cluster, started wrongly in every way."""
    root = written(cluster)
    number = cluster.followers()[0]
    node = cluster[number]
    assert node.stop() == 0
    before, config = bytes_below(node.data), node.config.read_text()

    edit(node, 'cell = "test"', 'cell = "another"')
    line = refusal(node)
    assert "another" in line and "test" in line and bytes_below(node.data) == before
    node.config.write_text(config)

    edit(node, "[ports]", 'hots = "127.0.0.1"\n[ports]')
    assert "hots" in (line := refusal(node)) and "did you mean host" in line and bytes_below(node.data) == before
    node.config.write_text(config)

    edit(node, 'host = "127.0.0.1"', 'host = "0.0.0.0"')
    assert "0.0.0.0" in (line := refusal(node)) and "insecure" in line and bytes_below(node.data) == before
    node.config.write_text(config)

    other = next(n for n in cluster.nodes if n != number)
    edit(node, f"zookeeper = {node.ports.zookeeper}", f"zookeeper = {cluster[other].ports.zookeeper}")
    assert f"zookeeper port {cluster[other].ports.zookeeper} is in use" in refusal(node) and bytes_below(node.data) == before
    node.config.write_text(config)

    edit(node, f"console = {node.ports.console}", f"console = {cluster[other].ports.console}")
    assert "in use" in refusal(node) and bytes_below(node.data) == before
    node.config.write_text(config)

    edit(node, f"id = {number}", f"id = {other}")
    refusal(node)
    assert bytes_below(node.data) == before
    node.config.write_text(config)

    node.config.write_text("this is = = no TOML")
    assert "TOML" in refusal(node) and bytes_below(node.data) == before
    node.config.unlink()
    assert "cannot read" in refusal(node) and bytes_below(node.data) == before
    node.config.write_text(config)

    cluster.restart(number)
    still_there(node, root)
    wait_agreed(cluster)


def test_a_directory_of_a_newer_version_is_refused(cluster: Cluster) -> None:
    number = cluster.followers()[0]
    node = cluster[number]
    assert node.stop() == 0
    identity = node.data / "identity.json"
    good = identity.read_bytes()
    head, key, _ = good.replace(b'"format":2', b'"format":99').rpartition(b'"checksum":')
    newer = head + key + b"%d}\n" % crc32c(head + key + b"0}")
    assert b'"format":99' in newer, good
    identity.write_bytes(newer)
    before = bytes_below(node.data)
    line = refusal(node)
    assert ("newer" in line or "version" in line) and bytes_below(node.data) == before
    identity.write_bytes(good)
    cluster.restart(number)


def test_a_directory_that_cannot_be_written_is_refused(cluster: Cluster) -> None:
    """Root may write everywhere, so for root the directory lies below a file."""
    number = cluster.followers()[0]
    node = cluster[number]
    assert node.stop() == 0
    if os.geteuid() == 0:
        blocker = node.folder / "a-file"
        blocker.write_text("")
        edit(node, str(node.data), str(blocker / "data"))
    else:
        node.data.chmod(0o500)
    line = refusal(node)
    assert "director" in line, line
    node.data.chmod(0o700)


# --- a full disk ---------------------------------------------------------------------------------------------------------------


def bulk(hosts: str, count: int = 300, size: int = 100_000) -> None:
    """More than what the journal has preallocated."""
    found = client(hosts)
    retry = KazooRetry(max_tries=-1, delay=0.05, max_delay=1.0)
    retry(found.ensure_path, "/bulk")
    for number in range(count):
        try:
            retry(found.create, f"/bulk/{number:06d}", bytes(size))
        except NodeExistsError:
            pass  # a try without an answer had been made
    found.stop()
    found.close()


def fill(path: Path) -> None:
    """Take all the room there is."""
    with pytest.raises(OSError, match="space"), path.open("wb", buffering=0) as file:
        while True:
            assert file.write(bytes(1 << 16)) > 0


@pytest.mark.timeout(180)
def test_a_full_disk_refuses_writes_and_recovers(tmp_path: Path) -> None:
    """A small tmpfs below one node's data: the others go on, and with room it follows again, with or without a restart."""
    if not may_mount():
        pytest.skip("mounting a tmpfs is not permitted here")
    folder = tmp_path / "cluster"
    cluster = Cluster(folder)
    small = cluster[3].data
    small.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=120m", "tmpfs", str(small)], capture_output=True, check=False)
    if mounted.returncode != 0:
        pytest.skip("mounting a tmpfs is not permitted here outside of a namespace")
    filler = small / "filler"
    try:
        for node in cluster.nodes.values():
            node.start()
        cluster.wait_serving()
        with writers(f"{cluster[1].address},{cluster[2].address}", 2) as load:
            load[0].wait_for_more()
            fill(filler)
            bulk(f"{cluster[1].address},{cluster[2].address}")
            eventually("node 3 says that its disk is full", lambda: "disk full" in cluster[3].output.read_text())
            for writer in load:
                writer.wait_for_more()
            filler.unlink(missing_ok=True)
            if not cluster[3].runs:
                cluster[3].start()
            cluster.wait_serving(3)
            load[0].wait_for_more()
        check(cluster.hosts, load)
        wait_agreed(cluster)
    finally:
        for node in cluster.nodes.values():
            node.end()
        subprocess.run(["umount", str(small)], check=True)
