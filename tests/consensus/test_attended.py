"""Where nobody waits, a follower is not told at once what is chosen: it learns that with the next entries or heartbeat."""

from __future__ import annotations

import pytest

from loggos.base.errors import PeerError
from loggos.base.ids import Ballot, NodeId, Slot
from loggos.base.limits import HEARTBEAT_MS
from loggos.consensus.codec import decode_message, encode_message
from loggos.consensus.types import Accept, Heartbeat, HeartbeatReply
from tests.consensus.harness import Node, World


def with_an_idle_follower(seed: int = 1) -> tuple[World, Node, Node, Node]:
    """A settled leader that has heard that nobody waits at one follower, that one, and another; all have learned everything."""
    world = World(seed=seed)
    leader = world.elect()
    idle, busy = [node for node in world.nodes.values() if node is not leader]
    idle.engine.attend(False)
    world.run(2 * HEARTBEAT_MS)
    assert leader.slot == idle.slot == busy.slot
    leader.sent.clear()
    return world, leader, idle, busy


def told(leader: Node, to: Node, kind: type) -> list[Accept | Heartbeat]:
    """What it was told of choices, oldest first."""
    return [message for receiver, message in leader.sent if receiver == to.node and isinstance(message, kind)]  # type: ignore[misc]


def empty_accepts(leader: Node, to: Node) -> int:
    return sum(not message.entries for message in told(leader, to, Accept) if isinstance(message, Accept))


def test_an_unattended_follower_gets_no_message_that_only_tells_of_a_choice() -> None:
    world, leader, idle, busy = with_an_idle_follower()
    for number in range(3):
        assert world.propose(leader, b"%d" % number)
        world.flush()
        assert leader.state == busy.state == [b"%d" % each for each in range(number + 1)]
        assert idle.state == [b"%d" % each for each in range(number)], "what the entries said: all but the last"
    assert empty_accepts(leader, idle) == 0


def test_it_learns_with_the_next_heartbeat() -> None:
    world, leader, idle, _ = with_an_idle_follower()
    assert world.propose(leader, b"x")
    world.flush()
    assert idle.state == []
    began = world.now
    while not told(leader, idle, Heartbeat):
        world.tick()
        world.flush()
    assert idle.state == [b"x"] and world.now - began <= HEARTBEAT_MS
    assert empty_accepts(leader, idle) == 0


def test_its_votes_count_as_any_others() -> None:
    world, leader, _, busy = with_an_idle_follower()
    world.isolate(busy.node)
    assert world.propose(leader, b"x")
    world.flush()
    assert leader.state == [b"x"]


def test_when_what_it_asks_for_comes_it_hears_at_once() -> None:
    world, leader, idle, _ = with_an_idle_follower()
    leader.engine.peer_attended(idle.node)
    before = world.now
    assert world.propose(leader, b"x")
    world.flush()
    assert idle.state == [b"x"] and world.now == before and empty_accepts(leader, idle) == 0, "it hears of votes instead"


def test_its_own_word_holds_from_the_next_heartbeat_on_either_way() -> None:
    world, leader, idle, _ = with_an_idle_follower()
    leader.engine.peer_attended(idle.node)
    world.run(2 * HEARTBEAT_MS)  # it said again that nobody waits
    assert world.propose(leader, b"x")
    world.flush()
    assert idle.state == []
    idle.engine.attend(True)
    world.run(2 * HEARTBEAT_MS)
    assert world.propose(leader, b"y")
    world.flush()
    assert idle.state == [b"x", b"y"]


def test_a_barrier_of_an_unattended_follower_does_not_wait_for_a_heartbeat() -> None:
    world, leader, idle, _ = with_an_idle_follower()
    assert world.propose(leader, b"x")
    world.flush()
    before = world.now
    context = world.ask_read(idle)
    world.flush()
    assert idle.reads == [(context, leader.slot)] and idle.slot == leader.slot and world.now == before


def test_a_fresh_leader_treats_all_as_attended() -> None:
    world = World(seed=1, learners=[4])
    old, idle = world.elect(), world.nodes[NodeId(4)]
    idle.engine.attend(False)
    world.run(2 * HEARTBEAT_MS)
    world.crash(old.node)
    leader = world.elect()
    assert leader is not old and leader.engine.lead is not None
    assert all(peer.attended for peer in leader.engine.lead.peers.values()), "until they say otherwise"
    assert empty_accepts(leader, idle) == 1 and idle.slot == leader.slot
    world.run(2 * HEARTBEAT_MS)
    assert [node for node, peer in leader.engine.lead.peers.items() if not peer.attended] == [idle.node]


def test_a_follower_in_a_new_life_is_attended_until_it_says_otherwise() -> None:
    world, leader, idle, _ = with_an_idle_follower()
    world.crash(idle.node)
    assert leader.engine.lead is not None and not leader.engine.lead.peers[idle.node].attended
    world.start(idle.node)
    world.run(3 * HEARTBEAT_MS)
    assert leader.engine.lead.peers[idle.node].attended, "its engine begins so"


def test_who_does_not_lead_takes_no_note() -> None:
    _, leader, idle, busy = with_an_idle_follower()
    for node in (idle, busy):
        node.engine.peer_attended(leader.node)
        assert node.engine.ready() is None
    leader.engine.peer_attended(NodeId(9))
    assert leader.engine.ready() is None


@pytest.mark.parametrize("attended", [False, True])
def test_the_reply_survives_the_wire_and_says_yes_or_no(attended: bool) -> None:
    message = HeartbeatReply(Ballot(258), Slot(7), Slot(9), 3, attended)
    encoded = encode_message(message)
    assert decode_message(encoded) == message
    assert encoded[-1] == attended and len(encoded) == 34
    for wrong in (2, 128, 255):
        with pytest.raises(PeerError, match="neither yes nor no"):
            decode_message(encoded[:-1] + bytes((wrong,)))
    with pytest.raises(PeerError):
        decode_message(encoded[:-1])  # as peers of protocol 2 said it
