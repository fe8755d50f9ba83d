"""How the VTN cases are checked: the official constructor arguments as our config, and every named intermediate."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from parity.compare import random_source, read_arrays
from tubelet.models import create_model
from tubelet.models.vtn.config import VTNConfig
from tubelet.models.vtn.model import VTN
from tubelet.models.vtn.weights import from_official, to_official
from tubelet.types import FrameFeatures


def vtn_from_official(arguments: Mapping[str, Any]) -> VTN:
    """Our model for the official constructor arguments; where features are given, a backbone stands in for none."""
    width, backbone = arguments["hidden_dim"], arguments["backbone"]
    size = backbone.get("img_size", 16)
    match backbone["type"]:
        case "resnet":
            # timm's smallest bottleneck ResNet, with the blocks and channels of the case.
            name, fields = "resnet50", {"layers": backbone["layers"], "channels": backbone["channels"]}
        case "vit":
            shape = {key: backbone[key] for key in ("patch_size", "embed_dim", "depth", "num_heads")}
            name, fields = "vit_base_patch16_224", shape
        case _:
            shape = {"patch_size": 16, "embed_dim": width, "depth": 1, "num_heads": 1}
            name, fields = "vit_base_patch16_224", shape
    return VTN(
        VTNConfig(
            num_classes=arguments["num_classes"],
            image_size=(size, size),
            backbone=name,
            backbone_fields=fields,
            depth=arguments["num_hidden_layers"],
            num_heads=arguments["num_attention_heads"],
            attention_window=tuple(arguments["attention_window"]),
            hidden_dim=arguments["intermediate_size"],
            num_positions=arguments["max_position_embeddings"],
            head_dim=arguments["mlp_dim"],
        )
    )


def check_vtn(case: Path, config: dict[str, Any]) -> None:
    model = vtn_from_official(config["constructor"]).eval()
    source = read_arrays(case / "weights.npz")
    if config["constructor"]["backbone"]["type"] == "features":
        source |= {f"backbone.{name}": tensor for name, tensor in model.backbone.state_dict().items()}
    state, report = from_official(source, model)
    assert not report.fresh
    model.load_state_dict(state)
    given = torch.from_numpy(np.load(case / "input.npy", allow_pickle=False))
    position = torch.from_numpy(np.load(case / "position_ids.npy", allow_pickle=False))
    with torch.inference_mode():
        seen = record(model, given, position)
    with np.load(case / "output.npz", allow_pickle=False) as reference:
        assert set(reference.files) <= set(seen), f"not computed: {set(reference.files) - set(seen)}"
        for name in reference.files:
            # rtol is against the array's size: small entries of a hidden state carry the rounding of large ones.
            atol = config["tolerance"]["atol"]
            np.testing.assert_allclose(seen[name].numpy(), reference[name], rtol=1e-4, atol=atol, err_msg=name)


def record(model: VTN, given: Tensor, position: Tensor) -> dict[str, Tensor]:
    """Everything that the fixtures name, from one pass over all rows and one as a user makes it."""
    features = (
        model.encode_frames(given, position) if given.ndim == 5 else FrameFeatures(vectors=given, position=position)
    )
    encoder = model.temporal_encoder
    seen = {"backbone_features": features.vectors, "embedding_output": encoder.embed(features.vectors, position)}
    after_attention: list[Tensor] = []
    hooks = [
        layer.register_forward_hook(keep(seen, f"hidden_state_layer{i}")) for i, layer in enumerate(encoder.layers)
    ]
    first: Any = encoder.layers[0]
    hooks.append(first.norm1.register_forward_hook(lambda _, __, output: after_attention.append(output)))
    seen["sequence_output"] = encoder(features.vectors, position)
    for hook in hooks:
        hook.remove()
    del seen[f"hidden_state_layer{len(encoder.layers) - 1}"]  # the last one stands as sequence_output
    seen["attention_block_output_layer0"] = torch.cat(after_attention, dim=1)
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
    resnet = {"R50-VTN": "vtn_r50", "R101-VTN": "vtn_r101"}
    with torch.device("meta"):
        model = create_model(resnet.get(content["model"], "vtn_vit_b16"))
    buffers = dict(content["buffers"])
    source = random_source({"parameters": [*content["parameters"], *buffers.items()]})
    source |= {name: tensor.long() for name, tensor in source.items() if name.endswith("num_batches_tracked")}
    row_numbers = {"temporal_encoder.embeddings.position_ids": torch.arange(288)[None]}
    state, report = from_official({**source, **row_numbers}, model)
    assert set(report.dropped) == set(row_numbers)
    assert sum(p.numel() for p in model.parameters()) == content["total_params"]
    model.load_state_dict(state, assign=True)
    back = to_official(model)
    assert back.keys() == source.keys()
    assert all(back[name].equal(tensor) for name, tensor in source.items())
