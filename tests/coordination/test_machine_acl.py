"""ACLs: who may do what, and which lists are taken, as ZooKeeper's providers have it."""

from __future__ import annotations

import pytest

from loggos.coordination.acl import OPEN_ACL, AclTable, permits, resolve
from tests.coordination.kit import Acl, Client, Driver, auth, check, create, delete, set_acl, set_data

ME, YOU = (b"digest", b"me:h1"), (b"digest", b"you:h2")
IP = (b"ip", b"10.1.2.3")


@pytest.mark.parametrize(
    ("entry", "identities", "allowed"),
    [
        (Acl(1, b"world", b"anyone"), (), True),
        (Acl(2, b"world", b"anyone"), (), False),
        (Acl(1, b"digest", b"me:h1"), (IP, ME), True),
        (Acl(1, b"digest", b"me:h1"), (IP, YOU), False),
        (Acl(1, b"digest", b"10.1.2.3"), (IP,), False),
        (Acl(2, b"digest", b"me:h1"), (ME, (b"super", b"")), True),
        (Acl(1, b"ip", b"10.1.2.3"), (IP,), True),
        (Acl(1, b"ip", b"10.1.2.4"), (IP,), False),
        (Acl(1, b"ip", b"10.1.0.0/16"), (IP,), True),
        (Acl(1, b"ip", b"10.1.255.255/16"), (IP,), True),
        (Acl(1, b"ip", b"10.2.0.0/16"), (IP,), False),
        (Acl(1, b"ip", b"0.0.0.0/0"), (IP,), True),
        (Acl(1, b"ip", b"10.1.2.2/31"), (IP,), True),
        (Acl(1, b"ip", b"fe80::/10"), ((b"ip", b"fe80::1"),), True),
        (Acl(1, b"ip", b"0.0.0.0/0"), ((b"ip", b"fe80::1"),), False),
        (Acl(1, b"ip", b"0.0.0.0/0"), ((b"ip", b"gar/bage"),), False),
    ],
)
def test_permits(entry: Acl, identities: tuple[tuple[bytes, bytes], ...], allowed: bool) -> None:
    assert permits((entry,), 1, identities) is allowed
    assert permits((Acl(30, b"world", b"anyone"), entry), 1, identities) is allowed


def test_the_empty_list_permits_all() -> None:
    assert permits((), 16, ())


@pytest.mark.parametrize(
    "entry",
    [
        Acl(31, b"world", b"someone"),
        Acl(31, b"world", b""),
        Acl(31, b"", b""),
        Acl(31, b"unknown", b"x"),
        Acl(31, b"super", b""),
        Acl(31, b"sasl", b"me"),
        Acl(31, b"digest", b"me"),
        Acl(31, b"digest", b"me:"),
        Acl(31, b"digest", b"a:b:c"),
        Acl(31, b"digest", b""),
        Acl(31, b"ip", b"10.1.2"),
        Acl(31, b"ip", b"10.1.2.256"),
        Acl(31, b"ip", b"10.1.2.3/33"),
        Acl(31, b"ip", b"10.1.2.3/-1"),
        Acl(31, b"ip", b"10.1.2.3/"),
        Acl(31, b"ip", b"10.1.2.3/255.0.0.0"),
        Acl(31, b"ip", b"\xff"),
        Acl(31, b"auth", b""),
    ],
)
def test_invalid_entries(entry: Acl) -> None:
    assert resolve((entry,), (IP, (b"super", b""))) is None
    assert resolve((*OPEN_ACL, entry), (IP,)) is None


def test_resolve_drops_duplicates_and_expands_auth() -> None:
    entry = Acl(3, b"digest", b"a:b")
    assert resolve((entry, entry, *OPEN_ACL, entry), ()) == (entry, *OPEN_ACL)
    assert resolve((Acl(5, b"auth", b"whatever"),), (IP, ME, (b"super", b""), YOU)) == (Acl(5, *ME), Acl(5, *YOU))
    assert resolve((), (ME,)) is None
    assert resolve((Acl(1, b"ip", b"10.0.0.0/8"), Acl(1, b"digest", b":x")), ()) is not None


def test_equal_lists_become_one_object_and_the_table_is_bounded() -> None:
    table = AclTable(lists_max=2)
    assert table.intern((Acl(31, b"world", b"anyone"),)) is OPEN_ACL
    first = table.intern((Acl(1, *ME),))
    assert table.intern((Acl(1, *ME),)) is first
    for number in range(10):
        table.intern((Acl(number, *YOU),))
    assert table.intern((Acl(1, *ME),)) == first
    assert len(table._lists) <= 2


@pytest.fixture
def driver() -> Driver:
    return Driver()


@pytest.fixture
def owner(driver: Driver) -> Client:
    client = driver.client()
    assert client.code(auth(*ME)) == 0
    client.made(create(b"/mine", acl=(Acl(31, b"auth", b""),)))
    client.made(create(b"/mine/kid"))
    return client


def test_auth_is_stored_as_the_callers_ids(driver: Driver, owner: Client) -> None:
    assert driver.machine.tree.nodes[b"/mine"].acl == (Acl(31, *ME),)
    assert driver.client().code(create(b"/x", acl=(Acl(31, b"auth", b""),))) == -114


def test_a_stranger_is_kept_out_until_it_proves_who_it_is(driver: Driver, owner: Client) -> None:
    stranger = driver.client()
    requests = [create(b"/mine/x"), delete(b"/mine/kid"), set_data(b"/mine"), set_acl(b"/mine", OPEN_ACL), check(b"/mine")]
    assert [stranger.code(request) for request in requests] == [-102] * 5
    assert stranger.code(set_data(b"/mine/kid")) == 0, "ACLs are not inherited"
    assert stranger.code(auth(*ME)) == 0
    assert [stranger.code(request) for request in requests] == [0] * 5


def test_super_may_all_until_it_attaches_again(driver: Driver, owner: Client) -> None:
    admin = driver.client()
    admin.code(auth(b"super", b""))
    assert admin.code(set_data(b"/mine")) == 0
    assert admin.code(set_data(b"/zookeeper/config")) == 0
    driver.attach(admin.session)
    admin = Client(driver, admin.session, 2)
    assert admin.code(set_data(b"/mine")) == -102


def test_delete_asks_the_parent_only(driver: Driver, owner: Client) -> None:
    stranger = driver.client()
    assert stranger.code(delete(b"/mine/kid")) == -102
    assert owner.code(delete(b"/mine/kid")) == 0
    assert stranger.code(delete(b"/mine")) == 0


def test_an_address_is_an_identity(driver: Driver) -> None:
    near, far = driver.client("192.168.7.7"), driver.client("10.0.0.1")
    near.made(create(b"/lan", acl=(Acl(31, b"ip", b"192.168.0.0/16"),)))
    assert near.code(set_data(b"/lan")) == 0
    assert far.code(set_data(b"/lan")) == -102
