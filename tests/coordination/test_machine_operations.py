"""What each operation does to tree and stats, and which error comes first, as Apache ZooKeeper 3.8 has it."""

from __future__ import annotations

import struct

import pytest

from loggos.base import limits
from loggos.coordination.commands import encode_requests
from loggos.coordination.tree import names_of_children, next_version
from tests.coordination.kit import (
    OPEN,
    Acl,
    Client,
    Driver,
    Request,
    Stat,
    auth,
    check,
    create,
    create2,
    delete,
    frame,
    multi,
    parse_stat,
    parse_string,
    set_acl,
    set_data,
)

OK, MARSHALLING, UNIMPLEMENTED, BAD_ARGUMENTS = 0, -5, -6, -8
NO_NODE, NO_AUTH, BAD_VERSION, NO_CHILDREN, EXISTS, NOT_EMPTY, INVALID_ACL = -101, -102, -103, -108, -110, -111, -114
QUOTA_EXCEEDED = -125
CREATED, DELETED, CHANGED = 1, 2, 3
NOBODY = (Acl(31, b"digest", b"no:body"),)


@pytest.fixture
def driver() -> Driver:
    return Driver()


@pytest.fixture
def client(driver: Driver) -> Client:
    return driver.client()


def test_the_tree_starts_as_zookeepers(driver: Driver) -> None:
    assert driver.stat_of(b"/") == Stat(0, 0, 0, 0, 0, -1, 0, 0, 0, 1, 0)
    assert driver.stat_of(b"/zookeeper") == Stat(0, 0, 0, 0, 0, -2, 0, 0, 0, 2, 0)
    assert sorted(driver.machine.tree.nodes) == [b"/", b"/zookeeper", b"/zookeeper/config", b"/zookeeper/quota"]
    assert names_of_children(driver.machine.tree.nodes[b"/zookeeper"]) == [b"quota", b"config"]


def test_create_gives_the_path_and_the_stat(driver: Driver, client: Client) -> None:
    wall = driver.wall_ms
    reply = client.ask(create2(b"/a", b"xyz"))
    path, rest = parse_string(reply.body)
    z = driver.index
    assert path == b"/a"
    assert parse_stat(rest) == driver.stat_of(b"/a") == Stat(z, z, wall, wall, 0, 0, 0, 0, 3, 0, z)
    assert driver.kinds() == [(CREATED, b"/a")]
    assert driver.stat_of(b"/").cversion == 0 and driver.stat_of(b"/").pzxid == z and driver.stat_of(b"/").children == 2
    reply = client.ask(create(b"/a/b"))
    assert reply.body == b"\0\0\0\4/a/b"
    assert client.code(create(b"/a")) == EXISTS
    assert client.code(create(b"/")) == EXISTS


def test_set_data_moves_mzxid_mtime_and_version_only(driver: Driver, client: Client) -> None:
    client.made(create(b"/a", b"1"))
    before, wall = driver.stat_of(b"/a"), driver.wall_ms
    stat = client.stat(set_data(b"/a", b"22"))
    assert stat == before._replace(mzxid=driver.index, mtime=wall, version=1, data_length=2) == driver.stat_of(b"/a")
    assert driver.kinds() == [(CHANGED, b"/a")]
    assert driver.machine.tree.nodes[b"/a"].data == b"22"
    assert client.stat(set_data(b"/a", b"", 1)).version == 2
    assert client.code(set_data(b"/a", b"", 1)) == BAD_VERSION
    assert driver.events == []
    assert client.stat(set_data(b"/", b"root")).data_length == 4


def test_set_acl_moves_aversion_only_and_fires_nothing(driver: Driver, client: Client) -> None:
    client.made(create(b"/a"))
    before = driver.stat_of(b"/a")
    read_only = (Acl(1 | 16, b"world", b"anyone"),)
    assert client.stat(set_acl(b"/a", read_only, 0)) == before._replace(aversion=1)
    assert driver.events == []
    assert driver.machine.tree.nodes[b"/a"].acl == read_only
    assert client.code(set_acl(b"/a", read_only, 0)) == BAD_VERSION
    assert client.code(set_data(b"/a")) == NO_AUTH


