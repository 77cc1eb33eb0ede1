"""The log of events, and what becomes of all that is logged in other ways. Time is the test's own."""

from __future__ import annotations

import io
import logging
from pathlib import Path
from typing import Any

import pytest

from loggos.base.limits import LOG_EVENTS_BURST, LOG_EVENTS_PER_S
from loggos.host.logs import EventHandler, EventLog, format_value, gathered


class Lines:
    """A log of events in memory, and a clock."""

    def __init__(self) -> None:
        self.written: list[tuple[str, dict[str, Any]]] = []
        self.now_s = 100.0
        self.handler = EventHandler(self, lambda: self.now_s)

    def __call__(self, event: str, **fields: Any) -> None:
        self.written.append((event, fields))

    def say(self, message: str, *arguments: Any, level: int = logging.INFO, name: str = "loggos.x", error: Any = None) -> None:
        info = (type(error), error, None) if error is not None else None
        self.handler.handle(logging.LogRecord(name, level, __file__, 1, message, arguments, info))


def test_a_message_with_fields_is_an_event_and_any_other_is_logged() -> None:
    lines = Lines()
    lines.say("client refused", {"client": "10.0.0.1:4", "why": "too many"})
    lines.say("it broke: %s %d", "here", 3, level=logging.ERROR, name="asyncio", error=ValueError("no"))
    assert lines.written == [
        ("client refused", {"client": "10.0.0.1:4", "why": "too many"}),
        ("logged", {"by": "asyncio", "level": "error", "message": "it broke: here 3", "error": "ValueError: no"}),
    ]


def test_nobody_can_fill_the_log_or_hide_others_in_it() -> None:
    lines = Lines()
    for _ in range(10_000):
        lines.say("bad frame", {"why": "x"})
    assert len(lines.written) == LOG_EVENTS_BURST
    lines.say("session expired", {"session": "0x1"})
    assert lines.written.pop() == ("session expired", {"session": "0x1"})
    lines.now_s += 1 / LOG_EVENTS_PER_S
    lines.say("bad frame", {"why": "y"})
    lines.say("bad frame", {"why": "z"})
    assert lines.written[LOG_EVENTS_BURST:] == [("bad frame", {"why": "y", "left_out": 10_000 - LOG_EVENTS_BURST})]
    lines.now_s += 3_600
    for _ in range(100):
        lines.say("bad frame", {"why": "x"})
    assert len(lines.written) == 2 * LOG_EVENTS_BURST + 1


def test_what_others_say_in_many_words_is_one_kind_and_what_ends_the_node_is_always_said() -> None:
    lines = Lines()
    for number in range(100):
        lines.say(f"noise {number}", level=logging.WARNING, name="noisy")
    assert len(lines.written) == LOG_EVENTS_BURST
    lines.say("the end", level=logging.CRITICAL, name="noisy")
    assert lines.written[-1][1]["message"] == "the end"


def test_all_that_a_process_logs_is_gathered_for_a_while_only(tmp_path: Path) -> None:
    lines = Lines()
    with gathered(lines, lambda: lines.now_s):
        logging.getLogger("loggos.coordination.x").info("client disconnected", {"why": "it is gone"})
        logging.getLogger("loggos.coordination.x").debug("no")
        logging.getLogger("another").info("no")
        logging.getLogger("another").warning("yes")
    logging.getLogger("loggos.coordination.x").warning("too late")
    assert [event for event, _ in lines.written] == ["client disconnected", "logged"]


@pytest.mark.parametrize("text", ["", "a b", 'a"b', "a=b", "a\nb", "a\rb", "a\x1b[2Jb", "a\u2028b"])
def test_no_value_can_look_like_another_field_or_line(text: str) -> None:
    shown = format_value(text)
    assert shown.startswith('"') and shown.endswith('"') and shown.isprintable()


def test_a_line_has_time_node_event_and_fields(tmp_path: Path) -> None:
    stderr = io.StringIO()
    log = EventLog(tmp_path / "node.log", 3, stderr)
    log("leader", leader=2, why="a b")
    assert stderr.getvalue() == (tmp_path / "node.log").read_text()
    assert stderr.getvalue().partition(" ")[2] == 'node=3 leader: leader=2 why="a b"\n'
