"""A whole model, by folder or hub name: one of tubelet, or a video model of HuggingFace converted on the way."""

from __future__ import annotations

import dataclasses
import logging
from pathlib import Path

from torch import nn

from tubelet.weights.checkpoint.checkpoint import RECORD, Record, load_checkpoint
from tubelet.weights.convert.huggingface import convert
from tubelet.weights.convert.sources import record_of
from tubelet.weights.hub import local_folder, parse_hub_name
from tubelet.weights.mapping.converter import ConvertOptions
from tubelet.weights.mapping.huggingface import is_huggingface

_log = logging.getLogger(__name__)


def open_plain(source: str | Path, *, prefers_copy: bool = False) -> tuple[nn.Module, Record]:
    """The model in eval mode on the CPU, and its record.

    Args:
        source: a folder, ``owner/name`` or ``hf://owner/name@revision``. A model of HuggingFace is converted in memory;
            what its user should know (its pixel range, for example) is logged.
        prefers_copy: of a name on the hub, take the copy that is here.

    Raises:
        CheckpointError: none there, none to be had, damaged, or not fitting strictly.
    """
    folder = local_folder(source, prefers_copy=prefers_copy)
    if not is_foreign(folder):
        return load_checkpoint(folder)
    converted = convert(folder, ConvertOptions())
    record = record_of(converted)
    provenance = record.provenance
    for note in (f"labels: {provenance['labels_from']}", *provenance["protocol_notes"]):
        _log.info("%s: %s", source, note)
    return converted.model, dataclasses.replace(record, provenance=provenance | _origin(source, folder))


def is_foreign(folder: Path) -> bool:
    """Whether a folder holds a model of ``transformers`` and none of tubelet."""
    return is_huggingface(folder) and not (folder / RECORD).is_file()


def _origin(source: str | Path, folder: Path) -> dict[str, str]:
    name = parse_hub_name(source)
    return {"path": str(source)} if name is None else {"path": f"hf://{name.repo}@{folder.name}"}
