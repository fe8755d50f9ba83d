"""How the cases of transformers' processors without an offset are checked: the pixels of every variant."""

from __future__ import annotations

import dataclasses
import json
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tubelet.data.clips.normalize import normalize
from tubelet.data.loading.read_views import read_views
from tubelet.protocol import Protocol

IMAGENET = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}
Reader = Callable[[Path], tuple[Protocol, list[str]]]


def check_processor(case: Path, config: Mapping[str, Any], read: Reader, own: Mapping[str, dict[str, Any]]) -> None:
    """The folder's own numbers, read into a protocol, give the processor's pixels.

    An odd number of pixels around a crop puts ours one pixel further, since the center is rounded up as in scenic;
    then what both crops hold is compared.

    Args:
        own: arguments of a variant, where they are not the constructor's with ImageNet's mean and deviation.
    """
    frames = np.load(case / "input.npy", allow_pickle=False).transpose(0, 2, 3, 1)  # T H W C
    with np.load(case / "output.npz", allow_pickle=False) as reference:
        assert set(reference.files) == set(config["variants"])
        for name in reference.files:
            expected = torch.from_numpy(reference[name])[0].transpose(0, 1)  # C T H W
            content = {**config["constructor"], **IMAGENET, **own.get(name, {})}
            content["do_resize"] = "no resize" not in config["variants"][name]
            pixels = _pixels(frames, content, read)
            y, x = ((a - b) % 2 for a, b in zip(_resized(frames, content), expected.shape[2:], strict=True))
            _, _, h, w = pixels.shape
            difference = (pixels[:, :, : h - y, : w - x] - expected[:, :, y:, x:]).abs().max()
            level = 1 / (255 * min(content["image_std"]))
            assert float(difference) <= config["tolerance"]["atol"] + (level if content["do_resize"] else 0), name


def _pixels(frames: np.ndarray, content: Mapping[str, Any], read: Reader) -> torch.Tensor:
    """What our data path makes of the frames ``[C T H W]``."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "preprocessor_config.json").write_text(json.dumps(content), encoding="utf-8")
        protocol, _ = read(Path(folder))
    protocol = dataclasses.replace(
        protocol, num_frames=len(frames), frame_stride=1, num_temporal_views=1, num_spatial_crops=1
    )
    if not content["do_resize"]:
        protocol = dataclasses.replace(protocol, resize_short_side=min(frames.shape[1:3]))
    return normalize(read_views(frames, protocol).pixels[0], protocol)


def _resized(frames: np.ndarray, content: Mapping[str, Any]) -> tuple[int, int]:
    """Height and width before the crop."""
    height, width = frames.shape[1:3]
    if not content["do_resize"]:
        return height, width
    shortest = content["size"]["shortest_edge"]
    return int(height * shortest / min(height, width)), int(width * shortest / min(height, width))
