"""A feature store: the vectors that a model's per-frame stage gives for every frame of a dataset, in place of pixels.

    store.json        the model, weights, pixels and data of the features
    manifest.csv      the rows of the data, as ``tubelet.data.manifest.csv_file`` writes them, with these files as paths
    features-...      one safetensors file per video: vectors [n, D], frame_numbers [n], timestamps [N]
    unreadable.csv    the videos that could not be read, if any; each keeps its row, and its file holds the reason

A store holds every frame that a clip could contain, with the crop and size of the centered view. The frames of a clip
are chosen when it is drawn, from the times of the whole video, exactly as for the video itself.

    N  frames of the video   n  frames with a vector: those of the rows' segments   D  width of a vector
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from torch import Tensor

from tubelet import config as config_io
from tubelet.data.clips.augment_config import AugmentConfig
from tubelet.data.layouts.feature_store import RECORD
from tubelet.errors import ConfigError, DataError, reason
from tubelet.files import write_tensors
from tubelet.protocol import Protocol
from tubelet.session.fast_fp32 import PLAIN, FastFp32
from tubelet.types import Precision, added

FORMAT = 1
# The fields of a protocol that decide the pixels of a frame. The others decide the frames of a clip and later steps.
PIXEL_FIELDS = (
    *("resize_short_side", "crop_size", "num_channels", "channel_order", "mean", "std"),
    *("slicing_axis", "slicing_backward", "volume_window"),
)
_ADDED_PIXEL_FIELDS = ("picture_window", "hdr", "interlaced")
# Augmentation of time alone, which a store supports because it holds all frames.
_TIME_FIELDS = ("snap_start", "stride_jitter", "repeats")


@dataclass(frozen=True, kw_only=True)
class StoreRecord:
    """The content of ``store.json``."""

    model_name: str
    model_config: dict[str, Any]
    feature_dim: int  # width D of a vector
    stage_sha256: str  # over names, shapes and values of the per-frame stage's tensors
    protocol: Protocol  # of the model; its pixel fields are those of the features
    source: str  # the dataset
    data_fingerprint: str  # of the dataset, all splits together
    precision: Precision = added("fp32")  # that the vectors were computed in; they are stored as fp32, which loses none
    fast_fp32: FastFp32 = added(PLAIN)  # how the products of the vectors were computed, which their bits tell
    format: int = FORMAT


@dataclass(frozen=True, kw_only=True)
class VideoFeatures:
    """The content of one file."""

    vectors: Float[Tensor, "n D"]
    frame_numbers: NDArray[np.int64]  # [n] of the source, ascending
    timestamps: NDArray[np.float64]  # [N] seconds, of all frames of the source
    is_video: bool  # a training clip may be moved to even frames (``AugmentConfig.snap_start``)


def read_store(path: Path) -> StoreRecord:
    """Read the record of a store.

    Raises:
        DataError: it is missing or cannot be read.
    """
    file = path / RECORD
    try:
        record = config_io.from_dict(StoreRecord, json.loads(file.read_text(encoding="utf-8")), where=RECORD)
    except (OSError, ConfigError, ValueError) as error:
        raise DataError(f"{file}: cannot be read as the record of a feature store: {reason(error)}") from None
    if record.format != FORMAT:
        raise DataError(f"{file}: format {record.format}; this version of tubelet reads format {FORMAT}")
    return record


def file_name(record: StoreRecord, path: str, entry: str | None, fps: float | None) -> str:
    """The name of the file of a source's features, relative to the store: readable, and distinct for every source.

    It also differs for other weights or pixels, so that a run cannot resume with a store that was written again from
    others.
    """
    pixels: list[Any] = [getattr(record.protocol, name) for name in PIXEL_FIELDS]
    named = config_io.to_identity(record.protocol)  # without what is as in earlier versions, whose names stay
    pixels += [(name, named[name]) for name in _ADDED_PIXEL_FIELDS if name in named]
    pixels += [("precision", record.precision)] if record.precision != "fp32" else []
    pixels += [("fast_fp32", str(record.fast_fp32))] if record.fast_fp32 != PLAIN else []
    of_what = hashlib.sha256(repr((record.stage_sha256, pixels)).encode()).hexdigest()[:8]
    digest = hashlib.sha256(repr((path, entry, fps)).encode()).hexdigest()[:8]
    parts = [re.sub(r"[^\w.\-]", "_", part) for part in Path(path).parts if part not in ("..", "/", "\\")]
    return "/".join([f"features-{of_what}", *parts]) + f"-{digest}.safetensors"


def write_features(path: Path, features: VideoFeatures) -> None:
    """Write one file atomically."""
    _write(
        path,
        {
            "vectors": features.vectors.detach().cpu().contiguous(),
            "frame_numbers": torch.from_numpy(features.frame_numbers),
            "timestamps": torch.from_numpy(features.timestamps),
        },
        {"is_video": str(int(features.is_video))},
    )


def write_failure(path: Path, line: str) -> None:
    """Write the file of a video that could not be read. Reading it later gives ``line``."""
    _write(path, {"vectors": torch.zeros(0, 0)}, {"failure": line})


def _write(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_tensors(path, tensors, metadata)


class FeatureFile:
    """One open file of a store. Reads times and numbers at once, vectors on demand. Use it as a context manager.

    If the video could not be read, ``failure`` is the reason and the file holds nothing else.

    Raises:
        DataError: it is missing or damaged.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._file = safe_open(path, framework="pt")
            metadata = self._file.metadata() or {}
            self.failure: str | None = metadata.get("failure")
            if self.failure is None:
                self.timestamps: NDArray[np.float64] = self._file.get_tensor("timestamps").numpy()
                self.frame_numbers: NDArray[np.int64] = self._file.get_tensor("frame_numbers").numpy()
                self.is_video = bool(int(metadata["is_video"]))
        except (OSError, SafetensorError, KeyError, ValueError) as error:
            raise DataError(f"{path}: cannot be read as stored features ({reason(error)}); write it again") from None

    @property
    def shape(self) -> tuple[int, int]:
        """(n, D) of the vectors, as the file's header has it."""
        rows, width = self._file.get_slice("vectors").get_shape()
        return int(rows), int(width)

    def __enter__(self) -> FeatureFile:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.__exit__(None, None, None)

    def vectors_of(self, frames: NDArray[np.int64]) -> Float[Tensor, "T D"]:
        """The vectors of these frames of the source, in this order. Frames may repeat.

        Raises:
            DataError: a frame has no vector.
        """
        rows = np.minimum(np.searchsorted(self.frame_numbers, frames), len(self.frame_numbers) - 1)
        if not np.array_equal(self.frame_numbers[rows], frames):
            raise DataError(f"{self.path}: holds no features of some frames of the clip; write the store again")
        first, last = int(rows.min()), int(rows.max())
        near: Tensor = self._file.get_slice("vectors")[first : last + 1]
        return near[torch.from_numpy(rows - first)]


