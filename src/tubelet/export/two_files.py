"""A model of two stages as two ONNX files: the per-frame stage, and the temporal stage over what it gives.

B  videos   C  channels   T, H, W  clip   n  vectors of a clip   K  classes
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from tubelet.errors import ExportError
from tubelet.export.onnx_graph import INPUTS, OUTPUT, traced_graph
from tubelet.export.onnx_precision import lower_onnx
from tubelet.export.onnx_writer import add_onnx_metadata, save_onnx
from tubelet.export.trace import Traceable, traceable
from tubelet.export.writers import Job, Written
from tubelet.models.stages import takes_frame_numbers
from tubelet.types import FrameFeatures
from tubelet.weights.exported.module import imported
from tubelet.weights.exported.onnx_file import read_onnx_record, run_onnx, run_outputs
from tubelet.weights.exported.record import ExportRecord, Proof, StageFile
from tubelet.weights.exported.stages import ExportedStages, check_pair, pair_sha256, stage_paths


class FramesStage(nn.Module):
    """The per-frame stage: vectors, and tokens of each layer that the temporal stage reads."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model: Any = model

    def forward(self, clip: Float[Tensor, "B C T H W"]) -> tuple[Tensor, ...]:
        features = self.model.encode_frames(clip)
        return features.vectors, *features.tokens


class TimeStage(nn.Module):
    """The temporal stage; ``token_grid`` is that of one size."""

    def __init__(self, model: nn.Module, token_grid: tuple[int, int] | None) -> None:
        super().__init__()
        self.model: Any = model
        self.token_grid, self.has_position = token_grid, takes_frame_numbers(model)

    def forward(self, *features: Tensor) -> Float[Tensor, "B K"]:
        vectors, *rest = features
        position = rest.pop(0) if self.has_position else None
        given = FrameFeatures(vectors=vectors, position=position, tokens=tuple(rest), token_grid=self.token_grid)
        logits: Tensor = self.model.encode_time(given)
        return logits


def write_two_files(job: Job, path: Path, record: ExportRecord) -> Written:
    """Write both files beside ``path``, which is not written itself.

    Raises:
        ExportError: the model has no per-frame stage, or torch cannot follow one of the two.
    """
    runtime = imported("onnxruntime", "export")
    per_feature: int | None = getattr(job.model, "frames_per_feature", None)
    if per_feature is None:
        raise ExportError(
            f"{job.name}: has no per-frame stage, so that it is not written as two files; leave two_files out for one"
        )
    files = stage_paths(path)
    for name, graph in zip(files, _graphs(job, per_feature), strict=True):
        save_onnx(graph, files[name])
        if job.config.precision != "fp32":
            lower_onnx(files[name], job.config.precision)

    def as_stage(name: Any, pair: str) -> StageFile:
        return StageFile(name=name, frames_per_feature=per_feature, pair_sha256=pair)

    def finish(proven: ExportRecord) -> ExportRecord:
        # A first time for the digests that a file will have, then with that of the pair.
        digests = {name: add_onnx_metadata(file, proven) for name, file in files.items()}
        pair = pair_sha256(**digests)
        for name, file in files.items():
            add_onnx_metadata(file, replace(proven, stage=as_stage(name, pair)))
        frames, time = (read_onnx_record(file) for file in files.values())
        check_pair(frames, time, path)
        return frames

    proof = Proof(reference="", runtime=f"onnxruntime {runtime.__version__}", tolerance=None, cases=())
    blank = replace(record, stage=as_stage("frames", ""), proof=proof)
    model = ExportedStages(files["frames"], blank, run_outputs(files["frames"]), run_onnx(files["time"]))
    return Written(model=model, finish=finish)


def _graphs(job: Job, per_feature: int) -> tuple[Any, Any]:
    imported("onnx", "export")
    imported("onnxscript", "export")
    taken, opset = job.taken, job.config.opset
    whole = traceable(job.model, taken, taken.sizes[0])
    clip, *position = whole.inputs
    own: Any = whole.model
    with torch.no_grad():
        features: FrameFeatures = own.encode_frames(*whole.inputs)
    tokens = tuple(f"tokens{i}" for i in range(len(features.tokens)))
    batch = torch.export.Dim("batch", min=1, max=2**20)
    vectors = torch.export.Dim("vectors", min=1, max=2**20)
    free = vectors if per_feature == 1 else per_feature * vectors
    frames = Traceable(model=FramesStage(own), inputs=(clip,), dynamic_shapes=({0: batch, 2: free},))
    # Copies: of a view, torch would also trace what it is a view of, which no input of the file has.
    inputs = tuple(x.clone() for x in (features.vectors, *position, *features.tokens))
    axes: dict[int, Any] = {0: batch}
    if taken.num_frames is None:
        step = max(1, taken.frame_step // per_feature)
        steps = torch.export.Dim("steps", min=-(-taken.min_frames // taken.frame_step), max=2**20)
        axes[1] = steps if step == 1 else step * steps
    time = Traceable(
        model=TimeStage(own, features.token_grid),
        inputs=inputs,
        dynamic_shapes={"features": tuple(dict(axes) for _ in inputs)},
    )
    names = ("vectors", *INPUTS[1 : 1 + len(position)], *tokens)
    return (
        traced_graph(frames, job.name, taken, opset, INPUTS[:1], ("vectors", *tokens)),
        traced_graph(time, job.name, taken, opset, names, (OUTPUT,)),
    )
