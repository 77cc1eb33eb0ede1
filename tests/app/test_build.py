"""What a node says of itself."""

from __future__ import annotations

import re
import tomllib
from datetime import UTC, datetime
from pathlib import Path

from kazoo.client import ENVI_VERSION

import loggos
from loggos.app.build import service_options
from loggos.node.config import NodeConfig

PYPROJECT = Path(__file__).parents[2] / "pyproject.toml"
OPTIONS = service_options(NodeConfig(id=1, voters={"1": "127.0.0.1:2185"}, data="data"))


def test_clients_read_the_version_of_zookeeper_and_people_ours() -> None:
    kazoo = ENVI_VERSION.match(OPTIONS.version)
    assert kazoo is not None and kazoo.group(1) == "3.8.4"
    line = f"Zookeeper version: {OPTIONS.version}, built on {OPTIONS.built_on}"
    assert re.match(r"Zookeeper version: (\d+)\.(\d+)\.(\d+)-.*", line), "what aiozk wants"
    assert OPTIONS.version.endswith(f"-loggos-{loggos.__version__}")


def test_the_date_is_that_of_the_release_as_zookeeper_writes_dates() -> None:
    built = datetime.strptime(OPTIONS.built_on, "%Y-%m-%d %H:%M UTC").replace(tzinfo=UTC)
    assert built.date().isoformat() == loggos.__released__ and built.year >= 2026


def config(node: int, voters: int = 1, learners: int = 0, host: str = "127.0.0.1") -> NodeConfig:
    addresses = {str(n): f"127.0.0.1:{2175 + 10 * n}" for n in range(1, voters + learners + 1)}
    return NodeConfig(
        id=node,
        voters={name: addresses[name] for name in list(addresses)[:voters]},
        learners={name: addresses[name] for name in list(addresses)[voters:]},
        data="data",
        host=host,
    )


def test_a_learner_is_an_observer_and_only_who_is_alone_is_standalone() -> None:
    def said(config: NodeConfig) -> tuple[bool, bool]:
        options = service_options(config)
        return options.standalone, options.observer

    assert said(config(1)) == (True, False)
    assert said(config(1, learners=1)) == (False, False)
    assert said(config(2, learners=1)) == (False, True)
    assert said(config(4, voters=3, learners=1)) == (False, True)


def test_the_members_are_said_as_zookeeper_says_them() -> None:
    assert service_options(config(2, voters=2, learners=1, host="::1")).members.decode() == (
        "server.1=127.0.0.1:2185:2185:participant\n"
        "server.2=127.0.0.1:2195:2195:participant;[::1]:2181\n"
        "server.3=127.0.0.1:2205:2205:observer\n"
        "version=0"
    )


def test_the_version_is_the_package_s() -> None:
    assert tomllib.loads(PYPROJECT.read_text())["project"]["version"] == loggos.__version__
