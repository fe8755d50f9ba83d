"""A recipe is read strictly, saved whole, and read back to the same recipe."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from tubelet.config import to_dict
from tubelet.data.layouts.config import ManifestConfig
from tubelet.errors import ConfigError
from tubelet.models import create_model
from tubelet.recipe import DataConfig, Recipe, list_recipes, load_recipe, save_recipe

MINIMAL: dict[str, Any] = {"model": {"name": "vivit_ti16x2_fe"}, "data": {"source": "clips"}}


def recipe_file(folder: Path, **groups: Any) -> str:
    file = folder / "recipe.yaml"
    file.write_text(yaml.safe_dump({**MINIMAL, **groups}), encoding="utf-8")
    return str(file)


@pytest.mark.parametrize("name", list_recipes())
def test_every_shipped_recipe_makes_its_model_and_runs_again_as_saved(name: str, tmp_path: Path) -> None:
    recipe = load_recipe(name)
    options = recipe.model_options(num_classes=3)
    assert (options["num_classes"], options["in_channels"]) == (3, recipe.protocol.num_channels)
    with torch.device("meta"):  # the largest have hundreds of millions of parameters
        create_model(recipe.model["name"], **options)
    save_recipe(recipe, tmp_path / "recipe.yaml")
    assert load_recipe(str(tmp_path / "recipe.yaml")) == recipe


def test_a_recipe_with_every_kind_of_value_comes_back_equal(tmp_path: Path) -> None:
    overrides = [
        ("model.tubelet_size", "4,8,8"),
        ("model.drop_rate", "1e-1"),
        ("protocol.crop_size", "64,96"),
        ("optim.clip_grad_norm", "none"),
        ("data.manifest.class_names", "{label: [ja, nein, vielleicht, 'no', '1e-3', '0']}"),
        ("data.manifest.root", "some/where"),
        ("augment.flip_probability", "0.5"),
        ("augment.flip_label_map", "{left: right, right: left}"),
        ("seed", "7"),
    ]
    recipe = load_recipe(recipe_file(tmp_path), overrides)
    assert recipe.optim.clip_grad_norm is None
    assert recipe.data.manifest.class_names["label"][3:] == ("no", "1e-3", "0")
    save_recipe(recipe, tmp_path / "saved.yaml")
    assert load_recipe(str(tmp_path / "saved.yaml")) == recipe


def test_the_command_line_wins_over_the_file_and_the_file_over_the_defaults(tmp_path: Path) -> None:
    file = recipe_file(tmp_path, optim={"lr": 0.5, "weight_decay": 0.25}, training={"num_epochs": 3})
    recipe = load_recipe(file, [("optim.lr", "1e-2"), ("training.batch_size", "4")])
    assert (recipe.optim.lr, recipe.optim.weight_decay, recipe.optim.momentum) == (0.01, 0.25, 0.9)
    assert (recipe.training.num_epochs, recipe.training.batch_size) == (3, 4)


def test_position_tables_are_made_for_the_protocol_s_clip_unless_the_recipe_says_otherwise(tmp_path: Path) -> None:
    protocol = {"num_frames": 8, "crop_size": [64, 96], "resize_short_side": 64}
    plain = load_recipe(recipe_file(tmp_path, protocol=protocol)).model_options(num_classes=2)
    assert (plain["num_frames"], plain["image_size"]) == (8, [64, 96])
    model = {"name": "vivit_ti16x2_fe", "num_frames": 32}
    other = load_recipe(recipe_file(tmp_path, protocol=protocol, model=model)).model_options(num_classes=2)
    assert (other["num_frames"], other["image_size"]) == (32, [64, 96])


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ({"optm": {}}, "unknown key 'optm'; did you mean 'optim'?"),
        ({"optim": {"learning_rate": 1}}, "unknown key 'optim.learning_rate'"),
        ({"training": {"num_epoch": 3}}, "unknown key 'training.num_epoch'; did you mean 'num_epochs'?"),
        ({"data": {}}, "missing key 'data.source' (text)"),
        ({"model": {}}, "model.name is missing; `tubelet models` lists the names"),
        ({"model": {"name": "vivit_ti16x2_ef"}}, "unknown model 'vivit_ti16x2_ef'; did you mean 'vivit_ti16x2_fe'?"),
        (
            {"model": {"name": "vivit_ti16x2_fe", "dpth": 2}},
            "unknown key 'vivit_ti16x2_fe.dpth'; did you mean 'depth'?",
        ),
        ({"model": {"name": "vivit_ti16x2_fe", "num_classes": 2}}, "model.num_classes comes from the data"),
        ({"protocol": {"labels": {"label": ["a"]}}}, "protocol.labels comes from the data"),
        ({"protocol": {"num_frames": 7}}, "tubelet_size t=2 does not divide 7"),
        ({"optim": {"lr": "fast"}}, "'optim.lr' must be float, got 'fast'"),
        ({"optim": {"lr": -1}}, "optim: lr must be positive"),
        ({"training": {"accumulation": 64}}, "training: accumulation 64 cuts a batch of 32 into nothing"),
        ({"training": {"precision": "fp16"}}, "'training.precision' must be one of fp32, bf16, got 'fp16'"),
        ({"seed": -1}, "seed must not be negative, got -1"),
        ({"seed": 1.5}, "'seed' must be int, got 1.5"),
        ({"data": {"source": "x", "num_workers": -1}}, "data: num_workers must not be negative, got -1"),
        ({"data": {"source": "x", "augment_on": "device"}}, "data.augment_on=device has no effect"),
    ],
)
def test_a_recipe_that_does_not_fit_names_its_file_and_the_key(
    tmp_path: Path, groups: dict[str, Any], message: str
) -> None:
    file = recipe_file(tmp_path, **groups)
    with pytest.raises(ConfigError) as refused:
        load_recipe(file)
    assert str(refused.value).startswith(f"recipe {file}: ")
    assert message in str(refused.value)


def test_an_override_is_checked_as_if_it_stood_in_the_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"unknown key 'optim\.lrr'; did you mean 'lr'\?"):
        load_recipe(recipe_file(tmp_path), [("optim.lrr", "1")])
    with pytest.raises(ConfigError, match=r"'training\.num_epochs' must be int, got 2\.5"):
        load_recipe(recipe_file(tmp_path), [("training.num_epochs", "2.5")])


def test_an_unknown_recipe_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"no recipe 'folder/defualt'; did you mean 'folder/default'\?"):
        load_recipe("folder/defualt")
    with pytest.raises(ConfigError, match=r"nowhere\.yaml: no such recipe file"):
        load_recipe("nowhere.yaml")


def test_unknown_embedded_data_is_refused() -> None:
    with pytest.raises(ConfigError, match="no embedded data 'adrenal'"):
        _ = DataConfig(source="embedded:adrenal").path


def test_defaults_are_written_out_in_the_saved_recipe(tmp_path: Path) -> None:
    """What was run is read from the file, not from the defaults of whatever version reads it."""
    recipe = Recipe(model={"name": "vivit_ti16x2_fe"}, data=DataConfig(source="clips"))
    save_recipe(recipe, tmp_path / "recipe.yaml")
    saved = yaml.safe_load((tmp_path / "recipe.yaml").read_text(encoding="utf-8"))
    assert saved == to_dict(recipe)
    assert saved["data"]["manifest"] == to_dict(ManifestConfig())
