"""Traces are read by their headers; what is wrong with one is said with its file and line."""

from __future__ import annotations

from pathlib import Path

import pytest

from loggos.base.errors import InputError
from loggos.fleet.scheduler.values import Constraint, Job, Match, Node, Request
from loggos.fleet.whatif.trace import Pod, read_trace
from tests.fleet.whatif.worlds import NODES, PODS, write_trace


def test_a_trace(tmp_path: Path) -> None:
    (tmp_path / "other.csv").write_text("something,else\n1,2\n", encoding="utf-8")
    trace = read_trace(write_trace(tmp_path))
    assert [node.gpus for node in trace.nodes] == [0, 2, 2]
    assert trace.nodes[1] == Node("n1", {"cpu_milli": 8000, "memory_mib": 16000}, 2, {"model": "V100"})
    models = (Constraint("model", Match.ONE_OF, ("V100", "A10")),)
    request = Request({"cpu_milli": 2000, "memory_mib": 1000}, 1, 500)
    assert trace.pods[1] == Pod(Job("p1", request, constraints=models, runtime_s=20.0), 10.0, 20.0)
    assert trace.pods[3].runtime_s is None and trace.pods[3].job.request.gpus == 0
    assert trace.pods[4].runtime_s == 5.0, "from when it was scheduled"


@pytest.mark.parametrize(
    ("nodes", "pods", "words"),
    [
        (NODES.replace("n1,8000", "n1,many"), PODS, r"nodes.csv:3: cpu_milli is 'many'; it must be a whole number"),
        (NODES.replace("n1,8000", "n1,-8"), PODS, r"nodes.csv:3: cpu_milli is '-8'"),
        (NODES.replace("n1,", "n0,"), PODS, r"nodes.csv:3: node n0 is there twice"),
        (NODES.replace("0,2,V100", "0,99,V100"), PODS, r"nodes.csv:3: node n1: 99 GPUs; 0 to 64"),
        (NODES.replace("n2,8000,16000,2,T4", "n2,8000"), PODS, r"nodes.csv:4: 2 cells under a header of 5"),
        (NODES.splitlines()[0], PODS, r"nodes.csv: no node below the header"),
        (NODES, PODS.splitlines()[0], r"pods.csv: no pod below the header"),
        (NODES, PODS.replace("p1,", "p0,"), r"pods.csv:3: pod p0 is there twice"),
        (NODES, PODS.replace("p1,", ","), r"pods.csv:3: name is empty"),
        (NODES, PODS.replace("1000,1,500,V", "1000,1,0,V"), r"pods.csv:3: 1 GPUs of 0 milli"),
        (NODES, PODS.replace("1000,1,500,V", "1000,2,500,V"), r"pods.csv:3: 500 milli of 2 GPUs"),
        (NODES, PODS.replace("10,30,10", "10,5,10"), r"pods.csv:3: pod p1 ended at 5 s, before it began"),
        (NODES.replace("sn,", "host,"), PODS, r"no CSV file of nodes, with a header of sn,cpu_milli"),
        (NODES, PODS.replace("num_gpu", "gpus"), r"no CSV file of pods, with a header of name,cpu_milli"),
        (NODES, NODES, r"pods.csv and nodes.csv both hold nodes"),
    ],
)
def test_bad_traces(tmp_path: Path, nodes: str, pods: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        read_trace(write_trace(tmp_path, nodes, pods))


def test_no_folder_and_no_text(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is no folder"):
        read_trace(tmp_path / "nothing")
    write_trace(tmp_path)
    (tmp_path / "pods.csv").write_bytes(PODS.encode() + b"\xff\xfe")
    with pytest.raises(InputError, match=r"pods.csv is no CSV file in UTF-8"):
        read_trace(tmp_path)
