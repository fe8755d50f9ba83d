"""VideoPrism as ``transformers`` keeps it: names of the tensors, ``config.json`` and preprocessing.

Source: transformers 5.24.0 (Apache-2.0), ``models/videoprism``. Its classifier pools at ``intermediate_size``, the
original's at the width of a token: it is another model, which tubelet has as ``pool_dim``. Encoders
(``VideoPrismVisionModel``), the video tower (``VideoPrismVideoModel``) and the video-text model
(``VideoPrismClipModel``) have no classifier and are read, not written.

Deviation: its logits keep the axis of the query, ``[B, 1, K]``.
Deviation: its model takes one frame for T, because its table of times is broadcast; here T comes from the clip.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tubelet import config as config_io
from tubelet.errors import CheckpointError, ConfigError
from tubelet.models.family import config_of, create, nearest_name
from tubelet.models.videoprism.model import VideoPrism, VideoPrismTower
from tubelet.models.videoprism.preprocessor import read_protocol, write_preprocessor
from tubelet.models.videoprism.recognize import fresh_classifier, given_classes
from tubelet.models.videoprism.variants import MODELS
from tubelet.protocol import Protocol
from tubelet.weights.mapping.converter import (
    Converted,
    ConvertOptions,
    HuggingFaceFolder,
    Mapped,
    as_converted,
)
from tubelet.weights.mapping.huggingface import (
    CONFIG,
    labels_of,
    license_of,
    read_config,
    read_json,
)
from tubelet.weights.mapping.read import read_weights
from tubelet.weights.mapping.rules import SAME, MappingReport, Operation, Rule, map_back, map_weights, stacked

MODEL_TYPE, CLIP_TYPE = "videoprism_vision_model", "videoprism"
_DROPPED = {r"text_model\..*": "the text tower, which a video classifier does not have"}
_TABLE = Operation("1 rows D -> rows D", lambda x: x.squeeze(0), lambda x: (x[None],))
_QUERY = Operation("1 1 D -> D", lambda x: x.flatten(), lambda x: (x[None, None],))


def convert(path: Path, options: ConvertOptions) -> Converted:
    """A folder of any of the four classes. One without a classifier gets a fresh one for the classes of ``options``.

    Raises:
        CheckpointError: no such folder, another model, weights that do not fit strictly, or no classes given for a
            model without a classifier.
        ConfigError: fields of the model that the folder states.
    """
    content = read_config(path, [MODEL_TYPE, CLIP_TYPE])
    weights = read_weights(path, options.which)
    source = {name.removeprefix("video_model."): tensor for name, tensor in weights.tensors.items()}
    model_class = VideoPrismTower if "auxiliary_layers.0.attention.q_proj.weight" in source else VideoPrism
    fields = videoprism_fields(content.get("vision_config", content), path, model_class)
    wrong = next((name for name in options.model if name not in ("name", "num_classes")), None)
    if wrong is not None:
        raise ConfigError(f"--model.{wrong}: a HuggingFace folder says itself what its model is")
    has_head = "classifier.weight" in source
    try:
        fields["num_classes"] = len(source["classifier.weight"]) if has_head else given_classes(options)
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from None
    name = options.model.get("name") or nearest_name(MODELS, model_class, fields)
    if name not in MODELS or MODELS[name][0]() is not model_class:
        raise ConfigError(f"--model.name {name}: the folder holds a {model_class.__name__}")
    model = create(MODELS, name, fields)
    state, report = from_huggingface(source, model)
    config = config_of(MODELS, name, fields)
    protocol, notes = read_protocol(path, config)
    facts = {
        "source": "huggingface",
        "original": f"transformers {(content.get('architectures') or ['VideoPrism'])[0]}",
        "license": license_of(path),
    }
    lines = {"protocol_notes": notes}
    mapped = Mapped(name, model, state, report)
    of_file = labels_of(content, path) if has_head else None
    return as_converted(mapped, weights, options, protocol, facts, lines, of_file)


def from_huggingface(source: Mapping[str, Tensor], model: nn.Module) -> tuple[dict[str, Tensor], MappingReport]:
    """The state dict of a tubelet VideoPrism from the tensors of any of transformers' classes, and the report.

    Raises:
        CheckpointError: any tensor is missing, left over, not finite or of another shape.
    """
    has_prefix = any(name.startswith("vision_model.") for name in source)
    fresh = fresh_classifier("head.per_dim_scale" in source, "classifier.weight" in source)
    return map_weights(source, model, huggingface_rules("vision_model." if has_prefix else ""), _DROPPED, fresh)


def to_huggingface(model: nn.Module) -> dict[str, Tensor]:
    """The tensors of ``VideoPrismForVideoClassification`` from a tubelet VideoPrism."""
    return map_back(model.state_dict(), huggingface_rules("vision_model."))


def huggingface_rules(prefix: str) -> list[Rule]:
    """Rules for the encoder's names behind ``prefix``, and those of what stands around it."""
    rules = [
        Rule("pool.query", ("head.pooling_attention_query",), _QUERY),
        Rule("pool.per_dim_scale", ("head.per_dim_scale",), SAME),
    ]
    for kind, number in (("spatial", 1), ("temporal", 2)):
        table = (f"{prefix}{kind}_embeddings.position_embeddings",)
        rules.append(Rule(f"{kind}_encoder.pos_embed.table", table, _TABLE))
        rules += _both(f"{kind}_encoder.norm", f"{prefix}layernorm{number}")
        rules += _block_rules(f"{kind}_encoder.blocks", f"{prefix}{kind}_layers")
    for part in ("weight", "bias"):
        rules.append(Rule(f"pool.kv.{part}", (f"head.k_proj.{part}", f"head.v_proj.{part}"), stacked(2)))
    return [
        *rules,
        *_both("tokenizer.proj", f"{prefix}spatial_embeddings.patch_embeddings.projection"),
        *_block_rules("auxiliary_blocks", "auxiliary_layers"),
        *_both("pool.q", "head.q_proj"),
        *_both("pool.proj", "head.o_proj"),
        *_both("pool.norm", "head_layernorm"),
        *_both("head", "classifier"),
    ]


