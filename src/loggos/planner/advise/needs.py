"""What an application needs, in its own terms: what it shares, how strict that must be, how much of it, how quick, from where.

Rules: unknown keys are refused with their line; `uses` must be said; every other field has a default that a small application
would answer, so that a file says only what matters. Knows no service.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from loggos.base.errors import InputError
from loggos.planner.plan.reading import place, read

Use = Literal["locks", "election", "configuration", "membership", "events", "files", "batch", "services", "requests"]
USES: Final[Mapping[Use, str]] = {
    "locks": "one process at a time does something",
    "election": "one of several processes leads",
    "configuration": "small values that many processes read and follow",
    "membership": "who is alive, and where",
    "events": "streams of records that others consume later",
    "files": "large objects, written once and read often",
    "batch": "jobs over much data",
    "services": "processes that must be placed on machines and kept running",
    "requests": "requests that are spread over several servers",
}
WAN_MS: Final = (40.0, 80.0, 120.0)  # low, usual and high round trip between regions, where it was not measured
NEAR_MS: Final = 1.0  # between zones of one region, where it was not measured

Rate = Annotated[float, Meta(ge=0)]
Some = Annotated[float, Meta(gt=0)]


class Needs(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`uses`: what is shared. Rates at the peak; `latency_ms` is what most writes may take. `rtt_ms`: round trips between
    regions, by "one-other"; `home`: the region where most writes come from, the first one unless told."""

    uses: Annotated[list[Use], Meta(min_length=1)]
    name: str = "application"
    consistency: Literal["linearizable", "sequential", "eventual"] = "linearizable"
    ordering: Literal["total", "key", "none"] = "key"
    access: Literal["small", "append", "random", "scan"] = "small"
    mode: Literal["online", "batch", "both"] = "online"
    writes_per_s: Rate = 100.0
    reads_per_s: Rate = 1_000.0
    item_kb: Some = 1.0
    data_gb: Some = 0.1
    clients: Annotated[int, Meta(ge=1)] = 10
    latency_ms: Some = 50.0
    availability: Annotated[float, Meta(gt=0, lt=1)] = 0.999
    survive: Literal["nothing", "node", "zone", "region"] = "node"
    zones: Annotated[int, Meta(ge=1, le=20)] = 1  # in each region
    regions: Annotated[list[str], Meta(min_length=1, max_length=9)] = msgspec.field(default_factory=lambda: ["here"])
    home: str = ""
    rtt_ms: dict[str, Rate] = {}
    node_availability: Annotated[float, Meta(gt=0, lt=1)] = 0.995
    zone_availability: Annotated[float, Meta(gt=0, le=1)] = 0.9995
    region_availability: Annotated[float, Meta(gt=0, le=1)] = 0.9998

    @property
    def home_region(self) -> str:
        return self.home or self.regions[0]

    @property
    def write_mb_per_s(self) -> float:
        return self.writes_per_s * self.item_kb / 1000

    def any_of(self, *uses: Use) -> bool:
        return any(use in self.uses for use in uses)

    def rtt(self, one: str, other: str) -> float:
        """The round trip in ms: as given, or the usual one."""
        if one == other:
            return self.rtt_ms.get(f"{one}-{one}", NEAR_MS if self.zones > 1 else NEAR_MS / 2)
        return self.rtt_ms.get(f"{one}-{other}", self.rtt_ms.get(f"{other}-{one}", WAN_MS[1]))

    def assumed(self) -> list[tuple[str, str]]:
        """Pairs of regions whose round trip was not given."""
        pairs = combinations(self.regions, 2)
        return [pair for pair in pairs if f"{pair[0]}-{pair[1]}" not in self.rtt_ms and f"{pair[1]}-{pair[0]}" not in self.rtt_ms]


def parse(text: str, where: str = "needs") -> Needs:
    """The needs that a TOML text states; InputError says what is wrong, and on which line."""
    try:
        needs = read(text, Needs, where)
    except InputError as error:
        if "missing required field `uses`" not in str(error):
            raise
        what = f'write for example uses = ["locks", "events"]; it can hold {", ".join(USES)}'
        raise InputError(f"{where} does not say what the application shares: {what}") from None
    for key, problem in problems(needs):
        raise InputError(f"{place(text, where, (key,))}: {problem}")
    return needs


def check(needs: Needs, where: str = "needs") -> Needs:
    """The same for needs that were built by code or answers."""
    for _, problem in problems(needs):
        raise InputError(f"{where}: {problem}")
    return needs


def problems(needs: Needs) -> list[tuple[str, str]]:
    """What types and ranges cannot say: (key, what is wrong and what to write)."""
    found: list[tuple[str, str]] = []
    if repeated(needs.regions):
        found.append(("regions", f"regions names {repeated(needs.regions)!r} twice: name each once"))
    if needs.home and needs.home not in needs.regions:
        found.append(("home", f"home is {needs.home!r}, which is none of the regions: write one of {', '.join(needs.regions)}"))
    known = [f"{a}-{b}" for a in needs.regions for b in needs.regions]
    for pair in needs.rtt_ms:
        if pair not in known:
            found.append(("rtt_ms", f"rtt_ms has {pair!r}, which is no pair of regions: write for example {known[-1]!r}"))
    if needs.survive == "region" and len(needs.regions) < 2:
        found.append(("survive", "survive is region, and there is one region: name the others in regions"))
    if needs.survive == "zone" and needs.zones * len(needs.regions) < 2:
        found.append(("survive", "survive is zone, and there is one zone: write how many zones each region has in zones"))
    return found


def repeated(names: Sequence[str]) -> str:
    return next((name for number, name in enumerate(names) if name in names[:number]), "")
