"""A node that cannot listen says so in one line, before it has made or joined anything."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from loggos.app.ports import is_free
from loggos.base.errors import ConfigError
from loggos.cli.ports import assign, free_base, ports_of, refuse_taken
from loggos.cli.process import EXIT_USAGE, run_node
from loggos.node.config import NodeConfig, Ports

HOST = "127.0.0.1"


@contextmanager
def listening(host: str = HOST, family: socket.AddressFamily = socket.AF_INET) -> Iterator[int]:
    """A port that is in use."""
    with socket.create_server((host, 0), family=family) as server:
        yield server.getsockname()[1]


def config(data: Path, *, host: str = HOST, **ports: int) -> NodeConfig:
    """A node whose ports are all free but for those given."""
    free = ports_of(free_base(HOST, 1), 1)
    chosen = Ports(ports.get("zookeeper", free.zookeeper), ports.get("console", free.console), ports.get("peer", free.peer))
    return NodeConfig(id=1, voters={"1": f"{HOST}:{chosen.peer}"}, data=str(data), host=host, ports=chosen)


@pytest.mark.parametrize("name", ["zookeeper", "console", "peer"])
def test_a_port_in_use_is_one_line_and_nothing_else(tmp_path: Path, capfd: pytest.CaptureFixture[str], name: str) -> None:
    """On stderr, or through the pipe to whoever started the node and tells people itself."""
    read_end, write_end = os.pipe()
    with listening() as port:
        wanted = config(tmp_path / "data", host=HOST, **{name: port})
        why = f"the {name} port {port} is in use on {HOST}: stop what uses it, or choose another"
        assert run_node(wanted) == EXIT_USAGE
        assert capfd.readouterr() == ("", f"loggos: {why}\n")
        assert run_node(wanted, write_end) == EXIT_USAGE
    os.close(write_end)
    with os.fdopen(read_end) as pipe:
        (report,) = [json.loads(line) for line in pipe]
    assert report == {"error": why, "exit_code": EXIT_USAGE}
    assert capfd.readouterr() == ("", "")
    assert not (tmp_path / "data").exists()


def test_free_ports_are_not_refused_and_not_kept(tmp_path: Path) -> None:
    wanted = config(tmp_path, zookeeper=0)
    for _ in range(2):
        refuse_taken(wanted)
    with socket.create_server((HOST, wanted.ports.console)):
        assert not is_free(HOST, wanted.ports.console)
    assert is_free(HOST, wanted.ports.console)


def test_a_port_whose_connections_still_linger_is_free(tmp_path: Path) -> None:
    """A node that is restarted at once must get its port."""
    with socket.create_server((HOST, 0)) as server:
        port = server.getsockname()[1]
        client = socket.create_connection((HOST, port))
        accepted, _ = server.accept()
        accepted.close()  # first: this end lingers in TIME_WAIT
        client.close()
    refuse_taken(config(tmp_path, zookeeper=port))


def test_one_port_for_two_things_is_refused(tmp_path: Path) -> None:
    port = free_base(HOST, 1)
    with pytest.raises(ConfigError, match=f"zookeeper port and the console port are both {port}"):
        refuse_taken(config(tmp_path, zookeeper=port, console=port))
    refuse_taken(config(tmp_path, zookeeper=0, console=0))


def test_an_address_that_is_not_of_this_machine_is_said_to_be_so(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"192\.0\.2\.1 for the zookeeper port.*name an address of this machine"):
        refuse_taken(config(tmp_path, host="192.0.2.1"))


def test_the_name_that_peers_know_the_node_by_need_not_be_an_address_of_this_machine(tmp_path: Path) -> None:
    with listening() as port:
        behind = config(tmp_path, peer=port)
        known = NodeConfig(id=1, voters={"1": f"192.0.2.1:{port}"}, data=behind.data, host=HOST, ports=behind.ports)
        with pytest.raises(ConfigError, match=f"peer port {port} is in use"):
            refuse_taken(known)
    refuse_taken(known)


def test_names_and_both_families_are_looked_at(tmp_path: Path) -> None:
    with listening() as port:
        assert not is_free("localhost", port) and not is_free(HOST, port)
    if socket.has_ipv6 and is_free("::1", 0):
        assert is_free("::1", port)
        with listening("::1", socket.AF_INET6) as port:
            assert not is_free("::1", port)


def test_a_named_base_with_a_port_in_use_is_refused() -> None:
    base = free_base(HOST, 3)
    assert assign(HOST, 3, base) == [ports_of(base, number) for number in (1, 2, 3)]
    with socket.create_server((HOST, base + 13)), pytest.raises(ConfigError, match=f"port {base + 13} is in use"):
        assign(HOST, 3, base)
