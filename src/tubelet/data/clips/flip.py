"""Flips of a clip: the draw, the flip itself, and the labels of a clip that is flipped left to right."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import UInt8
from torch import Tensor

from tubelet.data.clips.augment_config import AugmentConfig
from tubelet.data.manifest.manifest import Manifest
from tubelet.errors import ConfigError, nearest

Flip = tuple[bool, bool, bool]  # which of T, H, W are reversed


def draw_flip(augment: AugmentConfig, rng: np.random.Generator) -> Flip:
    """Draw the flip of one training clip."""
    # One draw even where the probability is 0: switching the flip on changes no later draw of the clip.
    flip = (False, False, bool(rng.random() < augment.flip_probability))
    if augment.volume_flips:
        t, h, w = rng.random(3) < 0.5
        flip = (bool(t), bool(h), bool(w))
    return flip


def flip_clip(clip: UInt8[Tensor, "T C H W"], flip: Flip) -> UInt8[Tensor, "T C H W"]:
    """Reverse these axes of a clip."""
    axes = [axis for axis, is_reversed in zip((0, 2, 3), flip, strict=True) if is_reversed]
    return clip.flip(axes) if axes else clip


def flip_label_maps(manifest: Manifest, augment: AugmentConfig) -> tuple[dict[int, int], ...]:
    """For each head, the class index of a flipped_labels clip where it differs."""
    known = [name for names in manifest.class_names.values() for name in names]
    for name in augment.flip_label_map:
        if name not in known:
            raise ConfigError(f"flip_label_map names '{name}', which is no class{nearest(name, known)}")
    return tuple(
        {names.index(a): names.index(b) for a, b in augment.flip_label_map.items() if a in names and b in names}
        for names in manifest.class_names.values()
    )


def flipped_labels(labels: tuple[int, ...], other: Sequence[Mapping[int, int]], multi_label: bool) -> tuple[int, ...]:
    """The class indices of a flipped clip. ``other`` maps the classes of each head that change."""
    heads = list(other) * (len(labels) if multi_label else 1)
    return tuple(of_head.get(label, label) for of_head, label in zip(heads, labels, strict=True))
