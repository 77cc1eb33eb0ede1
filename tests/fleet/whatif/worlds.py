"""A small trace on disk, and where the large one may be."""

from __future__ import annotations

import os
from pathlib import Path

from tests.skip_ledger import OPENB

NODES = """sn,cpu_milli,memory_mib,gpu,model
n0,8000,16000,0,
n1,8000,16000,2,V100
n2,8000,16000,2,T4
"""
PODS = """name,cpu_milli,memory_mib,num_gpu,gpu_milli,gpu_spec,qos,pod_phase,creation_time,deletion_time,scheduled_time
p0,2000,1000,1,500,,LS,Running,0,100,0
p1,2000,1000,1,500,V100|A10,LS,Running,10,30,10
p2,2000,1000,2,1000,T4,BE,Running,20,60,20
p3,4000,1000,0,0,,BE,Running,30,,
p4,1000,1000,2,1000,V100,BE,Running,40,50,45
"""


def write_trace(folder: Path, nodes: str = NODES, pods: str = PODS) -> Path:
    (folder / "nodes.csv").write_text(nodes, encoding="utf-8")
    (folder / "pods.csv").write_text(pods, encoding="utf-8")
    return folder


def openb() -> Path | None:
    """The folder of the production trace: LOGGOS_OPENB, or the one beside the checkout; None if there is none."""
    folder = Path(os.environ.get("LOGGOS_OPENB", OPENB))
    return folder if folder.is_dir() else None
