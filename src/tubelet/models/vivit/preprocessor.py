"""The preprocessing that HuggingFace stores beside a ViViT, as a protocol, and back.

Source: transformers 4.57.1 and 5.23.0, ``models/vivit/image_processing_vivit.py`` and ``video_processing_vivit.py``:
resize the shorter side, crop the center, ``x * rescale_factor - 1`` (with ``offset``), then ``(y - mean) / std``
(with ``do_normalize``).

The trap: the processor's own defaults do both, which gives pixels from -3 to 1, while the weights were trained on
-1 to 1. What the file says is what the folder's users got, so it is kept, and noted when it is not [-1, 1].
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from tubelet.errors import CheckpointError, ConfigError, reason
from tubelet.protocol import Protocol
from tubelet.weights.mapping.huggingface import (
    BILINEAR,
    PREPROCESSOR,
    PROCESSOR_FILES,
    crop_and_resize,
    pixel_range,
    read_json,
)

# Where a resize goes to when nothing says so: the ratio that ViViT was trained with, 256 to 224.
_RESIZE_TO_CROP = 256 / 224


def read_protocol(
    path: Path, num_frames: int, image_size: tuple[int, int], num_channels: int
) -> tuple[Protocol, list[str]]:
    """The protocol of a folder, and what its user should know.

    Frames are taken every second one, and 4x3 views, as ViViT was trained and tested; the folder does not say.

    Raises:
        CheckpointError: a damaged file, or a preprocessing that a protocol cannot hold.
    """
    file = next((path / name for name in PROCESSOR_FILES if (path / name).is_file()), None)
    notes = ["frame_stride 2 and 4x3 views are those of the paper: HuggingFace's files do not hold them"]
    if file is None:
        notes.append(f"no {PREPROCESSOR}: pixels from -1 to 1, as ViViT was trained")
        resize = round(min(image_size) * _RESIZE_TO_CROP)
        return _protocol(num_frames, resize, image_size, [0.5] * num_channels, [0.5] * num_channels), notes
    try:
        content = read_json(file)
        mean, std = pixel_range(content, num_channels)
        crop, resize = crop_and_resize(content, image_size, notes)
        protocol = _protocol(num_frames, resize, crop, mean, std)
    except (OSError, ValueError, TypeError, KeyError, AttributeError, ZeroDivisionError, ConfigError) as error:
        raise CheckpointError(f"{file}: cannot be read as the preprocessing of a ViViT ({reason(error)})") from None
    low, high = -mean[0] / std[0], (1 - mean[0]) / std[0]
    if not (math.isclose(low, -1, abs_tol=1e-3) and math.isclose(high, 1, abs_tol=1e-3)):
        notes.append(
            f"{file.name} scales pixels to {low:.4g} ... {high:.4g}; ViViT was trained on -1 ... 1. The file is "
            "followed; compare accuracies with --protocol.mean 0.5,0.5,0.5 --protocol.std 0.5,0.5,0.5"
        )
    return protocol, notes


def write_preprocessor(protocol: Protocol) -> dict[str, Any]:
    """The content of ``preprocessor_config.json`` that gives the same pixels.

    ``offset`` is always on, since the newer processor knows no other way; what differs from [-1, 1] is written as
    the normalization behind it: with ``y = 2 u - 1``, ``(u - mean) / std`` is ``(y - (2 mean - 1)) / (2 std)``.

    Raises:
        CheckpointError: another channel order than RGB.
    """
    if protocol.channel_order != "rgb":
        raise CheckpointError("HuggingFace's processor reads RGB; this model wants BGR")
    mean, std = [2 * m - 1 for m in protocol.mean], [2 * s for s in protocol.std]
    return {
        "image_processor_type": "VivitImageProcessor",
        "do_resize": True,
        "size": {"shortest_edge": protocol.resize_short_side},
        "resample": BILINEAR,
        "do_center_crop": True,
        "crop_size": {"height": protocol.crop_size[0], "width": protocol.crop_size[1]},
        "do_rescale": True,
        "rescale_factor": 1 / 127.5,
        "offset": True,
        "do_normalize": any(mean) or any(s != 1 for s in std),
        "image_mean": mean,
        "image_std": std,
    }


def _protocol(num_frames: int, resize: int, crop: tuple[int, int], mean: list[float], std: list[float]) -> Protocol:
    return Protocol(
        num_frames=num_frames,
        resize_short_side=resize,
        crop_size=crop,
        num_channels=len(mean),
        mean=tuple(mean),
        std=tuple(std),
    )
