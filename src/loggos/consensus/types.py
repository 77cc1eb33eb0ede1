"""The vocabulary of the seam: entries, messages, and what `ready()` hands to the driver.

Everything here is an immutable value. Payloads are opaque bytes. A message carries no sender: the driver passes (sender,
incarnation) with it to `step`. Slots are contiguous in every sequence of entries unless said otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from typing import NamedTuple

from loggos.base.ids import Ballot, Incarnation, NodeId, Slot


class Kind(IntEnum):
    NOOP = 0  # fills a gap, or opens a leader's term; payload empty
    DATA = 1  # one batch of commands, opaque
    CONFIG = 2  # a change of the membership: an encoded Rejoin (codec.py)


class Entry(NamedTuple):
    """A value accepted in a slot. `origin` is the ballot of the leader that first proposed it, kept on adoption (rule 1)."""

    slot: Slot
    ballot: Ballot  # the ballot it was last accepted at
    origin: Ballot
    kind: Kind
    payload: bytes


class HardState(NamedTuple):
    """What an acceptor must never forget, besides its entries. `chosen` is a hint: all slots up to it are chosen here."""

    promised: Ballot
    chosen: Slot


class Member(NamedTuple):
    """A voter's current life: votes count only under `incarnation`, and only for slots >= `vouches_from` (rule 6)."""

    incarnation: Incarnation
    vouches_from: Slot


class Membership(NamedTuple):
    """Voters by node; learners follow without voting. Part of every snapshot."""

    voters: dict[NodeId, Member]
    learners: dict[NodeId, Incarnation]

    @property
    def quorum(self) -> int:
        return len(self.voters) // 2 + 1

    def with_learners(self, learners: dict[NodeId, Incarnation]) -> Membership:
        """These learn too. They come from each node's configuration, not from the log: a snapshot may be older than they are."""
        added = {node: learners[node] for node in sorted(learners) if node not in self.voters and node not in self.learners}
        return Membership(self.voters, {**self.learners, **added})


class Rejoin(NamedTuple):
    """The payload of a CONFIG entry: voter `node` lost its state and begins a new life."""

    node: NodeId
    incarnation: Incarnation


# --- messages ------------------------------------------------------------------------------------------------------------


class PreVote(NamedTuple):
    """Would you promise `ballot`? Sent before a ballot is spent. `chosen`: the sender's contiguous chosen prefix."""

    ballot: Ballot
    chosen: Slot


class PreVoteReply(NamedTuple):
    ballot: Ballot
    granted: bool
    promised: Ballot  # the replier's own promise, so that the asker can pick a higher round
    leader: NodeId  # whom the replier believes to lead; 0 for none
    chosen: Slot = Slot(0)  # the replier's contiguous chosen prefix: an asker that is behind fetches


class Prepare(NamedTuple):
    """Phase 1a for every slot >= `first`."""

    ballot: Ballot
    first: Slot


class Promise(NamedTuple):
    """Phase 1b. `entries`: all accepted at slots >= the Prepare's first (not contiguous). For an open slot that is not among them
    the replier has accepted nothing, if slot >= `vouches_from`, else its testimony is unknown. `compacted`: slots up to it are
    chosen and no longer held as entries: a proposer behind that point gives up and catches up first (rule 3). Of the entries
    those up to `chosen` are chosen. A long promise comes in parts: this one testifies for slots first..upto; the next begins at
    upto + 1; in the last one `upto` is 0, no bound."""

    ballot: Ballot
    first: Slot
    entries: tuple[Entry, ...]
    chosen: Slot
    compacted: Slot
    vouches_from: Slot
    upto: Slot = Slot(0)


class Accept(NamedTuple):
    """Phase 2a for a run of consecutive slots, and the news that all slots up to `chosen` are chosen (rule 3). Without entries it
    is that news alone, and is not answered."""

    ballot: Ballot
    entries: tuple[Entry, ...]  # each with .ballot == ballot
    chosen: Slot


class Accepted(NamedTuple):
    """Phase 2b: slots first..last are durable here at `ballot`. `chosen`: the sender's contiguous chosen prefix. Acceptors tell
    the leader; the leader, an acceptor too, tells followers that can do something with it (learner.py)."""

    ballot: Ballot
    first: Slot
    last: Slot
    chosen: Slot


class Nack(NamedTuple):
    """The ballot is below the replier's promise."""

    ballot: Ballot
    promised: Ballot


