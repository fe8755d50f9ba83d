"""``tubelet compare pretraining``: equal budgets, fewer labels, one tuning for all shares, and no test clip."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from in_this_process import carried_out
from tiny_comparison import WITH_ASSETS, load
from tubelet.data.layouts.config import ManifestConfig
from tubelet.data.manifest.read import read_manifest
from tubelet.errors import ConfigError
from tubelet.recipe import Recipe
from tubelet.runs.plan.make_plan import plan_run
from tubelet.session.session import Session
from tubelet.studies.arms import START, load_comparison
from tubelet.studies.estimate import read_estimate
from tubelet.studies.results import gather
from tubelet.weights.checkpoint.checkpoint import read_record

CONTENT: dict[str, Any] = {
    **WITH_ASSETS,
    "starts": {
        "masked": {
            "about": "paints hidden parts",
            "fields": {"masked_pretraining": {"mask_ratio": 0.5, "decoder_depth": 1, "num_pictures": 0}},
        }
    },
    "arms": {
        "random_100": {"about": "random", "fields": {}},
        "masked_100": {"about": "pre-trained", "fields": {"init.source": "start:masked", "optim.layer_decay": 0.75}},
        "masked_50": {
            "about": "pre-trained, half of the labels",
            "tuned_as": "masked_100",
            "fields": {"init.source": "start:masked", "data.manifest.train_fraction": 0.5},
        },
    },
    "contrasts": [["masked_50", "random_100"]],
    "test_views": [],
    "published": [],
    "num_seeds": 1,
}


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def test_a_study_tunes_all_shares_at_once_and_says_before_what_it_will_take(tmp_path: Path) -> None:
    comparison = load(tmp_path, **CONTENT)
    executed, workers, _ = carried_out(comparison, tmp_path / "out")
    (start,) = executed.starts
    assert workers.made[0].folder == start.folder
    assert {job.arm for job in workers.made[1:] if not job.is_tested} == {"random_100", "masked_100"}
    settings = {job.arm: job.setting for job in executed.final}
    assert settings["masked_50"] == settings["masked_100"]
    counts = {job.arm: json.loads((job.folder / "run.json").read_text())["class_counts"] for job in executed.final}
    assert {arm: sum(of["train"].values()) for arm, of in counts.items()} == {
        "random_100": 16,
        "masked_100": 16,
        "masked_50": 8,
    }
    assert all(of["test"] == counts["random_100"]["test"] for of in counts.values())
    trained_on = read_record(start.folder / "best").provenance["trained_on"]
    assert trained_on["num_rows"] == trained_on["num_known"] == 16  # all training clips, and no other
    expected = read_estimate(tmp_path / "out")
    assert expected is not None
    assert expected.num_runs == len(workers.made)
    assert set(expected.arms) == {f"{arm} on motion" for arm in ("masked", *comparison.arms)}
    result = gather(comparison, executed, {})
    assert [look.arm for look in result.looks] == ["random_100", "masked_100"]
    assert any("masked_50 that of masked_100" in note for note in result.notes)
    again, workers, _ = carried_out(comparison, tmp_path / "out")
    assert workers.made == []
    assert again == executed


def test_an_arm_that_is_tuned_as_none_that_runs_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="tuned_as 'masked_100' is no arm that is tuned and runs"):
        load(tmp_path, **CONTENT | {"arms": CONTENT["arms"] | {"masked_100": CONTENT["arms"]["masked_50"]}})


def test_fewer_labels_are_of_every_class_and_among_the_more(tmp_path: Path) -> None:
    table = tmp_path / "rows.csv"
    rows = [f"{i}.mp4,{'ab'[i % 5 == 0]},{'train' if i < 100 else 'val' if i < 110 else 'test'}" for i in range(120)]
    table.write_text("path,label,split\n" + "\n".join(rows) + "\n")

    def kept(fraction: float) -> set[str]:
        manifest = read_manifest(table, ManifestConfig(train_fraction=fraction), is_checked=False)
        assert len(manifest.split("test")) == len(manifest.split("val")) == 10
        return {row.path for row in manifest.split("train").samples}

    few, half = kept(0.1), kept(0.5)
    assert few < half < kept(1)
    assert len(few) == len(kept(1)) / 10
    assert len(kept(0.001)) == 2  # one of each class


@pytest.mark.parametrize(("dataset", "num_train"), [("motions", 800), ("adrenalmnist3d", 1188)])
def test_every_arm_of_the_shipped_study_takes_the_same_budget(dataset: str, num_train: int) -> None:
    comparison = load_comparison("pretraining")
    known: dict[str, float] = {}

    def gmacs(recipe: Recipe) -> float:
        """Of all training steps."""
        key = f"{recipe.masked_pretraining}{recipe.protocol.num_frames}"
        if key not in known:
            bare = dataclasses.replace(recipe, init=None, data=dataclasses.replace(recipe.data, source="/nowhere"))
            model = plan_run(bare, Path("/nowhere/run"), Session()).model
            assert model is not None
            known[key] = model.training_gmacs_per_clip
        rows = round(num_train * recipe.data.manifest.train_fraction)
        size = recipe.training.batch_size
        return known[key] * recipe.training.num_epochs * (rows // size) * size

    def total(arm: str) -> float:
        recipe = comparison.recipe(dataset, arm, {}, 0)
        start = "" if recipe.init is None else recipe.init.source.removeprefix(START)
        return gmacs(recipe) + (gmacs(comparison.start_recipe(dataset, start)) if start else 0)

    budgets = {arm: total(arm) for arm in comparison.running}
    assert all(budget == pytest.approx(budgets["random_100"], rel=0.02) for budget in budgets.values()), budgets
