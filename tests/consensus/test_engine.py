"""The engine on a good network: elect, replicate, recover."""

from __future__ import annotations

from loggos.consensus.types import Kind, Role
from tests.consensus.harness import World, roles


def test_elects_one_leader_and_replicates() -> None:
    world = World()
    leader = world.elect()
    assert sorted(roles(world).values()) == [Role.FOLLOWER, Role.FOLLOWER, Role.LEADER]
    for number in range(20):
        assert world.propose(leader, b"%d" % number)
        world.flush()
    assert all(node.state == [b"%d" % number for number in range(20)] for node in world.nodes.values())


def test_a_cell_of_one() -> None:
    world = World(voters=[7])
    leader = world.elect()
    assert world.propose(leader, b"x")
    assert leader.state == [b"x"]
    context = world.ask_read(leader)
    assert leader.reads == [(context, leader.slot)]


def test_all_crash_and_recover_everything_acknowledged() -> None:
    world = World(seed=3)
    leader = world.elect()
    for number in range(30):
        assert world.propose(leader, b"%d" % number)
        world.flush()
    for node in list(world.nodes):
        world.crash(node)
    world.network.clear()
    for node in world.disks:
        world.start(node)
    world.elect()
    world.run(200)
    world.check_converged()
    assert len(next(iter(world.nodes.values())).state) == 30


def test_fail_over_is_quick_when_the_connection_breaks() -> None:
    for seed in range(20):
        world = World(seed=seed)
        old = world.elect()
        world.run(300)
        world.crash(old.node)
        began = world.now
        world.elect()
        assert world.now - began <= 100, seed


def test_followers_hear_at_once_what_is_chosen() -> None:
    world = World()
    leader = world.elect()
    world.run(100)
    before = world.now
    assert world.propose(leader, b"x")
    world.flush()
    assert world.now == before
    assert all(node.state[-1:] == [b"x"] for node in world.nodes.values())
    assert all(entry.kind is not Kind.NOOP or not entry.payload for node in world.nodes.values() for entry in node.committed)
