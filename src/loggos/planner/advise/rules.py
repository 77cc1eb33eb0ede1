"""The rules of advice, as data: each says for which service, when it applies, and what it adds to that service's verdict.

Rules: a condition looks only at the needs and at the voter layout that leads; words say why in a sentence, with the figure that
decided. Kinds: why, configure, give up, limit (the need is beyond the service), measure. Pure.
Sources: Gilbert and Lynch, Brewer's Conjecture (2002), for CAP; Abadi (2012) for PACELC; services.py for measured figures.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Literal, NamedTuple

from loggos.planner.advise import services as s
from loggos.planner.advise.needs import WAN_MS, Needs, Use
from loggos.planner.advise.regions import Layout

Kind = Literal["why", "configure", "give up", "limit", "measure"]


class Situation(NamedTuple):
    """What a rule may look at."""

    needs: Needs
    best: Layout


class Rule(NamedTuple):
    service: str
    kind: Kind
    when: Callable[[Situation], bool]
    words: Callable[[Situation], str]


SMALL: Final[tuple[Use, ...]] = ("locks", "election", "configuration", "membership")
WANTED_BY: Final[dict[str, tuple[Use, ...]]] = {
    "coordination": SMALL,
    "streams": ("events",),
    "files": ("files",),
    "jobs": ("batch",),
    "fleet": ("services",),
    "balance": ("requests",),
}


def always(_: Situation) -> bool:
    return True


def say(words: str) -> Callable[[Situation], str]:
    return lambda _: words


def several_regions(at: Situation) -> bool:
    return len(at.needs.regions) > 1


def wan(at: Situation) -> bool:
    """The leading layout has voters in several regions."""
    return sum(count > 0 for count in at.best.voters) > 1


def far_writes(at: Situation) -> str:
    words = f"clients far from the leader pay their own way to it: up to {at.best.write_far_ms:.3g} ms a write"
    return f"{words}, where {at.best.write_home_ms:.3g} ms is paid from {at.needs.home_region}"


def pacelc(at: Situation) -> str:
    if at.needs.consistency == "eventual":
        return (
            "in a partition the minority side stops writing although stale answers would have done (CAP: consistency before"
            " availability); without one, writes still pay the round trip (PACELC: PC/EC). If that is too dear, keep these data"
            " in a store that answers from either side, and settle conflicts yourself"
        )
    words = "in a partition the side without a majority stops (CAP: consistency before availability)"
    return f"{words}; without one, every write pays the round trip of a majority (PACELC: PC/EC)"


def tree_gb(at: Situation) -> float:
    """What of the data the coordination tree would hold: all, unless events, files or jobs hold the bulk."""
    return 0.0 if at.needs.any_of("events", "files", "batch") else at.needs.data_gb


def slower_than_asked(at: Situation) -> bool:
    return at.best.write_home_ms + s.WRITE_MS > at.needs.latency_ms


COORDINATION: Final = (
    Rule("coordination", "why", always, say("what is shared is small and precious: it goes through one replicated log")),
    Rule(
        "coordination",
        "why",
        lambda at: at.needs.any_of("locks"),
        say("locks carry fencing tokens that only grow, so that a holder that was paused cannot overwrite its successor's work"),
    ),
    Rule(
        "coordination",
        "why",
        lambda at: at.needs.any_of("election"),
        lambda at: f"when the leader is killed, writes go on after {s.FAILOVER_MS:g} ms at the median (measured, 3 nodes)",
    ),
    Rule(
        "coordination",
        "why",
        lambda at: at.needs.ordering == "total",
        say("all writes are in one order, which every client sees"),
    ),
    Rule(
        "coordination",
        "why",
        lambda at: at.needs.writes_per_s <= s.WRITES_PER_S / 2 and at.needs.reads_per_s <= s.READS_PER_S / 2,
        lambda at: f"{at.needs.writes_per_s:,.0f} writes/s and {at.needs.reads_per_s:,.0f} reads/s are within half of what was"
        f" measured ({s.WRITES_PER_S:,.0f} and {s.READS_PER_S:,.0f} on 3 nodes of one 2-core machine)",
    ),
    Rule("coordination", "configure", always, lambda at: at.best.words(at.needs.regions)),
    Rule(
        "coordination",
        "configure",
        lambda at: at.needs.consistency == "linearizable",
        lambda at: f"sync before a read where a stale answer would do harm ({at.best.write_home_ms:.3g} ms of network from"
        f" {at.needs.home_region}, as a write); other reads are local and quick",
    ),
    Rule(
        "coordination",
        "configure",
        lambda at: s.WRITES_PER_S / 2 < at.needs.writes_per_s <= s.WRITES_PIPELINED_PER_S / 2,
        lambda at: f"pipeline writes (send without waiting for each answer): {s.WRITES_PIPELINED_PER_S:,.0f}/s were measured so,"
        f" {s.WRITES_PER_S:,.0f}/s one at a time",
    ),
    Rule(
        "coordination",
        "configure",
        wan,
        say("coordination.tick_ms so that session timeouts are well above the round trips and the pauses of your clients"),
    ),
    Rule("coordination", "give up", always, pacelc),
    Rule("coordination", "give up", several_regions, far_writes),
    Rule(
        "coordination",
        "give up",
        lambda at: at.best.total > 3,
        lambda at: f"every write is sent to {at.best.total - 1} followers: more voters survive more and are never quicker",
    ),
    Rule("coordination", "give up", always, say("one log, one leader: writes do not get faster with more nodes; reads do")),
    Rule(
        "coordination",
        "give up",
        lambda at: at.best.total > 1,
        say("no TLS yet: nodes on several machines need a private network and --insecure; voters are fixed at the first start"),
    ),
    Rule(
        "coordination",
        "limit",
        lambda at: at.needs.writes_per_s > s.WRITES_PIPELINED_PER_S / 2,
        lambda at: f"{at.needs.writes_per_s:,.0f} writes/s are too near the {s.WRITES_PIPELINED_PER_S:,.0f} that were"
        " measured with deep pipelines: shard the data over several cells, or use a partitioned store (Kafka for events,"
        " Cassandra for records)",
    ),
    Rule(
        "coordination",
        "limit",
        lambda at: at.needs.item_kb > s.ITEM_KB_MAX and at.needs.any_of(*SMALL) and tree_gb(at) > 0,
        lambda at: f"items of {at.needs.item_kb:,.0f} KB: one request is at most {s.ITEM_KB_MAX:,.0f} KB. Keep the bulk in"
        " files and only its name here",
    ),
    Rule(
        "coordination",
        "limit",
        lambda at: tree_gb(at) > s.TREE_GB_MAX,
        lambda at: f"{at.needs.data_gb:,.4g} GB: the whole tree is in every node's memory; beyond about {s.TREE_GB_MAX:g} GB"
        " restarts get slow. Keep the bulk in a database or in files, and coordination for what must be agreed on",
    ),
    Rule(
        "coordination",
        "limit",
        lambda at: at.needs.clients > s.CLIENTS_MAX,
        lambda at: f"{at.needs.clients:,} clients: beyond about {s.CLIENTS_MAX:,} sessions put a proxy or local caches between",
    ),
    Rule(
        "coordination",
        "limit",
        slower_than_asked,
        lambda at: f"a write takes {at.best.write_home_ms:.3g} ms of network alone, and {at.needs.latency_ms:g} ms were asked"
        " for: put all voters in one region and give up its survival, or accept a copy that lags (asynchronous replication)",
    ),
    Rule(
        "coordination",
        "measure",
        always,
        say("`loggos bench coordination` on your machines: the figures above are one 2-core machine's, and fdatasync decides"),
    ),
    Rule(
        "coordination",
        "measure",
        lambda at: bool(at.needs.assumed()),
        lambda at: "the round trips between "
        + ", ".join(f"{one} and {other}" for one, other in at.needs.assumed()[:4])
        + f": {WAN_MS[1]:g} ms was assumed, {WAN_MS[0]:g} to {WAN_MS[2]:g} ms is usual",
    ),
)

BULK: Final = (
    Rule("streams", "why", always, say("records are appended, kept in order by key, and read later by several consumers")),
    Rule(
        "streams",
        "configure",
        always,
        lambda at: "replication 3, acks=all, min.insync.replicas 2"
        + ("; replicas in different zones" if at.needs.zones > 1 else "")
        + ("; within one region, mirrored to the others" if len(at.needs.regions) > 1 else ""),
    ),
    Rule(
        "streams",
        "give up",
        lambda at: at.needs.ordering == "total",
        say("records are in order within a partition only: one order of all needs a single partition, at one node's speed"),
    ),
    Rule(
        "streams",
        "limit",
        lambda at: at.needs.write_mb_per_s > s.STREAM_MB_PER_S_MAX,
        lambda at: f"{at.needs.write_mb_per_s:,.4g} MB/s: beyond about {s.STREAM_MB_PER_S_MAX:g} MB/s use Kafka or Redpanda",
    ),
    Rule("files", "why", always, say("large objects are written once, replicated whole, and read in sequence")),
    Rule("files", "configure", always, say("replication 3 over different zones; blocks of 128 MB; small files packed together")),
    Rule(
        "files",
        "give up",
        lambda at: at.needs.access == "random",
        say("files are appended, not changed in place: random updates belong in a database"),
    ),
    Rule(
        "files",
        "limit",
        lambda at: at.needs.data_gb > 1000 * s.FILES_TB_MAX,
        lambda at: f"{at.needs.data_gb / 1000:,.4g} TB: beyond about {s.FILES_TB_MAX:g} TB use HDFS or an object store",
    ),
    Rule("jobs", "why", always, say("work over much data is cut into tasks that run near it, and are run again where they fail")),
    Rule(
        "jobs",
        "give up",
        lambda at: at.needs.mode == "online",
        say("jobs are for throughput, not for answers while somebody waits: keep the online path apart"),
    ),
    Rule(
        "jobs",
        "limit",
        lambda at: at.needs.data_gb > 1000 * s.FILES_TB_MAX,
        say("beyond seven machines use Apache Spark or Dask on a cluster made for it"),
    ),
    Rule("fleet", "why", always, say("processes are placed by what they need and moved when machines fail")),
    Rule("fleet", "configure", always, say("try policies on a recorded trace with `loggos fleet whatif`")),
    Rule("balance", "why", always, say("requests go to the server that is likely to answer soonest")),
    Rule(
        "balance",
        "configure",
        lambda at: at.needs.access != "random",
        say("Prequal with load reported by the servers where they are unequal; power of two choices where they are equal"),
    ),
    Rule(
        "balance",
        "configure",
        lambda at: at.needs.access == "random",
        say("rendezvous or ring hashing with bounded load, so that a key finds the cache of one server"),
    ),
    Rule(
        "balance",
        "configure",
        lambda at: at.needs.zones > 1,
        say("prefer the client's own zone while enough of its servers are healthy"),
    ),
    Rule(
        "balance",
        "give up",
        always,
        say("it balances inside Python clients: for other languages, TLS at the edge or raw TCP put HAProxy in front"),
    ),
)

RULES: Final = (*COORDINATION, *BULK)
