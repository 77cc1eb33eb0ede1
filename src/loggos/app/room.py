"""How many connections the doors of a node hold at once: shares of the descriptors that its process may have open.

The doors together never take what the node itself needs: its journal, its snapshots, the connections with its peers. Each door
has a share of its own, so that none can starve another. Pure.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from loggos.base.errors import ConfigError
from loggos.base.limits import (
    CONNECTIONS_MAX,
    CONNECTIONS_MIN,
    CONNECTIONS_PER_ADDRESS_MAX,
    CONSOLE_CONNECTIONS_MAX,
    DESCRIPTORS_PER_PEER,
    DESCRIPTORS_RESERVED,
    PEER_NEWCOMERS_MAX,
    SMALL_DOOR_SHARE,
)


@dataclass(frozen=True, slots=True)
class Room:
    """`clients`: of the ZooKeeper port, `clients_per_address` of them from one address. `newcomers`: of the peer port, that have
    not said who they are."""

    clients: int = CONNECTIONS_MAX
    clients_per_address: int = CONNECTIONS_PER_ADDRESS_MAX
    console: int = CONSOLE_CONNECTIONS_MAX
    newcomers: int = PEER_NEWCOMERS_MAX


def room_for(descriptors: int, peers: int) -> Room:
    """The shares of a process that may have so many descriptors. ConfigError: too few for a node."""
    least = math.ceil((_own(peers) + CONNECTIONS_MIN) / (1 - 2 / SMALL_DOOR_SHARE))
    if descriptors < least:
        raise ConfigError(
            f"this process may have {descriptors} files and connections open; a node with {peers} peers needs {least}, and "
            f"{descriptors_for_all(peers)} for all the clients that it can take: raise the hard limit "
            "(ulimit -Hn, LimitNOFILE of a systemd unit, --ulimit nofile of a container)"
        )
    small = descriptors // SMALL_DOOR_SHARE
    console, newcomers = min(CONSOLE_CONNECTIONS_MAX, small), min(PEER_NEWCOMERS_MAX, small)
    clients = min(CONNECTIONS_MAX, descriptors - _own(peers) - console - newcomers)
    return Room(clients, min(CONNECTIONS_PER_ADDRESS_MAX, clients // 2), console, newcomers)


def descriptors_for_all(peers: int) -> int:
    """How many descriptors leave every door all the room that it can use."""
    return _own(peers) + CONSOLE_CONNECTIONS_MAX + PEER_NEWCOMERS_MAX + CONNECTIONS_MAX


def _own(peers: int) -> int:
    return DESCRIPTORS_RESERVED + DESCRIPTORS_PER_PEER * peers
