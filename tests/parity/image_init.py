"""How the cases of initialization are checked: a restored tree, the target before, the target after, all of scenic."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from parity.compare import read_arrays
from parity.vivit import vivit_from_scenic
from tubelet.models.vivit.from_image import from_image
from tubelet.models.vivit.model import TwoStageViViT, ViViTConfig, ViViTFactorizedSelfAttention
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
_KERNEL, _TABLE = "embedding/kernel", "posembed_input/pos_embedding"


def check_init(case: Path, config: dict[str, Any]) -> None:
    """Every tensor after the initialization, those that stay untouched among them."""
    model = vivit_from_scenic(config["constructor"], config["target_input_shape"])
    before, _ = from_scenic(read_arrays(case / "weights.npz"), model)
    model.load_state_dict(before)
    state, untouched = started(model, read_arrays(case / "source.npz"), config)
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
    keep_head = config.get("restore_output_proj", False)
    if _is_video(restored):
        state, report = from_video(_video_source(restored, config), model, keep_head)
    else:
        state, report = from_image(image_vit(restored, _name(config)), model, _init(model, config, keep_head))
    return state, set(report.fresh)


def _is_video(restored: Mapping[str, Tensor]) -> bool:
    """Whether the restored tree is a video model's: a kernel over time, or an encoder over time."""
    return restored[_KERNEL].ndim == 5 or f"TemporalTransformer/{_TABLE}" in restored


def _name(config: Mapping[str, Any]) -> str:
    return f"scenic's restored tree ({config.get('note', 'no note')})"


def _init(model: nn.Module, config: dict[str, Any], keep_head: bool) -> InitConfig:
    """The original's options; its defaults where ours differ."""
    asked, fields = config["init_from"], model.config
    assert isinstance(fields, ViViTConfig)
    options: dict[str, Any] = {"positions": asked["positional_embed_size_change"], "keep_head": keep_head}
    method = config["constructor"]["temporal_encoding_config"].get("kernel_init_method")
    if not asked.get("restore_input_embedding", True):
        options["tokenizer"] = "random"
    elif method is not None and not fields.has_image_kernel:
        options["tokenizer"] = _TOKENIZERS[method]
    if isinstance(model, ViViTFactorizedSelfAttention):
        options["temporal_attention"] = "copied" if asked.get("init_temporal_transformer", True) else "random"
    if isinstance(model, TwoStageViViT) and fields.global_pool == "token":
        options["spatial_class_token"] = "fresh"
    return InitConfig(source="fixture", **options)


def _video_source(restored: dict[str, Tensor], config: dict[str, Any]) -> VideoSource:
    """The restored model: its sizes are those of its tensors."""
    source = vivit_from_scenic(*_restored_arguments(restored, config))
    state, _ = from_scenic(restored, source)
    source.load_state_dict(state)
    return VideoSource(model=source, model_name="restored", model_config={}, protocol=Protocol(), name=_name(config))


def _restored_arguments(restored: dict[str, Tensor], config: dict[str, Any]) -> tuple[dict[str, Any], list[int]]:
    """Constructor arguments and input shape of a restored video model, which differs from the target in classes, grid
    and pooling."""
    batch, frames, height, width, channels = config["target_input_shape"]
    *time, h, w, _, _ = restored[_KERNEL].shape
    pooling = {key: config["restored_model_config"].get(key) for key in ("classifier", "representation_size")}
    arguments = {**config["constructor"], **pooling, "patches": [h, w, *time]}
    arguments["num_classes"] = len(restored["output_projection/bias"])
    if (name := f"TemporalTransformer/{_TABLE}") in restored:
        times = _places(restored, name, pooling)
        frames = times * time[0] if time else max(frames, times)
        if not time:
            arguments["temporal_encoding_config"] = {"method": "temporal_sampling", "n_sampled_frames": times}
    if (name := f"SpatialTransformer/{_TABLE}") in restored:
        places = _places(restored, name, pooling)
        if places != (height // h) * (width // w):  # another grid than the target's: the original has squares alone
            side = math.isqrt(places)
            height, width = side * h, side * w
    return arguments, [batch, frames, height, width, channels]


def _places(restored: Mapping[str, Tensor], table: str, pooling: Mapping[str, Any]) -> int:
    """Rows of a position table without that of the class token."""
    return restored[table].shape[1] - (pooling["classifier"] == "token")
