"""Writes an OpenVINO file of an ONNX graph: fp32, bf16 (the same weights, computed in bf16), or int8 by nncf.

nncf calibrates on the user's clips. Source of its settings for transformers: openvinotoolkit/nncf, ``docs/usage/
post_training_compression/post_training_quantization/Usage.md``.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from dataclasses import replace
from pathlib import Path
from typing import Any

from tubelet.errors import ExportError, reason
from tubelet.export.calibration import CalibrationInputs
from tubelet.types import ExportPrecision
from tubelet.weights.exported.digest import openvino_digest
from tubelet.weights.exported.module import imported
from tubelet.weights.exported.openvino_file import HINT_PATH, HINTS, METADATA_PATH, imported_openvino, read_model
from tubelet.weights.exported.record import PREFIX, ExportRecord, to_metadata


def save_openvino(onnx_file: Path, precision: ExportPrecision, inputs: CalibrationInputs, path: Path) -> None:
    """Write ``path`` (and ``.bin`` beside it) of an ONNX file in fp32, without metadata.

    Raises:
        ExportError: OpenVINO cannot read the graph, or nncf cannot quantize it.
    """
    openvino = imported_openvino()
    try:
        model = openvino.Core().read_model(str(onnx_file))
        if precision == "int8":
            model = _quantized(model, inputs)
    except Exception as error:  # their exceptions have no public base class
        raise ExportError(f"OpenVINO cannot take the graph in {precision} ({reason(error)[:200]})") from error
    model.set_rt_info(HINTS[precision], HINT_PATH)
    _save(model, path)


def _quantized(model: Any, inputs: CalibrationInputs) -> Any:
    with redirect_stdout(sys.stderr):  # its bars do not belong to what a command prints
        nncf = imported("nncf", "openvino")
        logging.getLogger("nncf").setLevel(logging.ERROR)
        samples: Sequence[Any] = inputs()
        dataset = nncf.Dataset(samples, lambda sample: sample if len(sample) > 1 else sample[0])
        return nncf.quantize(model, dataset, model_type=nncf.ModelType.TRANSFORMER, subset_size=len(samples))


def _save(model: Any, path: Path) -> None:
    openvino = imported_openvino()
    try:
        openvino.save_model(model, str(path), compress_to_fp16=False)
        is_whole = path.read_bytes().rstrip().endswith(b"</net>")  # a full disk is no error to it
    except Exception as error:  # its exceptions have no public base class
        raise ExportError(f"not written: OpenVINO cannot save it ({reason(error)[:200]}); is the disk full?") from error
    if not is_whole:
        raise ExportError("not written: OpenVINO saved a part of it; is the disk full?")


def add_openvino_metadata(path: Path, record: ExportRecord) -> None:
    """Put the record into a file of ``save_openvino``."""
    model = read_model(path)
    record = replace(record, weights_sha256=openvino_digest(path))
    for name, text in to_metadata(record).items():
        model.set_rt_info(text, [METADATA_PATH, name.removeprefix(PREFIX)])
    new = path.with_name(f"new_{path.name}")
    _save(model, new)
    del model  # it reads its weights where they lie
    new.with_suffix(".bin").replace(path.with_suffix(".bin"))
    new.replace(path)
