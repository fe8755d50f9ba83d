"""transformers' OpenVINO exporter on the weights of our models: the peer that exported files are compared with.

It serves ``export.py``. transformers has ViViT's Model 1, TimeSformer with divided attention and VideoMAE; the other
models have no peer there. Its files take clips [B, T, C, H, W] of one size, which is how they are fastest.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import openvino
import torch
from huggingface_timesformer import timesformer_twin
from huggingface_vivit import huggingface_twin
from torch import Tensor, nn
from transformers import VideoMAEConfig, VideoMAEForVideoClassification
from transformers.exporters.exporter_openvino import OpenVINOConfig, OpenVINOExporter

from tubelet.models.videomae.huggingface_folder import huggingface_config, to_huggingface

HINT = "INFERENCE_PRECISION_HINT"


def videomae_twin(model: nn.Module) -> nn.Module:
    config: Any = model.config
    fields = huggingface_config(config, [str(i) for i in range(config.num_classes)])
    twin = VideoMAEForVideoClassification(VideoMAEConfig(**fields))
    twin.load_state_dict(to_huggingface(model, twin.state_dict()))
    return twin.eval()


TWINS: dict[str, Callable[[Any], nn.Module]] = {
    "vivit_b16x2_joint": huggingface_twin,
    "vivit_ti16x2_joint": huggingface_twin,
    "timesformer_b16_divided": timesformer_twin,
    "timesformer_ti16_divided": timesformer_twin,
    "videomae_b16": videomae_twin,
    "videomae_s16": videomae_twin,
}


def peer(name: str, model: nn.Module, clip: Tensor, folder: Path) -> Callable[[], Any] | None:
    """What scores ``clip`` ``[B, C, T, H, W]`` with the peer's file, in fp32; None where it has no such model."""
    if name not in TWINS:
        return None
    pixels = clip.transpose(1, 2).contiguous()  # B T C H W
    with torch.inference_mode(mode=False):
        exporter = OpenVINOExporter()
        exported = exporter.export(TWINS[name](model), {"pixel_values": pixels.clone()}, config=OpenVINOConfig())
    file = folder / "peer.xml"
    openvino.save_model(exported.program, str(file), compress_to_fp16=False)
    options = {"INFERENCE_NUM_THREADS": torch.get_num_threads(), HINT: "f32"}
    compiled = openvino.Core().compile_model(str(file), "CPU", options)
    array = pixels.numpy()
    return lambda: compiled([array])[0].copy()
