"""A place in a fair queue: one ephemeral sequential znode per contender; who has the lowest sequence number is first.

Rules: creating a place survives a lost reply: its name begins with a fresh GUID, and after an unknown outcome it is looked for
(after a `sync`, so that a follower that lags cannot hide it) before another one is made. A place that is given up is always
removed, if need be later (keeper.py): a forgotten one would block the queue for as long as this session lives. A contender
watches only the one before it. Names are those of kazoo's own Lock (`<guid>__lock__<sequence>`), so that both exclude each other
on one path.

Not kazoo's Lock, because it may return True for a node of an ended session, waits without bound while disconnected, looks for its
node without `sync`, and leaves its node behind if that clean-up meets a broken connection.
Source: ZooKeeper recipes (locks); Curator's protected creation; consensus-pitfalls 25.
"""

from __future__ import annotations

import re
import uuid
from dataclasses import dataclass
from typing import Any

from kazoo.exceptions import NoNodeError

from loggos.client.session import Session, now_s

MARK = "__lock__"
_CONTENDER = re.compile(re.escape(MARK) + r"(-?\d{10})$")
_SEQUENCE_SPAN = 1 << 32  # the server's counter is a signed 32-bit integer that wraps


def sequence_of(name: str) -> int | None:
    """The sequence number in a contender's node name; None for any other node."""
    match = _CONTENDER.search(name)
    return None if match is None else int(match.group(1))


def is_ahead(other: int, mine: int) -> bool:
    """Was sequence number `other` given before `mine`? Right across the wrap, for fewer than 2**31 contenders in between."""
    return other != mine and (mine - other) % _SEQUENCE_SPAN < _SEQUENCE_SPAN // 2


def predecessor(names: list[str], mine: str) -> str | None:
    """The contender directly ahead of `mine`; None when it is first."""
    own = sequence_of(mine)
    assert own is not None, mine
    numbered = [(number, name) for name in names if (number := sequence_of(name)) is not None]
    ahead = [((own - number) % _SEQUENCE_SPAN, name) for number, name in numbered if is_ahead(number, own)]
    return min(ahead)[1] if ahead else None


def in_order(names: list[str]) -> list[str]:
    """The contenders among `names`, first in line first."""
    contenders = [(number, name) for name in names if (number := sequence_of(name)) is not None]
    if not contenders:
        return []
    base = contenders[0][0] - _SEQUENCE_SPAN // 2  # numbers are compared by their distance, so that the wrap does not matter
    return [name for _, name in sorted(((number - base) % _SEQUENCE_SPAN, name) for number, name in contenders)]


@dataclass(slots=True)
class Place:
    """A contender's znode. `confirmed_s`: when the last request was sent whose answer proves that it was there."""

    parent: str
    name: str
    guid: str
    token: int  # its creation zxid: increases with the place in line
    owner: int  # the session that it lives and dies with
    epoch: int  # of this client's sessions
    confirmed_s: float

    @property
    def path(self) -> str:
        return child_path(self.parent, self.name)


def child_path(parent: str, name: str) -> str:
    return f"{parent.rstrip('/')}/{name}"


def find(session: Session, parent: str, guid: str) -> list[str]:
    """Names of the nodes that were made under a GUID, whatever became of the replies; first in line first."""
    session.call(session.client.sync_async, parent)
    try:
        children = session.call(session.client.get_children_async, parent)
    except NoNodeError:
        return []
    return in_order([name for name in children if name.startswith(guid)])


def remove(session: Session, parent: str, guid: str) -> None:
    """Remove every node made under a GUID. OutcomeUnknown: ask again."""
    for name in find(session, parent, guid):
        try:
            session.call(session.client.delete_async, child_path(parent, name))
        except NoNodeError:
            pass


class Entry:
    """Getting one place in a queue, in as many attempts as the connection needs."""

    def __init__(self, session: Session, parent: str, identifier: bytes) -> None:
        self.session, self.parent, self.identifier = session, parent, identifier
        self.guid = uuid.uuid4().hex
        self.epoch = session.epoch
        self.maybe_made = False  # a create was sent whose reply has not been seen

    def attempt(self) -> Place | None:
        """Make the place, or find the one already made. None: the session changed under it; begin afresh. OutcomeUnknown: try
        again.
        """
        sent_s = now_s()
        made = self._find_made() if self.maybe_made else None
        if made is None:
            made = self._create()
        name, stat = made
        if not self._same_session():
            return None
        return Place(self.parent, name, self.guid, int(stat.czxid), int(stat.ephemeralOwner), self.epoch, sent_s)

    def _same_session(self) -> bool:
        return self.session.epoch == self.epoch

    def _create(self) -> tuple[str, Any]:
        client = self.session.client
        prefix = child_path(self.parent, self.guid + MARK)
        self.maybe_made = True
        try:
            path, stat = self.session.call(
                client.create_async, prefix, self.identifier, ephemeral=True, sequence=True, include_data=True
            )
        except NoNodeError:
            self.session.call(client.ensure_path_async, self.parent)
            path, stat = self.session.call(
                client.create_async, prefix, self.identifier, ephemeral=True, sequence=True, include_data=True
            )
        return path.rsplit("/", 1)[1], stat

    def _find_made(self) -> tuple[str, Any] | None:
        names = find(self.session, self.parent, self.guid)
        for name in names[:1]:
            stat = self.session.call(self.session.client.exists_async, child_path(self.parent, name))
            if stat is not None:
                return name, stat
        return None


class Turn:
    """Waiting at a place until it is first, watching only the predecessor."""

    def __init__(self, session: Session, place: Place) -> None:
        self.session, self.place = session, place
        self.ahead: str | None = None  # whom we wait for
        self._stirred = False

    def is_first(self) -> bool | None:
        """Is the place first in line? None: it is gone. OutcomeUnknown: ask again."""
        children = self.session.call(self.session.client.get_children_async, self.place.parent)
        if self.place.name not in children:
            return None
        self.ahead = predecessor(children, self.place.name)
        return self.ahead is None

    def wait(self, deadline_s: float | None) -> None:
        """Until the predecessor's node or the connection changes, or the deadline passes."""
        assert self.ahead is not None
        self._stirred = False
        path = child_path(self.place.parent, self.ahead)
        try:
            self.session.call(
                self.session.client.get_async, path, self._stir
            )  # not `exists`: it would leave a watch on a node that is gone
        except NoNodeError:
            return
        changed = self.session.changed
        with changed:
            while not self._stirred and self.session.connected and self.session.epoch == self.place.epoch:
                remaining = None if deadline_s is None else deadline_s - now_s()
                if remaining is not None and remaining <= 0:
                    return
                changed.wait(remaining)

    def confirm(self) -> bool | None:
        """Does the place stand on the leader's word? After a wait the answer of a follower that lags is not enough."""
        sent_s = now_s()
        self.session.call(self.session.client.sync_async, self.place.path)
        stat = self.session.call(self.session.client.exists_async, self.place.path)
        if stat is None or int(stat.czxid) != self.place.token:
            return None
        self.place.confirmed_s = sent_s
        return True

    def _stir(self, event: object) -> None:
        with self.session.changed:
            self._stirred = True
            self.session.changed.notify_all()
