"""``tubelet train``: trains by a recipe, or on a folder of videos, to a checkpoint, metrics and a report."""

from __future__ import annotations

import dataclasses
import json
import shlex
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from rich.table import Table

from tubelet.commands import parse
from tubelet.commands.console import ConsoleProgress, output_console
from tubelet.commands.dry_run import dry_run
from tubelet.commands.train_options import DEFAULT_RECIPE, Options, of_options, run_name
from tubelet.commands.train_sweep import Request, sweep
from tubelet.config import describe
from tubelet.errors import ConfigError, Stopped
from tubelet.models import model_config
from tubelet.recipe import DECIDED_BY_DATA, Recipe, list_recipes, load_recipe
from tubelet.report.run_report import write_run_report
from tubelet.runs.folder import kept_rules, resume_recipe, rules_note
from tubelet.runs.run import CompletedRun, run_recipe
from tubelet.session.device import Device, choose_device
from tubelet.session.processes import is_launched, is_main_process, launched_command, open_processes, own_device
from tubelet.session.session import Session
from tubelet.studies.sweep import Values

DESCRIPTION = """Train a video transformer, evaluate it on the test split and write a report.

DATA is a folder (DATA/<class>/*.mp4, or DATA/train/<class>/*.mp4 beside val and test), a CSV file with the columns
path and label (and split, start_seconds, end_seconds if you have them), or a MedMNIST3D .npz file.

Every field of the recipe can be set behind the others as --GROUP.FIELD VALUE; `tubelet train --fields` lists them.
A run that was killed goes on with --resume and ends with the same weights, to the bit. SIGTERM and SIGINT (Ctrl-C) end
it after the step at hand: its state is kept, the exit code is 143 or 130 (128 + the signal), and another signal ends it
at once. Slurm's `--signal=TERM@120 --requeue`, or Kubernetes' grace period, then cost no step. An error such as a full
disk (exit code 1) leaves the last state and the checkpoints whole. torchrun itself exits with 1 whatever ended the run.

--init X starts from other weights: an image ViT (a model of timm such as vit_base_patch16_224.augreg_in21k, or a file
or folder of timm, HuggingFace or flax), whose patches become tubelets, or a checkpoint of a video model (a folder, or
owner/name on huggingface.co). The head is made fresh for the classes of DATA; frames, sizes and tubelets may differ.
Without --model and recipe, model, size and pixels are those that belong to X. --init.FIELD says how (see --fields).
A VTN keeps any network of timm as its backbone (resnet50.a1_in1k, for example), a UniFormerV2 an image ViT as its trunk
(CLIP, MAE, DINO, DeiT III, BEiT); which backbone, and which kind of trunk, come along with X.

--dry-run trains and writes nothing: it prints the resolved recipe, what is found and missing, steps, learning rate,
size, an estimate of the memory, and a line for everything that would stop the run (then exit code 1).

Several label columns give a model several heads: --data.manifest.label_columns noun,verb. An action is then one class
of each, scored by the product of their probabilities; a cell may be empty where a label is not known. Several labels
per video stand in one cell: --data.manifest.label_separator '|'.

Several GPUs or machines: torchrun starts a process for each, and they share out training.batch_size videos a step.
--strategy fsdp shards a model that does not fit on one. A process that dies ends the run; --resume, or torchrun's
--max-restarts, goes on from the last state.

Where a step needs too much memory, --training.accumulation 4 computes a batch in four parts, and
--training.gradient_checkpointing true computes blocks again in place of keeping them. --training.compile true compiles
the step. --model.patch_drop_rate 0.25 trains a ViViT on three quarters of the places of each video.

examples:
  tubelet train --data my_clips
  tubelet train --data my_clips --model vivit_s16x2_fe --out runs/first --optim.lr 3e-4
  tubelet train adrenalmnist3d/vivit_ti_joint --seeds 3
  tubelet train kinetics400/vivit_b16x2_fe --data k400 --dry-run
  tubelet train --data my_clips --init vit_base_patch16_224.augreg_in21k --optim.layer_decay 0.75
  tubelet train --data my_clips --model vtn_vit_b16 --backbone convnext_tiny
  tubelet train --data my_clips --init vit_base_patch16_clip_quickgelu_224.openai --model uniformerv2_b16
  tubelet train --data my_clips --init runs/first/best --freeze tokenizer 'spatial_encoder.blocks.[0-5]'
  tubelet train --data my_clips --init google/vivit-b-16x2-kinetics400 --lora rank=16
  tubelet train --data EPIC-KITCHENS --data.manifest.layout epic-kitchens-100 --training.label_smoothing 0.2
  tubelet train my_recipe.yaml --training.num_epochs 50 --protocol.num_frames 16
  tubelet train --data my_clips --sweep optim.lr=1e-4,3e-4,1e-3 --sweep training.batch_size=16,32 --seeds 3
  torchrun --nproc-per-node 8 -m tubelet train kinetics400/vivit_b16x2_fe --data k400
  tubelet train --resume runs/first"""

