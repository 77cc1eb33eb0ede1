"""What a node says of itself."""

from __future__ import annotations

import asyncio
import re
import tomllib
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from kazoo.client import ENVI_VERSION

import loggos
from loggos.app.build import Node, Parts, service_options
from loggos.app.simulation.cluster import SimCluster
from loggos.app.simulation.recorder import LogRecorder
from loggos.base.ports import World
from loggos.node.config import NodeConfig
from loggos.node.levels import NO_LEVEL
from loggos.sim.world import SimWorld
from tests.node.kit import until

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


def test_a_node_makes_a_digest_of_its_whole_state_when_asked_and_tells_it() -> None:
    with SimWorld(3) as world:
        cluster = SimCluster(world, 3, Parts(), LogRecorder(world.loop.time))

        async def play() -> None:
            for host in cluster.hosts:
                cluster.start(host)
            await until(cluster.converged)
            nodes = cluster.running()
            before = nodes[0].status()
            assert (before["full_digest"], before["full_slot"], before["full_agreed_slot"]) == ("", 0, 0)
            assert before["level"] == NO_LEVEL, "nothing is written yet"
            for host, node in zip(cluster.hosts, nodes, strict=True):
                answer: list[dict[str, Any]] = []
                await asyncio.wait([host.start(_asked(node, answer), "ask")])
                assert answer == [{"slot": before["slot"], "full_digest": "", "full_slot": 0, "full_agreed_slot": 0}]
            await asyncio.sleep(1)
            for node in nodes:
                replica = node.member.replica
                assert replica is not None
                told = {"full_slot": before["slot"], "full_digest": f"{replica.registry.full_digest():016x}"}
                assert told.items() <= node.status().items()
                assert node.status()["full_agreed_slot"] == before["slot"]
            assert len({node.status()["full_digest"] for node in nodes}) == 1

        world.run(play(), limit_s=60)


def _asked(node: Node, answer: list[dict[str, Any]]) -> Callable[[World], Coroutine[Any, Any, None]]:
    async def main(ports: World) -> None:
        answer.append(node.scrub())

    return main


def test_a_node_that_starts_has_no_digest_to_tell() -> None:
    with SimWorld(3) as world:
        cluster = SimCluster(world, 3, Parts(), LogRecorder(world.loop.time))

        async def play() -> None:
            cluster.start(cluster.hosts[0])  # it waits for the other founding voters
            await asyncio.sleep(1)
            assert cluster.running()[0].scrub() == {"slot": 0, "full_digest": "", "full_slot": 0, "full_agreed_slot": 0}

        world.run(play(), limit_s=60)
