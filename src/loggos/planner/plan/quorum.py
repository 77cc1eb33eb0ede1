"""How many voters, how many replicas, and where: the fewest that survive the tolerated losses and are up often enough.

A cell of voters works while a majority does; replicated data can be written while `in_sync_min` replicas are there, and read
while one is. Voters and replicas are spread over zones and regions like nodes. Pure.
Source: Lamport, Paxos Made Simple (2001), for majorities; Apache Kafka, "Replication", for replicas in sync.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

from loggos.base.limits import PLAN_REPLICAS_EACH_MAX
from loggos.planner.plan.intent import Intent, Site, Survive
from loggos.planner.plan.survival import Losses, Part, cases, layout, part_availability, survivors


class Group(NamedTuple):
    """Voters of a cell, or replicas of one partition. `per_zone`: how many in each zone of each region. `read`: availability if
    one member is enough."""

    total: int
    needed: int
    per_zone: tuple[tuple[int, ...], ...]
    availability: float
    read: float
    why: str

    @property
    def part(self) -> Part:
        return Part(self.needed, self.total)


class NoGroup(NamedTuple):
    """None will do, and why; `nearly`: the best of those that were tried."""

    why: str
    nearly: Group


def majority(total: int) -> int:
    return total // 2 + 1


def voters(site: Site, survive: Survive, availability: float, most: int, least: int = 1) -> Group | NoGroup:
    """The smallest odd cell whose majority survives the losses and is up for that share of time."""
    counts = [count for count in range(1, most + 1, 2) if count >= least] or [most]
    return fewest(counts, majority, site, survive, availability, "voters")


def replicas(site: Site, survive: Survive, availability: float, least: int, in_sync_min: int) -> Group | NoGroup:
    """The fewest replicas, `least` or more, of which `in_sync_min` are left after the losses and for that share of time."""
    counts = range(least, PLAN_REPLICAS_EACH_MAX + 1)
    return fewest(counts, lambda count: min(in_sync_min, count), site, survive, availability, "replicas")


def fewest(
    counts: Iterable[int], needed_of: Callable[[int], int], site: Site, survive: Survive, availability: float, what: str
) -> Group | NoGroup:
    """The first number that will do; what was wrong with the one before it is the reason for it."""
    before, nearly = "", None
    for count in counts:
        group = examine(count, needed_of(count), site, before)
        bad = shortcoming(group, site, survive, availability)
        if not bad:
            return group
        if nearly is None or group.availability > nearly.availability:
            nearly = group
        before = f"with {count}, {bad}"
    assert nearly is not None
    return NoGroup(impossible(before, what, site, survive), nearly)


def examine(total: int, needed: int, site: Site, why: str = "") -> Group:
    sizes = tuple(tuple(region) for region in layout(total, site))
    up, read = part_availability(Part(needed, total), site), part_availability(Part(1, total), site)
    return Group(total, needed, sizes, up, read, why)


def shortcoming(group: Group, site: Site, survive: Survive, availability: float) -> str:
    """What is wrong with it, or nothing."""
    for case in cases(survive):
        left = survivors(group.total, site, case)
        if left < group.needed:
            return f"{left} would be left after losing {case}, and {group.needed} are needed"
    if group.availability < availability:
        return f"enough are up for {group.availability:.7g} of the time, and {availability:g} is asked for"
    return ""


def impossible(last: str, what: str, site: Site, survive: Survive) -> str:
    """The reason when no number of members will do."""
    lost = next((case for case in cases(survive) if case.zones or case.regions), Losses(0))
    zones = site.regions * site.zones
    if what == "voters" and 2 * (lost.zones + lost.regions * site.zones) >= zones:
        hint = "half of the zones can hold no majority: use one more zone or region, if only for a single voter"
        return f"no number of voters survives losing {lost} of {zones} zones: {hint}"
    more = "; raise voters.most" if what == "voters" else ""
    return f"{last}, and more are not tried: name more zones, relax the availability, or tolerate fewer losses{more}"


def chosen_parts(intent: Intent, availability: float) -> tuple[dict[str, Group], list[str]]:
    """Voters and replicas as far as they are planned; and reasons if one of them is impossible."""
    found: dict[str, Group | NoGroup] = {}
    if intent.voters is not None:
        found["voters"] = voters(intent.site, intent.survive, availability, intent.voters.most)
    for key, kept in (("data", intent.data), ("streams", intent.streams)):
        if kept is not None:
            found[key] = replicas(intent.site, intent.survive, availability, kept.replication, kept.in_sync_min)
    good = {key: group for key, group in found.items() if isinstance(group, Group)}
    return good, [f"{key}: {group.why}" for key, group in found.items() if isinstance(group, NoGroup)]
