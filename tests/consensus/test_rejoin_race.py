"""A paused candidate holds the promise of a voter's old life while the log takes in the new one.

Five voters, 1 leads. 4 stands with the promises of itself and of 5; its Prepare to 3 is late; then 4 is paused. 5
loses its disk and comes back under another incarnation; 2 leads, the Rejoin is chosen in slot s, and the new life of
5 helps to choose a batch in slot s+1. Now 3 gets the late Prepare and promises, knowing s but not s+1, and 4 wakes.
If the old life's promise counted for s+1, 4 would put a no-op there.
"""

from __future__ import annotations

from loggos.base.ids import Ballot, Incarnation, NodeId, Slot
from loggos.consensus.types import Message, Prepare, PreVote, PreVoteReply, Promise
from tests.consensus.harness import Disk, Packet, Snapshot, World

NEW_LIFE = Incarnation(77)


def taken(world: World, kind: type[Message]) -> list[Packet]:  # type: ignore[valid-type]
    """All packets under way, of which the others are lost."""
    packets, world.network = world.network, []
    return [packet for packet in packets if isinstance(packet.message, kind)]


def cut(world: World, links: list[tuple[int, int]], on: bool) -> None:
    for one, two in links:
        world.cut[(NodeId(one), NodeId(two))] = world.cut[(NodeId(two), NodeId(one))] = on


def standing_candidate(world: World) -> tuple[Packet, Packet]:
    """4 has its own promise and that of 5, not yet delivered to it; gives its Prepare to 3 and the promise of 5."""
    cut(world, [(a, b) for a in (1, 2) for b in (3, 4, 5)], True)
    world.now += 850
    candidate = world.nodes[NodeId(4)]
    candidate.engine.tick(world.now)
    candidate.pump()
    for packet in taken(world, PreVote):
        if packet.to in (3, 5):
            world.nodes[packet.to].engine.now = world.now
            world.deliver(packet)
    for packet in taken(world, PreVoteReply):
        world.deliver(packet)
    prepares = {packet.to: packet for packet in taken(world, Prepare)}
    world.deliver(prepares[NodeId(5)])
    (promise,) = taken(world, Promise)
    return prepares[NodeId(3)], promise


def run(world: World, milliseconds: int, without: int) -> None:
    for _ in range(milliseconds // 10):
        world.now += 10
        for node in list(world.nodes.values()):
            if node.node != without:
                node.engine.tick(world.now)
                node.pump()
        for _ in range(20):
            packets, world.network = world.network, []
            for packet in packets:
                if packet.to != without:
                    world.deliver(packet)
        world.carry_snapshots()


def test_the_promise_of_a_lost_life_says_nothing_above_its_rejoin() -> None:
    world = World(voters=(1, 2, 3, 4, 5), bounds_random=False)
    world.now += 1000
    world.nodes[NodeId(1)].engine.tick(world.now)
    world.nodes[NodeId(1)].pump()
    world.flush()
    for number in range(3):
        world.propose(world.nodes[NodeId(1)], b"a%d" % number)
        world.flush()
    late_prepare, promise = standing_candidate(world)
    world.deliver(promise)
    world.network = []

    paused = world.nodes.pop(NodeId(4))
    cut(world, [(1, 3), (2, 3)], False)
    del world.nodes[NodeId(5)]
    for node in world.nodes.values():
        node.engine.peer_lost(NodeId(5))
        node.pump()
    world.nodes[NodeId(3)].engine.tick(world.now)
    world.disks[NodeId(5)] = Disk(NEW_LIFE, Snapshot(Slot(0), world.membership, Ballot(0), []))
    world.start(5)
    cut(world, [(1, 5), (2, 5), (3, 5)], False)
    for number in (1, 2, 3):
        world.nodes[NodeId(number)].engine.admit(NodeId(5), NEW_LIFE)
    for _ in range(200):
        run(world, 10, without=4)
        leader = world.leader()
        if leader is not None and leader.engine.counts(NodeId(5), NEW_LIFE) and world.nodes[NodeId(5)].engine.may_vote():
            break
    assert leader is not None and leader.node in (1, 2), "the lost voter is back under a leader of the other side"

    for number in (1, 2, 5):
        world.cut[(NodeId(number), NodeId(3))] = True
    slot = Slot(leader.engine.status().chosen + 1)
    assert world.propose(leader, b"acknowledged")
    for _ in range(6):
        packets, world.network = world.network, []
        for packet in packets:
            if packet.to != 4:
                world.deliver(packet)
    assert leader.engine.status().chosen == slot, "chosen with the vote of the new life, unknown to 3"

    world.nodes[NodeId(4)] = paused
    world.cut.clear()
    world.network = []
    world.deliver(late_prepare)
    for packet in taken(world, Promise):
        world.deliver(packet)
    cut(world, [(int(leader.node), other) for other in (1, 2, 3, 4, 5) if other != leader.node], True)
    for _ in range(60):
        packets, world.network = world.network, []
        for packet in packets:
            world.deliver(packet)
        world.carry_snapshots()
        world.now += 10
        for node in list(world.nodes.values()):
            node.engine.tick(world.now)
            node.pump()
    assert world.nodes[NodeId(4)].engine.status().settled, "4 leads"
    held = world.nodes[NodeId(4)].engine.log.get(slot)
    assert held is not None and held.payload == b"acknowledged"
