"""Any checkpoint, by folder or hub name: a whole model, or LoRA adapters, which are put on their base and merged."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from tubelet.errors import CheckpointError
from tubelet.weights.adapted import open_adapted
from tubelet.weights.checkpoint.checkpoint import Record, read_record
from tubelet.weights.convert.plain import is_foreign, open_plain
from tubelet.weights.hub import local_folder


def open_checkpoint(source: str | Path, base: str | None = None) -> tuple[nn.Module, Record]:
    """The model in eval mode on the CPU, and its record.

    Args:
        source: a folder, ``owner/name`` or ``hf://owner/name@revision``. A model of HuggingFace is converted in memory;
            what its user should know (its pixel range, for example) is logged.
        base: of a checkpoint with adapters, where its base lies now; None means where it lay.

    Raises:
        CheckpointError: none there, none to be had, damaged, or not fitting strictly.
    """
    folder = local_folder(source)
    if not is_foreign(folder) and (record := read_record(folder)).adapter is not None:
        return open_adapted(folder, record, base)
    if base is not None:
        raise CheckpointError(f"{source}: holds a whole model and no adapters; leave the base out")
    return open_plain(source)


def open_record(source: str | Path) -> Record:
    """The record alone; of a HuggingFace model, the one that a conversion gives.

    Raises:
        CheckpointError: as ``open_checkpoint``.
    """
    folder = local_folder(source)
    return open_plain(source)[1] if is_foreign(folder) else read_record(folder)
