"""Broken engines (and one broken member): safety rules 1 to 8. Most classes are those of tests/consensus/planted.py."""

from __future__ import annotations

from loggos.base.ids import Incarnation, Slot
from loggos.consensus.election import Testimony
from loggos.consensus.engine import Paxos
from loggos.consensus.leader import Leadership
from loggos.node.member import FOUNDING, Member
from tests.consensus import planted
from tests.sim.planted.bug import LOST, STALE, Bug, member, node


class SkipsGaps(Paxos):
    """An open slot in which nobody accepted anything is left open."""

    def close_open_slots(self, lead: Leadership) -> None:
        campaign = lead.campaign
        if campaign is not None:
            upto = min(lead.max_seen, self.window_end())
            known = [Slot(slot) for slot in range(lead.next, upto + 1) if slot in campaign.best]
            for slot in known:
                if self.testimony_count(campaign, slot) >= self.quorum:
                    lead.next = slot
                    self.propose_entry(lead, self.adopted_entry(lead, campaign.best[slot]))
            lead.next = Slot(max(lead.next, upto + 1))
        super().close_open_slots(lead)


class VouchesForAll(Paxos):
    """A voter that lost its state testifies "nothing accepted" for slots of its former life."""

    def is_known(self, testimony: Testimony, slot: int) -> bool:
        return True


class FoundsAgain(Member):
    """A wiped voter takes the founding incarnation, and votes as if nothing had happened."""

    def _fresh_incarnation(self) -> Incarnation:
        return FOUNDING


BUGS = (
    Bug(
        "accepted-before-fsync", "a follower acknowledges before its disk has the entry", 2,
        member(engine=planted.AcceptedBeforeDisk), LOST,
    ),
    Bug("promise-not-durable", "a promise is not written to disk", 2, member(engine=planted.PromiseNotSaved), LOST),
    Bug(
        "self-vote-before-fsync", "a leader counts itself before its own disk", 2,
        member(engine=planted.SelfVoteBeforeDisk), LOST,
    ),
    Bug(
        "persisted-by-watermark", "any durable write is taken for that of every vote", 2,
        member(engine=planted.PersistedByWatermark), LOST,
    ),
    Bug(
        "primary-order-dropped", "batches behind a hole in their leader's run are applied", 1,
        member(engine=planted.PrimaryOrderDropped), LOST,
    ),
    Bug("origin-not-kept", "an adopted batch passes for the adopter's own", 1, member(engine=planted.AdoptsAsItsOwn), LOST),
    Bug(
        "gap-not-filled", "an open slot without a value is left open", 1,
        member(engine=SkipsGaps), ("primary-order", "progress", "node-stopped"),
    ),
    Bug(
        "gap-filled-over-value", "an open slot is filled with a no-op, whatever was accepted there", 1,
        member(engine=planted.FillsOverAccepted), LOST,
    ),
    Bug(
        "promise-hides-accepted", "a promise reports nothing of what was accepted", 6,
        member(engine=planted.ForgetsAccepted), LOST,
    ),
    Bug(
        "lowest-ballot-adopted", "of the values reported for a slot any is adopted", 1,
        member(engine=planted.LowestBallotWins), LOST,
    ),
    Bug(
        "learns-any-ballot", "whatever is held below a commit index is taken for chosen", 3,
        member(engine=planted.LearnsAnyBallot), LOST,
    ),
    Bug(
        "behind-compaction", "a candidate behind another's compaction goes on", 3,
        member(engine=planted.IgnoresCompaction), LOST,
    ),
    Bug("stale-accept", "an Accept below the promise is taken", 2, member(engine=planted.AnyAccept), LOST),
    Bug("minority-chooses", "one vote less than a quorum chooses", 4, member(engine=planted.MinorityIsEnough), LOST),
    Bug("any-life-votes", "the votes of every incarnation of a voter count", 6, member(engine=planted.AnyLifeVotes), LOST),
    Bug("vouching-ignored", "a voter that lost its state testifies for its former life", 6, member(engine=VouchesForAll), LOST),
    Bug("wiped-voter-votes", "a wiped voter comes back under its founding incarnation", 6, node(member_type=FoundsAgain), LOST),
    Bug(
        "stale-barrier", "a deposed leader answers barriers without asking anyone", 8,
        member(engine=planted.ReadsUnconfirmed), STALE,
    ),
    Bug(
        "follower-learns-before-fsync", "a follower counts itself and its leader before its own disk has the entry", 2,
        member(engine=planted.LearnsBeforeOwnDisk), LOST,
    ),
    Bug(
        "follower-keeps-leaders-votes", "what an earlier leader's disk had passes for what the new one's has", 2,
        member(engine=planted.KeepsVotesOfAnotherLeader), LOST,
    ),
    Bug(
        "follower-keeps-own-votes", "what a follower's disk held at an earlier ballot passes for the new leader's", 2,
        member(engine=planted.KeepsOwnVotesForAnotherLeader), LOST,
    ),
    Bug(
        "follower-own-vote-of-any-ballot", "a write on its way when the leader changed counts for the new leader", 2,
        member(engine=planted.OwnVoteOfAnyBallot), LOST,
    ),
    Bug(
        "follower-leaders-vote-of-any-ballot", "a leader's vote of an earlier term of its counts for the present one", 2,
        member(engine=planted.LeadersVoteOfAnyBallot), LOST,
    ),
    Bug(
        "barrier-own-prefix", "a barrier covers what the leader knows as chosen, not what a follower knew before it", 8,
        member(engine=planted.ReadsOwnPrefix), STALE,
    ),
    Bug(
        "barrier-unsettled", "a new leader answers barriers before its first own entry is chosen", 8,
        member(engine=planted.ReadsUnsettled), STALE,
    ),
)
