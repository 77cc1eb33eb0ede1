"""The needs of an application, asked one by one: each question with its choices and its default. Data and parsing.

Rules: every question has a default that is safe for a small application; questions that the answers so far make pointless are not
asked. Knows no terminal: the command line asks, this says what and reads the answers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple, get_args

import msgspec

from loggos.base.errors import InputError
from loggos.planner.advise.needs import USES, Needs, Use, check

Answers = Mapping[str, str]


class Question(NamedTuple):
    """`key`: of Needs. `choices`: none means a number or names; `many`: several, with commas between. `when`: whether to ask."""

    key: str
    text: str
    default: str
    choices: tuple[str, ...] = ()
    many: bool = False
    when: Callable[[Answers], bool] = lambda answers: True


def several(answers: Answers) -> bool:
    return "," in answers.get("regions", "")


QUESTIONS: Final = (
    Question("name", "What is the application called?", "application"),
    Question(
        "uses",
        "What does it share? " + "; ".join(f"{use}: {what}" for use, what in USES.items()),
        "locks",
        get_args(Use),
        many=True,
    ),
    Question(
        "consistency",
        "How fresh must reads be? linearizable: the last write; sequential: in order, perhaps a moment old; eventual: some day",
        "linearizable",
        ("linearizable", "sequential", "eventual"),
    ),
    Question("ordering", "Which writes must be seen in order: all, those of one key, none?", "key", ("total", "key", "none")),
    Question("access", "How are data touched?", "small", ("small", "append", "random", "scan")),
    Question("mode", "Does somebody wait for the answers?", "online", ("online", "batch", "both")),
    Question("writes_per_s", "Writes per second at the peak", "100"),
    Question("reads_per_s", "Reads per second at the peak", "1000"),
    Question("item_kb", "Size of one item in KB", "1"),
    Question("data_gb", "All data in GB, before replication", "0.1"),
    Question("clients", "How many processes connect", "10"),
    Question("latency_ms", "What most writes may take, in ms", "50"),
    Question("availability", "Share of time in which it must work (0.999: 8.8 hours a year without)", "0.999"),
    Question("regions", "Regions, with commas between", "here"),
    Question("home", "Region where most writes come from (empty: the first)", "", when=several),
    Question("zones", "Zones (rooms, racks with their own power) in each region", "1"),
    Question("survive", "The largest loss that it must survive", "node", ("nothing", "node", "zone", "region")),
)
NUMBERS: Final = ("writes_per_s", "reads_per_s", "item_kb", "data_gb", "latency_ms", "availability")
COUNTS: Final = ("clients", "zones")


def value(question: Question, said: str) -> Any:
    """The answer as Needs keeps it; InputError says what is expected."""
    text = said.strip()
    parts = [part.strip() for part in text.split(",") if part.strip()]
    for part in parts if question.many else [text]:
        if question.choices and part not in question.choices:
            raise InputError(f"{question.key}: {part!r} is none of {', '.join(question.choices)}")
    if question.many or question.key == "regions":
        if not parts:
            raise InputError(f"{question.key}: name at least one")
        return parts
    if question.key in COUNTS and not text.isdigit():
        raise InputError(f"{question.key}: {text!r} is no whole number: write for example {question.default}")
    try:
        return int(text) if question.key in COUNTS else float(text) if question.key in NUMBERS else text
    except ValueError:
        raise InputError(f"{question.key}: {text!r} is no number: write for example {question.default}") from None


def needs_of(answers: Answers) -> Needs:
    """Needs from answers by key; questions without an answer keep their default. InputError if they make no sense."""
    data = {question.key: value(question, answers.get(question.key, question.default)) for question in QUESTIONS}
    try:
        return check(msgspec.convert(data, Needs), "answers")
    except msgspec.ValidationError as error:
        raise InputError(f"answers: {error}") from None
