"""`hosts`: running ZooKeeper-compatible servers, one set per provider and test session (providers.py says how to add one)."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator

import pytest

import loggos
from loggos.client import Cluster
from tests.client.providers import PROVIDERS, Provider, Servers
from tests.client.proxy import Proxy


@pytest.fixture(scope="session", params=PROVIDERS, ids=lambda provider: provider.name)
def zookeeper_servers(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    provider: Provider = request.param
    why = provider.missing()
    if why is not None:
        pytest.skip(f"{provider.name}: {why}")
    servers = provider.start(tmp_path_factory.mktemp(provider.name))
    yield servers
    servers.stop()


@pytest.fixture
def hosts(zookeeper_servers: Servers) -> str:
    return zookeeper_servers.hosts


@pytest.fixture
def path() -> str:
    """A path of the test's own."""
    return f"/t/{uuid.uuid4().hex}"


@pytest.fixture
def connect(hosts: str) -> Iterator[Callable[..., Cluster]]:
    """Connect to the servers (or another address); everything is closed after the test."""
    opened: list[Cluster] = []

    def open_one(address: str = hosts, *, timeout_s: float = 6.0, **options: object) -> Cluster:
        cluster = loggos.connect(address, timeout_s=timeout_s, **options)  # type: ignore[arg-type]
        opened.append(cluster)
        return cluster

    yield open_one
    for cluster in opened:
        cluster.close()


@pytest.fixture
def proxy(hosts: str) -> Iterator[Proxy]:
    """A TCP proxy before the first server, which loses what it is told to lose."""
    host, port = hosts.split(",")[0].rsplit(":", 1)
    with Proxy(host, int(port)) as running:
        yield running
