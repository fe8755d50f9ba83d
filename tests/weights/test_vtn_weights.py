"""A checkpoint of the official VTN becomes a folder with its protocol; what does not fit is named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tubelet.errors import CheckpointError
from tubelet.models import create_model
from tubelet.models.vtn.weights import convert, to_official
from tubelet.weights.convert.sources import record_of
from tubelet.weights.mapping.converter import ConvertOptions

SMALL: dict[str, Any] = {
    "name": "vtn_deit_ti16",
    "image_size": (32, 32),
    "backbone_fields": {"depth": 1},
    "num_heads": 3,
    "attention_window": (8,),
}


@pytest.fixture
def published(tmp_path: Path) -> tuple[Path, dict[str, Tensor]]:
    """What PySlowFast's trainer writes, with the extra buffer of 2021."""
    torch.manual_seed(0)
    fields = {key: value for key, value in SMALL.items() if key != "name"}
    model = create_model("vtn_deit_ti16", num_classes=7, depth=2, **fields)
    state = to_official(model) | {"temporal_encoder.embeddings.position_ids": torch.arange(288)[None]}
    path = tmp_path / "checkpoint_epoch_00025.pyth"
    torch.save({"epoch": 24, "model_state": state, "optimizer_state": {"step": 3}, "cfg": "MODEL: x"}, path)
    return path, state


def options(**changes: Any) -> ConvertOptions:
    return ConvertOptions(model={**SMALL, **changes})


def test_a_training_checkpoint_becomes_a_model_with_the_released_protocol(
    published: tuple[Path, dict[str, Tensor]],
) -> None:
    path, state = published
    converted = convert(path, options())
    config, protocol = converted.model.config, record_of(converted).protocol
    assert (config.num_classes, config.depth, config.num_positions) == (7, 2, 288)  # type: ignore[union-attr]
    assert (protocol.num_frames, protocol.target_fps, protocol.mean[0]) == (250, 25.0, 0.45)
    assert protocol.labels == {"label": tuple(map(str, range(7)))}
    assert set(converted.report.dropped) == {"temporal_encoder.embeddings.position_ids"}
    back = to_official(converted.model)
    assert all(back[name].equal(tensor) for name, tensor in state.items() if name in back)
    assert len(back) == len(state) - 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("cls_token"), "holds no official VTN: there is no 'cls_token'"),
        (lambda s: s.pop("mlp_head.0.bias"), "head.0.bias needs mlp_head.0.bias, which the source lacks"),
        (lambda s: s.update(extra=torch.zeros(2)), "extra (2,) is not used"),
        (
            lambda s: s["mlp_head.4.weight"].__setitem__((0, 0), torch.nan),
            "mlp_head.4.weight holds values that are not finite",
        ),
    ],
    ids=["no VTN", "missing", "extra", "nan"],
)
def test_what_does_not_fit_is_named(published: tuple[Path, dict[str, Tensor]], change: Any, message: str) -> None:
    path, state = published
    change(state)
    torch.save({"model_state": state}, path)
    with pytest.raises(CheckpointError) as refused:
        convert(path, options())
    assert message in str(refused.value)
    assert str(path) in str(refused.value)


def test_an_unknown_backbone_must_be_named(published: tuple[Path, dict[str, Tensor]]) -> None:
    path, state = published
    wide = {name: torch.zeros(*t.shape[:-1], 100) if name == "cls_token" else t for name, t in state.items()}
    torch.save({"model_state": wide}, path)
    with pytest.raises(CheckpointError, match=r"its backbone of width 100 is none that is known"):
        convert(path, ConvertOptions())
