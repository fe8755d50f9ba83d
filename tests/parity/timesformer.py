"""How the TimeSformer cases are checked: the official constructor arguments as our configs, and what fixtures name."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from einops import rearrange
from torch import Tensor, nn

from parity.compare import assert_equal, compare, pair, random_source, read_arrays, read_input
from tubelet.evaluation.cost import count_macs, count_parameters
from tubelet.models.timesformer.config import TimeSformerConfig
from tubelet.models.timesformer.from_image import from_image_vit
from tubelet.models.timesformer.huggingface import (
    CLASSES,
    from_huggingface,
    per_frame_logits,
    timesformer_fields,
    to_huggingface,
)
from tubelet.models.timesformer.model import TimeSformer, TimeSformerSpace
from tubelet.models.timesformer.weights import from_official, to_official


def timesformer_from_official(arguments: Mapping[str, Any]) -> TimeSformer:
    """Our model for the official constructor arguments."""
    config = TimeSformerConfig(
        num_classes=arguments["num_classes"],
        num_frames=arguments["num_frames"],
        in_channels=arguments.get("in_chans", 3),
        image_size=pair(arguments["img_size"]),
        mlp_ratio=float(arguments["mlp_ratio"]),
        drop_path_rate=arguments.get("drop_path_rate", 0.1),
        **{name: arguments[name] for name in ("patch_size", "embed_dim", "depth", "num_heads", "qkv_bias", "norm_eps")},
    )
    return CLASSES[arguments["attention_type"]](config)


def check_timesformer(case: Path, config: dict[str, Any]) -> None:
    """Every recorded array within its bound; the weights map back to the same bits under the same names."""
    source = read_arrays(case / "weights.npz")
    model = timesformer_from_official(config["constructor"]).eval()
    state, report = from_official(source, model)
    assert not report.dropped
    assert not report.fresh
    model.load_state_dict(state)
    seen = record_intermediates(model)
    with torch.inference_mode():
        seen["logits"] = model(read_input(case))
    compare(case, config, seen)
    assert_equal(to_official(model), source)


def check_huggingface(case: Path, config: dict[str, Any]) -> None:
    """HuggingFace's names both ways, its hidden states and logits, which for space-only attention are per frame."""
    source = read_arrays(case / "weights.npz")
    content = {**config["hf_config"], "model_type": "timesformer"}
    model_class, fields = timesformer_fields(content, case)
    fields |= {"image_size": tuple(fields["image_size"]), "num_classes": len(source["classifier.weight"])}
    model = model_class(TimeSformerConfig(**fields))
    state, report = from_huggingface(source, model.eval())
    assert not report.dropped
    assert not report.fresh
    model.load_state_dict(state)
    clip = read_input(case).transpose(1, 2)  # B C T H W
    recorded = record_intermediates(model)
    with torch.inference_mode():
        logits = per_frame_logits(model, clip) if isinstance(model, TimeSformerSpace) else model(clip)
        model(clip)
    seen = {"hidden_states.0": recorded["embed"], "logits": logits}
    seen |= {f"hidden_states.{i + 1}": recorded[f"blocks.{i}"] for i in range(model.config.depth)}
    compare(case, config, seen)
    assert_equal(to_huggingface(model), source)


def check_image_init(case: Path, config: dict[str, Any]) -> None:
    """From an image ViT: exactly the official loader's weights, then its logits.

    A table of another grid is resized over the grid unless the original's way is asked for; the case states how far
    the two are apart.
    """
    model = timesformer_from_official(config["constructor"]).eval()
    after, image = read_arrays(case / "weights.npz"), read_arrays(case / "image_vit_state_dict.npz")
    options: dict[str, Any] = {
        "keep_head": config["image_vit"]["classes"] == config["constructor"]["num_classes"],
        "image_grid": pair(config["image_vit"]["grid"]),
    }
    before = {name: torch.full_like(tensor, 7.0) for name, tensor in after.items()}  # to be filled
    before |= {name: after[name] for name in after if name.startswith("head.") or name in config["left_at_init"]}
    model.load_state_dict(from_official(before, model)[0])
    state, report = from_image_vit(image, model, position_resize="flat", **options)
    assert set(report.fresh) >= {name.replace("time_embed", "time_embed.table") for name in config["left_at_init"]}
    model.load_state_dict(state)
    assert_equal(to_official(model), after)
    with torch.inference_mode():
        compare(case, config, {"logits": model(read_input(case))})
    by_grid, report = from_image_vit(image, model, **options)
    difference = float((by_grid["pos_embed.table"] - after["pos_embed"][0]).abs().max())
    stated = config["pos_embed_difference_from_a_2d_nearest_resize"]
    assert difference == pytest.approx(stated or 0.0)
    assert bool(report.notes) == (stated is not None)


def check_manifest(content: Mapping[str, Any]) -> None:
    """A real-size checkpoint maps strictly and back to the same bits, under the official and HuggingFace's names;
    parameters and multiply-adds are as measured there."""
    with torch.device("meta"):
        model = timesformer_from_official(content["constructor"])
    source = random_source(content)
    state, report = from_official(source, model)
    assert not report.dropped
    assert not report.fresh
    assert count_parameters(model) == content["total_parameters"]
    shape = content["flops"]["input_shape"]
    assert count_macs(model, tuple(shape[1:])) == pytest.approx(content["flops"]["total"] / 2, rel=1e-3)
    model.load_state_dict(state, assign=True)
    assert_equal(to_official(model), source)
    again, report = from_huggingface(to_huggingface(model), model)
    assert not report.dropped
    assert not report.fresh
    assert_equal(again, state)


def record_intermediates(model: TimeSformer) -> dict[str, Tensor]:
    """A dict that a forward pass fills with what the fixtures name, in the original's layouts, read by hooks."""
    seen: dict[str, Tensor] = {}

    def keep(module: nn.Module, name: str, layout: str | None = None, of_input: bool = False) -> None:
        def hook(_: nn.Module, args: tuple[Any, ...], output: Any) -> None:
            value = args[0] if of_input else output[0] if isinstance(output, tuple) else output
            seen[name] = (value if layout is None else rearrange(value, layout)).clone()

        module.register_forward_hook(hook)

    keep(model.tokenizer, "patch_embed", "b s t d -> (b t) s d")
    keep(model.pos_drop, "embed")
    for i, block in enumerate(model.blocks):
        keep(block, f"blocks.{i}")
        keep(block.attn, f"blocks.{i}.attn")
        if hasattr(block, "temporal_fc"):
            keep(block.temporal_attn, f"blocks.{i}.temporal_attn")
            keep(block.temporal_fc, f"blocks.{i}.temporal_fc")
    keep(model.norm, "features")

    def flat_places(_: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> None:
        for name in [n for n in seen if n.endswith("temporal_fc")]:
            seen[name] = seen[name].reshape(len(output), -1, seen[name].shape[-1])  # B*S T D -> B S*T D

    model.norm.register_forward_hook(flat_places)
    return seen
