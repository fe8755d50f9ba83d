"""The example writes a CSV that training reads, and leaves short and broken files out."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np

from tubelet.data.manifest.read import read_manifest
from tubelet.data.synthetic import encode_h264

SCRIPT = Path(__file__).parents[2] / "examples/scene_segments.py"


def test_long_videos_become_segments_and_the_rest_is_left_out(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for name, frames in (("one", 40), ("two", 40), ("short", 12)):
        clip = rng.integers(0, 255, (frames, 32, 32, 3), dtype=np.uint8)
        (tmp_path / f"{name}.mp4").write_bytes(encode_h264(clip, fps=4))
    (tmp_path / "broken.mp4").write_bytes(b"")
    out = tmp_path / "scenes.csv"
    done = subprocess.run([sys.executable, SCRIPT, tmp_path, out], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "broken.mp4" in done.stderr
    manifest = read_manifest(out)
    assert manifest.class_names["label"] == ("one", "two")
    assert [(s.start_seconds, s.end_seconds) for s in manifest.split("train").samples] == [(0.0, 6.0)] * 2
    tests = [(s.start_seconds, s.end_seconds) for s in manifest.split("test").samples if "one" in s.path]
    assert tests == [(7.0, 8.0), (8.0, 9.0), (9.0, 10.0)]
