"""``tubelet pretrain``: its options. ``tubelet.commands.work.train`` does the work, as for ``tubelet train``."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated

import tyro

from tubelet.commands import check_hub, compute, parse, train
from tubelet.commands.train_overrides import check_fields, in_full, print_fields, split_overrides
from tubelet.recipe import load_recipe
from tubelet.training.config import Schedule, Strategy
from tubelet.types import Device

DESCRIPTION = """Pre-train an encoder on footage without labels: hide most of each clip, and paint it from the rest.

DATA is a folder with videos, volumes or frame folders at any depth, a CSV file with a column path, or any data set that
`tubelet train` takes, whose labels are then not learned from. Rows of a test split are never read. The recipe is
VideoMAE's: tube masks of 90 %, an encoder that sees the other 10 %, a light decoder, targets normalized by tubelet. The
model is a VideoMAE, or ViViT's Model 1 (joint) or 2 (fe).

OUT/best is an encoder without classes, and a checkpoint like any other:
  tubelet train --data my_clips --init OUT/best --optim.layer_decay 0.75
  tubelet probe --data my_clips --encoder OUT/best

The loss of the validation split is that of fixed masks. Where training clips have labels, the class of the five nearest
clips is compared with their own every few epochs. Log, TensorBoard and report show clips beside their mask and what was
painted, and a warning says when features collapse.

Fields of the recipe are set as --GROUP.FIELD VALUE (--fields lists them): --masked_pretraining.mask block,
--masked_pretraining.mask_ratio 0.75. A run that was stopped goes on with --resume, to the same bits. --dry-run trains
nothing and prints the plan.

examples:
  tubelet pretrain --data footage
  tubelet pretrain --data scans.csv --model vivit_ti16x2_joint --protocol.num_frames 28 --protocol.crop_size 28,28
  tubelet pretrain kinetics400/videomae_b16_pretraining --data k400 --dry-run
  torchrun --nproc-per-node 8 -m tubelet pretrain ssv2/videomae_b16_pretraining --data ssv2
  tubelet pretrain --resume runs/footage-small"""

DEFAULT_RECIPE = train.DEFAULT_RECIPES["masked_pretraining"]


@dataclass(frozen=True, kw_only=True)
class Options:
    recipe: Annotated[str | None, tyro.conf.Positional] = None  # shipped recipe name or YAML file
    data: str | None = None  # folder of footage, .csv or .npz file, or any data set
    model: str | None = None  # model name (`tubelet models`); in place of the recipe's model
    init: str | None = None  # first weights, as of `tubelet train`: for example an encoder that was pre-trained before
    out: Path | None = None  # run folder; by default runs/NAME
    resume: Path | None = None  # run folder to resume, instead of a recipe
    schedule: Schedule | None = None  # --resume with more epochs: recompute (default) the learning rate, or continue it
    take_over: bool = False  # go on in a run folder that a process of another machine left without ending in it
    strategy: Strategy | None = None  # of several processes (torchrun): ddp, the model on each; fsdp, in shards
    dry_run: bool = False  # print the plan and what would stop it; train and write nothing
    device: Device = "auto"  # auto: CUDA, else MPS, else CPU
    fields: bool = False  # list every recipe field with type, default and meaning, and the shipped recipes
    json: bool = False  # print the metrics, or the plan of --dry-run, as JSON on stdout


def main(argv: list[str]) -> int:
    overrides, rest = split_overrides(in_full(argv), Options)
    options = parse(Options, rest, "pretrain", DESCRIPTION)
    if options.fields:
        print_fields(options.model or load_recipe(options.recipe or DEFAULT_RECIPE).model["name"])
        return 0
    if options.resume is None:
        check_fields(overrides, options.recipe or DEFAULT_RECIPE)
    check_hub(options.init, train.begun_folder(options.out, options.data, options.init, options.recipe, options.model))
    from tubelet.commands.work.train import run

    chosen = vars(options) if options.resume else {**vars(options), "task": "masked_pretraining"}
    return compute(partial(run, command="pretrain"), train.Options(**chosen), overrides, argv)
