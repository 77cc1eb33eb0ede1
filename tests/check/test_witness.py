"""The witness check accepts what a perfect server does and refuses every planted fault, by the rule's name."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loggos.check import Applied, Outcome, Reply, Request, StatView, WitnessRules, assign_sequences, check_witness
from loggos.check.history import ATTACH
from tests.check.build import Recorder, rules


def good() -> Recorder:
    """Two sessions: writes of every kind, some refused, reads fresh and stale, an end of a session."""
    run = Recorder()
    run.do(1, "create", "/a", data=b"0")
    run.do(2, "get", "/a")
    run.do(1, "set", "/a", data=b"1", version=0)
    run.do(2, "set", "/a", data=b"x", version=0)  # refused
    run.do(1, "create", "/a/e-", ephemeral=True, sequential=True)
    run.do(2, "children", "/a")
    parts = (Request("set", "/a", b"2"), Request("create", "/b"), Request("check", "/b", version=0))
    run.do(2, "multi", parts=parts)
    run.do(2, "multi", parts=(Request("set", "/a", b"3"), Request("delete", "/nowhere"), Request("create", "/c")))
    run.do(1, "get", "/a")
    run.do(1, "close")
    run.do(2, "children", "/a")
    run.do(2, "delete", "/b")
    run.do(2, "exists", "/b")
    return run


def broken(run: Recorder, **fields: Any) -> set[str]:
    return rules(check_witness(run.history(**fields)))


def test_good_history_is_accepted() -> None:
    assert check_witness(good().history()) == []
    assert check_witness(good().history(), WitnessRules(reads_are_exact=True)) == []


def test_acknowledged_write_that_is_not_in_the_log() -> None:
    run = good()
    del run.log[2]
    assert "acknowledged" in broken(run)


@pytest.mark.parametrize(
    "reply",
    [
        Reply(-110, 2),
        Reply(0, 2, stat=StatView(version=7)),
        Reply(0, 2, stat=StatView(mzxid=1)),
    ],
)
def test_acknowledged_result_that_the_log_contradicts(reply: Reply) -> None:
    run = good()
    run.spoil(2, lambda operation: replace(operation, reply=reply))
    assert broken(run) == {"acknowledged"}


def test_sequential_path_and_multi_codes_that_the_log_contradicts() -> None:
    run = good()
    run.spoil(4, lambda operation: replace(operation, reply=Reply(0, 4, path="/a/e-0000000007")))
    run.spoil(7, lambda operation: replace(operation, reply=Reply(0, 6, codes=(0, 0, 0))))
    assert [violation.rule for violation in check_witness(run.history())] == ["acknowledged"] * 2


def test_log_that_applied_wrongly() -> None:
    run = good()
    run.log[2] = replace(run.log[2], code=0)  # the refused set
    run.spoil(3, lambda operation: replace(operation, reply=Reply(0, 3)))
    assert "log-result" in broken(run)


def test_double_apply() -> None:
    run = Recorder()
    run.do(1, "create", "/a")
    run.do(1, "set", "/a", data=b"1")
    run.log.append(replace(run.log[-1], index=3))
    assert broken(run) == {"at-most-once"}


def test_failed_for_certain_but_applied() -> None:
    run = good()
    run.spoil(2, lambda operation: replace(operation, outcome=Outcome.FAILED, reply=None))
    assert "at-most-once" in broken(run)


def test_unknown_outcome_may_be_applied_or_not() -> None:
    run = Recorder()
    run.do(1, "create", "/a")
    run.do(1, "set", "/a", data=b"1")
    run.spoil(1, lambda operation: replace(operation, outcome=Outcome.UNKNOWN, reply=None, returned_at=None))
    assert broken(run) == set()
    del run.log[1]
    assert broken(run) == set()


def test_order_against_real_time_and_session() -> None:
    run = Recorder()
    run.do(1, "create", "/a")
    run.do(2, "create", "/b")
    run.log = [replace(run.log[1], index=1), replace(run.log[0], index=2)]
    for position in (0, 1):
        run.spoil(position, lambda operation: replace(operation, reply=Reply(0, 2)))
    assert broken(run) == {"real-time"}
    run = Recorder()
    run.do(1, "create", "/a")
    run.do(1, "create", "/b")
    run.log = [replace(run.log[1], index=1), replace(run.log[0], index=2)]
    for position in (0, 1):  # sent together, so that only the session's own order is broken
        run.spoil(position, lambda operation: replace(operation, reply=Reply(0, 2), invoked_at=0.0, returned_at=9.0))
    assert broken(run) == {"session-order"}


def test_stale_reads_are_allowed_until_they_go_back() -> None:
    run = Recorder()
    for number in range(4):
        run.do(1, "set" if number else "create", "/a", data=b"%d" % number)
    run.read_at(1, 2, "get", "/a")
    run.read_at(3, 2, "get", "/a")
    assert broken(run) == set()
    run.read_at(2, 2, "get", "/a")
    assert broken(run) == {"read-monotonic", "reply-zxid"}


def test_reads_go_back_across_a_reconnect() -> None:
    run = Recorder()
    for number in range(3):
        run.do(1, "set" if number else "create", "/a", data=b"%d" % number)
    run.read_at(3, 2, "get", "/a")
    run.spoil(run.read_at(1, 2, "get", "/a"), lambda operation: replace(operation, connection=1))
    assert broken(run) == {"read-monotonic"}


def test_own_write_not_seen() -> None:
    run = Recorder()
    run.do(1, "create", "/a", data=b"0")
    run.do(1, "set", "/a", data=b"1")
    run.spoil(run.read_at(1, 1, "get", "/a"), lambda operation: replace(operation, connection=1))
    assert broken(run) == {"read-monotonic"}


@pytest.mark.parametrize("by_sync", [True, False])
def test_stale_read_where_a_fresh_one_was_promised(by_sync: bool) -> None:
    run = Recorder()
    run.do(1, "create", "/a", data=b"0")
    run.do(1, "set", "/a", data=b"1")
    if by_sync:
        run.spoil(run.do(2, "sync", "/a"), lambda operation: replace(operation, reply=Reply(0, 0)))
        run.read_at(1, 2, "get", "/a")
        assert broken(run) == {"read-monotonic"}
    else:
        run.read_at(1, 2, "get", "/a", linearizable=True)
        assert broken(run) == {"read-fresh"}


def test_read_of_what_never_was_and_of_the_future() -> None:
    run = good()
    run.spoil(1, lambda operation: replace(operation, reply=Reply(0, 1, b"nonsense")))
    assert broken(run) == {"read-state"}
    run = good()
    run.spoil(1, lambda operation: replace(operation, reply=Reply(0, 1, b"2")))
    assert broken(run) == {"read-state"}
    run.spoil(1, lambda operation: replace(operation, reply=Reply(0, 0, b"2")))  # no zxid: time tells
    assert broken(run) == {"read-state"}


def test_ephemeral_that_vanished_too_soon_or_stayed_too_long() -> None:
    run = Recorder()
    run.do(1, "create", "/e", ephemeral=True)
    run.spoil(run.do(2, "exists", "/e", linearizable=True), lambda operation: replace(operation, reply=Reply(-101, 1)))
    assert broken(run) == {"read-fresh"}
    run = Recorder()
    run.do(1, "create", "/e", ephemeral=True)
    run.expire(1)
    run.do(2, "create", "/b")
    run.do(2, "exists", "/e")
    assert broken(run) == set()
    run.spoil(2, lambda operation: replace(operation, reply=Reply(0, 3)))
    assert broken(run) == {"read-monotonic"}


def test_write_and_read_after_the_end_of_the_session() -> None:
    run = good()
    run.do(1, "set", "/a", data=b"ghost")
    assert broken(run) == {"session-end"}
    run = good()
    run.do(2, "set", "/a", data=b"later")
    run.do(1, "get", "/a")
    assert broken(run) == {"session-end"}


@pytest.mark.parametrize(
    ("path", "pzxid"), [("/used", 7), ("/used", 8), ("/new", 4), ("/plain", 10), ("/left", 6), ("/nothing", 3)]
)
def test_container_that_was_deleted_though_it_is_in_use_or_none(path: str, pzxid: int) -> None:
    run = Recorder()
    run.do(1, "create", "/left", container=True)
    run.do(1, "create", "/used", container=True)
    run.do(1, "create", "/plain")
    run.do(1, "create", "/new", container=True)
    run.do(1, "create", "/left/x", ephemeral=True)
    run.do(1, "delete", "/left/x")
    run.do(1, "create", "/used/x")
    run.do(1, "delete", "/used/x")
    run.do(1, "create", "/plain/x")
    run.do(1, "delete", "/plain/x")
    run.do(1, "create", "/used/y")
    run.reap("/left", 5 if path == "/left" else 6)
    run.do(1, "exists", "/left")
    if path != "/left":
        assert broken(run) == set()
        run.reap(path, pzxid)
    assert broken(run) == {"log-result"}


def test_expiry_of_a_session_that_acted() -> None:
    run = Recorder()
    run.do(1, "create", "/a")
    run.do(1, "create", "/e", ephemeral=True)
    run.expire(1, last_seen=2)
    assert broken(run) == set()
    run.log[-1] = replace(run.log[-1], last_seen=1)
    assert broken(run) == {"expiry"}
    run.log[-1] = replace(run.log[-1], last_seen=2, applied_at=10.0)
    assert broken(run, session_timeouts={1: 5.0}) == set()
    assert broken(run, session_timeouts={1: 50.0}) == {"expiry"}


def test_expiry_of_a_session_whose_pings_were_answered() -> None:
    run = Recorder()
    run.do(1, "create", "/a")
    run.expire(1, last_seen=1)
    run.log[-1] = replace(run.log[-1], applied_at=10.0)
    assert broken(run, kept=[(1, 2.0, 9.0), (1, 11.0, 12.0), (2, 2.0, 12.0)]) == set()
    assert broken(run, kept=[(1, 2.0, 12.0)]) == {"expiry"}


def test_reply_zxid_below_its_own_index_and_log_out_of_order() -> None:
    run = good()
    run.spoil(2, lambda operation: replace(operation, reply=Reply(0, 1)))
    assert broken(run) == {"reply-zxid"}
    run = good()
    run.log.append(Applied(3, 9, Request("check", "/a")))
    assert "log-order" in broken(run)
    run = good()
    run.log.append(Applied(99, 1, Request("check", "/zookeeper"), sequence=0))
    assert "log-order" in broken(run)


def test_sequences_are_found_by_content() -> None:
    run = good()
    bare = [replace(entry, sequence=0) for entry in run.log]
    assert assign_sequences(run.operations, bare) == run.log


def test_sequences_prefer_the_acknowledged_of_two_equal_requests() -> None:
    run = Recorder()
    run.do(1, "create", "/a")
    for _ in range(3):
        run.do(1, "set", "/a", data=b"same")
    for position in (1, 3):
        run.spoil(position, lambda operation: replace(operation, outcome=Outcome.UNKNOWN, reply=None, returned_at=None))
    log = [replace(entry, sequence=0) for entry in run.log[:2]]
    assert [entry.sequence for entry in assign_sequences(run.operations, log)] == [1, 3]


STEPS = st.tuples(
    st.integers(1, 3),
    st.sampled_from(["create", "set", "delete", "get", "exists", "children", "multi", "check"]),
    st.sampled_from(["/a", "/b", "/a/c"]),
    st.integers(-1, 2),
    st.booleans(),
)


def played(steps: list[tuple[int, str, str, int, bool]]) -> Recorder:
    run = Recorder()
    for session, kind, path, version, flag in steps:
        if kind == "multi":
            run.do(session, kind, parts=(Request("create", path), Request("set", path, b"m", version)))
        elif kind == "create":
            run.do(session, kind, path, data=b"new", ephemeral=flag, sequential=version > 1)
        else:
            run.do(session, kind, path, version=version, data=b"%d" % len(run.operations))
    return run


@given(st.lists(STEPS, max_size=30))
def test_whatever_a_perfect_server_does_is_accepted(steps: list[tuple[int, str, str, int, bool]]) -> None:
    run = played(steps)
    assert check_witness(run.history()) == []
    bare = [replace(entry, sequence=0) for entry in run.log]
    assert check_witness(replace_log(run, assign_sequences(run.operations, bare))) == []


@given(st.lists(STEPS, min_size=3, max_size=30), st.data())
def test_a_value_that_was_changed_on_the_way_is_always_seen(
    steps: list[tuple[int, str, str, int, bool]], data: st.DataObject
) -> None:
    run = played([*steps, (1, "create", "/z", -1, False), (1, "get", "/z", -1, False)])
    reads = [
        number for number, operation in enumerate(run.operations) if operation.request.kind == "get" and operation.reply.value
    ]
    run.spoil(data.draw(st.sampled_from(reads)), lambda operation: replace(operation, reply=replace(operation.reply, value=b"!")))
    assert "read-state" in broken(run)


def replace_log(run: Recorder, log: list[Applied]) -> Any:
    run.log = log
    return run.history()


def test_a_sync_is_answered_by_a_server_that_has_caught_up() -> None:
    run = good()
    position = run.do(3, "sync", "/untouched")  # by a session that has seen nothing else
    assert broken(run) == set()
    run.spoil(position, lambda operation: replace(operation, reply=Reply(0, run.index - 1)))
    assert broken(run) == {"read-fresh"}


@pytest.mark.parametrize("last_seen, expected", [(1, {"expiry"}), (2, set())])
def test_a_session_that_was_taken_up_does_not_expire_as_last_seen_before(last_seen: int, expected: set[str]) -> None:
    run = Recorder()
    run.do(1, "create", "/a")
    run.index += 1
    run.log.append(Applied(run.index, 1, Request(ATTACH)))
    run.states.append(run.states[-1])
    run.expire(1, last_seen=last_seen)
    assert broken(run) == expected
