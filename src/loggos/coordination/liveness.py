"""Which sessions live: touches travel to the leader, and the leader alone lets a session expire (rule 13).

Rules:
- Any byte from a client touches its session. A node gathers touches and relays them to the leader every heartbeat, outside
  the log.
- Only the leader expires. Its deadlines are in cell time (rule 14) less the time in which its own process stood still, so
  that neither a wall clock's jump nor a pause of the leader ends a session.
- A node that becomes leader gives every session a full fresh lease: it cannot know what the old leader had heard.
- An EXPIRE names the session's last applied command as the leader saw it; the machine refuses it if the session acted since.
- Deadlines lie in buckets: a touch moves a session to another bucket, a tick looks at due buckets only.

Must not know: connections' bytes, the tree.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Protocol

from loggos.base.errors import OverloadedError
from loggos.base.ids import NO_NODE, Index, NodeId, SessionId
from loggos.base.limits import (
    EXPIRE_RETRY_MS,
    HEARTBEAT_MS,
    LOOP_STALL_MS,
    SESSION_BUCKET_MS,
    SESSIONS_EXPIRED_PER_COMMAND_MAX,
    SESSIONS_EXPIRED_PER_TICK_MAX,
    TOUCHES_PER_NOTE_MAX,
)
from loggos.base.ports import Log
from loggos.coordination.commands import MACHINE_ID, ExpireItem, encode_expire


class SessionView(Protocol):
    """What liveness reads of a session of the machine."""

    timeout_ms: int
    last_seen: Index


class SessionsView(Protocol):
    """Where the sessions are; asked anew each time, since a snapshot replaces them."""

    @property
    def sessions(self) -> Mapping[SessionId, SessionView]: ...


class Touched(Protocol):
    """A connection whose client sent something since the last relay."""

    session: SessionId
    touched: bool


class Leases:
    """Deadlines of sessions in buckets of `bucket_ms`, rounded up: never early."""

    def __init__(self, bucket_ms: int = SESSION_BUCKET_MS) -> None:
        self._bucket_ms = bucket_ms
        self._buckets: dict[int, dict[SessionId, None]] = {}
        self._bucket_of: dict[SessionId, int] = {}

    def __len__(self) -> int:
        return len(self._bucket_of)

    def grant(self, session: SessionId, timeout_ms: int, now_ms: int) -> None:
        """The session lives for `timeout_ms` from now, at least."""
        bucket = (now_ms + timeout_ms) // self._bucket_ms + 1
        old = self._bucket_of.get(session)
        if old == bucket:
            return
        if old is not None:
            self._leave(session, old)
        self._bucket_of[session] = bucket
        sessions = self._buckets.get(bucket)
        if sessions is None:
            self._buckets[bucket] = {session: None}
        else:
            sessions[session] = None

    def grant_all(self, sessions: Mapping[SessionId, SessionView], now_ms: int) -> None:
        """A full lease for each of these, and for no other."""
        buckets: dict[int, dict[SessionId, None]] = {}
        bucket_of: dict[SessionId, int] = {}
        for session, state in sessions.items():
            bucket = bucket_of[session] = (now_ms + state.timeout_ms) // self._bucket_ms + 1
            members = buckets.get(bucket)
            if members is None:
                members = buckets[bucket] = {}
            members[session] = None
        self._buckets, self._bucket_of = buckets, bucket_of

    def drop(self, session: SessionId) -> None:
        bucket = self._bucket_of.pop(session, None)
        if bucket is not None:
            self._leave(session, bucket)

    def _leave(self, session: SessionId, bucket: int) -> None:
        sessions = self._buckets[bucket]
        del sessions[session]
        if not sessions:
            del self._buckets[bucket]

    def due(self, now_ms: int, count_max: int) -> list[SessionId]:
        """Up to `count_max` sessions whose lease ended, the oldest first; they are no longer held here."""
        current = now_ms // self._bucket_ms
        found: list[SessionId] = []
        while self._buckets and len(found) < count_max:
            bucket = min(self._buckets)
            if bucket > current:
                break
            for session in list(self._buckets[bucket])[: count_max - len(found)]:
                found.append(session)
                self.drop(session)
        return found

    def ends_ms(self, session: SessionId) -> int | None:
        """When the session's lease ends, for people."""
        bucket = self._bucket_of.get(session)
        return None if bucket is None else bucket * self._bucket_ms


