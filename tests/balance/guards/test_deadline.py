"""Deadlines: what is left, carried in gRPC's form and never longer than it is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loggos.balance.guards.deadline import Deadline
from loggos.base.errors import ClientError, ConfigError


def test_what_is_left() -> None:
    deadline = Deadline.after(10.0, 2.0)
    assert deadline.left_s(11.5) == 0.5
    assert deadline.left_s(13.0) == 0.0
    assert not deadline.over(11.9)
    assert deadline.over(12.0)


def test_what_cannot_finish_is_refused() -> None:
    deadline = Deadline.after(10.0, 2.0)
    assert deadline.leaves(0.5, 11.5)
    assert not deadline.leaves(0.6, 11.5)
    assert not deadline.leaves(0.0, 12.0)


def test_a_part_of_the_work_gets_no_longer_than_the_whole() -> None:
    deadline = Deadline.after(10.0, 2.0)
    assert deadline.within(11.0, 0.5).at_s == 11.5
    assert deadline.within(11.0, 9.0) == deadline


@pytest.mark.parametrize(
    ("left_s", "text"),
    [(0.0, "0n"), (0.05, "50000000n"), (0.25, "250000u"), (90.0, "90000000u"), (100.0, "100000m"), (1e6, "1000000S")],
)
def test_the_finest_unit_that_holds_it(left_s: float, text: str) -> None:
    assert Deadline(left_s).text(0.0) == text


@given(left_s=st.floats(0, 1e9), now_s=st.floats(0, 1e6))
def test_what_travels_is_a_little_less_and_never_more(left_s: float, now_s: float) -> None:
    text = Deadline.after(0.0, left_s).text(0.0)
    arrived = Deadline.parse(text, now_s).at_s - now_s
    assert arrived <= left_s * (1 + 1e-9) + 1e-9
    assert arrived >= left_s * (1 - 1e-5) - 1e-6


def test_units() -> None:
    assert [Deadline.parse(text, 0.0).at_s for text in ("1H", "2M", "3S", "4m", "5u", "6n")] == pytest.approx(
        [3600, 120, 3, 0.004, 5e-6, 6e-9], rel=1e-12, abs=0
    )


@pytest.mark.parametrize("text", ["", "m", "5", "-5m", "5s", "123456789m", "1.5S", "٣S", " 5m"])
def test_other_text_is_refused(text: str) -> None:
    with pytest.raises(ClientError, match="250m"):
        Deadline.parse(text, 0.0)


def test_a_timeout_is_a_time() -> None:
    for wrong in (-1.0, float("nan"), float("inf")):
        with pytest.raises(ConfigError, match="timeout"):
            Deadline.after(0.0, wrong)
