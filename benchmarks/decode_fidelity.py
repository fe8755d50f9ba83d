"""How far the frames that tubelet resizes while reading are from torchvision's, for ``benchmarks/decode.py``."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from av.video.reformatter import Interpolation
from torch import Tensor

from tubelet.data.clips.augment_config import AugmentConfig
from tubelet.data.clips.resize_crop import crop_frames, random_geometry, reading_window, resize_frames
from tubelet.data.video.reader import VideoReader
from tubelet.protocol import Protocol

PROTOCOL = Protocol()


def psnr_of_resizing(files: Sequence[Path]) -> dict[str, float]:
    """Median dB over files, of one frame resized by the reader: against torchvision's antialiased resize of accurate
    and of default colors, and of a crop that is cut before it is scaled against the same crop cut afterwards."""
    rows: dict[str, list[float]] = {"accurate colors": [], "default colors": [], "crop first": []}
    accurate = Interpolation.BILINEAR | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT
    for number, path in enumerate(files):
        with VideoReader(path) as reader:
            height, width = reader.height, reader.width
            geometry = random_geometry(height, width, PROTOCOL, AugmentConfig(), np.random.default_rng(number))
            whole, rest = reading_window(geometry, may_round=False)
            scaled = reader.frames_at([20], whole).pixels
            window, _ = reading_window(geometry, may_round=True)
            first = reader.frames_at([20], window).pixels
            plain = reader.frames_at([20]).pixels
            (_, frame, _), *_ = reader._fetch(np.array([20]))
            exact = frame.reformat(format="rgb24", interpolation=accurate, threads=1).to_ndarray()
        exact = torch.from_numpy(exact).permute(2, 0, 1)[None]
        rows["accurate colors"].append(_psnr(scaled, resize_frames(exact, geometry)))
        rows["default colors"].append(_psnr(scaled, resize_frames(plain, geometry)))
        rows["crop first"].append(_psnr(first, crop_frames(scaled, rest)[0]))
    return {name: round(statistics.median(values), 1) for name, values in rows.items()}


def _psnr(one: Tensor, other: Tensor) -> float:
    return float(10 * torch.log10(255**2 / (one.float() - other.float()).square().mean().clamp(min=1e-6)))
