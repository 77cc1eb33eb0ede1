"""Loggos and Apache ZooKeeper, driven with the same random operations as raw frames: every reply and every event is compared.

What is allowed to differ is in deliberate.py. A failure prints its seed and the shortest program that shows it.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.interop import zookeeper
from tests.interop.cluster import Cluster, eventually
from tests.interop.deliberate import DELIBERATE
from tests.interop.differential import Mismatch, Pairing, Peer, run_program, shorten, written
from tests.interop.frames import Owner, RawSession, Reply, Zxid
from tests.interop.programs import OPEN, UNKNOWN, Draw, Op, Program
from tests.interop.zookeeper import SUPER_DIGEST, ZooKeeper, ZooKeeperNode

pytestmark = [pytest.mark.process, pytest.mark.interop]

STEPS = 60
Address = tuple[str, int]


class Pair(NamedTuple):
    """Our cluster, and the one server of theirs."""

    ours: Cluster
    theirs: ZooKeeperNode


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    why = zookeeper.missing()
    if why is not None:
        pytest.skip(why)
    folder = tmp_path_factory.mktemp("differential")
    with (
        Cluster.running(folder / "loggos", 3, {"superuser_digest": SUPER_DIGEST}) as ours,
        ZooKeeper.running(folder / "zookeeper", 1) as theirs,
    ):
        yield Pair(ours, theirs.nodes[1])


RUNS = itertools.count()


def run(program: Program, ours: list[Address], theirs: Address) -> None:
    base = b"/run%06d/t" % next(RUNS)
    mine, other = Peer("loggos", ours, base), Peer("zookeeper", [theirs], base)
    try:
        run_program(program, mine, other, DELIBERATE)
    finally:
        mine.close()
        other.close()


def compare_seeds(seeds: range, ours: list[Address], theirs: Address) -> None:
    for seed in seeds:
        program = Draw(seed).program(STEPS)
        try:
            run(program, ours, theirs)
        except Mismatch as first:
            pytest.fail(explain(seed, program, ours, theirs, first))


def explain(seed: int, program: Program, ours: list[Address], theirs: Address, first: Mismatch) -> str:
    last = first

    def fails(shorter: Program) -> bool:
        nonlocal last
        try:
            run(shorter, ours, theirs)
        except Mismatch as mismatch:
            last = mismatch
            return True
        return False

    shortest = shorten(program, fails)
    return f"seed {seed}: {first}\nthe shortest program:\n{written(shortest)}\n{last}"


def test_sessions_of_one_node(pair: Pair) -> None:
    compare_seeds(range(30), [pair.ours[1].endpoint], pair.theirs.endpoint)


def test_each_session_on_another_node(pair: Pair) -> None:
    addresses = [node.endpoint for node in pair.ours.nodes.values()]
    compare_seeds(range(1_000, 1_030), addresses, pair.theirs.endpoint)


@pytest.mark.full
@pytest.mark.timeout(900)
def test_many_programs(pair: Pair) -> None:
    compare_seeds(range(10_000, 10_600), [pair.ours[1].endpoint], pair.theirs.endpoint)
    addresses = [node.endpoint for node in pair.ours.nodes.values()]
    compare_seeds(range(20_000, 20_600), addresses, pair.theirs.endpoint)


# --- what the random programs leave out ---------------------------------------------------------------------------------------


def ask(session: RawSession, op: Op) -> Reply:
    xid, frame = session.encode(op.kind, op.arguments)
    session.send(frame)
    reply = session.receive(op.kind, xid)
    assert isinstance(reply, Reply)
    return reply


def test_the_tree_at_the_start_is_the_same(pair: Pair) -> None:
    ours, theirs = RawSession(pair.ours[2].endpoint), RawSession(pair.theirs.endpoint)
    for path in (b"/zookeeper", b"/zookeeper/quota"):
        for kind, arguments in (("getData", (path, False)), ("getChildren2", (path, False)), ("getACL", (path,))):
            a, b = ask(ours, Op(kind, arguments)), ask(theirs, Op(kind, arguments))
            assert (a.error, a.value[0]) == (b.error, b.value[0]), (kind, path)
    for session in (ours, theirs):
        assert ask(session, Op("delete", (b"/zookeeper/quota", -1))).error == -8
        assert ask(session, Op("getChildren", (b"/zookeeper", False))).value == [b"config", b"quota"]


def test_ttls_are_said_to_be_unimplemented(pair: Pair) -> None:
    """As by ZooKeeper where they are not enabled."""
    ttl = Op("createTTL", (b"/ttl", b"", OPEN, 5, 10_000))
    for endpoint in (pair.ours[1].endpoint, pair.theirs.endpoint):
        session = RawSession(endpoint)
        assert ask(session, ttl).error == -6 and ask(session, Op("exists", (b"/ttl", False))).error == -101


CHECK_MS = 200


def test_the_same_containers_go(tmp_path: Path) -> None:
    """Those that had a child and have none; the flag 4 makes one in a multi only, the opcode always."""
    why = zookeeper.missing()
    if why is not None:
        pytest.skip(why)
    with (
        Cluster.running(tmp_path / "loggos", 1, {"container_check_ms": CHECK_MS}) as ours,
        ZooKeeper.running(tmp_path / "zookeeper", 1, CHECK_MS) as theirs,
    ):
        left, stays = zip(*(contained(RawSession(node.endpoint)) for node in (ours[1], theirs.nodes[1])), strict=True)
    assert left[0] == left[1] and {b"plain", b"new", b"used", b"flag", b"flag2", b"part0"} <= set(left[0])
    assert stays[0] == stays[1], "what the parents of those that went say of their children"


def contained(session: RawSession) -> tuple[list[bytes], list[tuple[int, int]]]:
    """What is left of containers and their like in the end, and (cversion, children) of those that held some."""
    for name, kind, flags in (
        ("plain", "create", 0),
        ("flag", "create", 4),
        ("flag2", "create2", 4),
        ("new", "createContainer", 4),
    ):
        assert ask(session, Op(kind, (f"/{name}".encode(), b"", OPEN, flags))).error == 0
    parts = tuple(("createContainer", (b"/part%d" % flags, b"", OPEN, flags)) for flags in (0, 4))
    assert ask(session, Op("multi", parts)).error == 0
    made = [b"/plain", b"/flag", b"/flag2", b"/part0", b"/part4"]
    for flags in range(5):
        made.append(ask(session, Op("createContainer", (b"/c%d-" % flags, b"", OPEN, flags))).value[0])
    for path in (b"/used", b"/used/in", b"/outer", b"/outer/in"):
        assert ask(session, Op("createContainer", (path, b"", OPEN, 4))).error == 0
    made += [b"/used/in", b"/outer/in", b"/used"]
    for path in made:
        assert ask(session, Op("create", (path + b"/x", b"", OPEN, 1))).error == 0
    for path in made[:-1]:
        assert ask(session, Op("delete", (path + b"/x", -1))).error == 0
    going = [*made[4:-1], b"/outer"]
    eventually("the containers go", lambda: all(ask(session, Op("exists", (path, False))).error == -101 for path in going))
    stats = [ask(session, Op("exists", (path, False))).value for path in (b"/", b"/used")]
    left: list[bytes] = ask(session, Op("getChildren", (b"/", False))).value
    return left, [(stat["cversion"], stat["children"]) for stat in stats]


def test_a_check_alone_is_answered_with_a_stat(pair: Pair) -> None:
    """ZooKeeper 3.8 means to do the same, but never answers one that succeeds (the result of processTxn has no stat)."""
    ours, theirs = RawSession(pair.ours[1].endpoint), RawSession(pair.theirs.endpoint)
    found = ask(ours, Op("check", (b"/zookeeper", 0)))
    assert found.error == 0 and found.value == ask(ours, Op("exists", (b"/zookeeper", False))).value
    for op in (Op("check", (b"/zookeeper", 3)), Op("check", (b"/nothing", -1))):
        assert ask(ours, op).error == ask(theirs, op).error < 0


@pytest.mark.parametrize("op", UNKNOWN, ids=lambda op: op.kind)
def test_an_unknown_opcode_is_unimplemented_and_harms_nobody(pair: Pair, op: Op) -> None:
    """ZooKeeper answers the same and hangs up; here the connection goes on."""
    sessions = RawSession(pair.ours[1].endpoint), RawSession(pair.theirs.endpoint)
    assert [ask(session, op).error for session in sessions] == [-6, -6]
    assert ask(sessions[0], Op("exists", (b"/", False))).error == 0


@pytest.mark.parametrize("opcode", [-10, 20])
def test_what_only_servers_send_is_refused(pair: Pair, opcode: int) -> None:
    """createSession and deleteContainer are ZooKeeper's own business: no client may ask for them."""
    sessions = RawSession(pair.ours[1].endpoint), RawSession(pair.theirs.endpoint)
    op = Op(f"op{opcode}", (b"",))
    mine, theirs = (ask(session, op).error for session in sessions)
    assert mine == -6 and theirs < 0
    assert ask(sessions[0], Op("exists", (b"/", False))).error == 0


