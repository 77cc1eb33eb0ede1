"""What holds of every policy: it chooses one of those let through, the same again from the same seed, and refuses bad options."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loggos.balance.policies import POLICIES, make, options
from loggos.balance.policies.subset import Subsetting, rendezvous_subset
from loggos.balance.types import Endpoint, Policy, Report
from loggos.base.errors import ConfigError

from .helpers import made, servers

FORMS: list[tuple[str, dict[str, object]]] = [
    *((name, {}) for name in POLICIES if name != "maglev"),
    ("p2c", {"d": 3}),
    ("p2c", {"load": "reported"}),
    ("p2c", {"load": "reported", "probe": True}),
    ("least_request", {"bias": 2.0}),
    ("prequal", {"pool_min": 2, "probes": 1.5, "remove": 0.25, "use_reports": True}),
    ("prequal", {"q_rif": 0.0}),
    ("prequal", {"q_rif": 1.0, "pool": 2}),
    ("ring_hash", {"c": None}),
    ("maglev", {"size": 101, "c": 1.1}),
]
IDS = [name + "".join(f",{key}={value}" for key, value in chosen.items()) for name, chosen in FORMS]

Step = tuple[str, int, int]
WHAT = ["members", "view", "pick", "pick", "pick", "finish", "fail", "probe"]
STEPS = st.lists(
    st.tuples(st.sampled_from(WHAT), st.integers(0, 255), st.integers(0, 9)),
    min_size=20,
    max_size=120,
)


def drive(policy: Policy, steps: Sequence[Step]) -> list[str]:
    """Takes the steps; checks every pick; gives the names chosen."""
    everyone = servers(8, (1, 1, 2, 5, 0.5, 1, 3, 1))
    members = view = everyone
    policy.update(members, 0.0)
    out: list[tuple[str, float]] = []
    names: list[str] = []
    for number, (what, mask, small) in enumerate(steps):
        now_s = number * 0.3
        if what == "members":
            members = view = tuple(one for place, one in enumerate(everyone) if mask >> place & 1)
            policy.update(members, now_s)
        elif what == "view":
            view = tuple(one for place, one in enumerate(members) if mask >> place & 1)
        elif what == "pick":
            endpoint = policy.pick(now_s, view if small else list(view), b"%d" % mask if small % 2 else None)
            assert (endpoint is None) == (not view)
            if endpoint is not None:
                assert endpoint in view
                names.append(endpoint.name)
                policy.started(endpoint.name, now_s)
                out.append((endpoint.name, now_s))
                wanted = policy.probes_wanted(now_s)
                assert all(name in {one.name for one in members} for name in wanted)
                assert len({*wanted}) == len(wanted)
        elif what == "probe" and members:
            policy.probed(members[mask % len(members)].name, now_s, Report(small, mask / 100))
        elif out:
            name, sent_s = out.pop(mask % len(out))
            policy.finished(name, now_s, now_s - sent_s, what == "finish", Report(small, 0.1) if small > 4 else None)
    for name, sent_s in out:
        policy.finished(name, 1e3, 1e3 - sent_s, True)
    return names


@pytest.mark.parametrize(("name", "chosen"), FORMS, ids=IDS)
@given(steps=STEPS)
def test_only_who_is_let_through_is_chosen(name: str, chosen: dict[str, object], steps: list[Step]) -> None:
    first = drive(make(name, Random(3), **chosen), steps)
    assert drive(make(name, Random(3), **chosen), steps) == first


@given(steps=STEPS)
def test_nor_anybody_else_in_a_subset(steps: list[Step]) -> None:
    drive(Subsetting(make("p2c", Random(3)), lambda endpoints: rendezvous_subset(endpoints, "me", 3)), steps)


@pytest.mark.parametrize("name", POLICIES)
def test_nobody_among_nobody(name: str) -> None:
    policy = made(name, ())
    assert policy.pick(0.0, ()) is None
    assert policy.pick(0.0, [], b"key") is None


@pytest.mark.parametrize("name", POLICIES)
def test_the_only_one_is_chosen(name: str) -> None:
    one = (Endpoint("only"),)
    policy = made(name, one)
    for number in range(30):
        assert policy.pick(float(number), one, b"%d" % number) is one[0]
        policy.started("only", float(number))


def test_unknown_policies_and_options_are_refused_with_what_there_is() -> None:
    with pytest.raises(ConfigError, match=r"no load balancing policy 'fastest': there is round_robin, .*rendezvous"):
        make("fastest", Random(1))
    with pytest.raises(ConfigError, match=r"p2c has no option 'tau_s': there is d \(2\), load \('local'\)"):
        make("p2c", Random(1), tau_s=3.0)
    with pytest.raises(ConfigError, match="random has no option 'd': there is none"):
        make("random", Random(1), d=2)


@pytest.mark.parametrize(
    ("name", "option", "value"),
    [
        ("p2c", "d", 0),
        ("p2c", "d", True),
        ("p2c", "load", "guessed"),
        ("p2c", "fade_s", 0),
        ("peak_ewma", "tau_s", -1.0),
        ("peak_ewma", "tau_s", float("nan")),
        ("least_request", "bias", 0),
        ("prequal", "q_rif", 1.5),
        ("prequal", "pool", 0),
        ("prequal", "pool_min", 17),
        ("prequal", "probes", -1),
        ("prequal", "age_s", "old"),
        ("ring_hash", "c", 1.0),
        ("ring_hash", "points", 2.5),
        ("maglev", "size", 65_536),
        ("maglev", "c", 0.5),
    ],
)
def test_values_out_of_range_are_refused_by_name(name: str, option: str, value: object) -> None:
    with pytest.raises(ConfigError, match=option):
        make(name, Random(1), **{option: value})


def test_every_default_is_named() -> None:
    assert options("peak_ewma") == {"tau_s": 10.0, "d": 2}
    assert options("round_robin") == {}
