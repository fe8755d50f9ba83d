"""Features of a frozen encoder, stored by video: computed once, shared by probes, and kept through a kill.

    FOLDER/ENCODER/VIDEO.safetensors   one of
        embedding [V, D]                        what the head takes
        frames [V, T, D], position [V, T]       of an encoder of frames: what any pooling and any encoder over time read
        features [V, N, D]                      the tokens that the head pools, where an attentive head asks for them

ENCODER names weights, config and protocol, VIDEO the file (path, size, time) and the segment: what changes is computed
anew, and ten more clips cost ten clips.

    N  clips, or tokens of a clip   V  views   T  frames   D  width
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from safetensors.torch import load_file
from torch import Tensor

from tubelet.config import to_dict
from tubelet.data.features.make_dataset import make_dataset
from tubelet.data.loading.loader import Loader
from tubelet.data.manifest.failure_budget import FailureBudget
from tubelet.data.manifest.manifest import Manifest
from tubelet.data.manifest.sample import Sample
from tubelet.errors import ConfigError, DataError
from tubelet.files import write_tensors
from tubelet.inference.embedding import EmbeddingKind, embed_views
from tubelet.models.stages import model_inputs
from tubelet.nn.head import head_prefixes
from tubelet.nn.video_model import VideoModel
from tubelet.protocol import Protocol
from tubelet.recipe import DataConfig
from tubelet.session.fast_fp32 import PLAIN, fast_fp32_in_use
from tubelet.session.session import Session
from tubelet.types import Batch, Precision

_BYTES = 4  # of a value
_MAX_NAMED = 50  # unreadable clips in one message


@dataclass(frozen=True, kw_only=True)
class Encoder:
    """A frozen model and how videos enter it."""

    model: VideoModel
    protocol: Protocol
    precision: Precision = "fp32"
    has_tokens: bool = False  # heads ask for more than one vector of each clip

    @property
    def kind(self) -> EmbeddingKind:
        """What is stored. Vectors of frames are small, and all heads can be made of them."""
        if self.model.reading_layer is not None:
            return "frames"
        return "features" if self.has_tokens else "embedding"

    @property
    def key(self) -> str:
        """A name of everything that decides the features."""
        digest, head = hashlib.sha256(), head_prefixes(self.model)
        for name, tensor in self.model.state_dict().items():
            if not name.startswith(head):
                digest.update(name.encode() + tensor.contiguous().cpu().flatten().view(torch.uint8).numpy().tobytes())
        config = {key: value for key, value in to_dict(self.model.config).items() if key != "num_classes"}
        protocol = {key: value for key, value in to_dict(self.protocol).items() if key not in ("labels", "multi_label")}
        facts: list[Any] = [type(self.model).__name__, config, protocol, self.precision]
        if self.kind != "embedding":
            facts.append(self.kind)
        if fast_fp32_in_use() != PLAIN:  # other bits
            facts.append(fast_fp32_in_use().to_record())
        digest.update(json.dumps(facts, sort_keys=True).encode())
        return digest.hexdigest()[:20]


@dataclass(frozen=True, kw_only=True)
class Features:
    """Those of the clips that could be read."""

    values: Float[Tensor, "N V D"]  # as the classifier takes them
    rows: tuple[int, ...]  # of the manifest
    failed: tuple[str, ...]  # one line per clip that could not be read
    tokens: Float[Tensor, "N V L D2"] | None = None  # before pooling: tokens, or vectors of frames
    position: Int[Tensor, "N V L"] | None = None  # of each frame in its source


def features_of(
    encoders: Sequence[Encoder], manifest: Manifest, data: DataConfig, folder: Path, session: Session, *, max_gb: float
) -> list[Features]:
    """Compute what is not stored yet, and read all, of several encoders that videos enter in the same way.

    A video is decoded once for all of them: decoding often costs more than the encoder.

    Args:
        data: how many processes read, and how many clips may be unreadable.
        folder: of all stored features.

    Raises:
        ConfigError: they would be larger than ``max_gb``.
        DataError: too many clips cannot be read.
        Stopped: a signal asked this process to stop; what is stored stays.
    """
    stores = [folder / encoder.key for encoder in encoders]
    for encoder, store in zip(encoders, stores, strict=True):
        size = len(manifest) * encoder.protocol.num_views * values_of_view(encoder) * _BYTES
        session.progress.note(f"features: {len(manifest)} clips, {size / 1e6:.1f} MB ({encoder.kind}) in {store}")
        if size > max_gb * 1e9:
            limit = f"larger than --max-gb {max_gb:g}; give a higher limit"
            raise ConfigError(f"features of {size / 1e9:.1f} GB are {limit}")
    names = [f"{key_of(manifest, sample)}.safetensors" for sample in manifest.samples]
    files = [[store / name for store in stores] for name in names]
    missing = [row for row, of_row in enumerate(files) if not all(file.is_file() for file in of_row)]
    failed: dict[int, str] = {}
    if missing:
        for store in stores:
            store.mkdir(parents=True, exist_ok=True)
        failed = _compute(encoders, manifest, missing, files, data, session)
    rows = tuple(row for row in range(len(files)) if row not in failed)
    lines = tuple(failed.values())
    return [_read(encoder, [files[row][i] for row in rows], rows, lines, session) for i, encoder in enumerate(encoders)]


def _read(
    encoder: Encoder, files: list[Path], rows: tuple[int, ...], failed: tuple[str, ...], session: Session
) -> Features:
    """The stored features of these files, pooled as the model pools them."""
    stored = [load_file(file) for file in files]
    values = torch.stack([tensors[encoder.kind] for tensors in stored])
    if encoder.kind == "embedding":
        return Features(values=values, rows=rows, failed=failed)
    position = torch.stack([tensors["position"] for tensors in stored]) if encoder.kind == "frames" else None
    model: Any = encoder.model.to(session.device).eval()
    pooled = []
    with torch.inference_mode():
        for i, clip in enumerate(values):
            inputs = clip.to(session.device)
            if position is not None:
                inputs = model.forward_features(*model_inputs(model, inputs, position[i]))
            pooled.append(model.forward_head(inputs, pre_logits=True).cpu())
    return Features(values=torch.stack(pooled), rows=rows, failed=failed, tokens=values, position=position)


def at_rows(features: Features, rows: list[int]) -> Features:
    """The features of some rows of the manifest."""
    place = {row: i for i, row in enumerate(features.rows)}
    index = torch.tensor([place[row] for row in rows])
    return dataclasses.replace(
        features,
        values=features.values[index],
        rows=tuple(rows),
        tokens=None if features.tokens is None else features.tokens[index],
        position=None if features.position is None else features.position[index],
    )


def values_of_view(encoder: Encoder) -> int:
    """How many values are stored of one view; a black one tells."""
    if encoder.kind == "embedding":
        return encoder.model.num_features
    model: Any = encoder.model.eval()  # so that statistics of its norms do not move
    size = encoder.protocol.num_frames, *encoder.protocol.crop_size
    clip = torch.zeros(1, model.config.in_channels, *size, device=next(model.parameters()).device)
    with torch.inference_mode():
        return int(
            (model.encode_frames(clip).vectors if encoder.kind == "frames" else model.forward_features(clip)).numel()
        )


def _compute(
    encoders: Sequence[Encoder],
    manifest: Manifest,
    missing: list[int],
    files: list[list[Path]],
    data: DataConfig,
    session: Session,
) -> dict[int, str]:
    """Store the features of some rows; the lines of those that cannot be read."""
    for encoder in encoders:
        encoder.model.to(session.device).eval()
    rest = manifest.with_samples([manifest.samples[row] for row in missing])
    failed: dict[int, str] = {}
    budget = FailureBudget(manifest, data.failure_budget, "clips")
    done = 0
    dataset = make_dataset(rest, encoders[0].protocol, "views")
    workers = min(data.num_workers, len(missing))
    with Loader(dataset, 1, num_workers=workers, timeout_seconds=data.decode_timeout_seconds) as loader:
        for batch in loader.eval_batches():
            row = missing[batch.index[0]]
            if batch.weight[0] > 0:
                for encoder, file in zip(encoders, files[row], strict=True):
                    if not file.is_file():
                        write_tensors(file, _tensors(encoder, batch, session), {})
            else:
                failed |= budget.add({row: batch.failures[0]})
                session.progress.note(f"unreadable: {failed[row]}")
            done += 1
            session.advance(done, len(missing), "clips")
            session.check_signals()
    if budget.is_exceeded:  # only now, so that one message names all, and the features of the others are stored
        others = f"; and {len(failed) - _MAX_NAMED} more" if len(failed) > _MAX_NAMED else ""
        raise DataError(
            f"{len(failed)} of {len(manifest)} clips cannot be read, more than --data.failure_budget "
            f"{data.failure_budget:g} allows ({budget.allowed:.0f}); replace them, leave them out, or allow more: "
            f"{'; '.join([*failed.values()][:_MAX_NAMED])}{others}"
        )
    return failed


def _tensors(encoder: Encoder, batch: Batch, session: Session) -> dict[str, Tensor]:
    """What is stored of the clip of a batch."""
    found = embed_views(
        encoder.model,
        batch.clips[0],
        batch.frame_numbers[0],
        encoder.protocol,
        device=session.device,
        precision=encoder.precision,
        what=encoder.kind,
    )
    tensors: dict[str, Tensor] = {encoder.kind: found.contiguous()}
    if encoder.kind == "frames":
        tensors["position"] = batch.frame_numbers[0].contiguous()
    return tensors


def key_of(manifest: Manifest, sample: Sample) -> str:
    """The name of a clip: of its file as it is now, and of the part that is shown."""
    path = manifest.path_of(sample)
    try:
        status = os.stat(path)
        facts: list[Any] = [str(path.resolve()), status.st_size, status.st_mtime_ns]
    except OSError:
        facts = [str(path.resolve())]
    shown = dataclasses.replace(sample, path="", labels=(), split="train", group=None)
    return hashlib.blake2b(json.dumps([*facts, dataclasses.asdict(shown)]).encode(), digest_size=16).hexdigest()
