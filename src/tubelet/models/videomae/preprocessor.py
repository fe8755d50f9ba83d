"""The preprocessing that HuggingFace stores beside a VideoMAE, as a protocol, and back.

The trap: VideoMAE's processor by itself normalizes with mean and deviation 0.5, which saving writes into the file,
while all released weights were trained with ImageNet's. So 0.5 in a file is taken for the class's default and
replaced, which a note says, unless the file states that the weights were trained so (``TRAINED_SO``; files of
tubelet do). Any other values are followed.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from tubelet.models.videomae.config import VideoMAEConfig
from tubelet.models.videomae.recognize import protocol_of
from tubelet.protocol import Protocol
from tubelet.weights.mapping.huggingface import PREPROCESSOR, read_json
from tubelet.weights.mapping.processor import PLAIN_PROCESSOR, find_processor, processor_of, with_processor

TRAINED_SO = "trained_with_these_pixels"  # a key of ours in the file, which transformers ignores


def read_protocol(path: Path, config: VideoMAEConfig) -> tuple[Protocol, list[str]]:
    """The protocol of the released models, with sizes and pixel range of the folder's processor.

    Raises:
        CheckpointError: a damaged file, or a preprocessing that a protocol cannot hold.
    """
    protocol, notes = protocol_of(config)
    file = find_processor(path)
    if file is None:
        return protocol, [*notes, f"no {PREPROCESSOR}: ImageNet's mean and deviation, as VideoMAE was trained"]
    content = {**PLAIN_PROCESSOR, **read_json(file)}
    changed = with_processor(protocol, content, file, "VideoMAE", notes)
    if {*changed.mean, *changed.std} == {0.5} and protocol.mean != changed.mean and not content.get(TRAINED_SO):
        notes.append(
            f"{file.name} normalizes with 0.5, the default of the processor's class; VideoMAE was trained with "
            "ImageNet's mean and deviation, which are taken. For weights that were trained with 0.5: --protocol.mean "
            "0.5,0.5,0.5 --protocol.std 0.5,0.5,0.5"
        )
        changed = dataclasses.replace(changed, mean=protocol.mean, std=protocol.std)
    return changed, notes


def write_preprocessor(protocol: Protocol) -> dict[str, Any]:
    """The content of ``preprocessor_config.json`` that gives the same pixels.

    Raises:
        CheckpointError: another channel order than RGB.
    """
    return {"image_processor_type": "VideoMAEImageProcessor", **processor_of(protocol), TRAINED_SO: True}
