"""The proofs: a good story passes all; every planted wrong makes its own proof fail, and says what is wrong."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest

from loggos.app.tour.proofs import prove
from loggos.app.tour.records import RESOLVED, Story
from tests.tour.stories import TOTAL, changed, story

STALE, LOST, TOKENS, REPLICAS, FAULTS = range(5)
Spoil = Callable[[Story], None]


def test_a_good_story_passes_every_proof() -> None:
    proofs = prove(story())
    assert [proof.holds for proof in proofs] == [True] * 5
    assert all(proof.evidence and not proof.look_at for proof in proofs)


def test_resolved_increments_count_as_made() -> None:
    spoiled = story()
    spoiled.increments[7] = changed(spoiled.increments[7], outcome=RESOLVED, mzxid=0)
    proofs = prove(spoiled)
    assert all(proof.holds for proof in proofs)
    assert "39 acknowledged + 1 resolved" in proofs[LOST].evidence


def a_stale_token_writes_late(s: Story) -> None:
    s.increments[20] = changed(s.increments[20], token=s.increments[10].token, worker=s.increments[10].worker)


def the_stale_write_is_accepted(s: Story) -> None:
    s.stale[0] = msgspec.structs.replace(s.stale[0], applied=True)


def nobody_held_the_lock_meanwhile(s: Story) -> None:
    s.stale[0] = msgspec.structs.replace(s.stale[0], counter_token=s.stale[0].token)


def the_old_token_goes_on_after_the_pause(s: Story) -> None:
    s.stale[0] = msgspec.structs.replace(s.stale[0], token=s.increments[30].token, counter_token=9_999)


def nobody_was_paused(s: Story) -> None:
    s.stale.clear()


def commits_in_another_order(s: Story) -> None:
    s.increments[5] = changed(s.increments[5], mzxid=s.increments[6].mzxid + 1)


def a_value_is_lost(s: Story) -> None:
    del s.increments[17]


def a_value_is_made_twice(s: Story) -> None:
    s.increments.append(changed(s.increments[17], sequence=1_000, at=18.5))


def one_write_is_counted_twice(s: Story) -> None:
    s.increments[18] = changed(s.increments[18], sequence=s.increments[17].sequence)


def a_value_beyond_the_total(s: Story) -> None:
    s.increments.append(changed(s.increments[-1], before=TOTAL, after=TOTAL + 1, sequence=1_000))


def a_step_of_two(s: Story) -> None:
    s.increments[17] = changed(s.increments[17], before=16)


def a_node_holds_less(s: Story) -> None:
    s.replicas[1] = msgspec.structs.replace(s.replicas[1], value=TOTAL - 1)


def one_write_more_than_counted(s: Story) -> None:
    s.replicas[:] = [msgspec.structs.replace(replica, version=TOTAL + 1) for replica in s.replicas]


def two_workers_share_a_token(s: Story) -> None:
    s.increments[9] = changed(s.increments[9], worker=1)


def a_token_is_given_again(s: Story) -> None:
    for place in range(8, 12):
        s.increments[place] = changed(s.increments[place], token=s.increments[4].token, worker=s.increments[4].worker + 1)


def a_holder_gets_an_older_token(s: Story) -> None:
    for place in range(8, 12):
        s.increments[place] = changed(s.increments[place], token=105)


def a_digest_differs(s: Story) -> None:
    s.replicas[2] = msgspec.structs.replace(s.replicas[2], digest="deadbeef")


def a_full_digest_differs(s: Story) -> None:
    s.replicas[1] = msgspec.structs.replace(s.replicas[1], full_digest="badc0ffee")


def full_digests_of_different_slots(s: Story) -> None:
    s.replicas[0] = msgspec.structs.replace(s.replicas[0], full_slot=57)


def nobody_made_a_full_digest(s: Story) -> None:
    s.replicas[:] = [msgspec.structs.replace(replica, full_slot=0, full_digest="") for replica in s.replicas]


def an_index_differs(s: Story) -> None:
    s.replicas[0] = msgspec.structs.replace(s.replicas[0], index=89)


def a_node_is_missing(s: Story) -> None:
    del s.replicas[2]


def a_kill_is_missing(s: Story) -> None:
    del s.faults[0]


def a_fault_after_the_work(s: Story) -> None:
    s.faults[3] = msgspec.structs.replace(s.faults[3], at=99.0)


def the_leader_stays(s: Story) -> None:
    s.faults[2] = msgspec.structs.replace(s.faults[2], leader_after=1)


@pytest.mark.parametrize(
    ("spoil", "proof", "says"),
    [
        (a_stale_token_writes_late, STALE, "after 20 with the newer token"),
        (the_stale_write_is_accepted, STALE, "was accepted"),
        (nobody_held_the_lock_meanwhile, STALE, "was not stale"),
        (the_old_token_goes_on_after_the_pause, STALE, "with its old token"),
        (nobody_was_paused, STALE, "nothing is proven"),
        (commits_in_another_order, STALE, "not above"),
        (a_value_is_lost, LOST, "18 was made 0 times"),
        (a_value_is_made_twice, LOST, "18 was made 2 times"),
        (one_write_is_counted_twice, LOST, "2 times"),
        (a_value_beyond_the_total, LOST, "outside 1 to 40"),
        (a_step_of_two, LOST, "from 16 to 18"),
        (a_node_holds_less, LOST, "node 2 holds 39"),
        (one_write_more_than_counted, LOST, "after 41 writes"),
        (two_workers_share_a_token, TOKENS, "was used by"),
        (a_token_is_given_again, TOKENS, "was used by"),
        (a_holder_gets_an_older_token, TOKENS, "worker 3 got token 0x69 after worker 2 had 0x6e"),
        (a_digest_differs, REPLICAS, "deadbeef"),
        (a_full_digest_differs, REPLICAS, "badc0ffee"),
        (full_digests_of_different_slots, REPLICAS, "at slot 57"),
        (nobody_made_a_full_digest, REPLICAS, "nothing is proven"),
        (an_index_differs, REPLICAS, "index 89"),
        (a_node_is_missing, REPLICAS, "node 2"),
        (a_kill_is_missing, FAULTS, "kill: 1 times"),
        (a_fault_after_the_work, FAULTS, "after the last increment"),
        (the_leader_stays, FAULTS, "did not change the leader"),
    ],
    ids=lambda value: value.__name__ if callable(value) else "",
)
def test_a_planted_wrong_is_found(spoil: Spoil, proof: int, says: str) -> None:
    spoiled = story()
    spoil(spoiled)
    found = prove(spoiled)[proof]
    assert not found.holds
    assert says in found.evidence
    assert found.look_at


def test_an_empty_story_proves_nothing() -> None:
    assert not any(proof.holds for proof in prove(Story(total=10, workers=2)))
