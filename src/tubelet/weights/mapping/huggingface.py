"""What every folder of ``transformers`` holds beside its weights: config, labels, license and pixels.

Source: transformers 4.57.1 and 5.23.0, ``configuration_utils.py`` and the image and video processors.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from tubelet.errors import CheckpointError, reason
from tubelet.files import lfs_pointer

CONFIG, PREPROCESSOR = "config.json", "preprocessor_config.json"
PROCESSOR_FILES = (PREPROCESSOR, "video_preprocessor_config.json")
BILINEAR = 2  # PIL's number


def is_huggingface(path: Path) -> bool:
    """Whether a folder holds a model of ``transformers``."""
    return (path / CONFIG).is_file()


def read_config(path: Path, model_types: Collection[str]) -> dict[str, Any]:
    """``config.json`` of a model of one of these types.

    Raises:
        CheckpointError: there is none, it is damaged, or it belongs to another model.
    """
    file = path / CONFIG
    if not file.is_file():
        raise CheckpointError(f"{path}: expected a folder with {CONFIG} and weights, as transformers saves a model")
    content = read_json(file)
    kind = content.get("model_type") if isinstance(content, dict) else type(content).__name__
    if kind not in model_types:
        raise CheckpointError(f"{file}: model_type is {kind!r}, expected {' or '.join(map(repr, model_types))}")
    if content.get("problem_type") not in (None, "single_label_classification"):
        raise CheckpointError(
            f"{file}: problem_type is {content['problem_type']!r}; tubelet's classes exclude each other (softmax)"
        )
    return dict(content)


def read_json(file: Path) -> Any:
    """The content of a JSON file.

    Raises:
        CheckpointError: it cannot be read.
    """
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        what = lfs_pointer(file) or f"cannot be read as JSON ({reason(error)}); copy or download it again"
        raise CheckpointError(f"{file}: {what}") from None


def labels_of(content: Mapping[str, Any], path: Path) -> list[str] | None:
    """The class names of the config; None where it has none or only ``LABEL_0``, ``LABEL_1``, ..."""
    names = content.get("id2label")
    if not names:
        return None
    try:
        ordered = [str(name) for _, name in sorted((int(i), name) for i, name in names.items())]
    except (AttributeError, ValueError, TypeError):
        raise CheckpointError(f"{path / CONFIG}: id2label is no mapping from numbers to names") from None
    return None if all(re.fullmatch(r"LABEL_\d+", name) for name in ordered) else ordered


def license_of(path: Path) -> str:
    """The license that the model card's front matter names."""
    card = path / "README.md"
    text = card.read_text(encoding="utf-8", errors="replace") if card.is_file() else ""
    found = re.search(r"\A---\n.*?^license:[ \t]*[\"']?([\w.\-+]+)", text, re.DOTALL | re.MULTILINE)
    return found[1] if found else "unknown"


def pixel_range(content: Mapping[str, Any], num_channels: int) -> tuple[list[float], list[float]]:
    """``(x / 255 - mean) / std`` that equals rescale, offset and normalization; missing keys have their defaults."""
    rescale = content.get("do_rescale", True)
    scale = content.get("rescale_factor", 1 / 127.5) if rescale else 1.0
    offset = 1.0 if rescale and content.get("offset", True) else 0.0
    mean, std = [0.0] * num_channels, [1.0] * num_channels
    if content.get("do_normalize", True):
        mean = _per_channel(content.get("image_mean"), num_channels)
        std = _per_channel(content.get("image_std"), num_channels)
    unit = 255 * scale
    return [_rounded((offset + m) / unit) for m in mean], [_rounded(s / unit) for s in std]


def _per_channel(value: Any, num_channels: int) -> list[float]:
    if value is None:
        return [0.5] * num_channels
    values = [float(value)] * num_channels if isinstance(value, int | float) else [float(v) for v in value]
    if len(values) != num_channels:
        raise ValueError(f"{len(values)} means or deviations for {num_channels} channels")
    return values


def _rounded(value: float) -> float:
    """1/127.5 is written with 16 digits; 0.50000000000000011 is meant as 0.5."""
    return float(f"{value:.12g}")


def crop_and_resize(
    content: Mapping[str, Any], image_size: tuple[int, int], notes: list[str]
) -> tuple[tuple[int, int], int]:
    """Crop (height, width) and the shorter side before it."""
    crop = image_size
    if content.get("do_center_crop", True) and content.get("crop_size") is not None:
        given = content["crop_size"]
        crop = (int(given["height"]), int(given["width"])) if isinstance(given, Mapping) else (int(given), int(given))
    size = content.get("size", {"shortest_edge": 256})
    if isinstance(size, int):
        size = {"shortest_edge": size}
    if not content.get("do_resize", True):
        notes.append(f"the processor does not resize; videos are resized to a shorter side of {min(crop)} all the same")
        return crop, min(crop)
    if "shortest_edge" not in size:
        notes.append(
            f"the processor squeezes frames to {size.get('height')}x{size.get('width')}; here the shorter side is "
            "resized and the rest cropped, so that nothing is distorted"
        )
        return crop, max(int(size["height"]), int(size["width"]), *crop)
    if content.get("resample", BILINEAR) != BILINEAR:
        notes.append(f"the processor resizes with PIL's filter {content['resample']}; here it is bilinear")
    return crop, max(int(size["shortest_edge"]), min(crop))
