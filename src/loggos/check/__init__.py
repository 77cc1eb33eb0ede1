"""History checkers: pure functions from what clients saw, and what the log says, to a list of violations.

- `history`        the values: operations, the log, watch events
- `matching`       which log entry is which client operation, where the recorder could not tell
- `model`          an independent, simple model of the tree
- `witness`        O(n): the log as the witness of every reply (run on every simulated seed)
- `linearizable`   black box: Wing & Gong's search with Lowe's memory, per key, for short histories
- `watches`        what a watcher must and must not see
- `locks`          tokens, exclusion, guarded writes, exact counters

May know: loggos.base. Must not know: asyncio, time, random, os; any production code it judges.
"""

from __future__ import annotations

from loggos.check.history import Applied, History, Operation, Outcome, Reply, Request, StatView, Violation, WatchEvent
from loggos.check.linearizable import Call, Verdict, check_linearizable
from loggos.check.locks import Grant, GuardedWrite, check_counter, check_grants, check_guarded_writes
from loggos.check.matching import assign_sequences
from loggos.check.model import Tree
from loggos.check.watches import check_watches
from loggos.check.witness import WitnessRules, check_witness

__all__ = [
    "Applied",
    "Call",
    "Grant",
    "GuardedWrite",
    "History",
    "Operation",
    "Outcome",
    "Reply",
    "Request",
    "StatView",
    "Tree",
    "Verdict",
    "Violation",
    "WatchEvent",
    "WitnessRules",
    "assign_sequences",
    "check_counter",
    "check_grants",
    "check_guarded_writes",
    "check_linearizable",
    "check_watches",
    "check_witness",
]
