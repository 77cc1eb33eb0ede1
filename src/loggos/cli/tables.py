"""Tables for people: rich on a terminal, plain columns elsewhere. Holds no logic but layout."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any


def show(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    if sys.stdout.isatty():
        from rich.box import SIMPLE_HEAD
        from rich.console import Console
        from rich.table import Table

        table = Table(title=title, title_justify="left", header_style="bold", box=SIMPLE_HEAD, pad_edge=False)
        for column in columns:
            table.add_column(column)
        for row in rows:
            table.add_row(*row)
        Console().print(table)
        return
    widths = [max(len(str(row[i])) for row in (columns, *rows)) for i in range(len(columns))]
    print(title)
    for row in (columns, *rows):
        print("  ".join(str(cell).ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def show_nodes(description: dict[str, Any]) -> None:
    nodes = description["nodes"]
    serving = [n for n in nodes if "error" not in n]
    count = f"{len(nodes)}" if len(serving) == len(nodes) else f"{len(serving)} of {len(nodes)}"
    pids = ["does not serve" if "error" in n else str(n["pid"]) for n in nodes]  # why not, stderr has told
    rows = [(str(n["id"]), pid, n["zookeeper"], n["console"], n["data"]) for n, pid in zip(nodes, pids, strict=True)]
    show(f"{count} nodes serve; Ctrl-C stops them", ("node", "pid", "zookeeper", "console", "data"), rows)
    print(f"connect with kazoo, or loggos.connect: {','.join(n['zookeeper'] for n in serving)}", flush=True)


def show_status(answers: Sequence[dict[str, Any]]) -> None:
    """Narrow enough for 80 columns: an address is to be read, and to be copied."""
    rows = []
    for answer in answers:
        version = str(answer.get("version", "")).partition(", built on")[0]
        figures = (str(answer.get(key, "")) for key in ("zxid", "connections", "latency"))
        mode = "silent" if "error" in answer else str(answer["mode"])
        rows.append((answer["address"], mode, version, *figures))
    show("nodes", ("address", "mode", "version", "zxid", "clients", "latency ms"), rows)
    for answer in answers:
        if "error" in answer:
            print(f"{answer['address']} does not answer: {answer['error']}")
