"""Features of a frozen encoder, stored by video: computed once, shared by probes, and kept through a kill.

    FOLDER/ENCODER/VIDEO.safetensors   embedding [V, D]

ENCODER names weights, config and protocol, VIDEO the file (path, size, time) and the segment: what changes is computed
anew, and ten more clips cost ten clips.

    N  clips   V  views   D  width
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
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
from tubelet.inference.embedding import embed_views
from tubelet.nn.head import head_prefixes
from tubelet.nn.video_model import VideoModel
from tubelet.protocol import Protocol
from tubelet.recipe import DataConfig
from tubelet.session.fast_fp32 import PLAIN, fast_fp32_in_use
from tubelet.session.session import Session
from tubelet.types import Precision

_BYTES = 4  # of a value
_MAX_NAMED = 50  # unreadable clips in one message


@dataclass(frozen=True, kw_only=True)
class Encoder:
    """A frozen model and how videos enter it."""

    model: VideoModel
    protocol: Protocol
    precision: Precision = "fp32"

    @property
    def key(self) -> str:
        """A name of everything that decides the features."""
        digest, head = hashlib.sha256(), head_prefixes(self.model)
        for name, tensor in self.model.state_dict().items():
            if not name.startswith(head):
                digest.update(name.encode() + tensor.contiguous().cpu().flatten().view(torch.uint8).numpy().tobytes())
        config = {key: value for key, value in to_dict(self.model.config).items() if key != "num_classes"}
        protocol = {key: value for key, value in to_dict(self.protocol).items() if key not in ("labels", "multi_label")}
        facts = [type(self.model).__name__, config, protocol, self.precision]
        if fast_fp32_in_use() != PLAIN:  # other bits
            facts.append(fast_fp32_in_use().to_record())
        digest.update(json.dumps(facts, sort_keys=True).encode())
        return digest.hexdigest()[:20]


@dataclass(frozen=True, kw_only=True)
class Features:
    """Those of the clips that could be read."""

    values: Float[Tensor, "N V D"]
    rows: tuple[int, ...]  # of the manifest
    failed: tuple[str, ...]  # one line per clip that could not be read


def features_of(
    encoder: Encoder, manifest: Manifest, data: DataConfig, folder: Path, session: Session, *, max_gb: float
) -> Features:
    """Compute what is not stored yet, and read all.

    Args:
        data: how many processes read, and how many clips may be unreadable.
        folder: of all stored features.

    Raises:
        ConfigError: they would be larger than ``max_gb``.
        DataError: too many clips cannot be read.
        Stopped: a signal asked this process to stop; what is stored stays.
    """
    store = folder / encoder.key
    size = len(manifest) * encoder.protocol.num_views * encoder.model.num_features * _BYTES
    session.progress.note(f"features: {len(manifest)} clips, {size / 1e6:.1f} MB in {store}")
    if size > max_gb * 1e9:
        raise ConfigError(f"features of {size / 1e9:.1f} GB are larger than --max-gb {max_gb:g}; give a higher limit")
    files = [store / f"{key_of(manifest, sample)}.safetensors" for sample in manifest.samples]
    missing = [row for row, file in enumerate(files) if not file.is_file()]
    failed: dict[int, str] = {}
    if missing:
        store.mkdir(parents=True, exist_ok=True)
        failed = _compute(encoder, manifest, missing, files, data, session)
    rows = tuple(row for row in range(len(files)) if row not in failed)
    values = torch.stack([load_file(files[row])["embedding"] for row in rows])
    return Features(values=values, rows=rows, failed=tuple(failed.values()))


def _compute(
    encoder: Encoder, manifest: Manifest, missing: list[int], files: list[Path], data: DataConfig, session: Session
) -> dict[int, str]:
    """Store the features of some rows; the lines of those that cannot be read."""
    model = encoder.model.to(session.device).eval()
    rest = manifest.with_samples([manifest.samples[row] for row in missing])
    failed: dict[int, str] = {}
    budget = FailureBudget(manifest, data.failure_budget, "clips")
    done = 0
    dataset = make_dataset(rest, encoder.protocol, "views")
    workers = min(data.num_workers, len(missing))
    with Loader(dataset, 1, num_workers=workers, timeout_seconds=data.decode_timeout_seconds) as loader:
        for batch in loader.eval_batches():
            row = missing[batch.index[0]]
            if batch.weight[0] > 0:
                embedding = embed_views(
                    model,
                    batch.clips[0],
                    batch.frame_numbers[0],
                    encoder.protocol,
                    device=session.device,
                    precision=encoder.precision,
                )
                write_tensors(files[row], {"embedding": embedding.contiguous()}, {})
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
