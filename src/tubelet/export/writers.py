"""How a file of each format is written: first the model, then what the file says of itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import nn

from tubelet.export.calibration import CalibrationInputs
from tubelet.export.config import ExportConfig
from tubelet.export.onnx_graph import onnx_graph
from tubelet.export.onnx_precision import lower_onnx
from tubelet.export.onnx_writer import add_onnx_metadata, save_onnx
from tubelet.export.openvino_writer import add_openvino_metadata, save_openvino
from tubelet.export.torch_writer import add_archive_metadata, save_archive
from tubelet.types import ExportFormat
from tubelet.weights.exported.module import ExportedModel, Run, imported
from tubelet.weights.exported.onnx_file import run_onnx
from tubelet.weights.exported.open import read_exported
from tubelet.weights.exported.openvino_file import imported_openvino, read_model, run_openvino
from tubelet.weights.exported.record import ExportRecord, Proof, TakenClips
from tubelet.weights.exported.torch_archive import run_archive


@dataclass(frozen=True, kw_only=True)
class Job:
    """A model to write."""

    model: nn.Module
    name: str
    taken: TakenClips
    config: ExportConfig
    inputs: CalibrationInputs  # of the user's clips, for int8


@dataclass(frozen=True, kw_only=True)
class Writer:
    """A format. ``write`` returns the name and version of the runtime, and what runs the file."""

    write: Callable[[Job, Path], tuple[str, Run]]
    add_metadata: Callable[[Path, ExportRecord], object]


@dataclass(frozen=True, kw_only=True)
class Written:
    """What was written, as a model of which nothing is proven yet."""

    model: ExportedModel
    finish: Callable[[ExportRecord], ExportRecord]  # puts a record with its proof into the file or files


def write_one_file(job: Job, path: Path, record: ExportRecord) -> Written:
    """Write the whole model to ``path``."""
    writer = WRITERS[job.config.format]
    runtime, run = writer.write(job, path)

    def finish(proven: ExportRecord) -> ExportRecord:
        writer.add_metadata(path, proven)
        return read_exported(path)  # what is refused when it is loaded is not written

    blank = Proof(reference="", runtime=runtime, tolerance=None, cases=())
    return Written(model=ExportedModel(path, replace(record, proof=blank), run), finish=finish)


def write_onnx(job: Job, path: Path) -> tuple[str, Run]:
    runtime = imported("onnxruntime", "export")
    save_onnx(onnx_graph(job.model, job.name, job.taken, job.config.opset), path)
    if job.config.precision != "fp32":
        lower_onnx(path, job.config.precision)
    return f"onnxruntime {runtime.__version__}", run_onnx(path)


def write_openvino(job: Job, path: Path) -> tuple[str, Run]:
    openvino = imported_openvino()
    graph = path.with_suffix(".onnx")
    save_onnx(onnx_graph(job.model, job.name, job.taken, job.config.opset), graph)
    save_openvino(graph, job.config.precision, job.inputs, path)
    for file in (graph, graph.with_name(f"{graph.name}.data")):
        file.unlink(missing_ok=True)
    return f"openvino {openvino.__version__}", run_openvino(read_model(path), path, job.config.precision)


def write_archive(job: Job, path: Path) -> tuple[str, Run]:
    save_archive(job.model, job.name, job.taken, path)
    return f"torch.export {torch.__version__}", run_archive(path)


WRITERS: dict[ExportFormat, Writer] = {
    "onnx": Writer(write=write_onnx, add_metadata=add_onnx_metadata),
    "openvino": Writer(write=write_openvino, add_metadata=add_openvino_metadata),
    "torch": Writer(write=write_archive, add_metadata=add_archive_metadata),
}
