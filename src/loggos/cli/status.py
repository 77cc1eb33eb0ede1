"""`loggos status`: asks each node with the four-letter word `srvr`, so it works on Loggos and on Apache ZooKeeper alike.

A node of Loggos knows where clients reach the others, and its console tells: so one address is enough to ask a whole cell.
"""

from __future__ import annotations

import http.client
import json
import socket
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from loggos.base.errors import ConfigError
from loggos.base.limits import STATUS_BYTES_MAX
from loggos.node.config import parse_address

FIELDS = {
    "Zookeeper version": "version",
    "Latency min/avg/max": "latency",
    "Connections": "connections",
    "Outstanding": "outstanding",
    "Zxid": "zxid",
    "Mode": "mode",
    "Node count": "znodes",
}


def four_letter(host: str, port: int, word: bytes, timeout_s: float) -> str:
    """The whole answer. OSError when the node cannot be reached in time."""
    with socket.create_connection((host, port), timeout=timeout_s) as connection:
        connection.sendall(word)
        pieces = []
        while piece := connection.recv(65_536):
            pieces.append(piece)
    return b"".join(pieces).decode("utf-8", "replace")


def parse_srvr(text: str) -> dict[str, Any]:
    answer: dict[str, Any] = {}
    for line in text.splitlines():
        name, colon, value = line.partition(":")
        if colon and name in FIELDS:
            answer[FIELDS[name]] = value.strip()
    return answer


def ask(address: str, timeout_s: float) -> dict[str, Any]:
    host, port = parse_address(address)
    try:
        text = four_letter(host, port, b"srvr", timeout_s)
    except OSError as error:
        return {"address": address, "error": f"{error.strerror or error}: is the node running?"}
    answer = parse_srvr(text)
    if "mode" not in answer:
        return {"address": address, "error": text.strip()[:200] or "an empty answer: the node serves nobody now"}
    return {"address": address, **answer}


def whole_cell(address: str, timeout_s: float) -> list[str]:
    """The addresses of all nodes of the cell, as far as the node at this one knows them; this one alone if it does not tell."""
    host, port = parse_address(address)
    try:
        values = dict(line.split("=", 1) for line in four_letter(host, port, b"conf", timeout_s).splitlines() if "=" in line)
        console = http.client.HTTPConnection(host, int(values["consolePort"]), timeout=timeout_s)
        console.request("GET", "/status")
        told = json.loads(console.getresponse().read(STATUS_BYTES_MAX))
        known = {int(number): str(at) for number, at in told["nodes"].items() if at}
        for at in known.values():
            parse_address(at)
        return [at for _, at in sorted({**known, int(told["node"]): address}.items())]
    except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError, AttributeError, ConfigError):
        return [address]  # Apache ZooKeeper, or a console that is not to be reached from here


def ask_all(cluster: str, timeout_s: float, only: bool = False) -> list[dict[str, Any]]:
    """Every address of `cluster` ("host:port,…"), at once, in order; of a single one the whole cell, unless it is `only` that.
    ConfigError: not addresses."""
    addresses = [part.strip() for part in cluster.split(",") if part.strip()]
    if not addresses:
        raise ConfigError("--cluster names no address: write for example 127.0.0.1:2181")
    for address in addresses:
        parse_address(address)
    if len(addresses) == 1 and not only:
        addresses = whole_cell(addresses[0], timeout_s)
    with ThreadPoolExecutor(max_workers=len(addresses)) as pool:
        return list(pool.map(lambda address: ask(address, timeout_s), addresses))