def test_several_watch_modes_of_one_client_on_one_path_are_kept_apart(pair: Pair) -> None:
    """As ZooKeeper 3.9 does it; 3.8 would forget the first for the second (WatcherModeManager holds one mode)."""
    client = RawSession(pair.ours[1].endpoint)
    assert ask(client, Op("create", (b"/modes", b"", OPEN, 0))).error == 0
    assert ask(client, Op("addWatch", (b"/modes", 0))).error == 0
    assert ask(client, Op("addWatch", (b"/modes", 1))).error == 0
    assert ask(client, Op("getData", (b"/modes", True))).error == 0
    kinds = []
    for version in range(2):
        xid, frame = client.encode("setData", (b"/modes", b"", version))
        client.send(frame)
        while not isinstance(item := client.receive("setData", xid), Reply):
            kinds.append(item.kind)
    assert kinds == [3, 3], "one event per change, and the persistent ones stay when the one-shot is used up"


# --- four-letter words ---------------------------------------------------------------------------------------------------------


def words_of(text: str) -> list[str]:
    """What a line begins with, up to its first colon, equals sign or tab; numbers taken out."""
    lines = [re.split(r"[:=\t]", line)[0] for line in text.splitlines() if line.strip()]
    return [re.sub(r"\d+", "#", line).strip() for line in lines]


