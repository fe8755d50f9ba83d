"""A checkpoint is a folder: ``model.safetensors`` and ``tubelet.json`` (model, protocol, labels, provenance).

It needs nothing else to predict, and it is loaded strictly: no tensor missing, left over, misshapen or not finite.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from tubelet import config as config_io
from tubelet.errors import CheckpointError, ConfigError, reason
from tubelet.files import lfs_pointer, naming, write_atomically, write_tensors
from tubelet.models import create_model, model_config
from tubelet.protocol import UNCALIBRATED, Calibration, Protocol
from tubelet.types import Precision
from tubelet.weights.checkpoint.lora import trained_names
from tubelet.weights.config import InitConfig, LoraConfig

WEIGHTS, RECORD, FORMAT = "model.safetensors", "tubelet.json", 1


@dataclass(frozen=True, kw_only=True)
class Adapter:
    """LoRA adapters, and the base that they change."""

    lora: LoraConfig
    init: InitConfig  # how the model's weights before training come from the base; init.source is the base
    base_sha256: str  # over names, shapes and values of the base's tensors


@dataclass(frozen=True, kw_only=True)
class Record:
    """What stands in ``tubelet.json``; ``provenance`` says where the weights come from."""

    model_name: str
    model_config: dict[str, Any]
    protocol: Protocol
    provenance: dict[str, Any] = field(default_factory=dict)
    weights_sha256: str = ""
    precision: Precision = "fp32"  # that it was validated in, and computes in; without a record, fp32
    adapter: Adapter | None = None  # the file holds adapters and what was trained beside them, not the whole model
    calibration: Calibration = UNCALIBRATED
    format: int = FORMAT

    @property
    def labels(self) -> tuple[str, ...]:
        """Class names in the order of the logits; of several heads, one after the other."""
        return tuple(name for head in self.protocol.labels.values() for name in head)

    @property
    def license(self) -> str | None:
        """Of the weights: their own, or that of those that they were trained from; None means not stated."""
        own = self.provenance.get("license") or self.provenance.get("init", {}).get("license")
        return stated_license(own)


def stated_license(text: str | None) -> str | None:
    """A license as records and model cards give it; None where they say that it is unknown."""
    return None if text is None or text.startswith("unknown") else text


def save_checkpoint(path: Path, model: nn.Module, record: Record) -> None:
    """Write the folder beside its final name, then move it there, so that ``path`` is never half a checkpoint.

    Raises:
        OSError: it cannot be written; the error names ``path``, which is as it was.
    """
    with written_checkpoint(path) as new:
        write_files(new, model, record)


@contextmanager
def written_checkpoint(path: Path) -> Iterator[Path]:
    """Yield an empty folder beside ``path`` to write to. It is moved in place of ``path``, or removed on an error.

    Raises:
        OSError: it cannot be written; the error names ``path``, which is as it was.
    """
    recover_checkpoint(path)
    new, old = _beside(path)
    try:
        with naming(path, instead_of=new):
            new.mkdir(parents=True)
            yield new
    except BaseException:
        shutil.rmtree(new, ignore_errors=True)
        raise
    if path.exists():
        path.rename(old)
    new.rename(path)
    shutil.rmtree(old, ignore_errors=True)


def recover_checkpoint(path: Path) -> None:
    """Put right what a writer that was killed left of ``path``: whole as it was before, and nothing beside it."""
    new, old = _beside(path)
    if old.exists() and not path.exists():  # killed between the two renames at the end
        old.rename(path)
    for stale in (new, old):
        shutil.rmtree(stale, ignore_errors=True)


def remove_checkpoint(path: Path) -> None:
    """Remove the folder; a kill in between leaves no part of it under its name."""
    new, _ = _beside(path)
    path.rename(new)
    shutil.rmtree(new)


def _beside(path: Path) -> tuple[Path, Path]:
    """Where a checkpoint is written before it has its name, and where the one before it waits to be removed."""
    return path.with_name(f".{path.name}.new"), path.with_name(f".{path.name}.old")


def write_files(new: Path, model: nn.Module, record: Record) -> None:
    """The files of a checkpoint in a folder that ``written_checkpoint`` yields."""
    kept = model.state_dict().keys() if record.adapter is None else trained_names(model)
    state = {name: t.detach().cpu().contiguous() for name, t in model.state_dict().items() if name in kept}
    write_tensors(new / WEIGHTS, state)
    record = dataclasses.replace(record, weights_sha256=_sha256(new / WEIGHTS))
    write_atomically(new / RECORD, _record_text(record))


def _record_text(record: Record) -> str:
    return json.dumps(config_io.to_dict(record), indent=2, ensure_ascii=False) + "\n"


def read_record(path: Path) -> Record:
    """The record of a checkpoint folder.

    Raises:
        CheckpointError: no checkpoint there, or a record that this version cannot read.
    """
    file = path / RECORD
    if not file.is_file():
        hint = _hint(path)
        raise CheckpointError(f"{path}: no checkpoint here (expected a folder with {WEIGHTS} and {RECORD}){hint}")
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
        record = config_io.from_dict(Record, data, where=RECORD)
    except (ConfigError, ValueError) as error:
        what = lfs_pointer(file) or f"cannot be read as a tubelet record: {error}"
        raise CheckpointError(f"{file}: {what}") from None
    if record.format != FORMAT:
        raise CheckpointError(f"{file}: format {record.format}; this version of tubelet reads format {FORMAT}")
    return record


def write_calibration(path: Path, calibration: Calibration) -> None:
    """Put a calibration into the record of a checkpoint folder, whose weights stay as they are."""
    record = dataclasses.replace(read_record(path), calibration=calibration)
    write_atomically(path / RECORD, _record_text(record))


def load_checkpoint(path: Path) -> tuple[nn.Module, Record]:
    """The model in eval mode on the CPU, and its record.

    Raises:
        CheckpointError: a damaged file, labels that do not fit the logits, tensors that are missing, left over,
            misshapen or not finite, or weights that are not those of the record.
    """
    record = read_record(path)
    if record.adapter is not None:
        raise CheckpointError(
            f"{path}: holds LoRA adapters on {record.adapter.init.source}, not a whole model; make one with "
            f"`tubelet merge {path} OUT`"
        )
    state = read_state(path)
    model = model_of(record, path)
    load_strictly(model, state, str(path / WEIGHTS))
    check_digest(record, path)
    return model.eval(), record


def read_state(path: Path) -> dict[str, Tensor]:
    """The tensors of a checkpoint folder.

    Raises:
        CheckpointError: missing or damaged.
    """
    try:
        return load_file(path / WEIGHTS)
    except (OSError, SafetensorError) as error:
        what = lfs_pointer(path / WEIGHTS) or f"cannot be read ({reason(error)}); copy the checkpoint again"
        raise CheckpointError(f"{path / WEIGHTS}: {what}") from None


def model_of(record: Record, path: Path) -> nn.Module:
    """A fresh model as a record describes it, whose labels fit its logits.

    Raises:
        CheckpointError: they do not, or there is no such model.
    """
    try:
        model = create_model(record.model_name, **record.model_config)
    except ConfigError as error:
        raise CheckpointError(f"{path / RECORD}: {error}") from None
    _check_labels(record, path)
    return model


def check_digest(record: Record, path: Path) -> None:
    """Raise when the weights are not those that the record was written with."""
    if record.weights_sha256 and record.weights_sha256 != _sha256(path / WEIGHTS):
        raise CheckpointError(
            f"{path}: {WEIGHTS} holds other weights than {RECORD} was written with; copy both from one checkpoint"
        )


def _check_labels(record: Record, path: Path) -> None:
    """A name for each logit, distinct within its head; none for an encoder without classifier."""
    heads, file = record.protocol.labels, path / RECORD
    num_classes: int = model_config(record.model_name, record.model_config).num_classes
    if not heads and not num_classes:
        return
    if not heads:
        raise CheckpointError(f"{file}: protocol.labels has no head; expected the names of {num_classes} classes")
    for head, names in heads.items():
        if not names or len(set(names)) != len(names):
            raise CheckpointError(
                f"{file}: protocol.labels.{head} has {len(names)} names, {len(set(names))} of them distinct; "
                "expected distinct names"
            )
    if len(record.labels) != num_classes:
        listed = ", ".join(f"{head} {len(names)}" for head, names in heads.items())
        raise CheckpointError(
            f"{file}: protocol.labels has {len(record.labels)} names ({listed}); expected one for each of "
            f"{num_classes} logits"
        )


def load_strictly(model: nn.Module, state: Mapping[str, Tensor], where: str) -> None:
    """Load a state dict that must fit exactly; the message names the first few tensors that do not."""
    expected = model.state_dict()
    problems = [f"{n} is missing" for n in expected if n not in state]
    problems += [f"{n} is not part of {type(model).__name__}" for n in state if n not in expected]
    for name in expected.keys() & state.keys():
        old, new = expected[name], state[name]
        if old.shape != new.shape or old.dtype != new.dtype:
            problems.append(
                f"{name} is {new.dtype} {tuple(new.shape)} where {old.dtype} {tuple(old.shape)} is expected"
            )
        elif new.is_floating_point() and not torch.isfinite(new).all():
            problems.append(f"{name} holds values that are not finite")
    if problems:
        more = f" (and {len(problems) - 4} more)" if len(problems) > 4 else ""
        raise CheckpointError(
            f"{where}: weights do not fit the model: {'; '.join(sorted(problems)[:4])}{more}; nothing was loaded"
        )
    model.load_state_dict(dict(state))


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _hint(path: Path) -> str:
    """Where the checkpoint probably is, when a user names the run folder instead."""
    for name in ("best", "last"):
        if (path / name / RECORD).is_file():
            return f"; did you mean {path / name}?"
    return ""
