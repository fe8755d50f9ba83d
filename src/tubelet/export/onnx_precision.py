"""An ONNX graph in fp16 or int8, by ONNX Runtime's own tools.

fp16 halves the file: weights and most operators, with inputs and logits in fp32. int8 quantizes the weights of matrix
products ahead, per channel, and what enters them while it runs, so that no ranges are guessed.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from tubelet.errors import ExportError, reason
from tubelet.types import ExportPrecision
from tubelet.weights.exported.module import imported


def lower_onnx(path: Path, precision: ExportPrecision) -> None:
    """Rewrite an ONNX file in place.

    Raises:
        ExportError: its weights lie beside it, or ONNX Runtime cannot convert it.
    """
    if path.with_name(f"{path.name}.data").exists():
        raise ExportError(f"{precision} is not written for models whose weights are larger than 1.9 GB; use fp32")
    convert = {"fp16": _to_fp16, "int8": _to_int8}[precision]
    try:
        convert(path)
    except OSError:  # a full disk is no fault of the graph
        raise
    except Exception as error:  # their exceptions have no public base class
        raise ExportError(f"ONNX Runtime cannot take the graph in {precision} ({reason(error)[:200]})") from error


def _to_fp16(path: Path) -> None:
    onnx = imported("onnx", "export")
    float16: Any = imported("onnxruntime.transformers.float16", "export")
    logging.getLogger("onnxruntime.transformers.float16").setLevel(logging.ERROR)
    model = float16.convert_float_to_float16(onnx.load(str(path)), keep_io_types=True)
    path.write_bytes(model.SerializeToString())


def _to_int8(path: Path) -> None:
    quantization: Any = imported("onnxruntime.quantization", "export")
    whole = path.with_name(f"fp32_{path.name}")
    path.rename(whole)
    logging.getLogger().disabled, before = True, logging.getLogger().disabled  # it writes to the root logger
    try:
        quantization.quantize_dynamic(
            str(whole),
            str(path),
            per_channel=True,
            weight_type=quantization.QuantType.QInt8,
            op_types_to_quantize=["MatMul", "Gemm"],
            extra_options={"EnableSubgraph": True},
        )
    finally:
        logging.getLogger().disabled = before
        whole.unlink()
