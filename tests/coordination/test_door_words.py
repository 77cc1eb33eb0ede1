"""Four-letter words: golden texts, as ZooKeeper 3.8 prints them, for monitoring that parses them."""

from __future__ import annotations

import re

import pytest

from loggos.coordination.service import FOUR_LETTER_WORDS, ServiceOptions
from loggos.coordination.zookeeper import four_letter
from tests.coordination.fake_log import FakeCell
from tests.coordination.raw_client import RawClient, in_loop, settle

OPTIONS = ServiceOptions(
    version="3.8.4-loggos-0.1.0",
    built_on="2024-02-12 22:16 UTC",
    environment=(("host.name", "one"), ("loggos.version", "0.1.0")),
    configuration=(("dataDir", "data"), ("serverId", "1")),
)


async def busy_cell(options: ServiceOptions = OPTIONS) -> FakeCell:
    """One node, one client from 10.0.0.1:40000 with an ephemeral node and two watches."""
    cell = FakeCell(options=options).start()
    client = await RawClient(cell).connect()
    await client.do(
        client.create(b"/a"), client.create(b"/a/e", flags=1), client.exists(b"/w", watch=True), client.children(b"/", watch=True)
    )
    return cell


def ask(cell: FakeCell, word: bytes) -> str:
    client = RawClient(cell, port=50_000)
    client.send(word)
    assert client.closed, "the answer is followed by the end"
    return client.take().decode()


GOLDEN = {
    b"ruok": "imok",
    b"isro": "rw",
    b"srvr": """\
Zookeeper version: 3.8.4-loggos-0.1.0, built on 2024-02-12 22:16 UTC
Latency min/avg/max: 0/0.0/0
Received: 5
Sent: 5
Connections: 2
Outstanding: 0
Zxid: 0x3
Mode: leader
Node count: 6
Proposal sizes last/min/max: -1/-1/-1
""",
    b"stat": """\
Zookeeper version: 3.8.4-loggos-0.1.0, built on 2024-02-12 22:16 UTC
Clients:
 /10.0.0.1:40000[1](queued=0,recved=4,sent=5)
 /10.0.0.1:50000[1](queued=0,recved=0,sent=0)

Latency min/avg/max: 0/0.0/0
Received: 5
Sent: 5
Connections: 2
Outstanding: 0
Zxid: 0x3
Mode: leader
Node count: 6
Proposal sizes last/min/max: -1/-1/-1
""",
    b"conf": """\
clientPort=0
secureClientPort=-1
tickTime=2000
maxClientCnxns=10000
minSessionTimeout=4000
maxSessionTimeout=40000
serverId=1
dataDir=data
""",
    b"envi": """\
Environment:
zookeeper.version=3.8.4-loggos-0.1.0, built on 2024-02-12 22:16 UTC
host.name=one
loggos.version=0.1.0
""",
    b"dump": """\
SessionTracker dump:
Session Sets (1)/(1):
\t0x101
ephemeral nodes dump:
Sessions with Ephemerals (1):
0x101:
\t/a/e
Connections dump:
Connections Sets (1)/(2):
 /10.0.0.1:40000[1](queued=0,recved=4,sent=5)
 /10.0.0.1:50000[1](queued=0,recved=0,sent=0)
""",
    b"wchs": "1 connections watching 2 paths\nTotal watches:2\n",
    b"wchc": "0x101\n\t/w\n\t/\n\n",
    b"wchp": "/w\n\t0x101\n/\n\t0x101\n\n",
}


@pytest.mark.parametrize("word", sorted(GOLDEN))
def test_golden(word: bytes) -> None:
    @in_loop
    async def run() -> None:
        assert ask(await busy_cell(), word) == GOLDEN[word]

    run()


@in_loop
async def test_cons_has_the_details_of_a_session() -> None:
    text = ask(await busy_cell(), b"cons")
    first = text.splitlines()[0]
    assert re.fullmatch(
        r" /10\.0\.0\.1:40000\[1\]\(queued=0,recved=4,sent=5,sid=0x101,lop=GETC,est=\d+,to=10000,lcxid=0x4,lzxid=0x3,"
        r"lresp=\d+,llat=\d+,minlat=\d+,avglat=\d+,maxlat=\d+\)",
        first,
    )


