"""Every test of this folder runs once per world."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from loggos.sim.world import SimWorld
from tests.ports.worlds import KINDS, HostSite, SimSite, Site


@pytest.fixture(params=KINDS)
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Site]:
    if request.param == "sim":
        with SimWorld(7) as world:
            yield SimSite(world)
    else:
        yield HostSite(tmp_path / "data", "uvloop" in request.param, "separate" not in request.param)
