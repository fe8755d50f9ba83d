"""How the VTN cases are checked: the official constructor arguments as our config, and every named intermediate."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from parity.compare import assert_equal, compare, pair, random_source, read_arrays, read_input
from tubelet.models import create_model
from tubelet.models.vtn.config import VTNConfig
from tubelet.models.vtn.model import VTN
from tubelet.models.vtn.weights import from_official, model_of, to_official
from tubelet.types import FrameFeatures

# timm's plain network of each kind of ResNet block; the case brings blocks and channels.
_RESNETS = {"basic": "resnet18", "bottleneck": "resnet50"}
_VIT = "vit_base_patch16_224"
# What a case says of its backbone beside the arguments of timm's network.
_NO_ARGUMENTS = ("type", "img_size", "block", "note")


def vtn_from_official(arguments: Mapping[str, Any], in_channels: int) -> VTN:
    """Our model for the official constructor arguments; where features are given, a backbone stands in for none."""
    given = arguments["backbone"]
    fields = {name: value for name, value in given.items() if name not in _NO_ARGUMENTS}
    match given["type"]:
        case "resnet":
            backbone, size = _RESNETS[given["block"]], given["img_size"]
        case "vit":
            backbone, size = _VIT, given["img_size"]
        case "features":
            backbone, size = _VIT, 1
            fields = {"patch_size": size, "embed_dim": arguments["hidden_dim"], "depth": 1, "num_heads": 1}
        case other:
            raise AssertionError(f"no backbone for {other}")
    config = VTNConfig(
        num_classes=arguments["num_classes"],
        in_channels=in_channels,
        image_size=pair(size),
        backbone=backbone,
        backbone_fields=fields,
        depth=arguments["num_hidden_layers"],
        num_heads=arguments["num_attention_heads"],
        attention_window=tuple(arguments["attention_window"]),
        hidden_dim=arguments["intermediate_size"],
        num_positions=arguments["max_position_embeddings"],
        head_dim=arguments["mlp_dim"],
        norm_eps=arguments["layer_norm_eps_encoder"],
    )
    model = VTN(config)
    assert model.head[0].eps == arguments["layer_norm_eps_head"]  # type: ignore[index, union-attr]
    return model


def check_vtn(case: Path, config: dict[str, Any]) -> None:
    """Every recorded array, from clips ``[B, C, T, H, W]`` or from features ``[B, T, D]``."""
    given, source = read_input(case), read_arrays(case / "weights.npz")
    has_pixels = config["constructor"]["backbone"]["type"] != "features"
    model = vtn_from_official(config["constructor"], in_channels=given.shape[1] if has_pixels else 3).eval()
    if not has_pixels:
        source |= {f"backbone.{name}": tensor for name, tensor in model.backbone.state_dict().items()}
    state, report = from_official(source, model)
    assert not report.fresh
    model.load_state_dict(state)
    position = torch.from_numpy(np.load(case / "position_ids.npy", allow_pickle=False))
    with torch.inference_mode():
        compare(case, config, record(model, given, position))


def record(model: VTN, given: Tensor, position: Tensor) -> dict[str, Tensor]:
    """Everything that the fixtures name, from one pass over all rows and one as a user makes it."""
    features = (
        model.encode_frames(given, position) if given.ndim == 5 else FrameFeatures(vectors=given, position=position)
    )
    encoder = model.temporal_encoder
    seen = {"backbone_features": features.vectors, "embedding_output": encoder.embed(features.vectors, position)}
    after_attention: dict[int, list[Tensor]] = {}  # a layer computes its rows a part at a time
    hooks = []
    layers: Any = encoder.layers
    for i, layer in enumerate(layers):
        parts = after_attention.setdefault(i, [])
        hooks.append(layer.register_forward_hook(keep(seen, f"hidden_state_layer{i}")))
        hooks.append(layer.norm1.register_forward_hook(lambda _, __, output, parts=parts: parts.append(output)))
    seen["sequence_output"] = encoder(features.vectors, position)
    for hook in hooks:
        hook.remove()
    seen |= {f"attention_block_output_layer{i}": torch.cat(parts, dim=1) for i, parts in after_attention.items()}
    seen["cls_state"] = encoder.class_token(features.vectors, position)
    seen["logits"] = model(given, position) if given.ndim == 5 else model.encode_time(features)
    rows = len(encoder.pos_embed.table) - 2  # type: ignore[arg-type, union-attr]
    class_rows = torch.full((len(position), 1), rows)
    seen["effective_position_ids"] = torch.cat([class_rows, position % rows], dim=1)
    types = torch.zeros(len(position), 1 + position.shape[1], dtype=torch.long)
    types[:, 0] = 1
    seen["effective_token_type_ids"] = types
    return seen


def keep(seen: dict[str, Tensor], name: str) -> Any:
    return lambda _, __, output: seen.update({name: output})


def check_vtn_manifest(content: Mapping[str, Any]) -> None:
    """A real-size checkpoint maps strictly, and back to the same bits under the same names."""
    source = random_source({"parameters": [*content["parameters"], *content["buffers"]]})
    source |= {name: tensor.long() for name, tensor in source.items() if name.endswith("num_batches_tracked")}
    name, fields = model_of(source, {})
    with torch.device("meta"):
        model = create_model(name, **fields)
    rows = torch.arange(fields["num_positions"])[None]
    row_numbers = {"temporal_encoder.embeddings.position_ids": rows}  # in files written with older libraries
    state, report = from_official({**source, **row_numbers}, model)
    assert set(report.dropped) == set(row_numbers)
    assert sum(p.numel() for p in model.parameters()) == content["total_params"]
    model.load_state_dict(state, assign=True)
    assert_equal(to_official(model), source)
