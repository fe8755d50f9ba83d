"""An ONNX file as a model: checked, then run by ONNX Runtime on the CPU."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from tubelet.errors import CheckpointError, reason
from tubelet.weights.exported.digest import onnx_digest
from tubelet.weights.exported.module import ExportedModel, Run, imported
from tubelet.weights.exported.onnx_safety import files_beside, read_checked
from tubelet.weights.exported.record import ExportRecord, check_weights, from_metadata
from tubelet.weights.exported.stages import ExportedStages, RunOutputs, check_pair, partners


def read_onnx_record(path: Path) -> ExportRecord:
    """What an ONNX file says of itself.

    Raises:
        CheckpointError: it carries nothing, or cannot be trusted.
    """
    model = read_checked(path)
    record = from_metadata({entry.key: entry.value for entry in model.metadata_props}, str(path))
    check_weights(record, lambda: onnx_digest(path, files_beside(model)), str(path))
    return record


def open_onnx(path: Path) -> ExportedModel:
    """The model of an ONNX file, on as many threads as torch uses.

    Raises:
        CheckpointError: as ``read_onnx_record``, or ONNX Runtime cannot load it or is not installed.
    """
    record = read_onnx_record(path)
    if record.stage is None:
        return ExportedModel(path, record, run_onnx(path))
    files = partners(path, record)
    both = {n: record if n == record.stage.name else read_onnx_record(file) for n, file in files.items()}
    check_pair(both["frames"], both["time"], path)
    return ExportedStages(path, record, run_outputs(files["frames"]), run_onnx(files["time"]))


def run_onnx(path: Path) -> Run:
    """What computes the logits of an ONNX file that was checked, or written here."""
    run = run_outputs(path)
    return lambda inputs: run(inputs)[0]


def run_outputs(path: Path) -> RunOutputs:
    """As ``run_onnx``, but all outputs."""
    session = onnx_session(path)
    names = [entry.name for entry in session.get_inputs()]

    def run(inputs: list[Any]) -> Any:
        return session.run(None, dict(zip(names, inputs, strict=True)))

    return run


def onnx_session(path: Path) -> Any:
    """ONNX Runtime's session of a file."""
    runtime = imported("onnxruntime", "export")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3  # errors, which are raised too
    try:
        return runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its exceptions have no public base class
        raise CheckpointError(f"{path}: ONNX Runtime cannot load it ({reason(error)})") from None
