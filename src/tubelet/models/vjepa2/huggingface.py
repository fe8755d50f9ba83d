"""HuggingFace's V-JEPA 2 for tubelet's: names of the tensors and ``config.json``.

Source: transformers 5.24.0 (Apache-2.0), ``models/vjepa2``, and its conversion scripts. Where it differs from the
original, and what is done about it:

- its positions have the grid of the config, whatever comes in: here the grid is the clip's;
- its probe has the encoder's number of heads and epsilon: the released giant's probes were trained with 16 heads where
  it computes with 22, so 16 are taken for a giant;
- its probes read the last level: those of Diving48 were trained on four, which are taken;
- its probes pool one clip: the released ones pool the tokens of several segments of a video at once, which is taken;
- a clip of one frame is repeated to a tubelet, which is kept (``repeat_image``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tubelet import config as config_io
from tubelet.errors import CheckpointError, ConfigError
from tubelet.models.family import config_of, create, nearest_name
from tubelet.models.vjepa2.config import VJEPA2Config
from tubelet.models.vjepa2.model import VJEPA2
from tubelet.models.vjepa2.preprocessor import read_protocol
from tubelet.models.vjepa2.recognize import PROBE_HEADS, levels_of, license_facts, probe_of, segment_fields
from tubelet.models.vjepa2.variants import MODELS
from tubelet.models.vjepa2.weights import NO_PREDICTOR, TOKEN, both
from tubelet.weights.mapping.converter import Converted, ConvertOptions, Mapped, as_converted
from tubelet.weights.mapping.huggingface import CONFIG, labels_of, license_of, read_config
from tubelet.weights.mapping.read import read_weights
from tubelet.weights.mapping.rules import MappingReport, Operation, Rule, map_weights, stacked

MODEL_TYPE = "vjepa2"
ACTIVATIONS = {"gelu": "gelu", "gelu_python": "gelu", "gelu_new": "gelu_tanh", "gelu_pytorch_tanh": "gelu_tanh"}
_OPEN = ("name", "pooler_num_heads", "out_layers", "num_segments")  # what a folder does not say, so that --model may
_GIANT_HEADS = 22
_TOKENS = Operation("tokens 1 1 D -> tokens D", lambda x: x.flatten(0, 2), lambda x: (x[:, None, None],))


def convert(path: Path, options: ConvertOptions) -> Converted:
    """A folder with ``config.json`` and weights, as ``save_pretrained`` writes it and the hub holds it. Without a
    probe it becomes an encoder without classes.

    Raises:
        CheckpointError: no such folder, another model, or weights that do not fit strictly.
        ConfigError: a field of the model that the folder says itself.
    """
    content = read_config(path, [MODEL_TYPE])
    weights = read_weights(path, options.which)
    notes: list[str] = []
    for field in options.model:
        if field not in _OPEN:
            raise ConfigError(f"--model.{field}: a HuggingFace folder says itself what its model is")
    fields = vjepa2_fields(content, weights.tensors, path, notes, options.model)
    fields |= {key: value for key, value in options.model.items() if key != "name"}
    name = options.model.get("name") or nearest_name(MODELS, VJEPA2, fields)
    if name not in MODELS:
        raise ConfigError(f"--model.name {name}: the folder holds a V-JEPA 2 ({', '.join(MODELS)})")
    model = create(MODELS, name, fields)
    try:
        state, report = from_huggingface(weights.tensors, model)
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from None
    config = config_of(MODELS, name, fields)
    of_file = labels_of(content, path) if config.num_classes else None
    protocol, protocol_notes = read_protocol(path, config)
    facts = {
        "source": "huggingface",
        **license_facts(config),
        "original": f"transformers {'VJEPA2ForVideoClassification' if config.num_classes else 'VJEPA2Model'}",
        "license": license_of(path),
    }
    lines = {"model_notes": notes, "protocol_notes": protocol_notes}
    mapped = Mapped(name, model, state, report)
    return as_converted(mapped, weights, options, protocol, facts, lines, of_file)


def from_huggingface(source: Mapping[str, Tensor], model: nn.Module) -> tuple[dict[str, Tensor], MappingReport]:
    """The state dict of a tubelet V-JEPA 2, or of its pre-training model, and the report of the mapping.

    Raises:
        CheckpointError: any tensor is missing, left over, not finite or of another shape.
    """
    dropped = {} if hasattr(model, "predictor") else NO_PREDICTOR
    has_prefix = any(name.startswith("vjepa2.") for name in source)
    return map_weights(source, model, huggingface_rules(model, "vjepa2." if has_prefix else ""), dropped)


def huggingface_rules(model: nn.Module, prefix: str) -> list[Rule]:
    """``prefix`` is ``vjepa2.`` in the folder of a classifier, and empty in that of a model alone."""
    embeddings, predictor = f"{prefix}predictor.embeddings", f"{prefix}predictor"
    pool = "pooler.cross_attention_layer"
    rules = [
        *both("encoder.tokenizer.proj", f"{prefix}encoder.embeddings.patch_embeddings.proj"),
        *block_rules("encoder.blocks.{i}", f"{prefix}encoder.layer.{{i}}"),
        *both("encoder.norm", f"{prefix}encoder.layernorm"),
        Rule("pooler.query_token", ("pooler.query_tokens",), TOKEN),
        *probe_rules("pooler.blocks.{i}", "pooler.self_attention_layers.{i}"),
        *both("pooler.pool.attn.q", f"{pool}.cross_attn.q_proj"),
        *(
            Rule(f"pooler.pool.attn.kv.{kind}", tuple(f"{pool}.cross_attn.{x}_proj.{kind}" for x in "kv"), stacked(2))
            for kind in ("weight", "bias")
        ),
        *probe_rules("pooler.pool", pool),
        *both("head", "classifier"),
        *both("predictor.embed", f"{embeddings}.predictor_embeddings"),
        *block_rules("predictor.blocks.{i}", f"{predictor}.layer.{{i}}"),
        *both("predictor.norm", f"{predictor}.layernorm"),
        *both("predictor.proj", f"{predictor}.proj"),
    ]
    return [*rules, Rule("predictor.mask_tokens", (f"{embeddings}.mask_tokens",), _TOKENS)]


def block_rules(target: str, layer: str) -> list[Rule]:
    """A block with rotary positions, whose query, key and value stand apart."""
    same = ("norm1", "norm2", "mlp.fc1", "mlp.fc2")
    return [
        *_qkv(target, f"{layer}.attention", ("query", "key", "value")),
        *both(f"{target}.attn.proj", f"{layer}.attention.proj"),
        *(rule for name in same for rule in both(f"{target}.{name}", f"{layer}.{name}")),
    ]


def probe_rules(target: str, layer: str) -> list[Rule]:
    """A block of the probe; the one that pools has no attention of this kind."""
    names = {"norm1": "layer_norm1", "norm2": "layer_norm2", "mlp.fc1": "mlp.fc1", "mlp.fc2": "mlp.fc2"}
    return [
        *_qkv(target, f"{layer}.self_attn", ("q_proj", "k_proj", "v_proj")),
        *both(f"{target}.attn.proj", f"{layer}.self_attn.out_proj"),
        *(rule for ours, theirs in names.items() for rule in both(f"{target}.{ours}", f"{layer}.{theirs}")),
    ]


def _qkv(target: str, attention: str, names: tuple[str, ...]) -> list[Rule]:
    return [
        Rule(f"{target}.attn.qkv.{kind}", tuple(f"{attention}.{name}.{kind}" for name in names), stacked(3))
        for kind in ("weight", "bias")
    ]


def vjepa2_fields(
    content: Mapping[str, Any],
    source: Mapping[str, Tensor],
    path: Path,
    notes: list[str],
    given: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The fields of a ``VJEPA2Config``; what the file leaves out has HuggingFace's defaults. ``notes`` gets what a
    user should know.

    Args:
        given: fields that a user sets; ``num_segments`` is read.

    Raises:
        CheckpointError: the file does not describe a V-JEPA 2.
    """
    act = content.get("hidden_act", "gelu")
    if act not in ACTIVATIONS:
        raise CheckpointError(f"{path / CONFIG}: hidden_act is {act!r}; expected one of {', '.join(ACTIVATIONS)}")
    patch = content.get("patch_size", 16)
    try:
        size, width = int(content.get("crop_size", 256)), int(content.get("hidden_size", 1024))
        num_classes = len(source["classifier.weight"]) if "classifier.weight" in source else 0
        fields = {
            "num_classes": num_classes,
            "in_channels": content.get("in_chans", 3),
            "num_frames": content.get("frames_per_clip", 64),
            "image_size": [size, size],
            "tubelet_size": [content.get("tubelet_size", 2), *([patch, patch] if isinstance(patch, int) else patch)],
            "embed_dim": width,
            "depth": content.get("num_hidden_layers", 24),
            "num_heads": content.get("num_attention_heads", 16),
            "mlp_ratio": float(content.get("mlp_ratio", 4.0)),
            "qkv_bias": content.get("qkv_bias", True),
            "activation": ACTIVATIONS[act],
            "norm_eps": content.get("layer_norm_eps", 1e-6),
            "attn_drop_rate": float(content.get("attention_probs_dropout_prob", 0.0)),
            "drop_path_rate": float(content.get("drop_path_rate", 0.0)),
            "repeat_image": True,
            "remainder": "drop",  # as the original's convolution does, which has no padding
        }
        if num_classes:
            fields |= _probe_fields(content, fields, given or {}, notes)
        config_io.from_dict(VJEPA2Config, fields, where=CONFIG)
    except (TypeError, ValueError, ConfigError) as error:
        raise CheckpointError(f"{path / CONFIG}: does not describe a V-JEPA 2 ({error})") from None
    return fields


