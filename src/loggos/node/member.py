"""One member of the cell from its data directory to a running replica: recovery, first start, and coming back from loss.

    identity    journal and snapshots            becomes
    none        -                                a founding voter, if every other voter is reachable and none has begun (rule 6); else a lost voter
    present     sound                            what it was
    present     damaged (not a torn tail)        set aside; a lost voter
    another cell's, or a newer version's         ConfigError, nothing touched

A lost voter takes a fresh incarnation, vouches for nothing, and follows until the log has taken it back (docs/ARCHITECTURE.md). A member whose
directory is *virgin* does not campaign before it has seen that every voter has an identity. It must not know any service.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from loggos.base.errors import ConfigError, DamageError
from loggos.base.ids import NO_BALLOT, Ballot, Incarnation, NodeId, Slot
from loggos.base.ports import World
from loggos.consensus.types import HardState, Member as Voter, Membership, Restored
from loggos.node.config import NodeConfig
from loggos.node.metrics import Metrics
from loggos.node.peers import Mesh
from loggos.node.registry import Machine, Registry
from loggos.node.replica import Engine, Logger, Replica
from loggos.node.transfer import decode_meta
from loggos.node.wire import PROTOCOL, Hello, Standing, Type
from loggos.storage.identity import Identity
from loggos.storage.journal import Journal
from loggos.storage.snapshots import SnapshotReader, SnapshotStore

FOUNDING: Incarnation = Incarnation(1)
INCARNATION_BITS = 48


@dataclass(frozen=True, slots=True)
class NodeParts:
    """What a member is made of; simulation and tests hand over others."""

    engine: Callable[..., Engine]
    open_journal: Callable[..., object]
    open_snapshots: Callable[..., object]
    load_identity: Callable[..., object]
    write_identity: Callable[..., object]
    set_aside_damaged: Callable[..., object]
    make_machines: Callable[[], Iterable[Machine]]
    replica: type[Replica] = Replica
