"""The preprocessing of a folder of ``transformers``, read into a protocol and written back; processors of RGB frames
without an offset: ``(x / 255 - mean) / std``.

Source: transformers 5.24.0, ``models/videomae/image_processing_videomae.py``, which several of its models name, and
``models/vjepa2/video_processing_vjepa2.py``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tubelet.errors import CheckpointError, ConfigError, reason
from tubelet.protocol import Protocol
from tubelet.weights.mapping.huggingface import PROCESSOR_FILES, crop_and_resize, pixel_range

# What such a processor does where its file says nothing.
PLAIN_PROCESSOR: dict[str, Any] = {
    "do_resize": True,
    "size": {"shortest_edge": 224},
    "resample": 2,
    "do_center_crop": True,
    "crop_size": {"height": 224, "width": 224},
    "do_rescale": True,
    "rescale_factor": 1 / 255,
    "offset": False,
    "do_normalize": True,
}


def find_processor(path: Path) -> Path | None:
    """The file of a folder that holds its preprocessing; None where it has none."""
    return next((path / name for name in PROCESSOR_FILES if (path / name).is_file()), None)


def with_processor(
    protocol: Protocol, content: Mapping[str, Any], file: Path, title: str, notes: list[str]
) -> Protocol:
    """The protocol with sizes and pixel range of a processor; ``notes`` gets what its user should know.

    Args:
        content: of ``file``, with the class's defaults where it says nothing.
        title: of the models, for messages.

    Raises:
        CheckpointError: a damaged file, or a preprocessing that a protocol cannot hold.
    """
    try:
        mean, std = pixel_range(content, protocol.num_channels)
        crop, resize = crop_and_resize(content, protocol.crop_size, notes)
        return dataclasses.replace(protocol, mean=tuple(mean), std=tuple(std), crop_size=crop, resize_short_side=resize)
    except (OSError, ValueError, TypeError, KeyError, AttributeError, ZeroDivisionError, ConfigError) as error:
        line = f"{file}: cannot be read as the preprocessing of a {title} ({reason(error)})"
        raise CheckpointError(line) from None


def processor_of(protocol: Protocol) -> dict[str, Any]:
    """The content of a processor's file that gives the protocol's pixels, but for its class.

    Raises:
        CheckpointError: another channel order than RGB.
    """
    if protocol.channel_order != "rgb":
        raise CheckpointError("HuggingFace's processor reads RGB; this model wants BGR")
    content = {
        **PLAIN_PROCESSOR,
        "size": {"shortest_edge": protocol.resize_short_side},
        "crop_size": {"height": protocol.crop_size[0], "width": protocol.crop_size[1]},
        "image_mean": list(protocol.mean),
        "image_std": list(protocol.std),
    }
    del content["offset"]
    return content
