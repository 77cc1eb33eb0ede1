"""Report paths: what cannot be written is told beforehand, in one line that says what to do; and so is what fails later."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from loggos.app.reports import check_report_path, write_report
from loggos.base.errors import ConfigError


def refused(report: Path) -> str:
    with pytest.raises(ConfigError) as caught:
        check_report_path(report)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_path_that_can_be_written_is_left_as_it_is(tmp_path: Path) -> None:
    report = tmp_path / "report.html"
    check_report_path(report)
    assert not report.exists()
    write_report(report, "first ✓")
    check_report_path(report)
    assert report.read_text(encoding="utf-8") == "first ✓"


def test_a_pipe_is_a_place_for_a_report() -> None:
    reads, writes = os.pipe()
    try:
        report = Path(f"/dev/fd/{writes}")
        check_report_path(report, may=lambda path, mode: path == str(report))
        write_report(report, "text")
        assert os.read(reads, 10) == b"text"
    finally:
        os.close(reads)
        os.close(writes)


def test_directories_that_are_not_there_and_paths_that_are_one(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    (tmp_path / "link.html").symlink_to(tmp_path / "gone" / "report.html")
    for report in (tmp_path / "none" / "x.html", tmp_path / "file" / "x.html", tmp_path / "link.html"):
        assert f"--report {report}: there is no directory" in refused(report)
    assert f"--report {tmp_path} is a directory: name a file in it" in refused(tmp_path)


def test_names_that_the_file_system_does_not_take(tmp_path: Path) -> None:
    said = refused(tmp_path / ("x" * 300 + ".html"))
    assert "cannot be written: File name too long: mend that, or name another file" in said


def test_without_permission_the_file_or_else_its_directory_is_named(tmp_path: Path) -> None:
    report = tmp_path / "report.html"
    with pytest.raises(ConfigError, match=f"you may not write to {tmp_path}: change its permissions"):
        check_report_path(report, may=lambda path, mode: False)
    report.touch()
    with pytest.raises(ConfigError, match=f"you may not write to {report}: change its permissions"):
        check_report_path(report, may=lambda path, mode: False)
    check_report_path(report, may=lambda path, mode: path == str(report))  # the file is enough


def test_what_fails_only_when_written_is_one_line_too(tmp_path: Path) -> None:
    report = tmp_path / "gone" / "report.html"
    with pytest.raises(ConfigError, match="cannot be written: No such file or directory: mend that, or name another file"):
        write_report(report, "text")
