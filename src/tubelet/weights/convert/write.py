"""A tubelet model in the formats of others: a folder that ``transformers`` loads, or scenic's parameters as ``.npz``.

Each writer gives back what the format cannot hold, one line each, and leaves nothing half-written.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.torch import save_file
from torch import nn

from tubelet import __version__
from tubelet.config import dump_yaml
from tubelet.errors import CheckpointError
from tubelet.files import written_atomically
from tubelet.models.timesformer import huggingface as huggingface_timesformer
from tubelet.models.timesformer.model import TimeSformer
from tubelet.models.vivit.config import ViViTConfig
from tubelet.models.vivit.huggingface import CONFIG, to_huggingface
from tubelet.models.vivit.model import ViViTJoint
from tubelet.models.vivit.weights import to_scenic
from tubelet.weights.checkpoint.checkpoint import Record
from tubelet.weights.mapping.huggingface_protocol import PREPROCESSOR, write_preprocessor

_ACTIVATION = {"gelu_tanh": "gelu_fast", "gelu": "gelu"}


def write_huggingface(model: nn.Module, record: Record, out: Path) -> list[str]:
    """``config.json``, ``model.safetensors`` and ``preprocessor_config.json`` of a VivitForVideoClassification,
    or of a TimesformerForVideoClassification, and a ``README.md`` that names the license.

    Raises:
        CheckpointError: a model or a protocol that HuggingFace has not.
    """
    if len(record.protocol.labels) > 1 or record.protocol.multi_label:
        raise CheckpointError(
            "HuggingFace's video classifiers have one softmax over all classes, not several heads or several labels "
            "per video"
        )
    if isinstance(model, TimeSformer):
        config, processor, left_behind = huggingface_timesformer.huggingface_folder(model, record)
        state = huggingface_timesformer.to_huggingface(model, record.protocol.channel_order)
    else:
        config, processor, left_behind = huggingface_config(model, record), write_preprocessor(record.protocol), []
        state = to_huggingface(model)
    files = {CONFIG: config, PREPROCESSOR: processor}
    card = _card(record)
    new = out.with_name(f".{out.name}.new")
    shutil.rmtree(new, ignore_errors=True)
    try:
        new.mkdir(parents=True)
        for name, content in files.items():
            (new / name).write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        (new / "README.md").write_text(card, encoding="utf-8")
        save_file(state, new / "model.safetensors", metadata={"format": "pt"})  # transformers asks for the metadata
        new.rename(out)
    except BaseException:
        shutil.rmtree(new, ignore_errors=True)
        raise
    p = record.protocol
    every = f"frame_stride {p.frame_stride}" if p.frame_stride else f"{p.target_fps} frames per second"
    sampling = every if p.sampling == "dense" else f"{p.sampling} sampling"
    return [
        *left_behind,
        f"HuggingFace's files hold no sampling and no views: choose the frames yourself ({sampling}, {p.num_frames} "
        f"frames) and average {p.views_text} views to get the same answers",
    ]


def _card(record: Record) -> str:
    """``README.md`` with the front matter that the hub, and a conversion back, read the license from."""
    front = {"library_name": "transformers", "pipeline_tag": "video-classification"}
    if record.license:
        front["license"] = record.license
    told = record.license or "unknown; find it out before you share these weights"
    text = f"{record.model_name}, {len(record.labels)} classes, written by tubelet {__version__}. License: {told}.\n"
    return f"---\n{dump_yaml(front)}---\n\n{text}"


def huggingface_config(model: nn.Module, record: Record) -> dict[str, Any]:
    """The content of ``config.json``.

    Raises:
        CheckpointError: HuggingFace has no such model.
    """
    if not isinstance(model, ViViTJoint):
        raise CheckpointError(
            f"HuggingFace has TimeSformer, and of ViViT Model 1 only (vivit_*_joint), not {record.model_name}"
        )
    config: ViViTConfig = model.config
    for field, value in {"global_pool": "token", "representation_size": None, "num_sampled_frames": None}.items():
        if getattr(config, field) != value:
            raise CheckpointError(f"HuggingFace's ViViT has no {field}={getattr(config, field)}, only {value}")
    if config.tubelet_frames == "averaged":
        raise CheckpointError("HuggingFace's ViViT has no tubelet_frames=averaged, only kernels over time")
    if config.image_size[0] != config.image_size[1]:
        size: int | list[int] = list(config.image_size)
    else:
        size = config.image_size[0]
    return {
        "architectures": ["VivitForVideoClassification"],
        "model_type": "vivit",
        "num_channels": config.in_channels,
        "num_frames": config.num_frames,
        "image_size": size,
        "tubelet_size": list(config.tubelet_size),
        "hidden_size": config.embed_dim,
        "num_hidden_layers": config.depth,
        "num_attention_heads": config.num_heads,
        "intermediate_size": round(config.embed_dim * config.mlp_ratio),
        "hidden_act": _ACTIVATION[config.activation],
        "qkv_bias": config.qkv_bias,
        "layer_norm_eps": config.norm_eps,
        "hidden_dropout_prob": config.drop_rate,
        "attention_probs_dropout_prob": config.attn_drop_rate,
        "id2label": {str(i): name for i, name in enumerate(record.labels)},
        "label2id": {name: i for i, name in enumerate(record.labels)},
    }


def write_scenic(model: nn.Module, record: Record, out: Path) -> list[str]:
    """Scenic's parameters under its names joined by "/", as ``.npz``.

    Raises:
        CheckpointError: scenic has no such model, or ``out`` does not end in .npz.
    """
    if out.suffix != ".npz":
        raise CheckpointError(f"{out}: scenic's parameters are written as .npz; let OUT end so")
    try:
        state = to_scenic(model)
    except TypeError as error:
        raise CheckpointError(str(error)) from None
    out.parent.mkdir(parents=True, exist_ok=True)
    with written_atomically(out) as new, new.open("wb") as stream:
        arrays = {name: tensor.numpy() for name, tensor in state.items()}
        np.savez(stream, **arrays)  # type: ignore[arg-type]  # numpy's stub takes names for its own options
    return [f"an .npz holds weights only: {len(record.labels)} labels and the protocol stay behind"]
