"""The sizing rules to the digits that their sources print."""

from __future__ import annotations

import pytest

from loggos.base.errors import InputError
from loggos.planner.plan import sizing


def test_kafka_as_google_sizes_it() -> None:
    """50 MB/s in, 100 MB/s out, three replicas: 150, 200, 200, 20 cores."""
    assert sizing.kafka_cluster(50, 100, 3) == (150, 200, 200, 20, 80)


def test_kafka_cores_are_rounded_up() -> None:
    assert sizing.kafka_cluster(50.1, 100, 3).cores == 21


def test_partitions_by_throughput() -> None:
    """250 MB/s, 50 in and 25 out of one partition: 10."""
    assert sizing.partitions(250, 50, 25) == 10
    assert sizing.partitions(0, 50, 25) == 1


def test_redpanda_memory() -> None:
    """10,000 partitions of 3 replicas at 2 MB: 60 GB."""
    assert sizing.redpanda_memory_gb(10_000, 3) == 60
    assert sizing.redpanda_memory_gb(10_000, 3, 4) == 120
    assert sizing.redpanda_core_memory_gb(8) == 16


@pytest.mark.parametrize(("files", "objects", "expected"), [(1, 9, 1_350), (8, 16, 2_400), (1_024, 2_048, 307_200)])
def test_namenode_memory_of_one_gigabyte(files: int, objects: int, expected: int) -> None:
    """Alice 1 x 1,024 MB, Bob 8 x 128 MB, Carl 1,024 x 1 MB, blocks of 128 MB."""
    blocks = objects - files
    assert sizing.namenode_bytes(files, blocks) == expected


@pytest.mark.parametrize(("replication", "blocks", "printed"), [(1, 37.5e6, 36), (3, 12.5e6, 12)])
def test_namenode_heap_of_4800_terabytes(replication: int, blocks: float, printed: int) -> None:
    """The source prints 36 and 12 million blocks, and as many GB: it rounds 37.5 and 12.5 down."""
    exact = sizing.hdfs_blocks(4_800e6, 128, replication)
    assert exact == blocks
    assert sizing.namenode_heap_gb(exact) == pytest.approx(printed, rel=0.05)


def test_datanodes() -> None:
    assert sizing.datanode_extra_heap_gb(4_000_000) == 0
    assert sizing.datanode_extra_heap_gb(6_500_000) == 2.5
    assert sizing.datanodes(4_800) == 48
    assert sizing.datanodes(4_801) == 49


def test_etcd() -> None:
    assert sizing.etcd_member(False) == ((2, 4), (8, 8), 50, 10)
    assert sizing.etcd_member(True) == ((8, 16), (16, 64), 500, 2)
    assert sizing.etcd_recovery_s(100, 10) == 15


def test_zookeeper() -> None:
    assert [sizing.zookeeper_ensemble(losses) for losses in (0, 1, 2, 3)] == [3, 3, 5, 7]
    assert sizing.zookeeper_member(100, 10) == (1, False, True)
    assert sizing.zookeeper_member(10_000, 10).more_heap and sizing.zookeeper_member(0, 1_000).more_heap
    with pytest.raises(InputError, match="observers"):
        sizing.zookeeper_ensemble(4)


@pytest.mark.parametrize("bad", [(-1, 1, 3, 0.5), (1, -1, 3, 0.5), (1, 1, 0, 0.5), (1, 1, 3, 0), (1, 1, 3, 1.5)])
def test_impossible_flows_are_refused(bad: tuple[float, float, int, float]) -> None:
    with pytest.raises(InputError):
        sizing.kafka_cluster(*bad)
