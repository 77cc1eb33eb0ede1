"""Random schedules over the harness: one seed is one schedule of drops, repeats, reordering, cuts, crashes, wipes,
snapshots, slow disks; then everything heals and progress is demanded.
"""

from __future__ import annotations

from collections import Counter

from loggos.base.ids import Incarnation, NodeId
from loggos.consensus.core import Bounds
from loggos.consensus.engine import Paxos
from tests.consensus.harness import BrokenRule, Node, World

SMALL = Bounds(in_flight_slots=4, window_slots=8, entries_bytes=64, read_rounds=3, read_waiting=16)


class Chaos:
    """One schedule."""

    def __init__(
        self,
        seed: int,
        *,
        voters: int = 3,
        learners: int = 0,
        engine: type[Paxos] = Paxos,
        bounds: Bounds = SMALL,
        loss: float = 0.05,
        wipes: bool = True,
    ) -> None:
        ids = range(1, voters + 1)
        learner_ids = range(voters + 1, voters + learners + 1)
        self.world = World(seed, ids, learner_ids, engine=engine, bounds=bounds, eager_disk=False)
        self.random = self.world.random
        self.loss = loss
        self.wipes = wipes
        self.voters = voters
        self.life = 1
        self.lost: NodeId | None = None  # the voter that is coming back empty: one at a time is what the cell survives
        self.counter = 0
        self.events: Counter[str] = Counter()
        actions = [
            (400, self.deliver), (120, self.persist), (60, self.tick), (80, self.propose), (15, self.read),
            (2, self.crash), (8, self.restart), (3, self.compact), (2, self.cut), (4, self.heal), (3, self.carry),
            (1, self.break_link), (1, self.wipe), (1, self.step_down),
        ]  # fmt: skip
        self.actions = [action for _, action in actions]
        self.weights = [weight for weight, _ in actions]

    def run(self, steps: int) -> Counter[str]:
        for action in self.random.choices(self.actions, self.weights, k=steps):
            if action():
                self.events[action.__name__] += 1
        self.demand_progress()
        return self.events

    def node(self) -> Node | None:
        return self.random.choice(list(self.world.nodes.values())) if self.world.nodes else None

    def deliver(self) -> bool:
        network = self.world.network
        if not network:
            return False
        position = 0 if self.random.random() < 0.7 else self.random.randrange(len(network))
        packet = network.pop(position) if self.random.random() > 0.03 else network[position]  # else: it is delivered again
        if self.random.random() >= self.loss:
            self.world.deliver(packet)
        if len(network) > 500:
            del network[: len(network) // 2]
        return True

    def persist(self) -> bool:
        node = self.node()
        if node is None or not node.unpersisted:
            return False
        node.persist(self.random.randrange(1, 4))
        node.pump()
        return True

    def tick(self) -> bool:
        self.world.tick(self.random.choice([1, 5, 10, 10, 20, 50]))
        return True

    def propose(self) -> bool:
        for node in list(self.world.nodes.values()):
            if node.engine.can_propose():
                self.counter += 1
                return self.world.propose(node, b"%d-%s" % (self.counter, b"x" * self.random.randrange(30)))
        return False

    def read(self) -> bool:
        node = self.node()
        if node is not None:
            self.world.ask_read(node)
        return node is not None

    def crash(self) -> bool:
        node = self.node()
        if node is None or len(self.world.disks) - len(self.world.nodes) > self.voters // 2:
            return False
        self.world.crash(node.node)
        if self.random.random() < 0.5:  # of the writes under way, some reach the disk
            for _ in range(self.random.randrange(len(node.unpersisted) + 1)):
                node.disk.persist(node.unpersisted.popleft())
            node.disk.persist_torn(list(node.unpersisted), self.random.randrange(4))
        return True

    def restart(self) -> bool:
        down = [node for node in self.world.disks if node not in self.world.nodes]
        if not down:
            return False
        self.world.start(self.random.choice(down))
        self.readmit()
        return True

    def readmit(self) -> None:
        """Drivers tell every leader-to-be of the lives they meet."""
        for node, disk in self.world.disks.items():
            if disk.incarnation != 1 and node in self.world.membership.voters:
                for peer in self.world.nodes.values():
                    peer.engine.admit(node, disk.incarnation)

    def compact(self) -> bool:
        node = self.node()
        if node is None or node.unpersisted:
            return False
        node.compact(keep=self.random.randrange(3))
        return True

    def cut(self) -> bool:
        nodes = list(self.world.disks)
        one, other = self.random.sample(nodes, 2)
        if self.random.random() < 0.5:
            self.world.isolate(one)
        else:
            self.world.cut[(one, other)] = True
        return True

    def heal(self) -> bool:
        self.world.cut.clear()
        return True

    def carry(self) -> bool:
        found = bool(self.world.snapshots)
        self.world.carry_snapshots()
        return found

    def break_link(self) -> bool:
        one, other = self.random.sample(list(self.world.disks), 2)
        for node, lost in ((one, other), (other, one)):
            if node in self.world.nodes:
                self.world.nodes[node].engine.peer_lost(lost)
                self.world.nodes[node].pump()
        return True

    def step_down(self) -> bool:
        node = self.node()
        if node is not None:
            node.engine.step_down("chaos")
            node.pump()
        return node is not None

    def wipe(self) -> bool:
        """A voter loses its directory, if the one before it is a voter again and all others are up."""
        if not self.wipes or not self.rejoined() or len(self.world.nodes) < len(self.world.disks):
            return False
        victim = self.random.randrange(1, self.voters + 1)
        self.life += 1
        self.lost = NodeId(victim)
        self.world.crash(victim)
        self.world.wipe(victim, 1000 + self.life)
        return True

    def rejoined(self) -> bool:
        if self.lost is None:
            return True
        incarnation: Incarnation = self.world.disks[self.lost].incarnation
        current = [node.engine.membership.voters[self.lost].incarnation == incarnation for node in self.world.nodes.values()]
        return all(current) and len(current) == len(self.world.disks)

    def until_it_takes_batches(self) -> Node:
        """A leader with room for another slot. What was lost on the way is sent again after a while, which a leader that saw slow
        answers makes longer; real connections do not lose without breaking, which makes it forget how slow they were."""
        for _ in range(2 * SMALL.retransmit_backoff_ms // 10):
            leader = self.world.elect()
            if leader.engine.can_propose():
                break
            self.world.run(10)
        return leader

    def demand_progress(self) -> None:
        """Everything heals: a leader, a write on every node, and equal states must follow."""
        world = self.world
        world.cut.clear()
        world.eager_disk = True
        for node in world.disks:
            if node not in world.nodes:
                world.start(node)
        self.readmit()
        for node in world.nodes.values():
            node.persist()
            node.pump()
        world.flush()
        world.run(3_000)
        leader = self.until_it_takes_batches()
        self.counter += 1
        if not world.propose(leader, b"%d-end" % self.counter):
            raise BrokenRule("progress: the leader does not take a batch")
        world.run(1_000)
        world.check_converged()
        if not self.rejoined():
            raise BrokenRule(f"progress: voter {self.lost} does not become a voter again")
        if leader.state[-1:] != [b"%d-end" % self.counter]:
            raise BrokenRule("progress: the last batch is not applied")