def test_check_alone_gives_the_stat(driver: Driver, client: Client) -> None:
    client.made(create(b"/a"))
    assert client.stat(check(b"/a", 0)) == driver.stat_of(b"/a")
    assert client.code(check(b"/a", 1)) == BAD_VERSION
    assert client.code(check(b"/b")) == NO_NODE
    assert driver.events == []


def test_cversion_counts_creates_and_deletes_and_pzxid_moves_on_both(driver: Driver, client: Client) -> None:
    client.made(create(b"/p"))
    client.made(create(b"/p/a"))
    client.made(create(b"/p/b"))
    assert (driver.stat_of(b"/p").cversion, driver.stat_of(b"/p").children) == (2, 2)
    assert client.code(delete(b"/p/a")) == OK
    assert driver.stat_of(b"/p")[5] == 3 and driver.stat_of(b"/p").pzxid == driver.index
    assert driver.kinds() == [(DELETED, b"/p/a")]
    client.stat(set_data(b"/p/b", b"x"))
    assert driver.stat_of(b"/p").cversion == 3 and driver.stat_of(b"/p").pzxid == driver.index - 1
    assert driver.stat_of(b"/p").version == 0


def test_a_sequence_number_is_the_number_of_creates_only(driver: Driver, client: Client) -> None:
    client.made(create(b"/p"))
    assert client.made(create(b"/p/n-", flags=2)) == b"/p/n-0000000000"
    assert client.code(delete(b"/p/n-0000000000")) == OK
    assert client.made(create(b"/p/n-", flags=2)) == b"/p/n-0000000001"  # a count with deletes would give 2
    assert client.made(create(b"/p/plain")) == b"/p/plain"
    assert client.made(create(b"/p/", flags=3)) == b"/p/0000000003"
    assert driver.kinds() == [(CREATED, b"/p/0000000003")]


def test_sequence_numbers_wrap_as_a_java_int(driver: Driver, client: Client) -> None:
    client.made(create(b"/p"))
    driver.machine.tree.nodes[b"/p"].creates = 2**31 - 1
    assert client.made(create(b"/p/n", flags=2)) == b"/p/n2147483647"
    assert client.made(create(b"/p/n", flags=2)) == b"/p/n-2147483648"
    driver.machine.tree.nodes[b"/p"].creates = -7
    assert client.made(create(b"/p/n", flags=2)) == b"/p/n-000000007"
    assert -(2**31) <= driver.stat_of(b"/p").cversion < 2**31


def test_versions_wrap_and_skip_minus_one(driver: Driver, client: Client) -> None:
    client.made(create(b"/a"))
    driver.machine.tree.nodes[b"/a"].version = 2**31 - 1
    assert client.stat(set_data(b"/a")).version == -(2**31)
    driver.machine.tree.nodes[b"/a"].version = -2
    assert client.stat(set_data(b"/a", b"", -2)).version == 0
    assert next_version(0) == 1


def test_ephemerals_have_an_owner_no_children_and_go_with_the_session(driver: Driver, client: Client) -> None:
    other = driver.client()
    client.made(create(b"/p"))
    client.made(create(b"/p/z", flags=1))
    client.made(create(b"/e", flags=1))
    assert other.made(create(b"/p/o", flags=3)) == b"/p/o0000000001"
    assert driver.stat_of(b"/e").owner == client.session and driver.stat_of(b"/p").owner == 0
    assert client.code(create(b"/e/x")) == NO_CHILDREN
    assert client.code(create(b"/e/x", flags=2)) == NO_CHILDREN
    outcome = client.run((-11, b""))
    assert outcome.codes == [0] and outcome.ended == [client.session]
    assert driver.kinds() == [(DELETED, b"/e"), (DELETED, b"/p/z")]
    assert [event.index for event in driver.events] == [driver.index] * 2
    assert driver.stat_of(b"/p").pzxid == driver.index
    assert b"/p/o0000000001" in driver.machine.tree.nodes


