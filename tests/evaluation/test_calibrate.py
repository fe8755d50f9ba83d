"""What a validation split teaches: temperatures, and a threshold for videos that are none of the classes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor

from support import TRAIN_TINY, rows_of
from tubelet import cli, load
from tubelet.data.manifest.manifest import Sample
from tubelet.data.synthetic import write_motion_set
from tubelet.evaluation.calibrate import choose_score, learn_calibration
from tubelet.evaluation.evaluate import Evaluation
from tubelet.evaluation.rejection import area, with_rejection
from tubelet.evaluation.unknown_clips import unknown_clips
from tubelet.inference.rejection import familiarity
from tubelet.inference.view_averaging import VideoScores
from tubelet.protocol import UNCALIBRATED, Protocol
from tubelet.tasks.choose import task_of
from tubelet.weights.checkpoint.checkpoint import read_record

PROTOCOL = Protocol(labels={"label": ("a", "b", "c")})


def evaluation(logits: Tensor, labels: Tensor, **changes: object) -> Evaluation:
    task = task_of(PROTOCOL)
    probs = task.probs(logits)
    fields = {
        "task": task,
        "metrics": task.measure(probs, labels),
        "samples": tuple(Sample(path=f"{i}.mp4", labels=(int(c),), split="val") for i, c in enumerate(labels)),
        "scores": VideoScores(probs=probs, uncalibrated=probs, logits=logits),
        "labels": labels,
        "calibration": UNCALIBRATED,
        "failed": (),
        "views": "1x1",
        "averaging": "logits",
        "precision": "fp32",
        "split": "val",
        "data_fingerprint": "",
    }
    return Evaluation(**{**fields, **changes})  # type: ignore[arg-type]


def known(num_videos: int, seed: int = 0) -> Evaluation:
    labels = torch.arange(num_videos) % 3
    logits = torch.randn(num_videos, 3, generator=torch.Generator().manual_seed(seed))
    return evaluation(logits + 5 * torch.nn.functional.one_hot(labels, 3), labels)


UNKNOWN = {"black": torch.full((4, 3), -1.0), "noise": torch.zeros(4, 3)}


@pytest.mark.parametrize("num_videos", [20, 21, 39, 400])
def test_at_least_95_percent_of_the_validation_videos_are_kept(num_videos: int) -> None:
    validation = known(num_videos)
    calibration = learn_calibration(validation, PROTOCOL, UNKNOWN)
    assert calibration.num_videos == num_videos
    assert calibration.rejection is not None
    scores = familiarity(validation.scores.logits, calibration.rejection.score, PROTOCOL)
    share = float((scores >= calibration.rejection.threshold).double().mean())
    assert 0.95 <= share < 1.0 or (num_videos == 20 and share == 1.0)


def test_fewer_than_20_videos_teach_nothing() -> None:
    calibration = learn_calibration(known(19), PROTOCOL, UNKNOWN)
    assert (calibration.temperatures, calibration.rejection, calibration.num_videos) == ((), None, 19)


def test_rejection_is_counted_on_other_videos_and_on_unknown_ones() -> None:
    calibration = learn_calibration(known(400), PROTOCOL, UNKNOWN)
    test = with_rejection(evaluation(known(200, seed=1).scores.logits, torch.arange(200) % 3, calibration=calibration),
                          PROTOCOL, UNKNOWN)  # fmt: skip
    assert 0 < test.rejection["num_rejected"] < 25
    assert test.rejection["kept"]["top1"] >= test.metrics["top1"]
    assert test.rejection["auroc"] == pytest.approx({"black": 1.0, "noise": 1.0}, abs=0.02)
    assert test.rejection["unknown_rejected"] == {"black": 1.0, "noise": 1.0}
    assert test.to_dict()["rejection"] == test.rejection
    assert "rejection" not in known(20).to_dict()


def test_the_score_is_chosen_that_tells_unknown_videos_best() -> None:
    labels = torch.arange(60) % 3
    logits = 4.0 * torch.nn.functional.one_hot(labels, 3) + 1.0
    lone = torch.tensor([[5.5, -9.0, -9.0]]).expand(8, 3)  # a large logit alone: only its sum tells
    even = torch.tensor([[4.6, 4.6, 4.6]]).expand(8, 3)  # many large ones: only the largest tells
    assert choose_score(evaluation(logits, labels), PROTOCOL, {"black": even}) == "max_logit"
    lower = logits + torch.tensor([0.0, 3.0, 0.0])
    assert choose_score(evaluation(lower, labels), PROTOCOL, {"black": lone}) in ("max_logit", "energy")


def test_area_is_the_chance_that_known_scores_above_unknown_with_ties_one_half() -> None:
    assert area(torch.tensor([1.0, 2.0]), torch.tensor([0.0, 1.0, 2.0, 3.0])) == pytest.approx((1.5 + 2.5) / 8)


@pytest.mark.parametrize("num_channels", [1, 3])
def test_unknown_clips_have_the_shape_of_the_input_and_none_is_twice_there(num_channels: int) -> None:
    mean = (0.5,) * num_channels
    protocol = Protocol(num_frames=4, crop_size=(20, 28), num_channels=num_channels, mean=mean, std=mean)
    for kind, clips in unknown_clips(protocol, 8).items():
        assert clips.shape == (8, 1, num_channels, 4, 20, 28), kind
        assert len({clip.numpy().tobytes() for clip in clips}) == 8, kind
    assert unknown_clips(protocol, 8)["black"].float().mean() < 20


def test_a_run_learns_both_and_every_command_uses_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, run = tmp_path / "videos", tmp_path / "run"
    write_motion_set(data, {"train": 16, "val": 24, "test": 16}, size_pixels=32, num_frames=10, fps=10)
    train = ["train", "--data", str(data), "--out", str(run), *TRAIN_TINY]
    assert cli.main(train) == 0
    record = read_record(run / "best")
    assert record.calibration.num_videos == 24
    assert record.calibration.rejection is not None
    assert read_record(run / "last").calibration == UNCALIBRATED
    metrics = json.loads((run / "evaluation/test/metrics.json").read_text())
    found = metrics["calibration"]
    assert found["temperatures"] == {"label": record.calibration.temperatures[0]}
    assert found["before"]["loss"] != found["after"]["loss"] == metrics["loss"]
    assert set(metrics["rejection"]["auroc"]) == {"black", "color bars", "noise"}
    page = (run / "report.html").read_text()
    assert all(text in page for text in ("Temperature", "None of these", "Clips to look at"))

    capsys.readouterr()
    words = ["evaluate", str(run / "best"), "--data", str(data), "--num-workers", "0", "--device", "cpu", "--json"]
    assert cli.main([*words, "--reject"]) == 0
    again = json.loads(capsys.readouterr().out)
    assert again["loss"] == pytest.approx(metrics["loss"], rel=1e-6)
    assert again["rejection"]["num_rejected"] == metrics["rejection"]["num_rejected"]

    clip = next((data / "test").rglob("*.mp4"))
    scores = rows_of(run / "evaluation/test/scores.csv")
    row = next(row for row in scores if row["path"].endswith(f"{clip.parent.name}/{clip.name}"))
    prediction = load(run / "best", "cpu").predict(clip)
    assert prediction.probs[0] == pytest.approx(float(row[prediction.top1]), rel=1e-4)

    before = (run / "best/tubelet.json").read_bytes()
    assert cli.main(["train", "--resume", str(run), "--device", "cpu"]) == 0
    assert (run / "best/tubelet.json").read_bytes() == before
