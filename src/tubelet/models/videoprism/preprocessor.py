"""The preprocessing that HuggingFace stores beside a VideoPrism, as a protocol, and back.

Source: transformers 5.24.0, ``models/llava_onevision``, whose video processor VideoPrism's folders name. It resizes
both sides to the size, bicubic, so that the aspect ratio is lost, and normalizes values from 0 to 1 where
``do_normalize`` is on, which VideoPrism was not trained with.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from tubelet.errors import CheckpointError, ConfigError, reason
from tubelet.models.videoprism.config import VideoPrismConfig
from tubelet.models.videoprism.recognize import protocol_of
from tubelet.protocol import Protocol
from tubelet.weights.mapping.huggingface import (
    PREPROCESSOR,
    PROCESSOR_FILES,
    crop_and_resize,
    pixel_range,
    read_json,
)

_BICUBIC = 3  # PIL's number
# What the processor (LLaVA-OneVision's) does where its file says nothing; it has no offset.
_PROCESSOR_DEFAULTS: dict[str, Any] = {
    "do_resize": True,
    "size": {"height": 384, "width": 384},
    "resample": _BICUBIC,
    "do_center_crop": False,
    "do_rescale": True,
    "rescale_factor": 1 / 255,
    "offset": False,
    "do_normalize": True,
    "image_mean": [0.48145466, 0.4578275, 0.40821073],
    "image_std": [0.26862954, 0.26130258, 0.27577711],
}


def read_protocol(path: Path, config: VideoPrismConfig) -> tuple[Protocol, list[str]]:
    """The protocol of the original, with the pixel range of the folder's processor.

    Raises:
        CheckpointError: a damaged file, or a preprocessing that a protocol cannot hold.
    """
    protocol, notes = protocol_of(config)
    file = next((path / name for name in PROCESSOR_FILES if (path / name).is_file()), None)
    if file is None:
        return protocol, [*notes, f"no {PREPROCESSOR}: pixels from 0 to 1, as VideoPrism was trained"]
    try:
        content = {**_PROCESSOR_DEFAULTS, **read_json(file)}
        mean, std = pixel_range(content, config.in_channels)
        crop, resize = crop_and_resize(content, config.image_size, notes)
        if any(mean) or any(value != 1 for value in std):
            notes.append(
                f"{file.name} normalizes pixels with mean {mean} and deviation {std}; VideoPrism was trained on 0 to "
                "1. The file is followed; compare accuracies with --protocol.mean 0,0,0 --protocol.std 1,1,1"
            )
        if (count := content.get("num_frames")) not in (None, config.num_frames):
            notes.append(
                f"{file.name} samples {count} frames, the model is made for {config.num_frames}, which are taken"
            )
        changed = dataclasses.replace(
            protocol, mean=tuple(mean), std=tuple(std), crop_size=crop, resize_short_side=resize
        )
        return changed, notes
    except (OSError, ValueError, TypeError, KeyError, AttributeError, ZeroDivisionError, ConfigError) as error:
        line = f"{file}: cannot be read as the preprocessing of a VideoPrism ({reason(error)})"
        raise CheckpointError(line) from None


def write_preprocessor(protocol: Protocol) -> dict[str, Any]:
    """The content of ``preprocessor_config.json`` that gives the same values of pixels.

    Raises:
        CheckpointError: another channel order than RGB.
    """
    if protocol.channel_order != "rgb":
        raise CheckpointError("HuggingFace's processor reads RGB; this model wants BGR")
    height, width = protocol.crop_size
    content = {
        "video_processor_type": "LlavaOnevisionVideoProcessor",
        **_PROCESSOR_DEFAULTS,
        "size": {"height": height, "width": width},
        "do_normalize": any(protocol.mean) or any(value != 1 for value in protocol.std),
        "image_mean": list(protocol.mean),
        "image_std": list(protocol.std),
    }
    del content["offset"]
    return content