def test_a_deleted_ephemeral_is_forgotten_by_its_session(driver: Driver, client: Client) -> None:
    other = driver.client()
    client.made(create(b"/e", flags=1))
    assert other.code(delete(b"/e")) == OK
    other.made(create(b"/e"))
    client.run((-11, b""))
    assert b"/e" in driver.machine.tree.nodes


def test_delete(driver: Driver, client: Client) -> None:
    client.made(create(b"/a"))
    client.made(create(b"/a/b"))
    assert client.code(delete(b"/a", 5)) == BAD_VERSION  # before NotEmpty
    assert client.code(delete(b"/a")) == NOT_EMPTY
    assert client.code(delete(b"/a/b", 0)) == OK
    assert driver.machine.tree.nodes[b"/a"].children is None
    assert client.code(delete(b"/a/b")) == NO_NODE
    assert client.code(delete(b"/a")) == OK
    for path in (b"/", b"/zookeeper", b"/zookeeper/quota", b"/zookeeper/config", b"", b"a", b"/x\0"):
        assert client.code(delete(path)) == BAD_ARGUMENTS, path


BAD_PATHS = [
    *(b"a", b"//a", b"/a/", b"/a//b", b"/.", b"/..", b"/a/../b", b"/a/./b", b"/\0", b"/a\x1fb", b"/a\x7f"),
    *("/\x85".encode(), "/\ue000".encode(), "/\uffff".encode(), "/\U0001f600".encode(), b"/\xff", b"/\xed\xa0\x80", b""),
    b"/" + b"x" * limits.PATH_BYTES_MAX,
]


@pytest.mark.parametrize("path", BAD_PATHS)
def test_bad_paths_are_bad_arguments(client: Client, path: bytes) -> None:
    client.made(create(b"/a"))
    parent_missing = path in (b"/a//b", b"/a/../b", b"/a/./b")  # looked for before the path is looked at
    assert client.code(create(path)) == (NO_NODE if parent_missing else BAD_ARGUMENTS)
    for request in (set_data(path), check(path), set_acl(path, NOBODY)):
        assert client.code(request) == BAD_ARGUMENTS


@pytest.mark.parametrize("path", [b"/...", b"/a.b", b"/.a", b"/..a", "/é".encode(), "/\uffef".encode(), b"/a b", b"/%"])
def test_unusual_but_good_paths(client: Client, path: bytes) -> None:
    assert client.made(create(path)) == path


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        (create(b"/no/x", acl=()), INVALID_ACL),  # before NoNode
        (create(b"/no/x"), NO_NODE),
        (create(b"/no/x/"), NO_NODE),  # before the path itself is looked at
        (create(b"/shut/x/"), NO_NODE),
        (create(b"/shut/x"), NO_AUTH),
        (create(b"/shut/.", flags=0), NO_AUTH),  # before BadArguments
        (create(b"/shut/kid"), NO_AUTH),  # before NodeExists
        (create(b"/e/x"), NO_CHILDREN),
        (create(b"/x", flags=5), UNIMPLEMENTED),
        (create(b"/x", flags=6), UNIMPLEMENTED),
        (create(b"/x", flags=7), BAD_ARGUMENTS),
        (create(b"/x", flags=-1), BAD_ARGUMENTS),
        (delete(b"/shut/kid", 9), NO_AUTH),  # the parent's ACL decides, before the version
        (delete(b"/shut/none"), NO_AUTH),  # and before NoNode
        (delete(b"/no/x"), NO_NODE),
        (set_data(b"/shut", b"", 9), NO_AUTH),
        (set_acl(b"/none", ()), INVALID_ACL),  # before NoNode
        (set_acl(b"/none", NOBODY), NO_NODE),
        (set_acl(b"/shut", NOBODY, 9), NO_AUTH),
        (check(b"/shut", 9), NO_AUTH),
        (set_data(b"/zookeeper/config"), NO_AUTH),
        ((3, b""), UNIMPLEMENTED),  # a read has no place in the log
        ((999, b""), UNIMPLEMENTED),
        ((20, b"/shut/kid"), UNIMPLEMENTED),  # deleteContainer is the cell's own
        ((21, create(b"/x")[1] + bytes(8)), UNIMPLEMENTED),
        ((1, b""), MARSHALLING),
        ((5, b"\0\0\0\5/a"), MARSHALLING),
        ((5, struct.pack(">i2si", 2, b"/e", 2**31 - 1)), MARSHALLING),
        ((5, struct.pack(">i2si4s", 2, b"/e", 1, b"abcd")), MARSHALLING),  # the version is cut short
        ((5, struct.pack(">i", -77) + bytes(80)), MARSHALLING),
    ],
)
def test_which_error_comes_first(driver: Driver, client: Client, request_: tuple[int, bytes], code: int) -> None:
    client.made(create(b"/e", flags=1))
    client.made(create(b"/shut", acl=OPEN_THEN))
    client.made(create(b"/shut/kid"))
    client.stat(set_acl(b"/shut", NOBODY))
    digest, index = driver.machine.digest(), driver.index
    assert client.code(request_) == code
    assert driver.index == index + 1, "an operation that fails takes an index too"
    session = driver.machine.sessions[client.session]
    session.sequence, session.last_seen = session.sequence - 1, index  # what every command moves
    assert driver.machine.digest() == digest and driver.events == []


