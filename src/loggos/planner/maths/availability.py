"""How much of the time a service is up, from how much of the time its parts are: exact, also when parts fail together.

Nodes fail independently of each other within their zone; a zone that is down takes all its nodes with it, a region all its
zones. `Group` says so as a tree; the number of nodes that are up then has an exact distribution, by dynamic programming (the
Poisson binomial of independent parts, mixed over the state of each group). Availabilities are shares of time, 0 to 1.
Source: Trivedi, Probability and Statistics with Reliability, Queuing and Computer Science Applications (2nd ed.), ch. 1
(k of n), 6 (availability) and 8 (repair); Wang, On the number of successes in independent trials (1993).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np

from loggos.base.errors import InputError
from loggos.base.limits import PLANNER_MEMBERS_MAX
from loggos.planner.maths import checks
from loggos.planner.types import Floats

SECONDS_PER_YEAR: Final = 365.25 * 86_400


@dataclass(frozen=True, slots=True)
class Group:
    """What fails together: a zone of nodes, a region of zones. `availability` is of what they share (power, network) alone.

    `members` are groups, or the availabilities of single nodes.
    """

    availability: float
    members: tuple[Group | float, ...]


def up_distribution(members: Sequence[Group | float]) -> Floats:
    """The probability that exactly 0, 1, ... n of the nodes in these groups are up; groups and nodes fail independently."""
    shares = _up(tuple(members))
    assert abs(float(shares.sum()) - 1) < 1e-9, shares
    return shares


def k_of_n(needed: int, members: Sequence[Group | float]) -> float:
    """The share of time at least `needed` of the nodes are up."""
    return 1 - unavailability(needed, members)


def unavailability(needed: int, members: Sequence[Group | float]) -> float:
    """The share of time fewer than `needed` of the nodes are up: 1 - k_of_n, with its small digits kept."""
    shares = up_distribution(members)
    if checks.count("needed", needed, 0) > shares.size - 1:
        raise InputError(f"{needed} nodes are needed and there are {shares.size - 1}: add nodes or need fewer")
    return min(1.0, float(np.sort(shares[:needed]).sum()))


def majority(members: Sequence[Group | float]) -> float:
    """The share of time a majority of these voters is up: floor(n / 2) + 1 of n."""
    return k_of_n(_size(members) // 2 + 1, members)


def zones(nodes_per_zone: Sequence[int], node_availability: float, zone_availability: float = 1.0) -> tuple[Group, ...]:
    """Equal nodes spread over equal zones: (2, 2, 1) for five voters in three zones."""
    checks.probability("node_availability", node_availability)
    sizes = [checks.count("nodes_per_zone", size) for size in nodes_per_zone]
    return tuple(Group(zone_availability, (node_availability,) * size) for size in sizes)


def series(*availabilities: float) -> float:
    """Of a chain that needs every part."""
    return math.prod(checks.probability("availability", part) for part in availabilities)


def parallel(*availabilities: float) -> float:
    """Of a set in which any one part is enough."""
    return 1 - math.prod(1 - checks.probability("availability", part) for part in availabilities)


def downtime_s_per_year(availability: float) -> float:
    """Expected seconds down in a year of 365.25 days."""
    return (1 - checks.probability("availability", availability)) * SECONDS_PER_YEAR


def steady_state(mttf_s: float, mttr_s: float) -> float:
    """The availability of a part with this mean time to failure and to repair: MTTF / (MTTF + MTTR)."""
    return checks.positive("mttf_s", mttf_s) / (mttf_s + checks.not_negative("mttr_s", mttr_s))


class Outages(NamedTuple):
    """How often and how long. `mean_up_s` is inf for what never fails."""

    availability: float
    mean_up_s: float
    mean_down_s: float
    outages_per_year: float


def k_of_n_outages(needed: int, nodes: int, mttf_s: float, mttr_s: float) -> Outages:
    """k of n equal nodes, each repaired on its own: how often fewer than `needed` are up, and for how long.

    An outage begins when exactly `needed` are up and one of them fails, so it does with frequency
    P(needed up) needed / MTTF; mean times follow as shares of time over frequency. Exact, for any law of failure and repair.
    """
    up = steady_state(mttf_s, mttr_s)
    checks.count("needed", needed)
    members = (up,) * checks.count("nodes", nodes, 1, PLANNER_MEMBERS_MAX)
    down = unavailability(needed, members)
    per_s = float(up_distribution(members)[needed]) * needed / mttf_s
    if per_s == 0:
        return Outages(1.0, math.inf, 0.0, 0.0)
    return Outages(1 - down, (1 - down) / per_s, down / per_s, per_s * SECONDS_PER_YEAR)


def _up(members: tuple[Group | float, ...]) -> Floats:
    if not members:
        raise InputError("a group without nodes: name at least one node in every zone")
    if _size(members) > PLANNER_MEMBERS_MAX:
        raise InputError(f"{_size(members):,} nodes: more than the {PLANNER_MEMBERS_MAX:,} that can be computed; split them")
    shares = np.ones(1)
    for member in members:
        if isinstance(member, Group):
            up = checks.probability("availability of a group", member.availability)
            inner = up * _up(member.members)
            inner[0] += 1 - up
        else:
            up = checks.probability("availability of a node", member)
            inner = np.array([1 - up, up])
        shares = np.convolve(shares, inner)
    return shares


def _size(members: Sequence[Group | float]) -> int:
    return sum(_size(member.members) if isinstance(member, Group) else 1 for member in members)
