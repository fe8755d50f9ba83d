"""Position tables of another size, which other runtimes resize differently, have torch's values in the file."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from exported_models import export, opened, tiny
from torch import nn

from tubelet.models import create_model
from tubelet.weights.checkpoint.checkpoint import Record

SHAPE = {"num_classes": 5, "num_frames": 4, "image_size": [224, 224], "embed_dim": 24, "depth": 1, "num_heads": 2}


def made_for_224(name: str, **fields: int) -> tuple[nn.Module, Record]:
    """A model for 224 pixels whose positions weigh much, and a record of clips of 64."""
    torch.manual_seed(0)
    model = create_model(name, **SHAPE, **fields).eval()
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.5)
    _, record = tiny("vivit")
    return model, Record(model_name=name, model_config={**SHAPE, **fields}, protocol=record.protocol)


def test_the_nearest_table_of_timesformer_at_64_pixels_in_onnx_runtime(tmp_path: Path) -> None:
    model, record = made_for_224("timesformer_ti16_divided")
    export(model, record, tmp_path / "model.onnx", sizes=((64, 64),))
    assert largest_difference(model, tmp_path / "model.onnx") < 1e-5


def test_the_bicubic_table_of_uniformerv2_at_64_pixels_in_openvino(tmp_path: Path) -> None:
    """Opened without options, it computes in fp32 where the processor has bf16 too."""
    pytest.importorskip("openvino")
    model, record = made_for_224("uniformerv2_ti16", global_layers=1)
    export(model, record, tmp_path / "model.xml", format="openvino", sizes=((64, 64),))
    assert largest_difference(model, tmp_path / "model.xml") < 1e-5


@torch.inference_mode()
def largest_difference(model: nn.Module, path: Path) -> float:
    file, found = opened(path), []
    for batch, frames in ((1, 1), (2, 4), (3, 7)):
        clip = torch.randn(batch, 3, frames, 64, 64)
        logits = model(clip)
        found.append(float((file(clip) - logits).abs().max() / logits.abs().max()))
    return max(found)
