"""The demo, small: real files, three runs, a prediction and a report; and it can be run again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tubelet.cli import main

SMALL = ["--train-clips", "32", "--val-clips", "8", "--test-clips", "16", "--epochs", "1", "--device", "cpu"]


def test_demo_writes_videos_runs_and_report_and_ends_with_table_and_path(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["demo", "--out", str(tmp_path / "demo"), *SMALL]) == 0
    shown = capsys.readouterr().out
    assert "average pool over single frames" in shown
    assert shown.strip().splitlines()[-1] == f"report: {(tmp_path / 'demo/report.html').resolve()}"
    assert len(list((tmp_path / "demo/videos/test").glob("*/*.mp4"))) == 16
    report = (tmp_path / "demo/report.html").read_text(encoding="utf-8")
    for run in ("vivit_fe", "tubelets_avgpool", "frames_avgpool"):
        metrics = json.loads((tmp_path / f"demo/{run}/evaluation/test/metrics.json").read_text(encoding="utf-8"))
        assert metrics["num_videos"] == 16
        assert metrics["views"] == "3x1"
        assert f"{metrics['top1']:.1%}".replace("%", "") in report

    weights = (tmp_path / "demo/vivit_fe/best/model.safetensors").read_bytes()
    assert main(["demo", "--out", str(tmp_path / "demo"), *SMALL, "--json"]) == 0
    again = json.loads(capsys.readouterr().out)
    assert len(again) == 3
    assert (tmp_path / "demo/vivit_fe/best/model.safetensors").read_bytes() == weights


def test_demo_probe_refuses_parts_that_it_would_not_make(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    argv = ["demo", "probe", "--out", str(tmp_path / "demo"), "--val-clips", "8", "--test-clips", "8"]
    assert main(argv) == 1
    assert "--val-clips, --test-clips: is of held-out clips, and `tubelet demo probe`" in capsys.readouterr().err
    assert not (tmp_path / "demo").exists()


def test_demo_probe_shows_a_head_without_and_one_with_the_order_of_frames(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    small = {"protocol.resize_short_side": 32, "protocol.crop_size": [32, 32], "protocol.num_frames": 4}
    monkeypatch.setattr("tubelet.commands.work.demo_probe.FIELDS", {**small, "data.num_workers": 0})
    grid = {"rates": (1e-3,), "weight_decays": (0.01,), "penalties": (100.0,), "folds": 3}
    monkeypatch.setattr("tubelet.commands.work.demo_probe.GRID", grid)
    monkeypatch.setattr("tubelet.probing.reading.MIN_STEPS", 2)
    argv = ["demo", "probe", "--out", str(tmp_path / "demo"), "--train-clips", "24", "--epochs", "1", "--device", "cpu"]
    assert main(argv) == 0
    shown = capsys.readouterr().out
    assert "an encoder over time on the same frames" in shown
    assert "at most half can be right" in shown
    for heads in ("linear", "temporal"):
        assert json.loads((tmp_path / "demo" / heads / "probe.json").read_text(encoding="utf-8"))["num_clips"] == 24
