"""A model in two files scores as the checkpoint does, and a stream sends every frame through the first one once."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from exported_models import difference, export, opened, tiny

import tubelet
from support import assert_one_line, content_of, error_of, motion_videos
from tubelet.errors import CheckpointError, ConfigError, ExportError, TubeletError
from tubelet.export.config import ExportConfig
from tubelet.inference.predictor import Classifier
from tubelet.types import FrameFeatures
from tubelet.weights.checkpoint.checkpoint import save_checkpoint
from tubelet.weights.exported.stages import ExportedStages


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with both files of the tiny VTN, which reads frame numbers; not to be changed."""
    folder = tmp_path_factory.mktemp("pair")
    export(*tiny("vtn"), folder / "model.onnx", two_files=True)
    return folder


def test_either_name_opens_both_files_with_their_proof(pair: Path) -> None:
    model, record = tiny("vtn")
    assert sorted(content_of(pair)) == ["model.frames.onnx", "model.time.onnx"]
    for name in ("frames", "time"):
        file = opened(pair / f"model.{name}.onnx")
        assert isinstance(file, ExportedStages)
        assert file.exported.record.protocol == record.protocol
        assert len(file.exported.proof.cases) == 5 * 2
        assert file.exported.proof.largest.difference < 1e-5
        assert difference(model, file, 2, 9, (16, 16)) < 1e-5


def test_a_stream_gives_the_scores_of_the_checkpoint_and_each_frame_enters_once(
    pair: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip = str(next(motion_videos(tmp_path).glob("test/*/*.mp4")))
    ours, file = Classifier(*tiny("vtn"), "cpu"), tubelet.load(pair / "model.frames.onnx")
    frames: list[int] = []
    run = file.model.run_frames
    file.model.run_frames = lambda inputs: [frames.append(inputs[0].shape[2]), run(inputs)][1]
    windows: Any = {"window": "clip", "hop_seconds": 0.1, "sample_fps": 10.0}
    segments = [list(each.stream(clip, **windows)) for each in (ours, file)]
    assert len(segments[0]) > 2
    assert sum(frames) == 10  # of the video, though windows overlap
    for expected, found in zip(*segments, strict=True):
        assert found.labels == expected.labels
        np.testing.assert_allclose(found.probs, expected.probs, atol=1e-5)


@torch.inference_mode()
def test_videos_of_several_lengths_get_the_logits_that_they_get_alone(pair: Path) -> None:
    model, _ = tiny("vtn")
    file: Any = opened(pair / "model.frames.onnx")
    vectors, position = torch.randn(2, 6, 24), torch.arange(6).repeat(2, 1)
    valid = torch.tensor([[True] * 6, [True] * 4 + [False] * 2])
    features = FrameFeatures(vectors=vectors, position=position, valid=valid)
    expected = model.encode_time(features)  # type: ignore[operator]
    torch.testing.assert_close(file.encode_time(features), expected, atol=1e-5, rtol=1e-5)


def test_a_file_without_its_partner_or_with_a_foreign_one_is_refused(pair: Path, tmp_path: Path) -> None:
    shutil.copy(pair / "model.frames.onnx", tmp_path / "model.frames.onnx")
    with pytest.raises(CheckpointError, match=r"model.time.onnx is missing; keep both in one folder") as missing:
        opened(tmp_path / "model.frames.onnx")
    assert_one_line(missing)
    shutil.copy(pair / "model.frames.onnx", tmp_path / "model.time.onnx")
    with pytest.raises(CheckpointError, match="the file beside it is of another export"):
        opened(tmp_path / "model.frames.onnx")
    shutil.copy(pair / "model.frames.onnx", tmp_path / "renamed.onnx")
    with pytest.raises(CheckpointError, match=r"keep their names, which end in .frames.onnx here"):
        opened(tmp_path / "renamed.onnx")


def test_frames_and_vectors_that_do_not_fit_are_refused(pair: Path) -> None:
    file: Any = opened(pair / "model.frames.onnx")
    with pytest.raises(TubeletError, match="exported for 16x16 pixels, got 24x32"):
        file.encode_frames(torch.zeros(1, 3, 1, 24, 32))


def test_requests_that_two_files_cannot_meet_are_one_line(
    pair: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ConfigError, match="two files are written in onnx and for one size, got openvino"):
        ExportConfig(format="openvino", two_files=True)
    with pytest.raises(ExportError, match="has no per-frame stage, so that it is not written as two files"):
        export(*tiny("vivit_joint"), tmp_path / "model.onnx", two_files=True)
    assert content_of(tmp_path) == {}
    save_checkpoint(tmp_path / "best", *tiny("vtn"))
    taken = error_of(["export", str(tmp_path / "best"), str(pair / "model.onnx"), "--two-files"], capsys)
    assert "model.frames.onnx: is already there" in taken


@pytest.mark.soak
@pytest.mark.parametrize("case", ["vivit", "vivit_avgpool", "timesformer_space", "videoprism", "uniformerv2_image"])
def test_every_model_of_two_stages_is_written_as_two_files(case: str, tmp_path: Path) -> None:
    model, record = tiny(case)
    exported = export(model, record, tmp_path / "model.onnx", two_files=True)
    assert exported.record.proof.largest.difference < 1e-5
    file: Any = opened(tmp_path / "model.frames.onnx")
    clip = torch.randn(2, 3, 8, 16, 16)
    with torch.inference_mode():
        step = file.frames_per_feature
        parts = [file.encode_frames(clip[:, :, t : t + step]) for t in range(0, 8, step)]
        joined = FrameFeatures(
            vectors=torch.cat([part.vectors for part in parts], 1),
            tokens=tuple(torch.cat(layer, 1) for layer in zip(*(part.tokens for part in parts), strict=True)),
        )
        expected = model(clip)
        assert (file.encode_time(joined) - expected).abs().max() / expected.abs().max() < 1e-5
