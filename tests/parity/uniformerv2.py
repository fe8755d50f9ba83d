"""How the UniFormerV2 cases are checked: the official constructor arguments as our configs, and what fixtures name."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from parity.compare import random_source, read_arrays
from tubelet.evaluation.cost import count_macs, count_parameters
from tubelet.models.uniformerv2.config import UniFormerV2Config, UniFormerV2LocalConfig
from tubelet.models.uniformerv2.model import UniFormerV2, UniFormerV2Local
from tubelet.models.uniformerv2.weights import from_official, to_official
from weights.image_models import from_image_model

# What the builders of the official code say about a size.
_BUILDERS = {
    "uniformerv2_b16": {"patch_size": 16, "width": 768, "layers": 12, "heads": 12, "input_resolution": 224},
    "uniformerv2_l14": {"patch_size": 14, "width": 1024, "layers": 24, "heads": 16, "input_resolution": 224},
    "uniformerv2_l14_336": {"patch_size": 14, "width": 1024, "layers": 24, "heads": 16, "input_resolution": 336},
}


def uniformerv2_from_official(arguments: Mapping[str, Any]) -> UniFormerV2 | UniFormerV2Local:
    """Our model for the official constructor arguments."""
    (drop_rate,) = set(arguments["mlp_dropout"])
    options: dict[str, Any] = {
        "num_classes": arguments["num_classes"],
        "num_frames": arguments["t_size"],
        "image_size": (arguments["input_resolution"],) * 2,
        "patch_size": arguments["patch_size"],
        "embed_dim": arguments["width"],
        "depth": arguments["layers"],
        "num_heads": arguments["heads"],
        "global_layers": tuple(arguments["return_list"]),
        "global_num_heads": arguments.get("n_head"),
        "global_mlp_ratio": arguments.get("mlp_factor", 4.0),
        "drop_rate": arguments.get("cls_dropout", 0.5),
        "global_drop_rate": drop_rate,
        "drop_path_rate": arguments.get("backbone_drop_path_rate", 0.0),
        "global_drop_path_rate": arguments.get("drop_path_rate", 0.0),
        "frozen": arguments.get("frozen", False),
    }
    if arguments["no_lmhra"] and not arguments["temporal_downsample"]:
        return UniFormerV2(UniFormerV2Config(**options))
    local = {
        "temporal_downsample": arguments["temporal_downsample"],
        "stem_kernel": arguments.get("kernel_size", 3),
        "local_layers": 0 if arguments["no_lmhra"] else None,
        "num_local": 2 if arguments["double_lmhra"] else 1,
        "dw_reduction": float(arguments["dw_reduction"]),
    }
    return UniFormerV2Local(UniFormerV2LocalConfig(**options, **local))


def check_uniformerv2(case: Path, config: dict[str, Any]) -> None:
    model = loaded(case, config)
    seen = record_intermediates(model)
    with torch.inference_mode():
        seen["logits"] = model(read_clip(case))
    with np.load(case / "output.npz", allow_pickle=False) as reference:
        assert set(reference.files) == set(seen)
        for name in reference.files:
            error = np.abs(seen[name].numpy() - reference[name]).max()
            if name == "logits":
                assert error <= config["tolerance"]["logits_atol"], f"{name}: {error:.1e}"
            else:
                bound = config["tolerance"]["intermediates_max_abs_over_tensor_max"] * np.abs(reference[name]).max()
                assert error <= bound, f"{name}: {error:.1e} above {bound:.1e}"


def check_train_step(case: Path, config: dict[str, Any]) -> None:
    """Loss, gradients and BatchNorm buffers of one step, every one under its official name."""
    model = loaded(case, config).train()
    tolerance = config["tolerance"]
    expected = read_arrays(case / "output.npz")
    logits = model(read_clip(case))
    loss = F.cross_entropy(logits, expected["labels"])
    loss.backward()
    torch.testing.assert_close(logits, expected["logits"], atol=tolerance["logits_atol"], rtol=0)
    torch.testing.assert_close(loss[None], expected["loss"], atol=tolerance["logits_atol"], rtol=0)
    after = to_official(model)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(parameter.grad)
    gradients = to_official(model)
    named = set(expected) - {"labels", "logits", "loss"}
    buffers = {f"buffer_after/{name}" for name in after if "running_" in name or "num_batches" in name}
    assert named == buffers | {f"grad/{name}" for name in after if f"buffer_after/{name}" not in buffers}
    for name in named:
        kind, _, original = name.partition("/")
        actual = (gradients if kind == "grad" else after)[original].reshape(expected[name].shape)
        atol = tolerance["grad_atol" if kind == "grad" else "buffer_atol"]
        torch.testing.assert_close(actual, expected[name], atol=atol, rtol=0, msg=lambda text, n=name: f"{n}: {text}")


def check_clip_inflation(case: Path, config: dict[str, Any]) -> None:
    """The trunk from a whole CLIP, text tower beside it: exactly the official loader's weights, then its logits."""
    model = uniformerv2_from_official(config["constructor"]).eval()
    after = read_arrays(case / "weights.npz")
    before = {name: after[name] for name in config["keys_left_at_init"]}
    fresh = {name: torch.zeros_like(after[name]) for name in config["keys_changed_by_loading"]}
    model.load_state_dict(from_official({**before, **fresh}, model)[0])
    state, report = from_image_model(read_arrays(case / "clip_state_dict.npz"), model)
    assert len(report.filled) == len(config["keys_changed_by_loading"])
    model.load_state_dict(state)
    ours = to_official(model)
    assert ours.keys() == after.keys()
    assert all(ours[name].equal(tensor) for name, tensor in after.items())
    with torch.inference_mode(), np.load(case / "output.npz", allow_pickle=False) as reference:
        error = np.abs(model(read_clip(case)).numpy() - reference["logits"]).max()
        assert error <= config["tolerance"]["logits_atol"]


