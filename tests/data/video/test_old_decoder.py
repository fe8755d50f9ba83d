"""Recipes of older versions that name torchcodec as the decoder: they run, with one line that says what reads now."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file

from support import TRAIN_TINY
from tubelet import cli

LINE = "decoder: torchcodec is read with PyAV now"
WriteVideo = Callable[..., Path]


def test_a_recipe_with_torchcodec_trains_as_one_with_pyav_and_says_so_once(
    tmp_path: Path, write_video: WriteVideo, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "torchcodec", None)  # importing it would fail
    for seed, name in enumerate(("train/a/0.mp4", "train/b/0.mp4", "val/a/1.mp4", "val/b/1.mp4")):
        write_video(tmp_path / "videos" / name, seed=seed)
    new, old = tmp_path / "new", tmp_path / "old"
    assert cli.main(["train", "--data", str(tmp_path / "videos"), "--out", str(new), *TRAIN_TINY]) == 0
    assert LINE not in "".join(capsys.readouterr())

    recipe = yaml.safe_load((new / "recipe.yaml").read_text(encoding="utf-8"))
    assert recipe["data"]["decoder"] == "pyav"
    recipe["data"]["decoder"] = "torchcodec"
    (tmp_path / "old.yaml").write_text(yaml.safe_dump(recipe), encoding="utf-8")
    assert cli.main(["train", str(tmp_path / "old.yaml"), "--out", str(old)]) == 0
    assert "".join(capsys.readouterr()).count(LINE) == 1
    weights = [load_file(run / "last" / "model.safetensors") for run in (new, old)]
    assert weights[0].keys() == weights[1].keys()
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
