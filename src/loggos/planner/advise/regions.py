"""Where voters go among regions: every sensible layout, what a write and a read cost there, and what it survives.

A write is chosen when the leader and enough other voters have it, so it takes the round trip to the nearest of them that make a
majority; a client elsewhere adds its own round trip to the leader. More voters buy availability and never speed; regions buy
survival and cost round trips. Availability is exact. Pure.
Source: Lamport, Paxos Made Simple (2001); Abadi, Consistency Tradeoffs in Modern Distributed Database System Design (2012).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from loggos.planner.advise.needs import Needs
from loggos.planner.maths.availability import Group, majority

VOTERS_MAX: Final = 7  # more slow every write and survive what hardly happens
SHOWN_MAX: Final = 4


class Layout(NamedTuple):
    """Voters for each region, in the order of `Needs.regions`, with the leader in `leader`. Latencies in ms of network alone:
    `write_home` for clients in the home region, `write_far` for those in the worst one."""

    voters: tuple[int, ...]
    leader: str
    write_home_ms: float
    write_far_ms: float
    availability: float
    survives: str

    @property
    def total(self) -> int:
        return sum(self.voters)

    def words(self, regions: Sequence[str]) -> str:
        where = ", ".join(f"{count} in {region}" for region, count in zip(regions, self.voters, strict=True) if count)
        return f"{self.total} voter{'s' if self.total > 1 else ''}: {where}; the leader in {self.leader}"


def layouts(needs: Needs) -> list[Layout]:
    """All layouts of 1, 3, 5 or 7 voters, best first: those that survive what is asked and are available enough, by the latency
    of a write from home, then by the fewest voters, then by the latency from the worst region."""
    found = []
    shares: dict[tuple[int, ...], float] = {}  # regions are equal: how the voters are split decides, not where the parts are
    for total in range(1, VOTERS_MAX + 1, 2):
        for voters in spread(total, len(needs.regions)):
            split = tuple(sorted(voters, reverse=True))
            if split not in shares:
                shares[split] = up_share(needs, split)
            leaders = [region for region, count in zip(needs.regions, voters, strict=True) if count]
            found += [examine(needs, voters, leader, shares[split]) for leader in leaders]
    return sorted(found, key=lambda layout: order(needs, layout))


def order(needs: Needs, layout: Layout) -> tuple[bool, float, int, float, float, tuple[int, ...]]:
    """Smaller is better."""
    speed = (round(layout.write_home_ms, 6), layout.total, round(layout.write_far_ms, 6))
    return (not good(needs, layout), *speed, -layout.availability, tuple(-count for count in layout.voters))


RANKS: Final = ("nothing", "node", "zone", "region")


def good(needs: Needs, layout: Layout) -> bool:
    """It survives what is asked for, and is available enough."""
    return RANKS.index(layout.survives) >= RANKS.index(needs.survive) and layout.availability >= needs.availability


def spread(total: int, places: int) -> Iterator[tuple[int, ...]]:
    """Every way to put `total` voters into `places` regions."""
    if places == 1:
        yield (total,)
        return
    for first in range(total, -1, -1):
        for rest in spread(total - first, places - 1):
            yield (first, *rest)


def examine(needs: Needs, voters: tuple[int, ...], leader: str, available: float) -> Layout:
    chosen = commit_ms(needs, voters, leader)
    far = max(needs.rtt(region, leader) if region != leader else 0.0 for region in needs.regions)
    home = needs.rtt(needs.home_region, leader) if needs.home_region != leader else 0.0
    return Layout(voters, leader, home + chosen, far + chosen, available, survived(needs, voters))


def commit_ms(needs: Needs, voters: Sequence[int], leader: str) -> float:
    """From the leader to the nearest voters that make a majority with it, and back."""
    trips: list[float] = []
    for region, count in zip(needs.regions, voters, strict=True):
        others = count - (region == leader)
        trips += [needs.rtt(leader, region)] * others
    needed = sum(voters) // 2  # besides the leader
    return sorted(trips)[needed - 1] if needed else 0.0


def in_zones(count: int, zones: int) -> list[int]:
    return [count // zones + (zone < count % zones) for zone in range(zones)]


def survived(needs: Needs, voters: Sequence[int]) -> str:
    """The largest single loss after which a majority is left."""
    total = sum(voters)
    left_needed = total // 2 + 1
    if len(needs.regions) > 1 and total - max(voters) >= left_needed:
        return "region"
    fullest = max(max(in_zones(count, needs.zones)) for count in voters)
    if needs.zones * len(needs.regions) > 1 and total - fullest >= left_needed:
        return "zone"
    return "node" if total - 1 >= left_needed else "nothing"


def up_share(needs: Needs, voters: Sequence[int]) -> float:
    """The share of time in which a majority works."""
    regions = []
    for count in voters:
        zones = [
            Group(needs.zone_availability, (needs.node_availability,) * size) for size in in_zones(count, needs.zones) if size
        ]
        if zones:
            regions.append(Group(needs.region_availability, tuple(zones)))
    return majority(regions)


def worth_showing(needs: Needs, found: Sequence[Layout]) -> list[Layout]:
    """The best layout, and others that buy something with what they cost: more survival, more availability, less latency."""
    if not found:
        return []
    shown = [found[0]]
    for kind in ("zone", "region"):
        shown += [layout for layout in sorted(found, key=by_speed) if layout.survives == kind][:1]
    shown += sorted(found, key=lambda layout: (-RANKS.index(layout.survives), layout.write_far_ms, layout.total))[:1]
    shown += [layout for layout in sorted(found, key=by_speed) if layout.survives != "nothing"][:1]
    unique = dict.fromkeys(shown)
    return list(unique)[:SHOWN_MAX]


def by_speed(layout: Layout) -> tuple[float, int, float, tuple[int, ...]]:
    return (layout.write_home_ms, layout.total, layout.write_far_ms, tuple(-count for count in layout.voters))
