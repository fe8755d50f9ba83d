"""Precisions below fp32 are proven by the answers about real videos, as each task judges them."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from exported_models import LABELS, export, opened, tiny, traced_before

from support import content_of, motion_videos
from tubelet.errors import ExportError
from tubelet.tasks.agreement import wilson
from tubelet.tasks.multi_label import MultiLabel
from tubelet.tasks.regression import Regression

BOTH_SIZES: Any = {"sizes": ((16, 16), (24, 32))}


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return motion_videos(tmp_path_factory.mktemp("motion") / "videos")


@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_a_low_precision_is_proven_on_clips(
    precision: str, onnx_file: Path, videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tubelet.export.writers.onnx_graph", traced_before(onnx_file))
    model, record = tiny("vivit")
    clips = tuple(sorted(videos.glob("val/*/*.mp4")))
    both: Any = {"sizes": ((16, 16), (24, 32)), "precision": precision, "clips": clips}
    exported = export(model, record, tmp_path / "model.onnx", **both)
    found = exported.record.proof.clips
    assert found is not None
    assert found.num_clips == len(clips)
    assert found.lowest < found.num_equal / found.num_clips <= found.highest
    assert opened(tmp_path / "model.onnx").exported.precision == precision
    assert (tmp_path / "model.onnx").stat().st_size < onnx_file.stat().st_size


def test_a_low_precision_that_answers_otherwise_is_not_written(
    onnx_file: Path, videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tubelet.export.writers.onnx_graph", traced_before(onnx_file))
    model, record = tiny("vivit")
    model.get_parameter("head.weight").data.neg_()
    clips = tuple(sorted(videos.glob("val/*/*.mp4")))
    both: Any = {"sizes": ((16, 16), (24, 32)), "precision": "fp16", "clips": clips}
    with pytest.raises(ExportError, match=r"in fp16 \d of 8 videos get the label of torch, and one of the others"):
        export(model, record, tmp_path / "model.onnx", **both)
    assert content_of(tmp_path) == {}


def several_labels() -> tuple[torch.nn.Module, Any]:
    model, record = tiny("vivit")
    return model, dataclasses.replace(record, protocol=dataclasses.replace(record.protocol, multi_label=True))


def test_a_model_of_several_labels_is_written_in_low_precision(
    onnx_file: Path, videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tubelet.export.writers.onnx_graph", traced_before(onnx_file))
    clips = tuple(sorted(videos.glob("val/*/*.mp4")))
    exported = export(*several_labels(), tmp_path / "model.onnx", precision="fp16", clips=clips, **BOTH_SIZES)
    found = exported.record.proof.clips
    assert found is not None
    assert found.map_change is not None
    assert opened(tmp_path / "model.onnx").exported.proof.clips == found


def test_a_model_of_several_labels_that_answers_otherwise_is_not_written(
    onnx_file: Path, videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tubelet.export.writers.onnx_graph", traced_before(onnx_file))
    model, record = several_labels()
    model.get_parameter("head.weight").data.neg_()
    clips = tuple(sorted(videos.glob("val/*/*.mp4")))
    with pytest.raises(ExportError, match=r"not written: in fp16 the probability of a class moves by 0\.\d\d"):
        export(model, record, tmp_path / "model.onnx", precision="fp16", clips=clips, **BOTH_SIZES)
    assert content_of(tmp_path) == {}


def test_of_many_videos_mean_average_precision_may_move_by_half_a_point() -> None:
    task, draw = MultiLabel(labels={"label": LABELS}), torch.Generator().manual_seed(0)
    probs = torch.rand(60, len(LABELS), generator=draw)
    same = task.agreement(probs, (probs + 1e-4).clamp(max=1))
    assert (same.refusal, same.map_change, same.num_equal) == ("", 0, 60)
    moved = task.agreement(probs, (probs + 0.3 * torch.randn(probs.shape, generator=draw)).clamp(0, 1))
    assert moved.refusal.startswith("mean average precision over 60 videos moves by ")
    assert moved.map_change is not None
    assert moved.map_change > 0.005


def test_a_number_may_move_by_a_tenth_of_its_deviation() -> None:
    task = Regression(labels={"speed": ("speed",)}, scales=((5.0, 2.0),))
    numbers = torch.tensor([[4.0], [6.0]])
    assert task.agreement(numbers, numbers + 0.19).refusal == ""
    moved = task.agreement(numbers, numbers + torch.tensor([[0.0], [0.3]]))
    assert (moved.num_equal, moved.refusal[:24]) == (1, "a number moves by 0.15 o")


def test_the_interval_of_a_share_is_wilsons() -> None:
    assert wilson(10, 10) == pytest.approx((0.7225, 1.0), abs=1e-4)
    assert wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=1e-4)
