"""Access control lists: may these identities do that, and which list is stored when a client gives one.

`OPEN_ACL` (world:anyone may do all) is one shared object, so that the usual check is one comparison of identity: every list
that comes from outside goes through an AclTable, which gives equal lists as one object. Identities are the (scheme, id) pairs
of a session.
Must not know: the tree, the wire's frames. Source: PrepRequestProcessor.fixupACL, ZooKeeperServer.checkACL, the authentication
providers of Apache ZooKeeper 3.8.
"""

from __future__ import annotations

import ipaddress
from typing import Final

from loggos.base.limits import ACL_TABLE_MAX
from loggos.coordination.zookeeper.codec import PERM_ALL, PERM_READ, Acl, Reader, encode_acl

AclList = tuple[Acl, ...]
Identities = tuple[tuple[bytes, bytes], ...]

WORLD: Final = b"world"
ANYONE: Final = b"anyone"
AUTH: Final = b"auth"
SUPER: Final = b"super"
DIGEST: Final = b"digest"
IP: Final = b"ip"

OPEN_ACL: Final[AclList] = (Acl(PERM_ALL, WORLD, ANYONE),)
READ_ACL: Final[AclList] = (Acl(PERM_READ, WORLD, ANYONE),)
_OPEN_BYTES: Final = encode_acl(OPEN_ACL)


def read_acl(reader: Reader) -> AclList:
    """The list that comes next in a request; the usual one is recognised by its bytes."""
    return OPEN_ACL if reader.skip(_OPEN_BYTES) else reader.acl()


def permits(acl: AclList, perm: int, identities: Identities) -> bool:
    """May someone with these identities do `perm` (one PERM_* bit)? An empty list permits all, as in ZooKeeper."""
    if acl is OPEN_ACL or not acl:
        return True
    for scheme, _ in identities:
        if scheme == SUPER:
            return True
    for perms, scheme, allowed in acl:
        if perms & perm:
            if scheme == WORLD and allowed == ANYONE:
                return True
            for own_scheme, own in identities:
                if own_scheme == scheme and _matches(scheme, own, allowed):
                    return True
    return False


def _matches(scheme: bytes, own: bytes, allowed: bytes) -> bool:
    return own == allowed or (scheme == IP and _address_matches(own, allowed))


def _address_matches(own: bytes, allowed: bytes) -> bool:
    address, network = _parse_address(own), _parse_network(allowed)
    return address is not None and network is not None and address.version == network.version and address in network


def _parse_address(text: bytes) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(text.decode("ascii"))
    except ValueError:
        return None


def _parse_network(text: bytes) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    """address[/bits]; host bits may be set."""
    address, slash, bits = text.partition(b"/")
    if _parse_address(address) is None or (slash and not (bits.isdigit() and len(bits) <= 3)):
        return None
    try:
        return ipaddress.ip_network(text.decode("ascii"), strict=False)
    except ValueError:
        return None


def _is_digest_id(identity: bytes) -> bool:
    """user:hash. Colons at the very end do not count (Java's split drops empty tails)."""
    return identity.rstrip(b":").count(b":") == 1


def _is_ip_id(identity: bytes) -> bool:
    return _parse_network(identity) is not None


_ID_CHECKS: Final = {DIGEST: _is_digest_id, IP: _is_ip_id}  # schemes that an ACL may name besides world and auth
_AUTHENTICATED: Final = (DIGEST,)  # schemes that 'auth' expands to


def resolve(acl: AclList, identities: Identities) -> AclList | None:
    """The list to store: duplicates dropped, 'auth' replaced by the caller's authenticated ids. None: the list is invalid
    (empty, an unknown scheme, a malformed id, 'auth' by someone who has not authenticated)."""
    resolved: list[Acl] = []
    for entry in dict.fromkeys(acl):
        if entry.scheme == WORLD and entry.id == ANYONE:
            resolved.append(entry)
        elif entry.scheme == AUTH:
            own = [Acl(entry.perms, scheme, identity) for scheme, identity in identities if scheme in _AUTHENTICATED]
            if not own:
                return None
            resolved += own
        else:
            check = _ID_CHECKS.get(entry.scheme)
            if check is None or not check(entry.id):
                return None
            resolved.append(entry)
    return tuple(resolved) or None


class AclTable:
    """Gives equal lists as one object. A cache only: it forgets everything when full, and nothing but memory depends on it."""

    __slots__ = ("_lists", "_lists_max")

    def __init__(self, lists_max: int = ACL_TABLE_MAX) -> None:
        self._lists: dict[AclList, AclList] = {}
        self._lists_max = lists_max

    def intern(self, acl: AclList) -> AclList:
        if acl is OPEN_ACL or acl == OPEN_ACL:
            return OPEN_ACL
        if len(self._lists) >= self._lists_max:
            self._lists.clear()
        return self._lists.setdefault(acl, acl)
