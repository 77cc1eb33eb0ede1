"""Which ports a local cluster takes: P + 10·(i−1) + {0 zookeeper, 1 kafka, 2 webhdfs, 3 console, 4 peer} for node i.

Without a base port, node 1 takes the standard ones (2181, 8080) where they are free, and the rest follow from a free base.
"""

from __future__ import annotations

import socket

from loggos.base.errors import ConfigError
from loggos.node.config import Ports

STANDARD = Ports(zookeeper=2181, console=8080, peer=2185)
STEP = 10
ZOOKEEPER, CONSOLE, PEER = 0, 3, 4


def ports_of(base: int, number: int) -> Ports:
    """Ports of node `number` (from 1) of a cluster at `base`."""
    start = base + STEP * (number - 1)
    return Ports(zookeeper=start + ZOOKEEPER, console=start + CONSOLE, peer=start + PEER)


def is_free(host: str, port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def taken(host: str, ports: Ports) -> list[int]:
    return [port for port in (ports.zookeeper, ports.console, ports.peer) if not is_free(host, port)]


def free_base(host: str, nodes: int, start: int = 21_810) -> int:
    """A base port whose whole range is free."""
    for base in range(start, 32_000, STEP * nodes):
        if not any(taken(host, ports_of(base, number)) for number in range(1, nodes + 1)):
            return base
    raise ConfigError(f"no {STEP * nodes} free ports in a row between {start} and 32000: name a range with --base-port")


def assign(host: str, nodes: int, base: int | None) -> list[Ports]:
    """Ports of every node. ConfigError if a named base has a port in use."""
    if base is not None:
        if not 1024 <= base <= 65_535 - STEP * nodes:
            highest = 65_535 - STEP * nodes
            raise ConfigError(f"--base-port {base} leaves no room for {nodes} nodes: choose one from 1024 to {highest}")
        wanted = [ports_of(base, number) for number in range(1, nodes + 1)]
        busy = [port for ports in wanted for port in taken(host, ports)]
        if busy:
            raise ConfigError(f"port {busy[0]} is in use on {host}: stop what uses it, or choose another --base-port")
        return wanted
    standard = [STANDARD, *(ports_of(STANDARD.zookeeper, number) for number in range(2, nodes + 1))]
    if not any(taken(host, ports) for ports in standard):
        return standard
    found = free_base(host, nodes)
    return [ports_of(found, number) for number in range(1, nodes + 1)]
