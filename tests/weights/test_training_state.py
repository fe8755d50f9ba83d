"""Of a file that holds averaged and raw weights, those are taken that are asked for, and the others are named."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from support import assert_one_line
from tubelet.errors import CheckpointError
from tubelet.weights.mapping.read import read_weights

Tensors = dict[str, Tensor]
NAMES = ("backbone.blocks.0.norm1.weight", "backbone.blocks.0.norm1.bias", "cls_head.fc_cls.weight")
RAW: Tensors = {name: torch.full((2,), i + 1.0) for i, name in enumerate(NAMES)}
AVERAGED: Tensors = {name: tensor + 10 for name, tensor in RAW.items()}


def below(prefix: str, tensors: Tensors) -> Tensors:
    return {prefix + name: tensor for name, tensor in tensors.items()}


def flat(tensors: Tensors, dot: str) -> Tensors:
    return {name.replace(".", dot): tensor for name, tensor in tensors.items()}


# Trainer -> the object that it pickles.
SPELLINGS: dict[str, Any] = {
    "timm": {"state_dict": RAW, "state_dict_ema": AVERAGED, "epoch": 3, "arch": "x"},
    "deit": {"model": RAW, "optimizer": {"lr": 0.1}, "model_ema": AVERAGED},
    "torchvision": {"model": RAW, "model_ema": {**below("module.", AVERAGED), "n_averaged": torch.tensor(9)}},
    "pycls": {"model_state": RAW, "ema_state": AVERAGED},
    "plain": {"model": RAW, "ema": AVERAGED},
    "nested": {"model": RAW, "ema": {"decay": 0.9, "updates": 3, "module": below("module.", AVERAGED)}},
    "shadow": {"model": RAW, "ema": {"decay": 0.9, "shadow": AVERAGED}},
    "module_ema": {"state_dict": RAW, "module_ema": AVERAGED},
    "ema_state_dict": {"state_dict": RAW, "ema_state_dict": AVERAGED},
    "basicsr": {"state_dict": RAW, "params_ema": AVERAGED},
    "swa": {"state_dict": RAW, "swa_state_dict": AVERAGED},
    "under_a_wrapper": {"state_dict": {"model": RAW, "model_ema": AVERAGED}},
    "ddp": {"model": below("module.", RAW), "model_ema": AVERAGED},
    "prefix": {"state_dict": {**below("model.", RAW), **below("model_ema.", AVERAGED)}},
    "lit_ema": {
        "state_dict": {
            **below("model.", RAW),
            **below("model_ema.", flat(AVERAGED, "")),
            "model_ema.decay": torch.tensor(0.9),
            "model_ema.num_updates": torch.tensor(9),
        }
    },
    "mmcv": {"state_dict": {**AVERAGED, **below("ema_", flat(RAW, "_"))}, "meta": {"epoch": 3}},
    "mmengine": {
        "state_dict": AVERAGED,
        "ema_state_dict": {**below("module.", RAW), "steps": torch.tensor(9)},
        "message_hub": {"runtime_info": {"epoch": 3}},
    },
    "lightning": {"state_dict": AVERAGED, "current_model_state": RAW, "averaging_state": {"n_averaged": 9}},
}


def read(tmp_path: Path, content: Any, which: Any = None) -> Any:
    torch.save(content, tmp_path / "w.pth")
    return read_weights(tmp_path / "w.pth", which)


def values(tensors: Tensors) -> list[list[float]]:
    return [tensors[next(n for n in tensors if n.endswith(name))].tolist() for name in NAMES]


@pytest.mark.parametrize("trainer", SPELLINGS)
def test_every_trainers_averaged_and_raw_weights_are_told_apart(tmp_path: Path, trainer: str) -> None:
    for which, expected in ((None, AVERAGED), ("ema", AVERAGED), ("model", RAW)):
        weights = read(tmp_path, SPELLINGS[trainer], which)
        assert len(weights.tensors) == len(NAMES)
        assert values(weights.tensors) == values(expected), which
        assert len(weights.left_out) == len(NAMES)
        kind, other = ("raw", "averaged") if which == "model" else ("averaged", "raw")
        assert weights.notes[0].startswith(f"{kind} weights taken")
        assert f"3 {other} ones left out" in weights.notes[0]
        assert f"which={'ema' if which == 'model' else 'model'} takes them" in weights.notes[0]


@pytest.mark.parametrize("trainer", ["timm", "prefix", "mmcv", "mmengine"])
def test_what_has_no_average_keeps_its_value(tmp_path: Path, trainer: str) -> None:
    """Hooks that average parameters alone leave the statistics of BatchNorm where they are."""
    buffer = "backbone.bn.running_mean"
    content = {key: dict(value) if isinstance(value, dict) else value for key, value in SPELLINGS[trainer].items()}
    content["state_dict"]["model." * (trainer == "prefix") + buffer] = torch.tensor([7.0])
    for which in ("ema", "model"):
        weights = read(tmp_path, content, which)
        assert next(t for n, t in weights.tensors.items() if n.endswith(buffer)).tolist() == [7.0]
        assert len(weights.left_out) == len(NAMES)


def test_weights_of_one_kind_are_taken_and_the_other_kind_is_refused(tmp_path: Path) -> None:
    assert values(read(tmp_path, {"state_dict_ema": AVERAGED, "epoch": 3}).tensors) == values(AVERAGED)
    assert values(read(tmp_path, {"model": RAW}, "model").tensors) == values(RAW)
    with pytest.raises(CheckpointError) as refused:
        read(tmp_path, {"state_dict_ema": AVERAGED, "epoch": 3}, "model")
    assert_one_line(refused, "w.pth", "averaged weights alone (state_dict_ema)", "which=model")
    for content in (RAW, {"model": RAW, "optimizer": {}}):
        with pytest.raises(CheckpointError) as refused:
            read(tmp_path, content, "ema")
        assert_one_line(refused, "w.pth", "holds no averaged weights", "which=ema")


@pytest.mark.parametrize(
    "averaged", [{**AVERAGED, "other": torch.ones(2)}, {**AVERAGED, NAMES[0]: torch.ones(3)}, {"other": torch.ones(2)}]
)
def test_averages_of_another_model_are_refused_not_mixed(tmp_path: Path, averaged: Tensors) -> None:
    with pytest.raises(CheckpointError) as refused:
        read(tmp_path, {"model": RAW, "model_ema": averaged})
    assert_one_line(refused, "averaged and raw weights disagree")


def test_other_entries_of_a_training_state_are_named(tmp_path: Path) -> None:
    (note,) = read(tmp_path, {"model": RAW, "optimizer": {}, "epoch": 3}).notes
    assert note == "other entries of the file, left out: optimizer, epoch"


WRITERS: dict[str, Callable[[Tensors, Path], Any]] = {
    "w.safetensors": lambda w, p: save_file(w, p),
    "w.npz": lambda w, p: np.savez(p, **{name: tensor.numpy() for name, tensor in w.items()}),  # type: ignore[arg-type]
}


@pytest.mark.parametrize("name", WRITERS)
def test_files_of_names_and_tensors_are_looked_through_too(tmp_path: Path, name: str) -> None:
    WRITERS[name]({**below("params/", flat(RAW, "/")), **below("ema_params/", flat(AVERAGED, "/"))}, tmp_path / name)
    for which, expected in (("ema", AVERAGED), ("model", RAW)):
        weights = read_weights(tmp_path / name, which)  # type: ignore[arg-type]
        assert {name: t.tolist() for name, t in weights.tensors.items()} == {
            name: t.tolist() for name, t in flat(expected, "/").items()
        }
