"""Planted bugs: the simulator is itself tested. `python -m tests.sim.planted` hunts them in the default scenarios (rule 33)."""

from __future__ import annotations

from tests.sim.planted import consensus_bugs, coordination_bugs, node_bugs, storage_bugs
from tests.sim.planted.bug import Bug

# Not hunted by default: what they break is covered by another defence, or has not been seen to show in the default scenarios.
ELUSIVE: dict[str, str] = {
    "vouching-ignored": "a wiped voter must be taken back within the few slots in flight of an entry that another missed",
    "behind-compaction": "the pre-vote refuses a candidate behind another's compaction already",
    "old-generation-accepted": "the sequence numbers of a new generation begin anew, so an old command is a gap or a repeat",
    "sequence-gap-accepted": "a client with an unknown outcome is disconnected, so nothing is sent behind a gap",
    "snapshot-skips-events": "a node that lags behind the log's tail has been without a leader, and has sent its clients away",
    "no-fresh-lease": "what acted since its lease was granted gets another, so only sessions that never wrote die of it",
}

ALL: dict[str, Bug] = {
    bug.name: bug for module in (consensus_bugs, storage_bugs, node_bugs, coordination_bugs) for bug in module.BUGS
}
BUGS: dict[str, Bug] = {name: bug for name, bug in ALL.items() if name not in ELUSIVE}
