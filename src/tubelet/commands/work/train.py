"""``tubelet train``: trains by a recipe, or on a folder of videos, to a checkpoint, metrics and a report."""

from __future__ import annotations

import dataclasses
import json
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import mean, stdev

from rich.table import Table

from tubelet.api.recipe_fields import texts_of, with_kept_rules
from tubelet.api.train import report_runs
from tubelet.commands.column_options import ColumnOptions
from tubelet.commands.console import output_console, report_take_over
from tubelet.commands.train import DEFAULT_RECIPES, Options
from tubelet.commands.train_overrides import EPOCHS
from tubelet.commands.work.dry_run import dry_run
from tubelet.commands.work.train_options import of_options
from tubelet.commands.work.train_sweep import Request, sweep
from tubelet.errors import ConfigError, Stopped
from tubelet.recipe import RECIPE, Recipe, list_recipes, load_recipe, run_name
from tubelet.runs.extend import extend_run, extended
from tubelet.runs.fast_fp32 import products_of
from tubelet.runs.folder import kept_rules, resume_recipe, rules_note
from tubelet.runs.run import CompletedRun, run_recipe
from tubelet.session.console_progress import ConsoleProgress
from tubelet.session.device import choose_device
from tubelet.session.processes import is_launched, is_main_process, launched_command, open_processes, own_device
from tubelet.session.session import Session
from tubelet.studies.folds import FoldSummary, summarize_folds, with_fold, write_folds
from tubelet.studies.sweep import Repeat, Values
from tubelet.types import Device


def run(options: Options, overrides: list[tuple[str, str]], argv: list[str], command: str = "train") -> int:
    recipe, folder = plan(options, overrides)
    check_task(options, recipe, command)
    if options.dry_run:
        if options.sweep:
            raise ConfigError("--dry-run plans one run: leave --sweep out, and set the field to one of its values")
        is_resumed = options.resume is not None
        # Of processes that torchrun started, one plans for all.
        return dry_run(recipe, folder, options.device, is_resumed, as_json=options.json) if is_main_process() else 0
    if options.take_over and is_main_process():
        report_take_over(folder)
    if options.sweep:
        if is_launched():
            raise ConfigError("--sweep trains one run after the other in one process: start it without torchrun")
        return run_sweep(options, overrides, recipe, folder, argv)
    results: list[CompletedRun] = []
    device = own_device(choose_device(options.device))
    with open_processes(device) as processes:
        session = Session(device=device, processes=processes)
        if options.resume is not None:
            processes.on_main(lambda: extend_run(folder, recipe, report=lambda line: print(line, file=sys.stderr)))
        runs = list(runs_of(recipe, folder, options))
        with products_of(folder, session):  # all seeds and folds alike
            for run, of_run in runs:
                with saying_how_to_go_on(run, argv if len(runs) > 1 else None, options.device, command):
                    results.append(train_one(of_run, run, session))
    if not processes.is_main:
        return 0
    folds = summarize_folds([result.evaluation for result in results]) if options.folds else None
    if folds is not None:
        write_folds(folder, folds)
    if options.json:
        found = [result.to_dict() for result in results]
        print(json.dumps(found if folds is None else {"runs": found, "folds": folds.to_dict()}, indent=2))
    elif len(results) > 1:
        print_spread(results, folds)
    with ConsoleProgress("report") as progress:
        report = report_runs(folder, recipe, results, shlex.join(["tubelet", command, *argv]), progress)
    print(f"checkpoint: {results[0].folder / 'best'}\nreport:     {report}", file=sys.stderr)
    return 0


def check_task(options: Options, recipe: Recipe, command: str) -> None:
    """Raise ConfigError when recipe, options and command are not of one task."""
    for task in ("per_frame", "masked_pretraining"):
        if options.task == task and getattr(recipe, task) is None:
            raise ConfigError(f"--task {task}: {options.recipe} has no {task}; leave --task or the recipe out")
    if command == "pretrain" and recipe.masked_pretraining is None:
        raise ConfigError(f"{options.resume or options.recipe}: has no masked_pretraining; use `tubelet train`")
    if recipe.pretrain_on is not None and options.sweep:
        raise ConfigError(
            "--sweep would pre-train for every value: pre-train once with `tubelet pretrain`, and sweep with --init of "
            "that run in place of --pretrain-on"
        )
    if recipe.masked_pretraining is not None and (options.folds or options.lora):
        raise ConfigError("--folds and --lora need labels and a head, which masked_pretraining knows nothing of")


def runs_of(recipe: Recipe, folder: Path, options: Options) -> Iterator[tuple[Path, Recipe]]:
    """Yield the folder and the recipe of each run: one, or one for each seed or fold in a folder of its own."""
    if options.folds:
        for fold in range(1, options.folds + 1):
            yield folder / f"fold{fold}", with_fold(recipe, fold)
        return
    for seed in range(recipe.seed, recipe.seed + options.seeds):
        yield folder if options.seeds == 1 else folder / f"seed{seed}", dataclasses.replace(recipe, seed=seed)


