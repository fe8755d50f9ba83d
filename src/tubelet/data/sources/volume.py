"""Volumes: 3-D images stored as arrays (``.npy`` files, entries of MedMNIST3D ``.npz`` files, ``.nii.gz`` files, TIFF
stacks) and arrays in memory.

A volume is a clip: its slices are the frames, and the number of a slice is its time (one slice = one second), so
that every sampling plan works unchanged. Values are uint8, or the protocol states a window that maps them to uint8 (CT
in Hounsfield units: -160 to 240 shows the abdomen), because any other range would be a guess.
The ``.npz`` layout is that of MedMNIST v2 (Yang et al., Scientific Data 2023). Nothing is ever unpickled.
"""

from __future__ import annotations

import io
import re
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import TracebackType

import numpy as np
import torch
from jaxtyping import UInt8
from numpy.typing import NDArray
from torch import Tensor

from tubelet.data.sources.nifti import is_nifti, read_nifti
from tubelet.data.sources.tiff import is_tiff, read_tiff
from tubelet.data.sources.value_window import ValueWindow, windowed
from tubelet.data.video.info import VideoInfo
from tubelet.errors import DataError
from tubelet.files import lfs_pointer
from tubelet.types import Frames

VOLUME_SUFFIXES = frozenset({".nii", ".npy", ".npz"})  # and .nii.gz, see is_volume
# What numpy and zipfile raise on truncated, foreign or pickled content.
_UNREADABLE = (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error)


class ArrayReader:
    """Frames in memory, read with the methods of ``tubelet.data.video.reader.VideoReader``.

    Args:
        pixels: the frames, at least one.
        fps: frames per second; 1.0 where frames have numbers instead of times.
    """

    notes: tuple[str, ...] = ()  # as ``VideoReader.notes``

    def __init__(self, pixels: UInt8[Tensor, "T C H W"], fps: float = 1.0) -> None:
        self._pixels = pixels
        self.fps = fps
        self.timestamps = np.arange(len(pixels), dtype=np.float64) / fps
        self.duration_seconds = len(pixels) / fps
        self.height, self.width = pixels.shape[-2:]

    def __enter__(self) -> ArrayReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    def along_axis(self, axis: int, backward: bool = False) -> ArrayReader:
        """The same volume, sliced along another axis.

        Args:
            axis: 0, 1 or 2, which are T, H and W of this reader. This axis and T are exchanged.
            backward: whether slices run from the last to the first.
        """
        pixels = self._pixels.transpose(0, (0, 2, 3)[axis])
        return ArrayReader(pixels.flip(0) if backward else pixels, self.fps)

    def frames_at(self, indices: Sequence[int]) -> Frames:
        """The frames at ``indices``, in that order, repeats allowed, as a copy."""
        picked = self._pixels[torch.as_tensor(list(indices), dtype=torch.int64)]
        return Frames(pixels=picked, seconds=tuple(float(self.timestamps[i]) for i in indices))

    def frames_in_order(self, indices: Sequence[int]) -> Iterator[tuple[int, NDArray[np.uint8]]]:
        """As ``VideoReader.frames_in_order``."""
        for index in indices:
            yield index, self.frames_at([index]).pixels[0].numpy()

    def reopened(self) -> ArrayReader:
        """This reader, which has no state."""
        return self

    @property
    def info(self) -> VideoInfo:
        """As ``VideoReader.info``."""
        return VideoInfo.of_pictures("array", 8, self.height, self.width, self.fps, self.notes)


def is_volume(path: str | Path) -> bool:
    """Whether a file is read as a volume (by its suffix) and not as a video."""
    return Path(path).suffix.lower() in VOLUME_SUFFIXES or is_nifti(path) or is_tiff(path)


def read_volume(
    path: Path, entry: str | None, num_channels: int, window: ValueWindow | None = None
) -> UInt8[Tensor, "T C H W"]:
    """One volume as frames.

    Args:
        path: an ``.npy``, ``.nii``, ``.nii.gz`` or ``.tif`` file, or an ``.npz`` file together with ``entry``.
        entry: the address inside an ``.npz`` file, for example ``"train_images[17]"``.
        num_channels: a one-channel volume is repeated to this many channels.
        window: the values that become 0 and 255; values outside are clipped. None means that values are uint8.

    Raises:
        DataError: unreadable or pickled content, another type than uint8 without a window, or an unexpected shape.
    """
    if is_nifti(path):
        return frames_from_array(read_nifti(path), num_channels, str(path), window)
    if is_tiff(path):
        return frames_from_array(read_tiff(path), num_channels, str(path), window)
    if path.suffix.lower() == ".npy":
        return frames_from_array(_load_npy(path), num_channels, str(path), window)
    match = re.fullmatch(r"(\w+)\[(\d+)\]", entry or "")
    if match is None:
        raise DataError(
            f"{path}: holds many volumes; expected the address of one, such as test_images[0], got {entry!r}"
        )
    key, row = match[1], int(match[2])
    volumes = npz_array(path, key)
    if row >= len(volumes):
        raise DataError(f"{path}: {entry} does not exist; '{key}' holds {len(volumes)} volumes")
    return frames_from_array(volumes[row], num_channels, f"{path}:{entry}", window)


