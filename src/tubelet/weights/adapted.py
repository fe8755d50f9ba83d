"""A checkpoint with LoRA adapters: the base is read and initialized as it was for training, and the adapters merged."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from torch import nn

from tubelet.errors import CheckpointError
from tubelet.weights.checkpoint.checkpoint import WEIGHTS, Record, check_digest, load_strictly, model_of, read_state
from tubelet.weights.checkpoint.lora import add_adapters, merge_adapters, trained_names
from tubelet.weights.init.initialize import initialize
from tubelet.weights.init.source import read_source


def open_adapted(folder: Path, record: Record, base: str | None = None) -> tuple[nn.Module, Record]:
    """The plain model in eval mode on the CPU, and its record, in which it stands that adapters were merged.

    Args:
        base: where the base lies now; None means where it lay when the adapters were trained.

    Raises:
        CheckpointError: the base is not there or is another one, or the adapters do not fit it.
    """
    adapter = record.adapter
    assert adapter is not None
    init = adapter.init if base is None else dataclasses.replace(adapter.init, source=base)
    try:
        source = read_source(init, record.model_name)
    except CheckpointError as error:
        raise CheckpointError(
            f"{folder}: its adapters need their base {init.source} (sha256 {adapter.base_sha256[:16]}...): {error}; "
            "where it lies elsewhere: `tubelet merge CHECKPOINT OUT --base PATH`"
        ) from None
    if source.sha256 != adapter.base_sha256:
        raise CheckpointError(
            f"{folder}: its adapters belong to a base with sha256 {adapter.base_sha256[:16]}..., {init.source} has "
            f"{source.sha256[:16]}...: give the one it was trained on (`tubelet merge CHECKPOINT OUT --base PATH`)"
        )
    model = model_of(record, folder)
    started = initialize(model, source, init, record.protocol)
    add_adapters(model, adapter.lora, started["fresh"])
    state, expected = read_state(folder), trained_names(model)
    if missing := expected - state.keys():
        raise CheckpointError(f"{folder / WEIGHTS}: lacks {sorted(missing)[0]} (and {len(missing) - 1} more)")
    load_strictly(model, {**model.state_dict(), **state}, str(folder / WEIGHTS))
    check_digest(record, folder)
    merge_adapters(model)
    merged = {"adapters_merged": {"base": init.source, "base_sha256": adapter.base_sha256}}
    plain = dataclasses.replace(record, adapter=None, weights_sha256="", provenance=record.provenance | merged)
    return model.eval(), plain
