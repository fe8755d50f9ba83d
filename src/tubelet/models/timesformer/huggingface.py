"""TimeSformer as ``transformers`` keeps it, both ways: names of the tensors, ``config.json`` and preprocessing.

Source: transformers 5.23.0 (Apache-2.0), ``models/timesformer`` and ``models/videomae`` (whose processor its folders
name). With the same weights divided and joint attention give the official code's logits. Where HuggingFace differs:

- space-only attention: it keeps a row of logits per frame, ``[B T, K]``; the official code, and tubelet, average the
  frames' features before the norm;
- another frame count than the config's: its divided model runs and gives wrong logits; here T comes from the clip.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from tubelet import config as config_io
from tubelet.errors import CheckpointError, ConfigError
from tubelet.models.family import config_of, create, nearest_name
from tubelet.models.timesformer.config import TimeSformerConfig
from tubelet.models.timesformer.model import (
    TimeSformer,
    TimeSformerDivided,
    TimeSformerJoint,
    TimeSformerSpace,
)
from tubelet.models.timesformer.recognize import protocol_of
from tubelet.models.timesformer.variants import MODELS
from tubelet.models.timesformer.weights import TABLE, TOKEN
from tubelet.protocol import Protocol
from tubelet.weights.mapping.converter import (
    Converted,
    ConvertOptions,
    HuggingFaceFolder,
    Mapped,
    as_converted,
    refuse_model_fields,
)
from tubelet.weights.mapping.huggingface import (
    CONFIG,
    PREPROCESSOR,
    labels_of,
    license_of,
    read_config,
    read_json,
)
from tubelet.weights.mapping.processor import PLAIN_PROCESSOR, find_processor, processor_of, with_processor
from tubelet.weights.mapping.read import read_weights
from tubelet.weights.mapping.rules import SAME, MappingReport, Rule, map_back, map_weights

MODEL_TYPE = "timesformer"
_KERNEL = "timesformer.embeddings.patch_embeddings.projection.weight"
# Attention types by the name that both the official code and HuggingFace give them.
CLASSES: dict[str, type[TimeSformer]] = {
    "divided_space_time": TimeSformerDivided,
    "joint_space_time": TimeSformerJoint,
    "space_only": TimeSformerSpace,
}
_ACTIVATIONS = {"gelu": "gelu", "gelu_python": "gelu", "gelu_new": "gelu_tanh", "gelu_pytorch_tanh": "gelu_tanh"}
# Our name of a block's layer -> HuggingFace's.
_LAYERS = {
    "norm1": "layernorm_before",
    "attn.qkv": "attention.attention.qkv",
    "attn.proj": "attention.output.dense",
    "temporal_norm1": "temporal_layernorm",
    "temporal_attn.qkv": "temporal_attention.attention.qkv",
    "temporal_attn.proj": "temporal_attention.output.dense",
    "temporal_fc": "temporal_dense",
    "norm2": "layernorm_after",
    "mlp.fc1": "intermediate.dense",
    "mlp.fc2": "output.dense",
}


def convert(path: Path, options: ConvertOptions) -> Converted:
    """A folder with ``config.json`` and weights, as ``save_pretrained`` writes it and the hub holds it.

    Raises:
        CheckpointError: no such folder, another model, no classifier, or weights that do not fit strictly.
    """
    content = read_config(path, [MODEL_TYPE])
    weights = read_weights(path, options.which)
    source = weights.tensors
    if "classifier.weight" not in source:
        raise CheckpointError(
            f"{path}: has no classifier (architectures {content.get('architectures')}), so it cannot predict"
        )
    model_class, fields = timesformer_fields(content, path)
    fields["num_classes"] = len(source["classifier.weight"])
    refuse_model_fields(options)
    name = options.model.get("name") or nearest_name(MODELS, model_class, fields)
    if name not in MODELS or MODELS[name][0]() is not model_class:
        raise ConfigError(
            f"--model.name {name}: the folder holds {content.get('attention_type', 'divided_space_time')}"
        )
    model = create(MODELS, name, fields)
    state, report = from_huggingface(source, model)
    config = config_of(MODELS, name, fields)
    protocol, notes = read_processor(path, config)
    facts = {
        "source": "huggingface",
        "original": "transformers TimesformerForVideoClassification",
        "license": license_of(path),
    }
    lines = {"protocol_notes": notes}
    mapped = Mapped(name, model, state, report)
    return as_converted(mapped, weights, options, protocol, facts, lines, labels_of(content, path))


def from_huggingface(source: Mapping[str, Tensor], model: nn.Module) -> tuple[dict[str, Tensor], MappingReport]:
    """The state dict of a tubelet TimeSformer from HuggingFace's tensors, and the report of the mapping.

    Raises:
        CheckpointError: any tensor is missing, left over, not finite or of another shape.
    """
    return map_weights(source, model, huggingface_rules())


def to_huggingface(model: nn.Module, channel_order: str = "rgb") -> dict[str, Tensor]:
    """HuggingFace's tensors from a tubelet TimeSformer.

    Args:
        channel_order: of the frames that the model was trained on. HuggingFace's processor reads RGB: the patch kernel
            of a "bgr" model has its input channels turned around, which gives the same tokens for the same frames.

    Raises:
        CheckpointError: a model that HuggingFace does not have.
    """
    state = map_back(model.state_dict(), huggingface_rules())
    if channel_order == "bgr":
        state[_KERNEL] = state[_KERNEL].flip(1)
    return state


def huggingface_rules() -> list[Rule]:
    embeddings, layer = "timesformer.embeddings", "timesformer.encoder.layer.{i}"
    rules = [
        Rule("cls_token", (f"{embeddings}.cls_token",), TOKEN),
        Rule("pos_embed.table", (f"{embeddings}.position_embeddings",), TABLE),
        Rule("time_embed.table", (f"{embeddings}.time_embeddings",), TABLE),
    ]
    for kind in ("weight", "bias"):
        rules += [
            Rule(f"tokenizer.proj.{kind}", (f"{embeddings}.patch_embeddings.projection.{kind}",)),
            *(Rule(f"blocks.{{i}}.{ours}.{kind}", (f"{layer}.{theirs}.{kind}",)) for ours, theirs in _LAYERS.items()),
            Rule(f"norm.{kind}", (f"timesformer.layernorm.{kind}",), SAME),
            Rule(f"head.{kind}", (f"classifier.{kind}",), SAME),
        ]
    return rules


def timesformer_fields(content: Mapping[str, Any], path: Path) -> tuple[type[TimeSformer], dict[str, Any]]:
    """The class and the fields of a ``TimeSformerConfig`` but ``num_classes``; what the file leaves out has
    HuggingFace's defaults."""
    kind, act = content.get("attention_type", "divided_space_time"), content.get("hidden_act", "gelu")
    for key, value, known in (("attention_type", kind, CLASSES), ("hidden_act", act, _ACTIVATIONS)):
        if value not in known:
            raise CheckpointError(f"{path / CONFIG}: {key} is {value!r}; expected one of {', '.join(known)}")
    size, patch = content.get("image_size", 224), content.get("patch_size", 16)
    try:
        if not isinstance(patch, int):
            patch, other = patch
            if patch != other:
                raise ValueError(f"patches of {patch}x{other}, expected square ones")
        width = int(content.get("hidden_size", 768))
        fields = {
            "in_channels": content.get("num_channels", 3),
            "num_frames": content.get("num_frames", 8),
            "image_size": [size, size] if isinstance(size, int) else list(size),
            "patch_size": patch,
            "embed_dim": width,
            "depth": content.get("num_hidden_layers", 12),
            "num_heads": content.get("num_attention_heads", 12),
            "mlp_ratio": content.get("intermediate_size", 3072) / width,
            "qkv_bias": content.get("qkv_bias", True),
            "activation": _ACTIVATIONS[act],
            "norm_eps": content.get("layer_norm_eps", 1e-6),
            "drop_rate": float(content.get("hidden_dropout_prob", 0.0)),
            "attn_drop_rate": float(content.get("attention_probs_dropout_prob", 0.0)),
            "drop_path_rate": float(content.get("drop_path_rate", 0.0)),
            "remainder": "drop",  # as the original's convolution does, which has no padding
        }
        config_io.from_dict(TimeSformerConfig, fields, where=CONFIG)
    except (TypeError, ValueError, ZeroDivisionError, ConfigError) as error:
        raise CheckpointError(f"{path / CONFIG}: does not describe a TimeSformer ({error})") from None
    return CLASSES[kind], fields


