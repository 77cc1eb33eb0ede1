"""The composition root: one node out of parts and a world. The only place that knows services, worlds and the log together.

The simulated, the embedded and the real node differ only in the world they are given; a planted bug differs only in the parts.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from loggos import __released__, __version__
from loggos.app.facts import members_text, monitored
from loggos.app.room import Room
from loggos.base.ports import World
from loggos.coordination import figures
from loggos.coordination.machine import CoordinationMachine
from loggos.coordination.service import ZOOKEEPER_VERSION, CoordinationService, ServiceOptions
from loggos.coordination.zookeeper.server import ZooKeeperDoor
from loggos.node.config import NodeConfig
from loggos.node.member import Member, MemberParts
from loggos.node.replica import Logger, Replica


@dataclass(frozen=True, slots=True)
class Parts:
    """What a node is made of."""

    member: MemberParts = field(default_factory=MemberParts)
    member_type: type[Member] = Member
    machine: type[CoordinationMachine] = CoordinationMachine
    service: type[CoordinationService] = CoordinationService
    door: type[ZooKeeperDoor] = ZooKeeperDoor


def service_options(config: NodeConfig, room: Room = Room()) -> ServiceOptions:
    """What the coordination service is told. The version that monitoring reads is the ZooKeeper release whose protocol is spoken,
    then ours; its date is that of our release."""
    shown = (
        ("clientPort", str(config.ports.zookeeper)),
        ("dataDir", config.data),
        ("tickTime", str(config.coordination.tick_ms)),
        ("serverId", str(config.id)),
        ("cell", config.cell),
        ("consolePort", str(config.ports.console)),
    )
    return ServiceOptions(
        super_digest=config.coordination.superuser_digest.encode() or None,
        tick_ms=config.coordination.tick_ms,
        container_check_ms=config.coordination.container_check_ms,
        connections_max=room.clients,
        connections_per_address_max=config.coordination.connections_per_address_max or room.clients_per_address,
        version=f"{ZOOKEEPER_VERSION}-loggos-{__version__}",
        built_on=f"{__released__} 00:00 UTC",
        environment=(("loggos.version", __version__), ("host.name", config.host)),
        configuration=shown,
        standalone=len(config.peer_addresses()) == 1,
        observer=str(config.id) in config.learners,
        members=members_text(config),
    )


class Node:
    """A running node. `zookeeper_port` is the real one, also when the configuration asked for any. `room`: for connections."""

    def __init__(
        self,
        config: NodeConfig,
        world: World,
        log: Logger,
        fatal: Callable[[BaseException], None],
        parts: Parts,
        room: Room = Room(),
    ) -> None:
        self.config, self.world, self.log = config, world, log
        self._parts, self._room = parts, room
        self.machine = parts.machine()
        self.member = parts.member_type(config, world, lambda: [self.machine], log, fatal, parts.member, room.newcomers)
        self.service: CoordinationService | None = None
        self.door: ZooKeeperDoor | None = None
        self.zookeeper_port = config.ports.zookeeper

    async def start(self) -> None:
        """Returns when clients can connect; a leader may not be known yet. ConfigError, DamageError: nothing was
        overwritten. OSError: a port is taken."""
        await self.member.start(self._attach)
        assert self.service is not None
        self.door = self._parts.door(self.service, lambda: self.member.metrics.count("client_connections_refused"))
        server = await self.door.listen(self.world.network, self.config.host, self.config.ports.zookeeper)
        self.zookeeper_port = server.port
        figures.register_door(self.door, self.member.metrics)
        self.log("serves", zookeeper=f"{self.config.host}:{self.zookeeper_port}")

    def _attach(self, replica: Replica) -> None:
        world = self.world
        facts = partial(monitored, self.config, world, replica)
        options = replace(service_options(self.config, self._room), facts=facts)
        self.service = self._parts.service(
            replica, self.machine, world.clock, world.entropy, world.spawner, node=self.config.node, options=options
        )
        self.service.start()
        self._gauges(replica)

    def _gauges(self, replica: Replica) -> None:
        metrics = self.member.metrics
        metrics.gauge("log_index", "Operations applied", lambda: replica.index)
        metrics.gauge("log_slot", "Slots applied", lambda: replica.registry.slot)
        metrics.gauge("leader", "Whom this node believes to lead; 0 for none", lambda: replica.leader)
        assert self.service is not None
        figures.register(self.service, metrics)

    @property
    def serves(self) -> bool:
        """A leader is known, and this node is a member in good standing that has applied what it knows to be chosen."""
        replica = self.member.replica
        return self.door is not None and replica is not None and bool(replica.leader)

    @property
    def is_leader(self) -> bool:
        """Does this node lead, as far as it knows?"""
        replica = self.member.replica
        return replica is not None and replica.leader == self.config.node

    def status(self) -> dict[str, Any]:
        """For `loggos status` and the console: JSON-able."""
        replica = self.member.replica
        if replica is None:
            return {"node": self.config.id, "cell": self.config.cell, "role": "starting", "leader": 0}
        status, agreement = replica.status, replica.agreement
        return {
            "node": self.config.id,
            "cell": self.config.cell,
            "version": __version__,
            "role": status.role.name.lower(),
            "leader": int(replica.leader),
            "ballot": int(status.ballot),
            "slot": int(replica.registry.slot),
            "chosen": int(status.chosen),
            "index": int(replica.index),
            "level": replica.level,
            "digest": f"{replica.registry.rolling_digest:08x}",
            "agreed_slot": int(agreement.rolling.agreed_slot),
            **self.full_digest(),
            "writes_stopped": replica.writes_stopped,
            "sessions": len(self.machine.sessions),
            "znodes": len(self.machine.tree.nodes),
            "zookeeper": f"{self.config.host}:{self.zookeeper_port}",
            "nodes": {str(int(node)): address for node, address in self.member.client_addresses().items()},
        }

    def full_digest(self) -> dict[str, Any]:
        """The newest digest of the whole state that this node has made, its slot, and the newest slot that a quorum agreed on."""
        replica = self.member.replica
        full = replica.agreement.full if replica is not None else None
        slot, digest = (full and full.newest) or (0, 0)
        shown = f"{digest:016x}" if slot else ""
        return {"full_digest": shown, "full_slot": int(slot), "full_agreed_slot": int(full.agreed_slot) if full else 0}

    def scrub(self) -> dict[str, Any]:
        """Begin to make a digest of the whole state as it is now, in steps beside the log, and tell what `full_digest` tells: ask
        again until its slot has come."""
        replica = self.member.replica
        if replica is None or replica.stopped:
            return {"slot": 0, **self.full_digest()}
        replica.agreement.scrub()
        return {"slot": int(replica.registry.slot), **self.full_digest()}

    async def stop(self, grace_s: float = 0.3) -> None:
        """Graceful: leadership is handed back first, clients are disconnected, nothing is lost."""
        replica = self.member.replica
        if replica is not None and not replica.stopped and replica.leader == self.config.node and len(self.config.voters) > 1:
            replica.resign("planned stop")
            await asyncio.sleep(min(grace_s, 0.05))
        if self.door is not None:
            self.door.close()
        if self.service is not None:
            self.service.stop()
        self.member.stop()
        self.log("stopped")


async def start_node(
    config: NodeConfig, world: World, log: Logger, fatal: Callable[[BaseException], None], parts: Parts | None = None
) -> Node:
    """A node that serves clients (see Node.start for what it raises)."""
    node = Node(config, world, log, fatal, parts or Parts())
    await node.start()
    return node
