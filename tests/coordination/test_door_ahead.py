"""A client that has seen more than its new node: perhaps the node has only not heard of it yet, and then it is worth a moment."""

from __future__ import annotations

import asyncio

from loggos.base.limits import CATCH_UP_WAIT_MS
from tests.coordination.fake_log import FakeCell
from tests.coordination.raw_client import RawClient, in_loop, settle


async def moving_to_a_node_behind() -> tuple[FakeCell, RawClient]:
    """The client's session is known to node 2; its last write is not."""
    cell = FakeCell(2).start()
    client = await RawClient(cell, 1).connect()
    cell.logs[2].step()
    cell.logs[2].held = cell.logs[2].hold_barriers = True
    client.send(client.create(b"/seen"))
    await settle()
    client.lose()
    moved = RawClient(cell, 2)
    moved.session, moved.password = client.session, client.password
    assert cell.logs[1].index > cell.logs[2].index
    moved.send(moved.hello(last_zxid=cell.logs[1].index) + moved.exists(b"/seen"))
    await settle()
    assert not moved.closed and moved.take() == b"" and len(cell.entries) == 2, "nothing is proposed of it yet"
    return cell, moved


@in_loop
async def test_it_is_served_as_soon_as_the_node_has_caught_up() -> None:
    cell, moved = await moving_to_a_node_behind()
    cell.logs[2].held = False
    cell.logs[2].step()
    cell.logs[2].release_barriers()
    await settle()
    cell.logs[2].step()
    await settle()
    greeting, answer = moved.frames()
    assert greeting[8:16] == moved.session.to_bytes(8, "big") and answer[12:16] == bytes(4)
    await asyncio.sleep(CATCH_UP_WAIT_MS / 1000 + 0.05)
    assert len(cell.entries) == 3 and not moved.closed, "it was attached once"


@in_loop
async def test_a_node_that_stays_behind_sends_it_on() -> None:
    cell, moved = await moving_to_a_node_behind()
    cell.logs[2].release_barriers(ok=False)
    await settle()
    assert moved.closed and moved.take() == b"" and len(cell.entries) == 2


@in_loop
async def test_it_does_not_wait_for_a_node_that_hears_nothing() -> None:
    cell, moved = await moving_to_a_node_behind()
    await asyncio.sleep(CATCH_UP_WAIT_MS / 1000 + 0.05)
    assert moved.closed and moved.take() == b"" and len(cell.entries) == 2
    cell.logs[2].held = False
    cell.logs[2].step()
    cell.logs[2].release_barriers()
    await settle()
    assert len(cell.entries) == 2


@in_loop
async def test_if_it_leaves_meanwhile_nothing_is_proposed() -> None:
    cell, moved = await moving_to_a_node_behind()
    moved.lose()
    cell.logs[2].held = False
    cell.logs[2].step()
    cell.logs[2].release_barriers()
    await settle()
    assert len(cell.entries) == 2