def _block_rules(target: str, source: str) -> list[Rule]:
    block, layer = f"{target}.{{i}}", f"{source}.{{i}}"
    rules = []
    for part in ("weight", "bias"):
        projections = tuple(f"{layer}.attention.{x}_proj.{part}" for x in "qkv")
        rules.append(Rule(f"{block}.attn.qkv.{part}", projections, stacked(3)))
    return [
        *rules,
        *_both(f"{block}.norm1", f"{layer}.layernorm_before"),
        *_both(f"{block}.attn.proj", f"{layer}.attention.o_proj"),
        *_both(f"{block}.norm2", f"{layer}.layernorm_after"),
        *_both(f"{block}.mlp.fc1", f"{layer}.mlp.fc1"),
        *_both(f"{block}.mlp.fc2", f"{layer}.mlp.fc2"),
    ]


def _both(target: str, source: str) -> list[Rule]:
    return [Rule(f"{target}.{part}", (f"{source}.{part}",), SAME) for part in ("weight", "bias")]


def videoprism_fields(content: Mapping[str, Any], path: Path, model_class: type[nn.Module]) -> dict[str, Any]:
    """The fields of the model's config but ``num_classes``; what the file leaves out has HuggingFace's defaults."""
    size, act = content.get("image_size", 288), content.get("hidden_act", "gelu_python")
    if act not in ("gelu", "gelu_python") or not content.get("qkv_bias", True):
        raise CheckpointError(
            f"{path / CONFIG}: hidden_act {act!r} or qkv_bias false; VideoPrism has exact GELU and biases"
        )
    if not content.get("apply_l2norm", True) and model_class is VideoPrismTower:
        raise CheckpointError(f"{path / CONFIG}: apply_l2norm is false; VideoPrism's video embedding has length 1")
    try:
        t, h, w = content.get("tubelet_size", (1, 18, 18))
        if (t, h) != (1, w):
            raise ValueError(f"tubelets of {t}x{h}x{w}, expected squares of one frame")
        width, hidden = int(content.get("hidden_size", 768)), int(content.get("intermediate_size", 3072))
        usual = 4 * width if model_class is VideoPrismTower else width
        fields = {
            "in_channels": content.get("num_channels", 3),
            "num_frames": content.get("num_frames", 16),
            "image_size": [size, size] if isinstance(size, int) else list(size),
            "patch_size": h,
            "embed_dim": width,
            "depth": content.get("num_spatial_layers", 12),
            "temporal_depth": content.get("num_temporal_layers", 4),
            "num_heads": content.get("num_attention_heads", 12),
            "mlp_ratio": hidden / width,
            "soft_cap": float(content.get("attn_logit_softcapping", 50.0)),
            "norm_eps": content.get("layer_norm_eps", 1e-6),
            "pool_dim": None if hidden == usual else hidden,
        }
        if model_class is VideoPrismTower:
            fields["auxiliary_depth"] = content.get("num_auxiliary_layers", 2)
        config_io.from_dict(config_class(model_class), fields, where=CONFIG)
    except (TypeError, ValueError, ZeroDivisionError, ConfigError) as error:
        raise CheckpointError(f"{path / CONFIG}: does not describe a VideoPrism ({error})") from None
    return fields


