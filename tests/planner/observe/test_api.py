"""Answers of the Prometheus HTTP API and what promtool prints, without a server."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loggos.base.errors import InputError
from loggos.planner.observe.api import parse_answer, parse_plain, read_dump
from loggos.planner.observe.findings import Kind

MATRIX = [
    {"metric": {"__name__": "up", "job": "a"}, "values": [[1700000000, "1"], [1700000015.5, "NaN"], [1700000030, "0.5"]]},
    {"metric": {"__name__": "up", "job": "b"}, "values": [[1700000000, "+Inf"], [1700000030, "1e3"]]},
]


def answer(kind: str, result: object, **more: object) -> bytes:
    return json.dumps({"status": "success", "data": {"resultType": kind, "result": result}, **more}).encode()


def test_a_matrix_gives_a_series_per_set_of_labels() -> None:
    seen = parse_answer(answer("matrix", MATRIX, warnings=["query took\nlong"]))
    assert seen.one("up", job="a").times_s.tolist() == [1700000000.0, 1700000030.0]
    assert seen.one("up", job="b").values.tolist() == [1000.0]
    assert {finding.kind for finding in seen.findings} == {Kind.MISSING, Kind.NOT_FINITE, Kind.SERVER}
    assert any(finding.what == "query took long" for finding in seen.findings)


def test_a_vector_and_a_scalar_give_one_point_each() -> None:
    vector = parse_answer(answer("vector", [{"metric": {"x": "1"}, "value": [1700000000.1, "7"]}]), expression="sum(up)")
    assert vector.one("sum(up)", x="1").values.tolist() == [7.0]
    scalar = parse_answer(answer("scalar", [1700000000, "3"]), expression="3")
    assert scalar.one("3").times_s.tolist() == [1700000000.0]


def test_native_histograms_and_text_are_not_taken_for_numbers() -> None:
    native = [{"metric": {"__name__": "h"}, "histograms": [[1, {"count": "1"}]], "values": [[1700000000, "1"]]}]
    [found] = parse_answer(answer("matrix", native)).findings
    assert found.kind is Kind.UNSUPPORTED and "histogram_quantile" in found.advice
    with pytest.raises(InputError, match="a result of type string"):
        parse_answer(answer("string", [1700000000, "hello"]))


@pytest.mark.parametrize(
    ("raw", "says"),
    [
        (
            b'{"status":"error","errorType":"bad_data","error":"parse error at 1:3"}',
            "refused the query: bad_data: parse error at 1:3",
        ),
        (b"<html>login</html>", "it begins '<html>login</html>'"),
        (
            b'{"status":"success","data":{"resultType":"matrix","result":[{"metric":{},"values":[["x","1"]]}]}}',
            "is the address right",
        ),
        (b'{"status":"success"}', "a result of type none"),
        (b"[" * 100_000, "no answer"),
        (b"\xff\xfe", "no answer"),
    ],
)
def test_everything_else_is_one_clear_line(raw: bytes, says: str) -> None:
    with pytest.raises(InputError, match=says) as caught:
        parse_answer(raw)
    assert "\n" not in str(caught.value)


def test_dumps_are_read_as_json_or_as_promtool_prints(tmp_path: Path) -> None:
    (tmp_path / "envelope.json").write_bytes(answer("matrix", MATRIX))
    (tmp_path / "bare.json").write_text(json.dumps(MATRIX))
    (tmp_path / "plain.txt").write_text('up{job="a"} =>\n1 @[1700000000]\n0.5 @[1700000030]\n{job="c"} => 4 @[1700000000.5]\n')
    for name in ("envelope.json", "bare.json", "plain.txt"):
        assert read_dump(tmp_path / name).one("up", job="a").values.tolist() == [1.0, 0.5]
    assert read_dump(tmp_path / "plain.txt").one("value", job="c").times_s.tolist() == [1700000000.5]
    (tmp_path / "other").write_text("hello\n")
    with pytest.raises(InputError, match="holds no points"):
        read_dump(tmp_path / "other")


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.floats()
    | st.integers()
    | st.text(max_size=5)
    | st.sampled_from(["matrix", "vector", "success", "1"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["status", "data", "resultType", "result", "metric", "values", "value"]), inner, max_size=4
        )
    ),
    max_leaves=12,
)


@given(json_values)
def test_hostile_json_is_read_or_refused(value: object) -> None:
    for raw in (json.dumps(value).encode(), json.dumps({"status": "success", "data": value}).encode()):
        try:
            seen = parse_answer(raw)
        except InputError as error:
            assert str(error)
        else:
            assert all(np.all(np.diff(series.times_s) > 0) for series in seen.series)


@given(
    st.lists(
        st.one_of(st.text(max_size=20), st.sampled_from(["up =>", "1 @[5]", "up => 1 @[6]", "x @[7]", "1 @[.]"])), max_size=8
    )
)
def test_hostile_lines_are_read_or_refused(lines: list[str]) -> None:
    try:
        assert parse_plain(lines).series
    except InputError as error:
        assert str(error)
