"""The coordination machine: applies the log's commands to tree and sessions, the same on every node.

Rules:
- Deterministic: no clock, no randomness, no order of sets; `answer` decides only whether replies are encoded.
- Never raises on any bytes: what cannot be read is answered with an error code, the same everywhere (rule 15).
- An operation takes one index, also where it fails; a refused or repeated command takes none. A reply carries its operation's
  index as zxid.
- A request that would be answered by a node's own state (a read) has no place in a run: it gets Unimplemented.
Decisions that safety rests on are small methods of their own (`is_old_generation`, `is_gap`, `repeats`, `may_expire`, …).
Must not know: connections, watches, how the log works. Source: rules 11 to 19; Apache ZooKeeper 3.8 for what operations do.
"""

from __future__ import annotations

import hmac
import struct
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

from crc32c import crc32c

from loggos.base.errors import FrameError
from loggos.base.ids import NODE_BITS, Index, NodeId, SessionId, Stamps
from loggos.base.limits import MULTI_OPERATIONS_MAX, SCRUB_SLICE_ITEMS, SNAPSHOT_SLICE_ITEMS
from loggos.base.steps import Digesting, Steps, all_steps
from loggos.coordination import commands, snapshot
from loggos.coordination.acl import OPEN_ACL, AclList, AclTable, permits, read_acl
from loggos.coordination.commands import CHANGED, NO_SESSION, Attached, Outcome, TreeEvent
from loggos.coordination.operations import Operations, Refusal, Run
from loggos.coordination.sessions import Session, SessionTable
from loggos.coordination.snapshot import Sum
from loggos.coordination.tree import Tree, Znode, encode_stat, exposed_cversion
from loggos.coordination.zookeeper import codec
from loggos.coordination.zookeeper.codec import (
    BAD_ARGUMENTS,
    MARSHALLING_ERROR,
    OK,
    PERM_WRITE,
    REPLY_STAT,
    RUNTIME_INCONSISTENCY,
    SESSION_EXPIRED,
    SESSION_MOVED,
    UNIMPLEMENTED,
    Reader,
)

_REQUESTS: Final = commands.REQUESTS_HEADER.unpack_from
_REQUESTS_BYTES: Final = commands.REQUESTS_HEADER.size
_HEAD: Final = codec.REQUEST_HEAD.unpack_from
_HEAD_BYTES: Final = codec.REQUEST_HEAD.size
_INT32: Final = codec.INT32.unpack_from
_new_tuple: Final = tuple.__new__  # a NamedTuple's own way is a call in Python more
_TTL_FLAGS: Final = (5, 6)  # TTL, sequential TTL
# one kind of part to ZooKeeper, answered by the path alone; with the flag of a container another, answered as by create2
_CREATES: Final = (codec.OP_CREATE, codec.OP_CREATE2, codec.OP_CREATE_CONTAINER)
_NOBODY: Final = Session(NO_SESSION, b"", 0)  # in whose name the cell itself deletes
_REPLY_STAT_LENGTH: Final = REPLY_STAT.size - 4

# of a command with one setData: the command's own header, the frame's, the length of the path
_PLAIN_HEAD: Final = struct.Struct(">BqqqIiiii").unpack_from
_PLAIN_FRAME_AT: Final = _REQUESTS_BYTES + 4
_PLAIN_PATH_AT: Final = _REQUESTS_BYTES + 16
_PLAIN_BYTES_MIN: Final = _PLAIN_PATH_AT + 8
Plain = tuple[int, Session, int, bytes, Znode]  # mark, session, xid, path, node

Arguments = tuple[Any, ...]


def _read_create(reader: Reader) -> Arguments:
    return reader.buffer(), reader.nullable(), read_acl(reader), reader.int32()


def _read_path_version(reader: Reader) -> Arguments:
    return reader.buffer(), reader.int32()


def _read_set_data(reader: Reader) -> Arguments:
    return reader.buffer(), reader.nullable(), reader.int32()


def _read_set_acl(reader: Reader) -> Arguments:
    return reader.buffer(), read_acl(reader), reader.int32()


def _read_auth(reader: Reader) -> Arguments:
    reader.int32()  # type: unused by every client and server
    return reader.buffer(), reader.buffer()


def _read_nothing(_: Reader) -> Arguments:
    return ()


def _read_create_ttl(reader: Reader) -> Arguments:
    return (*_read_create(reader), reader.int64())


