"""Ports on this machine: which of its ports a node of a local cluster takes, and whether a port is free."""

from __future__ import annotations

import socket
from typing import Final

PORTS_PER_NODE: Final = 10
ZOOKEEPER, CONSOLE, PEER = 0, 3, 4  # offsets of a node's ports from its first


def try_listening(host: str, port: int) -> None:
    """OSError if this process could not listen there now: bound as the node will bind, and let go at once."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    for family, kind, protocol, _, address in found:
        try:
            probe = socket.socket(family, kind, protocol)
        except OSError:
            continue  # a family that this machine does not have: the node will do without it too
        with probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            probe.bind(address)


def is_free(host: str, port: int) -> bool:
    try:
        try_listening(host, port)
    except OSError:
        return False
    return True
