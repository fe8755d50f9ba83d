"""How the cases of initialization are checked: a restored tree, the target before, the target after, all of scenic."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from parity.compare import read_arrays
from parity.vivit import vivit_from_scenic
from tubelet.models.vivit.init import from_image
from tubelet.models.vivit.model import ViViTFactorizedEncoder, ViViTFactorizedSelfAttention
from tubelet.models.vivit.weights import from_scenic
from tubelet.protocol import Protocol
from tubelet.weights.config import InitConfig
from tubelet.weights.init.video import VideoSource, from_video
from weights.image_models import image_vit

_TOKENIZERS = {
    "central_frame_initializer": "central_frame",
    "average_frame_initializer": "inflation",
    "average_arp_frame_initializer": "arp",
}


def check_init(case: Path, config: dict[str, Any]) -> None:
    """Every tensor after the initialization, those that stay untouched among them."""
    model = vivit_from_scenic(config["constructor"], config["target_input_shape"])
    before, _ = from_scenic(read_arrays(case / "weights.npz"), model)
    model.load_state_dict(before)
    restored = read_arrays(case / "source.npz")
    state, untouched = started(model, restored, config)
    expected, _ = from_scenic(read_arrays(case / "output.npz"), model)
    tolerance = {name: config["tolerance"][name] for name in ("rtol", "atol")}
    assert state.keys() == expected.keys()
    for name, tensor in expected.items():
        torch.testing.assert_close(state[name], tensor, **tolerance, msg=lambda text, name=name: f"{name}: {text}")
    same = {name for name, tensor in expected.items() if tensor.equal(before[name])}
    assert untouched == same  # what the report calls fresh is what the original leaves alone


def started(
    model: nn.Module, restored: dict[str, Tensor], config: dict[str, Any]
) -> tuple[dict[str, Tensor], set[str]]:
    """The state dict that the library's function makes, and the tensors that its report calls fresh."""
    if any(name.startswith("TemporalTransformer/") for name in restored):
        state, report = from_video(_video_source(model, restored, config), model, keep_head=False)
    else:
        state, report = from_image(image_vit(restored, case_name(config)), model, _init(model, config))
    return state, set(report.fresh)


def case_name(config: dict[str, Any]) -> str:
    return f"scenic's image ViT ({config['note']})"


def _init(model: nn.Module, config: dict[str, Any]) -> InitConfig:
    """The original's options; its defaults where ours differ."""
    options: dict[str, Any] = {"positions": config["init_from"]["positional_embed_size_change"]}
    method = config["constructor"]["temporal_encoding_config"].get("kernel_init_method")
    if method is not None:
        options["tokenizer"] = _TOKENIZERS[method]
    if isinstance(model, ViViTFactorizedSelfAttention):
        copies = config["init_from"].get("init_temporal_transformer", True)
        options["temporal_attention"] = "copied" if copies else "random"
    if isinstance(model, ViViTFactorizedEncoder):
        options["spatial_class_token"] = "fresh"
    return InitConfig(source="fixture", **options)


def _video_source(model: nn.Module, restored: dict[str, Tensor], config: dict[str, Any]) -> VideoSource:
    """The restored Model 2: its number of time indices and of classes are those of its tensors."""
    times = restored["TemporalTransformer/posembed_input/pos_embedding"].shape[1] - 1
    arguments = config["constructor"] | {"num_classes": restored["output_projection/bias"].shape[0]}
    batch, _, *rest = config["target_input_shape"]
    source = vivit_from_scenic(arguments, [batch, times * arguments["patches"][2], *rest])
    state, _ = from_scenic(restored, source)
    source.load_state_dict(state)
    return VideoSource(
        model=source, model_name="vivit_fe", model_config={}, protocol=Protocol(), name=case_name(config)
    )
