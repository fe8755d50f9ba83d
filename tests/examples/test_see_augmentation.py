"""The example draws every readable video before and after, and refuses settings that training would refuse."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import torch
from matplotlib.image import imread

from tubelet.data.synthetic import encode_h264

SCRIPT = Path(__file__).parents[2] / "examples/see_augmentation.py"
CELL = 112 + 4  # pixels of a clip and the gap beside it


def see(folder: Path, *settings: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPT), str(folder), str(folder / "sheet.png"), *settings]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_a_sheet_shows_each_clip_as_it_is_and_in_several_epochs(tmp_path: Path) -> None:
    for name, level in (("dark", 60), ("light", 180)):
        (tmp_path / f"{name}.mp4").write_bytes(encode_h264(np.full((40, 128, 128, 3), level, np.uint8), fps=10))
    (tmp_path / "broken.mp4").write_bytes(b"")
    done = see(tmp_path, "brightness=0.5")
    assert done.returncode == 0, done.stderr
    assert "broken.mp4" in done.stderr
    sheet = torch.from_numpy(imread(tmp_path / "sheet.png")).permute(2, 0, 1)[:3] * 255
    assert sheet.shape == (3, 2 * 2 * CELL, 7 * CELL)
    levels = torch.stack([row[:, :112, :112].mean() for row in sheet[:, :CELL].split(CELL, dim=2)])
    assert abs(levels[0] - 60) < 3
    assert len(levels[1:].round().unique()) > 3
    below = torch.stack([row[:, :112, :112].mean() for row in sheet[:, CELL : 2 * CELL].split(CELL, dim=2)])
    assert (levels - below).abs().max() < 2  # the last frame of each clip got the draw of the first


def test_a_wrong_setting_is_one_line(tmp_path: Path) -> None:
    done = see(tmp_path, "brightnes=0.5")
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "brightness" in done.stderr
