"""HuggingFace's ``VivitForVideoClassification`` for tubelet's Model 1, and back to a folder ``transformers`` loads.

Source: transformers 4.57.1 and 5.23.0, ``models/vivit``. Only ViViT's Model 1 exists there. Files on the hub have the
names of transformers 4 (``vivit.encoder.layer.0.attention.attention.query``); transformers 5 calls the same modules
``vivit.layers.0.attention.q_proj`` and still loads files with the old names, which are the ones written here.
``VivitModel`` alone has no ``vivit.`` before its names and may have a pooler, which the classifier never reads.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tubelet import config as config_io
from tubelet.errors import CheckpointError, ConfigError
from tubelet.models.family import create, nearest_name
from tubelet.models.vivit.config import ViViTConfig
from tubelet.models.vivit.model import ViViTJoint
from tubelet.models.vivit.preprocessor import read_protocol, write_preprocessor
from tubelet.models.vivit.variants import MODELS
from tubelet.protocol import Protocol
from tubelet.weights.mapping.converter import (
    Converted,
    ConvertOptions,
    HuggingFaceFolder,
    Mapped,
    as_converted,
    refuse_model_fields,
)
from tubelet.weights.mapping.huggingface import CONFIG, labels_of, license_of, read_config
from tubelet.weights.mapping.read import read_weights
from tubelet.weights.mapping.rules import SAME, MappingReport, Operation, Rule, map_back, map_weights, stacked

MODEL_TYPE = "vivit"
# Names of one block's modules in the two generations: attention in and out, MLP.
_NAMES_4 = {
    **{"q": "attention.attention.query", "k": "attention.attention.key", "v": "attention.attention.value"},
    **{"out": "attention.output.dense", "fc1": "intermediate.dense", "fc2": "output.dense"},
}
_NAMES_5 = {
    **{"q": "attention.q_proj", "k": "attention.k_proj", "v": "attention.v_proj"},
    **{"out": "attention.o_proj", "fc1": "mlp.fc1", "fc2": "mlp.fc2"},
}
_ACTIVATIONS = {
    **dict.fromkeys(("gelu_fast", "gelu_new", "gelu_accurate", "gelu_pytorch_tanh", "gelu_python_tanh"), "gelu_tanh"),
    **dict.fromkeys(("gelu", "gelu_python"), "gelu"),
}
_ACTIVATION_NAMES = {"gelu_tanh": "gelu_fast", "gelu": "gelu"}
_DROPPED = {r"(vivit\.)?pooler\..*": "the pooler, which the classifier does not read"}
_NO_HEAD = {r"head\..*": "the source has no classifier"}

_TOKEN = Operation("1 1 D -> D", lambda x: x.flatten(), lambda x: (x[None, None],))
_TABLE = Operation("1 rows D -> rows D", lambda x: x.squeeze(0), lambda x: (x[None],))


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
            f"{path}: has no classifier (architectures {content.get('architectures')}), so it cannot predict; "
            "start a training from it with --init instead"
        )
    fields = {**vivit_fields(content, path), "num_classes": len(source["classifier.weight"])}
    refuse_model_fields(options)
    name = options.model.get("name") or nearest_name(MODELS, ViViTJoint, fields)
    if name not in MODELS or MODELS[name][0]() is not ViViTJoint:
        raise ConfigError(f"--model.name {name}: HuggingFace has ViViT's Model 1 only (vivit_*_joint)")
    model = create(MODELS, name, fields)
    state, report = from_huggingface(source, model)
    protocol, notes = read_protocol(path, fields["num_frames"], tuple(fields["image_size"]), fields["in_channels"])
    facts = {
        "source": "huggingface",
        "original": "transformers VivitForVideoClassification",
        "license": license_of(path),
    }
    lines = {"protocol_notes": notes}
    mapped = Mapped(name, model, state, report)
    return as_converted(mapped, weights, options, protocol, facts, lines, labels_of(content, path))


def from_huggingface(source: Mapping[str, Tensor], model: nn.Module) -> tuple[dict[str, Tensor], MappingReport]:
    """The state dict of a tubelet Model 1, whichever generation of names the source has.

    A pooler is dropped; without a classifier the head stays fresh. Both stand in the report.

    Raises:
        CheckpointError: any tensor is missing, left over, not finite or of another shape.
    """
    fresh = None if any(name.startswith("classifier.") for name in source) else _NO_HEAD
    return map_weights(source, model, huggingface_rules(source), _DROPPED, fresh)


def to_huggingface(model: nn.Module, names: Mapping[str, Tensor] | None = None) -> dict[str, Tensor]:
    """HuggingFace's tensors from a tubelet Model 1, under the names of transformers 4, or those that ``names`` has.

    Raises:
        CheckpointError: a model that HuggingFace does not have.
    """
    return map_back(model.state_dict(), huggingface_rules(names or {"vivit.encoder.layer.0": torch.empty(0)}))


def huggingface_rules(source: Mapping[str, Tensor]) -> list[Rule]:
    """The rules for the generation of names that ``source`` has."""
    prefix = "vivit." if any(name.startswith("vivit.") for name in source) else ""
    is_4 = any(name.startswith(f"{prefix}encoder.layer.") for name in source)
    names, layer = (_NAMES_4, f"{prefix}encoder.layer.{{i}}") if is_4 else (_NAMES_5, f"{prefix}layers.{{i}}")
    block, embeddings = "encoder.blocks.{i}", f"{prefix}embeddings"
    rules = [
        Rule("encoder.cls_token", (f"{embeddings}.cls_token",), _TOKEN),
        Rule("encoder.pos_embed.table", (f"{embeddings}.position_embeddings",), _TABLE),
    ]
    for kind in ("weight", "bias"):
        rules += [
            Rule(f"tokenizer.proj.{kind}", (f"{embeddings}.patch_embeddings.projection.{kind}",)),
            Rule(f"{block}.norm1.{kind}", (f"{layer}.layernorm_before.{kind}",)),
            Rule(f"{block}.attn.qkv.{kind}", tuple(f"{layer}.{names[x]}.{kind}" for x in "qkv"), stacked(3)),
            Rule(f"{block}.attn.proj.{kind}", (f"{layer}.{names['out']}.{kind}",)),
            Rule(f"{block}.norm2.{kind}", (f"{layer}.layernorm_after.{kind}",)),
            Rule(f"{block}.mlp.fc1.{kind}", (f"{layer}.{names['fc1']}.{kind}",)),
            Rule(f"{block}.mlp.fc2.{kind}", (f"{layer}.{names['fc2']}.{kind}",)),
            Rule(f"encoder.norm.{kind}", (f"{prefix}layernorm.{kind}",), SAME),
            Rule(f"head.{kind}", (f"classifier.{kind}",), SAME),
        ]
    return rules


def vivit_fields(content: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """The fields of a ``ViViTConfig`` but ``num_classes``; what the file leaves out has HuggingFace's defaults."""
    act = content.get("hidden_act", "gelu_fast")
    if act not in _ACTIVATIONS:
        raise CheckpointError(f"{path / CONFIG}: hidden_act is {act!r}; expected one of {', '.join(_ACTIVATIONS)}")
    size = content.get("image_size", 224)
    try:
        width = int(content.get("hidden_size", 768))
        fields = {
            "in_channels": content.get("num_channels", 3),
            "num_frames": content.get("num_frames", 32),
            "image_size": [size, size] if isinstance(size, int) else list(size),
            "tubelet_size": list(content.get("tubelet_size", (2, 16, 16))),
            "embed_dim": width,
            "depth": content.get("num_hidden_layers", 12),
            "num_heads": content.get("num_attention_heads", 12),
            "mlp_ratio": content.get("intermediate_size", 3072) / width,
            "qkv_bias": content.get("qkv_bias", True),
            "activation": _ACTIVATIONS[act],
            "norm_eps": content.get("layer_norm_eps", 1e-6),
            "drop_rate": content.get("hidden_dropout_prob", 0.0),
            "attn_drop_rate": content.get("attention_probs_dropout_prob", 0.0),
            "remainder": "drop",  # as the original's convolution does, which has no padding
        }
        config_io.from_dict(ViViTConfig, fields, where=CONFIG)
    except (TypeError, ValueError, ZeroDivisionError, ConfigError) as error:
        raise CheckpointError(f"{path / CONFIG}: does not describe a ViViT ({error})") from None
    return fields