class Heartbeat(NamedTuple):
    """The leader lives; all slots up to `chosen` are chosen; `read_round` is the newest read barrier round. `heard`: the leader
    heard this follower within an election timeout; if not, what the follower sends is lost on the way."""

    ballot: Ballot
    chosen: Slot
    read_round: int
    heard: bool = True


class HeartbeatReply(NamedTuple):
    """Counts for check-quorum, and confirms the read round it echoes. `chosen`, `last`: how far the replier is (chosen prefix;
    highest slot it holds at this ballot contiguously after it), so that the leader sends what is missing. `attended`: somebody
    there waits for news; if not, it learns what is chosen with the next entries or heartbeat."""

    ballot: Ballot
    chosen: Slot
    last: Slot
    read_round: int
    attended: bool = True


class Fetch(NamedTuple):
    """Send me chosen entries from `first` on."""

    first: Slot


class Learn(NamedTuple):
    """Chosen entries, contiguous from the Fetch's first; `chosen` is the sender's chosen prefix."""

    entries: tuple[Entry, ...]
    chosen: Slot


class ReadAsk(NamedTuple):
    """A follower asks the leader for a read barrier; `context` is its own number, echoed in ReadGrant."""

    context: int


class ReadGrant(NamedTuple):
    """All that was acknowledged before the ask lies in slots <= `slot`; slot -1: refused (not leader, or lost it)."""

    context: int
    slot: int


class SnapshotOffer(NamedTuple):
    """What you need is compacted: a snapshot at `slot` follows, in chunks, by way of the drivers."""

    ballot: Ballot
    slot: Slot


class Resign(NamedTuple):
    """The leader of `ballot` gave up by itself (hung disk, no quorum, shutdown): its followers need not wait for silence."""

    ballot: Ballot


Message = (
    PreVote
    | PreVoteReply
    | Prepare
    | Promise
    | Accept
    | Accepted
    | Nack
    | Heartbeat
    | HeartbeatReply
    | Fetch
    | Learn
    | ReadAsk
    | ReadGrant
    | SnapshotOffer
    | Resign
)


class Outgoing(NamedTuple):
    to: NodeId
    message: Message


class Role(IntEnum):
    LEARNER = 0  # follows; does not vote (a configured learner, or a voter whose rejoin is not yet chosen)
    FOLLOWER = 1
    CANDIDATE = 2
    LEADER = 3  # phase 1 is complete; may still be closing open slots


class Status(NamedTuple):
    """For people, metrics and doors."""

    role: Role
    leader: NodeId  # 0: none known
    ballot: Ballot  # promised
    chosen: Slot
    applied: Slot
    last: Slot  # highest slot with an entry here
    first: Slot  # lowest slot still held as an entry
    settled: bool  # leader whose first own entry is chosen: reads and acknowledgements are open
    heard: bool = True  # False: the leader is heard and says that it does not hear this node


class Ready(NamedTuple):
    """One round of work for the driver; see the numbered duties in the package docstring."""

    number: int  # of this Ready; only consecutive numbers are handed out
    hard_state: HardState | None = None  # persist, if not None, together with `entries`
    entries: tuple[Entry, ...] = ()  # persist; may overwrite slots of earlier Readys at a higher ballot; may have gaps
    must_sync: bool = False  # the persist must be durable before `persisted(number)`; False: nothing waits for it
    messages: tuple[Outgoing, ...] = ()  # may leave at once
    messages_after: tuple[Outgoing, ...] = ()  # may leave only after this Ready's persist is durable
    committed: tuple[Entry, ...] = ()  # apply, in slot order; no-ops and superseded entries come with kind NOOP
    send_snapshot: tuple[NodeId, ...] = ()  # peers that need one: the driver makes or reads it and streams it
    reads: tuple[tuple[int, Slot], ...] = ()  # (context, slot): that barrier is met once `slot` is applied; slot -1: failed
    status: Status | None = None  # new status, if role, leader or settled changed


@dataclass(frozen=True, slots=True)
class Restored:
    """What recovery found: the engine's start. `entries` may have gaps and lie beyond `hard_state.chosen`."""

    hard_state: HardState
    snapshot_slot: Slot
    membership: Membership
    entries: tuple[Entry, ...] = ()
    incarnation: Incarnation = field(default=Incarnation(1))
    origin_applied: Ballot = field(default=Ballot(0))  # of the unbroken run at snapshot_slot; 0: broken (rule 1)
