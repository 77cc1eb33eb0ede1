"""What is left of nodes over zones and regions after losses, and how much of the time enough is left.

Rules: nodes are spread over all zones so that no two differ by more than one; the worst losses take the largest zones. Zones fail
with all their nodes, regions with all their zones, and apart from that every part fails on its own. Probabilities are exact for
one part of a system; for several parts that must all work they are a lower bound, close because it is exact in the failures that
they share: given which zones work, parts that each need enough of the same nodes help each other (Harris' inequality).
Source: planner/maths/availability.py; Harris, A lower bound for the critical probability (1960), lemma 4.1.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np

from loggos.base.errors import InputError
from loggos.base.limits import PLANNER_MEMBERS_MAX
from loggos.planner.maths import availability, checks
from loggos.planner.plan.intent import Site, Survive
from loggos.planner.types import Floats

ZONES_JOINT_MAX: Final = 14  # 2^14 states of zones are enumerated; with more zones parts are multiplied


class Losses(NamedTuple):
    """So many at once."""

    nodes: int
    zones: int = 0
    regions: int = 0

    def __str__(self) -> str:
        named = ((self.nodes, "node"), (self.zones, "zone"), (self.regions, "region"))
        return " and ".join(f"{count} {what}{'s' if count > 1 else ''}" for count, what in named if count) or "no loss"


class Part(NamedTuple):
    """Something that works while `needed` of its `total` equal members do, spread over the zones."""

    needed: int
    total: int


def cases(survive: Survive) -> list[Losses]:
    """The losses to be survived: each kind alone, or all at once."""
    if survive.together:
        return [Losses(survive.nodes, survive.zones, survive.regions)]
    alone = [Losses(survive.nodes), Losses(0, survive.zones), Losses(0, 0, survive.regions)]
    return [case for case in alone if any(case)] or [Losses(0)]


def layout(total: int, site: Site) -> list[list[int]]:
    """How many members stand in each zone of each region; regions take turns, then zones."""
    sizes = [[0] * site.zones for _ in range(site.regions)]
    order = [(region, zone) for zone in range(site.zones) for region in range(site.regions)]
    for place, (region, zone) in enumerate(order):
        sizes[region][zone] = total // len(order) + (place < total % len(order))
    return sizes


def survivors(total: int, site: Site, lost: Losses) -> int:
    """How many of `total` members are left when the fullest regions, then the fullest zones, then nodes are lost."""
    regions = sorted(layout(total, site), key=sum, reverse=True)[lost.regions :]
    zones = sorted((size for region in regions for size in region), reverse=True)[lost.zones :]
    return max(0, sum(zones) - lost.nodes)


def least_total(needed: int, site: Site, survive: Survive) -> int | None:
    """The fewest members of which `needed` are left in every case; None if no number of them does it."""
    low, high = needed - 1, max(1, needed)

    def enough(total: int) -> bool:
        return all(survivors(total, site, case) >= needed for case in cases(survive))

    while not enough(high):
        low, high = high, high * 2
        if high > 64 * PLANNER_MEMBERS_MAX:
            return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def utilisation_before_loss(nodes: int, lost: int, utilisation_max: float = 0.8) -> float:
    """How busy nodes may be so that those left after `lost` failures are not busier than `utilisation_max`: U (n - f) / n."""
    checks.count("nodes", nodes)
    if not 0 <= lost < nodes:
        raise InputError(f"{lost} of {nodes} nodes lost: at least one must be left")
    return checks.probability("utilisation_max", utilisation_max) * (nodes - lost) / nodes


def groups(total: int, site: Site) -> tuple[availability.Group, ...]:
    """The same layout as a tree of what fails together."""
    regions = []
    for sizes in layout(total, site):
        zones = availability.zones([size for size in sizes if size], site.node_availability, site.zone_availability)
        if zones:
            regions.append(availability.Group(site.region_availability, zones))
    return tuple(regions)


def part_availability(part: Part, site: Site) -> float:
    """The share of time in which enough members of one part work: exact."""
    if part.needed > part.total:
        return 0.0
    return joint_availability([part], site)


def joint_availability(parts: list[Part], site: Site) -> float:
    """The share of time in which every part works: exact for one part, a lower bound for several (see the top of this file)."""
    if any(part.needed > part.total for part in parts):
        return 0.0
    if site.regions * site.zones > ZONES_JOINT_MAX:
        whole = 1.0
        for part in parts:
            whole *= availability.k_of_n(part.needed, groups(part.total, site)) if part.needed else 1.0
        return whole
    from scipy.special import bdtrc

    states, shares = zone_states(site)
    # unlikely states come first in the sum, so that small digits are kept
    failing = np.ones(len(states))
    for part in parts:
        reached = states @ np.array([size for region in layout(part.total, site) for size in region], dtype=np.float64)
        works = np.where(reached >= part.needed, 1.0, 0.0)
        if part.needed:
            inside = np.maximum(reached, part.needed).astype(np.int64)
            works *= bdtrc(part.needed - 1, inside, site.node_availability)
        failing *= works
    return 1.0 - float(np.sort((1.0 - failing) * shares).sum())


def zone_states(site: Site) -> tuple[Floats, Floats]:
    """Every pattern of zones that work (one row each, 1 or 0), and how likely it is."""
    zones = site.regions * site.zones
    patterns = np.arange(1 << zones)[:, None] >> np.arange(zones) & 1
    up, down = site.zone_availability, 1 - site.zone_availability
    shares = np.ones(len(patterns))
    for region in range(site.regions):
        inside = patterns[:, region * site.zones : (region + 1) * site.zones].sum(axis=1)
        within = up**inside * down ** (site.zones - inside) * site.region_availability
        shares *= within + (inside == 0) * (1 - site.region_availability)
    assert abs(float(shares.sum()) - 1) < 1e-9
    return patterns.astype(np.float64), shares
