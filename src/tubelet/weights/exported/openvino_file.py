"""An OpenVINO file (``.xml``, its weights in ``.bin`` beside it) as a model on the CPU.

OpenVINO computes in bf16 by itself where the processor can, whatever the file's weights are. So the file carries the
precision it was proven in, under ``runtime_options/INFERENCE_PRECISION_HINT``, and compiling here sets it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from tubelet.errors import CheckpointError, reason
from tubelet.session.telemetry import disable_telemetry
from tubelet.types import ExportPrecision
from tubelet.weights.exported.digest import openvino_digest
from tubelet.weights.exported.module import ExportedModel, Run, imported
from tubelet.weights.exported.record import PREFIX, ExportRecord, check_weights, from_metadata

HINT = "INFERENCE_PRECISION_HINT"
HINT_PATH = ["runtime_options", HINT]
METADATA_PATH = "tubelet"
HINTS: dict[ExportPrecision, str] = {"fp32": "f32", "bf16": "bf16", "int8": "f32"}  # of int8: what is not quantized


def imported_openvino() -> Any:
    """The package, which sends nothing home."""
    disable_telemetry()
    return imported("openvino", "openvino")


def read_model(path: Path) -> Any:
    """OpenVINO's model of a file, whose weights are not read yet.

    Raises:
        CheckpointError: OpenVINO cannot read it, or is not installed.
    """
    openvino = imported_openvino()
    weights = path.with_suffix(".bin")
    if not weights.is_file():
        raise CheckpointError(f"{path}: its weights {weights.name} are missing; keep both files in one folder")
    try:
        return openvino.Core().read_model(str(path), str(weights))
    except Exception as error:  # its exceptions have no public base class
        raise CheckpointError(f"{path}: OpenVINO cannot read it ({reason(error)[:200]})") from None


def read_openvino_record(path: Path) -> ExportRecord:
    """What a file says of itself.

    Raises:
        CheckpointError: it carries nothing or changed metadata, or cannot be read.
    """
    return _record(read_model(path), path)


def _record(model: Any, path: Path) -> ExportRecord:
    texts = {}
    if model.has_rt_info([METADATA_PATH]):
        texts = {f"{PREFIX}{name}": str(text) for name, text in model.get_rt_info([METADATA_PATH]).value.items()}
    record = from_metadata(texts, str(path))
    check_weights(record, lambda: openvino_digest(path), str(path))
    return record


def open_openvino(path: Path) -> ExportedModel:
    """The model of a file, on as many threads as torch uses.

    Raises:
        CheckpointError: as ``read_openvino_record``, or OpenVINO cannot compile it.
    """
    model = read_model(path)
    exported = _record(model, path)
    return ExportedModel(path, exported, run_openvino(model, path, exported.precision))


def run_openvino(model: Any, path: Path, precision: ExportPrecision) -> Run:
    """What computes the logits of OpenVINO's model, in the precision that it was proven in."""
    openvino = imported_openvino()
    options = {"INFERENCE_NUM_THREADS": torch.get_num_threads(), HINT: HINTS[precision]}
    try:
        compiled = openvino.Core().compile_model(model, "CPU", options)
    except Exception as error:  # its exceptions have no public base class
        raise CheckpointError(f"{path}: OpenVINO cannot compile it ({reason(error)[:200]})") from None

    def run(inputs: list[Any]) -> Any:
        return compiled(inputs)[0].copy()

    return run
