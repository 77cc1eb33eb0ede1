"""The configuration: what may be written, and the one clear line for everything else."""

from __future__ import annotations

import base64
import hashlib
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest

from loggos.base.errors import ConfigError
from loggos.node import config
from loggos.node.config import Coordination, NodeConfig, Ports, check, from_dict, is_loopback, load, may_be_reached, parse_address

SUPER = "super:" + base64.b64encode(hashlib.sha1(b"super:secret").digest()).decode()
GOOD = {"id": 1, "data": "/d", "voters": {"1": "127.0.0.1:2185", "2": "127.0.0.1:2195"}}


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "node.toml"
    path.write_text(text)
    return path


def test_the_example_of_the_module_is_a_configuration(tmp_path: Path) -> None:
    lines = [line[4:] for line in (config.__doc__ or "").splitlines() if line.startswith("    ")]
    made = load(write(tmp_path, "\n".join(lines)))
    assert (made.cell, made.id, made.data, made.host) == ("orders", 1, "/var/lib/loggos", "127.0.0.1")
    assert made.voter_ids == [1, 2] and made.ports == Ports(zookeeper=2181)


def test_the_defaults_are_those_that_the_module_names() -> None:
    text = re.search(r"zookeeper (\d+), console (\d+) unless told", config.__doc__ or "")
    assert text is not None
    assert [int(number) for number in text.groups()] == [Ports().zookeeper, Ports().console]
    made = from_dict(GOOD)
    assert (made.cell, made.host, made.insecure, made.coordination.tick_ms) == ("loggos", "127.0.0.1", False, 2000)


def test_everything_can_be_written(tmp_path: Path) -> None:
    text = """
        cell = "c"
        id = 3
        data = "here"
        host = "::1"
        insecure = false
        [ports]
        zookeeper = 1
        console = 2
        peer = 3
        [coordination]
        tick_ms = 500
        superuser_digest = "SUPER"
        connections_per_address_max = 60
        container_check_ms = 700
        [voters]
        1 = "127.0.0.1:1"
        [learners]
        3 = "[::1]:3"
    """.replace("SUPER", SUPER)
    made = load(write(tmp_path, text))
    assert made == NodeConfig(
        id=3,
        voters={"1": "127.0.0.1:1"},
        data="here",
        cell="c",
        host="::1",
        ports=Ports(1, 2, 3),
        coordination=Coordination(500, SUPER, 60, 700),
        learners={"3": "[::1]:3"},
    )
    assert made.peer_addresses() == {1: ("127.0.0.1", 1), 3: ("::1", 3)}
    assert set(msgspec.structs.asdict(made)) == {*NodeConfig.__struct_fields__}


