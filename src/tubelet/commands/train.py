"""``tubelet train``: a recipe, or a folder of videos and a model name, to a checkpoint, metrics and a report."""

from __future__ import annotations

import dataclasses
import json
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import Annotated

import tyro
from rich.table import Table

from tubelet.commands import parse
from tubelet.commands.console import ProgressReporter, output_console
from tubelet.config import describe
from tubelet.errors import ConfigError
from tubelet.inference.device import Device, choose_device
from tubelet.models import model_config
from tubelet.recipe import DECIDED_BY_DATA, Recipe, list_recipes, load_recipe
from tubelet.report.run import write_run_report
from tubelet.run import RunResult, resume_recipe, run_recipe

DESCRIPTION = """Train a video transformer, evaluate it on the test split and write a report.

DATA is a folder (DATA/<class>/*.mp4, or DATA/train/<class>/*.mp4 beside val and test), a CSV file with the columns
path and label (and split, start_seconds, end_seconds if you have them), or a MedMNIST3D .npz file.

Every field of the recipe can be set behind the others as --GROUP.FIELD VALUE; `tubelet train --fields` lists them.
A run that was killed goes on with --resume and ends with the same weights, to the bit.

examples:
  tubelet train --data my_clips
  tubelet train --data my_clips --model vivit_s16x2_fe --out runs/first --optim.lr 3e-4
  tubelet train adrenalmnist3d/vivit_ti_joint --seeds 3
  tubelet train my_recipe.yaml --training.num_epochs 50 --protocol.num_frames 16
  tubelet train --resume runs/first"""

DEFAULT_RECIPE = "folder/default"
SHOWN_MODEL = "vivit_b16x2_fe"  # whose fields --fields shows where no --model is given


@dataclass(frozen=True, kw_only=True)
class Options:
    recipe: Annotated[str | None, tyro.conf.Positional] = None  # shipped recipe name or YAML file
    data: str | None = None  # folder, .csv or .npz file; in place of the recipe's data
    model: str | None = None  # model name (`tubelet models`); in place of the recipe's model
    out: Path | None = None  # run folder; by default runs/NAME
    resume: Path | None = None  # run folder to go on with, instead of a recipe
    seeds: int = 1  # train so many times, with seeds from the recipe's seed on, and print mean and spread
    device: Device = "auto"  # auto: CUDA, else MPS, else CPU
    fields: bool = False  # list every recipe field with type, default and meaning, and the shipped recipes
    json: bool = False  # print the test metrics as JSON on stdout


def main(argv: list[str]) -> int:
    overrides, rest = split_overrides(argv)
    options = parse(Options, rest, "train", DESCRIPTION)
    if options.fields:
        print_fields(options.model or SHOWN_MODEL)
        return 0
    recipe, folder = plan(options, overrides)
    results = []
    for seed in range(recipe.seed, recipe.seed + options.seeds):
        run = folder if options.seeds == 1 else folder / f"seed{seed}"
        results.append(train_one(dataclasses.replace(recipe, seed=seed), run, options.device))
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


def plan(options: Options, overrides: list[tuple[str, str]]) -> tuple[Recipe, Path]:
    """The recipe to run and the folder to run it in."""
    if options.seeds < 1:
        raise ConfigError(f"--seeds must be at least 1, got {options.seeds}")
    if options.resume is not None:
        if options.recipe or options.data or options.model or options.out or overrides or options.seeds > 1:
            raise ConfigError("--resume goes on with a run as its recipe says: give the run folder and nothing else")
        return resume_recipe(options.resume), options.resume
    if options.recipe is None and options.data is None:
        raise ConfigError(
            f"nothing to train on: give --data FOLDER, or a recipe ({', '.join(list_recipes())}, or a YAML file)"
        )
    chosen = list(overrides)
    if options.model:
        chosen.insert(0, ("model", json.dumps({"name": options.model})))
    if options.data:
        chosen.insert(0, ("data.source", json.dumps(str(Path(options.data).resolve()))))
    recipe = load_recipe(options.recipe or DEFAULT_RECIPE, chosen)
    return recipe, options.out or Path("runs") / run_name(options, recipe)


def run_name(options: Options, recipe: Recipe) -> str:
    data = Path(options.data).resolve().stem if options.data else ""
    name = options.recipe.removesuffix(".yaml") if options.recipe else recipe.model["name"]
    return "-".join(part for part in (data, Path(name).parent.name, Path(name).name) if part)


def train_one(recipe: Recipe, folder: Path, device: Device) -> RunResult:
    """One run with its progress on stderr and its summary as the last line."""
    with ProgressReporter(folder.name) as reporter:
        result = run_recipe(
            recipe,
            folder,
            device=choose_device(device),
            reporter=reporter,
            on_batch=lambda done, total: reporter.progress(done, total, "evaluating"),
        )
        reporter.note(result.evaluation.summary)
    return result


def split_overrides(argv: list[str]) -> tuple[list[tuple[str, str]], list[str]]:
    """``--group.field VALUE`` (or ``=VALUE``) and ``--seed N`` apart from the command's own options.

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


def print_spread(results: list[RunResult]) -> None:
    """Mean and standard deviation over seeds, always with the number of runs and of videos."""
    table = Table(title=f"{results[0].evaluation.split} split, {results[0].evaluation.views} views")
    for heading in ("seed", "top-1", "mean class", "AUROC", "videos", "failed"):
        table.add_column(heading, justify="right")
    columns: list[list[float]] = [[], [], []]
    for result in results:
        m = result.evaluation.metrics
        values = [m.top1, m.mean_class, m.auroc if m.auroc is not None else float("nan")]
        for column, value in zip(columns, values, strict=True):
            column.append(value)
        cells = [f"{value:.3f}" for value in values]
        table.add_row(result.folder.name, *cells, str(m.num_videos), str(len(result.evaluation.failed)))
    table.add_section()
    spread = [f"{mean(c):.3f} ± {stdev(c):.3f}" for c in columns]
    table.add_row("mean ± sd", *spread, "", "")
    metrics = results[0].evaluation.metrics
    table.caption = f"always '{metrics.majority_label}': {metrics.majority_baseline:.3f}"
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