def read_processor(path: Path, config: TimeSformerConfig) -> tuple[Protocol, list[str]]:
    """The protocol of the released models, with sizes and pixel range of the folder's processor (VideoMAE's).

    Raises:
        CheckpointError: a damaged file, or a preprocessing that a protocol cannot hold.
    """
    protocol, notes = protocol_of(config)
    file = find_processor(path)
    if file is None:
        return protocol, [*notes, f"no {PREPROCESSOR}: mean 0.45 and deviation 0.225, as TimeSformer was trained"]
    changed = with_processor(protocol, {**PLAIN_PROCESSOR, **read_json(file)}, file, "TimeSformer", notes)
    if protocol.channel_order == "bgr":
        notes.append("channel_order=rgb all the same: HuggingFace's processor reads RGB, its folder is followed")
    return dataclasses.replace(changed, channel_order="rgb"), notes


def huggingface_folder(model: nn.Module, protocol: Protocol) -> HuggingFaceFolder:
    """The files of a TimesformerForVideoClassification."""
    assert isinstance(model, TimeSformer)
    config, labels = model.config, [name for names in protocol.labels.values() for name in names]
    turned = slice(None, None, -1 if protocol.channel_order == "bgr" else 1)
    kind = next(name for name, model_class in CLASSES.items() if isinstance(model, model_class))
    height, width = config.image_size
    content = {
        "architectures": ["TimesformerForVideoClassification"],
        "model_type": MODEL_TYPE,
        "attention_type": kind,
        "num_channels": config.in_channels,
        "num_frames": config.num_frames,
        "image_size": height if height == width else [height, width],
        "patch_size": config.patch_size,
        "hidden_size": config.embed_dim,
        "num_hidden_layers": config.depth,
        "num_attention_heads": config.num_heads,
        "intermediate_size": round(config.embed_dim * config.mlp_ratio),
        "hidden_act": {"gelu": "gelu", "gelu_tanh": "gelu_pytorch_tanh"}[config.activation],
        "qkv_bias": config.qkv_bias,
        "layer_norm_eps": config.norm_eps,
        "hidden_dropout_prob": config.drop_rate,
        "attention_probs_dropout_prob": config.attn_drop_rate,
        # An integer in HuggingFace's config, which refuses the 0.1 that the models were trained with.
        "drop_path_rate": 0,
        "id2label": {str(i): name for i, name in enumerate(labels)},
        "label2id": {name: i for i, name in enumerate(labels)},
    }
    turned_protocol = dataclasses.replace(
        protocol, channel_order="rgb", mean=protocol.mean[turned], std=protocol.std[turned]
    )
    processor = {"image_processor_type": "VideoMAEImageProcessor", **processor_of(turned_protocol)}
    notes = []
    if protocol.channel_order == "bgr":
        notes.append(
            "the model reads BGR, HuggingFace's processor RGB: the input channels of the patch kernel, mean and "
            "deviation are turned around, so that the same frames get the same logits"
        )
    if config.drop_path_rate:
        notes.append(f"drop_path_rate {config.drop_path_rate} stays behind: HuggingFace's config takes integers only")
    if kind == "space_only":
        notes.append("HuggingFace's space-only model returns a row of logits per frame; here a video has one")
    tensors = to_huggingface(model, protocol.channel_order)
    return HuggingFaceFolder(config=content, preprocessor=processor, tensors=tensors, notes=notes)


