"""What is frozen keeps its weights and its evaluation mode; a pattern that means nothing is an error."""

from __future__ import annotations

from pathlib import Path

import pytest
from torch import nn

from small_runs import PROTOCOL, write_volumes
from support import assert_one_line, tiny_model
from tubelet.data.clips.normalize import normalize
from tubelet.data.layouts.config import ManifestConfig
from tubelet.data.loading.clip_dataset import ClipDataset
from tubelet.data.loading.loader import Loader
from tubelet.data.manifest.read import read_manifest
from tubelet.errors import ConfigError
from tubelet.session.session import Session
from tubelet.training.config import TrainingConfig
from tubelet.training.engine import fit
from tubelet.training.optim.config import OptimizerConfig
from tubelet.training.optim.groups import freeze
from tubelet.training.setup import TrainingSetup


def trained(model: nn.Module) -> set[str]:
    return {name for name, p in model.named_parameters() if p.requires_grad}


def test_everything_below_a_matched_module_is_frozen_and_nothing_else() -> None:
    model, _ = tiny_model(depth=3)
    everything = set(dict(model.named_parameters()))
    modules = freeze(model, ["tokenizer", "spatial_encoder.blocks.[01]", "*.cls_token"])
    frozen = everything - trained(model)
    below = ("tokenizer.", "spatial_encoder.blocks.0.", "spatial_encoder.blocks.1.")
    assert frozen == {n for n in everything if n.startswith(below) or n.endswith("cls_token")}
    names = {id(m): n for n, m in model.named_modules()}
    assert [names[id(m)] for m in modules] == ["tokenizer", "spatial_encoder.blocks.0", "spatial_encoder.blocks.1"]


def test_no_pattern_freezes_nothing_even_in_a_model_without_parameters() -> None:
    assert freeze(nn.Identity(), []) == ()


@pytest.mark.parametrize(
    ("pattern", "near"), [("tokeniser", "tokenizer"), ("spatial_encoder.block.0", "spatial_encoder.blocks.0")]
)
def test_a_pattern_that_matches_nothing_names_the_nearest(pattern: str, near: str) -> None:
    model, _ = tiny_model()
    with pytest.raises(ConfigError) as caught:
        freeze(model, ["head", pattern])
    assert_one_line(caught, f"is called '{pattern}'; did you mean '{near}'?")


def test_nothing_left_to_train_is_an_error() -> None:
    model, _ = tiny_model()
    with pytest.raises(ConfigError, match=r"freeze: \* leaves no parameter of ViViTFactorizedEncoder to train"):
        freeze(model, ["*"])


@pytest.mark.parametrize("patterns", [["1"], []])
def test_a_frozen_norm_keeps_its_weights_and_its_statistics_in_training(tmp_path: Path, patterns: list[str]) -> None:
    model = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(32), nn.Linear(32, 3))
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    manifest = read_manifest(write_volumes(tmp_path / "data"), ManifestConfig(val_fraction=0.0, test_fraction=0.0))
    setup = TrainingSetup(
        model=model,
        loader=Loader(ClipDataset(manifest, PROTOCOL, "train"), 6),
        prepare=lambda pixels: normalize(pixels, PROTOCOL),
        validate=None,
        save=lambda path: path.mkdir(exist_ok=True),
        training=TrainingConfig(num_epochs=2, batch_size=6),
        optim=OptimizerConfig(lr=0.1, weight_decay=0.1, warmup_epochs=0.0),
        frozen=freeze(model, patterns),
    )
    (tmp_path / "run").mkdir()
    fit(setup, tmp_path / "run", Session())
    changed = {name for name, tensor in model.state_dict().items() if not tensor.equal(before[name])}
    head = {"2.weight", "2.bias"}
    assert changed == (head if patterns else set(before))
