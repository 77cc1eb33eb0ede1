"""Watch rules: good histories pass, and each planted fault is refused by its rule."""

from __future__ import annotations

from dataclasses import replace

from loggos.check import Request, check_watches
from tests.check.build import Recorder, rules

ALIVE = [(1, 0), (2, 0)]


def watching() -> Recorder:
    """Session 2 watches; session 1 has made /a (index 1)."""
    run = Recorder()
    run.do(1, "create", "/a")
    return run


def broken(run: Recorder) -> set[str]:
    return rules(check_watches(run.history(), ALIVE))


def test_what_a_session_owned_goes_in_the_order_of_the_paths() -> None:
    run = Recorder()
    for path in ("/b", "/c", "/a"):
        run.do(1, "create", path, ephemeral=True)
    run.do(1, "close")
    assert [path for kind, path in run.tree.events if kind == "deleted"] == ["/a", "/b", "/c"]


def test_one_shot_data_watch() -> None:
    run = watching()
    run.do(2, "get", "/a", watch=True)
    run.do(1, "set", "/a", data=b"1")
    run.event(2, "changed", "/a", 2)
    run.do(1, "set", "/a", data=b"2")
    run.do(2, "get", "/a")
    assert broken(run) == set()
    run.event(2, "changed", "/a", 3)
    assert broken(run) == {"watch-unasked"}


def test_exists_child_and_deletion_watches() -> None:
    run = watching()
    run.do(2, "exists", "/b", watch=True)
    run.do(2, "get", "/nothing", watch=True)  # refused: no watch
    run.do(1, "create", "/b")
    run.do(1, "create", "/nothing")
    run.event(2, "created", "/b", 2)
    run.do(2, "children", "/b", watch=True)
    run.do(2, "get", "/b", watch=True)
    run.do(1, "create", "/b/c")
    run.event(2, "children", "/b", 4)
    run.do(2, "children", "/b", watch=True)
    run.do(1, "delete", "/b/c")
    run.event(2, "children", "/b", 5)
    run.do(2, "children", "/b", watch=True)
    run.do(1, "delete", "/b")
    run.event(2, "deleted", "/b", 6)  # once, for both watches
    assert broken(run) == set()
    run.event(2, "deleted", "/b", 6)
    assert broken(run) == {"watch-unasked"}


def test_event_before_its_registering_reply() -> None:
    run = watching()
    run.event(2, "changed", "/a", 2)
    run.do(2, "get", "/a", watch=True)
    assert "watch-unasked" in broken(run)


def test_event_after_a_reply_that_shows_the_change() -> None:
    run = watching()
    run.do(2, "get", "/a", watch=True)
    run.do(1, "set", "/a", data=b"1")
    run.do(2, "get", "/a")
    run.event(2, "changed", "/a", 2)
    assert broken(run) == {"watch-late", "watch-unasked"}


def test_missed_event() -> None:
    run = watching()
    run.do(2, "get", "/a", watch=True)
    run.do(1, "set", "/a", data=b"1")
    assert broken(run) == {"watch-missed"}
    assert check_watches(run.history()) == []  # the connection had ended: nothing was promised


def test_event_of_a_later_change_or_another_kind() -> None:
    run = watching()
    run.do(2, "get", "/a", watch=True)
    run.do(1, "set", "/a", data=b"1")
    run.do(1, "delete", "/a")
    run.event(2, "deleted", "/a", 3)
    assert broken(run) == {"watch-wrong"}
    run.events[0] = replace(run.events[0], kind="changed", zxid=3)
    assert broken(run) == {"watch-wrong"}
    run.events[0] = replace(run.events[0], zxid=0)
    assert broken(run) == set()


def test_child_watch_is_not_fired_by_a_childs_data() -> None:
    run = watching()
    run.do(1, "create", "/a/c")
    run.do(2, "children", "/a", watch=True)
    run.do(1, "set", "/a/c", data=b"1")
    assert broken(run) == set()
    run.event(2, "children", "/a", 3)
    assert broken(run) == {"watch-wrong"}


def test_failed_multi_tells_nobody_and_a_good_one_everybody() -> None:
    run = watching()
    run.do(2, "get", "/a", watch=True)
    run.do(1, "multi", parts=(Request("set", "/a", b"1"), Request("delete", "/nowhere")))
    assert broken(run) == set()
    run.do(1, "multi", parts=(Request("set", "/a", b"1"), Request("create", "/b")))
    run.event(2, "changed", "/a", 3)
    assert broken(run) == set()
    run.events[0] = replace(run.events[0], zxid=2)
    assert broken(run) == {"watch-wrong"}


def test_end_of_a_session_tells_of_its_ephemerals() -> None:
    run = watching()
    run.do(1, "create", "/e", ephemeral=True)
    run.do(2, "exists", "/e", watch=True)
    run.expire(1)
    run.event(2, "deleted", "/e", 3)
    assert broken(run) == set()


def test_persistent_watch_sees_every_change_once_in_order() -> None:
    run = watching()
    run.do(2, "add_watch", "/a")
    run.do(1, "set", "/a", data=b"1")
    run.do(1, "create", "/a/c")
    run.event(2, "changed", "/a", 2)
    run.event(2, "children", "/a", 3)
    assert broken(run) == set()
    first, second = run.events
    run.events = [second, first]
    run.events = [replace(second, at=first.at), replace(first, at=second.at)]
    assert broken(run) == {"watch-wrong"}
    run.events = [first, first, second]
    assert "watch-wrong" in broken(run)
    run.events = [second]
    assert "watch-wrong" in broken(run)
    run.events = [first]
    assert broken(run) == {"watch-missed"}


def test_recursive_watch_and_its_removal() -> None:
    run = watching()
    run.do(2, "add_watch", "/a", recursive=True)
    run.do(1, "create", "/a/c")
    run.event(2, "created", "/a/c", 2)
    run.do(1, "create", "/ab")
    run.do(1, "set", "/a/c", data=b"1")
    run.event(2, "changed", "/a/c", 4)
    run.do(2, "remove_watches", "/a")
    run.do(1, "set", "/a/c", data=b"2")
    assert broken(run) == set()
    run.event(2, "changed", "/a/c", 5)
    assert broken(run) == {"watch-unasked"}