OPEN_THEN = (Acl(31, b"world", b"anyone"),)


def test_a_null_path_is_empty_and_null_data_stay_null(driver: Driver, client: Client) -> None:
    client.made(create(b"/a", b"x"))
    assert client.code((5, struct.pack(">iii", -1, -1, -1))) == BAD_ARGUMENTS
    stat = client.stat((5, struct.pack(">i2sii", 2, b"/a", -1, -1)))
    assert stat.data_length == 0 and driver.machine.tree.nodes[b"/a"].data is None
    client.made(create(b"/empty", b""))
    assert driver.machine.tree.nodes[b"/empty"].data == b""


def test_bytes_after_a_request_are_ignored(driver: Driver, client: Client) -> None:
    opcode, body = set_data(b"/", b"x")
    assert client.code((opcode, body + b"tail")) == OK
    assert driver.machine.tree.nodes[b"/"].data == b"x"


def test_a_set_data_never_reads_into_the_next_frame(driver: Driver, client: Client) -> None:
    client.made(create(b"/a"))
    cut = struct.pack(">i2si", 2, b"/a", 4)  # data and version are missing; the next frame's length and xid would serve
    frames = [frame(1, (5, cut)), frame(-1, set_data(b"/a", b"next"))]
    outcome = driver.apply(encode_requests(client.session, 1, 2, frames))
    assert outcome.codes == [MARSHALLING, OK]
    assert driver.machine.tree.nodes[b"/a"].data == b"next" and driver.machine.tree.nodes[b"/a"].version == 1


def test_a_negative_data_length_is_no_version(driver: Driver, client: Client) -> None:
    client.made(create(b"/a"))
    driver.machine.tree.nodes[b"/a"].version = -4
    assert client.code((5, struct.pack(">i2sii", 2, b"/a", -4, -4))) == MARSHALLING
    assert client.code((5, struct.pack(">iii", -4, -4, -4))) == MARSHALLING


def test_a_listing_must_fit_a_frame(driver: Driver, client: Client) -> None:
    client.made(create(b"/p"))
    client.made(create(b"/p/a"))
    children = driver.machine.tree.nodes[b"/p"].children
    assert children is not None and children.listing_bytes == 5
    children.listing_bytes = limits.CHILDREN_BYTES_MAX - 128 - 5
    assert client.code(create(b"/p/bb")) == QUOTA_EXCEEDED
    assert client.code(create(b"/p/b")) == OK
    assert client.code(create(b"/p/c")) == QUOTA_EXCEEDED
    assert client.code(delete(b"/p/b")) == OK
    assert client.code(create(b"/p/c")) == OK


