"""CSV as people export it, and as nobody should."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from loggos.base.errors import InputError
from loggos.planner.observe.csvfile import CsvFormat, detect_delimiter, parse_csv, read_csv, unit_of
from loggos.planner.observe.findings import Kind, Observation, Severity


def parse(text: str, wanted: CsvFormat | None = None) -> Observation:
    return parse_csv(text.splitlines(keepends=True), "load.csv", wanted)


def kinds(observation: Observation) -> list[Kind]:
    return [finding.kind for finding in observation.findings]


def test_a_plain_file_gives_one_series_per_column() -> None:
    seen = parse("time,requests (1/s),latency [ms],busy_seconds_total\n1700000000,5,20,1\n1700000060,6,25,2\n")
    assert [(s.name, s.unit) for s in seen.series] == [("requests", "1/s"), ("latency", "ms"), ("busy_seconds_total", "s")]
    assert seen.one("latency").times_s.tolist() == [1700000000.0, 1700000060.0]
    assert seen.one("latency").values.tolist() == [20.0, 25.0]
    assert seen.one("requests").source == "load.csv"
    assert seen.findings == ()


@pytest.mark.parametrize("mark", [",", ";", "\t", "|"])
def test_delimiters_are_detected(mark: str) -> None:
    seen = parse(f'time{mark}a{mark}"b{mark}c"\n1700000000{mark}1{mark}2\n1700000060{mark}3{mark}4\n')
    assert [s.name for s in seen.series] == ["a", f"b{mark}c"]


@pytest.mark.parametrize(
    ("cell", "seconds"),
    [
        ("1709294400", 1709294400.0),
        ("1709294400.5", 1709294400.5),
        ("1709294400000", 1709294400.0),
        ("1709294400000000", 1709294400.0),
        ("1.709294400e18", 1709294400.0),
        ("2024-03-01T12:00:00Z", 1709294400.0),
        ("2024-03-01T14:00:00+02:00", 1709294400.0),
        ("2024-03-01 07:00:00.25-0500", 1709294400.25),
        ("2024/03/01 12:00 UTC", 1709294400.0),
        ("20240301T120000Z", 1709294400.0),
        ("2024-03-01 12:00:00 +0000 UTC", 1709294400.0),
        ("2024-03-01", 1709251200.0),
    ],
)
def test_times_are_read_in_every_common_form(cell: str, seconds: float) -> None:
    assert parse(f"when,x\n{cell},1\n").one("x").times_s.tolist() == [seconds]


def test_without_a_header_columns_are_numbered() -> None:
    seen = parse("1700000000,5\n1700000060,6\n")
    assert [s.name for s in seen.series] == ["column 2"]


def test_decimal_commas_are_read_when_named() -> None:
    seen = parse("time;x\n2024-03-01T12:00:00Z;1,5\n2024-03-01T12:01:00Z;2,5\n", CsvFormat(decimal=","))
    assert seen.one("x").values.tolist() == [1.5, 2.5]


def test_labels_tell_series_apart() -> None:
    text = "time,host,rps\n1700000000,a,1\n1700000000,b,2\n1700000060,a,3\n1700000060,b,4\n"
    seen = parse(text, CsvFormat(label_columns=["host"], units={"rps": "req/s"}))
    assert seen.one("rps", host="b").values.tolist() == [2.0, 4.0]
    assert seen.one("rps", host="a").unit == "req/s"
    with pytest.raises(InputError, match="2 series are called rps"):
        seen.one("rps")
    with pytest.raises(InputError, match="no series latency; the source holds rps"):
        seen.one("latency")


def test_without_naming_the_label_the_mix_is_reported() -> None:
    seen = parse("time,host,rps\n1700000000,a,1\n1700000000,b,2\n1700000060,a,3\n1700000060,b,4\n")
    [duplicate] = [finding for finding in seen.findings if finding.kind is Kind.DUPLICATE]
    assert duplicate.severity is Severity.WARNING and duplicate.where == "load.csv:3"
    assert "label" in duplicate.advice
    assert Kind.UNSUPPORTED in kinds(seen)  # the column host was not read


def test_disorder_duplicates_and_gaps_are_repaired_and_said_with_their_line() -> None:
    rows = ["time,x"] + [f"{1700000000 + 60 * i},{i}" for i in (0, 1, 3, 2, 2, 4, 5, 6, 20, 21)]
    seen = parse("\n".join(rows) + "\n")
    assert seen.one("x").values.tolist() == [0, 1, 2, 3, 4, 5, 6, 20, 21]
    found = {finding.kind: finding for finding in seen.findings}
    assert found[Kind.OUT_OF_ORDER].where == "load.csv:5"
    assert found[Kind.DUPLICATE].severity is Severity.NOTE
    assert "1 gap(s) between points usually 1 min apart; the longest, 14 min" in found[Kind.GAP].what


@pytest.mark.parametrize(("how", "value"), [("last", 3.0), ("first", 1.0), ("mean", 2.0), ("max", 3.0), ("sum", 4.0)])
def test_of_several_values_at_one_time_the_named_one_counts(how: str, value: float) -> None:
    wanted = CsvFormat(duplicates=how)  # type: ignore[arg-type]
    assert parse("time,x\n1700000000,1\n1700000000,3\n1700000060,9\n", wanted).one("x").values.tolist() == [value, 9.0]


def test_missing_and_unreadable_cells_are_left_out_and_said() -> None:
    seen = parse(
        "time,x\n1700000000,1\n1700000060,\n1700000120,NaN\n1700000180,1e3\n1700000240,oops\n1700000300,inf\n1700000360,1_0\n"
    )
    assert seen.one("x").values.tolist() == [1.0, 1000.0]
    assert [f.where for f in seen.findings if f.kind is Kind.BAD_VALUE] == ["load.csv:6", "load.csv:8"]
    assert [f.where for f in seen.findings if f.kind is Kind.NOT_FINITE] == ["load.csv:7"]
    assert [f.where for f in seen.findings if f.kind is Kind.MISSING][:2] == ["load.csv:3", "load.csv:4"]


def test_a_cut_last_line_is_said() -> None:
    seen = parse("time,x,y\n1700000000,1,2\n1700000060,3,4\n17000")
    [bad] = [finding for finding in seen.findings if finding.kind is Kind.BAD_LINE]
    assert bad.where == "load.csv:4" and "cut" in bad.advice


def test_comments_and_blank_lines_keep_line_numbers_true() -> None:
    seen = parse("# exported\n\ntime,x\n1700000000,1\n# note\n1700000060,bad\n1700000120,2\n")
    assert [f.where for f in seen.findings if f.kind is Kind.BAD_VALUE] == ["load.csv:6"]


def test_findings_of_one_kind_are_bounded_and_counted() -> None:
    rows = "".join(f"{1700000000 + 60 * i},{'x' if i % 3 == 0 else i}\n" for i in range(300))
    seen = parse("time,x\n" + rows)
    bad = [finding for finding in seen.findings if finding.kind is Kind.BAD_VALUE]
    assert len(bad) == 6 and bad[-1].what == "and 95 more: unreadable value"


# --- time zones -----------------------------------------------------------------------------------------------------------


def local_hours(first: str, skip: str, twice: str) -> str:
    """Hourly rows of one Sunday as a local export has them."""
    hours = [f"{first} {h:02d}:00" for h in range(24)]
    rows = [row for hour in hours if hour != skip for row in ([hour, hour] if hour == twice else [hour])]
    return "time,x\n" + "".join(f"{row},{i}\n" for i, row in enumerate(rows))


def test_the_hour_that_happens_twice_is_told_apart_by_order() -> None:
    seen = parse(local_hours("2024-10-27", "", "2024-10-27 02:00"), CsvFormat(zone="Europe/Berlin"))
    times = seen.one("x").times_s
    assert len(times) == 25 and np.all(np.diff(times) == 3600.0)
    assert Kind.DAYLIGHT_SAVING in kinds(seen) and Kind.DUPLICATE not in kinds(seen)


def test_each_label_has_its_own_order_in_the_hour_that_happens_twice() -> None:
    rows = "".join(f"2024-10-27 {h}:00,{host},1\n" for h in ("01", "02", "02", "03") for host in "ab")
    seen = parse("time,host,x\n" + rows, CsvFormat(zone="Europe/Berlin", label_columns=["host"]))
    for host in "ab":
        assert np.diff(seen.one("x", host=host).times_s).tolist() == [3600.0] * 3


def test_the_hour_that_never_happens_leaves_no_gap_in_its_zone() -> None:
    seen = parse(local_hours("2024-03-31", "2024-03-31 02:00", ""), CsvFormat(zone="Europe/Berlin"))
    assert np.all(np.diff(seen.one("x").times_s) == 3600.0) and len(seen.one("x").times_s) == 23
    assert seen.findings == ()


def test_local_times_without_a_zone_are_suspected() -> None:
    seen = parse(local_hours("2024-03-31", "2024-03-31 02:00", ""))
    assert Kind.TIME_ZONE in kinds(seen)
    [trap] = [finding for finding in seen.findings if finding.kind is Kind.DAYLIGHT_SAVING]
    assert "Europe/Berlin" in trap.advice


def test_an_unknown_zone_is_refused() -> None:
    with pytest.raises(Exception, match="no time zone 'Mars/Olympus'"):
        parse("time,x\n2024-03-01 12:00,1\n", CsvFormat(zone="Mars/Olympus"))


# --- refusals -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "no rows"),
        ("time,x\n", "a header and no rows"),
        ("a,b\nfoo,bar\n", "no column holds times"),
        ("time,x\n03/04/2024,1\n04/04/2024,2\n", "year first"),
        ("time,name\n1700000000,foo\n", "no column holds numbers"),
        ("time,x,x\n1700000000,1,2\n", "same name"),
        ('time,x\n1700000000,"1\n' + "2\n" * 70_000, "quote"),
        ("time,x\n1700000000,1\n" + "1700000060,foo\n" * 5, "are no numbers"),
    ],
)
def test_what_cannot_be_used_is_refused_with_the_reason(text: str, says: str) -> None:
    with pytest.raises(InputError, match=says):
        parse(text)


def test_small_times_are_elapsed_seconds_and_said() -> None:
    seen = parse("time,x\n0,1\n60,2\n120,3\n")
    assert seen.one("x").times_s.tolist() == [0.0, 60.0, 120.0]
    assert kinds(seen) == [Kind.TIME_ZONE]


def test_files_may_be_gzip_and_must_be_text(tmp_path: Path) -> None:
    text = b"\xef\xbb\xbftime,x\n1700000000,1\n1700000060,2\n"
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(text))
    assert read_csv(tmp_path / "a.csv.gz").one("x").values.tolist() == [1.0, 2.0]
    (tmp_path / "cut.gz").write_bytes(gzip.compress(text)[:20])
    (tmp_path / "utf16.csv").write_bytes("time,x\n".encode("utf-16"))
    (tmp_path / "binary").write_bytes(bytes(1000))
    (tmp_path / "long.csv").write_bytes(b"x" * (2 << 20))
    for name, says in [
        ("cut.gz", "cannot be read"),
        ("utf16.csv", "UTF-16"),
        ("binary", "no text file"),
        ("long.csv", "a line of more than"),
        ("absent.csv", "cannot be opened: No such file"),
        (".", "cannot be opened: Is a directory"),
    ]:
        with pytest.raises(InputError, match=says):
            read_csv(tmp_path / name)


cells = st.one_of(
    st.sampled_from(
        ["1700000000", "1700000060", "2024-03-01", "2024-03-01T12:00:00Z", "1", "-5", "nan", "", '"', "#", "1e308", "1e999"]
    ),
    st.text(max_size=12),
    st.floats().map(str),
)


@given(st.lists(st.lists(cells, max_size=5).map(",".join), max_size=12).map("\n".join))
@example("time,x\n1e18,1\n-1e18,2\n")
@example("time,x\n2024-03-01,1e308\n2024-03-01,1e308")
@example("time\x00,x\n1,2")
def test_hostile_text_is_read_or_refused(text: str) -> None:
    try:
        seen = parse(text, CsvFormat(duplicates="mean"))
    except InputError as error:
        assert str(error)
        return
    for series in seen.series:
        assert np.all(np.diff(series.times_s) > 0) and len(series.times_s) == len(series.values) > 0


def test_units_are_read_from_names() -> None:
    assert unit_of("heap_bytes") == ("heap_bytes", "B")
    assert unit_of("p99 (ms)") == ("p99", "ms")
    assert unit_of("plain") == ("plain", "")


def test_the_delimiter_of_one_column_is_a_comma() -> None:
    assert detect_delimiter(["a", "1"]) == ","
