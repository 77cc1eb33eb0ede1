"""Which ports a local cluster takes: P + 10·(i−1) + {0 zookeeper, 1 kafka, 2 webhdfs, 3 console, 4 peer} for node i.

Without a base port, node 1 takes the standard ones (2181, 8080) where they are free, and the rest follow from a free base.
A node of whatever configuration looks whether it can listen (`refuse_taken`) before it touches anything.
"""

from __future__ import annotations

import errno
import os
import socket

from loggos.app.ports import CONSOLE, PEER, PORTS_PER_NODE, ZOOKEEPER, is_free, try_listening
from loggos.base.errors import ConfigError
from loggos.node.config import NodeConfig, Ports

STANDARD = Ports(zookeeper=2181, console=8080, peer=2185)


def ports_of(base: int, number: int) -> Ports:
    """Ports of node `number` (from 1) of a cluster at `base`."""
    start = base + PORTS_PER_NODE * (number - 1)
    return Ports(zookeeper=start + ZOOKEEPER, console=start + CONSOLE, peer=start + PEER)


def refuse_taken(config: NodeConfig) -> None:
    """ConfigError, before the node touches anything, if it could not listen on one of its ports. Should one be taken after
    this look, the node still says so when it listens."""
    host, wanted = config.host, dict[int, str]()
    for name, port in (
        ("zookeeper", config.ports.zookeeper),
        ("console", config.ports.console),
        ("peer", config.peer_addresses()[config.node][1]),
    ):
        try:
            try_listening(host, port)
        except OSError as error:
            raise ConfigError(why_not(name, host, port, error)) from None
        other = wanted.setdefault(port, name)
        if port and other != name:
            raise ConfigError(f"the {other} port and the {name} port are both {port} on {host}: give each its own")


def why_not(name: str, host: str, port: int, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"the {name} port {port} is in use on {host}: stop what uses it, or choose another"
    if error.errno in (errno.EACCES, errno.EPERM):
        return f"the {name} port {port} on {host} is not for this user: choose one above 1023, or give the process that right"
    said = error.strerror if isinstance(error, socket.gaierror) else os.strerror(error.errno or errno.EADDRNOTAVAIL)
    return f"cannot listen on {host} for the {name} port: {said}: name an address of this machine"


def taken(host: str, ports: Ports) -> list[int]:
    return [port for port in (ports.zookeeper, ports.console, ports.peer) if not is_free(host, port)]


def free_base(host: str, nodes: int, start: int = 21_810) -> int:
    """A base port whose whole range is free."""
    for base in range(start, 32_000, PORTS_PER_NODE * nodes):
        if not any(taken(host, ports_of(base, number)) for number in range(1, nodes + 1)):
            return base
    raise ConfigError(f"no {PORTS_PER_NODE * nodes} free ports in a row between {start} and 32000: name a range with --base-port")


def assign(host: str, nodes: int, base: int | None) -> list[Ports]:
    """Ports of every node. ConfigError if a named base has a port in use."""
    if base is not None:
        if not 1024 <= base <= 65_535 - PORTS_PER_NODE * nodes:
            highest = 65_535 - PORTS_PER_NODE * nodes
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
