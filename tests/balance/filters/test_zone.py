"""Zones: local as far as it can be carried, the rest by spare capacity; no zone gets more than its share of the whole."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loggos.balance.filters.zone import ZoneAware
from loggos.balance.types import Endpoint

ZONES = "abcd"


def farm(**counts: int) -> tuple[Endpoint, ...]:
    return tuple(Endpoint(f"{zone}{number}", zone=zone) for zone, count in counts.items() for number in range(count))


def shares(zones: ZoneAware, endpoints: tuple[Endpoint, ...]) -> dict[str, float]:
    """By zone; parts must not mix zones unless there is only one part."""
    parts = zones.split(endpoints)
    if len(parts) == 1:
        return {"".join(dict.fromkeys(endpoint.zone for endpoint in parts[0].endpoints)): parts[0].share}
    assert all(len({endpoint.zone for endpoint in part.endpoints}) == 1 for part in parts)
    return {part.endpoints[0].zone: part.share for part in parts}


def aware(zone: str, everyone: tuple[Endpoint, ...], clients: dict[str, float] | None = None) -> ZoneAware:
    zones = ZoneAware(zone, clients=clients)
    zones.update(everyone)
    return zones


def test_enough_at_home_keeps_everything_at_home() -> None:
    everyone = farm(a=3, b=3, c=3)
    assert shares(aware("a", everyone), everyone) == {"a": 1.0}
    assert shares(aware("b", everyone), farm(a=2, b=3, c=3)) == {"b": 1.0}


def test_what_is_too_much_spills_to_spare_capacity() -> None:
    everyone = farm(a=4, b=4, c=4)
    # a has 2 of 10: 0.2 of the capacity for a third of the clients
    assert shares(aware("a", everyone), farm(a=2, b=4, c=4)) == pytest.approx({"a": 0.6, "b": 0.2, "c": 0.2})
    # b carries 0.5, a third for itself; c has none to spare
    assert shares(aware("a", everyone), farm(a=2, b=5, c=3)) == pytest.approx({"a": 0.6, "b": 0.4})


def test_capacity_is_weight_and_demand_is_clients() -> None:
    everyone = (*farm(a=3), *(Endpoint(f"b{number}", 3.0, "b") for number in range(3)))
    assert shares(aware("a", everyone), everyone) == pytest.approx({"a": 0.5, "b": 0.5})
    assert shares(aware("a", everyone, {"a": 1, "b": 3}), everyone) == {"a": 1.0}
    assert shares(aware("a", everyone, {"a": 1, "b": 0}), everyone) == pytest.approx({"a": 0.25, "b": 0.75})


@pytest.mark.parametrize(
    ("zone", "everyone"),
    [("a", farm(a=2, b=2)), ("z", farm(a=4, b=4)), ("a", farm(a=8))],
    ids=["too few", "nobody here", "one zone"],
)
def test_where_zones_do_not_matter_there_is_one_part(zone: str, everyone: tuple[Endpoint, ...]) -> None:
    parts = aware(zone, everyone).split(everyone)
    assert [(part.share, part.endpoints) for part in parts] == [(1.0, everyone)]


def test_a_zone_that_is_down_still_has_clients() -> None:
    everyone = farm(a=4, b=4, c=4)
    # of 8, a has a half: more than its third
    assert shares(aware("a", everyone), farm(a=4, b=4)) == {"a": 1.0}
    # clients of c go everywhere
    assert len(aware("c", everyone).split(farm(a=4, b=4))) == 1


@given(
    up=st.lists(st.integers(0, 6), min_size=2, max_size=4),
    clients=st.lists(st.integers(0, 5), min_size=4, max_size=4),
    told=st.booleans(),
)
def test_shares_sum_to_one_and_no_zone_is_given_more_than_it_can_carry(up: list[int], clients: list[int], told: bool) -> None:
    here = ZONES[: len(up)]
    everyone = farm(**dict.fromkeys(here, 6))
    through = farm(**dict(zip(here, up, strict=True)))
    demand = {zone: (float(clients[place]) if told else 1.0) for place, zone in enumerate(here)}
    if not sum(demand.values()) or len(through) < 6:
        return
    load = dict.fromkeys(here, 0.0)
    for zone in here:
        parts = aware(zone, everyone, demand if told else None).split(through)
        assert sum(part.share for part in parts) == pytest.approx(1)
        assert all(part.share > 0 and part.endpoints for part in parts)
        for part in parts:
            for endpoint in part.endpoints:
                load[endpoint.zone] += demand[zone] / sum(demand.values()) * part.share / len(part.endpoints)
    if all(up[place] or not demand[zone] for place, zone in enumerate(here)):
        for place, zone in enumerate(here):
            assert load[zone] <= up[place] / len(through) + 1e-9