SHOWN_MODEL = "vivit_b16x2_fe"  # whose fields --fields shows where no --model is given


def main(argv: list[str]) -> int:
    overrides, rest = split_overrides(argv)
    options = parse(Options, rest, "train", DESCRIPTION)
    if options.fields:
        print_fields(options.model or SHOWN_MODEL)
        return 0
    recipe, folder = plan(options, overrides)
    if options.dry_run:
        if options.sweep:
            raise ConfigError("--dry-run plans one run: leave --sweep out, and set the field to one of its values")
        # Of processes that torchrun started, one plans for all.
        return dry_run(recipe, folder, options.device, as_json=options.json) if is_main_process() else 0
    if options.sweep:
        if is_launched():
            raise ConfigError("--sweep trains one run after the other in one process: start it without torchrun")
        return run_sweep(options, overrides, recipe, folder, argv)
    results = []
    device = own_device(choose_device(options.device))
    with open_processes(device) as processes:
        session = Session(device=device, processes=processes)
        for seed in range(recipe.seed, recipe.seed + options.seeds):
            run = folder if options.seeds == 1 else folder / f"seed{seed}"
            with saying_how_to_go_on(run, argv if options.seeds > 1 else None, options.device):
                results.append(train_one(dataclasses.replace(recipe, seed=seed), run, session))
    if not processes.is_main:
        return 0
    if options.json:
        print(json.dumps([result.to_dict() for result in results], indent=2))
    elif len(results) > 1:
        print_spread(results)
    report = write_run_report(
        folder / "report.html",
        [r.folder for r in results],
        title=f"{recipe.model['name']} on {recipe.data.source}",
        command=shlex.join(["tubelet", "train", *argv]),
    )
    print(f"checkpoint: {results[0].folder / 'best'}\nreport:     {report}", file=sys.stderr)
    return 0


def run_sweep(options: Options, overrides: list[tuple[str, str]], recipe: Recipe, folder: Path, argv: list[str]) -> int:
    """Run the sweep of ``--sweep`` in ``folder``."""
    chosen = [*texts_of(kept_rules(folder)), *of_options(options), *overrides]

    def make(values: Values, seed: int) -> Recipe:
        return load_recipe(options.recipe or DEFAULT_RECIPE, [*chosen, *values, ("seed", str(seed))])

    seeds = range(recipe.seed, recipe.seed + options.seeds)
    command = shlex.join(["tubelet", "train", *argv])
    request = Request(
        axes=options.sweep, seeds=seeds, folder=folder, device=choose_device(options.device), command=command
    )
    with saying_how_to_go_on(folder, argv, options.device):
        return sweep(request, recipe, make, as_json=options.json)


