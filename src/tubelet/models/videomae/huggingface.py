"""HuggingFace's VideoMAE for tubelet's: names of the tensors and ``config.json``.

Source: transformers 5.24.0 (Apache-2.0), ``models/videomae``. With the same weights its logits are the official
code's but for LayerNorm's epsilon: 1e-12 in its blocks and 1e-5 behind the pooling, where the original has 1e-6.

Files on the hub call the biases ``q_bias`` and ``v_bias``; transformers 5 calls them ``query.bias`` and
``value.bias``, reads both and writes the old names. Both are read here.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tubelet import config as config_io
from tubelet.errors import CheckpointError, ConfigError
from tubelet.models.family import config_of, create, nearest_name
from tubelet.models.videomae.config import VideoMAEConfig
from tubelet.models.videomae.model import VideoMAE
from tubelet.models.videomae.preprocessor import read_protocol
from tubelet.models.videomae.recognize import HEADS, license_facts, pooling_of, refuse_layers
from tubelet.models.videomae.variants import MODELS
from tubelet.models.videomae.weights import DECODER, TOKEN, both
from tubelet.weights.mapping.converter import (
    Converted,
    ConvertOptions,
    Mapped,
    as_converted,
    refuse_model_fields,
)
from tubelet.weights.mapping.huggingface import CONFIG, labels_of, license_of, read_config
from tubelet.weights.mapping.read import read_weights
from tubelet.weights.mapping.rules import MappingReport, Rule, map_weights, stacked

MODEL_TYPE = "videomae"
HEAD_NORM_EPS = 1e-5  # of fc_norm and of the decoder's norm, whatever the config says
ACTIVATIONS = {"gelu": "gelu", "gelu_python": "gelu", "gelu_new": "gelu_tanh", "gelu_pytorch_tanh": "gelu_tanh"}
# Our name of a block's layer -> HuggingFace's.
_LAYERS = {
    "norm1": "layernorm_before",
    "attn.proj": "attention.output.dense",
    "norm2": "layernorm_after",
    "mlp.fc1": "intermediate.dense",
    "mlp.fc2": "output.dense",
}
_NO_NORM = {r"fc_norm\..*": "the source has no norm behind its last block"}


def convert(path: Path, options: ConvertOptions) -> Converted:
    """A folder with ``config.json`` and weights, as ``save_pretrained`` writes it and the hub holds it. Without a
    classifier (a pre-trained model) it becomes an encoder without classes.

    Raises:
        CheckpointError: no such folder, another model, or weights that do not fit strictly.
    """
    content = read_config(path, [MODEL_TYPE])
    weights = read_weights(path, options.which)
    source, notes = weights.tensors, list[str]()
    fields = videomae_fields(content, source, path, notes)
    refuse_model_fields(options)
    name = options.model.get("name") or nearest_name(MODELS, VideoMAE, fields)
    if name not in MODELS:
        raise ConfigError(f"--model.name {name}: the folder holds a VideoMAE ({', '.join(MODELS)})")
    model = create(MODELS, name, fields)
    try:
        refuse_layers(source)
        state, report = from_huggingface(source, model)
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from None
    config = config_of(MODELS, name, fields)
    protocol, protocol_notes = read_protocol(path, config)
    facts = {
        "source": "huggingface",
        **license_facts(config),
        "original": f"transformers {'VideoMAEForVideoClassification' if config.num_classes else 'VideoMAEModel'}",
        "license": license_of(path),
    }
    lines = {"model_notes": notes, "protocol_notes": protocol_notes}
    mapped = Mapped(name, model, state, report)
    of_file = labels_of(content, path) if config.num_classes else None
    return as_converted(mapped, weights, options, protocol, facts, lines, of_file)


def from_huggingface(source: Mapping[str, Tensor], model: nn.Module) -> tuple[dict[str, Tensor], MappingReport]:
    """The state dict of a tubelet VideoMAE, or of its pre-training model, whichever names the biases have.

    Raises:
        CheckpointError: any tensor is missing, left over, not finite or of another shape.
    """
    dropped = {} if hasattr(model, "decoder") else DECODER
    has_norm = any(name in source for name in ("fc_norm.weight", "videomae.layernorm.weight", "layernorm.weight"))
    return map_weights(source, model, huggingface_rules(source), dropped, None if has_norm else _NO_NORM)


def huggingface_rules(source: Mapping[str, Tensor]) -> list[Rule]:
    """The rules for the names that ``source`` has: with or without ``videomae.``, of either generation."""
    prefix = "videomae." if any(name.startswith("videomae.") for name in source) else ""
    is_new = any(name.endswith(".attention.query.bias") for name in source)
    return [
        *both("encoder.tokenizer.proj", f"{prefix}embeddings.patch_embeddings.projection"),
        *block_rules("encoder.blocks.{i}", f"{prefix}encoder.layer.{{i}}", is_new),
        *both("encoder.norm", f"{prefix}layernorm"),
        *both("fc_norm", "fc_norm"),
        *both("head", "classifier"),
        Rule("encoder_to_decoder.weight", ("encoder_to_decoder.weight",)),
        Rule("mask_token", ("mask_token",), TOKEN),
        *block_rules("decoder.blocks.{i}", "decoder.decoder_layers.{i}", is_new),
        *both("decoder.norm", "decoder.norm"),
        *both("decoder.head", "decoder.head"),
    ]


def block_rules(target: str, layer: str, is_new: bool) -> list[Rule]:
    attention = f"{layer}.attention.attention"
    weights = tuple(f"{attention}.{name}.weight" for name in ("query", "key", "value"))
    names = {"q": "query.bias", "v": "value.bias"} if is_new else {"q": "q_bias", "v": "v_bias"}
    return [
        Rule(f"{target}.attn.qkv.weight", weights, stacked(3)),
        *(Rule(f"{target}.attn.qkv.{x}_bias", (f"{attention}.{name}",)) for x, name in names.items()),
        *(rule for ours, theirs in _LAYERS.items() for rule in both(f"{target}.{ours}", f"{layer}.{theirs}")),
    ]


def videomae_fields(
    content: Mapping[str, Any], source: Mapping[str, Tensor], path: Path, notes: list[str]
) -> dict[str, Any]:
    """The fields of a ``VideoMAEConfig``; what the file leaves out has HuggingFace's defaults. ``notes`` gets what a
    user should know.

    Raises:
        CheckpointError: the file does not describe a VideoMAE.
    """
    act = content.get("hidden_act", "gelu")
    if act not in ACTIVATIONS:
        raise CheckpointError(f"{path / CONFIG}: hidden_act is {act!r}; expected one of {', '.join(ACTIVATIONS)}")
    size, patch = content.get("image_size", 224), content.get("patch_size", 16)
    try:
        width = int(content.get("hidden_size", 768))
        num_classes = len(source["classifier.weight"]) if "classifier.weight" in source else 0
        pooling = _pooling(content, source, num_classes, notes)
        fields = {
            "num_classes": num_classes,
            "in_channels": content.get("num_channels", 3),
            "num_frames": content.get("num_frames", 16),
            "image_size": [size, size] if isinstance(size, int) else list(size),
            "tubelet_size": [content.get("tubelet_size", 2), *([patch, patch] if isinstance(patch, int) else patch)],
            "embed_dim": width,
            "depth": content.get("num_hidden_layers", 12),
            "num_heads": content.get("num_attention_heads", 12),
            "mlp_ratio": content.get("intermediate_size", 3072) / width,
            "qkv_bias": content.get("qv_bias", content.get("qkv_bias", True)),
            "activation": ACTIVATIONS[act],
            "norm_eps": float(content.get("layer_norm_eps", 1e-12)),
            "head_norm_eps": HEAD_NORM_EPS,
            **pooling,
            "drop_rate": float(content.get("hidden_dropout_prob", 0.0)),
            "attn_drop_rate": float(content.get("attention_probs_dropout_prob", 0.0)),
        }
        config_io.from_dict(VideoMAEConfig, fields, where=CONFIG)
    except (TypeError, ValueError, ZeroDivisionError, ConfigError) as error:
        raise CheckpointError(f"{path / CONFIG}: does not describe a VideoMAE ({error})") from None
    if (heads := HEADS.get(width)) not in (None, fields["num_heads"]):
        notes.append(
            f"{fields['num_heads']} heads, as {CONFIG} says; the released model of width {width} has {heads}, and no "
            "tensor shows it. The script that converted hub files wrote 16 for VideoMAE-S: if accuracy is poor, set "
            f"num_attention_heads to {heads} in {CONFIG}"
        )
    return fields


def _pooling(
    content: Mapping[str, Any], source: Mapping[str, Tensor], num_classes: int, notes: list[str]
) -> dict[str, str]:
    """By the tensors for an encoder; a classifier's config must agree with them, or the mapping refuses it."""
    if not num_classes:
        return pooling_of(any(name.endswith("layernorm.weight") for name in source), 0)
    pooling = pooling_of(not content.get("use_mean_pooling", True), num_classes)
    if pooling["global_pool"] == "first":
        notes.append(
            "use_mean_pooling is false: the classifier reads the first tubelet's token (there is no class token), as "
            "a fine-tuning with transformers from a pre-trained folder does; the published models take the mean"
        )
    return pooling


def original_logits(path: Path, clip: Tensor) -> tuple[Tensor, str] | None:
    """What ``transformers`` computes for a clip ``[B, T, C, H, W]``, and its version; None where it is missing. Of a
    pre-trained folder, the mean of the encoder's tokens; where no norm stands behind its last block, behind that of a
    fine-tuning, which starts at one and zero, as the converted model has it."""
    try:
        from transformers import VideoMAEForVideoClassification, VideoMAEModel, __version__
    except ImportError:
        return None
    has_classes = "classifier.weight" in read_weights(path).tensors
    kind = VideoMAEForVideoClassification if has_classes else VideoMAEModel
    model = kind.from_pretrained(path, local_files_only=True, trust_remote_code=False)
    model = model.float().eval()  # a folder saved in half precision is loaded in it
    with torch.inference_mode():
        output = model(clip)
    if has_classes:
        return output.logits, f"transformers {__version__}"
    mean = output.last_hidden_state.mean(1)  # B D
    if model.layernorm is None:
        mean = F.layer_norm(mean, mean.shape[-1:], eps=HEAD_NORM_EPS)
    return mean, f"transformers {__version__}"
