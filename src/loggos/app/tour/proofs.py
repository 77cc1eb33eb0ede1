"""What the lock chapter claims, checked against its evidence. Pure: a story in, a list of verdicts out.

Every proof reads records only, each from more than one side where there is one (what workers were told, what the counter's znode
says, what every node says), and gives its evidence in numbers. A proof that fails says what it found first and where to look.
"""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Final, NamedTuple

from loggos.app.tour.records import RESOLVED, Increment, Replica, Stale, Story

KILLS, LEADER_PAUSES, HOLDER_PAUSES = 2, 1, 1
FAULTS_WANTED: Final = {"kill": KILLS, "pause leader": LEADER_PAUSES, "pause holder": HOLDER_PAUSES}
SHOWN_MAX: Final = 3  # problems that a failed proof prints


class Proof(NamedTuple):
    """One claim: whether it holds, the evidence, and where to look if it does not."""

    title: str
    holds: bool
    evidence: str
    look_at: str


def in_order(story: Story) -> list[Increment]:
    """The counter's history: accepted increments by the value they made."""
    return sorted(story.increments, key=lambda record: (record.after, record.at))


# --- no stale increment was accepted ---
def tokens_that_went_back(story: Story) -> Iterator[str]:
    history = in_order(story)
    for earlier, later in pairwise(history):
        if later.token < earlier.token:
            yield (
                f"{later.after} was written by worker {later.worker} with token {later.token:#x}, "
                f"after {earlier.after} with the newer token {earlier.token:#x}"
            )


def commits_out_of_order(story: Story) -> Iterator[str]:
    """The server's own numbering of writes must tell the same order as the values."""
    history = [record for record in in_order(story) if record.mzxid]
    for earlier, later in pairwise(history):
        if later.mzxid <= earlier.mzxid:
            yield f"{later.after} has zxid {later.mzxid:#x}, not above {earlier.mzxid:#x} of {earlier.after}"


def stale_writes_accepted(story: Story) -> Iterator[str]:
    """A paused holder's prepared write, sent after others had held the lock, must be refused."""
    for stale in story.stale:
        who = f"worker {stale.worker} with token {stale.token:#x}"
        if stale.applied:
            yield f"the write of {who}, prepared before its pause, was accepted after it"
        if stale.counter_token <= stale.token:
            yield f"nobody held the lock while {who} was paused: its write was not stale"
        if any(record.token == stale.token and record.at >= stale.at for record in story.increments):
            yield f"{who} made increments after its pause with its old token"


def no_stale_increment(story: Story) -> Proof:
    title = "No stale increment was accepted"
    problems = [*tokens_that_went_back(story), *commits_out_of_order(story), *stale_writes_accepted(story)]
    if not story.stale:
        problems.append("no paused holder tried a stale write: nothing is proven")
    if problems:
        return failed(title, problems, "worker*.log and the increments in records.jsonl")
    return Proof(title, True, "; ".join(map(describe_stale, story.stale)), "")


def describe_stale(stale: Stale) -> str:
    return (
        f"worker {stale.worker} woke with token {stale.token:#x} and its write of {stale.after:,} ready: refused "
        f"({', then '.join(stale.answers)}); the counter was at {stale.counter_value:,} with token {stale.counter_token:#x}"
    )


# --- none lost, none doubled ---
def values_not_once(story: Story) -> Iterator[str]:
    seen = Tally(record.after for record in story.increments)
    for value in range(1, story.total + 1):
        if seen[value] != 1:
            yield f"{value} was made {seen[value]} times"
    for value in sorted(value for value in seen if not 1 <= value <= story.total):
        yield f"{value} was made, which is outside 1 to {story.total}"


def steps_not_one(story: Story) -> Iterator[str]:
    for record in story.increments:
        if record.after != record.before + 1:
            yield f"worker {record.worker} went from {record.before} to {record.after}"


def sequences_twice(story: Story) -> Iterator[str]:
    for (worker, sequence), count in Tally((record.worker, record.sequence) for record in story.increments).items():
        if count > 1:
            yield f"worker {worker} counted its write {sequence} {count} times"


def final_values_wrong(story: Story) -> Iterator[str]:
    """The znode's version counts every write that was ever applied to it."""
    for replica in story.replicas:
        if (replica.value, replica.version) != (story.total, story.total):
            yield f"node {replica.node} holds {replica.value} after {replica.version} writes, not {story.total} after as many"
    if not story.replicas:
        yield "no node told its final value"