def changed(**changes: Any) -> dict[str, Any]:
    return {**GOOD, **changes}


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "a typo": (changed(voterz={}), "unknown key voterz: did you mean voters?"),
    "a typo in a table": (changed(ports={"zokeeper": 1}), r"unknown key ports.zokeeper: did you mean ports.zookeeper\?"),
    "a typo in coordination": (changed(coordination={"tick": 1}), "unknown key coordination.tick: .*coordination.tick_ms"),
    "a stranger": (changed(xyzzy=1), "unknown key xyzzy: known are id, voters, data, cell"),
    "a missing id": ({"data": "/d", "voters": {}}, "missing required field `id`"),
    "a missing voters": ({"data": "/d", "id": 1}, "missing required field `voters`"),
    "a missing data": ({"id": 1, "voters": {}}, "missing required field `data`"),
    "a wrong type": (changed(id="one"), r"Expected `int`, got `str` - at `\$.id`"),
    "a table that is none": (changed(ports=5), r"at `\$.ports`"),
    "a port as text": (changed(ports={"peer": "x"}), r"at `\$.ports.peer`"),
    "an id that is no number": (changed(voters={**GOOD["voters"], "x": "127.0.0.1:1"}), "from 1 to 255, not 'x'"),  # type: ignore[dict-item]
    "an id of zero": (changed(voters={**GOOD["voters"], "0": "127.0.0.1:1"}), "from 1 to 255, not '0'"),  # type: ignore[dict-item]
    "an id too large": (changed(learners={"256": "127.0.0.1:1"}), "from 1 to 255, not '256'"),
    "an id written twice": (changed(voters={**GOOD["voters"], "01": "127.0.0.1:1"}), "node ids .* not '01'"),  # type: ignore[dict-item]
    "an id in other digits": (changed(voters={**GOOD["voters"], "²": "127.0.0.1:1"}), "node ids .* not '²'"),  # type: ignore[dict-item]
    "not among the nodes": (changed(id=9), "id 9 is not among the voters or learners"),
    "no voter": (changed(voters={}, learners={"1": "127.0.0.1:1"}), "no voter"),
    "no cell": (changed(cell=""), "cell needs a name of 1 to 100 characters"),
    "a long cell": (changed(cell="x" * 101), "cell needs a name of 1 to 100 characters"),
    "voter and learner": (changed(learners={"2": "127.0.0.1:1"}), "node 2 is both a voter and a learner"),
    "two nodes at one address": (
        changed(voters={"1": "127.0.0.1:2185", "2": "127.0.0.1:2185"}),
        "nodes 1 and 2 are both at 127.0.0.1:2185",
    ),
    "no port": (changed(voters={"1": "127.0.0.1"}), "'127.0.0.1' is not host:port"),
    "port zero": (changed(voters={"1": "127.0.0.1:0"}), "is not host:port"),
    "port too high": (changed(voters={"1": "127.0.0.1:65536"}), "is not host:port"),
    "no host": (changed(voters={"1": ":2185"}), "is not host:port"),
    "a port in other digits": (changed(voters={"1": "127.0.0.1:²"}), r"'127.0.0.1:²' is not host:port"),
    "a port without end": (changed(voters={"1": "127.0.0.1:" + "9" * 5_000}), "is not host:port"),
    "an id without end": (changed(voters={"1" * 5_000: "127.0.0.1:1"}), "node ids are whole numbers"),
    "a host with a zero byte": (changed(voters={"1": "127.0.0.1\0:2185"}), r"'127.0.0.1\\x00:2185' is not host:port"),
    "a host that is no name": (changed(voters={"1": "a..b:2185"}), r"'a..b:2185' is not host:port"),
    "a node at all addresses": (changed(voters={"1": "0.0.0.0:2185"}, insecure=True), "node 1 is said to be at 0.0.0.0"),
    "an empty host": (changed(host="", insecure=True), "host is ''"),
    "another host": (
        changed(host="127.0.0.1", voters={"1": "192.0.2.1:2185"}, insecure=True),
        "would listen on 127.0.0.1 only, and the others look for it at 192.0.2.1: leave host out",
    ),
    "no directory": (changed(data=""), "data is '': name a directory"),
    "a directory with a zero byte": (changed(data="a\0b"), r"data is 'a\\x00b': name a directory"),
    "a tick without end": (changed(coordination={"tick_ms": 107_374_183}), "tick_ms is 107374183: write 50 to 107374182"),
    "a digest that is none": (changed(coordination={"superuser_digest": "super:nothash"}), "superuser_digest is not"),
    "another user's digest": (changed(coordination={"superuser_digest": "x" + SUPER}), "superuser_digest is not"),
    "a service port too high": (changed(ports={"zookeeper": 65536}), "ports.zookeeper .*65536"),
    "a negative port": (changed(ports={"console": -1}), "ports.console .*-1"),
    "a tick of nothing": (changed(coordination={"tick_ms": 0}), "coordination.tick_ms"),
    "a look at containers all the time": (
        changed(coordination={"container_check_ms": 49}),
        "coordination.container_check_ms is 49: write 50 or more",
    ),
    "two peer ports": (
        changed(ports={"peer": 9}),
        "ports.peer is 9, this node's address says 2185: leave ports.peer out",
    ),
    "a negative limit": (changed(coordination={"connections_per_address_max": -1}), "connections_per_address_max is below 0"),
    "a public host": (changed(host="10.0.0.1"), "10.0.0.1 is a public address .*--insecure"),
    "a host for all": (changed(host="0.0.0.0"), "0.0.0.0 is a public address"),
    "a public peer": (changed(voters={**GOOD["voters"], "3": "example.org:1"}), "example.org is a public address"),  # type: ignore[dict-item]
}


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_used_is_said_in_one_line(name: str) -> None:
    data, why = BAD[name]
    with pytest.raises(ConfigError, match=why) as caught:
        from_dict(data, "node.toml")
    text = str(caught.value)
    assert "\n" not in text and (text.startswith("node.toml: ") or "host:port" in text)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot read the configuration .*absent.toml: No such file"):
        load(tmp_path / "absent.toml")
    with pytest.raises(ConfigError, match="cannot read the configuration"):
        load(tmp_path)
    with pytest.raises(ConfigError, match=r"node.toml is not TOML: .*line 2"):
        load(write(tmp_path, "id = 1\nvoters = {\n"))
    (tmp_path / "node.toml").write_bytes(b"\xff\xfe")
    for text in (None, "id = " + "1" * 5_000, "x = " + "[" * 100_000):
        if text is not None:
            write(tmp_path, text)
        with pytest.raises(ConfigError, match="is not TOML"):
            load(tmp_path / "node.toml")