class Liveness:
    """Touches and expiry of one node. `tick` every HEARTBEAT_MS with the monotonic clock."""

    def __init__(self, log: Log, machine: SessionsView) -> None:
        self._log = log
        self._machine = machine
        self._touched: list[Touched] = []
        self._stalled_ms = 0
        self._last_tick_ms: int | None = None
        self.leases = Leases()
        self._seen: dict[SessionId, Index] = {}  # each session's last_seen when its lease was granted
        self.leading = False
        self.expiries_proposed = 0
        self.stalls = 0

    def now_ms(self) -> int:
        """Cell time as far as it may count against a session."""
        return self._log.cell_ms - self._stalled_ms

    # --- what happens to sessions ----------------------------------------------------------------------------------------

    def touch(self, client: Touched) -> None:
        """The first byte of a client since the last relay; `client.touched` keeps further ones from coming here."""
        client.touched = True
        self._touched.append(client)

    def renew(self, session: SessionId) -> None:
        """A full lease from now on, if the session still exists."""
        state = self._machine.sessions.get(session)
        if state is not None:
            self._seen[session] = state.last_seen
            self.leases.grant(session, state.timeout_ms, self.now_ms())

    def ended(self, session: SessionId) -> None:
        self._seen.pop(session, None)
        self.leases.drop(session)

    def leader_changed(self, is_self: bool) -> None:
        became_leader = is_self and not self.leading
        self.leading = is_self
        if became_leader:
            self.fresh_leases()

    def fresh_leases(self) -> None:
        """On becoming leader: what was heard of before is not known here (rule 13)."""
        self._seen = {session: state.last_seen for session, state in self._machine.sessions.items()}
        self.leases.grant_all(self._machine.sessions, self.now_ms())

    def has_acted(self, session: SessionId, state: SessionView) -> bool:
        """Was a command of the session applied since its lease was granted? That is a sign of life, though no touch
        has come yet."""
        return state.last_seen != self._seen.get(session)

    # --- the tick --------------------------------------------------------------------------------------------------------

    def tick(self, monotonic_ms: int) -> None:
        self._notice_stall(monotonic_ms)
        self.relay()
        if self.may_expire():
            self.expire()

    def _notice_stall(self, monotonic_ms: int) -> None:
        """A tick that comes much too late means that this process stood still and could not hear its clients."""
        if self._last_tick_ms is not None and monotonic_ms - self._last_tick_ms > LOOP_STALL_MS:
            self._stalled_ms += monotonic_ms - self._last_tick_ms - HEARTBEAT_MS
            self.stalls += 1
        self._last_tick_ms = monotonic_ms

    def relay(self) -> None:
        """Bring the gathered touches to the leader; without one they are kept."""
        leader = self._log.leader
        if not self._touched or (leader == NO_NODE and not self.leading):
            return
        touched, self._touched = self._touched, []
        sessions = [client.session for client in touched]
        for client in touched:
            client.touched = False
        if self.leading:
            for session in sessions:
                self.renew(session)
            return
        for first in range(0, len(sessions), TOUCHES_PER_NOTE_MAX):
            part = sessions[first : first + TOUCHES_PER_NOTE_MAX]
            self._log.tell(leader, MACHINE_ID, struct.pack(f">{len(part)}q", *part))

    def heard(self, sender: NodeId, note: bytes) -> None:
        """Touches that another node gathered."""
        if not self.leading or len(note) % 8:
            return
        for session in struct.unpack(f">{len(note) // 8}q", note):
            self.renew(SessionId(session))

    def may_expire(self) -> bool:
        """Only the leader hears of all touches."""
        return self.leading

    def expire(self) -> None:
        """Propose the end of sessions whose lease ran out; each is looked at again in case the proposal comes to nothing."""
        now_ms = self.now_ms()
        due = self.leases.due(now_ms, SESSIONS_EXPIRED_PER_TICK_MAX)
        items = []
        for session in due:
            state = self._machine.sessions.get(session)
            if state is None:
                self._seen.pop(session, None)
            elif self.has_acted(session, state):
                self.renew(session)
            else:
                items.append(ExpireItem(session, state.last_seen))
                self.leases.grant(session, EXPIRE_RETRY_MS, now_ms)
        for first in range(0, len(items), SESSIONS_EXPIRED_PER_COMMAND_MAX):
            part = items[first : first + SESSIONS_EXPIRED_PER_COMMAND_MAX]
            try:
                self._log.propose(MACHINE_ID, encode_expire(part))
            except OverloadedError:
                return
            self.expiries_proposed += len(part)
