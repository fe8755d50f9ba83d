"""``--backbone``: another image network in a VTN, by its name alone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from support import error_of
from tubelet import cli
from tubelet.commands.train import Options
from tubelet.commands.work.train import plan


def cost_of(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, float]:
    assert cli.main(["cost", *words, "--no-measure", "--json"]) == 0
    found: dict[str, float] = json.loads(capsys.readouterr().out)
    return found


def test_the_cost_is_that_of_the_other_backbone(capsys: pytest.CaptureFixture[str]) -> None:
    other = cost_of(capsys, "vtn_r50", "--backbone", "resnet101")
    assert other["parameters"] == cost_of(capsys, "vtn_r101")["parameters"]
    assert other["parameters"] > cost_of(capsys, "vtn_r50")["parameters"]


def test_a_run_takes_the_backbone_into_the_model_that_is_named_or_into_a_vtn() -> None:
    named, _ = plan(Options(data="clips", model="vtn_vit_b16", backbone="convnext_tiny"), [])
    assert (named.model["name"], named.model["backbone"]) == ("vtn_vit_b16", "convnext_tiny")
    alone, _ = plan(Options(data="clips", backbone="resnet101"), [])
    assert (alone.model["name"], alone.model["backbone"]) == ("vtn_r101", "resnet101")
    shipped, _ = plan(Options(data="clips", recipe="kinetics400/vtn_r50", backbone="resnet34"), [])
    assert (shipped.model["name"], shipped.model["backbone"]) == ("vtn_r50", "resnet34")


@pytest.mark.parametrize("words", [["cost", "vivit_ti16x2_fe"], ["train", "--data", ".", "--model", "vivit_ti16x2_fe"]])
def test_models_without_a_backbone_refuse_it(
    words: list[str], capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    line = error_of([*words, "--backbone", "resnet18"], capsys)
    assert "--backbone is for a VTN, vivit_ti16x2_fe has none; choose one of vtn_vit_b16, vtn_deit_b16" in line
    assert not list(tmp_path.iterdir())
