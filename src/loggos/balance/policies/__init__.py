"""Who gets the next request. Pure: time is an argument, chance comes from dice that are handed in.

    rotation.py     round robin, smooth weighted round robin
    sampling.py     random, weighted random
    least_load.py   power of d choices, least request
    peak_ewma.py    peak EWMA
    prequal.py      Prequal
    hashing.py      stable hashes, bounded load; ring.py, maglev.py, rendezvous.py
    subset.py       any of these among a subset of the end points
    views.py        what policies keep per view and per end point; quantile.py, checks.py: small things they share

`make` builds one by name; `POLICIES` says which there are.
"""

from __future__ import annotations

import inspect
from typing import Final

from loggos.balance.policies.least_load import LeastRequest, PowerOfTwoChoices
from loggos.balance.policies.maglev import Maglev
from loggos.balance.policies.peak_ewma import PeakEwma
from loggos.balance.policies.prequal import Prequal
from loggos.balance.policies.rendezvous import Rendezvous
from loggos.balance.policies.ring import RingHash
from loggos.balance.policies.rotation import RoundRobin, SmoothWeightedRoundRobin
from loggos.balance.policies.sampling import Random, WeightedRandom
from loggos.balance.types import Dice, Policy
from loggos.base.errors import ConfigError

POLICIES: Final[dict[str, type[Policy]]] = {
    "round_robin": RoundRobin,
    "smooth_weighted_round_robin": SmoothWeightedRoundRobin,
    "random": Random,
    "weighted_random": WeightedRandom,
    "p2c": PowerOfTwoChoices,
    "least_request": LeastRequest,
    "peak_ewma": PeakEwma,
    "prequal": Prequal,
    "ring_hash": RingHash,
    "maglev": Maglev,
    "rendezvous": Rendezvous,
}


def options(name: str) -> dict[str, object]:
    """The options of a policy, with their defaults. ConfigError: there is no such policy."""
    if name not in POLICIES:
        raise ConfigError(f"no load balancing policy {name!r}: there is {', '.join(POLICIES)}")
    parameters = inspect.signature(POLICIES[name]).parameters.values()
    return {one.name: one.default for one in parameters if one.kind is inspect.Parameter.KEYWORD_ONLY}


def make(name: str, dice: Dice, **chosen: object) -> Policy:
    """A policy by its name. ConfigError: no such policy or option (with those there are), or a value out of its range."""
    known = options(name)
    for option in chosen:
        if option not in known:
            there = ", ".join(f"{one} ({default!r})" for one, default in known.items()) or "none"
            raise ConfigError(f"policy {name} has no option {option!r}: there is {there}")
    build: type = POLICIES[name]
    policy = build(dice, **chosen)
    assert isinstance(policy, Policy)
    return policy
