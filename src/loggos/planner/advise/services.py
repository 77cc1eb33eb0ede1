"""What Loggos has today and what is planned, with the figures that its own benchmarks measured. Data.

Keep it in step with the table in README.md and with bench/RESULTS.md: advice that promises what is not there is worse than none.
"""

from __future__ import annotations

from typing import Final, Literal, NamedTuple

State = Literal["works today", "a library today", "planned"]


class Service(NamedTuple):
    """`instead`: the well-known system for what Loggos does not do yet, or not at that size."""

    name: str
    what: str
    state: State
    instead: str


SERVICES: Final = (
    Service("coordination", "locks, elections, configuration, membership (as ZooKeeper)", "works today", "Apache ZooKeeper"),
    Service("streams", "topics and consumer groups (Kafka's protocol)", "planned", "Apache Kafka or Redpanda"),
    Service("files", "replicated files (WebHDFS)", "planned", "HDFS, or an object store such as S3"),
    Service("jobs", "batch jobs near their data", "planned", "Dask or Apache Spark"),
    Service("fleet", "placing processes on machines", "planned", "Nomad or Kubernetes"),
    Service("balance", "spreading requests over servers", "a library today", "HAProxy or Envoy"),
)

# Three nodes on one machine with 2 cores, 100-byte values, fdatasync by a quorum before every acknowledgement: bench/RESULTS.md,
# 2026-11-23. Another machine differs; `loggos bench coordination` measures it.
WRITES_PER_S: Final = 28_412.0  # 50 clients, one write at a time each; p99 4.5 ms
WRITES_PIPELINED_PER_S: Final = 213_203.0
READS_PER_S: Final = 95_972.0
WRITE_MS: Final = 0.64  # one client, median
FAILOVER_MS: Final = 31.0  # the leader is killed: worse of two medians; 1.0 s if it is only paused
NODE_MIB: Final = 152.0  # resident, after that run
ITEM_KB_MAX: Final = 1024.0  # one request
TREE_GB_MAX: Final = 2.0  # a rule of thumb: all of it is in every node's memory, and is read at every start
CLIENTS_MAX: Final = 10_000  # a rule of thumb: sessions of one cell
NODES_MAX: Final = 7  # what Loggos is built for
STREAM_MB_PER_S_MAX: Final = 200.0  # a rule of thumb: seven nodes, three replicas, pure Python
FILES_TB_MAX: Final = 50.0  # a rule of thumb: seven machines with a few disks each
