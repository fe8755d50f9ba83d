"""An archive of ``torch.export`` as a model: checked, then run by torch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from tubelet.errors import CheckpointError, reason
from tubelet.weights.exported.archive_safety import METADATA, check_archive
from tubelet.weights.exported.digest import archive_digest
from tubelet.weights.exported.module import ExportedModel, Run
from tubelet.weights.exported.record import ExportRecord, check_weights, from_metadata


def read_archive_record(path: Path) -> ExportRecord:
    """What an archive says of itself.

    Raises:
        CheckpointError: it carries nothing, or cannot be trusted.
    """
    try:
        metadata = json.loads(check_archive(path))
    except ValueError:
        metadata = {}
    record = from_metadata(metadata if isinstance(metadata, dict) else {}, str(path))
    check_weights(record, lambda: archive_digest(path, METADATA), str(path))
    return record


def open_archive(path: Path) -> ExportedModel:
    """The model of an archive.

    Raises:
        CheckpointError: as ``read_archive_record``, or torch cannot read it.
    """
    return ExportedModel(path, read_archive_record(path), run_archive(path))


def run_archive(path: Path) -> Run:
    """What computes the logits of an archive that was checked, or written here."""
    try:
        # Its guards say what was taken for granted while it was traced, such as more than one time index; the proof has
        # shown that the graph computes the others too.
        module: Any = torch.export.load(path).module(check_guards=False)
    except Exception as error:  # torch's own classes for this are not public
        raise CheckpointError(f"{path}: torch {torch.__version__} cannot read it ({reason(error)[:200]})") from None

    def run(inputs: list[Any]) -> Any:
        with torch.no_grad():
            return module(*map(torch.from_numpy, inputs)).numpy()

    return run