def original_logits(path: Path, clip: Tensor) -> tuple[Tensor, str] | None:
    """What ``transformers`` computes for a clip ``[B, T, C, H, W]``, and its version; None where it is missing.

    Of a space-only model the last hidden states are averaged over frames before its own norm and classifier.
    """
    try:
        from transformers import TimesformerForVideoClassification, __version__
    except ImportError:
        return None
    model = TimesformerForVideoClassification.from_pretrained(path, local_files_only=True, trust_remote_code=False)
    model = model.float().eval()  # a folder saved in half precision is loaded in it
    with torch.inference_mode():
        if model.config.attention_type != "space_only":
            return model(clip).logits, f"transformers {__version__}"
        x = model(clip, output_hidden_states=True).hidden_states[-1]  # B*T 1+S D
        x = model.timesformer.layernorm(x.unflatten(0, (len(clip), -1)).mean(1)[:, 0])  # B D
        return model.classifier(x), f"transformers {__version__}, its frames averaged before the norm"


def per_frame_logits(model: TimeSformerSpace, clip: Float[Tensor, "B C T H W"]) -> Float[Tensor, "BT K"]:
    """What HuggingFace's space-only model returns: norm and head on every frame alone."""
    vectors = rearrange(model.encode_frames(clip).vectors, "b t d -> (b t) d")
    logits: Tensor = model.head(model.norm(vectors))
    return logits
