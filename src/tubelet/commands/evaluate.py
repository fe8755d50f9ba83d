"""``tubelet evaluate``: its options. ``tubelet.commands.work.evaluate`` does the work."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import tyro

from tubelet.commands import check_hub, compute, parse
from tubelet.commands.column_options import ColumnOptions
from tubelet.commands.protocol_options import SamplingOptions
from tubelet.data.layouts.config import ManifestConfig
from tubelet.data.loading.config import DECODE_TIMEOUT_SECONDS, FAILURE_BUDGET
from tubelet.types import Device, Mode, Part, Precision

DESCRIPTION = """Evaluate a checkpoint on labeled videos: accuracies, AUROC, calibration, confusion, scores per video.

A model with several heads is measured by its actions (one class of each head, all of them right) and by each head.
Where a video may have several labels, mean average precision stands in place of accuracy.

Of the data that the checkpoint was trained on, the test part of the split of then is scored. Other data are scored
whole, or their test part where they state one; --split all scores everything. The first line says what was scored.
Videos that the model has seen in training, found by content under any name, are named and counted.

The checkpoint's own protocol decides sampling, size and views; --views changes the number of views, --protocol.* which
frames make a clip (VTN is trained on 16 frames and tested on 250). --mode chunked bounds the memory of long clips for
models with a per-frame stage; a feature store in place of the videos leaves that stage out. Scores are the same.

--shard 2/8 scores every eighth batch from the second on and leaves the scores in --out, which several machines share
and where an interrupted call goes on; whichever part ends last measures all of them. --shard 1/1 is one call that can
be interrupted.

examples:
  tubelet evaluate runs/first/best --data my_clips
  tubelet evaluate runs/first/best --data labels.csv --split val --views 1x1 --out results/val
  tubelet evaluate runs/vtn/best --data my_clips --views 1x1 --protocol.num_frames 250 --protocol.target_fps 25
  tubelet evaluate runs/first/best --data my_clips --reject
  tubelet evaluate runs/first/best --data my_clips --out results/test --shard 2/8
  tubelet evaluate runs/kitchens/best --data EPIC-KITCHENS --manifest.layout epic-kitchens-100 --split val
  tubelet evaluate runs/first/best --data my_clips --manifest.quarantine runs/scan-my_clips/quarantine.csv"""


@dataclass(frozen=True, kw_only=True)
class Options:
    checkpoint: Annotated[str, tyro.conf.Positional]  # folder, owner/name or hf://owner/name@revision
    data: str  # folder, .csv or .npz file, "embedded:adrenalmnist3d", or a feature store (`tubelet features`)
    split: Part | None = None  # which rows; by default as said above
    views: str | None = None  # temporal x spatial, for example 4x3; by default those of the checkpoint
    averaging: Literal["logits", "probs"] | None = None  # what is averaged over views; by default the checkpoint's
    protocol: SamplingOptions = field(default_factory=SamplingOptions)
    precision: Precision | None = None  # fp32, or bf16 under autocast; by default that of the checkpoint's training
    reject: bool = False  # also count what is "none of these" to the model, and test that on black, bars and noise
    mode: Mode = "end_to_end"  # chunked: frames part by part, then the temporal stage once over all of a long clip
    columns: Annotated[ColumnOptions, tyro.conf.arg(name="")] = field(default_factory=ColumnOptions)
    manifest: ManifestConfig = field(default_factory=ManifestConfig)
    out: Path | None = None  # folder for metrics.json and scores.csv; by default they are not written
    shard: str | None = None  # PART/PARTS: the videos of this part, such as 2/8; needs --out, where parts are resumed
    batch_size: int = 4  # videos read and scored together
    num_workers: int = 2  # processes that decode; 0 decodes in this process
    decode_timeout_seconds: float = DECODE_TIMEOUT_SECONDS  # a worker that reads one video for longer is killed
    failure_budget: float = FAILURE_BUDGET  # share of videos that may be unreadable; 0: none, else one always may
    device: Device = "auto"  # auto: CUDA, else MPS, else CPU
    json: bool = False  # print metrics.json on stdout


def main(argv: list[str]) -> int:
    options = parse(Options, argv, "evaluate", DESCRIPTION)
    check_hub(options.checkpoint)
    from tubelet.commands.work.evaluate import run

    return compute(run, options)
