"""What a user wants of a system, tolerates, has measured, and could buy: the input of a plan.

An intent states the objective and leaves the numbers of machines to the planner, so that it stays true when the load or the
prices change (Site Reliability Engineering, ch. 18). Rules: unknown keys are refused; a quantity is a number, which counts as
exact, or a table {value, low, high}, whose interval is carried through; units are the end of every name. Knows no algorithm.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from loggos.base.errors import InputError
from loggos.planner.plan.reading import place, read
from loggos.planner.types import Estimate

Positive = Annotated[float, Meta(gt=0)]
NotNegative = Annotated[float, Meta(ge=0)]
Share = Annotated[float, Meta(gt=0, lt=1)]
Count = Annotated[int, Meta(ge=1)]
Losses = Annotated[int, Meta(ge=0, le=20)]


class Interval(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A quantity that was inferred: its value, and the interval that holds it."""

    value: float
    low: float
    high: float


Quantity = float | Interval


class Objective(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`latency_ms` of the mean, or of the named quantile; `availability`: the share of time in which the service carries its
    peak."""

    latency_ms: Positive
    quantile: Share | None = None
    availability: Annotated[float, Meta(gt=0, lt=1)] = 0.99

    @property
    def words(self) -> str:
        return f"p{100 * self.quantile:g}" if self.quantile is not None else "mean"


class Load(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Requests per second at the peak of today, unless a measured series is handed in; its growth; and the size of a request."""

    per_s: Quantity | None = None
    growth_per_year: Quantity = 0.0  # 0.4: 40 % more each year
    extra_per_s: Quantity = 0.0  # what is known to come on top: a launch, a new customer
    request_kb: NotNegative = 1.0
    response_kb: NotNegative = 1.0
    write_share: Annotated[float, Meta(ge=0, le=1)] = 0.2


class Survive(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The losses under which the objective still holds: each kind alone, or all of them at once."""

    nodes: Losses = 1
    zones: Losses = 0
    regions: Losses = 0
    together: bool = False


class Site(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where nodes can stand, and the share of time in which each part works, apart from the failure of what it stands in."""

    regions: Annotated[int, Meta(ge=1, le=50)] = 1
    zones: Annotated[int, Meta(ge=1, le=50)] = 1  # in each region
    node_availability: Share = 0.995
    zone_availability: Annotated[float, Meta(gt=0, le=1)] = 1.0
    region_availability: Annotated[float, Meta(gt=0, le=1)] = 1.0


class NodeType(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A machine that could be had. `speed`: of one core, relative to the machine that the demand was measured on."""

    name: str
    price_per_month: Positive
    cores: Count
    memory_gb: Positive
    disk_gb: NotNegative = 0.0
    disk_mb_per_s: NotNegative = 0.0  # sequential writes; 0: not known, not planned
    network_mb_per_s: NotNegative = 0.0  # each way; 0: not known, not planned
    speed: Positive = 1.0
    most: Count | None = None  # how many can be had


class Service(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A request occupies one core for `mean_ms`; `cv2` is the squared coefficient of variation of that time."""

    mean_ms: Quantity
    cv2: NotNegative = 1.0
    arrival_cv2: NotNegative = 1.0  # 1: independent users; more: bursts


class Scaling(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Universal scalability law X(N) = gamma N / (1 + alpha (N - 1) + beta N (N - 1)), in requests per second. `over`: N counts
    the requests in one node at once, or nodes that work on one load."""

    gamma: Quantity
    alpha: Quantity
    beta: Quantity
    over: Literal["requests", "nodes"] = "requests"
    measured_to: Positive | None = None  # the largest N that was measured: the law is not used beyond twice that


class Points(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A measured load test, to which the scalability law is fitted. `extrapolate`: use it beyond twice the largest N, too."""

    n: list[Positive]
    per_s: list[Positive]
    over: Literal["requests", "nodes"] = "requests"
    extrapolate: bool = False


class Demand(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What one request costs: exactly one of service, scaling, points. `floor_ms`: the part of the latency that no machine here
    shortens (network, other services)."""

    service: Service | None = None
    scaling: Scaling | None = None
    points: Points | None = None
    floor_ms: NotNegative = 0.0
    memory_mb_per_request: NotNegative = 0.0  # while it is worked on
    memory_base_gb: NotNegative = 1.0  # of a node that does nothing


class Data(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is kept: before replication."""

    size_gb: Quantity
    growth_per_year: Quantity = 0.0
    replication: Annotated[int, Meta(ge=1, le=15)] = 3  # at least; more if the losses ask for it
    in_sync_min: Annotated[int, Meta(ge=1, le=15)] = 2  # replicas without which nothing is written
    memory_share: Annotated[float, Meta(ge=0, le=1)] = 0.0  # of every replica, held in memory
    fill_max: Share = 0.75  # of a disk: compaction and repair need room


class Streams(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Topics: what flows in and out, and what one partition was measured to carry."""

    produce_mb_per_s: Quantity
    consume_mb_per_s: Quantity
    partition_produce_mb_per_s: Positive = 10.0
    partition_consume_mb_per_s: Positive = 10.0
    partitions: Annotated[int, Meta(ge=1, le=10_000_000)] | None = None  # fixed by the application
    replication: Annotated[int, Meta(ge=1, le=15)] = 3
    in_sync_min: Annotated[int, Meta(ge=1, le=15)] = 2
    retention_hours: NotNegative = 24.0
    growth_per_year: Quantity = 0.0


class Voters(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A cell of voters (Paxos, Raft, ZooKeeper) is planned too. `most`: voters cost every write a message each."""

    most: Annotated[int, Meta(ge=1, le=15)] = 7


class Intent(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The whole of it. Parts that are left out are not planned."""

    name: str
    objective: Objective
    node: Annotated[list[NodeType], Meta(min_length=1)]
    demand: Demand
    load: Load = Load()
    survive: Survive = Survive()
    site: Site = Site()
    data: Data | None = None
    streams: Streams | None = None
    voters: Voters | None = None
    horizon_months: Annotated[float, Meta(ge=0, le=120)] = 12.0
    lead_time_days: NotNegative = 14.0  # from an order to a node that serves
    utilisation_max: Share = 0.8  # of any resource, after the losses
    shortfall_factor: Annotated[float, Meta(ge=1)] = 3.0  # what a node costs that is bought in a hurry, to one that was planned
    currency: str = "EUR"

    @property
    def zones(self) -> int:
        """Of all regions."""
        return self.site.regions * self.site.zones

    @property
    def years(self) -> float:
        """How far ahead the plan must hold: to the horizon, and until what is ordered then would serve."""
        return self.horizon_months / 12 + self.lead_time_days / 365.25


def estimate(quantity: Quantity) -> Estimate:
    """With its interval; what was given as one number has none, and its three values are equal."""
    if isinstance(quantity, Interval):
        return Estimate(quantity.value, quantity.low, quantity.high)
    return Estimate(float(quantity), float(quantity), float(quantity))


def parse(text: str, where: str = "intent") -> Intent:
    """The intent that a TOML text states; InputError says what is wrong, on which line, and what to write or measure."""
    intent = read(text, Intent, where)
    for path, problem in problems(intent):
        raise InputError(f"{place(text, where, path)}: {problem}")
    return intent


Problem = tuple[tuple[str | int, ...], str]


def problems(intent: Intent) -> list[Problem]:
    """What types and ranges cannot say."""
    found = demand_problems(intent.demand)
    named: dict[str, Quantity | None] = {
        "load.per_s": intent.load.per_s,
        "load.growth_per_year": intent.load.growth_per_year,
        "load.extra_per_s": intent.load.extra_per_s,
    }
    if intent.demand.service is not None:
        named["demand.service.mean_ms"] = intent.demand.service.mean_ms
    if intent.demand.scaling is not None:
        named |= {f"demand.scaling.{key}": getattr(intent.demand.scaling, key) for key in ("gamma", "alpha", "beta")}
    if intent.data is not None:
        named |= {"data.size_gb": intent.data.size_gb, "data.growth_per_year": intent.data.growth_per_year}
    if intent.streams is not None:
        keys = ("produce_mb_per_s", "consume_mb_per_s", "growth_per_year")
        named |= {f"streams.{key}": getattr(intent.streams, key) for key in keys}
    for key, quantity in named.items():
        found += quantity_problems(key, quantity)
    return found + replica_problems(intent) + site_problems(intent) + node_problems(intent)


def quantity_problems(key: str, quantity: Quantity | None) -> list[Problem]:
    if quantity is None:
        return []
    path = tuple(key.split("."))
    value = estimate(quantity)
    if not value.low <= value.value <= value.high:
        return [(path, f"{key}: its interval [{value.low:g}, {value.high:g}] does not hold its value {value.value:g}")]
    if key.endswith("growth_per_year"):
        bad = value.low <= -1
        return [(path, f"{key} is {value.low:g}: it must be above -1 (0.4 means 40 % more each year)")] if bad else []
    least_open = key in ("load.per_s", "demand.service.mean_ms", "demand.scaling.gamma", "data.size_gb")
    if value.low < 0 or (least_open and value.low == 0) or value.high == float("inf") or value.value != value.value:
        bound = "above 0" if least_open else "0 or more"
        return [(path, f"{key} is {value.low:g}: it must be finite and {bound}")]
    return []


def demand_problems(demand: Demand) -> list[Problem]:
    given = [key for key in ("service", "scaling", "points") if getattr(demand, key) is not None]
    if len(given) != 1:
        said = " and ".join(given) if given else "none of them"
        hint = "measure service.mean_ms (busy core-seconds / requests), or the throughput at six or more loads for points"
        return [(("demand",), f"demand needs one of service, scaling, points, and has {said}: {hint}")]
    points = demand.points
    if points is None:
        return []
    if len(points.n) != len(points.per_s):
        return [(("demand", "points"), f"demand.points has {len(points.n)} n and {len(points.per_s)} per_s: give one for each")]
    if len(set(points.n)) < 6:
        words = f"demand.points has {len(set(points.n))} different n: three parameters and their intervals need 6 or more"
        return [(("demand", "points", "n"), f"{words}: measure more loads, past the knee")]
    return []


def replica_problems(intent: Intent) -> list[Problem]:
    found: list[Problem] = []
    for key, kept in (("data", intent.data), ("streams", intent.streams)):
        if kept is not None and kept.in_sync_min > kept.replication:
            words = f"{key}.in_sync_min is {kept.in_sync_min} of {kept.replication} replicas: nothing could ever be written"
            found.append(((key, "in_sync_min"), f"{words}: at most {kept.replication}"))
    return found


def site_problems(intent: Intent) -> list[Problem]:
    found: list[Problem] = []
    if intent.survive.zones >= intent.zones:
        words = f"survive.zones is {intent.survive.zones}, and the site has {intent.zones} in all: nothing would be left"
        found.append((("survive", "zones"), f"{words}: name more zones or tolerate fewer losses"))
    if intent.survive.regions >= intent.site.regions:
        words = f"survive.regions is {intent.survive.regions}, and site.regions is {intent.site.regions}: nothing would be left"
        found.append((("survive", "regions"), f"{words}: name more regions or tolerate fewer losses"))
    lost = intent.survive.zones + intent.survive.regions * intent.site.zones
    if intent.survive.together and lost >= intent.zones and not found:
        words = f"{lost} of {intent.zones} zones would be lost together: nothing would be left"
        found.append((("survive", "together"), f"{words}: name more zones, or let each loss stand alone"))
    return found


def node_problems(intent: Intent) -> list[Problem]:
    found: list[Problem] = []
    names = [kind.name for kind in intent.node]
    for number, kind in enumerate(intent.node):
        if kind.name in names[:number]:
            found.append((("node", number, "name"), f"two node types are called {kind.name!r}: give each its own name"))
        if intent.demand.memory_base_gb >= kind.memory_gb * intent.utilisation_max:
            words = f"{kind.name} has {kind.memory_gb:g} GB of memory, and a node that does nothing needs"
            found.append((("node", number, "memory_gb"), f"{words} {intent.demand.memory_base_gb:g} GB of it"))
    return found
