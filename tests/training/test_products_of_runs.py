"""A run computes its fp32 products as it began, whatever the process that goes on with it would choose."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from small_runs import assert_equal
from tubelet.errors import ConfigError
from tubelet.recipe import load_recipe
from tubelet.runs.folder import FACTS
from tubelet.runs.run import run_recipe
from tubelet.session import fast_fp32 as module
from tubelet.session.fast_fp32 import KEY, PLAIN, FastFp32, fast_fp32, fast_fp32_in_use
from tubelet.session.progress import NoProgress
from tubelet.session.session import Session

CONVOLVING = FastFp32(convolution_from=0)
EPOCHS = [("training.num_epochs", "1")]


class Left(Exception):
    """The process is gone."""


class UntilStep(NoProgress):
    """Leaves the run behind a step, as a kill does."""

    def __init__(self, last: int) -> None:
        self.last = last

    def step(self, step: int, num_steps: int, epoch: int, loss: float) -> None:
        if step >= self.last:
            raise Left


@pytest.fixture
def recipe_of_wide_layers(recipe_file: Path) -> Path:
    """Convolutions of small inputs do not go to oneDNN."""
    text = recipe_file.read_text(encoding="utf-8")
    recipe_file.write_text(text.replace("embed_dim: 32", "embed_dim: 128"), encoding="utf-8")
    return recipe_file


def train(recipe_file: Path, run: Path, last: int | None = None) -> dict[str, torch.Tensor]:
    recipe = load_recipe(str(recipe_file), EPOCHS)
    if last is not None:
        with pytest.raises(Left):
            run_recipe(recipe, run, Session(progress=UntilStep(last)))
        return {}
    run_recipe(recipe, run, Session())
    return load_file(run / "last" / "model.safetensors")


def test_a_run_resumes_with_the_products_that_it_began_with_and_without_a_record_with_those_of_torch(
    recipe_of_wide_layers: Path, tmp_path: Path
) -> None:
    plain = train(recipe_of_wide_layers, tmp_path / "plain")
    train(recipe_of_wide_layers, tmp_path / "earlier", last=5)
    file = tmp_path / "earlier" / FACTS
    facts = json.loads(file.read_text())
    assert facts.pop(KEY) == PLAIN.to_record()
    file.write_text(json.dumps(facts))
    with fast_fp32(CONVOLVING):
        fast = train(recipe_of_wide_layers, tmp_path / "fast")
        train(recipe_of_wide_layers, tmp_path / "left", last=5)
        assert_equal(train(recipe_of_wide_layers, tmp_path / "earlier"), plain)
        assert fast_fp32_in_use() == CONVOLVING
    assert_equal(train(recipe_of_wide_layers, tmp_path / "left"), fast)
    assert fast_fp32_in_use() == PLAIN
    assert any(not torch.equal(plain[name], fast[name]) for name in plain)  # else nothing was tested


def test_a_run_whose_products_this_processor_does_not_have_is_refused(
    recipe_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(recipe_file, tmp_path / "run", last=6)
    file = tmp_path / "run" / FACTS
    facts = json.loads(file.read_text()) | {KEY: FastFp32(onednn_matmul=True).to_record()}
    file.write_text(json.dumps(facts))
    monkeypatch.setattr(module, "TOLERANCE", 1e-12)  # as where oneDNN computes in bf16
    with pytest.raises(ConfigError, match=r"began with oneDNN.*--out"):
        run_recipe(load_recipe(str(recipe_file), EPOCHS), tmp_path / "run", Session())
