"""Random programs of client operations, for servers that must answer alike. A program is data: it can be printed and shortened.

Paths hold `%` for the program's own subtree, so that every run starts on nothing. A step is one session and the operations
that it sends in one go. Few paths, names and versions are drawn, so that operations meet.

Two things of Apache ZooKeeper 3.8 are avoided. It keeps one mode per watcher and path, the last one given (WatcherModeManager;
3.9 and Loggos keep them apart): so the last session has the persistent watches, the others the one-shot ones, and a path is
watched in one mode only. And what is sent right behind a setACL may be judged by the list before (PrepRequestProcessor keeps
the old one in the pending change record): so a setACL is the last of its step. For the same reason no container is asked for
with the flag of an ephemeral: it is one in the pending record, and a container in the tree.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any, NamedTuple

from tests.interop.frames import Acl

OPEN: tuple[Acl, ...] = ((31, b"world", b"anyone"),)
SESSIONS = 3
PERSISTENT_SESSION = SESSIONS - 1

PATHS = (b"%", b"%/a", b"%/b", b"%/a/x", b"%/a/y", b"%/a/x/1", b"%/b/x", b"%/c")
ODD_PATHS = (
    *(b"", b"/", b"a", b"%/", b"%//a", b"%/./a", b"%/../a", b"%/a/", b"%/a\0b", b"%/\x01", b"%/.", b"%/..", b"%/...", b"%/a.b"),
    *("%/é".encode(), "%/\ud7ff".encode(), "%/\ue000".encode(), "%/\ufff0".encode(), "%/\u007f".encode(), "%/\u0085".encode()),
    *(b"%/ ", b"%/a b", b"%/%%", b"/zookeeper/quota", b"/zookeeper/nothing", b"%/" + b"n" * 300),
)
# the digest of "one:1" and of "two:2", as Apache ZooKeeper's DigestAuthenticationProvider makes it
DIGESTS = (b"one:lj6jV0CklO+B740yxtWS4XOn7ag=", b"two:KDB/2qrXaPm2X1rbcKyH8E/poXE=")
SECRETS = (b"one:1", b"two:2", b"one:wrong", b"super:test")


class Op(NamedTuple):
    """One request: a kind of frames.KINDS (or `opN`) and its arguments. `zxid_back`: of setWatches, how old a view it claims."""

    kind: str
    arguments: tuple[Any, ...] = ()
    zxid_back: int = 0


class Step(NamedTuple):
    """What one session sends in one go. An op of kind `drop` ends the connection and resumes the session on a new one."""

    session: int
    ops: tuple[Op, ...]


Program = tuple[Step, ...]


# Opcodes that no client may send. Apache ZooKeeper answers these, and auth, before what was sent earlier and is still under way.
UNKNOWN = tuple(Op(f"op{opcode}", (b"",)) for opcode in (10, 23, 99, 108, 1000, -1, 0))


class Draw:
    """Draws operations from a seeded source."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.session = 0

    def program(self, steps: int) -> Program:
        first = Step(0, (Op("create", (b"%", b"", OPEN, 0)),))
        return (first, *(self.step() for _ in range(steps)))

    def step(self) -> Step:
        self.session = self.random.randrange(SESSIONS)
        if self.random.random() < 0.03:
            return Step(self.session, (Op("drop"),))
        ops = [self.op() for _ in range(self.random.choice((1, 1, 1, 2, 3, 5)))]
        last = next((at for at, op in enumerate(ops) if op.kind in ("setACL", "close")), len(ops))
        del ops[last + 1 :]
        alone = next((op for op in ops if op.kind == "auth" or op in UNKNOWN), None)
        return Step(self.session, tuple(ops) if alone is None else (alone,))

    def op(self) -> Op:
        makers, weights = zip(*OPERATIONS, strict=True)
        make: Callable[[Draw], Op] = self.random.choices(makers, weights)[0]
        return make(self)

    # --- arguments ------------------------------------------------------------------------------------------------------------

    def path(self) -> bytes:
        return self.random.choice(ODD_PATHS) if self.random.random() < 0.06 else self.random.choice(PATHS)

    def own_path(self) -> bytes:
        """One that is no node of all programs."""
        path = self.path()
        return b"%" if path == b"/" or path.startswith(b"/zookeeper") else path

    def data(self) -> bytes | None:
        return self.random.choice((b"", b"v", b"value", None, b"x" * 2_000))

    def version(self) -> int:
        return self.random.choice((-1, -1, -1, 0, 1, 2, 3, -2))

    def watch(self) -> bool:
        return self.session != PERSISTENT_SESSION and self.random.random() < 0.4

    def flags(self) -> int:
        odd = self.random.random() < 0.03
        return self.random.choice((5, 6, 7, -1, 100)) if odd else self.random.choice((0, 0, 0, 1, 2, 3, 4))

    def perms(self) -> int:
        return self.random.choice((31, 31, 31, 1, 2, 4, 8, 16, 15, 23, 0, 64, -1))

    def entry(self) -> Acl:
        return self.random.choice(
            (
                (self.perms(), b"world", b"anyone"),
                (self.perms(), b"digest", self.random.choice(DIGESTS)),
                (self.perms(), b"auth", b""),
                (self.perms(), b"auth", b"ignored"),
                (self.perms(), b"ip", self.random.choice((b"127.0.0.1", b"127.0.0.0/8", b"10.1.1.1", b"10.0.0.0/8"))),
            )
        )

    def odd_entry(self) -> Acl:
        scheme_and_id = (
            (b"world", b"nobody"),
            (b"world", b""),
            (b"digest", b"nocolon"),
            (b"digest", b"two:colons:here"),
            (b"ip", b"not an address"),
            (b"ip", b"1.2.3.4/40"),
            (b"ip", b"1.2.3"),
            (b"ip", b"::1"),
            (b"unknown", b"x"),
            (b"super", b""),
            (b"x509", b"CN=x"),
            (b"", b""),
        )
        return (self.perms(), *self.random.choice(scheme_and_id))

    def acl(self) -> tuple[Acl, ...] | None:
        chance = self.random.random()
        if chance < 0.75:
            return OPEN
        if chance < 0.94:
            return tuple(self.entry() for _ in range(self.random.choice((1, 1, 2))))
        if chance < 0.98:
            return (*(self.entry() for _ in range(self.random.randrange(2))), self.odd_entry())
        return self.random.choice(((), None))

    # --- operations -----------------------------------------------------------------------------------------------------------

    def create(self) -> Op:
        kind = self.random.choice(("create", "create", "create2"))
        return Op(kind, (self.own_path(), self.data(), self.acl(), self.flags()))

    def container(self) -> Op:
        flags = self.random.choice((4, 4, 4, 0, 2))
        return Op("createContainer", (self.own_path(), self.data(), self.acl(), flags))

    def sequential(self) -> Op:
        path = self.random.choice((b"%/a/s-", b"%/a/", b"%/b/s", b"%/", b"%/a/x"))
        return Op("create2", (path, b"", OPEN, self.random.choice((2, 3))))

    def delete(self) -> Op:
        return Op("delete", (self.path(), self.version()))

    def set_data(self) -> Op:
        return Op("setData", (self.own_path(), self.data(), self.version()))

    def read(self) -> Op:
        kind = self.random.choice(("exists", "getData", "getChildren", "getChildren2"))
        return Op(kind, (self.path(), self.watch()))

    def get_acl(self) -> Op:
        return Op("getACL", (self.path(),))

    def set_acl(self) -> Op:
        return Op("setACL", (self.own_path(), self.acl(), self.version()))

    def check(self) -> Op:
        return Op("check", (self.path(), self.version()))

    def multi(self) -> Op:
        makers = (Draw.create, Draw.container, Draw.delete, Draw.set_data, Draw.check, Draw.check, Draw.sequential)
        parts = [self.random.choice(makers)(self) for _ in range(self.random.choice((0, 1, 2, 3, 5)))]
        if self.random.random() < 0.03:
            parts.append(self.read())
        return Op("multi", tuple((part.kind, part.arguments) for part in parts))

    def multi_read(self) -> Op:
        kinds = ("getData", "getChildren")
        count = self.random.choice((0, 1, 2, 4))
        return Op("multiRead", tuple((self.random.choice(kinds), (self.path(), self.watch())) for _ in range(count)))

    def sync(self) -> Op:
        return Op("sync", (self.path(),))

    def add_watch(self) -> Op:
        if self.session != PERSISTENT_SESSION:
            return self.read()
        path = self.path()
        return Op("addWatch", (path, len(path) % 2 if self.random.random() < 0.9 else self.random.choice((2, -1))))

    def check_watches(self) -> Op:
        kind = self.random.choice(("checkWatches", "removeWatches", "removeWatches"))
        types = (3, 4, 5, 0, 6) if self.session == PERSISTENT_SESSION else (1, 2, 3, 3, 0, 6)
        return Op(kind, (self.path(), self.random.choice(types)))

    def set_watches(self) -> Op:
        some = [tuple(self.random.sample(PATHS, self.random.randrange(3))) for _ in range(3)]
        back = self.random.randrange(6)
        if self.session != PERSISTENT_SESSION:
            return self.random.choice((Op("setWatches", tuple(some), back), Op("setWatches2", (*some, (), ()), back)))
        modes = [tuple(path for path in some[0] if len(path) % 2 == mode) for mode in (0, 1)]
        return Op("setWatches2", ((), (), (), *modes), back)

    def count(self) -> Op:
        path = self.path()
        below = path if path != b"/" else b"%"  # below "/" there is what other programs left
        return Op(self.random.choice(("getEphemerals", "getAllChildrenNumber")), (below,))

    def who_am_i(self) -> Op:
        return Op("whoAmI", (b"",))

    def auth(self) -> Op:
        if self.random.random() < 0.08:
            odd = ((b"unknown", b"x"), (b"digest", b""), (b"ip", b"1.2.3.4"), (b"world", b"anyone"), (b"digest", b"nocolon"))
            return Op("auth", self.random.choice(odd))
        return Op("auth", (b"digest", self.random.choice(SECRETS[:2] * 4 + SECRETS)))

    def close(self) -> Op:
        return Op("close", (b"",))

    def ping(self) -> Op:
        return Op("ping", (b"",))

    def malformed(self) -> Op:
        """A body that is cut: the first bytes of a good one."""
        opcode = self.random.choice((1, 2, 3, 4, 5, 6, 7, 8, 9, 12, 13, 14, 15, 17, 18, 22, 103, 104, 106))
        good = b"\0\0\0\2/a" + b"\0\0\0\1v" + bytes(8)
        return Op(f"op{opcode}", (good[: self.random.choice((0, 2, 4, 5, 8, 12))],))

    def unknown(self) -> Op:
        return self.random.choice(UNKNOWN)


OPERATIONS: tuple[tuple[Callable[[Draw], Op], float], ...] = (
    (Draw.create, 24),
    (Draw.container, 6),
    (Draw.sequential, 6),
    (Draw.delete, 12),
    (Draw.set_data, 12),
    (Draw.read, 24),
    (Draw.get_acl, 3),
    (Draw.set_acl, 4),
    (Draw.multi, 10),
    (Draw.multi_read, 4),
    (Draw.sync, 2),
    (Draw.add_watch, 5),
    (Draw.check_watches, 4),
    (Draw.set_watches, 3),
    (Draw.count, 3),
    (Draw.who_am_i, 1.5),
    (Draw.auth, 2.5),
    (Draw.close, 1.5),
    (Draw.ping, 1),
    (Draw.malformed, 1.5),
    (Draw.unknown, 0.5),
)
