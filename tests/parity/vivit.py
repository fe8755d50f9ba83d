"""How the ViViT cases are checked: scenic's constructor arguments as our configs, and what its fixtures name."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from parity.compare import assert_equal, compare, random_source, read_arrays, read_input
from tubelet.models.vivit.model import (
    FactorizedEncoderConfig,
    FactorizedSelfAttentionConfig,
    TokenPoolConfig,
    ViViTAveragePool,
    ViViTConfig,
    ViViTFactorizedDotProduct,
    ViViTFactorizedEncoder,
    ViViTFactorizedSelfAttention,
    ViViTJoint,
)
from tubelet.models.vivit.weights import from_scenic, to_scenic
from tubelet.nn.tokenizer import uniform_frame_indices
from tubelet.training.optim.config import OptimizerConfig
from tubelet.training.optim.optimizer import make_optimizer
from tubelet.training.optim.schedule import make_schedule

_POOL = {"token": "token", "0": "first", "gap": "avg", "gmp": "max", "gsp": "sum"}


def vivit_from_scenic(arguments: Mapping[str, Any], input_shape: Sequence[int]) -> nn.Module:
    """Our model for scenic's constructor arguments and input ``[B, T, H, W, C]``."""
    h, w, *t = arguments["patches"]
    factorized = arguments["attention_config"]["type"] == "factorized_encoder"
    spatial = "spatial_" if factorized else ""
    _, num_frames, height, width, channels = input_shape
    options: dict[str, Any] = {
        "num_classes": arguments["num_classes"],
        "in_channels": channels,
        "num_frames": num_frames,
        "image_size": (height, width),
        "tubelet_size": (t[0] if t else 1, h, w),
        "num_sampled_frames": arguments["temporal_encoding_config"].get("n_sampled_frames"),
        "embed_dim": arguments["hidden_size"],
        "depth": arguments[f"{spatial}num_layers"],
        "num_heads": arguments[f"{spatial}num_heads"],
        "mlp_ratio": arguments[f"{spatial}mlp_dim"] / arguments["hidden_size"],
        "global_pool": _POOL[arguments.get("classifier", "gap")],
        "representation_size": arguments.get("representation_size"),
    }
    temporal = {
        "temporal_depth": arguments.get("temporal_num_layers"),
        "temporal_num_heads": arguments.get("temporal_num_heads"),
        "temporal_mlp_ratio": arguments.get("temporal_mlp_dim", 0) / arguments["hidden_size"],
    }
    match arguments["attention_config"]:
        case {"type": "spacetime"}:
            return ViViTJoint(ViViTConfig(**options))
        case {"type": "factorized_encoder", "spatial_only_baseline": True}:
            return ViViTAveragePool(ViViTConfig(**options))
        case {"type": "factorized_encoder"}:
            return ViViTFactorizedEncoder(FactorizedEncoderConfig(**options, **temporal))
        case {"type": "factorized_self_attention_block", "attention_order": order}:
            return ViViTFactorizedSelfAttention(FactorizedSelfAttentionConfig(**options, attention_order=order))
        case {"type": "factorized_dot_product_attention"}:
            return ViViTFactorizedDotProduct(TokenPoolConfig(**options))
        case other:
            raise AssertionError(f"no ViViT for {other}")


def check_vivit_model(case: Path, config: dict[str, Any]) -> None:
    clip = read_input(case)  # B T H W C
    model = vivit_from_scenic(config["constructor"], clip.shape).eval()
    state, _ = from_scenic(read_arrays(case / "weights.npz"), model)
    model.load_state_dict(state)
    seen = record_intermediates(model)
    with torch.inference_mode():
        seen["logits"] = model(clip.movedim(-1, 1))  # of B C T H W
    compare(case, config, seen)


def record_intermediates(model: nn.Module) -> dict[str, Tensor]:
    """A dict that a forward pass fills with what the fixtures name, read by hooks from the modules."""
    seen: dict[str, Tensor] = {}

    def keep_output(name: str) -> Callable[..., None]:
        def hook(_: nn.Module, __: Any, output: Any) -> None:
            seen[name] = output[0] if isinstance(output, tuple) else output

        return hook

    def keep_input(name: str) -> Callable[..., None]:
        def hook(_: nn.Module, args: tuple[Tensor, ...]) -> None:
            seen[name] = args[0]

        return hook

    modules = dict(model.named_modules())
    modules["tokenizer"].register_forward_hook(keep_output("tokens"))
    modules["head"].register_forward_pre_hook(keep_input("pre_logits"))
    if "spatial_encoder" in modules:
        modules["spatial_encoder"].register_forward_hook(keep_output("spatial_encoder_output"))
        encode_frames = model.encode_frames

        def recorded(clip: Tensor) -> Any:
            features = encode_frames(clip)
            seen["frame_representation"] = features.vectors
            return features

        model.encode_frames = recorded
        if "temporal_encoder" in modules:
            modules["temporal_encoder"].register_forward_hook(keep_output("temporal_encoder_output"))
        return seen
    prefix = "encoder." if "encoder" in modules else ""
    modules[f"{prefix}norm"].register_forward_hook(keep_output("encoder_output"))
    for i, block in enumerate(modules[f"{prefix}blocks"].children()):
        if i == 0:
            block.register_forward_pre_hook(keep_input("encoder_input"))
        block.register_forward_hook(keep_output(f"block_{i}"))
    return seen


def check_frame_sampling(case: Path, config: dict[str, Any]) -> None:
    for row in config["cases"]:
        assert uniform_frame_indices(row["num_frames"], row["n_sampled_frames"]) == row["indices"]
    for row in config.get("overshoot_cases", ()):
        n = row["n_sampled_frames"]
        assert uniform_frame_indices(row["num_frames"], n) == row["official_indices"][:n]


def check_lr_schedule(case: Path, config: dict[str, Any]) -> None:
    parameter = nn.Parameter(torch.zeros(1))
    options = OptimizerConfig(name="sgd", lr=config["base_learning_rate"], warmup_epochs=config["warmup_epochs"])
    optimizer = make_optimizer(nn.ParameterList([parameter]), options)
    schedule = make_schedule(
        optimizer, options, num_epochs=config["num_training_epochs"], steps_per_epoch=config["steps_per_epoch"]
    )
    for step, expected in config["values"]:
        if step == config["total_steps"]:  # the original restarts its cosine after the last step
            continue
        schedule.step_update(step)
        actual = optimizer.param_groups[0]["lr"]
        assert abs(actual - expected) <= config["tolerance"]["atol"] + config["tolerance"]["rtol"] * expected


def check_scenic_manifest(content: Mapping[str, Any]) -> None:
    """A real-size checkpoint maps strictly, and back to the same bits under the same names."""
    with torch.device("meta"):
        model = vivit_from_scenic(content["constructor"], content["input_shape"])
    source = random_source(content)
    state, report = from_scenic(source, model)
    assert set(state) == set(model.state_dict())
    assert not report.dropped
    assert not report.fresh
    assert sum(t.numel() for t in state.values()) == content["total_parameters"]
    model.load_state_dict(state, assign=True)
    assert_equal(to_scenic(model), source)
