"""Reads a trace: a folder with one CSV of nodes and one of pods, each known by its header.

    nodes   sn, cpu_milli, memory_mib, gpu [, model]
    pods    name, cpu_milli, memory_mib, num_gpu, gpu_milli [, gpu_spec] [, creation_time, deletion_time [, scheduled_time]]

That is the form of Alibaba's cluster-trace-gpu-v2023 ("openb"). `gpu_spec` names the GPU models that will do, with "|"
between them; empty means any. Times are seconds. A pod with a part of a GPU takes it of one device. Every bad row raises
InputError with its file and line.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from loggos.base.errors import InputError
from loggos.fleet.scheduler.values import Constraint, Job, Match, Node, Request

NODE_COLUMNS: Final = ("sn", "cpu_milli", "memory_mib", "gpu")
POD_COLUMNS: Final = ("name", "cpu_milli", "memory_mib", "num_gpu", "gpu_milli")
MODEL: Final = "model"  # the label that holds a node's GPU model


@dataclass(frozen=True, slots=True)
class Pod:
    """A job of one task. `runtime_s`: None if the trace does not say when it ended."""

    job: Job
    created_s: float
    runtime_s: float | None


@dataclass(frozen=True, slots=True)
class Trace:
    """Nodes and pods in the order of their files. `name` is for titles."""

    name: str
    nodes: tuple[Node, ...]
    pods: tuple[Pod, ...]


class Row:
    """One row of a file, for messages."""

    def __init__(self, path: Path, line: int, cells: Mapping[str, str]) -> None:
        self.path, self.line, self.cells = path, line, cells

    def error(self, what: str) -> InputError:
        return InputError(f"{self.path}:{self.line}: {what}")

    def text(self, column: str) -> str:
        return self.cells.get(column, "")

    def name(self, column: str) -> str:
        value = self.text(column)
        if not value:
            raise self.error(f"{column} is empty; each row needs a name of its own")
        return value

    def whole(self, column: str) -> int:
        """A whole number, 0 or more."""
        value = self.text(column)
        if not value.isascii() or not value.isdigit():
            raise self.error(f"{column} is {value!r}; it must be a whole number, 0 or more")
        return int(value)

    def time_s(self, column: str) -> float | None:
        """A time of 0 s or later, or None if the cell is empty or missing."""
        value = self.text(column)
        return float(self.whole(column)) if value else None


def read_trace(folder: Path) -> Trace:
    """The trace in this folder. InputError: there is not exactly one file of each kind, or a row is bad."""
    if not folder.is_dir():
        raise InputError(f"{folder} is no folder: give the one that holds the trace's CSV files")
    nodes, pods = None, None
    for path in sorted(folder.glob("*.csv")):
        header = header_of(path)
        if all(column in header for column in NODE_COLUMNS):
            nodes = only(path, nodes, "nodes")
        elif all(column in header for column in POD_COLUMNS):
            pods = only(path, pods, "pods")
    if nodes is None:
        raise InputError(f"{folder}: no CSV file of nodes, with a header of {','.join(NODE_COLUMNS)}")
    if pods is None:
        raise InputError(f"{folder}: no CSV file of pods, with a header of {','.join(POD_COLUMNS)}")
    return Trace(folder.name, tuple(read_nodes(nodes)), tuple(read_pods(pods)))


def only(path: Path, before: Path | None, what: str) -> Path:
    if before is not None:
        raise InputError(f"{path} and {before.name} both hold {what}: leave one of them in the folder")
    return path


def header_of(path: Path) -> list[str]:
    return next(lines_of(path), (0, []))[1]


def lines_of(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Line numbers and cells; InputError if this is no CSV file."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file)
            for cells in reader:
                yield reader.line_num, [cell.strip() for cell in cells]
    except (csv.Error, UnicodeDecodeError) as error:
        raise InputError(f"{path} is no CSV file in UTF-8: {error}") from error


def rows(path: Path) -> Iterator[Row]:
    """The rows below the header, empty lines left out; InputError for one that is longer or shorter than the header."""
    header: list[str] = []
    for line, cells in lines_of(path):
        if not cells:
            continue
        if not header:
            header = cells
            continue
        row = Row(path, line, dict(zip(header, cells, strict=False)))
        if len(cells) != len(header):
            raise row.error(f"{len(cells)} cells under a header of {len(header)}; it is cut off, or a comma is missing")
        yield row


def read_nodes(path: Path) -> list[Node]:
    nodes: dict[str, Node] = {}
    for row in rows(path):
        name, model = row.name("sn"), row.text(MODEL)
        if name in nodes:
            raise row.error(f"node {name} is there twice")
        amounts = {"cpu_milli": row.whole("cpu_milli"), "memory_mib": row.whole("memory_mib")}
        try:
            nodes[name] = Node(name, amounts, row.whole("gpu"), {MODEL: model} if model else {})
        except InputError as error:
            raise row.error(str(error)) from error
    if not nodes:
        raise InputError(f"{path}: no node below the header")
    return list(nodes.values())


def read_pods(path: Path) -> list[Pod]:
    pods: dict[str, Pod] = {}
    for row in rows(path):
        name = row.name("name")
        if name in pods:
            raise row.error(f"pod {name} is there twice")
        pods[name] = read_pod(row, name)
    if not pods:
        raise InputError(f"{path}: no pod below the header")
    return list(pods.values())


def read_pod(row: Row, name: str) -> Pod:
    gpus, milli = row.whole("num_gpu"), row.whole("gpu_milli")
    if gpus and not milli:
        raise row.error(f"{gpus} GPUs of 0 milli; gpu_milli is 1 to 1,000 where num_gpu is not 0")
    created_s, ended_s = row.time_s("creation_time") or 0.0, row.time_s("deletion_time")
    begun_s = row.time_s("scheduled_time")
    if ended_s is not None and ended_s < max(created_s, begun_s or 0.0):
        raise row.error(f"pod {name} ended at {ended_s:g} s, before it began")
    runtime_s = None if ended_s is None else max(1.0, ended_s - (begun_s if begun_s is not None else created_s))
    models = tuple(model for model in row.text("gpu_spec").split("|") if model)
    constraints = (Constraint(MODEL, Match.ONE_OF, models),) if models else ()
    amounts = {"cpu_milli": row.whole("cpu_milli"), "memory_mib": row.whole("memory_mib")}
    try:
        request = Request(amounts, gpus, milli or 1_000)
        return Pod(Job(name, request, constraints=constraints, runtime_s=runtime_s), created_s, runtime_s)
    except InputError as error:
        raise row.error(str(error)) from error
