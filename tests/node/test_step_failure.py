"""An invariant that breaks while a peer's message is taken in stops the node: half a step may have been taken."""

from __future__ import annotations

import asyncio
from typing import Any

from loggos.app.build import Parts
from loggos.app.simulation.cluster import SimCluster
from loggos.app.simulation.recorder import LogRecorder
from loggos.base.ids import Incarnation, NodeId
from loggos.consensus.engine import Paxos
from loggos.consensus.types import Accept
from loggos.node.member import MemberParts
from loggos.sim.world import SimWorld


class Broken(Paxos):
    """Node 2 finds an invariant broken at its first Accept with entries."""

    def step(self, sender: NodeId, incarnation: Incarnation, message: Any) -> None:
        assert self.node != 2 or not isinstance(message, Accept) or not message.entries, "an invariant is broken"
        super().step(sender, incarnation, message)


def test_a_broken_invariant_stops_the_node_and_no_other() -> None:
    with SimWorld(5) as world:
        cluster = SimCluster(world, 3, Parts(member=MemberParts(engine=Broken)), LogRecorder(world.loop.time))

        async def scenario() -> None:
            for host in cluster.hosts:
                cluster.start(host)
            await asyncio.sleep(5)

        world.run(scenario())
        assert [failure.host for failure in world.failures] == ["n2"]
        assert isinstance(world.failures[0].error, AssertionError)
        assert [host.name for host in cluster.hosts if host.is_running] == ["n1", "n3"]
