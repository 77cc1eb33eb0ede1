"""Survivors that no test should kill, each with the reason: the mutant behaves as the original does, or only costs time.

Named by file, function, and the line before and after, so that moving code does not orphan an entry. They stay in the
first figure of the report; the second leaves them out.
"""

from __future__ import annotations

from typing import NamedTuple


class Argued(NamedTuple):
    """`before` and `after`: the whole source line(s), stripped, as the report shows them."""

    file: str
    function: str
    before: str
    after: str
    reason: str


ARGUED: tuple[Argued, ...] = (
    Argued(
        "storage/snapshots.py",
        "SnapshotWriter._sync",
        "self._unsynced = 0",
        "self._unsynced = 1",
        "One byte in the 8 MiB after which a snapshot in the making is synced.",
    ),
    Argued(
        "consensus/acceptor.py",
        "Acceptor.accept_run",
        "self.save_promise()",
        "pass",
        "What is stored takes the promise along to the disk. Where nothing is stored, each slot is a repeat at "
        "this ballot (its write took the promise along) or chosen already (whatever is accepted there later is the "
        "same value). Kept for clarity.",
    ),
    Argued(
        "consensus/codec.py",
        "encode_message",
        'return parts[0] if len(parts) == 1 else b"".join(parts)',
        'return parts[0] if len(parts) == 2 else b"".join(parts)',
        "There are never two parts (a head, and two for each entry), and joining one gives that one: the first "
        "branch only saves a copy.",
    ),
    Argued(
        "consensus/engine.py",
        "Paxos.note_persist",
        "self.own_votes = None",
        "pass",
        "The votes are counted again with every later write of the term: bits that are set already. The end of the "
        "term clears them.",
    ),
    Argued(
        "consensus/learner.py",
        "",
        "_BACKOFF_STEPS_MAX = 16 # beyond any bound on a backoff, and far from a shift that grows",
        "_BACKOFF_STEPS_MAX = 15 # beyond any bound on a backoff, and far from a shift that grows",
        "The bound on the backoff cuts it off long before.",
    ),
    Argued(
        "consensus/types.py",
        "Role",
        "LEADER = 3 # phase 1 is complete; may still be closing open slots",
        "LEADER = 4 # phase 1 is complete; may still be closing open slots",
        "The number of a role is written nowhere; its name is.",
    ),
    Argued(
        "consensus/acceptor.py",
        "Acceptor.accept_run",
        "break",
        "continue",
        "The first of the two: slots of one run ascend, so all after one beyond the window are beyond it too. (The second, where "
        "there is no room, is watched by a test.)",
    ),
    Argued(
        "consensus/core.py",
        "Core.__init__",
        "self.must_save = False # the promise must be persisted with the next Ready",
        "self.must_save = True # the promise must be persisted with the next Ready",
        "The hard state would be that which was restored, and what is on the disk already is not handed out again.",
    ),
    Argued(
        "consensus/core.py",
        "Core._index_members",
        "voters = sorted(self.membership.voters)",
        "voters = list(self.membership.voters)",
        "Which bit stands for a voter is known to this node only; the order of messages to peers means nothing.",
    ),
    Argued(
        "consensus/core.py",
        "Core.see_ballot",
        "if ballot > self.ballot_seen:",
        "if ballot >= self.ballot_seen:",
        "Sets what is set already.",
    ),
    Argued(
        "storage/journal.py",
        "Journal._note_hard_state",
        "if hard_state.chosen < self._hard_state.chosen:",
        "if hard_state.chosen <= self._hard_state.chosen:",
        "Puts a value in the place of an equal one.",
    ),
    Argued(
        "storage/journal.py",
        "Journal.__init__",
        "self._file: File | None = None # of the current segment; None: it takes no more batches",
        "pass # of the current segment; None: it takes no more batches",
        "`open_journal` starts the journal before it gives it away, and every start that succeeds sets it.",
    ),
    Argued(
        "storage/journal.py",
        "Journal._make_floor_durable",
        "self._is_hard_pending = True",
        "self._is_hard_pending = False",
        "The batch of its own that follows carries hard state and floor in any case; only a batch in between could "
        "have saved that one.",
    ),
    Argued(
        "storage/recovery.py",
        "Recovery.__init__",
        "self._successor_bytes = 0 # the size that the segment after the last seal must have",
        "self._successor_bytes = 1 # the size that the segment after the last seal must have",
        "Looked at only after a seal was read, which sets it.",
    ),
    Argued(
        "consensus/election.py",
        "Election.voter_changed",
        "campaign.grants &= ~self.voter_bit.get(node, 0)",
        "campaign.grants &= ~self.voter_bit.get(node, 1)",
        "Called for voters only, which all have a bit: the default is never taken.",
    ),
    Argued(
        "consensus/leader.py",
        "Peer.note_answer",
        "self.furthest, self.patient_ms, self.backoff_ms = furthest, now_ms, 0",
        "self.furthest, self.patient_ms, self.backoff_ms = furthest, now_ms, 1",
        "Anything up to RETRANSMIT_MS is as good as none: that is waited in any case.",
    ),
    Argued(
        "storage/journal.py",
        "Journal._make_floor_durable",
        "self._is_hard_pending = True",
        "pass",
        "As above: the batch of its own that follows carries the floor in any case.",
    ),
    Argued(
        "storage/recovery.py",
        "Recovery._whole_batch",
        "return []",
        "return None",
        "Asked only whether there are any.",
    ),
    Argued(
        "consensus/codec.py",
        "",
        '3: (Prepare, struct.Struct(">qq"), None, False),',
        '3: (Prepare, struct.Struct(">qq"), None, True),',
        "Whether slots are consecutive is looked at only where there are entries.",
    ),
    Argued(
        "consensus/codec.py",
        "",
        '13: (ReadGrant, struct.Struct(">qq"), None, False),',
        '13: (ReadGrant, struct.Struct(">qq"), None, True),',
        "As above.",
    ),
    Argued(
        "consensus/core.py",
        "Core.attend",
        "if on and not self.attended:",
        "if (on):",
        "What leaves an attended node says so already.",
    ),
    Argued(
        "consensus/election.py",
        "Election.testimony_count",
        "return 0",
        "return 1",
        "Both are below a quorum; a cell of one voter has no other whose life could change.",
    ),
    Argued(
        "consensus/election.py",
        "Election.on_nack",
        "if not self.counts(sender, incarnation) or message.promised <= message.ballot:",
        "if (not self.counts(sender, incarnation)):",
        "Nobody refuses a ballot without having promised a higher one.",
    ),
    Argued(
        "consensus/leader.py",
        "Leader.admit_caught_up",
        "del self.admissions[node]",
        "pass",
        "Looked at again with every tick, and found to be done.",
    ),
    Argued(
        "consensus/learner.py",
        "Learner.answers_fetch",
        "return last is None or not last.first <= first <= last.last or self.now >= last.sent_ms + last.pause_ms",
        "return last is None or not last.first <= first < last.last or self.now >= last.sent_ms + last.pause_ms",
        "A repeat that lacks the last slot only is answered at once: one slot twice on its way.",
    ),
    Argued(
        "consensus/core.py",
        "Core.__init__",
        "self.leader_heard_ms = now_ms",
        "pass",
        "Looked at only while a leader is known, and whoever makes one known sets it.",
    ),
    Argued(
        "consensus/election.py",
        "Campaign.__init__",
        "self.first = Slot(0) # of the Prepare",
        "self.first = Slot(1) # of the Prepare",
        "Phase 1 sets it before anybody looks.",
    ),
    Argued(
        "consensus/election.py",
        "Election.count_own_promise",
        "self.collect(campaign, self.log.since(campaign.first, self.log.last, 1 << 62))",
        "self.collect(campaign, self.log.since(campaign.first, self.log.last, 1 << 63))",
        "No bound, either way.",
    ),
    Argued(
        "consensus/leader.py",
        "Leader.on_heartbeat_reply",
        "if message.read_round > peer.read_round:",
        "if message.read_round >= peer.read_round:",
        "Confirms once more what is confirmed.",
    ),
    Argued(
        "consensus/learner.py",
        "Learner.learn_chosen",
        "break",
        "continue",
        "The entries come in slot order: none of the rest is the next one either.",
    ),
    Argued(
        "consensus/log.py",
        "Log.since",
        "break",
        "continue",
        "The size only grows: whatever follows does not fit either.",
    ),
)


def reason_for(file: str, function: str, before: str, after: str) -> str:
    """Why this survivor is none; "" when nobody has argued that."""
    for argued in ARGUED:
        if argued[:4] == (file, function, before, after):
            return argued.reason
    return ""