def _probe_fields(
    content: Mapping[str, Any], encoder: Mapping[str, Any], given: Mapping[str, Any], notes: list[str]
) -> dict[str, Any]:
    heads, width, num_classes = encoder["num_heads"], encoder["embed_dim"], encoder["num_classes"]
    is_released = heads in (16, _GIANT_HEADS)  # else a model of other sizes, whatever its classes
    levels = levels_of(num_classes, width) if is_released else ()
    segments = segment_fields(num_classes if is_released else 0, width, encoder["num_frames"], given, notes)
    if heads == _GIANT_HEADS:
        notes.append(
            f"{PROBE_HEADS} heads in the probe: the released ones were trained so, while transformers computes with "
            f"the encoder's {heads}; for one that was trained in transformers: --model.pooler_num_heads {heads} "
            "--no-measure (the comparison takes 16)"
        )
    if levels:
        probe = probe_of(num_classes, width)
        assert probe is not None
        notes.append(
            f"{num_classes} classes: taken for {probe.data}, whose probe was trained on the levels "
            f"{', '.join(map(str, levels))}, while transformers reads the last; for one that was trained in "
            "transformers: --model.out_layers [] --no-measure (the comparison takes these levels)"
        )
    return {
        **segments,
        "pooler_depth": 1 + content.get("num_pooler_layers", 3),
        "pooler_num_heads": PROBE_HEADS if heads == _GIANT_HEADS else heads,
        "pooler_norm_eps": encoder["norm_eps"],
        "out_layers": list(levels),
    }


