"""Integers that must not mix, and the arithmetic of ballots.

A ballot is one integer, `round << NODE_BITS | node`, so that comparing ballots is comparing integers and no two nodes ever
share one (Paxos Made Simple, section 2.4). Ballot 0 is "none": below every real ballot.
"""

from __future__ import annotations

from typing import NamedTuple, NewType

NodeId = NewType("NodeId", int)  # 1..255, given in the configuration
Incarnation = NewType("Incarnation", int)  # names one life of a node's data directory; 1 for the initial voters
Ballot = NewType("Ballot", int)
Slot = NewType("Slot", int)  # a place in the log, from 1; a slot holds one batch
Index = NewType("Index", int)  # counts operations over all machines, from 1; the zxid that clients see
Zxid = Index
SessionId = NewType("SessionId", int)  # 1..2**63-1

NODE_BITS = 8
NODE_ID_MAX = (1 << NODE_BITS) - 1
NO_BALLOT = Ballot(0)
NO_NODE = NodeId(0)


def make_ballot(round_number: int, node: NodeId) -> Ballot:
    """The ballot of `node` in `round_number` (from 1)."""
    assert 0 < node <= NODE_ID_MAX and round_number > 0, (round_number, node)
    return Ballot(round_number << NODE_BITS | node)


def ballot_node(ballot: Ballot) -> NodeId:
    """The node that owns a ballot; 0 for NO_BALLOT."""
    return NodeId(ballot & NODE_ID_MAX)


def ballot_round(ballot: Ballot) -> int:
    """The round of a ballot; 0 for NO_BALLOT."""
    return ballot >> NODE_BITS


class Stamps(NamedTuple):
    """What the leader stamps on a log entry: wall time for people, the cell's own clock for every deadline (rule 14), and the
    feature level, which says by what rules it is applied (rule 15; node/levels.py)."""

    wall_ms: int
    cell_ms: int
    level: int