def huggingface_folder(model: nn.Module, protocol: Protocol) -> HuggingFaceFolder:
    """The files of a VivitForVideoClassification.

    Raises:
        CheckpointError: HuggingFace has no such model, or no such protocol.
    """
    if not isinstance(model, ViViTJoint):
        raise CheckpointError(f"HuggingFace has ViViT's Model 1 only (vivit_*_joint), no {type(model).__name__}")
    labels = [name for names in protocol.labels.values() for name in names]
    return HuggingFaceFolder(
        config=huggingface_config(model, labels),
        preprocessor=write_preprocessor(protocol),
        tensors=to_huggingface(model),
    )


def huggingface_config(model: ViViTJoint, labels: Sequence[str]) -> dict[str, Any]:
    """The content of ``config.json``.

    Raises:
        CheckpointError: HuggingFace has no model with these fields.
    """
    config = model.config
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
        "model_type": MODEL_TYPE,
        "num_channels": config.in_channels,
        "num_frames": config.num_frames,
        "image_size": size,
        "tubelet_size": list(config.tubelet_size),
        "hidden_size": config.embed_dim,
        "num_hidden_layers": config.depth,
        "num_attention_heads": config.num_heads,
        "intermediate_size": round(config.embed_dim * config.mlp_ratio),
        "hidden_act": _ACTIVATION_NAMES[config.activation],
        "qkv_bias": config.qkv_bias,
        "layer_norm_eps": config.norm_eps,
        "hidden_dropout_prob": config.drop_rate,
        "attention_probs_dropout_prob": config.attn_drop_rate,
        "id2label": {str(i): name for i, name in enumerate(labels)},
        "label2id": {name: i for i, name in enumerate(labels)},
    }


def original_logits(path: Path, clip: Tensor) -> tuple[Tensor, str] | None:
    """What ``transformers`` computes for a clip ``[B, T, C, H, W]``, and its version; None where it is missing."""
    try:
        from transformers import VivitForVideoClassification, __version__
    except ImportError:
        return None
    model = VivitForVideoClassification.from_pretrained(path, local_files_only=True, trust_remote_code=False)
    model = model.float().eval()  # a folder saved in half precision is loaded in it
    with torch.inference_mode():
        return model(clip).logits, f"transformers {__version__}"