def none_lost(story: Story) -> Proof:
    title = "None was lost and none was doubled"
    problems = [*values_not_once(story), *steps_not_one(story), *sequences_twice(story), *final_values_wrong(story)]
    if problems:
        return failed(title, problems, "the increments in records.jsonl against the final counter")
    resolved = sum(1 for record in story.increments if record.outcome == RESOLVED)
    known = f"{len(story.increments) - resolved:,} acknowledged + {resolved:,} resolved by reading back"
    evidence = f"{known} = {story.total:,} = the counter on every node; each value from 1 to {story.total:,} once"
    return Proof(title, True, evidence, "")


# --- tokens strictly increase ---
def tokens_shared(story: Story) -> Iterator[str]:
    owners: dict[int, int] = {}
    for record in in_order(story):
        if owners.setdefault(record.token, record.worker) != record.worker:
            yield f"token {record.token:#x} was used by worker {owners[record.token]} and worker {record.worker}"


def handovers_not_upward(story: Story) -> Iterator[str]:
    """Holdings in the order in which their holders wrote: every next one's token must be greater."""
    order = list(dict.fromkeys((record.worker, record.token) for record in in_order(story)))
    for (worker, token), (next_worker, next_token) in pairwise(order):
        if next_token <= token:
            yield f"worker {next_worker} got token {next_token:#x} after worker {worker} had {token:#x}"


def tokens_increase(story: Story) -> Proof:
    title = "Tokens strictly increase from holder to holder"
    problems = [*tokens_shared(story), *handovers_not_upward(story)]
    tokens = list(dict.fromkeys(record.token for record in in_order(story)))
    if not tokens:
        problems.append("there are no increments")
    if problems:
        return failed(title, problems, "the increments in records.jsonl")
    evidence = f"{len(tokens):,} holdings in order, tokens from {tokens[0]:#x} to {tokens[-1]:#x}, each used by one worker"
    return Proof(title, True, evidence, "")


# --- replicas agree ---
def replicas_equal(story: Story) -> Proof:
    title = "All replicas are equal"
    states = list(dict.fromkeys((r.slot, r.index, r.digest, r.token, r.full_slot, r.full_digest) for r in story.replicas))
    told = "; ".join(f"node {replica.node}: {describe_state(replica)}" for replica in story.replicas)
    if len(states) != 1 or len(story.replicas) != story.nodes:
        return failed(title, [told or "no node told its state"], "node*/node.log")
    first = story.replicas[0]
    if not first.full_slot:
        return failed(title, ["no node made a digest of its whole state: nothing is proven"], "node*/node.log")
    nodes = ", ".join(str(replica.node) for replica in story.replicas)
    return Proof(title, True, f"nodes {nodes}: {describe_state(first)}", "")


def describe_state(replica: Replica) -> str:
    """The log by its rolling digest, and what the node holds by that of its whole state."""
    log = f"slot {replica.slot:,}, index {replica.index:,}, digest of the log {replica.digest}"
    return f"{log}, of the whole state at slot {replica.full_slot:,} {replica.full_digest}"


# --- the faults were real ---
def faults_missing(story: Story) -> Iterator[str]:
    caused = Tally(fault.kind for fault in story.faults)
    for kind, wanted in FAULTS_WANTED.items():
        if caused[kind] != wanted:
            yield f"{kind}: {caused[kind]} times, not {wanted}"
    for fault in story.faults:
        if not any(record.at < fault.at for record in story.increments):
            yield f"{fault.kind} of {fault.target} came before any increment"
        if not any(record.at > fault.at for record in story.increments):
            yield f"{fault.kind} of {fault.target} came after the last increment"
        if fault.leader_before and fault.leader_after == fault.leader_before:
            yield f"{fault.kind} of {fault.target} did not change the leader"


def faults_struck(story: Story) -> Proof:
    title = "The faults struck under load"
    problems = list(faults_missing(story))
    if problems:
        return failed(title, problems, "events in the report, node*/node.log")
    changes = ", ".join(f"{f.leader_before}→{f.leader_after}" for f in story.faults if f.leader_before)
    pauses = ", ".join(f.target for f in story.faults if f.kind == "pause holder")
    return Proof(title, True, f"the leader killed {KILLS} times and paused once (leaders {changes}); holder paused: {pauses}", "")


def failed(title: str, problems: list[str], look_at: str) -> Proof:
    more = f"; and {len(problems) - SHOWN_MAX} more" if len(problems) > SHOWN_MAX else ""
    return Proof(title, False, "; ".join(problems[:SHOWN_MAX]) + more, look_at)


PROOFS: Final[tuple[Callable[[Story], Proof], ...]] = (
    no_stale_increment,
    none_lost,
    tokens_increase,
    replicas_equal,
    faults_struck,
)


def prove(story: Story) -> list[Proof]:
    """Every claim of the chapter, in the order in which it is shown."""
    return [proof(story) for proof in PROOFS]
