"""Nodes of one machine share its cores."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

PROGRAM = """
import os
from loggos.cli.up import share_cores
for _ in range(2):
    share_cores()
    print(os.sched_getscheduler(0) == os.SCHED_BATCH)
"""


@pytest.mark.process
@pytest.mark.skipif(not hasattr(os, "SCHED_BATCH"), reason="this system has no batch scheduling")
def test_a_node_does_not_push_another_off_its_core() -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", PROGRAM]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.split() == ["True", "True"]
