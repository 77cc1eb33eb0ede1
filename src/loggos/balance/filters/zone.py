"""Zone awareness: requests stay in their zone as far as its end points can carry them; what is too much spills to the others.

A zone can carry its share of all weights. If that is at least its share of all clients, everything stays. If not, the part
capacity / demand stays, and the rest goes to zones in proportion to what they can carry beyond their own clients. So no zone gets
more than its share of the whole. Where the clients are is told (`clients`), or taken to be the same number in every zone.
Below `endpoints_min` end points zones are ignored: too few to spread evenly.

The answer is a split, not a filter: which part a request goes to is a matter of chance, drawn per request by the owner.

Source: Envoy, "Zone aware routing" (min_cluster_size, local and upstream percentages, residual capacity).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from loggos.balance.policies.checks import at_least, whole
from loggos.balance.types import Endpoint

ROUNDING: Final = 1e-9  # a zone that lacks less than this of its demand lacks nothing


class Part(NamedTuple):
    """This share of the requests goes to one of these end points."""

    share: float
    endpoints: tuple[Endpoint, ...]


class ZoneAware:
    """Splits end points for a client in `zone`.

    clients          how many clients (in any unit) each zone has; None: the same in each zone of the end points
    endpoints_min    with fewer, zones are ignored
    """

    def __init__(self, zone: str, *, clients: Mapping[str, float] | None = None, endpoints_min: int = 6) -> None:
        whole("endpoints_min", endpoints_min, 0)
        for name, count in (clients or {}).items():
            at_least(f"clients[{name!r}]", count, 0)
        self._zone = zone
        self._clients = None if clients is None else dict(clients)
        self._endpoints_min = endpoints_min
        self._zones: tuple[str, ...] = ()

    def update(self, endpoints: Sequence[Endpoint]) -> None:
        """These are all end points, well or not: their zones are where clients are, unless that was told."""
        self._zones = tuple(dict.fromkeys(endpoint.zone for endpoint in endpoints))

    def split(self, endpoints: Sequence[Endpoint]) -> tuple[Part, ...]:
        """Parts whose shares sum to 1, the local one first; one part of all end points where zones do not matter."""
        members: dict[str, list[Endpoint]] = {}
        for endpoint in endpoints:
            members.setdefault(endpoint.zone, []).append(endpoint)
        local = members.pop(self._zone, [])
        if not local or not members or len(endpoints) < self._endpoints_min:
            return (Part(1.0, tuple(endpoints)),)
        weight = {zone: sum(endpoint.weight for endpoint in inside) for zone, inside in members.items()}
        local_weight = sum(endpoint.weight for endpoint in local)
        total = local_weight + sum(weight.values())
        demand = self._demand()
        kept = local_weight / total / demand if demand > 0 else 1.0
        if kept > 1 - ROUNDING:
            return (Part(1.0, tuple(local)),)
        spare = {zone: max(0.0, weight[zone] / total - self._demand(zone)) for zone in members}
        room = sum(spare.values())
        assert room > 0, "a zone lacks capacity that no other zone has"
        spilled = [Part((1 - kept) * spare[zone] / room, tuple(members[zone])) for zone in members if spare[zone] > 0]
        return (Part(kept, tuple(local)), *spilled)

    def _demand(self, zone: str | None = None) -> float:
        """The share of all clients that is in a zone; the local one by default."""
        zone = self._zone if zone is None else zone
        if self._clients is None:
            return (zone in self._zones) / max(1, len(self._zones))
        everyone = sum(self._clients.values())
        return self._clients.get(zone, 0.0) / everyone if everyone > 0 else 0.0
