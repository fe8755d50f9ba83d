"""Commands, options, fields, recipes and models that commit 1045975 had: later versions may add, and lose none."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import io
import json
import re
from typing import Any

import pytest
import torch

import tubelet
from earlier_files import assert_same, golden, run
from tubelet.cli import main
from tubelet.recipe import list_recipes, load_recipe

OPTIONS: dict[str, list[str]] = golden("options")
FIELDS: dict[str, list[str]] = golden("fields")
RECIPES: dict[str, dict[str, Any]] = golden("recipes")
DEFAULT = "folder/default"  # the recipe that is stored whole; of the others, what differs


@pytest.mark.parametrize("command", sorted(OPTIONS))
def test_a_command_has_the_options_that_it_had(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    out = io.StringIO()
    with contextlib.redirect_stdout(out), pytest.raises(SystemExit) as ended:
        main([*command.split(), "--help"])
    assert not ended.value.code
    assert set(OPTIONS[command]) <= {flag.replace("_", "-") for flag in _options(out.getvalue())}  # both are understood


def _options(text: str) -> set[str]:
    """The flags that lines of a help text begin with: examples and explanations name flags too."""
    lines = re.findall(r"^[│ ] ((?:-\w, )?--[a-z][\w.-]*(?:, --[a-z][\w.-]*)*)", text, re.M)
    return {flag for line in lines for flag in line.split(", ")}


def test_there_is_no_command_less() -> None:
    commands = set(re.findall(r"^  ([a-z]+) {2,}", run("--help"), re.M))
    assert {command.split()[0] for command in OPTIONS} <= commands


@pytest.mark.parametrize("model", sorted(set(FIELDS) - {"every model"}))
def test_a_recipe_has_the_fields_that_it_had(model: str) -> None:
    listed = re.findall(r"^│ ([a-z][\w.]*) +│", run("train", "--fields", "--model", model), re.M)
    assert {*FIELDS["every model"], *FIELDS[model]} <= set(listed)


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_a_shipped_recipe_says_what_it_said(name: str) -> None:
    expected = dict(RECIPES[DEFAULT])
    if name != DEFAULT:
        changes = dict(RECIPES[name])
        for gone in changes.pop("-", ()):
            del expected[gone]
        expected |= changes
    recipe = load_recipe(name)
    plain = {**dataclasses.asdict(recipe), "model": {"name": recipe.model["name"], **recipe.model_options(7)}}
    assert_same(expected, _flat(json.loads(json.dumps(plain))), name)


def test_every_recipe_is_still_shipped() -> None:
    assert set(RECIPES) <= set(list_recipes())


def test_every_comparison_is_still_shipped() -> None:
    assert golden("comparisons").items() <= _comparisons().items()


def _comparisons() -> dict[str, str]:
    return dict(line.split(maxsplit=1) for line in run("compare").splitlines())


def test_a_few_models_have_the_size_and_the_cost_that_they_had() -> None:
    now = {model["name"]: model for model in json.loads(run("models", "--filter", "ti16x2_f", "--json"))}
    for model in golden("models"):
        assert_same(model, now[model["name"]], model["name"])


def test_every_model_is_there_and_tensors_have_the_names_that_they_had() -> None:
    """Of one size of each kind; also of those of torchvision, whose checkpoints are too large to be kept."""
    assert set(golden("state_dicts")["names"]) <= set(tubelet.list_models())
    for name, expected in golden("state_dicts")["state_dicts"].items():
        with torch.device("meta"):
            state = tubelet.create_model(name).state_dict()
        lines = "\n".join(f"{key} {tuple(tensor.shape)} {tensor.dtype}" for key, tensor in state.items())
        assert hashlib.sha256(lines.encode()).hexdigest()[:16] == expected, name


def test_the_public_names_are_there() -> None:
    assert {"Classifier", "Protocol", "Recipe", "create_model", "list_models", "load"} <= set(tubelet.__all__)
    assert all(getattr(tubelet, name) for name in tubelet.__all__)


def _flat(value: Any, key: str = "") -> dict[str, Any]:
    """Nested keys, joined by dots."""
    if not isinstance(value, dict) or not value:
        return {key: value}
    return {a: b for name, inner in value.items() for a, b in _flat(inner, f"{key}.{name}" if key else name).items()}
