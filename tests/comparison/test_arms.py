"""Comparison files are strict, and what they ship fits together."""

from __future__ import annotations

import dataclasses
import statistics
from pathlib import Path
from typing import Any

import pytest
import torch

from tiny_comparison import CONTENT, load, write_comparison
from tubelet import config
from tubelet.errors import ConfigError
from tubelet.evaluation.cost import count_macs, count_parameters
from tubelet.models import create_model
from tubelet.runs.initialization import initialize_model, read_initialization
from tubelet.session.session import Session
from tubelet.studies.arms import list_comparisons, load_comparison
from tubelet.weights.checkpoint.checkpoint import Record, save_checkpoint


def written(folder: Path) -> dict[str, Any]:
    """The datasets of the tiny comparison, whose volumes lie in ``folder``."""
    return config.to_dict(load(folder).datasets)  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"arm": {}}, "unknown key 'arm'; did you mean 'arms'"),
        ({"arms": {"one": {"about": "", "fields": {}}}}, "at least two arms"),
        ({"contrasts": [["tubelets", "averagin"]]}, "no arm 'averagin'; did you mean 'averaging'"),
        ({"contrasts": [["tubelets", "tubelets"]]}, "two different arms"),
        ({"tuning": {"grid": {"optim.lr": [1e-4, 1e-3, 1e-2]}}}, "at least 4 values of optim.lr, got 3"),
        ({"tuning": {"grid": {"optim.lr": [1e-3, 1e-4, 1e-2, 1.0]}}}, "must be ascending"),
        ({"metric": "accuracy"}, "'metric' must be one of top1, auroc"),
        (
            {"arms": {**CONTENT["arms"], "averaging": {"about": "a", "fields": {"optim.lr": 1.0}}}},
            "arms.averaging.fields: optim.lr is tuned, the same for all arms",
        ),
        ({"fields": {"seed": 7}}, "fields: the seed of every run is set by the comparison"),
        ({"fields": {"optim": {"lr": 0.1}}}, "fields: optim.lr is tuned"),
        ({"fields": {"optim.lrr": 1}}, "arm 'tubelets' on 'volumes': .* unknown key 'optim.lrr'; did you mean 'lr'"),
        ({"arms": CONTENT["arms"] | {"a/b": {"about": "", "fields": {}}}}, "names folders"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        load(tmp_path, **changes)
    assert "\n" not in str(caught.value)


def test_sizes_replace_parts_and_a_size_that_is_not_there_is_refused(tmp_path: Path) -> None:
    file = str(write_comparison(tmp_path))
    quick = load_comparison(file, size="quick", overrides=[("num_seeds", 7)])
    assert quick.num_seeds == 7
    assert quick.tuning.grid == {"optim.lr": (0.001, 0.002, 0.003, 0.004)}
    with pytest.raises(ConfigError, match="has no section 'full'; run it without --full"):
        load_comparison(file, size="full")


def test_an_unknown_name_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match="no comparison 'tokenizer'; did you mean 'tokenizers'"):
        load_comparison("tokenizer")


def test_what_stands_later_wins(tmp_path: Path) -> None:
    comparison = load(tmp_path)
    recipe = comparison.recipe("volumes", "averaging", {"optim.lr": 0.5}, 3)
    assert recipe.model["tubelet_frames"] == "averaged"
    assert (recipe.optim.lr, recipe.seed, recipe.training.num_epochs) == (0.5, 3, 2)
    assert recipe.training.best_metric == "auroc"  # of the base


def test_a_tuned_field_wins_over_a_group_that_follows_its_first_mention(tmp_path: Path) -> None:
    comparison = load(tmp_path)
    fields = {**CONTENT["fields"], "optim.lr": 0.1, "optim": {"lr": 0.2, "warmup_epochs": 0}}
    volumes = comparison.datasets["volumes"]
    volumes = dataclasses.replace(volumes, fields={**volumes.fields, "optim.lr": 0.3})
    # A file with such fields is refused; settings that are not tuned have the same order.
    comparison = dataclasses.replace(comparison, fields=fields, datasets={"volumes": volumes})
    assert comparison.recipe("volumes", "averaging", {"optim.lr": 0.5}, 3).optim.lr == 0.5
    assert comparison.recipe("volumes", "averaging", {}, 3).optim.lr == 0.2


@pytest.mark.parametrize("name", list_comparisons())
@pytest.mark.parametrize("size", [None, "quick", "full"])
def test_shipped_comparisons_load_with_every_arm(name: str, size: str | None) -> None:
    comparison = load_comparison(name, size=size)
    assert comparison.judged
    assert all(arm.about for arm in comparison.arms.values())


def test_tokenizers_match_where_they_say_so() -> None:
    comparison, models = load_comparison("tokenizers"), {}
    for arm in comparison.running:
        recipe = comparison.recipe("adrenalmnist3d", arm, {}, 0)
        models[arm] = create_model(recipe.model["name"], **recipe.model_options(2))
    assert {tuple(model.config.grid) for model in models.values()} == {(4, 4, 4)}  # equal tokens
    macs = {arm: count_macs(model, (1, 28, 28, 28)) for arm, model in models.items()}
    assert macs["sampling_gmacs"] == pytest.approx(macs["tubelets"], rel=0.005)
    assert macs["sampling"] < 0.95 * macs["tubelets"]
    assert count_parameters(models["averaging"]) == count_parameters(models["sampling"])


@pytest.mark.parametrize("name", ["families", "encoders"])
def test_arms_of_shipped_comparisons_cost_the_same(name: str) -> None:
    comparison = load_comparison(name)
    costs = {}
    for arm in comparison.running:
        recipe = comparison.recipe("adrenalmnist3d", arm, {}, 0)
        protocol = recipe.protocol
        with torch.device("meta"):
            model = create_model(recipe.model["name"], **recipe.model_options(2))
        costs[arm] = count_macs(model, (protocol.num_channels, protocol.num_frames, *protocol.crop_size))
    middle = statistics.median(costs.values())
    assert all(cost == pytest.approx(middle, rel=0.08) for cost in costs.values()), costs


@pytest.mark.parametrize("name", ["initialisation", "vtn"])
def test_image_models_of_shipped_comparisons_fit_the_arms_that_start_from_them(name: str, tmp_path: Path) -> None:
    comparison = load_comparison(name)
    for dataset in comparison.datasets:
        start = comparison.start_recipe(dataset, "image")
        options = start.model_options(5)
        labels = {"label": ("a", "b", "c", "d", "e")}
        record = Record(
            model_name=start.model["name"],
            model_config=options,
            protocol=dataclasses.replace(start.protocol, labels=labels),
        )
        save_checkpoint(tmp_path / dataset, create_model(start.model["name"], **options), record)
        for arm in comparison.running:
            recipe = comparison.recipe(dataset, arm, {}, 0)
            if recipe.init is None:
                continue
            recipe = dataclasses.replace(recipe, init=dataclasses.replace(recipe.init, source=str(tmp_path / dataset)))
            begun = read_initialization(recipe, Session())
            model = create_model(recipe.model["name"], **begun.recipe.model_options(2))
            started = initialize_model(model, begun, recipe.protocol, Session())
            assert started.provenance is not None
            blocks = [row for row in started.provenance["rows"] if "blocks" in str(row)]
            assert sum(row["count"] for row in blocks) >= 2 * 12  # two blocks of the image model, 12 tensors each
