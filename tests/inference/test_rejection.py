"""Whatever is less familiar than 95 % of the validation videos is none of the classes, in every command."""

from __future__ import annotations

import csv
import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from support import PROTOCOL, error_of
from tubelet import cli, load
from tubelet.inference.rejection import NONE_OF_THESE, familiarity, refusal
from tubelet.protocol import Calibration, Protocol, Rejection
from tubelet.weights.checkpoint.checkpoint import RECORD, WEIGHTS, load_checkpoint, read_record, write_calibration

FEW = Rejection(score="max_logit", quantiles=tuple(float(i) for i in range(21)))
CPU = ("--device", "cpu")


def with_calibration(folder: Path, out: Path, threshold: float, temperature: float = 1.0) -> Path:
    """A copy of a checkpoint that keeps what reaches the threshold."""
    shutil.copytree(folder, out)
    quantiles = (threshold - 1.0, *(threshold + i for i in range(20)))
    rejection = Rejection(score="max_logit", quantiles=quantiles)
    write_calibration(out, Calibration(temperatures=(temperature,), rejection=rejection, num_videos=40))
    return out


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    file = tmp_path / "clip.npy"
    np.save(file, np.random.default_rng(0).integers(0, 256, (8, 24, 24, 3), dtype=np.uint8))
    return file


def test_a_calibration_is_in_the_record_and_the_weights_are_untouched(checkpoint: Path, tmp_path: Path) -> None:
    copy = with_calibration(checkpoint, tmp_path / "copy", 3.0, 1.5)
    assert (copy / WEIGHTS).read_bytes() == (checkpoint / WEIGHTS).read_bytes()
    _, record = load_checkpoint(copy)
    assert record.calibration.temperatures == (1.5,)
    assert dataclasses.replace(record, calibration=Calibration()) == read_record(checkpoint)


def test_a_record_of_an_earlier_version_has_temperature_1_and_no_rejection(checkpoint: Path, tmp_path: Path) -> None:
    shutil.copytree(checkpoint, tmp_path / "copy")
    content = json.loads((tmp_path / "copy" / RECORD).read_text())
    del content["calibration"]
    (tmp_path / "copy" / RECORD).write_text(json.dumps(content))
    assert read_record(tmp_path / "copy").calibration == Calibration()


@pytest.mark.parametrize(("score", "share"), [(-5.0, 1.0), (0.0, 1.0), (0.5, 0.975), (0.98, 0.951)])
def test_none_of_these_stands_with_the_share_of_videos_that_are_more_familiar(score: float, share: float) -> None:
    answer = refusal(torch.tensor([score, -9.0]), FEW, Protocol(labels={"label": ("a", "b")}))
    assert answer is not None
    assert answer.labels == (NONE_OF_THESE,)
    assert answer.probs == pytest.approx((share,))
    assert answer.heads == {}


def test_what_reaches_the_threshold_is_not_refused() -> None:
    for score in (1.0, 7.0, 100.0):
        assert refusal(torch.tensor([score, -9.0]), FEW, Protocol(labels={"label": ("a", "b")})) is None


def test_of_several_heads_all_are_none_and_their_scores_add_up() -> None:
    protocol = Protocol(labels={"noun": ("a", "b"), "verb": ("c", "d", "e")})
    logits = torch.tensor([[1.0, 2.0, 3.0, 4.0, 5.0]])
    assert float(familiarity(logits, "max_logit", protocol)) == 7.0
    expected = logits[:, :2].logsumexp(1) + logits[:, 2:].logsumexp(1)
    torch.testing.assert_close(familiarity(logits, "energy", protocol).float(), expected)
    answer = refusal(torch.zeros(5), FEW, protocol)
    assert answer is not None
    assert {head: scores.labels for head, scores in answer.heads.items()} == dict.fromkeys(
        ("noun", "verb"), (NONE_OF_THESE,)
    )


def test_energy_of_several_labels_adds_up_over_the_classes() -> None:
    protocol = Protocol(labels={"label": ("a", "b")}, multi_label=True)
    logits = torch.tensor([[3.0, -1.0]])
    expected = torch.log1p(logits.exp()).sum(1)
    torch.testing.assert_close(familiarity(logits, "energy", protocol).float(), expected)


def test_predict_says_none_of_these_in_json_table_and_csv(
    checkpoint: Path,
    clip: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    unknown = str(with_calibration(checkpoint, tmp_path / "unknown", 1e6))
    words = ["predict", unknown, str(clip), *CPU, "--num-workers", "0", "--csv", str(tmp_path / "p.csv")]
    assert cli.main([*words, "--json"]) == 0
    (plain,) = json.loads(capsys.readouterr().out)["predictions"]
    assert len(plain["labels"]) == 5
    assert cli.main([*words, "--json", "--reject"]) == 0
    (refused,) = json.loads(capsys.readouterr().out)["predictions"]
    assert (refused["labels"], refused["probs"]) == ([NONE_OF_THESE], [1.0])
    assert [row["label"] for row in csv.DictReader((tmp_path / "p.csv").open())] == [NONE_OF_THESE]
    assert cli.main([*words, "--reject"]) == 0
    assert "none of these 100.0%" in capsys.readouterr().out
    known = str(with_calibration(checkpoint, tmp_path / "known", -1e6))
    assert cli.main(["predict", known, *words[2:], "--json", "--reject"]) == 0
    assert json.loads(capsys.readouterr().out)["predictions"] == [plain]


def test_a_checkpoint_that_learned_no_threshold_is_refused_in_one_line(
    checkpoint: Path,
    clip: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    message = error_of(["predict", str(checkpoint), str(clip), *CPU, "--reject"], capsys)
    assert "does not say which videos are unknown" in message
    assert "at least 20 videos" in message
    assert "leave out --reject" in message


def test_windows_are_tempered_and_refused_as_clips_are(
    checkpoint: Path, videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hot = with_calibration(checkpoint, tmp_path / "hot", -1e6, temperature=4.0)
    film = next((videos / "test").rglob("*.mp4"))
    words = [str(film), "--window", "clip", "--json", *CPU]
    found = {}
    for name in (checkpoint, hot):
        assert cli.main(["predict", str(name), *words, "--top-k", "8"]) == 0
        found[name] = json.loads(capsys.readouterr().out)["films"][0]["segments"][0]
    plain, tempered = (dict(zip(s["labels"], s["probs"], strict=True)) for s in found.values())
    odds = {label: prob**0.25 for label, prob in plain.items()}
    assert tempered == pytest.approx({label: value / sum(odds.values()) for label, value in odds.items()}, rel=1e-4)
    unknown = with_calibration(checkpoint, tmp_path / "unknown", 1e6)
    assert cli.main(["predict", str(unknown), *words, "--reject", "--merge"]) == 0
    (segment,) = json.loads(capsys.readouterr().out)["films"][0]["segments"]
    assert segment["labels"] == [NONE_OF_THESE]


def test_the_library_refuses_too(checkpoint: Path, clip: Path, tmp_path: Path) -> None:
    unknown = with_calibration(checkpoint, tmp_path / "unknown", 1e6)
    assert load(unknown, "cpu", reject=True).predict(clip).top1 == NONE_OF_THESE
    assert load(unknown, "cpu").predict(clip).top1 in PROTOCOL.labels["label"]