def run_sweep(options: Options, overrides: list[tuple[str, str]], recipe: Recipe, folder: Path, argv: list[str]) -> int:
    """Run the sweep of ``--sweep`` in ``folder``."""
    chosen = [*texts_of(kept_rules(folder)), *of_options(options), *overrides]
    per_frame = recipe.per_frame
    if per_frame is not None and not per_frame.train_backbone and per_frame.feature_folder is None:
        chosen.append(("per_frame.feature_folder", str(folder / "features")))  # films go through the model once

    def make(values: Values, seed: int) -> Recipe:
        last = ("data.manifest.fold" if options.folds else "seed", str(seed))
        return load_recipe(options.recipe or DEFAULT_RECIPES[options.task], [*chosen, *values, last])

    repeat: Repeat = "fold" if options.folds else "seed"
    request = Request(
        axes=options.sweep,
        seeds=range(1, options.folds + 1) if options.folds else range(recipe.seed, recipe.seed + options.seeds),
        repeat=repeat,
        folder=folder,
        device=choose_device(options.device),
        command=shlex.join(["tubelet", "train", *argv]),
    )
    with saying_how_to_go_on(folder, argv, options.device):
        return sweep(request, recipe, make, as_json=options.json)


@contextmanager
def saying_how_to_go_on(run: Path, argv: list[str] | None, device: Device, command: str = "train") -> Iterator[None]:
    """Print the command that resumes what a signal stopped: ``--resume`` for one run, the same command for several."""
    try:
        yield
    except Stopped as stop:
        on_device = [] if device == "auto" else ["--device", device]
        again = ["--resume", str(run), *on_device] if argv is None else argv
        line = launched_command([command, *again])
        raise Stopped(f"{run}: {stop}; go on with `{line}`", stop.signal_number) from None


def plan(options: Options, overrides: list[tuple[str, str]]) -> tuple[Recipe, Path]:
    """Return the recipe and the run folder."""
    if options.seeds < 1:
        raise ConfigError(f"--seeds must be at least 1, got {options.seeds}")
    if options.folds and options.seeds > 1:
        raise ConfigError("--folds and --seeds exclude each other: folds already show the spread; leave one out")
    if options.resume is not None:
        return resumed_recipe(options, overrides, options.resume), options.resume
    if options.schedule:
        raise ConfigError("--schedule says what --resume with more epochs (--training.num_epochs) does; leave it out")
    if options.recipe is None and options.data is None:
        raise ConfigError(
            f"nothing to train on: give --data FOLDER, or a recipe ({', '.join(list_recipes())}, or a YAML file)"
        )
    chosen = [*of_options(options), *overrides]
    recipe = load_recipe(options.recipe or DEFAULT_RECIPES[options.task], chosen)
    folder = options.out or Path("runs") / run_name(options.recipe, options.data, recipe.model["name"])
    if rules := kept_rules(folder):
        if is_main_process():
            print(f"note: {rules_note(folder, rules)}", file=sys.stderr)
        recipe = with_kept_rules(options.recipe or DEFAULT_RECIPES[options.task], chosen, rules)
    return recipe, folder


def resumed_recipe(options: Options, overrides: list[tuple[str, str]], folder: Path) -> Recipe:
    """Return the recipe of the run that ``--resume`` goes on with."""
    task = options.task != "auto"
    given = (
        task,
        options.recipe,
        options.data,
        options.model,
        options.backbone,
        options.init,
        options.pretrain_on,
        options.freeze,
        options.lora,
    )
    is_longer = [key for key, _ in overrides] == [EPOCHS]
    others = (options.out, options.strategy, options.seeds > 1, options.sweep, options.folds)
    if any((*given, *others)) or options.columns != ColumnOptions() or (overrides and not is_longer):
        raise ConfigError(
            f"--resume goes on with a run as its recipe says: give the run folder and nothing else, or a higher "
            f"--{EPOCHS}"
        )
    if options.schedule and not is_longer:
        raise ConfigError(f"--schedule says what becomes of the learning rate in more epochs: give --{EPOCHS} too")
    recipe = resume_recipe(folder)
    if not is_longer:
        return recipe
    asked = load_recipe(str(folder / RECIPE), overrides).training.num_epochs
    return extended(recipe, asked, options.schedule or "recompute")


def train_one(recipe: Recipe, folder: Path, session: Session) -> CompletedRun:
    """Carry out one run with progress on stderr and a summary as the last line; only process 0 prints."""
    with ConsoleProgress(folder.resolve().name, is_quiet=not session.processes.is_main) as progress:
        result = run_recipe(recipe, folder, dataclasses.replace(session, progress=progress))
        progress.note(result.evaluation.summary)
    return result


def print_spread(results: list[CompletedRun], folds: FoldSummary | None = None) -> None:
    """Print mean and standard deviation over seeds or folds, with the number of runs and of videos."""
    table = Table(title=f"{results[0].evaluation.split} split, {results[0].evaluation.views} views")
    titles = [cell.title for cell in results[0].evaluation.cells("seeds")]
    for heading in ("seed" if folds is None else "fold", *titles, "videos", "failed"):
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
    if folds is not None:
        pooled = ["" if f.pooled is None else f"{f.pooled:.3f}" for f in folds.figures.values()]
        table.add_row("all folds", *pooled, str(folds.num_videos), "")
    table.caption = results[0].evaluation.baseline if folds is None else f"over all folds, {folds.baseline}"
    output_console().print(table)
