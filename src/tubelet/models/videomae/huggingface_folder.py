"""A tubelet VideoMAE as a folder that ``transformers`` loads: classifiers, and encoders of pre-trained models."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from tubelet.errors import CheckpointError
from tubelet.models.videomae.config import VideoMAEConfig
from tubelet.models.videomae.huggingface import HEAD_NORM_EPS, MODEL_TYPE, huggingface_rules
from tubelet.models.videomae.model import VideoMAE
from tubelet.models.videomae.preprocessor import write_preprocessor
from tubelet.protocol import Protocol
from tubelet.weights.mapping.converter import HuggingFaceFolder
from tubelet.weights.mapping.rules import map_back

_ACTIVATION_NAMES = {"gelu": "gelu", "gelu_tanh": "gelu_pytorch_tanh"}


def to_huggingface(model: nn.Module, names: Mapping[str, Tensor] | None = None) -> dict[str, Tensor]:
    """HuggingFace's tensors from a tubelet VideoMAE or its pre-training model.

    Args:
        names: tensors whose names tell the generation; None means the hub's (``q_bias``), which every version reads.
    """
    return map_back(model.state_dict(), huggingface_rules(names or {"videomae.": next(model.parameters())}))


def huggingface_folder(model: nn.Module, protocol: Protocol) -> HuggingFaceFolder:
    """The files of a VideoMAEForVideoClassification, or of a VideoMAEModel where there are no classes.

    Raises:
        CheckpointError: HuggingFace has no such model, or no such protocol.
    """
    assert isinstance(model, VideoMAE)
    config, labels = model.config, [name for names in protocol.labels.values() for name in names]
    notes = []
    if config.num_classes and config.final_norm == "pooled" and config.head_norm_eps != HEAD_NORM_EPS:
        notes.append(
            f"HuggingFace's LayerNorm behind the pooling has epsilon {HEAD_NORM_EPS:g}, this model's has "
            f"{config.head_norm_eps:g}: logits differ in the sixth digit"
        )
    for field in ("drop_path_rate", "head_drop_rate"):
        if value := getattr(config, field):
            notes.append(f"{field} {value:g} stays behind, which only training uses: HuggingFace has no such field")
    return HuggingFaceFolder(
        config=huggingface_config(config, labels),
        preprocessor=write_preprocessor(protocol),
        tensors=to_huggingface(model),
        notes=notes,
    )


def huggingface_config(config: VideoMAEConfig, labels: Sequence[str]) -> dict[str, Any]:
    """The content of ``config.json``.

    Raises:
        CheckpointError: HuggingFace has no model with these fields.
    """
    _check(config)
    t, height, width = config.tubelet_size
    return {
        "architectures": ["VideoMAEForVideoClassification" if config.num_classes else "VideoMAEModel"],
        "model_type": MODEL_TYPE,
        "num_channels": config.in_channels,
        "num_frames": config.num_frames,
        "image_size": _one_or_two(config.image_size),
        "patch_size": _one_or_two((height, width)),
        "tubelet_size": t,
        "hidden_size": config.embed_dim,
        "num_hidden_layers": config.depth,
        "num_attention_heads": config.num_heads,
        "intermediate_size": round(config.embed_dim * config.mlp_ratio),
        "hidden_act": _ACTIVATION_NAMES[config.activation],
        "qkv_bias": config.qkv_bias,
        "use_mean_pooling": config.final_norm == "pooled",
        "layer_norm_eps": config.norm_eps,
        "hidden_dropout_prob": config.drop_rate,
        "attention_probs_dropout_prob": config.attn_drop_rate,
        "id2label": {str(i): name for i, name in enumerate(labels)},
        "label2id": {name: i for i, name in enumerate(labels)},
    }


def _check(config: VideoMAEConfig) -> None:
    refused = []
    if config.num_classes and (config.global_pool, config.final_norm) == ("avg", "tokens"):
        refused.append("a mean of normalized tokens (global_pool=avg with final_norm=tokens)")
    if not config.num_classes and config.final_norm == "pooled":
        refused.append("a norm behind the pooling without a classifier (num_classes=0 with final_norm=pooled)")
    default = {field.name: field.default for field in dataclasses.fields(config)}
    for field in ("other_grid", "remainder"):
        if getattr(config, field) != default[field]:
            refused.append(f"{field}={getattr(config, field)}")
    if refused:
        raise CheckpointError(f"HuggingFace's VideoMAE has no {' and no '.join(refused)}")


def _one_or_two(size: tuple[int, int]) -> int | list[int]:
    return size[0] if size[0] == size[1] else list(size)
