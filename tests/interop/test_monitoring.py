"""What monitors of ZooKeeper ask of real nodes."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos.load import client
from tests.interop.cluster import HOST, Cluster, eventually

pytestmark = [pytest.mark.process]


def test_mntr_of_leader_and_follower_and_the_members_in_the_tree(tmp_path: Path) -> None:
    with Cluster.running(tmp_path) as cluster:

        def values(number: int) -> dict[str, str]:
            return dict(line.split("\t", 1) for line in cluster[number].words(b"mntr").splitlines())

        number = cluster.leader()
        expected = {"zk_learners": "2", "zk_synced_followers": "2", "zk_synced_observers": "0", "zk_pending_syncs": "0"}
        eventually("both follow", lambda: expected.items() <= values(number).items())
        for found in (values(number), values(cluster.followers()[0])):
            assert 0 < int(found["zk_open_file_descriptor_count"]) < int(found["zk_max_file_descriptor_count"])
            assert int(found["zk_approximate_data_size"]) > 0
        assert "zk_learners" not in values(cluster.followers()[0])
        node = cluster[number]
        with_members = client(node.address)
        lines = with_members.get("/zookeeper/config")[0].decode().splitlines()
        with_members.stop()
        with_members.close()
        ours = {n: f"server.{n}={HOST}:{one.ports.peer}:{one.ports.peer}:participant" for n, one in cluster.nodes.items()}
        ours[number] += f";{node.address}"
        assert lines == [*ours.values(), "version=0"]
