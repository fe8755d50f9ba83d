"""What tests of several packages share: tiny videos, a checkpoint that has not learned anything, one-line errors."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from tubelet import cli
from tubelet.data.synthetic import CLASSES, write_motion_set
from tubelet.models import create_model, model_config
from tubelet.protocol import Protocol
from tubelet.session.progress import NoProgress
from tubelet.weights.checkpoint.checkpoint import Record, save_checkpoint

MODEL = "vivit_ti16x2_fe"
TINY: dict[str, Any] = {"tubelet_size": [2, 8, 8], "embed_dim": 16, "depth": 1, "num_heads": 2, "temporal_depth": 1}
# Four frames, every second one, of the 10 that a test video has; 2 x 3 views.
PROTOCOL = Protocol(
    num_frames=4,
    frame_stride=2,
    resize_short_side=20,
    crop_size=(16, 16),
    num_temporal_views=2,
    num_spatial_crops=3,
    labels={"label": tuple(sorted(CLASSES))},
)
COUNTS = {"train": 16, "val": 8, "test": 16}


# Options of `tubelet train` that make one epoch over the motion videos take a second.
TRAIN_TINY = (
    *("--model", MODEL),
    *(word for name, value in TINY.items() for word in (f"--model.{name}", str(value))),
    *("--protocol.num_frames", "4", "--protocol.frame_stride", "2", "--protocol.target_fps", "none"),
    *("--protocol.resize_short_side", "20", "--protocol.crop_size", "16,16", "--protocol.num_temporal_views", "2"),
    *("--training.num_epochs", "1", "--training.batch_size", "8", "--data.num_workers", "0", "--device", "cpu"),
)


class Notes(NoProgress):
    """Progress that remembers what it was shown."""

    def __init__(self) -> None:
        self.steps: list[int] = []
        self.notes: list[str] = []

    def step(self, step: int, num_steps: int, epoch: int, loss: float) -> None:
        self.steps.append(step)

    def note(self, text: str) -> None:
        self.notes.append(text)


def motion_videos(root: Path) -> Path:
    """A folder train/val/test/<class>/NNNN.mp4 of 32-pixel videos with 10 frames; what is there is kept."""
    write_motion_set(root, COUNTS, size_pixels=32, num_frames=10, fps=10)
    return root


def tiny_model(num_classes: int = 8, **options: Any) -> tuple[nn.Module, dict[str, Any]]:
    """A model in evaluation mode, and its full config; the head, which starts at zero, is random."""
    fields = {**TINY, "num_frames": 4, "image_size": [16, 16], "num_classes": num_classes, **options}
    config = model_config(MODEL, fields)
    model = create_model(MODEL, **fields)
    nn.init.normal_(model.get_parameter("head.weight"), generator=torch.Generator().manual_seed(1))
    return model.eval(), vars(config)


def write_checkpoint(path: Path, protocol: Protocol = PROTOCOL) -> Path:
    """A checkpoint of ``tiny_model`` under the labels of ``protocol``."""
    (names,) = protocol.labels.values()
    torch.manual_seed(0)
    model, config = tiny_model(len(names))
    save_checkpoint(path, model, Record(model_name=MODEL, model_config=config, protocol=protocol))
    return path


@pytest.fixture(scope="session")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``motion_videos``; not to be changed."""
    return motion_videos(tmp_path_factory.mktemp("motion") / "videos")


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``write_checkpoint``; not to be changed."""
    return write_checkpoint(tmp_path_factory.mktemp("checkpoint") / "best")


def error_of(argv: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """The one error line of a command that must refuse: exit code 1, no traceback, nothing on stdout."""
    assert cli.main(argv) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert "Traceback" not in err
    lines = [line for line in err.splitlines() if line.startswith("tubelet: error: ")]
    assert len(lines) == 1, err
    assert err.splitlines()[-1] == lines[0]
    return lines[0].removeprefix("tubelet: error: ")


def rows_of(file: Path) -> list[dict[str, str]]:
    """The rows of a CSV file."""
    with file.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def content_of(folder: Path) -> dict[str, bytes]:
    """Every file below a folder with its content, to show that a command left it alone."""
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def touch(root: Path, *paths: str) -> Path:
    """Files of different contents below ``root``: layouts are read without opening videos."""
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(path.encode())
    return root


def write_csv(path: Path, rows: Iterable[Sequence[object]]) -> Path:
    """A CSV file with these rows, the header first."""
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)
    return path


def assert_one_line(caught: pytest.ExceptionInfo[Exception], *parts: str) -> None:
    """The message is one line and holds every part."""
    message = str(caught.value)
    assert "\n" not in message
    for part in parts:
        assert part in message
