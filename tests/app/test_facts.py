"""What mntr says of the members: a cell without processes or sockets."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from loggos.app.facts import monitored
from loggos.base.limits import WINDOW_SLOTS
from loggos.node.config import NodeConfig

CONFIG = NodeConfig(
    id=1,
    voters={str(n): f"127.0.0.1:{2185 + n}" for n in (1, 2, 3)},
    learners={str(n): f"127.0.0.1:{2185 + n}" for n in (4, 5)},
    data="data",
)


def replica(leader: int, chosen: dict[int, int], up: tuple[int, ...]) -> Any:
    return SimpleNamespace(
        leader=leader,
        status=SimpleNamespace(chosen=1_000),
        mesh=SimpleNamespace(is_up=lambda node: node in up),
        engine=SimpleNamespace(peer_chosen=lambda node: chosen.get(node, 0)),
    )


def said(replica: Any, descriptors: tuple[int, int] | None = None) -> dict[str, object]:
    world: Any = SimpleNamespace(descriptors=lambda: descriptors)
    return monitored(CONFIG, world, replica)


def test_a_leader_says_who_follows_it_and_who_is_as_far_as_it_is() -> None:
    behind = 1_000 - WINDOW_SLOTS - 1
    found = said(replica(1, {2: 1_000, 3: behind, 4: behind + 1, 5: 1_000}, up=(2, 3, 4)))
    assert found == {"learners": 3, "synced_followers": 1, "synced_observers": 1}


def test_a_follower_says_nothing_of_others_and_a_process_its_descriptors() -> None:
    assert said(replica(2, {}, ())) == {}
    counts = {"open_file_descriptor_count": 40, "max_file_descriptor_count": 1_024}
    assert said(replica(2, {}, ()), (40, 1_024)) == counts
