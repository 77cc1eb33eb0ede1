"""Who may be in a pool, and how mistakes are told."""

from __future__ import annotations

import asyncio

import pytest

from loggos.balance import Pool
from loggos.balance.pool.members import asked, checked, split_address
from loggos.balance.types import Endpoint
from loggos.base.errors import ConfigError


@pytest.mark.parametrize(
    ("name", "host", "port"), [("a:1", "a", 1), ("10.0.0.1:65535", "10.0.0.1", 65535), ("[::1]:80", "::1", 80)]
)
def test_addresses(name: str, host: str, port: int) -> None:
    assert split_address(name) == (host, port)


@pytest.mark.parametrize("name", ["", "a", "a:", ":1", "a:0", "a:65536", "a:x", "::1:80", "http://a:1", "a b:1", "a:-1", "a:١"])
def test_what_is_no_address(name: str) -> None:
    with pytest.raises(ConfigError, match=r"host:port|\[address\]:port"):
        checked([name])


def test_order_weights_and_names_are_kept() -> None:
    mixed = checked(["a:1", Endpoint("any name", 2.5, "z1")])
    assert mixed == [Endpoint("a:1"), Endpoint("any name", 2.5, "z1")]


@pytest.mark.parametrize(
    ("members", "said"),
    [
        ("a:1", "a list of addresses, not one text"),
        ([7], "int: give an address or an Endpoint"),
        ([Endpoint("")], "has no name"),
        ([Endpoint("a", 0.0)], "a: weight 0.0 must be above 0"),
        ([Endpoint("a", float("inf"))], "weight inf"),
        (["a:1", "a:1"], "a:1 is given twice"),
    ],
)
def test_mistakes_are_named(members: object, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        Pool(members)  # type: ignore[arg-type]


def test_sources_of_every_kind() -> None:
    async def coroutine_function() -> list[str]:
        return ["a:1"]

    class Object:
        async def __call__(self) -> list[str]:
            return ["c:3"]

    async def scenario() -> list[str]:
        given = [await asked(coroutine_function), await asked(lambda: ["b:2"]), await asked(Object())]
        return [endpoint.name for endpoints in given for endpoint in endpoints]

    assert asyncio.run(scenario()) == ["a:1", "b:2", "c:3"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"policy": "fastest"}, "no load balancing policy 'fastest'"),
        ({"options": {"nought": 1}}, "has no option 'nought'"),
        ({"policy": "prequal"}, r"prequal asks end points for their load: give probe=HttpProbe\(\), or .*use_reports"),
        ({"options": {"load": "reported", "probe": True}}, r"p2c asks end points for their load: give probe=HttpProbe\(\)$"),
        ({"refresh_s": 0}, "refresh_s = 0: give seconds above 0"),
    ],
)
def test_a_pool_refuses_what_it_cannot_use(arguments: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        Pool(["a:1"], **arguments)  # type: ignore[arg-type]