def config_class(model_class: type[nn.Module]) -> type:
    return next(config for of_name, config, _ in MODELS.values() if of_name() is model_class)


def huggingface_folder(model: nn.Module, protocol: Protocol) -> HuggingFaceFolder:
    """The files of a ``VideoPrismForVideoClassification``.

    Raises:
        CheckpointError: transformers has no such model, or no such protocol.
    """
    assert isinstance(model, VideoPrism)
    config, hidden = model.config, round(model.config.embed_dim * model.config.mlp_ratio)
    if isinstance(model, VideoPrismTower):
        raise CheckpointError(
            "HuggingFace's classifier of VideoPrism has no auxiliary blocks, and its tower no classifier"
        )
    if config.pool_width != hidden:
        raise CheckpointError(
            f"HuggingFace's classifier of VideoPrism pools at intermediate_size {hidden}, this model at "
            f"{config.pool_width}: pool_dim {hidden} makes one that it has"
        )
    labels = [name for names in protocol.labels.values() for name in names]
    content = {
        "architectures": ["VideoPrismForVideoClassification"],
        "model_type": MODEL_TYPE,
        "num_channels": config.in_channels,
        "num_frames": config.num_frames,
        "image_size": config.image_size[0] if config.image_size[0] == config.image_size[1] else list(config.image_size),
        "tubelet_size": [1, config.patch_size, config.patch_size],
        "hidden_size": config.embed_dim,
        "num_spatial_layers": config.depth,
        "num_temporal_layers": config.temporal_depth,
        "num_attention_heads": config.num_heads,
        "intermediate_size": hidden,
        "attn_logit_softcapping": config.soft_cap,
        "layer_norm_eps": config.norm_eps,
        "id2label": {str(i): name for i, name in enumerate(labels)},
        "label2id": {name: i for i, name in enumerate(labels)},
    }
    notes = [
        "HuggingFace's processor squeezes frames to the size, bicubic; here the shorter side is resized and the rest "
        "cropped",
        "HuggingFace's logits are [B, 1, K]: the axis of the pooling's query stays",
    ]
    tensors, preprocessor = to_huggingface(model), write_preprocessor(protocol)
    return HuggingFaceFolder(config=content, preprocessor=preprocessor, tensors=tensors, notes=notes)


def original_logits(path: Path, clip: Tensor) -> tuple[Tensor, str] | None:
    """What ``transformers`` computes for a clip ``[B, T, C, H, W]``, and its version; None where it is missing or where
    its model has no classifier."""
    try:
        from transformers import VideoPrismForVideoClassification, __version__
    except ImportError:
        return None
    if "VideoPrismForVideoClassification" not in (read_json(path / CONFIG).get("architectures") or ()):
        return None
    model = VideoPrismForVideoClassification.from_pretrained(path, local_files_only=True, trust_remote_code=False)
    model = model.float().eval()  # a folder saved in half precision is loaded in it
    with torch.inference_mode():
        return model(clip).logits.squeeze(1), f"transformers {__version__}"
