"""What an exported file says of itself: the record of its checkpoint, the clips that it takes, and its proof.

It travels as texts under names that begin with ``tubelet.``, each of them JSON in ASCII, so that labels may hold
newlines and quotes. ``tubelet.sha256`` is a digest of all of them: a changed text is noticed. It is no signature.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from tubelet import __version__
from tubelet import config as config_io
from tubelet.errors import CheckpointError, ConfigError
from tubelet.types import ExportPrecision, added
from tubelet.weights.checkpoint.checkpoint import Record

log = logging.getLogger(__name__)

FORMAT = 1
PREFIX = "tubelet."
DIGEST = f"{PREFIX}sha256"


@dataclass(frozen=True, kw_only=True)
class TakenClips:
    """The clips that the file takes: ``[batch, num_channels, T, H, W]``, any batch.

    T is ``num_frames``, or with None every multiple of ``frame_step`` from ``min_frames`` on.
    """

    num_channels: int
    sizes: tuple[tuple[int, int], ...]  # pixels (H, W)
    num_frames: int | None  # None means that T is free
    min_frames: int
    frame_step: int
    frame_numbers: int | None = None  # input "position": source frames between samples where it is not given; or none


@dataclass(frozen=True, kw_only=True)
class ProofCase:
    """One comparison of the file's logits with those of torch."""

    num_frames: int
    size: tuple[int, int]  # pixels (H, W)
    batch: int
    difference: float  # max |logits - those of torch| / max |logits of torch|


@dataclass(frozen=True, kw_only=True)
class ClipAgreement:
    """How often the first label is that of torch, on real clips."""

    num_clips: int
    num_equal: int
    lowest: float  # 95 % interval of the share, Wilson's
    highest: float
    largest_margin: float  # among those that differ: torch's first probability less that of the file's label
    map_change: float | None = added(None)  # of mean average precision, where videos have several labels


@dataclass(frozen=True, kw_only=True)
class Proof:
    """How the file was compared with the model that it was made from."""

    reference: str  # name and version
    runtime: str
    tolerance: float | None  # allowed difference of logits; None: the precision is judged by agreement on clips
    cases: tuple[ProofCase, ...]
    clips: ClipAgreement | None = None  # None: no clips were given

    @property
    def largest(self) -> ProofCase:
        """The case with the largest difference."""
        return max(self.cases, key=lambda case: case.difference)


@dataclass(frozen=True, kw_only=True)
class StageFile:
    """Which part of a model in two files this is."""

    name: Literal["frames", "time"]  # the per-frame stage, or the temporal one
    frames_per_feature: int  # frames that make one vector
    pair_sha256: str  # of the digests of both files' weights and graphs: the other file is of the same export


@dataclass(frozen=True, kw_only=True)
class ExportRecord:
    """All that an exported file says of itself."""

    record: Record  # of the checkpoint: model, protocol, labels, provenance, calibration
    license: str | None  # of the weights; None means not stated
    precision: ExportPrecision  # that the file computes in
    clips: TakenClips
    proof: Proof
    version: str = __version__  # of tubelet
    format: int = FORMAT
    weights_sha256: str | None = None  # of the weights and the graph; None: versions before wrote none
    stage: StageFile | None = added(None)  # None means that the file is the whole model


def check_weights(record: ExportRecord, digest: Callable[[], str], where: str) -> None:
    """Compare the digest that an export recorded with ``digest`` of the file as it is.

    Raises:
        CheckpointError: they differ.
    """
    if record.weights_sha256 is None:
        log.info("%s: holds no digest of its weights, as files of earlier versions; changes are not noticed", where)
    elif record.weights_sha256 != digest():
        raise CheckpointError(
            f"{where}: its weights or its graph were changed after the export (the digest differs), so that its proof "
            "does not hold; export the checkpoint again"
        )


def to_metadata(record: ExportRecord) -> dict[str, str]:
    """The texts that go into a file."""
    texts = {f"{PREFIX}{name}": json.dumps(value) for name, value in config_io.to_dict(record).items()}
    return texts | {DIGEST: _digest(texts)}


def from_metadata(metadata: Mapping[str, str], where: str) -> ExportRecord:
    """The record in the texts of a file.

    Raises:
        CheckpointError: it holds none, or a changed one, or one that this version cannot read.
    """
    texts = {name: text for name, text in metadata.items() if name.startswith(PREFIX) and name != DIGEST}
    if not texts or DIGEST not in metadata:
        raise CheckpointError(f"{where}: carries no protocol; expected a file that `tubelet export` wrote")
    if metadata[DIGEST] != _digest(texts):
        raise CheckpointError(
            f"{where}: its metadata was changed after the export (the digest differs); export the checkpoint again"
        )
    try:
        data = {name.removeprefix(PREFIX): json.loads(text) for name, text in texts.items()}
        if data.get("format") != FORMAT:
            raise ConfigError(f"format {data.get('format')}; this version of tubelet reads format {FORMAT}")
        return config_io.from_dict(ExportRecord, data, where="metadata")
    except (ConfigError, ValueError) as error:
        raise CheckpointError(f"{where}: {error}") from None


def _digest(texts: Mapping[str, str]) -> str:
    return hashlib.sha256(json.dumps(dict(sorted(texts.items()))).encode()).hexdigest()