def test_a_session_owns_a_bounded_number_of_ephemerals(driver: Driver, client: Client) -> None:
    client.made(create(b"/e", flags=1))
    session = driver.machine.sessions[client.session]
    session.ephemerals.update(dict.fromkeys(b"/%d" % number for number in range(limits.EPHEMERALS_PER_SESSION_MAX - 2)))
    assert client.code(create(b"/f", flags=1)) == OK
    assert client.code(create(b"/g", flags=1)) == QUOTA_EXCEEDED
    assert client.code(create(b"/g")) == OK


def test_authentication_adds_an_identity_once(driver: Driver, client: Client) -> None:
    for _ in range(2):
        assert client.code(auth(b"digest", b"me:hash")) == OK
    session = driver.machine.sessions[client.session]
    assert session.identities == ((b"ip", b"10.1.2.3"), (b"digest", b"me:hash"))
    for number in range(limits.AUTH_IDS_PER_CONNECTION_MAX - 1):
        assert client.code(auth(b"digest", b"me:%d" % number)) == OK
    assert client.code(auth(b"digest", b"one:more")) == -115


def test_replies_come_only_when_asked_for_and_change_nothing() -> None:
    silent, loud = Driver(), Driver()
    requests = [create(b"/a", b"1"), set_data(b"/a"), set_data(b"/no"), create2(b"/b/c"), delete(b"/a"), (-11, b"")]
    commands = [driver.client().command(*requests) for driver in (silent, loud)]
    without, with_ = silent.apply(commands[0], answer=False), loud.apply(commands[1], answer=True)
    assert without.replies is None and with_.replies is not None and len(with_.replies) == 6
    assert without.codes == with_.codes == [0, 0, NO_NODE, NO_NODE, 0, 0]
    assert without.events == with_.events
    assert silent.machine.digest() == loud.machine.digest()


def test_a_frame_shorter_than_its_head_is_marshalling_and_the_next_goes_on(driver: Driver, client: Client) -> None:
    frames = [struct.pack(">iI", 4, 7) + b"", frame(2, create(b"/a")), struct.pack(">iii", 500, 3, 5)]
    outcome = driver.apply(encode_requests(client.session, 1, 1, frames))
    assert outcome.codes == [MARSHALLING, OK, MARSHALLING]
    assert b"/a" in driver.machine.tree.nodes


@pytest.mark.parametrize(
    "requests",
    [
        (set_data(b"/a", b"x"),),
        (set_data(b"/a", b"x"), set_data(b"/a", b"x")),
        (set_acl(b"/a", OPEN),),
        (check(b"/a"),),
        (create(b"/a/s-", flags=2),),
        (multi(set_data(b"/a", b"x"), check(b"/a")),),
        (delete(b"/a", 0),),
    ],
)
def test_marks_show_that_an_operation_found_something_else(requests: tuple[Request, ...]) -> None:
    """A machine that has missed an earlier change is seen by what the next ones leave."""
    marks = []
    for missed in (False, True):
        driver = Driver()
        client = driver.client()
        client.run(create(b"/a"), create(b"/a/s-", flags=2), delete(b"/a/s-0000000000"))
        if missed:
            node = driver.machine.tree.nodes[b"/a"]
            node.version, node.creates = node.version + 1, node.creates + 1
        marks.append(client.run(*requests).marks)
    assert marks[0] != marks[1] and len(marks[0]) == len(requests)


def test_marks_of_sessions_and_of_their_ends() -> None:
    driver = Driver()
    client = driver.client()
    client.run(create(b"/e1", flags=1), create(b"/e2", flags=1))
    seen = driver.machine.sessions[client.session].last_seen
    assert driver.attach(client.session).marks == [2], "its generation"
    assert driver.expire((client.session, seen)).marks == []
    seen = driver.machine.sessions[client.session].last_seen
    assert driver.expire((client.session, seen)).marks == [2], "what it owned"
