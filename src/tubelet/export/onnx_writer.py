"""Writes an ONNX file: the graph and its metadata, the weights beside it where one file cannot hold them."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

from tubelet.weights.exported.digest import onnx_digest
from tubelet.weights.exported.module import imported
from tubelet.weights.exported.onnx_safety import files_beside
from tubelet.weights.exported.record import ExportRecord, to_metadata

EXTERNAL_BYTES = 1_900_000_000  # of weights; protobuf ends at 2 GiB, and the graph needs room


def save_onnx(graph: Any, path: Path) -> None:
    """Write the graph without metadata. Weights over ``EXTERNAL_BYTES`` go into ``<name>.data`` beside it."""
    onnx = imported("onnx", "export")
    num_bytes = sum(len(tensor.raw_data) for tensor in graph.graph.initializer)
    if num_bytes > EXTERNAL_BYTES:
        onnx.save_model(
            graph,
            str(path),
            save_as_external_data=True,
            all_tensors_to_one_file=True,
            location=f"{path.name}.data",
            size_threshold=1024,
        )
    else:
        path.write_bytes(graph.SerializeToString())


def add_onnx_metadata(path: Path, record: ExportRecord) -> str:
    """Put the record into a file of ``save_onnx``, and return the digest of what the file computes."""
    onnx = imported("onnx", "export")
    model = onnx.load(str(path), load_external_data=False)
    model.producer_name, model.producer_version = "tubelet", record.version
    path.write_bytes(model.SerializeToString())  # as it is written below but for its metadata
    digest = onnx_digest(path, files_beside(model))
    onnx.helper.set_model_props(model, to_metadata(replace(record, weights_sha256=digest)))
    with path.open("wb") as stream:
        stream.write(model.SerializeToString())
        os.fsync(stream.fileno())
    return digest
