"""Losses and availability against brute force over every state of every part."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loggos.base.errors import InputError
from loggos.planner.maths import availability
from loggos.planner.plan import quorum
from loggos.planner.plan.intent import Site, Survive
from loggos.planner.plan.survival import (
    Losses,
    Part,
    groups,
    joint_availability,
    layout,
    least_total,
    part_availability,
    survivors,
    utilisation_before_loss,
)

SHARES = st.sampled_from([0.5, 0.9, 0.99, 0.999])
SITES = st.builds(
    Site,
    regions=st.integers(1, 2),
    zones=st.integers(1, 2),
    node_availability=SHARES,
    zone_availability=SHARES,
    region_availability=SHARES,
)


def brute_force(parts: list[Part], site: Site) -> float:
    """Over every state of regions, zones and nodes; the members of every part are nodes of their own."""
    members = [(part, region, zone) for part in parts for region, sizes in enumerate(layout(part.total, site))
               for zone, size in enumerate(sizes) for _ in range(size)]  # fmt: skip
    zones = [(region, zone) for region in range(site.regions) for zone in range(site.zones)]
    whole = 0.0
    for regions_up in product((True, False), repeat=site.regions):
        for zones_up in product((True, False), repeat=len(zones)):
            share = 1.0
            for up in regions_up:
                share *= site.region_availability if up else 1 - site.region_availability
            for up in zones_up:
                share *= site.zone_availability if up else 1 - site.zone_availability
            working = [r for r, up in enumerate(regions_up) if up]
            standing = [place for place, up in zip(zones, zones_up, strict=True) if up and place[0] in working]
            for nodes_up in product((True, False), repeat=len(members)):
                chance = share
                for up in nodes_up:
                    chance *= site.node_availability if up else 1 - site.node_availability
                reached = [sum(up and member[0] is part and member[1:] in standing
                               for member, up in zip(members, nodes_up, strict=True)) for part in parts]  # fmt: skip
                if all(count >= part.needed for count, part in zip(reached, parts, strict=True)):
                    whole += chance
    return whole


@given(SITES, st.integers(1, 6), st.data())
def test_one_part_is_exact(site: Site, total: int, data: st.DataObject) -> None:
    part = Part(data.draw(st.integers(0, total)), total)
    assert part_availability(part, site) == pytest.approx(brute_force([part], site), abs=1e-12)


@given(SITES, st.integers(1, 40), st.data())
def test_the_two_ways_of_computing_agree(site: Site, total: int, data: st.DataObject) -> None:
    needed = data.draw(st.integers(1, total))
    assert part_availability(Part(needed, total), site) == pytest.approx(
        availability.k_of_n(needed, groups(total, site)), abs=1e-10
    )


def test_several_parts_on_nodes_of_their_own_are_exact() -> None:
    site = Site(regions=1, zones=2, node_availability=0.9, zone_availability=0.95)
    parts = [Part(2, 3), Part(1, 2)]
    assert joint_availability(parts, site) == pytest.approx(brute_force(parts, site), abs=1e-12)


def test_parts_on_the_same_nodes_are_at_least_that_available() -> None:
    """Both need two of the same three nodes: the truth is the availability of one of them."""
    site = Site(zones=3, node_availability=0.9, zone_availability=0.99)
    assert joint_availability([Part(2, 3), Part(2, 3)], site) <= part_availability(Part(2, 3), site)


@given(SITES, st.integers(1, 12), st.integers(0, 3), st.integers(0, 2), st.integers(0, 1))
def test_the_worst_losses_by_trying_them_all(site: Site, total: int, nodes: int, zones: int, regions: int) -> None:
    sizes = layout(total, site)
    flat = [size for region in sizes for size in region]
    assert sum(flat) == total and max(flat) - min(flat) <= 1
    worst = total
    for lost_regions in product((0, 1), repeat=site.regions):
        for lost_zones in product((0, 1), repeat=len(flat)):
            if sum(lost_regions) <= regions and sum(lost_zones) <= zones:
                left = [size for place, size in enumerate(flat)
                        if not lost_zones[place] and not lost_regions[place // site.zones]]  # fmt: skip
                worst = min(worst, max(0, sum(left) - nodes))
    assert survivors(total, site, Losses(nodes, zones, regions)) == worst


@given(SITES, st.integers(1, 30), st.integers(0, 3))
def test_the_least_total_is_the_least(site: Site, needed: int, nodes: int) -> None:
    survive = Survive(nodes=nodes, zones=min(1, site.regions * site.zones - 1))
    total = least_total(needed, site, survive)
    assert total is not None
    enough = [n for n in range(total + 1)
              if min(survivors(n, site, Losses(nodes)), survivors(n, site, Losses(0, survive.zones))) >= needed]  # fmt: skip
    assert enough == [total]


@pytest.mark.parametrize(
    ("nodes", "lost", "printed"), [(3, 1, 0.533), (5, 1, 0.640), (5, 2, 0.480), (9, 1, 0.711), (9, 2, 0.622)]
)
def test_headroom_to_the_printed_digits(nodes: int, lost: int, printed: float) -> None:
    assert round(utilisation_before_loss(nodes, lost), 3) == printed


def test_losing_every_node_leaves_no_headroom_to_speak_of() -> None:
    with pytest.raises(InputError, match="at least one"):
        utilisation_before_loss(3, 3)


def test_voters_are_the_fewest_that_do() -> None:
    site = Site(zones=3, node_availability=0.99, zone_availability=0.9999)
    three = quorum.voters(site, Survive(nodes=1), 0.999, 7)
    five = quorum.voters(site, Survive(nodes=2), 0.999, 7)
    assert isinstance(three, quorum.Group) and (three.total, three.needed) == (3, 2)
    assert isinstance(five, quorum.Group) and (five.total, five.per_zone) == (5, ((2, 2, 1),))
    assert three.availability == pytest.approx(brute_force([Part(2, 3)], site), abs=1e-12)


def test_two_zones_hold_no_majority_that_survives_one() -> None:
    found = quorum.voters(Site(zones=2), Survive(zones=1), 0.9, 7)
    assert isinstance(found, quorum.NoGroup) and "one more zone" in found.why


def test_more_losses_than_the_most_voters_survive() -> None:
    found = quorum.voters(Site(), Survive(nodes=4), 0.9, 7)
    assert isinstance(found, quorum.NoGroup) and "with 7, 3 would be left" in found.why and "voters.most" in found.why


def test_replicas_grow_until_enough_are_in_sync() -> None:
    """Two replicas in sync after losing one of two zones: two in each."""
    found = quorum.replicas(Site(zones=2, zone_availability=0.999), Survive(zones=1), 0.99, 3, 2)
    assert isinstance(found, quorum.Group) and found.total == 4
