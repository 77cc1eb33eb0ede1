"""What a node's coordination counts, and under which names it shows it to whoever collects figures.

Rules: counting is an addition; everything else happens when somebody asks. Names follow Prometheus: the unit at the end, what
only grows is a counter. Must not know: who asks, and in which format he is answered.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Protocol

from loggos.node.metrics import BUCKETS, Histogram

if TYPE_CHECKING:
    from loggos.coordination.service import CoordinationService
    from loggos.coordination.zookeeper.server import ZooKeeperDoor

REQUEST_CLASSES: Final = ("reads", "pings", "syncs", "auths", "watch_requests", "other_requests")


@dataclass(slots=True)
class Counters:
    """What happened since the start (or the last reset), for srvr, mntr and metrics. Latencies: from a request's arrival to its
    reply."""

    packets_received: int = 0
    packets_sent: int = 0
    bytes_received: int = 0
    bytes_sent: int = 0
    writes: int = 0
    events_sent: int = 0
    connections_accepted: int = 0
    connections_refused: int = 0
    connections_closed: int = 0
    sessions_created: int = 0
    sessions_resumed: int = 0
    sessions_refused: int = 0
    sessions_ended: int = 0
    bad_frames: int = 0
    authentications_failed: int = 0
    overloads: int = 0
    interruptions: int = 0
    latency_count: int = 0
    latency_total_s: float = 0.0
    latency_min_s: float = 0.0
    latency_max_s: float = 0.0
    latency_buckets: list[int] = field(default_factory=lambda: [0] * 64)  # doubling from 1 us; no reads answered at once
    requests: dict[str, int] = field(default_factory=lambda: dict.fromkeys(REQUEST_CLASSES, 0))  # all but writes

    def measured(self, seconds: float, count: int) -> None:
        """`count` requests took `seconds` each."""
        if not self.latency_count or seconds < self.latency_min_s:
            self.latency_min_s = seconds
        if seconds > self.latency_max_s:
            self.latency_max_s = seconds
        self.latency_count += count
        self.latency_total_s += seconds * count
        self.latency_buckets[int(seconds * 1e6).bit_length()] += count

    def latencies(self) -> Histogram:
        """Of all requests; a read that was answered at once took no time."""
        histogram = Histogram("loggos_request_latency_seconds", "From a request's arrival to its reply; 0 if answered at once")
        counts = self.latency_buckets
        histogram.counts = [*counts[: BUCKETS - 1], sum(counts[BUCKETS - 1 :])]
        histogram.counts[0] += self.latency_count - sum(counts)
        histogram.total, histogram.maximum = self.latency_total_s, self.latency_max_s
        return histogram

    def requests_by_kind(self) -> Mapping[str, float]:
        kinds = {name.removesuffix("s").removesuffix("_request"): float(count) for name, count in self.requests.items()}
        return {"write": float(self.writes), **kinds}


class Figures(Protocol):
    """Where figures are registered: each is read when somebody asks for it."""

    def gauge(self, name: str, help_text: str, read: Callable[[], float]) -> None: ...

    def counter(self, name: str, help_text: str, read: Callable[[], float]) -> None: ...

    def counters_by(self, label: str, name: str, help_text: str, read: Callable[[], Mapping[str, float]]) -> None: ...

    def histogram(self, read: Callable[[], Histogram]) -> None: ...


COUNTED: Final = (  # fields of Counters
    ("packets_received", "client_packets_received", "Requests and greetings from clients"),
    ("packets_sent", "client_packets_sent", "Replies, events and greetings to clients"),
    ("bytes_received", "client_received_bytes", "Bytes from clients"),
    ("bytes_sent", "client_sent_bytes", "Bytes to clients"),
    ("events_sent", "watch_events_sent", "Events of watches, to clients of this node"),
    ("connections_accepted", "client_connections_accepted", "Connections taken up"),
    ("connections_refused", "client_connections_refused", "Connections over a limit, closed at once"),
    ("connections_closed", "client_connections_closed", "Connections ended, by either side"),
    ("sessions_created", "sessions_created", "Sessions begun at this node"),
    ("sessions_resumed", "sessions_resumed", "Sessions that came back, or moved to this node"),
    ("sessions_refused", "sessions_refused", "Connect requests with an unknown session or a wrong password"),
    ("sessions_ended", "sessions_ended", "Sessions of the cell that were closed or expired"),
    ("bad_frames", "client_bad_frames", "Connections closed because of bytes that are no request"),
    ("authentications_failed", "authentications_failed", "Authentication requests refused"),
    ("overloads", "log_overloads", "Commands that the log did not take at the first try"),
    ("interruptions", "client_interruptions", "Times at which the outcome of what was proposed became unknown"),
)


def register(service: CoordinationService, figures: Figures) -> None:
    """The service's figures."""
    counters, machine = service.counters, service.machine
    for attribute, name, help_text in COUNTED:
        figures.counter(name, help_text, lambda attribute=attribute: getattr(counters, attribute))  # type: ignore[misc]
    figures.counters_by("kind", "requests", "Requests taken", counters.requests_by_kind)
    figures.histogram(counters.latencies)
    figures.counter("expiries_proposed", "Sessions whose end this node proposed", lambda: service.liveness.expiries_proposed)
    figures.counter("loop_stalls", "Times at which this process stood still for long", lambda: service.liveness.stalls)
    figures.counter("clients_evicted", "Clients disconnected for what they held", lambda: service.budget.evictions)
    figures.gauge("clients_held_back", "Clients not read from for what they hold", lambda: service.budget.held_back)
    figures.gauge("clients_held_bytes", "Half requests, waiting requests, unread output", lambda: service.budget.total_bytes)
    figures.gauge("clients", "Sessions with a connection to this node", lambda: len(service.clients))
    figures.gauge("watches", "Watches of clients of this node", lambda: len(service.watches))
    figures.gauge("znodes", "Znodes in the tree", lambda: len(machine.tree.nodes))
    figures.gauge("sessions", "Sessions in the cell", lambda: len(machine.sessions))


def register_door(door: ZooKeeperDoor, figures: Figures) -> None:
    """A door's figures."""
    figures.gauge("client_connections", "Connections to this node, with a session or without", lambda: len(door.connections))
    figures.gauge("requests_outstanding", "Requests taken and not answered yet", door.outstanding)
