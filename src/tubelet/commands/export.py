"""``tubelet export``: its options. ``tubelet.commands.work.export`` does the work."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from tubelet.commands import check_hub, parse
from tubelet.types import ExportFormat, ExportPrecision

DESCRIPTION = """Export a checkpoint to a file for another runtime, with its protocol, its labels and a proof.

The file is compared with the checkpoint before it is written: for five numbers of frames, every size and batches of
1 and 3, the logits in fp32 may differ by 1e-5 of the largest. A file that differs more is not written. `tubelet
predict`, `evaluate`, `stream` and tubelet.load take the file in place of the checkpoint, and give the same scores.

  onnx      OUT.onnx, for ONNX Runtime      fp32, fp16, int8     pip install 'tubelet[export]'
  openvino  OUT.xml, for OpenVINO           fp32, bf16, int8     pip install 'tubelet[export,openvino]'
  torch     OUT.pt2, torch.export's archive fp32

examples:
  tubelet export runs/first/best model.onnx
  tubelet export runs/first/best model.onnx --size 224x224 256x320
  tubelet export runs/first/best model.onnx --frames 16 --clips videos/*.mp4
  tubelet export runs/vtn/best model.onnx --two-files && tubelet stream model.frames.onnx /dev/video0
  tubelet export runs/first/best model.xml --format openvino --precision int8 --clips videos"""


@dataclass(frozen=True, kw_only=True)
class Options:
    checkpoint: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="CHECKPOINT")]  # folder or owner/name
    out: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="OUT")]  # file to write; must not exist
    format: ExportFormat = "onnx"  # of OUT
    precision: ExportPrecision = "fp32"  # that the file computes in; lower ones need --clips
    frames: str = "dynamic"  # of a clip: any number that the model takes, or this one alone
    size: tuple[str, ...] = ()  # HxW in pixels, one or several; by default that of the protocol
    clips: tuple[str, ...] = ()  # videos, folders or globs: their labels are compared, int8 is calibrated on them
    opset: int = 20  # version of ONNX's operators
    two_files: bool = False  # per-frame and temporal stage in a file each, NAME.frames.onnx and NAME.time.onnx
    json: bool = False  # print the file and its proof as JSON


def main(argv: list[str]) -> int:
    options = parse(Options, argv, "export", DESCRIPTION)
    check_hub(options.checkpoint)
    from tubelet.commands.work.export import run

    return run(options)
