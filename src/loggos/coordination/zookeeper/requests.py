"""Requests that the door answers without the tree: pings, refusals; and how an authentication is rewritten for the log.

One table, `HANDLERS`, finds the handler of every opcode that is not a write; whatever is not in it is unimplemented.
Must not know: sockets, the log. Source: ZooKeeperServer.java, ProviderRegistry.java, DigestAuthenticationProvider.java (3.8).
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from typing import Final, Protocol

from loggos.base.errors import FrameError
from loggos.coordination.acl import DIGEST, IP, SUPER
from loggos.coordination.zookeeper import reads
from loggos.coordination.zookeeper.codec import (
    AUTH_FAILED,
    MARSHALLING_ERROR,
    OP_AUTH,
    OP_GET_ALL_CHILDREN_NUMBER,
    OP_PING,
    OP_RECONFIG,
    OP_SASL,
    OP_SYNC,
    OPERATION_TIMEOUT,
    RECONFIG_DISABLED,
    UNIMPLEMENTED,
    XID_PING,
    Reader,
    encode_buffer,
    encode_reply,
)
from loggos.coordination.zookeeper.output import AUTHENTICATION_FAILED


class RequestingClient(reads.ReadingClient, Protocol):
    """What a request needs of its connection."""

    def hang_up(self, why: str, event: str = ...) -> None:
        """Close once everything queued, this request's reply included, is sent."""
        ...


Handler = Callable[[RequestingClient, int, bytes], bytes]


def answer(client: RequestingClient, opcode: int, xid: int, frame: bytes) -> bytes:
    """The reply to any request that is not a write, now. A body that is none is a marshalling error, as in ZooKeeper."""
    try:
        return HANDLERS.get(opcode, unimplemented)(client, xid, frame)
    except (reads.ReadError, FrameError) as error:
        return _refusal(client, xid, error)


def answer_or_later(
    client: RequestingClient, xid: int, frame: bytes, later: Callable[[bytes], None], is_wanted: Callable[[], bool]
) -> bytes | None:
    """The reply to getAllChildrenNumber, now; or None, and `later` gets it, if it `is_wanted` then."""
    try:
        return reads.get_all_children_number(client, xid, frame, later, is_wanted)
    except (reads.ReadError, FrameError) as error:
        return _refusal(client, xid, error)


def _refusal(client: RequestingClient, xid: int, error: reads.ReadError | FrameError) -> bytes:
    code = error.code if isinstance(error, reads.ReadError) else MARSHALLING_ERROR
    return encode_reply(xid, client.service.index, code)


def ping(client: RequestingClient, xid: int, frame: bytes) -> bytes:
    return encode_reply(XID_PING, client.service.index, 0)


def synced(client: RequestingClient, xid: int, frame: bytes) -> bytes:
    """This node has applied all that was acknowledged before the sync arrived."""
    return encode_reply(xid, client.service.index, 0, encode_buffer(Reader(frame, reads.BODY_AT).buffer()))


def sync_failed(client: RequestingClient, xid: int, frame: bytes) -> bytes:
    """No leader answered in time; clients retry this code."""
    return encode_reply(xid, client.service.index, OPERATION_TIMEOUT)


def reconfig(client: RequestingClient, xid: int, frame: bytes) -> bytes:
    return encode_reply(xid, client.service.index, RECONFIG_DISABLED)


def refuse_sasl(client: RequestingClient, xid: int, frame: bytes) -> bytes:
    _refuse_authentication(client, "SASL is not offered")
    return encode_reply(xid, 0, AUTH_FAILED)


def auth_failed(client: RequestingClient, xid: int, frame: bytes) -> bytes:
    _refuse_authentication(client, "an authentication scheme that is not known, or a request that cannot be read")
    return encode_reply(xid, 0, AUTH_FAILED)


def _refuse_authentication(client: RequestingClient, why: str) -> None:
    client.service.counters.authentications_failed += 1
    client.hang_up(why, AUTHENTICATION_FAILED)


def unimplemented(client: RequestingClient, xid: int, frame: bytes) -> bytes:
    return encode_reply(xid, client.service.index, UNIMPLEMENTED)


def digest_id(secret: bytes) -> bytes:
    """The id that "user:password" proves: user:base64(sha1(user:password))."""
    return secret.partition(b":")[0] + b":" + base64.b64encode(hashlib.sha1(secret, usedforsecurity=False).digest())


def proved_ids(frame: bytes, address: str, super_digest: bytes | None) -> list[tuple[bytes, bytes]]:
    """The (scheme, id) pairs that an auth request proves; none: refuse it. FrameError: it is no auth request."""
    reader = Reader(frame, reads.BODY_AT)
    reader.int32()
    scheme, secret = reader.buffer(), reader.buffer()
    if scheme == IP:
        return [(IP, address.encode("ascii", "replace"))]
    if scheme != DIGEST:
        return []
    identity = digest_id(secret)
    if super_digest is not None and identity == super_digest:
        return [(DIGEST, identity), (SUPER, b"")]
    return [(DIGEST, identity)]


HANDLERS: Final[dict[int, Handler]] = {
    **reads.HANDLERS,
    OP_PING: ping,
    OP_SYNC: synced,
    OP_RECONFIG: reconfig,
    OP_SASL: refuse_sasl,
    OP_AUTH: auth_failed,
}

# how requests are counted; writes are counted as runs
OTHER: Final = "other_requests"
CLASS_OF: Final[dict[int, str]] = {
    **dict.fromkeys(reads.HANDLERS, "reads"),
    **dict.fromkeys(reads.WATCH_OPS, "watch_requests"),
    OP_PING: "pings",
    OP_SYNC: "syncs",
    OP_GET_ALL_CHILDREN_NUMBER: "reads",
}
