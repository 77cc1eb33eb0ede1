"""The public Python API: synchronous, on kazoo, for Loggos and Apache ZooKeeper alike. May import loggos.base and kazoo, nothing
else.

with loggos.connect("127.0.0.1:2181") as cluster, cluster.lock("/locks/report") as held:
    held.set("/reports/last", b"...")     # refused by the server unless the lock is still held
"""

from __future__ import annotations

from loggos.client.cluster import Cluster, connect
from loggos.client.counter import Counter
from loggos.client.distributed_lock import DistributedLock
from loggos.client.election import Election
from loggos.client.errors import ConnectError, LockError, LockLost, LockTimeout, NotHeld, OutcomeUnknown, WriteRefused
from loggos.client.guarded import GuardedTransaction
from loggos.client.held import Held
from loggos.client.lock import Contender, Lock

__all__ = [
    "Cluster",
    "ConnectError",
    "Contender",
    "Counter",
    "DistributedLock",
    "Election",
    "GuardedTransaction",
    "Held",
    "Lock",
    "LockError",
    "LockLost",
    "LockTimeout",
    "NotHeld",
    "OutcomeUnknown",
    "WriteRefused",
    "connect",
]
