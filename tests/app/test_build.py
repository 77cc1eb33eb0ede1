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


def test_the_version_is_the_package_s() -> None:
    assert tomllib.loads(PYPROJECT.read_text())["project"]["version"] == loggos.__version__
