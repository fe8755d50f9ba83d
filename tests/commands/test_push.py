"""``tubelet push --dry-run`` writes the folder that would be uploaded; tests/weights/test_hub.py uploads one."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants

from support import TRAIN_TINY, content_of, error_of, videos, write_checkpoint
from tubelet import cli, load
from tubelet.weights.checkpoint.checkpoint import load_checkpoint, read_record, save_checkpoint

__all__ = ["videos"]

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


def test_no_absolute_path_is_published_wherever_the_record_has_it(run: Path, tmp_path: Path) -> None:
    """Also in texts, with blanks, of Windows and of a home folder; addresses, names and relative paths stay."""
    model, record = load_checkpoint(run / "best")
    secret = "/home/some one/private models/vit.pth"
    provenance = {
        "source": "timesformer",
        "original": "facebookresearch/TimeSformer, models/vit.py",
        "path": "hf://owner/name@abc",
        "recipe": {
            "data": {"source": "/srv/secret/gestures", "manifest": {"annotations": ["/srv/secret/a.csv", "b/c.csv"]}},
            "init": {"source": secret},
        },
        "mapping": {
            "summary": f"1 tensors filled from {secret}",
            "notes": [
                f"license: cc, of {secret}, holds",
                "read at https://example.org/a/b",
                "pixels: (x / 255 - mean)",
            ],
            "rows": [{"/srv/secret/key": "C:\\Users\\secret\\w.pth"}],
        },
        "init": {"source": secret, "config": {"source": secret}, "license": "mit", "notes": ["'~/secret/x/w.pth'"]},
    }
    save_checkpoint(run / "best", model, dataclasses.replace(record, provenance=provenance))
    assert cli.main(["push", str(run), "me/gestures", "--dry-run", str(tmp_path / "up")]) == 0
    written = b"".join(content_of(tmp_path / "up").values())
    for part in (b"secret", b"some one", b"private models", str(tmp_path).encode()):
        assert part not in written, part
    published = read_record(tmp_path / "up").provenance
    assert published["mapping"]["notes"][0] == "license: cc, of vit.pth, holds"
    assert published["mapping"]["notes"][1:] == provenance["mapping"]["notes"][1:]  # type: ignore[index]
    assert published["recipe"]["data"]["manifest"]["annotations"] == ["a.csv", "b/c.csv"]
    assert (published["original"], published["path"]) == (provenance["original"], provenance["path"])


def test_a_run_that_started_from_other_weights_publishes_no_path(
    run: Path, tmp_path: Path, videos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "again"
    argv = ["train", "--data", str(videos), "--out", str(out), *TRAIN_TINY, "--init.source", str(run / "best")]
    assert cli.main(argv) == 0
    assert cli.main(["push", str(out), "me/gestures", "--dry-run", str(tmp_path / "up")]) == 0
    written = b"".join(content_of(tmp_path / "up").values())
    for folder in (tmp_path, videos, Path.home()):
        assert str(folder).encode() not in written


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