@in_loop
async def test_cons_tells_the_last_the_least_and_the_average_latency_apart() -> None:
    cell = FakeCell().start()
    client = await RawClient(cell).connect()
    cell.logs[1].held = True
    for seconds in (0.5, 0.125, 0.25):
        client.send(client.set(b"/"))
        await settle()
        cell.clock.now_s += seconds
        cell.logs[1].step()
    assert "llat=250,minlat=125,avglat=291,maxlat=500)" in ask(cell, b"cons")
    cell.logs[1].held = False
    await client.do(*[client.ping()] * 2)
    assert "minlat=0,avglat=175,maxlat=500)" in ask(cell, b"cons")
    fresh = FakeCell().start()
    await RawClient(fresh).connect()
    assert "llat=0,minlat=0,avglat=0,maxlat=0)" in ask(fresh, b"cons")


@in_loop
async def test_mntr_has_the_size_of_the_data_who_waits_for_a_sync_and_what_the_node_adds() -> None:
    cell = FakeCell(2, options=ServiceOptions(facts=lambda: {"learners": 1})).start()
    client = await RawClient(cell).connect()
    await client.do(client.create(b"/abc", b"12345"))
    cell.logs[1].hold_barriers = True
    await client.do(client.sync(), client.sync())

    def values(node: int) -> dict[str, str]:
        monitor = RawClient(cell, node)
        monitor.send(b"mntr")
        return dict(line.split("\t") for line in monitor.take().decode().splitlines())

    leader, follower = values(1), values(2)
    assert int(leader["zk_approximate_data_size"]) == len("//zookeeper/zookeeper/quota/zookeeper/config/abc12345")
    assert leader["zk_pending_syncs"] == "2" and leader["zk_learners"] == "1"
    assert "zk_pending_syncs" not in follower


@in_loop
async def test_mntr_is_tab_separated_and_has_what_monitors_read() -> None:
    lines = ask(await busy_cell(), b"mntr").splitlines()
    values = dict(line.split("\t") for line in lines)
    expected = {
        "zk_version": "3.8.4-loggos-0.1.0, built on 2024-02-12 22:16 UTC",
        "zk_server_state": "leader",
        "zk_num_alive_connections": "2",
        "zk_znode_count": "6",
        "zk_watch_count": "2",
        "zk_ephemerals_count": "1",
        "zk_outstanding_requests": "0",
        "zk_packets_received": "5",
        "zk_loggos_sessions_created": "1",
    }
    assert {name: values[name] for name in expected} == expected
    assert all(name.startswith("zk_") for name in values)


@in_loop
async def test_a_word_outside_the_whitelist_and_an_unknown_one() -> None:
    cell = FakeCell(options=ServiceOptions(words=("ruok",))).start()
    assert ask(cell, b"ruok") == "imok"
    assert ask(cell, b"stat") == "stat is not executed because it is not in the whitelist.\n"
    assert ask(cell, b"kill") == ask(cell, b"abcd") == ""
    assert ask(FakeCell().start(), b"srst") == "srst is not executed because it is not in the whitelist.\n"


@in_loop
async def test_a_word_may_come_in_pieces_and_after_a_session_it_is_garbage() -> None:
    cell = await busy_cell()
    client = RawClient(cell)
    client.send(b"ru")
    client.send(b"ok")
    assert client.take() == b"imok"
    live = await RawClient(cell).connect()
    live.send(b"ruok")
    assert live.closed and live.take() == b""


@in_loop
async def test_without_a_leader_the_server_is_not_serving() -> None:
    cell = await busy_cell()
    cell.lead(0)
    cell.advance(3)
    assert ask(cell, b"ruok") == "imok"
    for word in (b"srvr", b"mntr", b"stat"):
        assert ask(cell, word) == "This ZooKeeper instance is not currently serving requests\n"


@in_loop
async def test_the_mode_of_a_follower_and_of_a_cell_of_one() -> None:
    cell = FakeCell(2).start()
    client = RawClient(cell, 2)
    client.send(b"srvr")
    text = client.take().decode()
    assert "Mode: follower\n" in text and "Proposal" not in text
    assert "Mode: observer\n" in ask(FakeCell(options=ServiceOptions(observer=True)).start(), b"srvr")
    assert "zk_peer_state\tobserving - broadcast\n" in ask(FakeCell(options=ServiceOptions(observer=True)).start(), b"mntr")
    assert "Mode: standalone\n" in ask(FakeCell(options=ServiceOptions(standalone=True)).start(), b"srvr")


def test_every_listed_word_has_an_answer() -> None:
    assert sorted(four_letter.WORDS) == sorted(FOUR_LETTER_WORDS)
    assert all(word.encode() in four_letter.KNOWN for word in four_letter.WORDS)
