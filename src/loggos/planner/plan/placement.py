"""Partitions over nodes and zones: spread, even, and with few moves when nodes come or go.

Rules: the replicas of a partition stand on different nodes, and no zone holds more of them than it must (one, if there are as
many zones as replicas). Under that, zones get replicas by their number of nodes, and the nodes of a zone differ by at most one.
When the nodes change, as many replicas move as the new numbers make necessary, and none leaves a node that has not too many. The
same input gives the same placement. Pure; quick enough for a million replicas.
Source: the wrap-around rule of McNaughton, Scheduling with deadlines and loss functions (1959), for the spread; the rest is
counting: where one node has more partitions than another, one of them is on the first and not on the second.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from loggos.base.errors import InputError
from loggos.planner.maths import checks

Replicas = NDArray[np.int32]
LEADER_PASSES: Final = 3  # hand-overs after which leaders are even in practice; the choice of leaders moves no data


class Placement(NamedTuple):
    """`replicas[p]`: the nodes of partition p, the preferred leader first. `zone_of[n]`: the zone of node n."""

    replicas: Replicas
    zone_of: tuple[int, ...]

    @property
    def per_node(self) -> NDArray[np.int64]:
        return np.bincount(self.replicas.ravel(), minlength=len(self.zone_of))

    @property
    def leaders(self) -> NDArray[np.int64]:
        return np.bincount(self.replicas[:, 0], minlength=len(self.zone_of))


class Growth(NamedTuple):
    """A placement after its nodes changed, and how many replicas moved."""

    placement: Placement
    moved: int


def zone_shares(total: int, room: Sequence[int], nodes: Sequence[int], held: Sequence[int]) -> list[int]:
    """`total` replicas over zones of so many nodes: evenly per node, but at most `room` in a zone. Sums to `total`. What is left
    over by rounding goes to the zones that hold most beyond their share."""
    shares = [0] * len(nodes)
    open_zones = [zone for zone, size in enumerate(nodes) if size]
    left = total
    while left:
        assert open_zones, "the caller checked that all replicas fit"
        size = sum(nodes[zone] for zone in open_zones)
        full = [zone for zone in open_zones if left * nodes[zone] > room[zone] * size]
        if not full:
            for zone in open_zones:
                shares[zone] = left * nodes[zone] // size
            missing = left - sum(shares[zone] for zone in open_zones)
            # none of these is full: its exact share is at most its room, and a share that is rounded down is less
            uneven = [zone for zone in open_zones if left * nodes[zone] % size]
            order = sorted(uneven, key=lambda zone: (shares[zone] - held[zone], -(left * nodes[zone] % size), zone))
            for zone in order[:missing]:
                shares[zone] += 1
            break
        for zone in full:
            shares[zone] = room[zone]
            left -= room[zone]
        open_zones = [zone for zone in open_zones if zone not in full]
    assert sum(shares) == total
    return shares


def per_zone_max(replication: int, nodes: Sequence[int]) -> int:
    """How many replicas of one partition a zone must take: the least number with which all find room. InputError if none does."""
    for most in range(1, replication + 1):
        if sum(min(most, size) for size in nodes) >= replication:
            return most
    raise InputError(f"{replication} replicas need {replication} nodes, and there are {sum(nodes)}: add nodes or replicate less")


def place(partitions: int, replication: int, zone_of: Sequence[int]) -> Placement:
    """A fresh placement. `zone_of[n]`: the zone of node n, from 0. InputError if there are fewer nodes than replicas."""
    checks.count("partitions", partitions)
    checks.count("replication", replication)
    members = [[node for node, zone in enumerate(zone_of) if zone == number] for number in range(max(zone_of) + 1)]
    most = per_zone_max(replication, [len(nodes) for nodes in members])
    # a zone that takes several replicas of a partition is cut into as many parts that take one each
    parts = [nodes[cut::most] for nodes in members for cut in range(most) if nodes[cut::most]]
    shares = zone_shares(partitions * replication, [partitions] * len(parts), [len(part) for part in parts], [0] * len(parts))
    columns: list[list[NDArray[np.int32]]] = [[], []]  # partition numbers, and the node of each, part after part
    slot = 0
    for turn, (part, share) in enumerate(zip(parts, shares, strict=True)):
        places = np.arange(share)
        rounds, within = places // len(part), places % len(part)
        # every round is another rotation of the part's nodes, so that two nodes share few partitions
        nodes = np.array(part, dtype=np.int32)[(within + rounds * (turn + 1)) % len(part)]
        columns[0].append(((slot + places) % partitions).astype(np.int32))
        columns[1].append(nodes)
        slot += share
    order = np.argsort(np.concatenate(columns[0]), kind="stable")
    replicas = np.concatenate(columns[1])[order].reshape(partitions, replication)
    placed = lead(Placement(replicas, tuple(zone_of)))
    # parts of one zone may differ in size by a node: then some of its nodes hold more, until that is evened out
    return placed if most == 1 else regrow(placed, zone_of).placement


def lead(placement: Placement) -> Placement:
    """The same replicas with leaders chosen evenly: who leads least so far leads next, and then hands over what it leads beyond
    its share wherever one of the other replicas leads less."""
    led = [0] * len(placement.zone_of)
    rows: list[list[int]] = placement.replicas.tolist()
    for row in rows:
        first = min(range(len(row)), key=lambda place: (led[row[place]], row[place]))
        row[0], row[first] = row[first], row[0]
        led[row[0]] += 1
    for _ in range(LEADER_PASSES):
        for row in rows:
            least = min(range(len(row)), key=lambda place: (led[row[place]], place))
            if led[row[least]] + 1 < led[row[0]]:
                led[row[0]] -= 1
                row[0], row[least] = row[least], row[0]
                led[row[0]] += 1
    return Placement(np.array(rows, dtype=np.int32), placement.zone_of)


def regrow(placement: Placement, zone_of: Sequence[int], gone: Sequence[int] = ()) -> Growth:
    """The placement when nodes were added (`zone_of` is longer than before) or are `gone`. Replicas leave only nodes that have
    more than their new share, and zones that hold too many of one partition. InputError if replicas outnumber the nodes left."""
    assert tuple(zone_of[: len(placement.zone_of)]) == placement.zone_of, "a node keeps its number and its zone"
    move = _Move(placement, tuple(zone_of), tuple(sorted(gone)))
    move.separate()
    for crossing in (True, False):
        for node in range(len(zone_of)):
            move.relieve(node, crossing)
    return Growth(lead(Placement(np.array(move.rows, dtype=np.int32), tuple(zone_of))), move.moved)


class _Move:
    """One change of the nodes: what each holds, what it should hold, and the moves from the one to the other."""

    def __init__(self, placement: Placement, zone_of: tuple[int, ...], gone: tuple[int, ...]) -> None:
        self.zone_of, self.moved = zone_of, 0
        self.rows: list[list[int]] = placement.replicas.tolist()
        self.holds: list[dict[int, None]] = [{} for _ in zone_of]
        for partition, row in enumerate(self.rows):
            for node in row:
                self.holds[node][partition] = None
        here = np.ones(len(zone_of), dtype=bool)
        here[list(gone)] = False
        zones = range(max(zone_of) + 1)
        self.members = [[node for node in range(len(zone_of)) if zone_of[node] == zone and here[node]] for zone in zones]
        sizes = [len(nodes) for nodes in self.members]
        partitions, replication = placement.replicas.shape
        self.most = per_zone_max(replication, sizes)
        room = [partitions * min(self.most, size) for size in sizes]
        held = [sum(len(self.holds[node]) for node in range(len(zone_of)) if zone_of[node] == zone) for zone in zones]
        self.zone_target = zone_shares(partitions * replication, room, sizes, held)
        self.zone_held = held
        self.target = [0] * len(zone_of)
        for zone, nodes in enumerate(self.members):
            fullest = sorted(nodes, key=lambda node: (-len(self.holds[node]), node))
            for place, node in enumerate(fullest):
                self.target[node] = self.zone_target[zone] // len(nodes) + (place < self.zone_target[zone] % len(nodes))

    def surplus(self, node: int) -> int:
        return len(self.holds[node]) - self.target[node]

    def separate(self) -> None:
        """Move replicas of one partition apart that stand too close for the zones there are now."""
        zones = np.sort(np.array(self.zone_of)[np.array(self.rows)], axis=1)
        crowded = (zones[:, self.most :] == zones[:, : -self.most]).any(axis=1)
        for partition in np.flatnonzero(crowded).tolist():
            for zone in dict.fromkeys(self.zone_of[node] for node in self.rows[partition]):
                for _ in range(self.in_zone(partition, zone) - self.most):
                    close = [node for node in self.rows[partition] if self.zone_of[node] == zone]
                    free = [other for other in range(len(self.members)) if self.in_zone(partition, other) < self.most]
                    takers = [node for other in free for node in self.members[other] if partition not in self.holds[node]]
                    self.move(partition, max(close, key=self.surplus), min(takers, key=self.surplus))

    def relieve(self, node: int, crossing: bool) -> None:
        """Move what a node has too much to nodes that have too little: of other zones that lack replicas, or of its own."""
        own = self.zone_of[node]
        if self.surplus(node) <= 0 or (crossing and self.zone_held[own] <= self.zone_target[own]):
            return
        crowded = {partition: self.in_zone(partition, own) > self.most for partition in self.holds[node]}
        for partition in sorted(crowded, key=lambda partition: (not crowded[partition], partition)):
            if self.surplus(node) <= 0 or (crossing and self.zone_held[own] <= self.zone_target[own]):
                return
            to = self.taker(partition, own, crossing)
            if to is not None:
                self.move(partition, node, to)

    def taker(self, partition: int, own: int, crossing: bool) -> int | None:
        """The neediest node that may take the partition."""
        zones = [own]
        if crossing:
            lacking = [zone for zone in range(len(self.members)) if self.zone_held[zone] < self.zone_target[zone]]
            zones = [zone for zone in lacking if self.in_zone(partition, zone) < self.most]
        best, neediest = None, 0
        for zone in zones:
            for node in self.members[zone]:
                if self.surplus(node) < neediest and partition not in self.holds[node]:
                    best, neediest = node, self.surplus(node)
        return best

    def in_zone(self, partition: int, zone: int) -> int:
        return sum(self.zone_of[node] == zone for node in self.rows[partition])

    def move(self, partition: int, node: int, to: int) -> None:
        row = self.rows[partition]
        row[row.index(node)] = to
        del self.holds[node][partition]
        self.holds[to][partition] = None
        self.zone_held[self.zone_of[node]] -= 1
        self.zone_held[self.zone_of[to]] += 1
        self.moved += 1
