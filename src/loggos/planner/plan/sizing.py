"""The sizing rules of well-known systems, as their makers publish them: one small function each, with its source.

They are rules of thumb from other people's machines. A plan is not made from them; it is held against them (crosschecks.py).
Units: MB are 10^6 bytes where data flow, GB of memory and heap as the source counts them. Pure.
"""

from __future__ import annotations

from math import ceil
from typing import Final, NamedTuple

from loggos.base.errors import InputError
from loggos.planner.maths import checks

HDFS_OBJECT_BYTES: Final = 150
HDFS_BLOCKS_PER_GB: Final = 1_000_000
DATANODE_REPLICAS_FREE: Final = 4_000_000
DATANODE_TB_MAX: Final = 100
REDPANDA_MB_PER_REPLICA: Final = 2
REDPANDA_GB_PER_CORE: Final = 2


class KafkaCluster(NamedTuple):
    """Google's sizing of a Kafka cluster. Flows in MB/s; memory in GiB."""

    write: float
    read: float
    write_equivalent: float
    cores: int
    memory_gib: int


def kafka_cluster(
    produce_mb_per_s: float, consume_mb_per_s: float, replication: int = 3, utilisation: float = 0.5, core_mb_per_s: float = 20.0
) -> KafkaCluster:
    """Cores and memory of a Kafka cluster: replicas write what is produced; consumers and followers read; a read costs a quarter
    of a write; a core carries 20 MB/s of writes, and 4 GiB go with it.

    Source: Google Cloud, Managed Service for Apache Kafka, "Plan your cluster size".
    """
    checks.count("replication", replication)
    checks.not_negative("produce_mb_per_s", produce_mb_per_s)
    checks.not_negative("consume_mb_per_s", consume_mb_per_s)
    if not 0 < utilisation <= 1:
        raise InputError(f"utilisation is {utilisation:g}: it must be above 0 and at most 1; the source begins with 0.5")
    write = produce_mb_per_s * replication
    read = consume_mb_per_s + produce_mb_per_s * (replication - 1)
    equivalent = write + read / 4
    cores = ceil(round(equivalent / checks.positive("core_mb_per_s", core_mb_per_s) / utilisation, 9))
    return KafkaCluster(write, read, equivalent, cores, 4 * cores)


def partitions(target_mb_per_s: float, produce_mb_per_s: float, consume_mb_per_s: float) -> int:
    """Partitions of a topic: at least max(t/p, t/c), where p and c are what one partition was measured to take in and give out.

    Source: Confluent, "5 Common Pitfalls When Using Apache Kafka".
    """
    checks.not_negative("target_mb_per_s", target_mb_per_s)
    slowest = min(checks.positive("produce_mb_per_s", produce_mb_per_s), checks.positive("consume_mb_per_s", consume_mb_per_s))
    return max(1, ceil(round(target_mb_per_s / slowest, 9)))


def redpanda_memory_gb(partitions: int, replication: int, mb_per_replica: float = REDPANDA_MB_PER_REPLICA) -> float:
    """Memory of the whole cluster that its partition replicas need (older releases: 4 MB each). Source: Redpanda, "Sizing"."""
    checks.count("partitions", partitions)
    checks.count("replication", replication)
    return partitions * replication * checks.positive("mb_per_replica", mb_per_replica) / 1000


def redpanda_core_memory_gb(cores: int) -> float:
    """The least memory of a node with so many cores. Source: Redpanda, "Sizing"."""
    return checks.count("cores", cores) * float(REDPANDA_GB_PER_CORE)


def namenode_bytes(files: int, blocks: int) -> int:
    """Memory for that many inodes and blocks at 150 bytes an object. Source: Cloudera, "HDFS overview", NameNode heap."""
    return (checks.count("files", files, 0) + checks.count("blocks", blocks, 0)) * HDFS_OBJECT_BYTES


def hdfs_blocks(raw_mb: float, block_mb: float = 128, replication: int = 3) -> float:
    """How many different blocks fit on disks of `raw_mb` in all. Source: Cloudera, "HDFS overview"."""
    checks.count("replication", replication)
    return checks.not_negative("raw_mb", raw_mb) / (checks.positive("block_mb", block_mb) * replication)


def namenode_heap_gb(blocks: float) -> float:
    """1 GB of heap for each million blocks. Source: Cloudera, "HDFS overview"."""
    return checks.not_negative("blocks", blocks) / HDFS_BLOCKS_PER_GB


def datanode_extra_heap_gb(replicas: int) -> float:
    """Heap beyond the default: 1 GB for each million replicas above 4 million. Source: Cloudera, "HDFS", DataNode heap."""
    return max(0, checks.count("replicas", replicas, 0) - DATANODE_REPLICAS_FREE) / 1_000_000


def datanodes(raw_tb: float) -> int:
    """The least number of DataNodes: none should hold more than 100 TB. Source: Cloudera, "HDFS", DataNode density."""
    return max(1, ceil(checks.not_negative("raw_tb", raw_tb) / DATANODE_TB_MAX))


class EtcdMember(NamedTuple):
    """What one member of an etcd cluster should have. `fsync_ms_max`: p99 of fdatasync of an 8 KB write."""

    cores: tuple[int, int]
    memory_gb: tuple[int, int]
    sequential_iops: int
    fsync_ms_max: float


def etcd_member(heavy: bool) -> EtcdMember:
    """Heavy: thousands of clients or tens of thousands of requests a second. Sources: etcd, "Hardware recommendations"; Red Hat,
    OpenShift, "Recommended etcd practices" (fdatasync under 10 ms, 2 ms when heavily loaded)."""
    return EtcdMember((8, 16), (16, 64), 500, 2.0) if heavy else EtcdMember((2, 4), (8, 8), 50, 10.0)


ETCD_FSYNC_P99_MS_MAX: Final = 20.0  # Red Hat: p99 of the fsync that etcd itself reports


def etcd_recovery_s(data_mb: float, disk_mb_per_s: float = 10.0) -> float:
    """How long a failed member needs to catch up: 100 MB in 15 s at 10 MB/s, two thirds of the disk's rate. Source: etcd,
    "Hardware recommendations"."""
    return checks.not_negative("data_mb", data_mb) * 1.5 / checks.positive("disk_mb_per_s", disk_mb_per_s)


class ZooKeeperMember(NamedTuple):
    """One server of an ensemble."""

    heap_gb: float
    more_heap: bool
    own_log_disk: bool


ZOOKEEPER_ENSEMBLES: Final = (3, 5, 7)


def zookeeper_member(ephemerals: int, clients: int) -> ZooKeeperMember:
    """1 GB of heap, more from 10,000 ephemeral nodes or 1,000 clients on; the log on a disk of its own. Sources: Apache Kafka,
    "ZooKeeper" in Operations; Cloudera, ZooKeeper service requirements."""
    checks.count("ephemerals", ephemerals, 0)
    checks.count("clients", clients, 0)
    return ZooKeeperMember(1.0, ephemerals >= 10_000 or clients >= 1_000, True)


def zookeeper_ensemble(losses: int) -> int:
    """3, 5 or 7 servers to survive 1, 2 or 3 losses; InputError beyond that. Source: Apache Kafka, "ZooKeeper" in Operations."""
    checks.count("losses", losses, 0)
    for servers in ZOOKEEPER_ENSEMBLES:
        if (servers - 1) // 2 >= losses:
            return servers
    raise InputError(f"no ensemble of 3, 5 or 7 servers survives {losses} losses: use 7, with observers for the reads")
