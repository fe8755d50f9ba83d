"""What tests of exported files share: tiny models with their records, and exports without shape checks.

torch traces a model with symbols in place of sizes, which are no ``int`` to beartype.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jaxtyping
import onnx
import torch
from torch import nn

from tubelet.export.config import ExportConfig
from tubelet.export.export import Exported, export_model
from tubelet.models import create_model, model_config
from tubelet.protocol import Protocol
from tubelet.weights.checkpoint.checkpoint import Record
from tubelet.weights.exported.module import ExportedModel
from tubelet.weights.open_checkpoint import open_checkpoint

LABELS = ("open", 'say "no"', "two\nlines", "naïve \\ <b>&", "shut")
_SHAPE = {"embed_dim": 24, "depth": 1, "num_heads": 2, "num_classes": 5, "num_frames": 4, "image_size": [16, 16]}
_TUBELETS = {**_SHAPE, "tubelet_size": [2, 8, 8]}
_PATCHES = {**_SHAPE, "patch_size": 8}
_OVER_TIME = {"num_classes": 5, "num_frames": 4, "image_size": [16, 16], "hidden_dim": 16, "depth": 2, "head_dim": 8}

# One tiny model of each family, and further variants; names here are those of pytest's cases.
TINY: dict[str, tuple[str, dict[str, Any]]] = {
    "vivit": ("vivit_ti16x2_fe", {**_TUBELETS, "temporal_depth": 1}),
    "timesformer": ("timesformer_ti16_divided", _PATCHES),
    "uniformerv2": ("uniformerv2_ti16_ssv2", {**_PATCHES, "global_layers": 1}),
    "vtn": (
        "vtn_deit_ti16",
        {**_OVER_TIME, "backbone_fields": {"patch_size": 8, "embed_dim": 24, "depth": 1, "num_heads": 2}},
    ),
    "videomae": ("videomae_s16", _TUBELETS),
    "vjepa2": ("vjepa2_l16_256", {**_TUBELETS, "pooler_num_heads": 2, "pooler_depth": 1}),
    "videoprism": ("videoprism_b18", {**_PATCHES, "temporal_depth": 1}),
}
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "vivit_joint": ("vivit_ti16x2_joint", _TUBELETS),
    "vivit_fsa": ("vivit_ti16x2_fsa", _TUBELETS),
    "vivit_fdp": ("vivit_ti16x2_fdp", _TUBELETS),
    "vivit_avgpool": ("vivit_ti16x2_avgpool", _TUBELETS),
    "vivit_sampled": ("vivit_ti16x2_joint", {**_TUBELETS, "tubelet_size": [1, 8, 8], "num_sampled_frames": 2}),
    "vivit_rest_dropped": ("vivit_ti16x2_joint", {**_TUBELETS, "remainder": "drop"}),
    "timesformer_joint": ("timesformer_ti16_joint", _PATCHES),
    "timesformer_space": ("timesformer_ti16_space", _PATCHES),
    "uniformerv2_image": ("uniformerv2_ti16", {**_PATCHES, "depth": 2, "global_layers": 2}),
    "vtn_resnet": ("vtn_r50", {**_OVER_TIME, "backbone": "resnet10t", "image_size": [32, 32]}),
    "videomae_interpolated": ("videomae_s16", {**_TUBELETS, "other_grid": "interpolated"}),
    "vjepa2_segments": (
        "vjepa2_l16_256",
        {**_TUBELETS, "depth": 2, "pooler_num_heads": 2, "pooler_depth": 1, "num_segments": 2, "out_layers": [0, 1]},
    ),
    "videoprism_text": ("videoprism_lvt_b18", {**_PATCHES, "temporal_depth": 1, "auxiliary_depth": 1}),
}


def tiny(case: str) -> tuple[nn.Module, Record]:
    """A model in eval mode whose values are all random, and its record."""
    name, fields = {**TINY, **VARIANTS}[case]
    torch.manual_seed(0)
    model = create_model(name, **fields).eval()
    for parameter in model.parameters():  # what starts at zero would hide what stands behind it
        if not parameter.any():
            nn.init.normal_(parameter, std=0.3)
    config = model_config(name, fields)
    size = tuple(config.image_size)
    protocol = Protocol(
        num_frames=config.num_frames,
        crop_size=size,
        resize_short_side=max(size),
        num_temporal_views=1,
        num_spatial_crops=1,
        labels={"label": LABELS},
    )
    provenance = {"license": "cc-by-4.0", "source": 'a "test"\nof two lines'}
    fields = dataclasses.asdict(config)
    return model, Record(model_name=name, model_config=fields, protocol=protocol, provenance=provenance)


@contextmanager
def unchecked_shapes() -> Iterator[None]:
    logging.getLogger("torch.__trace").setLevel(logging.ERROR)  # torch collects traces where a root logger takes all
    jaxtyping.config.update("jaxtyping_disable", True)
    try:
        yield
    finally:
        jaxtyping.config.update("jaxtyping_disable", False)


def export(model: nn.Module, record: Record, path: Path, clips: tuple[Path, ...] = (), **fields: Any) -> Exported:
    with unchecked_shapes():
        return export_model(model, record, path, ExportConfig(**fields), clips=clips)


def opened(path: Path) -> ExportedModel:
    model, _ = open_checkpoint(path)
    assert isinstance(model, ExportedModel)
    return model


def inputs_of(model: nn.Module, batch: int, frames: int, size: tuple[int, int]) -> tuple[torch.Tensor, ...]:
    clip = torch.randn(batch, 3, frames, *size)
    if not getattr(model, "takes_frame_numbers", False):
        return (clip,)
    return clip, 3 * torch.arange(frames).repeat(batch, 1)


@torch.inference_mode()
def difference(model: nn.Module, exported: nn.Module, batch: int, frames: int, size: tuple[int, int]) -> float:
    """max |logits of the file - those of torch| / max |those of torch|."""
    inputs = inputs_of(model, batch, frames, size)
    logits = model(*inputs)
    return float((exported(*inputs) - logits).abs().max() / logits.abs().max())


def traced_before(onnx_file: Path) -> Callable[..., Any]:
    """In place of a trace, the graph of a file that has been traced already."""

    def graph(*asked: object) -> Any:
        found = onnx.load(onnx_file)
        del found.metadata_props[:]
        return found

    return graph
