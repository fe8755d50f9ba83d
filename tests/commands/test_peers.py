"""Models of other families through the same commands: train, evaluate, predict, cost."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tubelet import cli

CLIP = (
    *("--protocol.num_frames", "4", "--protocol.frame_stride", "2", "--protocol.target_fps", "none"),
    *("--protocol.resize_short_side", "20", "--protocol.crop_size", "16,16", "--protocol.num_temporal_views", "1"),
    *("--training.num_epochs", "1", "--training.batch_size", "8", "--data.num_workers", "0", "--device", "cpu"),
)
SMALL = ("--model.patch_size", "8", "--model.embed_dim", "16", "--model.depth", "1", "--model.num_heads", "2")


@pytest.mark.parametrize(
    ("name", "fields"), [("torchvision/mc3_18", ()), ("timesformer_ti16_divided", SMALL)], ids=["mc3_18", "timesformer"]
)
def test_a_model_of_another_family_trains_evaluates_and_predicts(
    name: str, fields: tuple[str, ...], videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    assert cli.main(["train", "--data", str(videos), "--model", name, "--out", str(run), *CLIP, *fields, "--json"]) == 0
    (trained,) = json.loads(capsys.readouterr().out)
    assert trained["num_videos"] == 16
    evaluate = ["evaluate", str(run / "best"), "--data", str(videos), "--device", "cpu", "--num-workers", "0", "--json"]
    assert cli.main(evaluate) == 0
    assert json.loads(capsys.readouterr().out)["top1"] == trained["top1"]
    video = next((videos / "test").rglob("*.mp4"))
    assert cli.main(["predict", str(run / "best"), str(video), "--device", "cpu", "--json"]) == 0
    assert next((videos / "test").iterdir()).parent.name in capsys.readouterr().out


def test_a_clip_that_a_network_cannot_take_is_refused_before_any_data_is_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--data", str(tmp_path / "none"), "--model", "torchvision/mvit_v2_s", "--out", str(tmp_path / "run")]
    assert cli.main(["train", *options, *CLIP]) == 1
    assert "mvit_v2_s takes clips of 16x224x224 (frames x height x width) alone" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_cost_of_a_network_on_another_clip(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["cost", "torchvision/r3d_18", "--frames", "8", "--no-measure", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["gmacs_per_view"] == pytest.approx(40.697 / 2, rel=1e-3)
