"""The preprocessing that HuggingFace stores beside a V-JEPA 2, as a protocol, and back: ImageNet's mean and deviation,
the shorter side resized to int(crop * 256 / 224)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tubelet.models.vjepa2.config import VJEPA2Config
from tubelet.models.vjepa2.recognize import MEAN, STD, protocol_of
from tubelet.protocol import Protocol
from tubelet.weights.mapping.huggingface import PREPROCESSOR, read_json
from tubelet.weights.mapping.processor import PLAIN_PROCESSOR, find_processor, processor_of, with_processor


def read_protocol(path: Path, config: VJEPA2Config) -> tuple[Protocol, list[str]]:
    """The protocol of the released models, with sizes and pixel range of the folder's processor.

    Raises:
        CheckpointError: a damaged file, or a preprocessing that a protocol cannot hold.
    """
    protocol, notes = protocol_of(config)
    file = find_processor(path)
    if file is None:
        return protocol, [*notes, f"no {PREPROCESSOR}: ImageNet's mean and deviation, as V-JEPA 2 was trained"]
    stated = read_json(file)
    content = {**PLAIN_PROCESSOR, "image_mean": MEAN, "image_std": STD, "crop_size": min(config.image_size), **stated}
    if "size" not in stated:
        content["size"] = {"shortest_edge": int(_side(content["crop_size"]) * 256 / 224)}
    return with_processor(protocol, content, file, "V-JEPA 2", notes), notes


def write_preprocessor(protocol: Protocol) -> dict[str, Any]:
    """The content of ``preprocessor_config.json`` that gives the same pixels.

    Raises:
        CheckpointError: another channel order than RGB.
    """
    return {"video_processor_type": "VJEPA2VideoProcessor", **processor_of(protocol)}


def _side(crop: Any) -> int:
    return int(crop["height"] if isinstance(crop, dict) else crop)