def texts_of(rules: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Fields and values as ``load_recipe`` takes them."""
    return [(name, json.dumps(value)) for name, value in rules.items()]


@contextmanager
def saying_how_to_go_on(run: Path, argv: list[str] | None, device: Device) -> Iterator[None]:
    """Print the command that resumes what a signal stopped: ``--resume`` for one run, the same command for several."""
    try:
        yield
    except Stopped as stop:
        on_device = [] if device == "auto" else ["--device", device]
        again = ["--resume", str(run), *on_device] if argv is None else argv
        command = launched_command(["train", *again])
        raise Stopped(f"{run}: {stop}; go on with `{command}`", stop.signal_number) from None


def plan(options: Options, overrides: list[tuple[str, str]]) -> tuple[Recipe, Path]:
    """Return the recipe and the run folder."""
    if options.seeds < 1:
        raise ConfigError(f"--seeds must be at least 1, got {options.seeds}")
    if options.resume is not None:
        given = (options.recipe, options.data, options.model, options.backbone, options.init, options.freeze)
        if (
            any((*given, options.lora, options.out))
            or options.strategy
            or overrides
            or options.seeds > 1
            or options.sweep
        ):
            raise ConfigError("--resume goes on with a run as its recipe says: give the run folder and nothing else")
        return resume_recipe(options.resume), options.resume
    if options.recipe is None and options.data is None:
        raise ConfigError(
            f"nothing to train on: give --data FOLDER, or a recipe ({', '.join(list_recipes())}, or a YAML file)"
        )
    chosen = [*of_options(options), *overrides]
    recipe = load_recipe(options.recipe or DEFAULT_RECIPE, chosen)
    folder = options.out or Path("runs") / run_name(options, recipe)
    if rules := kept_rules(folder):
        if is_main_process():
            print(f"note: {rules_note(folder, rules)}", file=sys.stderr)
        recipe = load_recipe(options.recipe or DEFAULT_RECIPE, [*texts_of(rules), *chosen])
    return recipe, folder


def train_one(recipe: Recipe, folder: Path, session: Session) -> CompletedRun:
    """Carry out one run with progress on stderr and a summary as the last line; only process 0 prints."""
    with ConsoleProgress(folder.name, is_quiet=not session.processes.is_main) as progress:
        result = run_recipe(recipe, folder, dataclasses.replace(session, progress=progress))
        progress.note(result.evaluation.summary)
    return result


def split_overrides(argv: list[str]) -> tuple[list[tuple[str, str]], list[str]]:
    """Separate ``--group.field VALUE`` (or ``=VALUE``) and ``--seed N`` from the command's own options.

    Raises:
        ConfigError: an override without a value.
    """
    overrides, rest = [], []
    words = iter(argv)
    for word in words:
        flag, equals, value = word.partition("=")
        if not flag.startswith("--") or not ("." in flag or flag == "--seed"):
            rest.append(word)
            continue
        if not equals:
            following = next(words, None)
            if following is None:
                raise ConfigError(f"{flag} needs a value")
            value = following
        overrides.append((flag[2:].replace("-", "_"), value))
    return overrides, rest


def print_spread(results: list[CompletedRun]) -> None:
    """Print mean and standard deviation over seeds, with the number of runs and of videos."""
    table = Table(title=f"{results[0].evaluation.split} split, {results[0].evaluation.views} views")
    titles = [cell.title for cell in results[0].evaluation.cells("seeds")]
    for heading in ("seed", *titles, "videos", "failed"):
        table.add_column(heading, justify="right")
    columns: list[list[float]] = [[] for _ in titles]
    for result in results:
        found = [cell.value for cell in result.evaluation.cells("seeds")]
        values = [float("nan") if value is None else value for value in found]
        for column, value in zip(columns, values, strict=True):
            column.append(value)
        cells = [f"{value:.3f}" for value in values]
        num_videos, num_failed = result.evaluation.num_videos, len(result.evaluation.failed)
        table.add_row(result.folder.name, *cells, str(num_videos), str(num_failed))
    table.add_section()
    spread = [f"{mean(c):.3f} ± {stdev(c):.3f}" for c in columns]
    table.add_row("mean ± sd", *spread, "", "")
    table.caption = results[0].evaluation.baseline
    output_console().print(table)


def print_fields(model: str) -> None:
    table = Table(title="fields of a recipe, set as --FIELD VALUE")
    for heading in ("field", "type", "default", "meaning"):
        table.add_column(heading, overflow="fold")
    for key, *rest in describe(Recipe):
        if key == "model":
            table.add_row("model.name", "text", model, "the fields below are those of this model")
            for row in describe(type(model_config(model)), "model."):
                if row[0].removeprefix("model.") not in DECIDED_BY_DATA:
                    table.add_row(*row)
            table.add_section()
        else:
            table.add_row(key, *rest)
    console = output_console()
    console.print(table)
    console.print(f"Shipped recipes: {', '.join(list_recipes())}. Models: see `tubelet models`.", highlight=False)
