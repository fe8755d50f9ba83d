"""OpenVINO, nncf and Ray neither ask for an address nor write into the home folder."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

CONVERT = """
import sys, time
asked = []
def hook(event, arguments):
    if event in ("socket.getaddrinfo", "socket.connect"):
        asked.append(arguments)
        raise OSError("no network in this test")
sys.addaudithook(hook)

from tubelet.session.telemetry import disable_telemetry
disable_telemetry()

import torch, openvino, nncf, ray
from ray._common.usage.usage_lib import usage_stats_enabled

class Add(torch.nn.Module):
    def forward(self, x):
        return x + 1

openvino.convert_model(torch.export.export(Add(), (torch.zeros(2, 2),)))
time.sleep(0.5)  # reports are sent by a thread
assert not asked, asked
assert not usage_stats_enabled()
"""


def test_converting_and_importing_send_nothing_and_write_nothing_under_home(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    done = subprocess.run(
        [sys.executable, "-c", CONVERT],
        env=os.environ | {"HOME": str(home), "MPLCONFIGDIR": str(tmp_path / "plots")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert [path.name for path in home.rglob("*")] == []
