"""Which V-JEPA 2 a state dict is, from names and shapes, and the protocol that its weights were tested with.

Source: facebookresearch/vjepa2, commit c2963a47, ``src/hub/backbones.py`` (sizes), ``configs/eval`` (probes: frames,
segments, views, levels), ``evals/video_classification_frozen``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from tubelet.errors import CheckpointError
from tubelet.models.family import nearest_name
from tubelet.models.vjepa2.config import VJEPA2Config
from tubelet.models.vjepa2.model import VJEPA2
from tubelet.models.vjepa2.model_2_1 import VJEPA21
from tubelet.models.vjepa2.variants import MODELS
from tubelet.protocol import Protocol

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # ImageNet's, of every released model
HEADS = {768: 12, 1024: 16, 1280: 16, 1408: 22, 1664: 26}  # of the encoder by its width; no tensor's shape shows them
PROBE_HEADS = 16  # of every released probe
_LEVELS = {1024: (17, 19, 21, 23), 1408: (24, 29, 34, 39)}  # that the probes of Diving48 and Jester read
# Of V-JEPA 2.1: blocks with a norm behind them, by the depth.
_NORM_LAYERS = {12: (2, 5, 8, 11), 24: (5, 11, 17, 23), 40: (9, 19, 29, 39), 48: (11, 23, 37, 47)}
_PIXELS_OF_2_1 = 384
_GIANT, _PIXELS_OF_ITS_PROBES = 1408, 384


@dataclass(frozen=True, kw_only=True)
class Probe:
    """How a released probe was trained and tested: segments of ``num_frames`` frames, pooled at once, and in the test
    three spatial crops."""

    data: str
    num_frames: int
    num_segments: int
    frame_stride: int
    reads_levels: bool = False


# By the number of classes; Something-Something is read otherwise by the giant.
_PROBES = {
    174: Probe(data="Something-Something V2", num_frames=16, num_segments=2, frame_stride=4),
    400: Probe(data="Kinetics-400", num_frames=16, num_segments=8, frame_stride=4),
    180: Probe(data="COIN", num_frames=16, num_segments=8, frame_stride=4),
    48: Probe(data="Diving48", num_frames=32, num_segments=4, frame_stride=2, reads_levels=True),
    27: Probe(data="Jester", num_frames=32, num_segments=4, frame_stride=2, reads_levels=True),
}
_GIANT_SSV2 = Probe(data="Something-Something V2", num_frames=64, num_segments=2, frame_stride=2)


def probe_of(num_classes: int, width: int) -> Probe | None:
    """The released probe of so many classes; None where there is none."""
    return _GIANT_SSV2 if (num_classes, width) == (174, _GIANT) else _PROBES.get(num_classes)


def levels_of(num_classes: int, width: int) -> tuple[int, ...]:
    """The levels that the released probe of so many classes reads; empty means the last one."""
    probe = probe_of(num_classes, width)
    return _LEVELS.get(width, ()) if probe is not None and probe.reads_levels else ()


def model_of(source: Mapping[str, Tensor], given: Mapping[str, Any]) -> tuple[str, dict[str, Any], list[str]]:
    """Name and fields of the model that official parameters belong to, and what was taken for granted.

    Args:
        source: ``encoder.`` and, of a probe, ``classifier.`` before the official names.
        given: ``name`` and fields that a user sets; they win over what is inferred.

    Raises:
        CheckpointError: no V-JEPA 2, or one that is not fully described.
    """
    kernel, hidden = source.get("encoder.patch_embed.proj.weight"), source.get("encoder.blocks.0.mlp.fc1.weight")
    if kernel is None or hidden is None or kernel.ndim != 5:
        found = ", ".join(list(source)[:4])
        raise CheckpointError(
            f"no V-JEPA 2: expected patch_embed.proj.weight with 5 axes and blocks.0.mlp.fc1.weight, found {found}, ..."
        )
    width, notes = len(kernel), list[str]()
    num_classes = len(source["classifier.linear.weight"]) if "classifier.linear.weight" in source else 0
    fields: dict[str, Any] = {
        "num_classes": num_classes,
        "in_channels": kernel.shape[1],
        "tubelet_size": list(kernel.shape[2:]),
        "embed_dim": width,
        "depth": _count(source, r"encoder\.blocks\.(\d+)\."),
        "mlp_ratio": len(hidden) / width,
        "qkv_bias": "encoder.blocks.0.attn.qkv.bias" in source,
        "remainder": "drop",  # as the original's convolution does, which has no padding
    }
    is_2_1 = "encoder.video_mod_embed" in source
    if is_2_1:
        size = [_PIXELS_OF_2_1, _PIXELS_OF_2_1]
        fields |= {"image_size": size, "norm_layers": list(_NORM_LAYERS.get(fields["depth"], ()))}
        notes.append(
            f"V-JEPA 2.1: unproven, since no output of the original was there to compare with; {size[0]} pixels"
        )
    if num_classes:
        fields |= _probe_fields(source, num_classes, width, given, notes)
    if "num_heads" not in given:
        fields["num_heads"] = _heads_of(width)
        notes.append(f"{fields['num_heads']} heads, as the released encoder of width {width} (--model.num_heads)")
    if "image_size" not in given and not num_classes and not is_2_1:
        notes.append("256 pixels: weights with rotary positions do not say (--model.image_size 384,384)")
    fields |= {key: value for key, value in given.items() if key != "name"}
    model_class: type[VJEPA2] = VJEPA21 if is_2_1 else VJEPA2
    return given.get("name") or nearest_name(MODELS, model_class, fields), fields, notes


def _probe_fields(
    source: Mapping[str, Tensor], num_classes: int, width: int, given: Mapping[str, Any], notes: list[str]
) -> dict[str, Any]:
    """Fields that say what a probe is; ``notes`` gets a line for each that no tensor shows."""
    size = _PIXELS_OF_ITS_PROBES if width == _GIANT else 256
    levels, probe = levels_of(num_classes, width), probe_of(num_classes, width)
    notes.append(f"{PROBE_HEADS} heads in the probe, as every released one (--model.pooler_num_heads)")
    if levels:
        assert probe is not None
        notes.append(
            f"{num_classes} classes: taken for {probe.data}, whose probe reads the levels "
            f"{', '.join(map(str, levels))} (--model.out_layers)"
        )
    return {
        "image_size": [size, size],
        **segment_fields(num_classes, width, 64 if probe is None else probe.num_frames, given, notes),
        "pooler_depth": 1 + _count(source, r"classifier\.pooler\.blocks\.(\d+)\."),
        "pooler_num_heads": PROBE_HEADS,
        "out_layers": list(levels),
    }


def segment_fields(
    num_classes: int, width: int, num_frames: int, given: Mapping[str, Any], notes: list[str]
) -> dict[str, int]:
    """How many segments a probe of so many classes pools at once, and the frames of all of them.

    Args:
        num_frames: of one segment.
        given: fields that a user sets; ``num_segments`` is read.
    """
    probe = probe_of(num_classes, width)
    segments = given.get("num_segments", 1 if probe is None else probe.num_segments)
    if probe is not None and "num_segments" not in given:
        notes.append(
            f"{num_classes} classes: taken for {probe.data}, whose probe pools {segments} segments of {num_frames} "
            "frames at once (--model.num_segments)"
        )
    return {"num_frames": segments * num_frames, "num_segments": segments}


def _count(source: Mapping[str, Tensor], pattern: str) -> int:
    return 1 + max((int(m[1]) for name in source if (m := re.match(pattern, name))), default=-1)


def _heads_of(width: int) -> int:
    if width not in HEADS:
        known = ", ".join(map(str, HEADS))
        raise CheckpointError(
            f"width {width} is none of the released models' ({known}), and no shape shows how many heads there are: "
            "give --model.num_heads"
        )
    return HEADS[width]


def protocol_of(config: VJEPA2Config) -> tuple[Protocol, list[str]]:
    """How the released models were tested, and what of it was concluded rather than written."""
    channels, short = config.in_channels, min(config.image_size)
    common: dict[str, Any] = {
        "crop_size": config.image_size,
        "num_channels": channels,
        "mean": MEAN if channels == 3 else (0.5,) * channels,
        "std": STD if channels == 3 else (0.5,) * channels,
        "short_video": "hold",
        "averaging": "probs",
    }
    probe = probe_of(config.num_classes, config.embed_dim)
    if probe is None:
        notes = ["4 frames per second and one view, as in pre-training: the weights do not say what they are for"]
        return Protocol(
            **common,
            num_frames=config.num_frames,
            frame_stride=None,
            target_fps=4.0,
            resize_short_side=int(short * 256 / 224),
            num_temporal_views=1,
            num_spatial_crops=1,
        ), notes
    s, frames = config.num_segments, config.num_frames // config.num_segments
    common |= {"num_frames": config.num_frames, "frame_stride": probe.frame_stride, "resize_short_side": short}
    notes = [f"{config.num_classes} classes: taken for {probe.data}, {frames} frames, every {probe.frame_stride}. one"]
    if s == 1:
        views = probe.num_segments
        notes.append(
            f"the original pools the tokens of {views} segments at once; here each is a view, and their scores are "
            "averaged"
        )
        return Protocol(**common, num_temporal_views=views, num_spatial_crops=3), notes
    notes.append(
        f"{s} segments, pooled at once, of each of 3 crops; their windows begin with the segments, where the original "
        "draws them at random in its test too"
    )
    return Protocol(**common, sampling="windows", num_segments=s, num_temporal_views=1, num_spatial_crops=3), notes


def license_facts(config: VJEPA2Config) -> dict[str, str]:
    """Original, license of the weights and license of the code, as a record keeps them."""
    known = config.embed_dim == _GIANT and not config.num_classes
    return {
        "original": "facebookresearch/vjepa2",
        "license": "apache-2.0" if known else "unknown: not stated beside the file; the code is mit",
        "code_license": "mit",
    }