def original_logits(path: Path, clip: Tensor) -> tuple[Tensor, str] | None:
    """What ``transformers`` computes for a clip ``[B, T, C, H, W]``, and its version; None where it is missing. A
    probe has the heads, levels and segments that the folder's was trained with; without one it is the mean of the
    tokens."""
    try:
        from transformers import VJEPA2ForVideoClassification, VJEPA2Model, __version__
    except ImportError:
        return None
    content, tensors = read_config(path, [MODEL_TYPE]), read_weights(path).tensors
    fields = vjepa2_fields(content, tensors, path, [])
    options: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
    if not fields["num_classes"]:
        encoder = VJEPA2Model.from_pretrained(path, **options).float().eval()
        with torch.inference_mode():
            return encoder(clip, skip_predictor=True).last_hidden_state.mean(1), f"transformers {__version__}"
    model = VJEPA2ForVideoClassification.from_pretrained(path, **options).float().eval()
    said = f"transformers {__version__}"
    if (heads := fields["pooler_num_heads"]) != fields["num_heads"]:
        said += f", its probe with {heads} heads"
        for module in model.pooler.modules():
            if hasattr(module, "num_heads"):
                module.num_heads, module.head_dim = heads, fields["embed_dim"] // heads
                module.scale = module.head_dim**-0.5
    if fields["out_layers"]:
        said += ", its probe on trained levels"
    if (segments := fields.get("num_segments", 1)) > 1:
        said += f", its probe on {segments} segments"
    with torch.inference_mode():
        tokens = torch.cat([_read_by_probe(model, part, fields["out_layers"]) for part in clip.chunk(segments, 1)], 1)
        return model.classifier(model.pooler(tokens)), said


def _read_by_probe(model: Any, clip: Tensor, levels: Sequence[int]) -> Tensor:
    """The tokens of a clip behind each level, one level after the other; without levels those of the last."""
    behind: dict[int, Tensor] = {}
    hooks = [model.vjepa2.encoder.layer[i].register_forward_hook(partial(_keep, behind, i)) for i in levels]
    tokens: Tensor = model.vjepa2(clip, skip_predictor=True).last_hidden_state
    for hook in hooks:
        hook.remove()
    return torch.cat([model.vjepa2.encoder.layernorm(behind[i]) for i in levels], dim=1) if levels else tokens


def _keep(behind: dict[int, Tensor], i: int, module: nn.Module, args: Any, output: Any) -> None:
    behind[i] = output[0] if isinstance(output, tuple) else output
