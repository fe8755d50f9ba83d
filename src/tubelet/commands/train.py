"""``tubelet train``: its options. ``tubelet.commands.work.train`` does the work."""

from __future__ import annotations

import glob
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import tyro
import yaml

from tubelet.commands import check_hub, compute, parse
from tubelet.commands.column_options import ColumnOptions
from tubelet.commands.train_overrides import check_fields, in_full, print_fields, split_overrides
from tubelet.recipe import DEFAULT_RECIPE, RECIPE, run_name
from tubelet.training.config import Schedule, Strategy
from tubelet.types import Device

DESCRIPTION = """Train a video transformer, evaluate it on the test split and write a report.

DATA is a folder (DATA/<class>/*.mp4, or DATA/train/<class>/*.mp4 beside val and test), a CSV file with the columns
path and label (and split, start and end or start_frame and end_frame, if you have them; --path-column and
--label-column name others), or a MedMNIST3D .npz file.

Data without splits is split by groups, so that test does not show what training has seen: a column group, patient or
subject (or --group-column NAME), a folder below the class (DATA/<class>/match1/clip.mp4), --group-pattern '{group}_{n}'
for match1_03.mp4, or else near-copies, which are looked for in up to 5,000 clips for up to two minutes. --folds 5
trains five times, each time with another fifth of the groups as test split, and says what all say together.

Every field of the recipe can be set behind the others as --GROUP.FIELD VALUE; `tubelet train --fields` lists them.
--epochs, --batch-size and --lr stand for --training.num_epochs, --training.batch_size and --optim.lr, and --manifest.X
for --data.manifest.X.
A run that was killed goes on with --resume and ends with the same weights, to the bit; --training.num_epochs with it
trains for more epochs than before (--schedule says what becomes of the learning rate). SIGTERM and SIGINT (Ctrl-C) end
it after the step at hand: its state is kept, the exit code is 143 or 130 (128 + the signal), and another signal ends it
at once. Slurm's `--signal=TERM@120 --requeue`, or Kubernetes' grace period, then cost no step. An error such as a full
disk (exit code 1) leaves the last state and the checkpoints whole. torchrun itself exits with 1 whatever ended the run.

One process (or one torchrun) at a time works in a run folder: run.lock names it, and others are refused. After a kill
on the same machine a run goes on at once. What another machine left is refused with its age until --take-over is given,
which a job script that is requeued may always do; a process that still lives then ends and writes nothing more.

--init X starts from other weights: an image ViT (a model of timm such as vit_base_patch16_224.augreg_in21k, or a file
or folder of timm, HuggingFace or flax), whose patches become tubelets, or a checkpoint of a video model (a folder, or
owner/name on huggingface.co). The head is made fresh for the classes of DATA; frames, sizes and tubelets may differ.
Without --model and recipe, model, size and pixels are those that belong to X. --init.FIELD says how (see --fields).
A VTN keeps any network of timm as its backbone (resnet50.a1_in1k, for example), a UniFormerV2 an image ViT as its trunk
(CLIP, MAE, DINO, DeiT III, BEiT); which backbone, and which kind of trunk, come along with X.

--pretrain-on FOOTAGE does both in one go: in the folder pretraining of the run it pre-trains the model on footage
without labels (`tubelet pretrain --help`), and then trains from that encoder with a layer decay of 0.75. Footage that
shows what DATA holds out for validation and test, by its content, is left out. A field of the pre-training is set as
--pretrain_on.fields.training.num_epochs 50.

--dry-run trains and writes nothing: it prints the resolved recipe, what is found and missing, steps, learning rate,
size, an estimate of the memory, and a line for everything that would stop the run (then exit code 1).

Several label columns give a model several heads: --manifest.label_columns noun,verb. An action is then one class
of each, scored by the product of their probabilities; a cell may be empty where a label is not known. Several labels
per video stand in one cell: --manifest.label_separator '|'.

--task per_frame learns a label for every frame of films. DATA is then a file of bouts (path,start,stop,label; a BORIS
project or export, ELAN, TextGrid, ActivityNet, CalMS21 or EPIC-KITCHENS), or a folder of such files; films without
splits are split whole. Each film goes once through the model of --init, and a small head is trained on its stored
features; --per_frame.train_backbone true trains both on windows of the films. --per_frame.labels one where behaviors
exclude each other; `tubelet moments` finds them in other films.

--task regression learns numbers in place of classes, such as a weight or a speed: the cells of --label-column hold
them, empty where one is not known. Each is learned in standard deviations from its mean over the training videos;
metrics are R2, MAE, and those of that mean as the answer.

Several GPUs or machines: torchrun starts a process for each, and they share out training.batch_size videos a step.
--strategy fsdp shards a model that does not fit on one. A process that dies ends the run; --resume, or torchrun's
--max-restarts, goes on from the last state.

Where a step needs too much memory, --training.accumulation 4 computes a batch in four parts, and
--training.gradient_checkpointing true computes blocks again in place of keeping them. --training.compile true compiles
the step. --model.patch_drop_rate 0.25 trains a ViViT on three quarters of the places of each video.

examples:
  tubelet train --data my_clips
  tubelet train --data my_clips --model vivit_s16x2_fe --out runs/first --optim.lr 3e-4
  tubelet train --data labels.csv --group-column patient --folds 5
  tubelet train adrenalmnist3d/vivit_ti_joint --seeds 3
  tubelet train kinetics400/vivit_b16x2_fe --data k400 --dry-run
  tubelet train --data my_clips --init vit_base_patch16_224.augreg_in21k --optim.layer_decay 0.75
  tubelet train --data my_clips --pretrain-on footage
  tubelet train --data my_clips --model vtn_vit_b16 --backbone convnext_tiny
  tubelet train --data my_clips --init vit_base_patch16_clip_quickgelu_224.openai --model uniformerv2_b16
  tubelet train --data my_clips --init runs/first/best --freeze tokenizer 'spatial_encoder.blocks.[0-5]'
  tubelet train --data my_clips --init google/vivit-b-16x2-kinetics400 --lora rank=16
  tubelet train --data EPIC-KITCHENS --manifest.layout epic-kitchens-100 --training.label_smoothing 0.2
  tubelet train --task per_frame --data project.boris --init runs/first/best
  tubelet train --task regression --data weights.csv --label-column grams
  tubelet train my_recipe.yaml --training.num_epochs 50 --protocol.num_frames 16
  tubelet train --data my_clips --sweep optim.lr=1e-4,3e-4,1e-3 --sweep training.batch_size=16,32 --seeds 3
  torchrun --nproc-per-node 8 -m tubelet train kinetics400/vivit_b16x2_fe --data k400
  tubelet train --resume runs/first"""

