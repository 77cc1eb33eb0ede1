"""Short histories for the exponential search: a few clients on two registers, writing, comparing and reading through the barrier.

Every value is written once, so a conditional set by version is a compare-and-set by value. A read is a sync with a get behind
it: it takes effect somewhere between the sending of the one and the answer to the other.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any

from loggos.app.build import Parts
from loggos.app.simulation.client import SimClient
from loggos.app.simulation.scenario import SCENARIOS, Run, Scenario
from loggos.app.simulation.workload import Worker
from loggos.base.ports import World
from loggos.check import Violation
from loggos.check.history import BAD_VERSION, OK, Operation, Outcome, Request
from loggos.check.linearizable import Call, Finding, Register, check_linearizable
from loggos.coordination.service import CoordinationService

KEYS = ("/w/r0", "/w/r1")
SCENARIO = replace(
    SCENARIOS["elections"],
    name="registers",
    clients=4,
    regions=True,  # followers lag behind, so a read that asks nobody is stale
    chaos_s=15.0,
    weights={"crash": 2, "pause": 2, "isolate": 4, "halves": 2, "one_way": 2, "slow_link": 6, "reset": 1},
    mix=replace(SCENARIOS["default"].mix, think_s=0.12, depth=1, silence=0.0, close=0.0),
    operations_min=0,
)


class RegisterWorker(Worker):
    """Sets, compares and sets, or reads fresh."""

    def _requests(self) -> list[Request]:
        key = self._draws.choice(KEYS)
        if not self._written:  # whoever comes first makes them, with the value that registers begin with
            self._written += 1
            return [Request("create", path, b"") for path in KEYS]
        match self._draws.choice(["set", "cas", "read", "read"]):
            case "set":
                return [Request("set", key, self._unique())]
            case "cas":
                return [Request("set", key, self._unique(), version=self._versions.get(key, 0))]
        return [Request("sync", key), Request("get", key)]

    def _unique(self) -> bytes:
        self._written += 1
        return f"{self.client.process}:{self._written}".encode()


class RegisterRun(Run):
    """A run whose clients use registers only."""

    def _client_main(self, number: int, name: str) -> Callable[[World], Coroutine[Any, Any, None]]:
        draws = self.world.draws(f"worker/{name}")

        async def main(ports: World) -> None:
            client = SimClient(number, self.cluster.addresses, 2_000, self.history, self.world.loop.time, ports.spawner)
            await RegisterWorker(client, draws, self.scenario.mix, lambda: self._stopping, lambda: self._is_quiet).run()

        return main

    def calls(self) -> list[Call]:
        """The history as register operations."""
        operations = {(operation.session, operation.sequence): operation for operation in self.history.operations}
        values = self._values_by_version(list(operations.values()))
        applied = {(entry.session, entry.sequence): entry for entry in self.recorder.log}
        calls = []
        for (session, sequence), operation in operations.items():
            if operation.request.kind == "set" and ((session, sequence) in applied or operation.outcome is Outcome.KNOWN):
                calls.append(_write(operation, values))
            elif operation.request.kind == "get" and operation.outcome is Outcome.KNOWN:
                calls.append(_read(operation, operations.get((session, sequence - 1))))
        return [call for call in calls if call is not None]

    def _values_by_version(self, operations: list[Operation]) -> dict[tuple[str, int], bytes]:
        """Which value had which version: from the log, by counting."""
        values = {(key, 0): b"" for key in KEYS}
        versions = dict.fromkeys(KEYS, 0)
        for entry in self.recorder.log:
            if entry.request.kind == "set" and entry.code == OK and entry.request.path in versions:
                versions[entry.request.path] += 1
                values[entry.request.path, versions[entry.request.path]] = entry.request.data
        return values


def _write(operation: Operation, values: dict[tuple[str, int], bytes]) -> Call | None:
    request, reply = operation.request, operation.reply
    code = reply.code if reply is not None else None
    if code not in (OK, BAD_VERSION, None):
        return None  # refused before it could matter
    returned = operation.returned_at if code is not None else None
    if request.version == -1:
        return Call(request.path, operation.invoked_at, returned, "write", request.data)
    old = values.get((request.path, request.version), f"version {request.version}".encode())
    return Call(request.path, operation.invoked_at, returned, "cas", (old, request.data), code == OK)


def _read(operation: Operation, sync: Operation | None) -> Call | None:
    """None unless a sync on the same connection went before it."""
    reply = operation.reply
    if (
        reply is None
        or reply.code != OK
        or sync is None
        or sync.request.kind != "sync"
        or sync.connection != operation.connection
    ):
        return None
    return Call(operation.request.path, sync.invoked_at, operation.returned_at, "read", None, reply.value)


class CarelessService(CoordinationService):
    """Answers a sync without asking anybody."""

    def sync(self, done: Callable[[Any], None]) -> None:
        done(self.index)


CARELESS = Parts(service=CarelessService)


def play(
    seed: int, parts: Parts | None = None, scenario: Scenario = SCENARIO
) -> tuple[list[Finding], list[Violation], list[Call]]:
    """One run: the verdicts by register, what the other checks found, and the calls."""
    run = RegisterRun(seed, scenario, parts or Parts(), None, False)
    report = run.execute()
    calls = run.calls()
    others = [violation for violation in report.violations if violation.rule != "real-work"]
    return check_linearizable(calls, Register(b"")), others, calls


def play_careless(seed: int) -> tuple[list[Finding], list[Violation], list[Call]]:
    return play(seed, CARELESS)
