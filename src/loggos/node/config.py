"""What one node is told: a TOML file, or the same record built by code.

    cell = "orders"            # name of the cell; a data directory of another cell is refused
    id = 1                     # this node
    data = "/var/lib/loggos"
    host = "127.0.0.1"         # where this node listens, on all its ports; that of its own address below unless told

    [ports]                    # zookeeper 2181, console 8080 unless told; the peer port is that of this node's address below
    zookeeper = 2181

    [voters]                   # every voter's peer address, this node's too: where the others reach it
    1 = "127.0.0.1:2185"
    2 = "127.0.0.1:2195"

`host` may be left out where this node's own address is one of its machine. It is needed where the others reach the node by
another (behind address translation), or by a name that this machine takes for itself (127.0.1.1 in /etc/hosts): then name
an address of the machine, or all of them ("0.0.0.0", "::"). One at which the others could never reach the node is refused:
loopback here and not there, or the other way round, or "0.0.0.0" for an IPv6 address.

Public addresses need TLS and authentication, or insecure = true. Unknown keys are errors that name the nearest known one.
Pure but for `load`.
"""

from __future__ import annotations

import difflib
import ipaddress
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from loggos.base.errors import ConfigError
from loggos.base.ids import NODE_ID_MAX, NodeId
from loggos.base.limits import CONTAINER_CHECK_MS, HEARTBEAT_MS, SESSION_TICK_MS_MAX, SESSION_TICK_MS_MIN

_NAME: Final = re.compile(r"(?=.{1,253}\Z)[A-Za-z0-9_-]{1,63}(\.[A-Za-z0-9_-]{1,63})*\.?")  # of a machine
_DIGEST: Final = re.compile(r"super:[A-Za-z0-9+/]{27}=")


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
    container_check_ms: int = CONTAINER_CHECK_MS  # a container goes when it was left empty for this long to twice as long


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

    @property
    def own_address(self) -> tuple[str, int]:
        """Where the other nodes reach this one."""
        return self.peer_addresses()[self.node]

    @property
    def client_address(self) -> str:
        """Where clients reach it: "host:port", or "" if the system is to choose the port."""
        host, port = self.own_address[0], self.ports.zookeeper
        return "" if not port else f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def parse_address(text: str) -> tuple[str, int]:
    """("host", port) of "host:port"; ConfigError otherwise."""
    host, _, port = text.rpartition(":")
    host = host.strip("[]")
    if not is_host(host) or not is_number(port, 65535):
        raise ConfigError(f"the address {text!r} is not host:port: write for example 127.0.0.1:2185")
    return host, int(port)


def is_host(text: str) -> bool:
    """An IP address, or a name that may be looked up."""
    return ip_of(text) is not None or _NAME.fullmatch(text) is not None


