"""The data path against the originals': the rules by which they choose test frames, written down to be compared with
what they recorded and with our views, and the pixels of transformers' processors without an offset."""

from __future__ import annotations

import dataclasses
import json
import tempfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tubelet.data.clips.frame_sampling import view_clips
from tubelet.data.clips.normalize import normalize
from tubelet.data.loading.read_views import read_views
from tubelet.protocol import Protocol

_FPS = 30.0
IMAGENET = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}
Reader = Callable[[Path], tuple[Protocol, list[str]]]


def clips_of(row: Mapping[str, Any]) -> list[list[int]]:
    """The recorded frames of each temporal view; every crop of it has the same."""
    clips: dict[int, list[int]] = {}
    for view in row["views"]:
        assert clips.setdefault(view["segment"], view["frames"]) == view["frames"]
    return list(clips.values())


def every_nth(num_frames: int, *, length: int, step: int, num_clips: int) -> list[list[int]]:
    """Clips spread evenly over every ``step``-th frame of the video (VideoMAE on Kinetics)."""
    frames = list(range(0, num_frames, step))
    frames += [frames[-1]] * (length - len(frames))
    starts = [int(k * (len(frames) - length) / (num_clips - 1)) for k in range(num_clips)]
    return [frames[start : start + length] for start in starts]


def interleaved(num_frames: int, *, length: int, num_clips: int) -> list[list[int]]:
    """The same place of each of ``length`` segments, one place further in each clip (VideoMAE on SSv2)."""
    tick = num_frames / length
    return [[int(tick * k / num_clips + tick * i) for i in range(length)] for k in range(num_clips)]


def largest_distance(num_frames: int, clips: Iterable[Iterable[int]], protocol: Protocol) -> int:
    """The largest difference of a frame's number between the clips and our temporal views."""
    theirs = [np.array(list(clip)) for clip in clips]
    plans = view_clips(np.arange(num_frames) / _FPS, protocol, len(theirs))
    return max(int(np.abs(np.array(p.indices) - clip).max()) for p, clip in zip(plans, theirs, strict=True))


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
            pixels, sizes = _pixels(frames, content, read)
            y, x = ((a - b) % 2 for a, b in zip(sizes, expected.shape[2:], strict=True))
            _, _, h, w = pixels.shape
            difference = (pixels[:, :, : h - y, : w - x] - expected[:, :, y:, x:]).abs().max()
            level = 1 / (255 * min(content["image_std"]))
            assert float(difference) <= config["tolerance"]["atol"] + (level if content["do_resize"] else 0), name


def _pixels(frames: np.ndarray, content: Mapping[str, Any], read: Reader) -> tuple[torch.Tensor, tuple[int, int]]:
    """What our data path makes of the frames ``[C T H W]``, and their height and width before the crop."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "preprocessor_config.json").write_text(json.dumps(content), encoding="utf-8")
        protocol, _ = read(Path(folder))
    (height, width), resizes = frames.shape[1:3], content["do_resize"]
    short = protocol.resize_short_side if resizes else min(height, width)
    one_view = {"num_temporal_views": 1, "num_spatial_crops": 1, "target_fps": None, "frame_stride": 1}
    protocol = dataclasses.replace(protocol, num_frames=len(frames), resize_short_side=short, **one_view)
    sizes = (int(height * short / min(height, width)), int(width * short / min(height, width)))
    return normalize(read_views(frames, protocol).pixels[0], protocol), sizes
