"""Any checkpoint, by folder or hub name: a whole model, or LoRA adapters, which are put on their base and merged.

And the model of an exported file, which another runtime computes.
"""

from __future__ import annotations

from pathlib import Path

from torch import nn

from tubelet.errors import CheckpointError
from tubelet.weights.adapted import open_adapted
from tubelet.weights.checkpoint.checkpoint import Record, read_record
from tubelet.weights.convert.plain import is_foreign, open_plain
from tubelet.weights.exported.open import exported_file, open_exported, read_exported
from tubelet.weights.hub import local_folder


def open_checkpoint(source: str | Path, base: str | None = None) -> tuple[nn.Module, Record]:
    """The model in eval mode on the CPU, and its record.

    Args:
        source: a folder, ``owner/name`` or ``hf://owner/name@revision``. A model of HuggingFace is converted in memory;
            what its user should know (its pixel range, for example) is logged. Or a file of ``tubelet export``.
        base: of a checkpoint with adapters, where its base lies now; None means where it lay.

    Raises:
        CheckpointError: none there, none to be had, damaged, or not fitting strictly.
    """
    if (file := exported_file(source)) is not None:
        if base is not None:
            raise CheckpointError(f"{source}: an exported model has no adapters; leave the base out")
        model = open_exported(file)
        return model, model.exported.record
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
    if (file := exported_file(source)) is not None:
        return read_exported(file).record
    folder = local_folder(source)
    return open_plain(source)[1] if is_foreign(folder) else read_record(folder)