def ip_of(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def is_number(text: str, highest: int) -> bool:
    """A whole number from 1 to `highest`, in ASCII digits, and not longer than that."""
    return text.isascii() and text.isdigit() and len(text) <= len(str(highest)) and 0 < int(text) <= highest


def load(path: str | Path | None, changes: Mapping[str, Any] | None = None, *, insecure: bool = False) -> NodeConfig:
    """Read and check a configuration file; ConfigError says what, where and how to mend it. `changes`: keys that override the
    file's, those in [ports] and [coordination] one by one; without a path they are all there is."""
    data = {} if path is None else read(path)
    for key, value in (changes or {}).items():
        written = data.get(key)
        data[key] = {**written, **value} if key in ("ports", "coordination") and isinstance(written, dict) else value
    if insecure:
        data["insecure"] = True
    where = "command line" if path is None else f"{path} and the command line" if changes else str(path)
    return from_dict(data, where)


def read(path: str | Path) -> dict[str, Any]:
    """What the file says, unchecked. ConfigError: it cannot be read, or is not TOML."""
    try:
        return tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot read the configuration {path}: {error.strerror}: check the path and its permissions") from None
    except (ValueError, RecursionError) as error:  # not UTF-8, not TOML, numbers without end, tables in tables without end
        raise ConfigError(f"{path} is not TOML: {error}") from None


def from_dict(data: dict[str, Any], where: str = "configuration") -> NodeConfig:
    _refuse_unknown(data, NodeConfig, where, "")
    for name, kind in (("ports", Ports), ("coordination", Coordination)):
        if isinstance(data.get(name), dict):
            _refuse_unknown(data[name], kind, where, name + ".")
    try:
        config = msgspec.convert(data, NodeConfig)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{where}: {error}") from None
    _check_nodes(config, where)
    if "host" not in data:
        config = msgspec.structs.replace(config, host=config.own_address[0])
    check(config, where)
    _refuse_other_peer_port(data, config, where)
    return config


def _refuse_other_peer_port(data: dict[str, Any], config: NodeConfig, where: str) -> None:
    """Written twice, it must be the same."""
    port = config.own_address[1]
    if "peer" in data.get("ports", {}) and config.ports.peer != port:
        raise ConfigError(f"{where}: ports.peer is {config.ports.peer}, this node's address says {port}: leave ports.peer out")


def check(config: NodeConfig, where: str = "configuration") -> None:
    """Everything that types cannot say."""
    _check_nodes(config, where)
    if not config.cell or len(config.cell) > 100:
        raise ConfigError(f"{where}: cell needs a name of 1 to 100 characters")
    if not config.data or "\0" in config.data:
        raise ConfigError(f"{where}: data is {config.data!r}: name a directory")
    _check_addresses(config, where)
    _check_numbers(config, where)
    if config.coordination.superuser_digest and not _DIGEST.fullmatch(config.coordination.superuser_digest):
        raise ConfigError(f'{where}: coordination.superuser_digest is not "super:" and the base64 of SHA-1("super:PASSWORD")')
    refuse_public(config, where)
    _check_host(config, where)


def _check_nodes(config: NodeConfig, where: str) -> None:
    for name in (*config.voters, *config.learners):
        if not is_node_id(name):
            raise ConfigError(f"{where}: node ids are whole numbers from 1 to {NODE_ID_MAX}, not {name!r}")
    if str(config.id) not in {**config.voters, **config.learners}:
        raise ConfigError(f"{where}: id {config.id} is not among the voters or learners: add its own peer address there")
    for name in config.voters:
        if name in config.learners:
            raise ConfigError(f"{where}: node {name} is both a voter and a learner: keep one")
    if not config.voters:
        raise ConfigError(f"{where}: there is no voter: a cell needs at least one")


def is_node_id(name: str) -> bool:
    """A whole number from 1 to NODE_ID_MAX, written in the one way."""
    return is_number(name, NODE_ID_MAX) and name == str(int(name))


def _check_addresses(config: NodeConfig, where: str) -> None:
    taken: dict[tuple[str, int], NodeId] = {}
    for node, address in config.peer_addresses().items():
        if (ip := ip_of(address[0])) is not None and ip.is_unspecified:
            raise ConfigError(f"{where}: node {node} is said to be at {address[0]}: write where the others reach it")
        other = taken.setdefault(address, node)
        if other != node:
            raise ConfigError(f"{where}: nodes {other} and {node} are both at {address[0]}:{address[1]}: give each its own")


def _check_numbers(config: NodeConfig, where: str) -> None:
    for name, port in msgspec.structs.asdict(config.ports).items():
        if not 0 <= port < 65536:
            raise ConfigError(f"{where}: ports.{name} is {port}: ports are 0 to 65535, 0 for any free one")
    if not SESSION_TICK_MS_MIN <= config.coordination.tick_ms <= SESSION_TICK_MS_MAX:
        said = f"{where}: coordination.tick_ms is {config.coordination.tick_ms}"
        raise ConfigError(f"{said}: write {SESSION_TICK_MS_MIN} to {SESSION_TICK_MS_MAX}")
    if config.coordination.container_check_ms < HEARTBEAT_MS:
        check_ms = config.coordination.container_check_ms
        raise ConfigError(f"{where}: coordination.container_check_ms is {check_ms}: write {HEARTBEAT_MS} or more")
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


def _check_host(config: NodeConfig, where: str) -> None:
    host, own = config.host, config.own_address[0]
    if not is_host(host):
        raise ConfigError(f"{where}: host is {host!r}: write an address or a name of this machine, or leave it out")
    if not may_be_reached(host, own):
        raise ConfigError(f"{where}: this node would listen on {host} only, and the others look for it at {own}: leave host out")


def may_be_reached(host: str, at: str) -> bool:
    """Is a node that listens on `host` to be reached at `at`? Only what is sure counts against it: what a name stands for, and
    which addresses are translated on the way, is not known here."""
    listens, reached = ip_of(host), ip_of(at)
    if listens is not None and listens.is_unspecified:
        return reached is None or reached.version == listens.version
    if listens is not None and reached is not None:
        return listens == reached or not (listens.is_loopback or reached.is_loopback)
    address = listens or reached
    return "localhost" not in (host, at) or address is None or address.is_loopback


def is_loopback(host: str) -> bool:
    address = ip_of(host)
    return host == "localhost" if address is None else address.is_loopback


def _refuse_unknown(data: dict[str, Any], kind: type[msgspec.Struct], where: str, prefix: str) -> None:
    known = list(kind.__struct_fields__)
    for key in data:
        if key not in known:
            near = difflib.get_close_matches(key, known, 1)
            hint = f"did you mean {prefix}{near[0]}?" if near else f"known are {', '.join(prefix + k for k in known)}"
            raise ConfigError(f"{where}: unknown key {prefix}{key}: {hint}")
