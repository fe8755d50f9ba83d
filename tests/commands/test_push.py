"""``tubelet push --dry-run`` writes the folder that would be uploaded; tests/weights/test_hub.py uploads one."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants

from support import content_of, error_of, write_checkpoint
from tubelet import cli, load
from tubelet.weights.checkpoint.checkpoint import load_checkpoint, read_record, save_checkpoint

METRICS: dict[str, Any] = {
    **{"split": "test", "num_videos": 16, "num_failed": 0, "failed": [], "views": "2x3", "averaging": "logits"},
    **{"labels": [], "top1": 0.75, "top5": 1.0, "top5_k": 5, "mean_class": 0.7, "per_class": [], "auroc": 0.9},
    **{"calibration_error": 0.1, "loss": 1.0, "majority_baseline": 0.125, "majority_label": "left"},
    **{"confusion": [], "class_counts": []},
}


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run folder: best/ trained on data under a private path, and its metrics on the test split."""
    folder = tmp_path / "runs" / "first"
    model, record = load_checkpoint(write_checkpoint(folder / "best"))
    provenance = {"recipe": {"data": {"source": "/home/someone/gestures"}}, "data_fingerprint": "abc"}
    save_checkpoint(folder / "best", model, dataclasses.replace(record, provenance=provenance))
    (folder / "evaluation" / "test").mkdir(parents=True)
    (folder / "evaluation" / "test" / "metrics.json").write_text(json.dumps(METRICS))
    return folder


@pytest.mark.parametrize("named", ["", "best"])
def test_a_run_becomes_a_folder_with_its_card_that_loads(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], named: str
) -> None:
    before = content_of(run)
    out = tmp_path / "up"
    assert cli.main(["push", str(run / named), "me/gestures", "--license", "mit", "--dry-run", str(out)]) == 0
    assert "written, nothing uploaded" in capsys.readouterr().out
    assert sorted(content_of(out)) == ["README.md", "model.safetensors", "tubelet.json"]
    card = (out / "README.md").read_text()
    assert "On the test split: 16 videos, 0 failed, 2x3 views" in card
    assert "license: mit" in card
    assert load(out, "cpu").labels == load(run / "best", "cpu").labels
    assert b"/home/someone" not in b"".join(content_of(out).values())
    assert read_record(out).provenance["recipe"]["data"]["source"] == "gestures"
    assert content_of(run) == before


def test_metrics_of_other_weights_are_not_put_on_the_card(run: Path, tmp_path: Path) -> None:
    """The metrics of a run are those of its best weights, not of its last."""
    write_checkpoint(run / "last")
    assert cli.main(["push", str(run / "last"), "me/gestures", "--dry-run", str(tmp_path / "up")]) == 0
    assert "Not evaluated" in (tmp_path / "up" / "README.md").read_text()


def test_what_cannot_be_pushed_is_said_in_one_line_and_leaves_nothing(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = content_of(tmp_path)
    up = str(tmp_path / "up")
    assert "expected owner/name" in error_of(["push", str(run), "gestures", "--dry-run", up], capsys)
    assert "expected a checkpoint folder" in error_of(["push", str(tmp_path), "me/x", "--dry-run", up], capsys)
    assert "is already there" in error_of(["push", str(run), "me/x", "--dry-run", str(run)], capsys)
    assert content_of(tmp_path) == before


def test_offline_the_way_without_a_network_is_named(
    run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    said = error_of(["push", str(run), "me/gestures"], capsys)
    assert "HF_HUB_OFFLINE is set; write the folder with --dry-run FOLDER" in said