def check_pixels(record: StoreRecord, protocol: Protocol, store: Path) -> None:
    """Check that a protocol gives frames the pixels that those of the store had.

    Raises:
        DataError: it does not. The message names the fields that differ.
    """
    names = (*PIXEL_FIELDS, *_ADDED_PIXEL_FIELDS)
    wrong = [name for name in names if getattr(protocol, name) != getattr(record.protocol, name)]
    if protocol.num_spatial_crops != 1:
        raise DataError(
            f"{store}: a feature store holds the centered crop alone, the protocol has {protocol.num_spatial_crops}; "
            "ask for one spatial crop (--views 4x1, or protocol.num_spatial_crops=1)"
        )
    if wrong:
        listed = ", ".join(f"{n} {getattr(record.protocol, n)} (here {getattr(protocol, n)})" for n in wrong)
        raise DataError(f"{store}: the features are of other pixels: {listed}; set the same, or write another store")


def check_augment(augment: AugmentConfig, store: Path) -> None:
    """Check that augmentation does not change pixels, because a store has one vector per frame.

    Raises:
        ConfigError: it does. The message names the fields and the values to set.
    """
    neutral = AugmentConfig(crop="center")
    wrong = [n for n in vars(neutral) if n not in _TIME_FIELDS and getattr(augment, n) != getattr(neutral, n)]
    if wrong:
        values = config_io.to_dict(neutral)
        listed = ", ".join(f"augment.{name}={json.dumps(values[name])}" for name in wrong)
        raise ConfigError(f"{store}: features are of frames as they are, in the centered crop; set {listed}")
