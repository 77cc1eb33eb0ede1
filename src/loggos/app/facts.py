"""What a node tells operators beyond what its coordination service knows: the members of its cell, and how they fare."""

from __future__ import annotations

from loggos.base.ids import NodeId
from loggos.base.limits import WINDOW_SLOTS
from loggos.base.ports import World
from loggos.node.config import NodeConfig
from loggos.node.replica import Replica


def members_text(config: NodeConfig) -> bytes:
    """What /zookeeper/config says, in ZooKeeper's form. There is one port for peers, so it stands for both of ZooKeeper's. Of
    clients' addresses a node knows its own only."""
    lines = []
    for node, (host, port) in sorted(config.peer_addresses().items()):
        role = "participant" if str(node) in config.voters else "observer"
        own = f";{bracketed(config.host)}:{config.ports.zookeeper}" if node == config.node else ""
        lines.append(f"server.{node}={bracketed(host)}:{port}:{port}:{role}{own}")
    return "\n".join([*lines, "version=0"]).encode()


def bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def monitored(config: NodeConfig, world: World, replica: Replica) -> dict[str, object]:
    """Further lines of mntr, under ZooKeeper's names: descriptors of this process, and on a leader who follows it."""
    found: dict[str, object] = {}
    descriptors = world.descriptors()
    if descriptors is not None:
        found["open_file_descriptor_count"], found["max_file_descriptor_count"] = descriptors
    if replica.leader == config.node:
        following = [node for node in config.peer_addresses() if node != config.node and replica.mesh.is_up(node)]
        synced = [node for node in following if is_synced(replica, node)]
        found["learners"] = len(following)
        found["synced_followers"] = sum(str(node) in config.voters for node in synced)
        found["synced_observers"] = sum(str(node) in config.learners for node in synced)
    return found


def is_synced(replica: Replica, node: NodeId) -> bool:
    """Is the peer as far as this leader, but for what may be on its way?"""
    return replica.engine.peer_chosen(node) + WINDOW_SLOTS >= replica.status.chosen
