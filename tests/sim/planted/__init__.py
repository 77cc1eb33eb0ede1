"""Planted bugs: the simulator is itself tested. `python -m tests.sim.planted` hunts them in the default scenarios (rule 33)."""

from __future__ import annotations

from tests.sim.planted import consensus_bugs, coordination_bugs, node_bugs, storage_bugs
from tests.sim.planted.bug import Bug

BUGS: dict[str, Bug] = {
    bug.name: bug for module in (consensus_bugs, storage_bugs, node_bugs, coordination_bugs) for bug in module.BUGS
}
