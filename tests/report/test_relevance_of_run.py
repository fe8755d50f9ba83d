"""A run's report shows where its model looked, and its training clips scale the colors of other explanations."""

from __future__ import annotations

import base64
import io
import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from support import TRAIN_TINY
from tubelet import cli, load
from tubelet.data.synthetic import write_motion_set
from tubelet.report.relevance.report_clips import MAX_EXPLAINED


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny run on motion videos, beside its data."""
    root = tmp_path_factory.mktemp("relevance")
    write_motion_set(root / "videos", {"train": 16, "val": 8, "test": 16}, size_pixels=32, num_frames=10, fps=10)
    assert cli.main(["train", "--data", str(root / "videos"), "--out", str(root / "run"), *TRAIN_TINY]) == 0
    return root / "run"


def test_the_report_shows_relevance_for_the_answered_class_in_one_scale(run: Path) -> None:
    page = (run / "report.html").read_text("utf-8")
    lines = re.findall(r'<p class="soft">(Relevance for [^<]*)</p>', page)
    assert 8 <= len(lines) <= MAX_EXPLAINED
    assert len({re.search(r"full color: (\S+),", line)[1] for line in lines}) == 1  # type: ignore[index]
    assert all(f"the {len(lines)} clips explained on this page" in line for line in lines)
    pictures = re.findall(r'<img src="data:image/jpeg;base64,([^"]*)" alt="[^"]*relevance, frame', page)
    assert len(pictures) == 4 * len(lines)
    colors = [np.asarray(Image.open(io.BytesIO(base64.b64decode(data)))).astype(int) for data in pictures]
    assert max(np.ptp(picture, axis=-1).max() for picture in colors) > 60  # gray but for the map


def test_colors_are_scaled_by_training_clips_of_the_class(run: Path, tmp_path: Path) -> None:
    clip = next((run.parent / "videos/test").rglob("*.mp4"))
    words = ["explain", str(run / "best"), str(clip), "--class", "left", "--tubelet", "2", "8", "8", "--device", "cpu"]
    assert cli.main([*words, "--out", str(tmp_path / "why"), "--scale-clips", "2"]) == 0
    shown = json.loads((tmp_path / "why/explanation.json").read_text("utf-8"))["display"]
    assert shown["quantile_over"] == "2 training clips of left in run"
    train = sorted((run.parent / "videos/train/left").glob("*.mp4"))
    classifier = load(run / "best", "cpu")
    maps = [classifier.explain(file, class_name="left", tubelet=(2, 8, 8)).relevance for file in train]
    assert shown["scale"] == pytest.approx(np.quantile(np.abs(np.stack(maps)), 0.99), rel=1e-4)
