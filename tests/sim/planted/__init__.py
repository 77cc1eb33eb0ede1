"""Planted bugs: the simulator is itself tested. `python -m tests.sim.planted` hunts them in the default scenarios (rule 33)."""

from __future__ import annotations

from tests.sim.planted import consensus_bugs, coordination_bugs, node_bugs, storage_bugs
from tests.sim.planted.bug import Bug

# Not hunted by default: what they break is covered by another defence, or has not been seen to show in the default scenarios.
# Tests of the engine have them all (tests/consensus).
ELUSIVE: dict[str, str] = {
    "vouching-ignored": "a wiped voter must be taken back within the few slots in flight of an entry that another missed",
    "follower-own-vote-of-any-ballot": "a write must outlast an election: once found after 82 seeds, once not in 200",
    "follower-leaders-vote-of-any-ballot": "what one leader says arrives in order; the explorer delivers it in any",
    "behind-compaction": "the pre-vote refuses a candidate behind another's compaction already",
}

ALL: dict[str, Bug] = {
    bug.name: bug for module in (consensus_bugs, storage_bugs, node_bugs, coordination_bugs) for bug in module.BUGS
}
BUGS: dict[str, Bug] = {name: bug for name, bug in ALL.items() if name not in ELUSIVE}
