"""Writes an archive of ``torch.export``: the graph and its weights, and the metadata as an extra file."""

from __future__ import annotations

import io
import json
import zipfile
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from tubelet.errors import ExportError
from tubelet.export.trace import Traceable, explaining_trace, traceable
from tubelet.weights.exported.archive_safety import METADATA
from tubelet.weights.exported.digest import archive_digest
from tubelet.weights.exported.record import ExportRecord, TakenClips, to_metadata

# Of every node: where in the source it came from, with paths of this machine.
_TRACES = ("stack_trace", "nn_module_stack", "source_fn_stack", "torch_fn", "from_node", "custom")


def save_archive(model: nn.Module, name: str, taken: TakenClips, path: Path) -> None:
    """Write the archive without metadata.

    Raises:
        ExportError: several sizes are asked for, or torch cannot follow the model.
    """
    if len(taken.sizes) > 1:
        raise ExportError(f"{name}: an archive of torch holds one graph, for one size; got {len(taken.sizes)} sizes")
    given = traceable(model, taken, taken.sizes[0])
    with explaining_trace(name, taken):
        program = _program(given)
        for node in program.graph.nodes:
            for key in _TRACES:
                node.meta.pop(key, None)
    # By way of memory: torch's own writer ends the process when it is collected behind a disk that was full.
    archive = io.BytesIO()
    torch.export.save(program, archive)
    path.write_bytes(archive.getbuffer())


def _program(given: Traceable) -> torch.export.ExportedProgram:
    """The traced graph. Where torch takes something for granted of T that it cannot show, the graph asserts it."""
    try:
        return torch.export.export(given.model, given.inputs, dynamic_shapes=given.dynamic_shapes)
    except Exception:  # torch's own classes for this are not public
        return torch.export.export(
            given.model,
            given.inputs,
            dynamic_shapes=given.dynamic_shapes,
            prefer_deferred_runtime_asserts_over_guards=True,
        )


def add_archive_metadata(path: Path, record: ExportRecord) -> None:
    """Put the record into an archive of ``save_archive``."""
    record = replace(record, weights_sha256=archive_digest(path, METADATA))
    with zipfile.ZipFile(path, "a", zipfile.ZIP_STORED) as archive:
        root = archive.namelist()[0].partition("/")[0]
        archive.writestr(f"{root}/extra/{METADATA}", json.dumps(to_metadata(record)))
