"""How the UniFormerV2 cases are checked: the official constructor arguments as our configs, and what fixtures name."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from parity.compare import assert_equal, compare, pair, random_source, read_arrays, read_input
from tubelet.evaluation.cost import count_macs, count_parameters
from tubelet.models.uniformerv2.config import UniFormerV2Config, UniFormerV2LocalConfig
from tubelet.models.uniformerv2.model import UniFormerV2, UniFormerV2Local
from tubelet.models.uniformerv2.recognize import model_of
from tubelet.models.uniformerv2.weights import from_official, to_official
from weights.image_models import from_image_model


def uniformerv2_from_official(arguments: Mapping[str, Any]) -> UniFormerV2 | UniFormerV2Local:
    """Our model for the official constructor arguments."""
    options: dict[str, Any] = {
        "num_classes": arguments["num_classes"],
        "num_frames": arguments["t_size"],
        "image_size": pair(arguments["input_resolution"]),
        "patch_size": arguments["patch_size"],
        "embed_dim": arguments["width"],
        "depth": arguments["layers"],
        "num_heads": arguments["heads"],
        "global_layers": tuple(arguments["return_list"]),
        "global_num_heads": arguments.get("n_head"),
        "global_mlp_ratio": arguments.get("mlp_factor", 4.0),
        "drop_rate": arguments.get("cls_dropout", 0.5),
        "global_drop_rate": max(arguments["mlp_dropout"]),  # in training all are 0, or nothing is reproducible
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
    """Every recorded array within its bound."""
    model = loaded(case, config)
    seen = record_intermediates(model)
    with torch.inference_mode():
        seen["logits"] = model(read_input(case))
    compare(case, config, seen)


def check_train_step(case: Path, config: dict[str, Any]) -> None:
    """Loss, gradients and BatchNorm buffers of one step, every one under its official name."""
    model = loaded(case, config).train()
    tolerance = config["tolerance"]
    expected = read_arrays(case / "output.npz")
    logits = model(read_input(case))
    loss = F.cross_entropy(logits, expected["labels"])
    loss.backward()
    seen = {"labels": expected["labels"], "logits": logits.detach(), "loss": loss.detach()}
    seen |= {f"buffer_after/{name}": tensor for name, tensor in to_official(model).items() if is_buffer(name)}
    seen |= {f"grad/{name}": tensor for name, tensor in gradients(model).items()}
    assert set(seen) == set(expected), f"not in both: {set(seen) ^ set(expected)}"
    for name, wanted in expected.items():
        atol = tolerance[
            {"grad": "grad_atol", "buffer_after": "buffer_atol"}.get(name.partition("/")[0], "logits_atol")
        ]
        actual = seen[name].reshape(wanted.shape)
        torch.testing.assert_close(actual, wanted, atol=atol, rtol=0, msg=lambda text, n=name: f"{n}: {text}")


def gradients(model: UniFormerV2 | UniFormerV2Local) -> dict[str, Tensor]:
    """The gradient of every parameter that learns, under its official name; the model's values are lost."""
    learns = copy.deepcopy(model)
    with torch.no_grad():
        for parameter, flag in zip(model.parameters(), learns.parameters(), strict=True):
            flag.fill_(parameter.grad is not None)
            parameter.copy_(torch.zeros_like(parameter) if parameter.grad is None else parameter.grad)
    named = {name for name, flag in to_official(learns).items() if not is_buffer(name) and flag.all()}
    return {name: tensor for name, tensor in to_official(model).items() if name in named}


def is_buffer(name: str) -> bool:
    """Whether an official name is that of a BatchNorm's statistics."""
    return name.endswith(("running_mean", "running_var", "num_batches_tracked"))


def check_image_init(case: Path, config: dict[str, Any]) -> None:
    """The trunk from a whole CLIP, text tower beside it: exactly the official loader's weights, then its logits."""
    model = uniformerv2_from_official(config["constructor"]).eval()
    after = read_arrays(case / "weights.npz")
    before = {name: after[name] for name in config["keys_left_at_init"]}
    fresh = {name: torch.zeros_like(after[name]) for name in config["keys_changed_by_loading"]}
    model.load_state_dict(from_official({**before, **fresh}, model)[0])
    state, report = from_image_model(read_arrays(case / "clip_state_dict.npz"), model)
    assert len(report.filled) == len(config["keys_changed_by_loading"])
    model.load_state_dict(state)
    assert_equal(to_official(model), after)
    with torch.inference_mode():
        compare(case, config, {"logits": model(read_input(case))})


def check_uniformerv2_manifest(content: Mapping[str, Any]) -> None:
    """A real-size checkpoint maps strictly and back to the same bits; parameters and multiply-adds are as measured."""
    source = random_source({"parameters": [*content["parameters"], *content["buffers"]]})
    shape = content["flops"]["input_shape"]
    with torch.device("meta"):
        model = uniformerv2_from_official({**content["args"], **sizes(source), "input_resolution": shape[-2:]})
    state, report = from_official(source, model)
    assert not report.dropped
    assert not report.fresh
    assert count_parameters(model) == content["total_parameters"]
    assert count_macs(model, tuple(shape[1:])) == pytest.approx(content["flops"]["total"] / 2, rel=1e-3)
    model.load_state_dict(state, assign=True)
    back = to_official(model)
    assert_equal(back, {name: tensor.to(back[name].dtype) for name, tensor in source.items()})


def sizes(source: Mapping[str, Tensor]) -> dict[str, int]:
    """The arguments that a manifest's ``builder`` sets itself, from the shapes of its tensors."""
    _, fields, _ = model_of(source, {})
    ours = {"patch_size": "patch_size", "width": "embed_dim", "layers": "depth", "heads": "num_heads"}
    return {theirs: fields[name] for theirs, name in ours.items()}


def loaded(case: Path, config: Mapping[str, Any]) -> UniFormerV2 | UniFormerV2Local:
    model = uniformerv2_from_official(config["constructor"]).eval()
    state, report = from_official(read_arrays(case / "weights.npz"), model)
    assert not report.dropped
    assert not report.fresh
    model.load_state_dict(state)
    return model


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
