"""The shares of the doors: together they leave a node what it needs itself."""

from __future__ import annotations

import pytest

from loggos.app.room import Room, descriptors_for_all, room_for
from loggos.base.errors import ConfigError
from loggos.base.limits import CONNECTIONS_MIN, DESCRIPTORS_PER_PEER, DESCRIPTORS_RESERVED


@pytest.mark.parametrize("peers", [0, 2, 6])
@pytest.mark.parametrize("descriptors", [220, 256, 512, 1_024, 4_096, 20_000, 1_048_576])
def test_the_doors_leave_the_reserve_and_room_for_peers(descriptors: int, peers: int) -> None:
    room = room_for(descriptors, peers)
    own = DESCRIPTORS_RESERVED + DESCRIPTORS_PER_PEER * peers
    assert room.clients + room.console + room.newcomers + own <= descriptors
    assert room.clients >= CONNECTIONS_MIN and room.console > 0 and room.newcomers > peers
    assert 0 < room.clients_per_address <= room.clients / 2


@pytest.mark.parametrize("peers", [0, 2, 6])
def test_every_door_has_all_it_can_use_from_one_number_on(peers: int) -> None:
    enough = descriptors_for_all(peers)
    assert room_for(enough, peers) == room_for(10 * enough, peers) == Room()
    assert room_for(enough - 1, peers).clients == Room().clients - 1


def test_the_usual_limit_has_room_for_hundreds_of_clients() -> None:
    assert room_for(1_024, 2).clients > 700


@pytest.mark.parametrize("descriptors", [0, 64, 170])
def test_a_process_without_room_for_clients_is_told_what_it_needs(descriptors: int) -> None:
    with pytest.raises(
        ConfigError, match=rf"have {descriptors} files and connections open; .* 2 peers needs (\d+), and"
    ) as found:
        room_for(descriptors, 2)
    needed = int(str(found.value).partition(" needs ")[2].partition(",")[0])
    assert all(room_for(number, 2).clients >= CONNECTIONS_MIN for number in range(needed, 300))
    with pytest.raises(ConfigError):
        room_for(needed - 1, 2)
