"""Voters among regions: quorums, latencies, survival and availability, by hand and by brute force."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loggos.planner.advise.needs import Needs
from loggos.planner.advise.regions import (
    Layout,
    commit_ms,
    examine,
    good,
    in_zones,
    layouts,
    spread,
    survived,
    up_share,
    worth_showing,
)


def needing(regions: list[str], **more: Any) -> Needs:
    """Needs of locks: what is shared decides nothing here."""
    return Needs(uses=["locks"], regions=regions, **more)


THREE = needing(regions=["a", "b", "c"], rtt_ms={"a-b": 40, "a-c": 95, "b-c": 80}, survive="region", latency_ms=200)
ROOMS = needing(regions=["a"], zones=3, survive="zone")


def test_a_write_waits_for_the_nearest_majority() -> None:
    assert commit_ms(THREE, (1, 1, 1), "a") == 40
    assert commit_ms(THREE, (1, 1, 1), "b") == 40
    assert commit_ms(THREE, (1, 1, 1), "c") == 80
    assert commit_ms(THREE, (2, 2, 1), "a") == 40  # its neighbour, and one 40 ms away
    assert commit_ms(THREE, (3, 1, 1), "a") == 0.5  # two neighbours are enough
    assert commit_ms(THREE, (1, 2, 2), "c") == 80
    assert commit_ms(THREE, (1, 0, 0), "a") == 0


def test_the_recommended_layout_survives_a_region_at_the_least_latency() -> None:
    best = layouts(THREE)[0]
    assert (best.voters, best.leader, best.write_home_ms, best.write_far_ms) == ((1, 1, 1), "a", 40, 135)
    assert best.survives == "region" and good(THREE, best)


def test_home_elsewhere_puts_the_leader_there() -> None:
    best = layouts(needing(regions=["a", "b", "c"], rtt_ms=THREE.rtt_ms, survive="region", home="b"))[0]
    assert (best.leader, best.write_home_ms) == ("b", 40)


def test_without_survival_of_a_region_the_voters_stay_together() -> None:
    best = layouts(needing(regions=["a", "b", "c"], zones=3, rtt_ms=THREE.rtt_ms, survive="zone"))[0]
    assert (best.voters, best.write_home_ms) == ((3, 0, 0), 1.0)


def test_two_regions_survive_no_region() -> None:
    needs = needing(regions=["a", "b"], survive="region")
    assert all(survived(needs, layout.voters) != "region" for layout in layouts(needs))
    assert not good(needs, layouts(needs)[0])


@given(st.integers(1, 3), st.integers(1, 3), st.data())
def test_what_is_survived_by_losing_it(regions: int, zones: int, data: st.DataObject) -> None:
    needs = needing(regions=[f"r{number}" for number in range(regions)], zones=zones)
    voters = tuple(data.draw(st.lists(st.integers(0, 3), min_size=regions, max_size=regions).filter(any)))
    majority = sum(voters) // 2 + 1
    by_region = regions > 1 and all(sum(voters) - count >= majority for count in voters)
    each = [size for count in voters for size in in_zones(count, zones)]
    by_zone = len(each) > 1 and all(sum(voters) - size >= majority for size in each)
    by_node = sum(voters) - 1 >= majority
    expected = "region" if by_region else "zone" if by_zone else "node" if by_node else "nothing"
    assert survived(needs, voters) == expected


def test_availability_by_brute_force() -> None:
    needs = needing(regions=["a", "b"], node_availability=0.9, zone_availability=0.95, region_availability=0.97)
    whole = 0.0
    for up in product((1, 0), repeat=7):  # two regions, their zones, three nodes: two in a and one in b
        chance = 1.0
        for state, share in zip(up, (0.97, 0.97, 0.95, 0.95, 0.9, 0.9, 0.9), strict=True):
            chance *= share if state else 1 - share
        reached = (up[4] + up[5]) * up[0] * up[2] + up[6] * up[1] * up[3]
        whole += chance * (reached >= 2)
    assert up_share(needs, (2, 1)) == pytest.approx(whole, abs=1e-12)


@given(st.integers(1, 7), st.integers(1, 4))
def test_every_spread_once(total: int, places: int) -> None:
    from math import comb

    found = list(spread(total, places))
    assert len(found) == len(dict.fromkeys(found)) == comb(total + places - 1, places - 1)
    assert all(sum(voters) == total for voters in found)


@given(st.sampled_from(["node", "zone", "region"]), st.integers(1, 3), st.integers(2, 3))
def test_more_survival_is_never_quicker(survive: str, zones: int, regions: int) -> None:
    names = ["a", "b", "c"][:regions]
    wanted = needing(regions=names, zones=zones, survive=survive, availability=0.9)
    free = needing(regions=names, zones=zones, survive="nothing", availability=0.9)
    best = layouts(wanted)[0]
    if good(wanted, best):
        assert best.write_home_ms >= layouts(free)[0].write_home_ms


def test_what_is_shown_begins_with_the_best_and_holds_a_tradeoff() -> None:
    shown = worth_showing(THREE, layouts(THREE))
    assert shown[0] == layouts(THREE)[0]
    assert any(layout.write_home_ms < shown[0].write_home_ms for layout in shown)
    assert len(dict.fromkeys(shown)) == len(shown) <= 4


def test_words() -> None:
    layout = examine(THREE, (1, 1, 1), "a", 0.9)
    assert isinstance(layout, Layout)
    assert layout.words(THREE.regions) == "3 voters: 1 in a, 1 in b, 1 in c; the leader in a"
    assert examine(ROOMS, (1,), "a", 0.9).words(["a"]) == "1 voter: 1 in a; the leader in a"
