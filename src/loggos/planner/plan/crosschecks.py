"""What other rules say of a plan: the queueing laws' rules of thumb, and the sizing rules of well-known systems, in words.

A rule that disagrees does not change the plan; it says where the plan rests on something that the rule does not know, or where
the rule was made for another load. Pure. Sources: sizing.py; Halfin and Whitt (1981) for square-root staffing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import sqrt
from typing import Final, NamedTuple

from loggos.planner.plan import sizing
from loggos.planner.plan.demand import Scenario
from loggos.planner.plan.intent import estimate
from loggos.planner.plan.make import Plan
from loggos.planner.plan.survival import cases, survivors, utilisation_before_loss
from loggos.planner.plan.words import figure

STAFFING_QUALITY: Final = 1.0  # Q of the square-root rule: about one request in five waits


class Check(NamedTuple):
    """`agrees`: the plan is within the rule; None: the rule tells something, and nothing to compare it with was planned."""

    rule: str
    agrees: bool | None
    words: str


def crosschecks(plan: Plan) -> list[Check]:
    """Every rule that has something to say of this plan."""
    rules: tuple[Callable[[Plan], Iterator[Check]], ...] = (headroom, staffing, kafka, partition_rule, redpanda, hdfs, voters)
    return [check for rule in rules for check in rule(plan)]


def middle(plan: Plan) -> Scenario:
    return plan.expected.middle


def headroom(plan: Plan) -> Iterator[Check]:
    """Utilisation before losses must leave room for them."""
    best, intent = plan.chosen, plan.intent
    left = min(survivors(best.nodes, intent.site, case) for case in cases(intent.survive))
    allowed = utilisation_before_loss(best.nodes, best.nodes - left, intent.utilisation_max)
    busy = best.utilisation.value
    words = f"to stay at {intent.utilisation_max:g} after losing {best.nodes - left} of {best.nodes} nodes, they may be busy to"
    yield Check("headroom for losses", busy <= allowed + 1e-9, f"{words} {allowed:.3f}; the plan's are busy to {busy:.3f}")


def staffing(plan: Plan) -> Iterator[Check]:
    """c = a + Q sqrt(a) cores, if one queue fed them all."""
    service, best = plan.intent.demand.service, plan.chosen
    if service is None:
        return
    offered = middle(plan).per_s * estimate(service.mean_ms).value / 1000 / best.kind.speed
    cores = offered + STAFFING_QUALITY * sqrt(offered)
    have = best.alive * best.kind.cores
    words = f"{figure(offered)} cores are busy at all times; with one queue for all, {figure(cores)} would do; {have} are left"
    yield Check("square-root staffing", have >= cores, f"{words} after losses. The rest pays for split queues and headroom")


def kafka(plan: Plan) -> Iterator[Check]:
    if plan.intent.streams is None:
        return
    flow, best = middle(plan), plan.chosen
    said = sizing.kafka_cluster(flow.produce_mb_per_s, flow.consume_mb_per_s, plan.groups["streams"].total)
    have, memory = best.nodes * best.kind.cores, best.nodes * best.kind.memory_gb
    words = f"{figure(said.write_equivalent)} MB/s of write equivalents ask for {said.cores} cores and {said.memory_gib} GiB"
    agrees = have >= said.cores and memory >= said.memory_gib
    yield Check("Kafka cluster (Google)", agrees, f"{words}; the plan has {have} cores and {figure(memory)} GB")


def partition_rule(plan: Plan) -> Iterator[Check]:
    streams = plan.intent.streams
    if streams is None or plan.partitions is None:
        return
    high = plan.expected.scenarios[-1]
    least = sizing.partitions(high.produce_mb_per_s, streams.partition_produce_mb_per_s, streams.partition_consume_mb_per_s)
    words = f"max(t/p, t/c) for {figure(high.produce_mb_per_s)} MB/s gives {least}; the plan has {plan.partitions.total}"
    yield Check("partitions (Confluent)", plan.partitions.total >= least, words)


def redpanda(plan: Plan) -> Iterator[Check]:
    if plan.partitions is None:
        return
    best = plan.chosen
    said = sizing.redpanda_memory_gb(plan.partitions.total, plan.partitions.replication)
    have = best.nodes * best.kind.memory_gb
    words = f"{plan.partitions.total:,} partitions of {plan.partitions.replication} replicas at 2 MB ask for {figure(said)} GB"
    yield Check("partition memory (Redpanda)", have >= said, f"{words}; the plan has {figure(have)} GB")
    least = sizing.redpanda_core_memory_gb(best.kind.cores)
    words = f"2 GB a core ask for {least:g} GB a node; {best.kind.name} has {best.kind.memory_gb:g}"
    yield Check("memory per core (Redpanda)", best.kind.memory_gb >= least, words)


def hdfs(plan: Plan) -> Iterator[Check]:
    if plan.intent.data is None:
        return
    best, replication = plan.chosen, plan.groups["data"].total
    size_gb = middle(plan).data_gb
    raw_tb = size_gb * replication / 1000
    least = sizing.datanodes(raw_tb)
    words = f"{figure(raw_tb)} TB with all replicas ask for at least {least} at 100 TB each; the plan has {best.nodes}"
    yield Check("node density (HDFS)", best.nodes >= least, words)
    heap = sizing.namenode_heap_gb(sizing.hdfs_blocks(size_gb * 1000, 128, 1))
    words = f"as files of 128 MB blocks, the names would take {figure(heap)} GB of a NameNode's heap"
    yield Check("names in memory (HDFS)", best.kind.memory_gb * plan.intent.utilisation_max >= heap, words)


def voters(plan: Plan) -> Iterator[Check]:
    group = plan.groups.get("voters")
    if group is None:
        return
    survive, best = plan.intent.survive, plan.chosen
    lost = group.total - min(survivors(group.total, plan.intent.site, case) for case in cases(survive))
    if lost <= 3:
        servers = sizing.zookeeper_ensemble(lost)
        words = f"an ensemble of {servers} survives the loss of {lost}; the plan has {group.total} voters"
        yield Check("ensemble (ZooKeeper)", group.total >= servers or lost == 0, words)
    member = sizing.etcd_member(heavy=False)
    fits = best.kind.cores >= member.cores[0] and best.kind.memory_gb >= member.memory_gb[0]
    words = f"a member should have {member.cores[0]} to {member.cores[1]} cores, {member.memory_gb[0]} GB, and a disk with an"
    words += f" 8 KB fdatasync below {member.fsync_ms_max:g} ms; {best.kind.name} has {best.kind.cores} cores and"
    yield Check("hardware of voters (etcd)", fits, f"{words} {best.kind.memory_gb:g} GB; measure its fdatasync")