def read_npy_bytes(
    content: bytes, num_channels: int, name: str, window: ValueWindow | None
) -> UInt8[Tensor, "T C H W"]:
    """The volume in the bytes of an ``.npy`` file, as ``read_volume``."""
    try:
        array: np.ndarray = np.lib.format.read_array(io.BytesIO(content), allow_pickle=False)
    except _UNREADABLE as error:
        raise DataError(f"{name}: not an .npy file of numbers ({error}); expected the file of np.save") from None
    return frames_from_array(array, num_channels, name, window)


def frames_from_array(
    array: np.ndarray, num_channels: int, name: str, window: ValueWindow | None = None
) -> UInt8[Tensor, "T C H W"]:
    """An array [T, H, W] or [T, H, W, C] as frames; a view of the array where possible.

    Raises:
        DataError: another type than uint8 without a window, another shape, or channels that are neither 1 nor
            ``num_channels``.
    """
    if window is not None:
        array = windowed(array, window, name)
    if array.dtype != np.uint8:
        raise DataError(
            f"{name}: holds {array.dtype}; expected uint8 from 0 to 255 (scale and round, then .astype(np.uint8)), or "
            "say which values become 0 and 255 with protocol.volume_window"
        )
    if array.ndim not in (3, 4) or 0 in array.shape:
        raise DataError(f"{name}: has shape {array.shape}; expected [T, H, W] or [T, H, W, C], none of them 0")
    if not array.flags.writeable:  # torch has no read-only tensors and would warn
        array = array.copy()
    frames = torch.from_numpy(np.ascontiguousarray(array))
    frames = frames[:, None] if frames.ndim == 3 else frames.movedim(-1, 1)
    return _with_channels(frames, num_channels, name)


@dataclass(frozen=True, kw_only=True)
class NpzMember:
    """Shape and type of one array of an ``.npz`` file, read without reading its data."""

    shape: tuple[int, ...]
    dtype: np.dtype


def npz_members(path: Path) -> dict[str, NpzMember]:
    """The arrays in an ``.npz`` file by name.

    Raises:
        DataError: the file is not an ``.npz`` archive, or one of its arrays holds pickled objects.
    """
    members = {}
    try:
        with zipfile.ZipFile(path) as archive:
            for name in archive.namelist():
                with archive.open(name) as file:
                    version = np.lib.format.read_magic(file)
                    read_header = (
                        np.lib.format.read_array_header_1_0
                        if version == (1, 0)
                        else np.lib.format.read_array_header_2_0
                    )
                    shape, _, dtype = read_header(file)
                members[name.removesuffix(".npy")] = NpzMember(shape=shape, dtype=dtype)
    except _UNREADABLE as error:
        what = lfs_pointer(path) or f"not an .npz archive of arrays ({error}); expected the file of np.savez"
        raise DataError(f"{path}: {what}") from None
    for name, member in members.items():
        if member.dtype.hasobject:
            raise DataError(f"{path}: '{name}' holds pickled Python objects, which are never read; expected numbers")
    return members


def npz_array(path: Path, key: str) -> np.ndarray:
    """One array of an ``.npz`` file. The last four stay in memory, because each is one compressed stream.

    Raises:
        DataError: the file or the array cannot be read, or holds pickled objects.
    """
    try:
        status = path.stat()
        return _npz_array(path, key, (status.st_mtime_ns, status.st_size))
    except _UNREADABLE as error:
        raise DataError(f"{path}: '{key}' cannot be read as an array of numbers ({error})") from None


@lru_cache(maxsize=4)  # the three splits of one file, and one more
def _npz_array(path: Path, key: str, changed: tuple[int, int]) -> np.ndarray:
    """``changed`` (time, size) is a part of the cache key, so that a rewritten file is read again."""
    with np.load(path, allow_pickle=False) as archive:
        array: np.ndarray = archive[key]
    return array


def _load_npy(path: Path) -> np.ndarray:
    try:
        with path.open("rb") as file:
            array: np.ndarray = np.lib.format.read_array(file, allow_pickle=False)
    except _UNREADABLE as error:
        raise DataError(f"{path}: not an .npy file of numbers ({error}); expected the file of np.save") from None
    return array


def _with_channels(frames: Tensor, num_channels: int, name: str) -> Tensor:
    if frames.shape[1] == 1:
        return frames.expand(-1, num_channels, -1, -1)
    if frames.shape[1] != num_channels:
        expected = "1" if num_channels == 1 else f"1 or {num_channels}"
        raise DataError(f"{name}: has {frames.shape[1]} channels; expected {expected}")
    return frames