def check_uniformerv2_manifest(content: Mapping[str, Any]) -> None:
    """A real-size checkpoint maps strictly and back to the same bits; parameters and multiply-adds are as measured."""
    with torch.device("meta"):
        model = uniformerv2_from_official({**_BUILDERS[content["builder"]], **content["args"]})
    assert count_parameters(model) == content["total_parameters"]
    shape = content["flops"]["input_shape"]
    assert count_macs(model, tuple(shape[1:])) == pytest.approx(content["flops"]["total"] / 2, rel=1e-3)
    source = random_source({"parameters": [*content["parameters"], *content["buffers"]]})
    state, report = from_official(source, model)
    assert not report.dropped
    assert not report.fresh
    model.load_state_dict(state, assign=True)
    back = to_official(model)
    assert back.keys() == source.keys()
    assert all(back[name].equal(tensor.to(back[name].dtype)) for name, tensor in source.items())


def loaded(case: Path, config: Mapping[str, Any]) -> UniFormerV2 | UniFormerV2Local:
    model = uniformerv2_from_official(config["constructor"]).eval()
    state, report = from_official(read_arrays(case / "weights.npz"), model)
    assert not report.dropped
    assert not report.fresh
    model.load_state_dict(state)
    return model


def read_clip(case: Path) -> Tensor:
    return torch.from_numpy(np.load(case / "input.npy", allow_pickle=False))


def record_intermediates(model: UniFormerV2 | UniFormerV2Local) -> dict[str, Tensor]:
    """A dict that a forward pass fills with what the fixtures name, in the original's layouts, read by hooks."""
    seen: dict[str, Tensor] = {}
    h, _ = model.config.grid

    def keep(module: nn.Module, name: str, layout: str) -> None:
        def hook(_: nn.Module, __: tuple[Any, ...], output: Tensor) -> None:
            sizes = {"h": h} if "(h w)" in layout else {}
            seen[name] = rearrange(output, layout, **sizes).clone()  # later layers may write over it

        module.register_forward_hook(hook)

    trunk: Any = model.trunk
    keep(trunk.stem, "conv1", "n t (h w) c -> n c t h w")
    keep(trunk.norm_pre, "ln_pre", "n t l c -> (n t) l c")
    for i, block in enumerate(trunk.blocks):
        keep(block, f"resblocks.{i}", "n t l c -> l (n t) c")
        keep(block.attn, f"resblocks.{i}.attn", "n t l c -> l (n t) c")
        for number in (1, 2):
            if (branch := getattr(block, f"local{number}")) is not None:
                keep(branch, f"resblocks.{i}.lmhra{number}", "n t (h w) c -> n c t h w")
    fusion: Any = model.fusion
    for j, block in enumerate(fusion.blocks):
        keep(block.dpe, f"dpe.{j}", "n t h w c -> n c t h w")
        keep(block.attn, f"dec.{j}.attn_out", "n q c -> q n c")
        keep(block, f"dec.{j}", "n q c -> q n c")
    keep(model.pool, "fused", "n c -> n c")
    keep(model.norm, "head_norm", "n c -> n c")
    return seen
