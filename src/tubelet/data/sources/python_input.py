"""What Python code gives ``predict``: paths, arrays, tensors and lists of frames, told apart or refused in one line.

T  frames   C  channels   H, W  pixels
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image
from torch import Tensor

from tubelet.data.sources.volume import ValueWindow, frames_from_array
from tubelet.errors import DataError
from tubelet.protocol import Protocol

_IMAGE_CHANNELS = (3, 4)  # RGB, RGBA
_TOLERANCE = 0.01  # of a stated range, by which values may lie outside (resizing overshoots)


def path_of(source: object) -> Path | None:
    """The path that a text or ``PathLike`` is. None means that the source is in memory.

    Raises:
        DataError: an address of the network, or an empty text.
    """
    if not isinstance(source, str | os.PathLike):
        return None
    text = os.fspath(source)
    if isinstance(text, bytes):
        text = os.fsdecode(text)
    if not text:
        raise DataError("an empty path; expected a file or a folder ('.' is the current one)")
    scheme, has_scheme, _ = text.partition("://")
    if has_scheme and not Path(text).exists():
        raise DataError(
            f"{text}: is an address ({scheme}), not a file; download it and give its path, or read a live source with "
            "`tubelet stream`"
        )
    return Path(text)


def is_list_of_paths(source: object) -> bool:
    """Whether a list or tuple holds paths, each a video of its own, and not the frames of one.

    Raises:
        DataError: it is empty, or holds paths beside something else.
    """
    if not isinstance(source, list | tuple):
        return False
    paths = [isinstance(item, str | os.PathLike) for item in source]
    if not source or any(paths) != all(paths):
        held = "is empty" if not source else "holds paths beside other things"
        raise DataError(f"the list {held}; expected paths, or the frames of one clip")
    return all(paths)


def frames_in_memory(
    source: object, protocol: Protocol, value_range: ValueWindow | None = None
) -> UInt8[Tensor, "T C H W"]:
    """A clip in memory as frames on the CPU; a view where possible.

    Args:
        source: an array or tensor [T, H, W, C] or [C, T, H, W] (or a volume [T, H, W]), or a list of PIL images or of
            arrays [H, W, C]; RGB.
        value_range: the values that are black and white. None means those of ``protocol.volume_window``, else uint8.

    Raises:
        DataError: something else, another order of axes, or values that are not in the range.
    """
    array, name = _array_of(source)
    if value_range is not None:
        _check_range(array, value_range, name)
    elif array.dtype.kind == "f" and protocol.volume_window is None:
        dtype = str(getattr(source, "dtype", array.dtype)).removeprefix("torch.")  # bfloat16 is float32 by now
        raise DataError(
            f"{name}: holds {dtype}; say which values are black and white, before any normalization, for example "
            "value_range=(0, 1), or give uint8 from 0 to 255"
        )
    clip = _channels_last(array, protocol.num_channels, name)
    return frames_from_array(clip, protocol.num_channels, name, value_range or protocol.volume_window)


def _array_of(source: object) -> tuple[np.ndarray, str]:
    """The source as an array, and what messages call it."""
    if isinstance(source, Tensor):
        values = source.detach().cpu()
        return (values.float() if values.dtype in (torch.bfloat16, torch.float16) else values).numpy(), "tensor"
    if isinstance(source, np.ndarray):
        if source.dtype.kind in "OSUV":
            raise DataError(
                f"array: holds Python objects or texts ({source.dtype}); expected numbers: stack frames of one size "
                "(np.stack), and give paths as a list"
            )
        return np.asarray(source), "array"
    if isinstance(source, list | tuple):
        return _stacked(source), f"list of {len(source)} frames"
    expected = "expected a path, an array or tensor [T, H, W, C] or [C, T, H, W], or a list of frames or of paths"
    if isinstance(source, Image.Image):
        raise DataError(
            f"a single image of {source.width}x{source.height} pixels; {expected}: a clip of one is [image]"
        )
    if isinstance(source, bytes | bytearray | memoryview):
        raise DataError(f"{len(source)} bytes; {expected}: write them to a file and give its path")
    raise DataError(f"a {type(source).__name__}; {expected}")


def _stacked(frames: Sequence[Any]) -> np.ndarray:
    """The frames of a list as an array [T, H, W, C]."""
    pictures: list[np.ndarray] = []
    for i, frame in enumerate(frames):
        picture = np.asarray(frame.convert("RGB")) if isinstance(frame, Image.Image) else frame
        picture = picture.detach().cpu().numpy() if isinstance(picture, Tensor) else picture
        if not isinstance(picture, np.ndarray) or picture.ndim != 3 or picture.shape[-1] not in (1, *_IMAGE_CHANNELS):
            what = f"shape {list(picture.shape)}" if isinstance(picture, np.ndarray) else type(frame).__name__
            raise DataError(f"frame {i} of the list: {what}; expected PIL images, or arrays [H, W, C]")
        if picture.shape != (pictures or [picture])[0].shape:
            raise DataError(
                f"frame {i} of the list: shape {list(picture.shape)}, the first has {list(pictures[0].shape)}; all "
                "frames of a clip need one size"
            )
        pictures.append(picture)
    return np.stack(pictures)


def _check_range(array: np.ndarray, value_range: ValueWindow, name: str) -> None:
    """Values far outside the stated range are of another one, or normalized, and would be cut off silently."""
    low, high = value_range
    if not low < high:
        raise DataError(f"value_range={value_range}: expected (black, white), the first less than the second")
    if array.dtype.kind not in "uifb" or not array.size:
        return
    least, most, slack = float(array.min()), float(array.max()), _TOLERANCE * (high - low)
    if least < low - slack or most > high + slack:  # not finite values are refused by frames_from_array
        raise DataError(
            f"{name}: values from {least:g} to {most:g}, but value_range={low:g} to {high:g}; give the range of the "
            "pixels as they are, before any normalization"
        )


def _channels_last(array: np.ndarray, num_channels: int, name: str) -> np.ndarray:
    """The clip as [T, H, W, C], or a volume [T, H, W] as it is.

    Raises:
        DataError: an image, a batch, or axes that stand in another order or could stand in two.
    """
    shape, known = array.shape, (1, num_channels)
    one = num_channels if num_channels == 1 else f"1 or {num_channels}"
    text = f"{name}: has shape {list(shape)}; expected a clip [T, H, W, C] or [C, T, H, W], C = {one}"
    if 0 in shape or len(shape) not in (3, 4):
        raise DataError(
            f"{text}, or a volume [T, H, W]" + ("; give the clips of a batch one by one" * (len(shape) > 4))
        )
    if len(shape) == 3:
        if shape[-1] in _IMAGE_CHANNELS or shape[0] == num_channels > 1:
            raise DataError(
                f"{text}: this looks like a single image; make a clip of it with image[None] ([1, H, W, C]), or of a "
                "volume of that size with volume[..., None]"
            )
        return array
    if shape[-1] in known:
        return array
    if (shape[1] in _IMAGE_CHANNELS and num_channels > 1) or (shape[0] not in known and shape[1] in known):
        order = "(0, 2, 3, 1)"
        raise DataError(
            f"{text}: its axes may be T C H W; turn them to T H W C with .transpose{order} or .permute{order}"
        )
    if shape[0] in known:
        return np.moveaxis(array, 0, -1)
    raise DataError(text)
