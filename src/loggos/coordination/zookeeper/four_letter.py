"""Four-letter words: what an operator or a monitor asks a server before any session, in ZooKeeper's own texts so that
existing tools parse them.

A word outside the whitelist gets the refusal that ZooKeeper gives. Pure text over what the door and the service know.
Must not know: sockets, the log. Source: server/command/*.java, ServerStats.java, ServerCnxn.java, WatchManager.java of Apache
ZooKeeper 3.8.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from loggos.coordination.zookeeper import codec

if TYPE_CHECKING:
    from loggos.coordination.zookeeper.connection import Connection
    from loggos.coordination.zookeeper.server import ZooKeeperDoor

# every word that ZooKeeper knows: others are no words, but the length of an impossible frame
_KNOWN_WORDS: Final = b"conf cons crst dirs dump envi gtmk hash isro lead mntr orst ruok srst srvr stat stmk wchc wchp wchs"
KNOWN: Final = tuple(_KNOWN_WORDS.split())
NOT_SERVING: Final = "This ZooKeeper instance is not currently serving requests\n"
_UINT64: Final = 0xFFFFFFFFFFFFFFFF

_OPERATION_NAMES: Final = {
    codec.OP_CREATE: "CREA",
    codec.OP_CREATE2: "CREA",
    codec.OP_CREATE_CONTAINER: "CREA",
    codec.OP_DELETE: "DELE",
    codec.OP_EXISTS: "EXIS",
    codec.OP_GET_DATA: "GETD",
    codec.OP_SET_DATA: "SETD",
    codec.OP_GET_ACL: "GETA",
    codec.OP_SET_ACL: "SETA",
    codec.OP_GET_CHILDREN: "GETC",
    codec.OP_GET_CHILDREN2: "GETC",
    codec.OP_SYNC: "SYNC",
    codec.OP_PING: "PING",
    codec.OP_CHECK: "CHEC",
    codec.OP_MULTI: "MULT",
    codec.OP_MULTI_READ: "MLTR",
    codec.OP_SET_WATCHES: "SETW",
    codec.OP_SET_WATCHES2: "STW2",
    codec.OP_CHECK_WATCHES: "CHKW",
    codec.OP_REMOVE_WATCHES: "REMW",
    codec.OP_ADD_WATCH: "ADDW",
    codec.OP_CLOSE_SESSION: "CLOS",
}

_PEER_STATES: Final = {
    "leader": "leading - broadcast",
    "follower": "following - broadcast",
    "observer": "observing - broadcast",
}

Word = Callable[["ZooKeeperDoor"], str]


def is_known(word: bytes) -> bool:
    return word in KNOWN


def answer(door: ZooKeeperDoor, word: bytes) -> bytes:
    """The whole text that answers a known word."""
    name = word.decode("ascii")
    handler = WORDS.get(name)
    if handler is None or name not in door.service.options.words:
        return f"{name} is not executed because it is not in the whitelist.\n".encode()
    if handler in _NEED_SERVICE and not door.service.serving():
        return NOT_SERVING.encode()
    return handler(door).encode()


def hexadecimal(number: int) -> str:
    """As Java prints a long."""
    return f"0x{number & _UINT64:x}"


# --- the server ----------------------------------------------------------------------------------------------------------


def ruok(door: ZooKeeperDoor) -> str:
    return "imok"


def isro(door: ZooKeeperDoor) -> str:
    return "rw" if door.service.serving() else "null"


def _latencies_ms(door: ZooKeeperDoor) -> tuple[int, float, int]:
    counters = door.service.counters
    average = counters.latency_total_s * 1000 / counters.latency_count if counters.latency_count else 0.0
    return int(counters.latency_min_s * 1000), round(average, 4), int(counters.latency_max_s * 1000)


def _version(door: ZooKeeperDoor) -> str:
    options = door.service.options
    return f"{options.version}, built on {options.built_on}"


def _statistics(door: ZooKeeperDoor) -> str:
    service = door.service
    low, average, high = _latencies_ms(door)
    lines = [
        f"Latency min/avg/max: {low}/{average}/{high}",
        f"Received: {service.counters.packets_received}",
        f"Sent: {service.counters.packets_sent}",
        f"Connections: {len(door.connections)}",
        f"Outstanding: {door.outstanding()}",
        f"Zxid: {hexadecimal(service.index)}",
        f"Mode: {service.mode}",
        f"Node count: {len(service.machine.tree.nodes)}",
    ]
    if service.mode == "leader":
        lines.append("Proposal sizes last/min/max: -1/-1/-1")
    return "".join([line + "\n" for line in lines])


def srvr(door: ZooKeeperDoor) -> str:
    return f"Zookeeper version: {_version(door)}\n" + _statistics(door)


def stat(door: ZooKeeperDoor) -> str:
    clients = "".join([_brief(connection) + "\n" for connection in door.connections])
    return f"Zookeeper version: {_version(door)}\nClients:\n{clients}\n" + _statistics(door)


def mntr(door: ZooKeeperDoor) -> str:
    service = door.service
    low, average, high = _latencies_ms(door)
    sessions = service.machine.sessions.values()
    values: dict[str, object] = {
        "version": _version(door),
        "server_state": service.mode,
        "peer_state": _PEER_STATES.get(service.mode),
        "avg_latency": average,
        "max_latency": high,
        "min_latency": low,
        "packets_received": service.counters.packets_received,
        "packets_sent": service.counters.packets_sent,
        "num_alive_connections": len(door.connections),
        "outstanding_requests": door.outstanding(),
        "znode_count": len(service.machine.tree.nodes),
        "watch_count": len(service.watches),
        "approximate_data_size": service.census.whole().size_bytes,
        "ephemerals_count": sum(len(session.ephemerals) for session in sessions),
        "global_sessions": len(service.machine.sessions),
        "uptime": int((service.clock.monotonic() - door.started_s) * 1000),
        "last_client_zxid": hexadecimal(service.index),
    }
    if service.mode == "leader":
        values["pending_syncs"] = sum(connection.syncs for connection in door.connections)
    values.update(service.options.facts())
    for name, value in service.metrics().items():
        values.setdefault(f"loggos_{name}", value)
    return "".join([f"zk_{key}\t{value}\n" for key, value in values.items() if value is not None])


def conf(door: ZooKeeperDoor) -> str:
    options = door.service.options
    values: dict[str, object] = {
        "clientPort": door.port,
        "secureClientPort": -1,
        "tickTime": options.tick_ms,
        "maxClientCnxns": options.connections_per_address_max,
        "minSessionTimeout": options.timeout_ms_min,
        "maxSessionTimeout": options.timeout_ms_max,
        "serverId": door.service.node,
    }
    values.update(options.configuration)
    return "".join([f"{key}={value}\n" for key, value in values.items()])


def envi(door: ZooKeeperDoor) -> str:
    values = {"zookeeper.version": _version(door), **dict(door.service.options.environment)}
    return "Environment:\n" + "".join([f"{key}={value}\n" for key, value in values.items()])


# --- connections and sessions --------------------------------------------------------------------------------------------


def _peer(connection: Connection) -> str:
    counts = f"queued={connection.outstanding},recved={connection.received},sent={connection.sent}"
    return f" /{connection.address}:{connection.port}[1]({counts}"


def _brief(connection: Connection) -> str:
    return _peer(connection) + ")"


def _detail(connection: Connection) -> str:
    if not connection.session:
        return _brief(connection)
    service = connection.service
    low, average = connection.latency_least_s, connection.latency_average_s
    last_ms, low_ms, average_ms = int(connection.latency_last_s * 1000), int(low * 1000), int(average * 1000)
    return (
        f"{_peer(connection)},sid={hexadecimal(connection.session)},lop={_OPERATION_NAMES.get(connection.last_opcode, 'NA')}"
        f",est={connection.established_ms},to={connection.timeout_ms}"
        f",lcxid={hexadecimal(max(connection.last_xid, 0))},lzxid={hexadecimal(service.index)},lresp={service.clock.wall_ms()}"
        f",llat={last_ms},minlat={low_ms},avglat={average_ms},maxlat={int(connection.latency_max_s * 1000)})"
    )


def cons(door: ZooKeeperDoor) -> str:
    return "".join([_detail(connection) + "\n" for connection in door.connections]) + "\n"


def dump(door: ZooKeeperDoor) -> str:
    """Sessions and what they own. Deadlines are known to the leader only."""
    sessions = door.service.machine.sessions
    owners = [session for session in sessions.values() if session.ephemerals]
    lines = ["SessionTracker dump:", f"Session Sets (1)/({len(sessions)}):"]
    lines += [f"\t{hexadecimal(identity)}" for identity in sessions]
    lines += ["ephemeral nodes dump:", f"Sessions with Ephemerals ({len(owners)}):"]
    for session in owners:
        lines.append(f"{hexadecimal(session.id)}:")
        lines += ["\t" + path.decode("utf-8", "replace") for path in session.ephemerals]
    lines += ["Connections dump:", f"Connections Sets (1)/({len(door.connections)}):"]
    lines += [_brief(connection) for connection in door.connections]
    return "".join([line + "\n" for line in lines])


# --- watches -------------------------------------------------------------------------------------------------------------


def wchs(door: ZooKeeperDoor) -> str:
    summary = door.service.watches.summary()
    return f"{summary.connections} connections watching {summary.paths} paths\nTotal watches:{summary.watches}\n"


def wchc(door: ZooKeeperDoor) -> str:
    lines = []
    for client, paths in door.service.watches.by_watcher():
        lines.append(hexadecimal(client.session))
        lines += ["\t" + path.decode("utf-8", "replace") for path in paths]
    return "".join([line + "\n" for line in lines]) + "\n"


def wchp(door: ZooKeeperDoor) -> str:
    lines = []
    for path, clients in door.service.watches.by_path():
        lines.append(path.decode("utf-8", "replace"))
        lines += ["\t" + hexadecimal(client.session) for client in clients]
    return "".join([line + "\n" for line in lines]) + "\n"


WORDS: Final[dict[str, Word]] = {
    "ruok": ruok,
    "isro": isro,
    "srvr": srvr,
    "stat": stat,
    "mntr": mntr,
    "conf": conf,
    "cons": cons,
    "dump": dump,
    "envi": envi,
    "wchs": wchs,
    "wchc": wchc,
    "wchp": wchp,
}
_NEED_SERVICE: Final = (srvr, stat, mntr, conf, cons, dump, wchs, wchc, wchp)