DEFAULT_RECIPES = {  # by task, where no recipe is named
    "auto": DEFAULT_RECIPE,
    "per_frame": "films/per_frame",
    "masked_pretraining": "pretraining/small",
    "regression": DEFAULT_RECIPE,
}
SHOWN_MODEL = "vivit_b16x2_fe"  # whose fields --fields shows where no --model is given


@dataclass(frozen=True, kw_only=True)
class Options:
    recipe: Annotated[str | None, tyro.conf.Positional] = None  # shipped recipe name or YAML file
    task: Literal["auto", "per_frame", "masked_pretraining", "regression"] = "auto"  # auto: a label per video
    data: str | None = None  # folder, .csv or .npz file, or feature store; in place of the recipe's data
    columns: Annotated[ColumnOptions, tyro.conf.arg(name="")] = field(default_factory=ColumnOptions)
    model: str | None = None  # model name (`tubelet models`); in place of the recipe's model
    backbone: str | None = None  # VTN's image network, any name of timm; without --model and recipe, of a VTN
    pretrain_on: str | None = None  # footage without labels: pre-train on it first, in the run's folder
    init: str | None = None  # first weights: timm model, file, checkpoint folder, or owner/name on huggingface.co
    freeze: tuple[str, ...] = ()  # modules that do not train, by name; * stands for any text
    lora: str | None = None  # rank=16[,alpha=32]: train low-rank adapters and the head alone (extra lora)
    out: Path | None = None  # run folder; by default runs/NAME
    resume: Path | None = None  # run folder to resume, instead of a recipe
    schedule: Schedule | None = None  # --resume with more epochs: recompute (default) the learning rate, or continue it
    take_over: bool = False  # go on in a run folder that a process of another machine left without ending in it
    strategy: Strategy | None = None  # of several processes (torchrun): ddp, the model on each; fsdp, in shards
    dry_run: bool = False  # print the plan and what would stop it; train and write nothing
    group_column: str | None = None  # CSV column of what stays in one split; by default group, patient or subject
    group_pattern: str | None = None  # reads what stays in one split in file names: {group}_{n}
    folds: int = 0  # cross-validation: train so many times, each time with another part of the groups as test split
    seeds: int = 1  # train so many times, with seeds from the recipe's seed on, and print mean and spread
    sweep: tyro.conf.UseAppendAction[tuple[str, ...]] = ()  # FIELD=VALUE,VALUE,...: try these, choose on validation
    device: Device = "auto"  # auto: CUDA, else MPS, else CPU
    fields: bool = False  # list every recipe field with type, default and meaning, and the shipped recipes
    json: bool = False  # print the test metrics, or the plan of --dry-run, as JSON on stdout


def main(argv: list[str]) -> int:
    overrides, rest = split_overrides(in_full(argv), Options)
    options = parse(Options, rest, "train", DESCRIPTION)
    if options.fields:
        print_fields(options.model or SHOWN_MODEL)
        return 0
    check_hub(options.init, begun_folder(options.out, options.data, options.init, options.recipe, options.model))
    if options.resume is None:
        check_fields(overrides, options.recipe or DEFAULT_RECIPES[options.task])
    from tubelet.commands.work.train import run

    return compute(run, options, overrides, argv)


def begun_folder(
    out: Path | None, data: str | None, init: str | None, recipe: str | None, model: str | None
) -> Path | None:
    """The folder of the run that goes on, where it has begun: it has its first weights. None means that none has.

    The name of a run that names neither recipe nor model is known once its first weights are read. One of that data
    that began with them is it, or has asked the hub for them.
    """
    if out is not None or recipe or model:
        folder = out or Path("runs") / run_name(recipe, data, model or "")
        return folder if folder.exists() else None
    found = Path("runs").glob(f"{glob.escape(run_name(None, data, 'model').removesuffix('model'))}*/{RECIPE}")
    return next((file.parent for file in sorted(found) if _source_of(file) == init), None)


def _source_of(recipe: Path) -> str | None:
    """The first weights of a saved recipe, by name."""
    try:
        init = yaml.safe_load(recipe.read_text(encoding="utf-8")).get("init")
    except (OSError, ValueError, AttributeError, yaml.YAMLError):
        return None
    return init.get("source") if isinstance(init, dict) else None
