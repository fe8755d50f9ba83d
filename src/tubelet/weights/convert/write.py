"""A tubelet model in the formats of others: a folder that ``transformers`` loads, or parameters as ``.npz``.

Each writer gives back what the format cannot hold, one line each, and leaves nothing half-written.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from torch import nn

from tubelet import __version__
from tubelet.config import dump_yaml
from tubelet.errors import CheckpointError
from tubelet.files import write_atomically, write_tensors, written_atomically
from tubelet.models import FAMILIES, family_of_model
from tubelet.weights.checkpoint.checkpoint import Record
from tubelet.weights.mapping.huggingface import CONFIG, PREPROCESSOR


def write_huggingface(model: nn.Module, record: Record, out: Path) -> list[str]:
    """The files of a model of ``transformers``, and a ``README.md`` that names the license.

    Raises:
        CheckpointError: a model or a protocol that HuggingFace has not.
    """
    if len(record.protocol.labels) > 1 or record.protocol.multi_label:
        raise CheckpointError(
            "HuggingFace's video classifiers have one softmax over all classes, not several heads or several labels "
            "per video"
        )
    if record.protocol.number_scales:
        raise CheckpointError(f"HuggingFace's video classifiers have classes; {record.model_name} gives numbers")
    weights = family_of_model(model).weights()
    if not weights.huggingface:
        has = ", ".join(other.about for one in FAMILIES for other in one.weights().huggingface.values())
        raise CheckpointError(f"HuggingFace has {has}, not {record.model_name}")
    folder = next(iter(weights.huggingface.values())).write(model, record.protocol)
    files = {CONFIG: folder.config, PREPROCESSOR: folder.preprocessor}
    card = _card(record)
    new = out.with_name(f".{out.name}.new")
    shutil.rmtree(new, ignore_errors=True)
    try:
        new.mkdir(parents=True)
        for name, content in files.items():
            write_atomically(new / name, json.dumps(content, indent=2, ensure_ascii=False) + "\n")
        write_atomically(new / "README.md", card)
        write_tensors(new / "model.safetensors", folder.tensors, {"format": "pt"})  # transformers asks for the metadata
        new.rename(out)
    except BaseException:
        shutil.rmtree(new, ignore_errors=True)
        raise
    return [*folder.notes, f"HuggingFace's files do not hold: {'; '.join(not_held(record))}"]


def not_held(record: Record) -> list[str]:
    """What transformers' files have no place for, with what to do by hand for the same answers."""
    p = record.protocol
    sampling = f"{p.sampling} sampling" if p.sampling != "dense" else f"frame_stride {p.frame_stride}"
    if p.target_fps is not None:
        sampling = f"{p.target_fps:g} frames per second of video"
    lines = [
        f"sampling: choose the frames yourself ({sampling}, {p.num_frames} frames)",
        f"views: average the {p.averaging} of {p.views_text} views",
        "tone mapping of HDR video, fields of interlaced video and rotation: give frames as players show them",
    ]
    if record.calibration.is_tempered:
        values = ", ".join(f"{value:.4g}" for value in record.calibration.temperatures)
        lines.append(f"temperature: divide the logits by {values} before the softmax")
    if record.calibration.rejection is not None:
        lines.append("the threshold of 'none of these'")
    return lines


def _card(record: Record) -> str:
    """``README.md`` with the front matter that the hub, and a conversion back, read the license from."""
    front = {"library_name": "transformers"}
    if record.labels:
        front["pipeline_tag"] = "video-classification"
    if record.license:
        front["license"] = record.license
    terms = record.license or "unknown; find it out before you share these weights"
    text = f"{record.model_name}, {len(record.labels)} classes, written by tubelet {__version__}. License: {terms}.\n"
    lines = "".join(f"- {line}\n" for line in not_held(record))
    return f"---\n{dump_yaml(front)}---\n\n{text}\nThese files do not hold:\n\n{lines}"


def write_npz(model: nn.Module, record: Record, out: Path, kind: str) -> list[str]:
    """The parameters under the names of a format that a family writes, joined by "/", as ``.npz``.

    Raises:
        CheckpointError: the format has no such model, or ``out`` does not end in .npz.
    """
    if out.suffix != ".npz":
        raise CheckpointError(f"{out}: {kind}'s parameters are written as .npz; let OUT end so")
    writers = family_of_model(model).weights().writers
    if kind not in writers:
        raise CheckpointError(f"{kind} has no {type(model).__name__}")
    state = writers[kind](model)
    out.parent.mkdir(parents=True, exist_ok=True)
    with written_atomically(out) as new, new.open("wb") as stream:
        arrays = {name: tensor.numpy() for name, tensor in state.items()}
        np.savez(stream, **arrays)  # type: ignore[arg-type]  # numpy's stub takes names for its own options
    return [f"an .npz holds weights only: {len(record.labels)} labels and the protocol stay behind"]


# Format -> what writes a checkpoint in it: (model, record, OUT) -> notes on what it cannot hold.
WRITERS: dict[str, Callable[[nn.Module, Record, Path], list[str]]] = {
    "huggingface": write_huggingface,
    **{kind: partial(write_npz, kind=kind) for family in FAMILIES for kind in family.weights().writers},
}
