"""What one node is told: a TOML file, or the same record built by code.

    cell = "orders"            # name of the cell; a data directory of another cell is refused
    id = 1                     # this node
    data = "/var/lib/loggos"
    host = "127.0.0.1"         # what clients and peers reach; a public address needs TLS and authentication, or insecure = true

    [ports]                    # zookeeper 2181, console 8080 unless told; the peer port is that of this node's address below
    zookeeper = 2181

    [voters]                   # every voter's peer address, this node's too
    1 = "127.0.0.1:2185"
    2 = "127.0.0.1:2195"

Unknown keys are errors that name the nearest known one. Pure but for `load`.
"""

from __future__ import annotations

import difflib
import ipaddress
import tomllib
from pathlib import Path
from typing import Any

import msgspec

from loggos.base.errors import ConfigError
from loggos.base.ids import NODE_ID_MAX, NodeId
from loggos.base.limits import SESSION_TICK_MS_MIN


class Ports(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """TCP ports; 0 asks the system for a free one. `peer` need not be written: this node's own address among voters or learners
    counts."""

    zookeeper: int = 2181
    console: int = 8080
    peer: int = 2185


class Coordination(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """ZooKeeper's knobs."""

    tick_ms: int = 2_000
    superuser_digest: str = ""  # "super:" + base64(sha1("super:password"))
    connections_per_address_max: int = 0  # 0: no limit of its own


class NodeConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One node. `voters`: node id → "host:port" of its peer port, this node's own among them."""

    id: int
    voters: dict[str, str]
    data: str
    cell: str = "loggos"
    host: str = "127.0.0.1"
    ports: Ports = Ports()
    coordination: Coordination = Coordination()
    learners: dict[str, str] = {}
    insecure: bool = False

    @property
    def node(self) -> NodeId:
        return NodeId(self.id)

    @property
    def voter_ids(self) -> list[NodeId]:
        return sorted(NodeId(int(name)) for name in self.voters)

    def peer_addresses(self) -> dict[NodeId, tuple[str, int]]:
        """Every voter's and learner's peer address, by node id, ascending."""
        merged = {**self.voters, **self.learners}
        return {NodeId(int(name)): parse_address(merged[name]) for name in sorted(merged, key=int)}


def parse_address(text: str) -> tuple[str, int]:
    """("host", port) of "host:port"; ConfigError otherwise."""
    host, colon, port = text.rpartition(":")
    if not colon or not host or not port.isdigit() or not 0 < int(port) < 65536:
        raise ConfigError(f"the address {text!r} is not host:port: write for example 127.0.0.1:2185")
    return host.strip("[]"), int(port)


def load(path: str | Path, *, insecure: bool = False) -> NodeConfig:
    """Read and check a configuration file; ConfigError says what, where and how to mend it."""
    try:
        data = tomllib.loads(Path(path).read_text())
    except OSError as error:
        raise ConfigError(f"cannot read the configuration {path}: {error.strerror}: check the path and its permissions") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not TOML: {error}") from None
    return from_dict({**data, "insecure": True} if insecure else data, str(path))


def from_dict(data: dict[str, Any], where: str = "configuration") -> NodeConfig:
    _refuse_unknown(data, NodeConfig, where, "")
    for name, kind in (("ports", Ports), ("coordination", Coordination)):
        if isinstance(data.get(name), dict):
            _refuse_unknown(data[name], kind, where, name + ".")
    try:
        config = msgspec.convert(data, NodeConfig)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{where}: {error}") from None
    check(config, where)
    _refuse_other_peer_port(data, config, where)
    return config


def _refuse_other_peer_port(data: dict[str, Any], config: NodeConfig, where: str) -> None:
    """Written twice, it must be the same."""
    port = config.peer_addresses()[config.node][1]
    if "peer" in data.get("ports", {}) and config.ports.peer != port:
        raise ConfigError(f"{where}: ports.peer is {config.ports.peer}, this node's address says {port}: leave ports.peer out")


def check(config: NodeConfig, where: str = "configuration") -> None:
    """Everything that types cannot say."""
    for name in (*config.voters, *config.learners):
        if not is_node_id(name):
            raise ConfigError(f"{where}: node ids are whole numbers from 1 to {NODE_ID_MAX}, not {name!r}")
    if str(config.id) not in {**config.voters, **config.learners}:
        raise ConfigError(f"{where}: id {config.id} is not among the voters or learners: add its own peer address there")
    if not config.cell or len(config.cell) > 100:
        raise ConfigError(f"{where}: cell needs a name of 1 to 100 characters")
    for name in config.voters:
        if name in config.learners:
            raise ConfigError(f"{where}: node {name} is both a voter and a learner: keep one")
    if not config.voters:
        raise ConfigError(f"{where}: there is no voter: a cell needs at least one")
    _check_addresses(config, where)
    _check_numbers(config, where)
    refuse_public(config, where)


def is_node_id(name: str) -> bool:
    """A whole number from 1 to NODE_ID_MAX, written in the one way."""
    return name.isascii() and name.isdigit() and name == str(int(name)) and 0 < int(name) <= NODE_ID_MAX


def _check_addresses(config: NodeConfig, where: str) -> None:
    taken: dict[tuple[str, int], NodeId] = {}
    for node, address in config.peer_addresses().items():
        other = taken.setdefault(address, node)
        if other != node:
            raise ConfigError(f"{where}: nodes {other} and {node} are both at {address[0]}:{address[1]}: give each its own")


def _check_numbers(config: NodeConfig, where: str) -> None:
    for name, port in msgspec.structs.asdict(config.ports).items():
        if not 0 <= port < 65536:
            raise ConfigError(f"{where}: ports.{name} is {port}: ports are 0 to 65535, 0 for any free one")
    if config.coordination.tick_ms < SESSION_TICK_MS_MIN:
        raise ConfigError(f"{where}: coordination.tick_ms is {config.coordination.tick_ms}: write {SESSION_TICK_MS_MIN} or more")
    if config.coordination.connections_per_address_max < 0:
        raise ConfigError(f"{where}: coordination.connections_per_address_max is below 0: write 0 for no limit of its own")


def refuse_public(config: NodeConfig, where: str) -> None:
    """Safe by default: there is no TLS yet, so only loopback, unless told otherwise."""
    hosts = [config.host, *(address[0] for address in config.peer_addresses().values())]
    for host in hosts:
        if not config.insecure and not is_loopback(host):
            raise ConfigError(
                f"{where}: {host} is a public address and this node has neither TLS nor authentication: "
                "use 127.0.0.1, or set insecure = true (--insecure) on a network that you trust"
            )


def is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _refuse_unknown(data: dict[str, Any], kind: type[msgspec.Struct], where: str, prefix: str) -> None:
    known = list(kind.__struct_fields__)
    for key in data:
        if key not in known:
            near = difflib.get_close_matches(key, known, 1)
            hint = f"did you mean {prefix}{near[0]}?" if near else f"known are {', '.join(prefix + k for k in known)}"
            raise ConfigError(f"{where}: unknown key {prefix}{key}: {hint}")