SRVR = [
    "Zookeeper version",
    "Latency min/avg/max",
    "Received",
    "Sent",
    "Connections",
    "Outstanding",
    "Zxid",
    "Mode",
    "Node count",
]


def test_four_letter_words_have_the_same_shape(pair: Pair) -> None:
    node = pair.ours[1]
    for word in (b"ruok", b"isro"):
        assert node.words(word) == pair.theirs.words(word), word
    leaders_line = ["Proposal sizes last/min/max"] if node.mode() == "leader" else []
    assert words_of(node.words(b"srvr")) == SRVR + leaders_line and words_of(pair.theirs.words(b"srvr")) == SRVR
    for word in (b"stat", b"wchs", b"dump"):
        ours, theirs = node.words(word), pair.theirs.words(word)
        assert ours and theirs, word
        assert ours.splitlines()[0].split()[0] == theirs.splitlines()[0].split()[0], word


def test_the_list_of_connections_has_the_same_fields(pair: Pair) -> None:
    sessions = RawSession(pair.ours[1].endpoint), RawSession(pair.theirs.endpoint)
    for session in sessions:
        ask(session, Op("exists", (b"/", False)))
    fields = []
    for node in (pair.ours[1], pair.theirs):
        line = next(line for line in node.words(b"cons").splitlines() if "sid=" in line)
        fields.append(re.findall(r"(\w+)=", line))
    assert fields[0] == fields[1]


def test_monitoring_finds_the_keys_it_knows(pair: Pair) -> None:
    """What exporters and health checks read of mntr (ZooKeeper's administrator's guide), conf and envi."""
    names = "version server_state avg_latency max_latency min_latency packets_received packets_sent num_alive_connections"
    more = "outstanding_requests znode_count watch_count ephemerals_count"
    for node in (pair.ours[1], pair.theirs):
        found = words_of(node.words(b"mntr"))
        assert [name for name in f"{names} {more}".split() if f"zk_{name}" not in found] == []
        assert "clientPort" in words_of(node.words(b"conf"))
        assert words_of(node.words(b"envi"))[:2] == ["Environment", "zookeeper.version"]


# --- the comparison itself ----------------------------------------------------------------------------------------------------


def test_a_pairing_refuses_what_is_no_renaming() -> None:
    pairing = Pairing()
    assert pairing.same(Zxid(1), Zxid(10)) and pairing.same(Zxid(2), Zxid(20)) and pairing.same(Zxid(1), Zxid(10))
    assert pairing.same(Owner(1), Owner(7)), "sessions are renamed by themselves"
    assert pairing.out_of_order() is None
    assert not pairing.same(Zxid(1), Zxid(20)) and not pairing.same(Zxid(3), Zxid(10)) and not pairing.same(Zxid(0), Zxid(5))
    other = Pairing()
    assert other.same(Zxid(1), Zxid(20)) and other.same(Zxid(2), Zxid(10)) and other.out_of_order() is not None


def test_a_program_is_shortened_to_what_is_needed() -> None:
    program = Draw(1).program(40)
    needed = (program[7], program[23])
    assert shorten(program, lambda shorter: all(step in shorter for step in needed)) == needed
