"""What a run is known by."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import pytest

from tubelet.recipe import load_recipe
from tubelet.runs import result
from tubelet.runs.result import content_key
from tubelet.weights.config import InitConfig


def key(source: str, memory: Path = Path("nowhere")) -> str:
    recipe = load_recipe("adrenalmnist3d/vivit_ti_joint")
    return content_key(dataclasses.replace(recipe, init=InitConfig(source=source)), "fingerprint", memory)


def test_first_weights_are_known_by_their_content_wherever_they_lie(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "model.safetensors").write_bytes(b"weights")
    before = key(str(tmp_path / "one"), tmp_path)
    assert key(str(tmp_path / "two"), tmp_path) == before
    (tmp_path / "two" / "README.md").write_text("a card")
    assert key(str(tmp_path / "two"), tmp_path) == before
    (tmp_path / "one" / "model.safetensors").write_bytes(b"WEIGHTS")  # trained again into the same folder
    os.utime(tmp_path / "one" / "model.safetensors", (1, 1))
    assert key(str(tmp_path / "one"), tmp_path) != before
    assert key("vit_tiny_patch16_224", tmp_path) != key("vit_small_patch16_224", tmp_path)


def test_runs_are_still_known_when_their_first_weights_are_gone(tmp_path: Path) -> None:
    source = tmp_path / "model.safetensors"
    source.write_bytes(b"weights")
    before = key(str(source), tmp_path / "runs")
    source.unlink()
    assert key(str(source), tmp_path / "runs") == before
    assert key(str(source), tmp_path / "others") != before


def test_other_versions_of_the_packages_make_other_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    before = key("vit_tiny_patch16_224")
    known = result.package_versions()
    monkeypatch.setattr(result, "package_versions", lambda: known | {"timm": "0"})
    assert key("vit_tiny_patch16_224") != before