_DECODERS: Final[dict[int, Callable[[Reader], Arguments]]] = {
    codec.OP_CREATE: _read_create,
    codec.OP_CREATE2: _read_create,
    codec.OP_CREATE_CONTAINER: _read_create,
    codec.OP_DELETE: _read_path_version,
    codec.OP_SET_DATA: _read_set_data,
    codec.OP_SET_ACL: _read_set_acl,
    codec.OP_CHECK: _read_path_version,
    codec.OP_AUTH: _read_auth,
    codec.OP_CLOSE_SESSION: _read_nothing,
}
# what a multi may hold; the last one is read so that it can be refused by itself
_MULTI_DECODERS: Final[dict[int, Callable[[Reader], Arguments]]] = {
    codec.OP_CREATE: _read_create,
    codec.OP_CREATE2: _read_create,
    codec.OP_DELETE: _read_path_version,
    codec.OP_SET_DATA: _read_set_data,
    codec.OP_CHECK: _read_path_version,
    codec.OP_CREATE_CONTAINER: _read_create,
    codec.OP_CREATE_TTL: _read_create_ttl,
}


class CoordinationMachine:
    """Tree and sessions, changed by `apply` and `restore` only. Read `tree.nodes` and `sessions` freely between calls."""

    ID: Final = commands.MACHINE_ID
    slice_items = SNAPSHOT_SLICE_ITEMS  # simulation makes it small, so that a snapshot of little state has many slices, too

    def __init__(self) -> None:
        self.acls = AclTable()
        self.tree = Tree()
        self.tree.plant()
        self.sessions = SessionTable()
        self.operations = Operations(self.tree, self.sessions, self.acls)
        self._commands = {
            commands.REQUESTS: self._apply_requests,
            commands.ATTACH: self._apply_attach,
            commands.EXPIRE: self._apply_expire,
            commands.REAP: self._apply_reap,
        }
        self._handlers = {codec.OP_SET_DATA: self._set_data, codec.OP_MULTI: self._multi}
        self._executors: dict[int, Callable[..., bytes]] = {
            codec.OP_CREATE: self._do_create,
            codec.OP_CREATE2: self._do_create2,
            codec.OP_CREATE_CONTAINER: self._do_create_container,
            codec.OP_DELETE: self._do_delete,
            codec.OP_SET_DATA: self._do_set_data,
            codec.OP_SET_ACL: self._do_set_acl,
            codec.OP_CHECK: self._do_check,
            codec.OP_AUTH: self._do_auth,
            codec.OP_CLOSE_SESSION: self._do_close,
        }

    def apply(self, first_index: int, stamps: Stamps, command: bytes, answer: bool) -> Outcome:
        """Apply one command whose first operation takes `first_index`. `answer`: encode replies."""
        handler = self._commands.get(command[0]) if command else None
        if handler is None:
            return Outcome([], refused=UNIMPLEMENTED)
        return handler(first_index, stamps, command, answer)

    def snapshot(self) -> Iterator[bytes]:
        """The state as it is now, in bounded slices; `apply` may be called between them. At most one runs: a new one ends it."""
        return snapshot.Snapshot(self.tree, self.sessions, self.slice_items).slices()

    def restoring(self, chunks: Iterable[bytes]) -> Steps:
        """Make a snapshot's state beside this one, in steps between which `apply` may be called; what it gives puts it in this
        one's place. InternalError, and nothing changed, if it is not whole."""
        tree, sessions = yield from snapshot.restoring(chunks, self.acls)

        def replace() -> None:
            self.tree, self.sessions = tree, sessions
            self.operations = Operations(tree, sessions, self.acls)

        return replace

    def restore(self, chunks: Iterable[bytes]) -> None:
        """The same at once."""
        all_steps(self.restoring(chunks))()

    def digest(self) -> int:
        """64 bits over the whole state, however it came about."""
        return snapshot.digest(self.tree, self.sessions)

    def digesting(self) -> Digesting:
        """The same of the state as it is at the first step, which does nothing else; `apply` may be called between the steps, and
        each is bounded. None instead of the digest: a snapshot is under way, or was begun meanwhile; it is not disturbed."""
        if snapshot.is_walked(self.tree):
            return None
        return (yield from self.make_sum().digesting())

    def make_sum(self) -> Sum:
        return Sum(self.tree, self.sessions, min(self.slice_items, SCRUB_SLICE_ITEMS))

    def item_count(self) -> int:
        """How much `digesting` walks over."""
        return len(self.tree.nodes) + len(self.sessions)

    # --- requests ---------------------------------------------------------------------------------------------------------

    def _apply_requests(self, first_index: int, stamps: Stamps, command: bytes, answer: bool) -> Outcome:
        plain = self._apply_plain_alone(first_index, stamps, command, answer)
        if plain is not None:
            return plain
        try:
            _, session_id, generation, first_sequence, count = _REQUESTS(command)
        except struct.error:
            return Outcome([], refused=MARSHALLING_ERROR)
        session = self.sessions.get(session_id)
        outcome = Outcome([], session_id, generation, first_sequence)
        at, last, repeats = _REQUESTS_BYTES, first_sequence + count - 1, 0
        if session is None or generation != session.generation or first_sequence != session.sequence + 1 or not count:
            if session is None or not self._may_go_on(session, outcome):
                outcome.refused = outcome.refused or SESSION_EXPIRED
                return outcome
            repeats = self.repeats(session, first_sequence)
        if count > (len(command) - at) // _HEAD_BYTES:
            outcome.refused = MARSHALLING_ERROR
            return outcome
        if repeats or not count:
            outcome.first_sequence = first_sequence + repeats
            if repeats >= count:
                outcome.replies = [] if answer else None
                return outcome
            at = _skip_frames(command, at, repeats)
            count -= repeats
        self.sessions.before_change(session)
        run = Run(session, stamps.wall_ms, answer)
        outcome.codes = self._run(run, command, at, first_index, count)
        if not run.closed:
            session.sequence = last
            session.last_seen = Index(first_index + count - 1)
        outcome.events, outcome.marks = run.events, run.marks
        outcome.ended = run.ended
        if answer:
            outcome.replies = run.replies
        return outcome

    def apply_plain(self, batch: bytes, at: int, end: int, index: Index, stamps: Stamps) -> Plain | None:
        """The command batch[at:end] if it is one setData that succeeds, of any version of a node that is open to the world: what
        clients without a pipeline send most, done here at once, and where nobody listens the only thing done. Its mark is the
        version that it left. None: it is anything else, and nothing was done."""
        if end - at < _PLAIN_BYTES_MIN:
            return None
        kind, session_id, generation, sequence, count, length, xid, opcode, path_length = _PLAIN_HEAD(batch, at)
        path_at = at + _PLAIN_PATH_AT
        data_at = path_at + path_length + 4
        if (
            opcode != codec.OP_SET_DATA
            or count != 1
            or kind != commands.REQUESTS
            or path_length <= 0
            or length != end - at - _PLAIN_FRAME_AT
            or data_at + 4 > end
            or _INT32(batch, data_at - 4)[0] != end - 4 - data_at
            or _INT32(batch, end - 4)[0] != -1
        ):
            return None
        path = batch[path_at : data_at - 4]
        node, session = self.tree.nodes.get(path), self.sessions.get(session_id)
        if (
            node is None
            or session is None
            or node.acl is not OPEN_ACL
            or generation != session.generation
            or sequence != session.sequence + 1
        ):
            return None
        if self.sessions.saver is not None:
            self.sessions.saver(session)
        self.tree.set_data(path, node, batch[data_at : end - 4], index, stamps.wall_ms)
        session.sequence = sequence
        session.last_seen = index
        return node.version, session, xid, path, node

    def _apply_plain_alone(self, first_index: int, stamps: Stamps, command: bytes, answer: bool) -> Outcome | None:
        """The same with all that `apply` tells of it."""
        plain = self.apply_plain(command, 0, len(command), Index(first_index), stamps)
        if plain is None:
            return None
        mark, session, xid, path, node = plain
        outcome = Outcome([OK], session.id, session.generation, session.sequence)
        outcome.marks = [mark]
        outcome.events = [_new_tuple(TreeEvent, (0, CHANGED, path, first_index, OPEN_ACL, OPEN_ACL))]
        if answer:
            outcome.replies = [encode_stat_reply(xid, first_index, node)]
        return outcome

    def _may_go_on(self, session: Session, outcome: Outcome) -> bool:
        """A run that does not begin just behind what was applied of its session: refused, unless it repeats some of that."""
        if self.is_other_generation(session, outcome.generation) or self.is_gap(session, outcome.first_sequence):
            outcome.refused = SESSION_MOVED
        return not outcome.refused

    def _run(self, run: Run, command: bytes, at: int, index: int, count: int) -> list[int]:
        """Apply `count` frames from `at`; gives their codes. Frames cut short, or shorter than their head, get Marshalling."""
        codes: list[int] = []
        size = len(command)
        find, general = self._handlers.get, self._general
        for position in range(count):
            run.index, run.position = index + position, position
            if at + _HEAD_BYTES > size:
                codes.append(self._fail(run, 0, MARSHALLING_ERROR))
                continue
            length, xid, opcode = _HEAD(command, at)
            end = at + 4 + length
            if length < 8 or end > size:
                codes.append(self._fail(run, 0, MARSHALLING_ERROR))
                at = size if length < 0 else end
            elif run.closed:
                codes.append(self._fail(run, xid, SESSION_EXPIRED))
                at = end
            else:
                codes.append(find(opcode, general)(run, opcode, xid, command, at + _HEAD_BYTES, end))
                at = end
        return codes

    def _set_data(self, run: Run, opcode: int, xid: int, command: bytes, at: int, end: int) -> int:
        """The hot operation: the way it succeeds, without layers. What is unusual goes the general way, which finds the error."""
        try:
            path_end = at + 4 + _INT32(command, at)[0]
            path = command[at + 4 : path_end]
            data_end = path_end + 4 + _INT32(command, path_end)[0]
            version = _INT32(command, data_end)[0]
        except struct.error:
            return self._general(run, opcode, xid, command, at, end)
        tree = self.tree
        node = tree.nodes.get(path)
        if (
            node is None
            or not at < path_end <= data_end - 4
            or data_end + 4 > end
            or (version != -1 and not self.operations.version_matches(node.version, version))
            or (node.acl is not OPEN_ACL and not permits(node.acl, PERM_WRITE, run.session.identities))
        ):
            return self._general(run, opcode, xid, command, at, end)
        index = run.index
        tree.set_data(path, node, command[path_end + 4 : data_end], index, run.wall_ms)
        run.marks.append(node.version)
        run.events.append(_new_tuple(TreeEvent, (run.position, CHANGED, path, index, node.acl, OPEN_ACL)))
        if run.answer:
            run.replies.append(encode_stat_reply(xid, index, node))
        return OK

    def _general(self, run: Run, opcode: int, xid: int, command: bytes, at: int, end: int) -> int:
        """Any operation but multi: decode, check and change, encode."""
        decode = _DECODERS.get(opcode)
        if decode is None:
            return self._fail(run, xid, UNIMPLEMENTED)
        try:
            body = self._executors[opcode](run, *decode(Reader(command, at, end)))
        except FrameError:
            return self._fail(run, xid, MARSHALLING_ERROR)
        except Refusal as refusal:
            return self._fail(run, xid, refusal.code)
        run.marks.append(crc32c(body))
        if run.answer:
            run.replies.append(codec.encode_reply(xid, run.index, OK, body))
        return OK

    def _fail(self, run: Run, xid: int, code: int) -> int:
        run.marks.append(code)
        if run.answer:
            run.replies.append(codec.encode_reply(xid, run.index, code))
        return code

    # --- single operations: change, and the body of the reply ---------------------------------------------------------------

    def _do_create(self, run: Run, path: bytes, data: bytes | None, acl: AclList, flags: int) -> bytes:
        created, _ = self.operations.create(run, path, data, self.acls.intern(acl), flags)
        return codec.encode_buffer(created)

    def _do_create2(self, run: Run, path: bytes, data: bytes | None, acl: AclList, flags: int) -> bytes:
        created, node = self.operations.create(run, path, data, self.acls.intern(acl), flags)
        return codec.encode_buffer(created) + encode_stat(node)

    def _do_create_container(self, run: Run, path: bytes, data: bytes | None, acl: AclList, flags: int) -> bytes:
        created, node = self.operations.create(run, path, data, self.acls.intern(acl), flags, container=True)
        return codec.encode_buffer(created) + encode_stat(node)

    def _do_delete(self, run: Run, path: bytes, version: int) -> bytes:
        self.operations.delete(run, path, version)
        return b""

    def _do_set_data(self, run: Run, path: bytes, data: bytes | None, version: int) -> bytes:
        return encode_stat(self.operations.set_data(run, path, data, version))

    def _do_set_acl(self, run: Run, path: bytes, acl: AclList, version: int) -> bytes:
        return encode_stat(self.operations.set_acl(run, path, self.acls.intern(acl), version))

    def _do_check(self, run: Run, path: bytes, version: int) -> bytes:
        return encode_stat(self.operations.check(run, path, version))

    def _do_auth(self, run: Run, scheme: bytes, identity: bytes) -> bytes:
        self.operations.authenticate(run, scheme, identity)
        return b""

    def _do_close(self, run: Run) -> bytes:
        self.operations.end_session(run, run.session)
        run.closed = True
        return b""

    # --- multi --------------------------------------------------------------------------------------------------------------

    def _multi(self, run: Run, opcode: int, xid: int, command: bytes, at: int, end: int) -> int:
        """All or nothing, under one index. A failed one is answered without error in the head, but with one in each result."""
        try:
            parts = self._read_multi(Reader(command, at, end))
            if len(parts) > MULTI_OPERATIONS_MAX:
                return self._fail(run, xid, BAD_ARGUMENTS)
            code, bodies = self._run_multi(run, parts)
        except FrameError:
            return self._fail(run, xid, MARSHALLING_ERROR)
        body = b"".join(bodies)
        run.marks.append(crc32c(body))
        if run.answer:
            run.replies.append(codec.encode_reply(xid, run.index, OK, body + codec.MULTI_END))
        return code

    def _read_multi(self, reader: Reader) -> list[tuple[int, Arguments]]:
        parts: list[tuple[int, Arguments]] = []
        while len(parts) <= MULTI_OPERATIONS_MAX:
            opcode, done, _ = reader.int32(), reader.boolean(), reader.int32()
            if done:
                break
            decode = _MULTI_DECODERS.get(opcode)
            if decode is None:
                raise FrameError(f"operation {opcode} cannot be part of a multi")
            arguments = decode(reader)
            if opcode in _CREATES:
                opcode = codec.OP_CREATE_CONTAINER if arguments[-1] == codec.FLAG_CONTAINER else codec.OP_CREATE
            parts.append((opcode, arguments))
        return parts

    def _run_multi(self, run: Run, parts: list[tuple[int, Arguments]]) -> tuple[int, list[bytes]]:
        """The code of the part that failed (0: none did), and every part's result. FrameError: nothing was changed."""
        events_before = len(run.events)
        bodies: list[bytes] = []
        self.tree.undo = []
        for position, (opcode, arguments) in enumerate(parts):
            try:
                bodies.append(self._run_part(run, opcode, arguments))
            except (Refusal, FrameError) as refusal:
                self.take_back(run, events_before)
                if not isinstance(refusal, Refusal):
                    raise
                after = len(parts) - position - 1
                codes = [OK] * position + [refusal.code] + [RUNTIME_INCONSISTENCY] * after
                header = codec.MULTI_HEADER.pack
                return refusal.code, [header(codec.OP_ERROR, False, code) + codec.INT32.pack(code) for code in codes]
        self.tree.undo = None
        return OK, bodies

    def take_back(self, run: Run, events_before: int) -> None:
        """A part failed: nothing of the multi has happened, and nobody is told of it."""
        self.tree.roll_back()
        del run.events[events_before:]

    def _run_part(self, run: Run, opcode: int, arguments: Arguments) -> bytes:
        execute = self._executors.get(opcode)
        if execute is None:
            raise Refusal(UNIMPLEMENTED)
        if opcode == codec.OP_CREATE and arguments[-1] in _TTL_FLAGS:  # as ZooKeeper has it, if it gets that far
            raise FrameError("a create with a TTL flag but no TTL, as part of a multi")
        body = execute(run, *arguments)
        if opcode == codec.OP_CHECK:
            body = b""
        return codec.MULTI_HEADER.pack(codec.OP_CREATE2 if opcode == codec.OP_CREATE_CONTAINER else opcode, False, OK) + body

    # --- sessions -----------------------------------------------------------------------------------------------------------

    def is_other_generation(self, session: Session, generation: int) -> bool:
        """Does the command come from a connection that is not the session's newest? (rule 11)"""
        return generation != session.generation

    def is_gap(self, session: Session, first_sequence: int) -> bool:
        """Is a command of this generation missing before this one? (rule 11)"""
        return first_sequence > session.sequence + 1 or first_sequence < 1

    def repeats(self, session: Session, first_sequence: int) -> int:
        """How many operations from `first_sequence` on were applied before (rule 11)."""
        return session.sequence + 1 - first_sequence

    def password_matches(self, session: Session, password: bytes) -> bool:
        return hmac.compare_digest(session.password, password)

    def may_expire(self, session: Session, last_seen: int) -> bool:
        """Has the session done nothing since the leader found it silent? (rule 13)"""
        return session.last_seen == last_seen

    def _apply_attach(self, first_index: int, stamps: Stamps, command: bytes, answer: bool) -> Outcome:
        header = commands.ATTACH_HEADER
        if len(command) < header.size:
            return Outcome([], refused=MARSHALLING_ERROR)
        _, session_id, node, nonce, timeout_ms, password, address_bytes = header.unpack_from(command)
        address = command[header.size : header.size + address_bytes]
        is_new = session_id == 0
        session: Session | None
        if is_new:
            session = Session(SessionId(first_index << NODE_BITS | node), password, self.sessions.epoch)
            self.sessions[session.id] = session
        else:
            session = self.sessions.get(session_id)
        if session is None or not (is_new or self.password_matches(session, password)):
            attached = Attached(NodeId(node), nonce, NO_SESSION, 0, 0, bytes(codec.PASSWORD_BYTES), False)
            return Outcome([], attached=attached)
        self.sessions.before_change(session)
        session.attach(node, timeout_ms, address, Index(first_index))
        attached = Attached(NodeId(node), nonce, session.id, session.generation, timeout_ms, session.password, is_new)
        outcome = Outcome([OK], session.id, session.generation, attached=attached)
        outcome.marks = [session.generation]
        return outcome

    def _apply_expire(self, first_index: int, stamps: Stamps, command: bytes, answer: bool) -> Outcome:
        """Each session that ends takes one index; one that has acted since takes none."""
        item, at = commands.EXPIRE_ITEM, commands.EXPIRE_HEADER.size
        if len(command) < at:
            return Outcome([], refused=MARSHALLING_ERROR)
        _, count = commands.EXPIRE_HEADER.unpack_from(command)
        if count > (len(command) - at) // item.size:
            return Outcome([], refused=MARSHALLING_ERROR)
        outcome = Outcome([])
        marks: list[int] = []
        events: list[TreeEvent] = []
        ended: list[SessionId] = []
        for number in range(count):
            session_id, last_seen = item.unpack_from(command, at + number * item.size)
            session = self.sessions.get(session_id)
            if session is None or not self.may_expire(session, last_seen):
                continue
            self.sessions.before_change(session)
            run = Run(session, stamps.wall_ms, False)
            run.position = len(outcome.codes)
            run.index = first_index + run.position
            self.operations.end_session(run, session)
            outcome.codes.append(OK)
            marks.append(len(run.events))
            events += run.events
            ended += run.ended
        outcome.events, outcome.ended, outcome.marks = events, ended, marks
        return outcome

    # --- containers ---------------------------------------------------------------------------------------------------------

    def may_reap(self, path: bytes, pzxid: int) -> bool:
        """Is it a container that has had children and has none, and had none since the leader found it empty?"""
        node = self.tree.nodes.get(path)
        return node is not None and path in self.tree.emptied and node.pzxid == pzxid

    def _apply_reap(self, first_index: int, stamps: Stamps, command: bytes, answer: bool) -> Outcome:
        """Each container that goes takes one index; one that is in use again, or gone, takes none."""
        try:
            items = commands.decode_reap(command)
        except FrameError:
            return Outcome([], refused=MARSHALLING_ERROR)
        outcome = Outcome([])
        run = Run(_NOBODY, stamps.wall_ms, False)
        for path, pzxid in items:
            if self.may_reap(path, pzxid):
                run.position = len(outcome.codes)
                run.index = first_index + run.position
                self.operations.reap(run, path)
                outcome.codes.append(OK)
        outcome.events = run.events
        return outcome


def _skip_frames(command: bytes, at: int, count: int) -> int:
    """Where the frames after the first `count` begin; the end, if one of those is malformed."""
    for _ in range(count):
        length = _INT32(command, at)[0] if at + 4 <= len(command) else -1
        if length < 0:
            return len(command)
        at += 4 + length
    return at


def encode_stat_reply(xid: int, index: int, node: Znode) -> bytes:
    """A whole reply frame with a Stat, packed at once (setData)."""
    children = node.children
    return REPLY_STAT.pack(
        _REPLY_STAT_LENGTH,
        xid,
        index,
        OK,
        node.czxid,
        node.mzxid,
        node.ctime,
        node.mtime,
        node.version,
        exposed_cversion(node),
        node.aversion,
        node.owner if node.owner > 0 else 0,  # as in encode_stat
        len(node.data or b""),
        len(children) if children else 0,
        node.pzxid,
    )
