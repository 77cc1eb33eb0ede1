"""The mesh: who is let in, and what a peer that is none of ours can do."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from loggos.base.ids import NodeId
from loggos.base.limits import PEER_HELLO_BYTES_MAX, PEER_HELLO_DEADLINE_MS, PEER_NEWCOMERS_MAX
from loggos.node.wire import PROTOCOL, Hello, Standing, Type, encode_hello, frame
from tests.node.kit import PEER_PORT, Cell, SimSite, in_simulation, until

GOOD = Hello(PROTOCOL, "kit", 2, 77, Standing.ESTABLISHED, [1, 2, 3], 0)


class Raw(asyncio.Protocol):
    lost = False
    lost_at = 0.0

    def connection_lost(self, error: Exception | None) -> None:
        self.lost = True
        self.lost_at = asyncio.get_running_loop().time()


def said(kind: Type, body: bytes) -> bytes:
    return b"".join(bytes(part) for part in frame(kind, body))


BAD: dict[str, tuple[bytes, str]] = {
    "garbage": (b"GET / HTTP/1.1\r\n\r\n", "peer frame"),
    "no hello": (said(Type.MESSAGE, b"x"), "does not begin with a hello"),
    "half a hello": (said(Type.HELLO, b"{"), "hello that cannot be read"),
    "another version": (said(Type.HELLO, encode_hello(msgspec.structs.replace(GOOD, protocol=9))), "peer protocol 9"),
    "another cell": (said(Type.HELLO, encode_hello(msgspec.structs.replace(GOOD, cell="other"))), "of cell 'other'"),
    "a stranger": (said(Type.HELLO, encode_hello(msgspec.structs.replace(GOOD, node=9))), "node 9 is not in"),
    "myself": (said(Type.HELLO, encode_hello(msgspec.structs.replace(GOOD, node=1))), "node 1 is not in"),
    "other voters": (said(Type.HELLO, encode_hello(msgspec.structs.replace(GOOD, voters=[1, 2]))), "configure all nodes alike"),
    "another cell of the same name": (
        said(Type.HELLO, encode_hello(msgspec.structs.replace(GOOD, founding=99))),
        "of another cell with the name 'kit'",
    ),
    "an unknown standing": (said(Type.HELLO, encode_hello(msgspec.structs.replace(GOOD, standing=7))), "unknown standing"),
    "a message that is none": (said(Type.HELLO, encode_hello(GOOD)) + said(Type.MESSAGE, b"\xff\xff"), ""),
    "no end of a hello": ((1 << 20).to_bytes(4) + bytes(PEER_HELLO_BYTES_MAX), "no hello in the first"),
    "an empty message": (said(Type.HELLO, encode_hello(GOOD)) + said(Type.MESSAGE, b""), ""),
}


@pytest.mark.parametrize("name", BAD)
def test_a_connection_that_is_no_peer_is_closed_and_the_cell_goes_on(name: str) -> None:
    data, why = BAD[name]

    async def scenario(cell: Cell) -> None:
        site: Any = cell.site
        assert isinstance(site, SimSite)
        stranger = site.world.host("stranger")
        cell.start()
        leader = await cell.until_led()
        node, raw = cell.nodes[1], Raw()

        async def attack(world: Any) -> None:
            transport, _ = await world.network.connect(site.hosts[1].address, PEER_PORT, lambda: raw)
            transport.write(data)

        stranger.start(attack)
        await until(lambda: raw.lost)
        assert any(why in fields["why"] for fields in node.logged("peer refused"))
        await cell.propose(leader.number, b"a=1")
        leader = await cell.until_led()
        await cell.propose(leader.number, b"b=1")
        await until(lambda: all(n.ledger.totals.get("b") == 1 for n in cell.running()), limit_s=60)
        assert len(cell.running()) == 3 and not any(n.fatal for n in cell.nodes.values())
        await until(lambda: all(cell.nodes[1].replica.mesh.is_up(NodeId(number)) for number in (2, 3)))

    in_simulation(scenario)


def test_connections_without_a_hello_are_few_and_end_soon() -> None:
    """The oldest of them make room, so a peer that comes meanwhile gets in; the last ones end by their deadline."""

    async def scenario(cell: Cell) -> None:
        site: Any = cell.site
        assert isinstance(site, SimSite)
        stranger = site.world.host("stranger")
        cell.start()
        await cell.until_led()
        await cell.stop(3)
        node, raws = cell.nodes[1], [Raw() for _ in range(PEER_NEWCOMERS_MAX + 100)]
        mesh = node.replica.mesh

        async def come(world: Any) -> None:
            for raw in raws:
                await world.network.connect(site.hosts[1].address, PEER_PORT, lambda raw=raw: raw)
                assert len(mesh.newcomers) <= PEER_NEWCOMERS_MAX

        loop = asyncio.get_running_loop()
        await stranger.start(come)
        came_at = loop.time()
        await until(lambda: sum(raw.lost for raw in raws) >= 100, 1)
        assert [raw.lost for raw in raws] == [True] * 100 + [False] * PEER_NEWCOMERS_MAX, "the oldest make room, no others"
        cell.start(3)
        await until(lambda: all(mesh.is_up(NodeId(number)) for number in (2, 3)), 1)
        await until(lambda: all(raw.lost for raw in raws), PEER_HELLO_DEADLINE_MS / 1000 + 1)
        assert min(raw.lost_at for raw in raws[101:]) > came_at + PEER_HELLO_DEADLINE_MS / 1000 - 1
        assert not mesh.newcomers and len(mesh.inbound) == 2
        assert node.member is not None and node.member.metrics.counters["peer_connections_refused"] == len(raws)
        assert all(mesh.is_up(NodeId(number)) for number in (2, 3)), "a peer has no deadline"

    in_simulation(scenario)