def test_without_a_host_a_node_listens_where_the_others_look_for_it(tmp_path: Path) -> None:
    """It would be waited for in vain at a public address if it listened on loopback."""
    text = 'id = 2\ndata = "d"\ninsecure = true\n[voters]\n1 = "192.0.2.1:2185"\n2 = "192.0.2.2:2185"\n'
    assert load(write(tmp_path, text)).host == "192.0.2.2"
    assert load(write(tmp_path, 'host = "0.0.0.0"\n' + text)).host == "0.0.0.0"
    learner = from_dict(changed(id=3, learners={"3": "[::1]:3"}))
    assert learner.host == "::1"


@pytest.mark.parametrize(
    ("host", "at", "expected"),
    [
        ("192.0.2.1", "192.0.2.1", True),
        ("10.0.0.5", "192.0.2.1", True),  # translated on the way
        ("127.0.0.1", "192.0.2.1", False),
        ("192.0.2.1", "127.0.0.1", False),
        ("127.0.0.1", "127.0.0.2", False),
        ("0.0.0.0", "192.0.2.1", True),
        ("0.0.0.0", "2001:db8::1", False),
        ("::", "2001:db8::1", True),
        ("::", "192.0.2.1", False),
        ("0.0.0.0", "node1", True),
        ("node1", "192.0.2.1", True),
        ("127.0.0.1", "node1", True),
        ("localhost", "127.0.0.1", True),
        ("localhost", "192.0.2.1", False),
        ("192.0.2.1", "localhost", False),
        ("::1", "localhost", True),
    ],
)
def test_whether_a_node_can_be_reached_where_it_listens(host: str, at: str, expected: bool) -> None:
    assert may_be_reached(host, at) is expected


def test_a_public_address_is_for_who_says_so(tmp_path: Path) -> None:
    text = 'id = 1\ndata = "d"\nhost = "10.0.0.1"\n[voters]\n1 = "10.0.0.1:2185"\n'
    with pytest.raises(ConfigError, match="public"):
        load(write(tmp_path, text))
    assert load(write(tmp_path, text), insecure=True).insecure
    assert load(write(tmp_path, "insecure = true\n" + text)).host == "10.0.0.1"


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("localhost", True),
        ("127.0.0.1", True),
        ("127.8.9.1", True),
        ("::1", True),
        ("0.0.0.0", False),
        ("::", False),
        ("box", False),
    ],
)
def test_loopback(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected


def test_where_clients_reach_a_node() -> None:
    """Where its peers do; a wildcard is no place to connect to."""
    assert from_dict(changed(ports={"zookeeper": 9})).client_address == "127.0.0.1:9"
    assert from_dict(changed(ports={"zookeeper": 0})).client_address == ""
    assert from_dict(changed(host="::", insecure=True, voters={"1": "[2001:db8::1]:1"})).client_address == "[2001:db8::1]:2181"


def test_addresses() -> None:
    assert parse_address("node_1.example.org.:1") == ("node_1.example.org.", 1)
    assert from_dict(changed(coordination={"tick_ms": 107_374_182})).coordination.tick_ms * 20 < 2**31
    assert parse_address("127.0.0.1:1") == ("127.0.0.1", 1)
    assert parse_address("[::1]:65535") == ("::1", 65535)
    check(from_dict(GOOD))
